"""A lesion on the grid of another image: which voxels it takes, and whether all of it is there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.geometry import Geometry, image_from_array, resample

MASK_RULE = "occupancy from 50 %"
"""How a lesion comes onto an image's grid; part of the settings' hash."""

_FROM_OCCUPANCY = 0.5 - 1e-4
_MOST_SAMPLES = 9
_OFF_THE_FACES = 1e-6
_EDGE = 1e-6


@dataclass(frozen=True)
class MaskOnImage:
    """A lesion on an image's grid.

    Attributes:
        start_ijk: index of the box's first voxel on the image's grid.
        mask: boolean zyx array of the box, which is the smallest one around the lesion.
    """

    start_ijk: tuple[int, int, int]
    mask: np.ndarray

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """Slices of the image's array along z, y, x."""
        return tuple(slice(s, s + n) for s, n in zip(self.start_ijk[::-1], self.mask.shape, strict=True))


def voxels_outside(mask: np.ndarray, geometry: Geometry, image_geometry: Geometry) -> int:
    """How many voxels of ``mask`` (boolean zyx on ``geometry``) have their centre outside the image."""
    zyx = np.argwhere(mask)
    ijk = image_geometry.to_ijk(geometry.to_lps(zyx[:, ::-1]))
    inside = (ijk >= -0.5 - _EDGE) & (ijk <= np.array(image_geometry.size) - 0.5 + _EDGE)
    return int(len(zyx) - np.count_nonzero(inside.all(axis=1)))


def mask_on_image(mask: np.ndarray, geometry: Geometry, image_geometry: Geometry) -> MaskOnImage | None:
    """The image's voxels that lie in the lesion by half of their volume or more.

    Args:
        mask: boolean zyx array on ``geometry``; at least one voxel.
        geometry: grid of ``mask``: the lesion's box is enough.
        image_geometry: grid of the image.

    Returns:
        None when no voxel does: the lesion is too small for the image's grid, or lies outside.
    """
    found = occupancy(mask, geometry, image_geometry)
    if found is None:
        return None
    start, share = found
    inside = share >= _FROM_OCCUPANCY
    zyx = np.argwhere(inside)
    if not len(zyx):
        return None
    low, high = zyx.min(axis=0), zyx.max(axis=0) + 1
    part = inside[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return MaskOnImage(tuple(int(s + n) for s, n in zip(start, low[::-1], strict=True)), np.ascontiguousarray(part))


def occupancy(mask: np.ndarray, geometry: Geometry, target: Geometry) -> tuple[tuple[int, int, int], np.ndarray] | None:
    """The share of each voxel of ``target`` that lies in the lesion.

    The lesion is what was drawn: the union of its voxels' boxes. (Linear interpolation of the mask, which IBSI uses,
    leaves a quarter of a single voxel's volume on a much finer grid, and little more of the smallest nodes.) The share
    is counted at points inside each voxel: its centre where the lesion's voxels are twice as large or more, else an odd
    number along each axis, two for each lesion voxel crossed and one more; an even number would round shares about one
    half up. On a grid of the same voxels the share is the mask itself.

    Args:
        mask: boolean zyx array on ``geometry``.
        geometry: grid of ``mask``.
        target: the other grid.

    Returns:
        Index (i, j, k) on ``target`` of a box's first voxel, and the shares in the box, float32 zyx, 0 to 1; None when
        the lesion does not meet the target.
    """
    ends = [(-0.5, n - 0.5) for n in geometry.size]
    corners = np.array([(i, j, k) for i in ends[0] for j in ends[1] for k in ends[2]])
    reach = target.to_ijk(geometry.to_lps(corners))
    low = np.clip(np.floor(reach.min(axis=0) + 0.5), 0, target.size).astype(int)
    high = np.clip(np.ceil(reach.max(axis=0) + 0.5), 0, target.size).astype(int)
    if (high <= low).any():
        return None
    size = high - low
    parts = _samples(geometry, target)
    samples = Geometry(
        tuple(int(n) for n in size * parts),
        tuple(float(s) for s in np.array(target.spacing_mm) / parts),
        # A point on the face between two voxels belongs to the same side everywhere, not to where rounding throws it.
        tuple(target.to_lps(low - 0.5 + 0.5 / parts + _OFF_THE_FACES).tolist()),
        target.direction,
    )
    inside = resample(image_from_array(mask, geometry), samples, nearest=True)
    shape = [n for count, part in zip(size[::-1], parts[::-1], strict=True) for n in (int(count), int(part))]
    share = sitk.GetArrayViewFromImage(inside).reshape(shape).mean(axis=(1, 3, 5), dtype=np.float32)
    return tuple(int(n) for n in low), share


def _samples(geometry: Geometry, target: Geometry) -> np.ndarray:
    """Points along each axis of a target voxel."""
    steps = np.reshape(target.direction, (3, 3)) * np.array(target.spacing_mm)
    voxels = np.reshape(geometry.direction, (3, 3)) * np.array(geometry.spacing_mm)
    crossed = np.abs(np.linalg.solve(voxels, steps)).max(axis=0)
    points = 2 * np.ceil(crossed - 1e-3).astype(int) + 1
    return np.where(crossed <= 0.5 + 1e-3, 1, np.minimum(points, _MOST_SAMPLES))
