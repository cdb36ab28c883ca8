"""Overlapping tiles, Gaussian weights: from a volume to class probabilities."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
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
    box: tuple[slice, slice, slice] | None = None,
    worth: np.ndarray | None = None,
    padding: Sequence[float] | None = None,
    flip_axes: str = "",
    classes: int = 3,
    with_spread: bool = False,
    on_tile: Callable[[float], None] = lambda fraction: None,
) -> TiledAnswer:
    """Mean class probability of the networks over Gaussian-weighted tiles, background left out.

    Every tile has exactly the size ``patch_zyx``: networks with instance norm or attention give other answers at other
    sizes. A volume smaller than the patch is padded behind its end. Nothing is weighted along axes with a single tile.

    Args:
        array: network input, float32 (C, Z, Y, X), normalised.
        networks: ensemble members on ``device``, in evaluation mode; each maps (1, C, z, y, x) to logits
            (1, K, z, y, x), class 0 being background.
        patch_zyx: tile size in voxels.
        overlap: share of a tile that neighbours have in common along z, y, x.
        device: where and in which precision to run.
        box: part of the volume (z, y, x) that the tiles cover; all else is background. None: all of it.
        worth: boolean (Z, Y, X); tiles without a True voxel are background without being run. None: run all.
        padding: value per channel where a tile reaches beyond the volume; None: zeros.
        flip_axes: letters of ``zyx``: each tile is also run in all mirrorings along these axes, and the answers,
            mirrored back, are averaged.
        classes: K, for the case that no tile is worth running.
        with_spread: also say how far the members and flips are apart.
        on_tile: called with the share done after each tile, and within it after each run of a network; may raise to
            stop.

    Raises:
        ModelError: a network answers with several outputs, which it does in training mode only.
    """
    box = box or tuple(slice(0, n) for n in array.shape[1:])
    shape = tuple(b.stop - b.start for b in box)
    starts = [tile_starts(n, p, o) for n, p, o in zip(shape, patch_zyx, overlap, strict=True)]
    weights = _Weights(shape, starts, patch_zyx)
    total: np.ndarray | None = None
    spread = np.zeros(array.shape[1:], np.float32) if with_spread else None
    corners = list(itertools.product(*starts))
    sides = [min(p, n) for p, n in zip(patch_zyx, shape, strict=True)]
    inside = tuple(slice(0, n) for n in sides)
    for number, corner in enumerate(corners):
        tile_box = tuple(slice(b.start + c, b.start + c + n) for b, c, n in zip(box, corner, sides, strict=True))
        if worth is None or worth[tile_box].any():
            tile = _padded(array[(slice(None), *tile_box)], patch_zyx, padding)
            on_run = partial(lambda share, done: on_tile((done + share) / len(corners)), done=number)
            probabilities, apart = _run(tile, networks, device, flip_axes, with_spread, on_run)
            if total is None:
                total = np.zeros((len(probabilities), *array.shape[1:]), np.float32)
            total[(slice(None), *tile_box)] += weights.times(probabilities)[(slice(None), *inside)]
            if spread is not None:
                spread[tile_box] += weights.times(apart)[inside]
        on_tile((number + 1) / len(corners))
    if total is None:
        return TiledAnswer(np.zeros((classes - 1, *array.shape[1:]), np.float32), spread)
    weights.divide(total[(slice(None), *box)])
    if spread is not None:
        weights.divide(spread[box])
    return TiledAnswer(total, spread)


class _Weights:
    """Gaussian weights of the tiles whose product grid ``starts`` is; 1 along axes with a single tile."""

    def __init__(self, shape: Sequence[int], starts: Sequence[Sequence[int]], patch_zyx: Sequence[int]):
        self.profiles: list[tuple[int, np.ndarray, np.ndarray]] = []
        for axis, (length, first, patch) in enumerate(zip(shape, starts, patch_zyx, strict=True)):
            if len(first) > 1:
                others = tuple(other for other in range(3) if other != axis)
                profile = gaussian_profile(patch)
                sums = weight_sum(length, first, profile)
                self.profiles.append((axis, np.expand_dims(profile, others), np.expand_dims(sums, others)))

    def times(self, tile: np.ndarray) -> np.ndarray:
        """``tile`` (..., z, y, x), changed in place."""
        for _, profile, _ in self.profiles:
            tile *= profile
        return tile

    def divide(self, total: np.ndarray) -> None:
        """Divide (..., Z, Y, X) in place by the sum of all tiles' weights, which is a product as their grid is."""
        for _, _, sums in self.profiles:
            total /= sums


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
    tile: np.ndarray,
    networks: Sequence[torch.nn.Module],
    device: ComputeDevice,
    flip_axes: str,
    with_spread: bool,
    on_run: Callable[[float], None],
) -> tuple[np.ndarray, np.ndarray | None]:
    """Mean foreground probabilities of one tile, float32 (K - 1, z, y, x), and their spread (z, y, x)."""
    import torch

    runs = len(networks) * len(flips(flip_axes))
    with torch.inference_mode(), device.autocast():
        x = torch.from_numpy(tile)[None].to(device.name)
        mean = first = shift = square = None
        for number, answer in enumerate(_answers(x, networks, flip_axes), 1):
            mean = answer if mean is None else mean.add_(answer)
            if with_spread:
                if first is None:
                    first = answer.sum(0)
                    shift, square = torch.zeros_like(first), torch.zeros_like(first)
                else:
                    difference = answer.sum(0).sub_(first)  # where all agree, the spread is exactly 0
                    shift += difference
                    square.addcmul_(difference, difference)
            if number < runs:
                on_run(number / runs)
        spread = (
            square.div_(runs).sub_(shift.div_(runs).square_()).clamp_min_(0).sqrt_().cpu().numpy()
            if with_spread
            else None
        )
        return mean.div_(runs).cpu().numpy(), spread


def _answers(x: torch.Tensor, networks: Sequence[torch.nn.Module], flip_axes: str) -> Iterator[torch.Tensor]:
    """Foreground probabilities (K - 1, z, y, x) of each network for each mirroring, mirrored back."""
    import torch

    for axes in flips(flip_axes):
        mirrored = x.flip(axes) if axes else x
        for network in networks:
            logits = network(mirrored)
            if not hasattr(logits, "softmax"):
                raise ModelError(
                    "The network answers with several outputs: it is in training mode. Call its eval() before use."
                )
            answer = logits.softmax(1, dtype=torch.float32)[0, 1:]
            yield answer.flip(axes) if axes else answer
