"""Overlapping tiles, Gaussian weights: from a volume to class probabilities."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from HNTumorSegLib.errors import ModelError

if TYPE_CHECKING:
    import torch

    from HNTumorSegLib.inference.device import ComputeDevice

FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


def tile_starts(length: int, patch: int, overlap: float) -> list[int]:
    """First voxels of the tiles along one axis: evenly spread, the first at 0, the last at the end.

    Neighbours have at least the share ``overlap`` (0 to < 1) of a patch in common.
    """
    if not 0.0 <= overlap < 1.0:
        raise ValueError(f"overlap is a share of the patch, 0 to below 1, not {overlap}")
    if length <= patch:
        return [0]
    step = max(1.0, patch * (1.0 - overlap))
    count = int(np.ceil((length - patch) / step - 1e-9)) + 1
    return [round(i * (length - patch) / (count - 1)) for i in range(count)]


def gaussian_profile(patch: int) -> np.ndarray:
    """Weights of a tile's voxels along one axis, float32: a Gaussian about the centre whose FWHM is the patch's side.

    The 3-D weight is the product of the three profiles (Nikulin et al. 2023). It is 1/2 at the outer faces.
    """
    position = np.arange(patch) - (patch - 1) / 2
    sigma = patch / FWHM_PER_SIGMA
    return np.exp(-0.5 * (position / sigma) ** 2).astype(np.float32)


def weight_sum(length: int, starts: Sequence[int], profile: np.ndarray) -> np.ndarray:
    """Sum of all tiles' weights along one axis, float32, shape (length,)."""
    total = np.zeros(max(length, len(profile)), np.float32)
    for start in starts:
        total[start : start + len(profile)] += profile
    return total[:length]


@dataclass
class TiledAnswer:
    """What the networks say about a volume.

    Attributes:
        foreground: float32 (K - 1, Z, Y, X), 0 to 1; background is 1 minus their sum.
        spread: float32 (Z, Y, X), 0 to 0.5: standard deviation, over the networks and the test-time flips, of the
            probability of any foreground class, within each tile; None where it was not asked for.
    """

    foreground: np.ndarray
    spread: np.ndarray | None = None


def flips(axes: str) -> list[tuple[int, ...]]:
    """All mirrorings along the axes named by letters of ``zyx``, as axes of (N, C, Z, Y, X); the plain one first."""
    names = [-3 + "zyx".index(axis) for axis in axes]
    return [chosen for count in range(len(names) + 1) for chosen in itertools.combinations(names, count)]


def foreground_probabilities(
    array: np.ndarray,
    networks: Sequence[torch.nn.Module],
    patch_zyx: tuple[int, int, int],
    overlap: tuple[float, float, float],
    device: ComputeDevice,
    **options: Any,
) -> np.ndarray:
    """The ``foreground`` of :func:`answer_in_tiles`, with the same arguments."""
    return answer_in_tiles(array, networks, patch_zyx, overlap, device, **options).foreground


