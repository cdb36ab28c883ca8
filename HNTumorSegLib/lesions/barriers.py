"""What a region of uptake must not be to count as a lesion: the one rule for a click and for a threshold.

- *Too large*: more than 250 ml in one piece, itself or together with what goes on around it at the same threshold.
- *Part of something hot*: the tissue around it has the uptake of brain. A lesion lies in cooler tissue.
- *Cut off*: its largest section lies at the edge of the PET, as the brain's does at the top of many scans. How large it
  is cannot be known.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.lesions.history import grown
from HNTumorSegLib.lesions.uptake import CORNERS, SHELL_MM, shell_background_suv

LARGEST_ML = 250.0
"""More than this in one piece is brain, bladder or heart, not a head-and-neck lesion."""

BRAIN_SUV = 2.5
"""Below this nothing is brain."""

CUT_SHARE = 0.5
"""A region whose section at the edge of the PET is this share of its largest section or more goes on beyond it."""


def surroundings_suv(
    mask: np.ndarray, suv: np.ndarray, taken: np.ndarray, threshold_suv: float, spacing_mm: tuple[float, float, float]
) -> float | None:
    """:func:`uptake.shell_background_suv` of a region, looked at near it only.

    Args:
        mask, suv, taken: zyx arrays of one grid: the region (not empty), g/ml, and other lesions.
        threshold_suv: g/ml, the region's threshold.
        spacing_mm: along z, y, x.
    """
    margin = tuple(int(np.ceil(SHELL_MM[1] / d)) for d in spacing_mm)
    near = grown(ndimage.find_objects(mask.view(np.uint8))[0], margin, mask.shape)
    distance = ndimage.distance_transform_edt(~mask[near], spacing_mm)
    return shell_background_suv(suv[near], distance, threshold_suv, taken[near])


def too_large_ml(
    mask: np.ndarray, suv: np.ndarray, taken: np.ndarray, threshold_suv: float, voxel_ml: float
) -> float | None:
    """Volume of what is too large for a lesion, None when it is not.

    A region that is surrounded by uptake above its own threshold is a part of something; that is measured then.

    Args:
        mask, suv, taken: zyx arrays of one grid: the region, g/ml, and other lesions.
        threshold_suv: g/ml, the region's threshold.
        voxel_ml: volume of a voxel.
    """
    volume = float(np.count_nonzero(mask) * voxel_ml)
    if volume > LARGEST_ML:
        return volume
    rim = ndimage.binary_dilation(mask, CORNERS) & ~mask & ~taken
    if np.count_nonzero(suv[rim] >= threshold_suv) < 0.5 * max(1, np.count_nonzero(rim)):
        return None
    pieces, _ = ndimage.label((suv >= threshold_suv) | mask, CORNERS)
    volume = float(np.count_nonzero(pieces == pieces[tuple(np.argwhere(mask)[0])]) * voxel_ml)
    return volume if volume > LARGEST_ML else None


def is_cut_off(mask: np.ndarray, geometry: Geometry, pet: Geometry) -> bool:
    """Whether a region's largest section along an axis of the PET lies, about, at that PET's edge.

    Args:
        mask: the region, boolean zyx array, on ``geometry``.
        geometry: its grid, LPS; any grid.
        pet: the PET's whole grid.
    """
    ijk = np.rint(pet.to_ijk(geometry.to_lps(np.argwhere(mask)[:, ::-1]))).astype(int)
    for axis, n in enumerate(pet.size):
        if n < 3:
            continue
        counts = np.bincount(np.clip(ijk[:, axis], 0, n - 1), minlength=n)
        if max(counts[0], counts[-1]) >= CUT_SHARE * counts.max():
            return True
    return False


def why_no_lesion(
    mask: np.ndarray, geometry: Geometry, threshold_suv: float, surroundings: float | None, pet: Geometry
) -> str | None:
    """A sentence about what speaks against a region that is not too large, None when nothing does.

    Args:
        mask, geometry: the region, boolean zyx array, and its grid.
        threshold_suv: g/ml.
        surroundings: what :func:`surroundings_suv` gives.
        pet: the PET's whole grid.
    """
    if surroundings is not None and surroundings >= BRAIN_SUV:
        return (
            f"lies in tissue that is hot itself (SUV {surroundings:.1f} around it, threshold {threshold_suv:.1f}): "
            "probably the brain"
        )
    if is_cut_off(mask, geometry, pet):
        return (
            f"goes on beyond the edge of the PET (above SUV {threshold_suv:.1f}): probably the brain, cut off by the "
            "scan's end, and in any case of unknown volume"
        )
    return None
