"""Overlapping tiles, Gaussian weights: from a volume to class probabilities."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

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


def foreground_probabilities(
    array: np.ndarray,
    networks: Sequence[torch.nn.Module],
    patch_zyx: tuple[int, int, int],
    overlap: tuple[float, float, float],
    device: ComputeDevice,
    *,
    worth: np.ndarray | None = None,
    padding: Sequence[float] | None = None,
    flip_left_right: bool = False,
    classes: int = 3,
    on_tile: Callable[[float], None] = lambda fraction: None,
) -> np.ndarray:
    """Mean class probability of the networks over Gaussian-weighted tiles, background left out.

    Every tile has exactly the size ``patch_zyx``: networks with instance norm or attention give other answers at other
    sizes. A volume smaller than the patch is padded behind its end.

    Args:
        array: network input, float32 (C, Z, Y, X), normalised.
        networks: ensemble members on ``device``; each maps (1, C, z, y, x) to logits (1, K, z, y, x), class 0 being
            background.
        patch_zyx: tile size in voxels.
        overlap: share of a tile that neighbours have in common along z, y, x.
        device: where and in which precision to run.
        worth: boolean (Z, Y, X); tiles without a True voxel are background without being run. None: run all.
        padding: value per channel where a tile reaches beyond the volume; None: zeros.
        flip_left_right: also run each tile mirrored along x and average.
        classes: K, for the case that no tile is worth running.
        on_tile: called after each tile with the share done; may raise to stop.

    Returns:
        float32 (K - 1, Z, Y, X), 0 to 1; background is 1 minus their sum.
    """
    shape = array.shape[1:]
    starts = [tile_starts(n, p, o) for n, p, o in zip(shape, patch_zyx, overlap, strict=True)]
    profiles = [gaussian_profile(p) for p in patch_zyx]
    weight = profiles[0][:, None, None] * profiles[1][None, :, None] * profiles[2][None, None, :]
    total: np.ndarray | None = None
    corners = list(itertools.product(*starts))
    for number, corner in enumerate(corners):
        box = tuple(slice(s, min(s + p, n)) for s, p, n in zip(corner, patch_zyx, shape, strict=True))
        if worth is None or worth[box].any():
            tile = _padded(array[(slice(None), *box)], patch_zyx, padding)
            probabilities = _run(tile, networks, device, flip_left_right)
            if total is None:
                total = np.zeros((len(probabilities), *shape), np.float32)
            inside = tuple(slice(0, b.stop - b.start) for b in box)
            total[(slice(None), *box)] += (probabilities * weight)[(slice(None), *inside)]
        on_tile((number + 1) / len(corners))
    if total is None:
        return np.zeros((classes - 1, *shape), np.float32)
    # All tiles form a product grid, so the sum of their weights is a product too: no fourth volume is needed.
    sums = [weight_sum(n, s, p) for n, s, p in zip(shape, starts, profiles, strict=True)]
    for axis, values in enumerate(sums):
        total /= np.expand_dims(values, tuple(i for i in range(3) if i != axis))[None]
    return total


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
    tile: np.ndarray, networks: Sequence[torch.nn.Module], device: ComputeDevice, flip_left_right: bool
) -> np.ndarray:
    """Mean foreground probabilities of one tile, float32 (K - 1, z, y, x)."""
    import torch

    with torch.inference_mode(), device.autocast():
        x = torch.from_numpy(tile)[None].to(device.name)
        mean = None
        for network in networks:
            for flip in (False, True) if flip_left_right else (False,):
                logits = network(x.flip(-1) if flip else x).float()
                answer = logits.softmax(1)[0, 1:]
                answer = answer.flip(-1) if flip else answer
                mean = answer if mean is None else mean + answer
        return (mean / (len(networks) * (2 if flip_left_right else 1))).cpu().numpy()