def answer_in_tiles(
    array: np.ndarray,
    networks: Sequence[torch.nn.Module],
    patch_zyx: tuple[int, int, int],
    overlap: tuple[float, float, float],
    device: ComputeDevice,
    *,
    worth: np.ndarray | None = None,
    padding: Sequence[float] | None = None,
    flip_axes: str = "",
    classes: int = 3,
    with_spread: bool = False,
    on_tile: Callable[[float], None] = lambda fraction: None,
) -> TiledAnswer:
    """Mean class probability of the networks over Gaussian-weighted tiles, background left out.

    Every tile has exactly the size ``patch_zyx``: networks with instance norm or attention give other answers at other
    sizes. A volume smaller than the patch is padded behind its end.

    Args:
        array: network input, float32 (C, Z, Y, X), normalised.
        networks: ensemble members on ``device``, in evaluation mode; each maps (1, C, z, y, x) to logits
            (1, K, z, y, x), class 0 being background.
        patch_zyx: tile size in voxels.
        overlap: share of a tile that neighbours have in common along z, y, x.
        device: where and in which precision to run.
        worth: boolean (Z, Y, X); tiles without a True voxel are background without being run. None: run all.
        padding: value per channel where a tile reaches beyond the volume; None: zeros.
        flip_axes: letters of ``zyx``: each tile is also run in all mirrorings along these axes, and the answers,
            mirrored back, are averaged.
        classes: K, for the case that no tile is worth running.
        with_spread: also say how far the members and flips are apart.
        on_tile: called after each tile with the share done; may raise to stop.

    Raises:
        ModelError: a network answers with several outputs, which it does in training mode only.
    """
    shape = array.shape[1:]
    starts = [tile_starts(n, p, o) for n, p, o in zip(shape, patch_zyx, overlap, strict=True)]
    profiles = [gaussian_profile(p) for p in patch_zyx]
    weight = profiles[0][:, None, None] * profiles[1][None, :, None] * profiles[2][None, None, :]
    total: np.ndarray | None = None
    spread = np.zeros(shape, np.float32) if with_spread else None
    corners = list(itertools.product(*starts))
    for number, corner in enumerate(corners):
        box = tuple(slice(s, min(s + p, n)) for s, p, n in zip(corner, patch_zyx, shape, strict=True))
        if worth is None or worth[box].any():
            tile = _padded(array[(slice(None), *box)], patch_zyx, padding)
            probabilities, apart = _run(tile, networks, device, flip_axes, with_spread)
            if total is None:
                total = np.zeros((len(probabilities), *shape), np.float32)
            inside = tuple(slice(0, b.stop - b.start) for b in box)
            total[(slice(None), *box)] += (probabilities * weight)[(slice(None), *inside)]
            if spread is not None:
                spread[box] += (apart * weight)[inside]
        on_tile((number + 1) / len(corners))
    if total is None:
        return TiledAnswer(np.zeros((classes - 1, *shape), np.float32), spread)
    # All tiles form a product grid, so the sum of their weights is a product too: no fourth volume is needed.
    sums = [weight_sum(n, s, p) for n, s, p in zip(shape, starts, profiles, strict=True)]
    for axis, values in enumerate(sums):
        divisor = np.expand_dims(values, tuple(i for i in range(3) if i != axis))
        total /= divisor[None]
        if spread is not None:
            spread /= divisor
    return TiledAnswer(total, spread)


def _padded(tile: np.ndarray, patch_zyx: tuple[int, int, int], padding: Sequence[float] | None) -> np.ndarray:
    """``tile`` filled up behind its end to the patch's size."""
    if tile.shape[1:] == tuple(patch_zyx):
        return np.ascontiguousarray(tile)
    fill = np.zeros(len(tile)) if padding is None else np.asarray(padding)
    full = np.empty((len(tile), *patch_zyx), np.float32)
    full[:] = fill[:, None, None, None]
    full[(slice(None), *(slice(0, n) for n in tile.shape[1:]))] = tile
    return full


def _run(
    tile: np.ndarray, networks: Sequence[torch.nn.Module], device: ComputeDevice, flip_axes: str, with_spread: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Mean foreground probabilities of one tile, float32 (K - 1, z, y, x), and their spread (z, y, x)."""
    import torch

    with torch.inference_mode(), device.autocast():
        x = torch.from_numpy(tile)[None].to(device.name)
        mean = first = shift = square = None
        count = 0
        for answer in _answers(x, networks, flip_axes):
            count += 1
            mean = answer if mean is None else mean + answer
            if with_spread:
                tumour = answer.sum(0)
                if first is None:
                    first, shift, square = tumour, torch.zeros_like(tumour), torch.zeros_like(tumour)
                difference = tumour - first  # from the first one: where all agree, the spread is exactly 0
                shift += difference
                square += difference**2
        spread = (square / count - (shift / count) ** 2).clamp_min(0).sqrt().cpu().numpy() if with_spread else None
        return (mean / count).cpu().numpy(), spread


def _answers(x: torch.Tensor, networks: Sequence[torch.nn.Module], flip_axes: str) -> Iterator[torch.Tensor]:
    """Foreground probabilities (K - 1, z, y, x) of each network for each mirroring, mirrored back."""
    for network in networks:
        for axes in flips(flip_axes):
            logits = network(x.flip(axes) if axes else x)
            if not hasattr(logits, "softmax"):
                raise ModelError(
                    "The network answers with several outputs: it is in training mode. Call its eval() before use."
                )
            answer = logits.float().softmax(1)[0, 1:]
            yield answer.flip(axes) if axes else answer
