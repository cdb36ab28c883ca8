"""Distances between the surfaces of two masks, and the figures made of them.

Distances come from MONAI. They are computed once for a pair of masks; every figure is a short sum over them.

Policy for empty masks: both empty, nothing is defined (None). Exactly one empty: surface DSC and NSD are 0, distances
are not defined (None), because a surface that is not there has no distance; tables count such cases.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from HNTumorSegLib.errors import GeometryError
from HNTumorSegLib.lesions.lesion_set import box_of_nonzero

ROUNDING_MM = 1e-4
"""MONAI gives distances in 32 bits; a surface at exactly the tolerance (one voxel of 1.01 mm, say) lies within it."""


@dataclass(frozen=True)
class Surfaces:
    """Two surfaces and how far each lies from the other.

    In every pair of arrays the first belongs to the predicted mask, the second to the true one.

    Attributes:
        n_empty: how many of the two masks are empty; the arrays are empty unless it is 0.
        voxels_mm: from each boundary voxel (in the mask, with a face neighbour outside) to the other mask's nearest.
        elements_mm: from each surface element (2x2x2 voxels that are neither all in nor all out) to the nearest one.
        areas_mm2: area of each surface element by marching cubes.
    """

    n_empty: int
    voxels_mm: tuple[np.ndarray, np.ndarray]
    elements_mm: tuple[np.ndarray, np.ndarray]
    areas_mm2: tuple[np.ndarray, np.ndarray]

    def surface_dsc(self, tolerance_mm: float) -> float | None:
        """Share of both surfaces' *area* within the tolerance of the other, 0 to 1 (Nikolov et al. 2018)."""
        if self.n_empty:
            return None if self.n_empty == 2 else 0.0
        within = sum(
            area[distance <= tolerance_mm + ROUNDING_MM].sum()
            for distance, area in zip(self.elements_mm, self.areas_mm2, strict=True)
        )
        return float(within / sum(area.sum() for area in self.areas_mm2))

    def nsd(self, tolerance_mm: float) -> float | None:
        """Share of both masks' boundary *voxels* within the tolerance of the other, 0 to 1 (arXiv:2111.05408)."""
        if self.n_empty:
            return None if self.n_empty == 2 else 0.0
        distances = np.concatenate(self.voxels_mm)
        return float(np.count_nonzero(distances <= tolerance_mm + ROUNDING_MM) / distances.size)

    def hausdorff_mm(self, percentile: float = 100.0) -> float | None:
        """The larger of the two directed distances at a percentile (100: the Hausdorff distance) of boundary voxels."""
        if self.n_empty:
            return None
        return float(max(np.percentile(distances, percentile) for distances in self.voxels_mm))

    def average_mm(self) -> float | None:
        """Mean distance of all boundary voxels of both masks to the other mask's boundary (symmetric)."""
        if self.n_empty:
            return None
        return float(np.concatenate(self.voxels_mm).mean(dtype=float))


@dataclass(frozen=True)
class SurfaceFigures:
    """The surface figures of one pair of masks; None where the policy for empty masks says so."""

    tolerance_mm: float
    surface_dsc: float | None
    nsd: float | None
    hd_mm: float | None
    hd95_mm: float | None
    asd_mm: float | None


def surface_figures(
    predicted: np.ndarray, truth: np.ndarray, spacing_zyx_mm: tuple[float, float, float], tolerance_mm: float
) -> SurfaceFigures:
    """All surface figures of two boolean zyx masks; see :func:`surfaces`."""
    pair = surfaces(predicted, truth, spacing_zyx_mm)
    return SurfaceFigures(
        tolerance_mm,
        pair.surface_dsc(tolerance_mm),
        pair.nsd(tolerance_mm),
        pair.hausdorff_mm(),
        pair.hausdorff_mm(95.0),
        pair.average_mm(),
    )


def surfaces(predicted: np.ndarray, truth: np.ndarray, spacing_zyx_mm: tuple[float, float, float]) -> Surfaces:
    """The surfaces of two masks; only the box around both is looked at.

    A mask that reaches the edge of the image ends there: beyond it is background.

    Args:
        predicted: boolean zyx array.
        truth: likewise, on the same grid.
        spacing_zyx_mm: distance between voxel centres in the order of the arrays' axes.

    Raises:
        GeometryError: the arrays differ in shape.
    """
    if predicted.shape != truth.shape:
        raise GeometryError(f"Masks of shape {predicted.shape} and {truth.shape} (zyx) cannot be compared.")
    n_empty = 2 - int(predicted.any()) - int(truth.any())
    if n_empty:
        nothing = (np.empty(0, np.float32), np.empty(0, np.float32))
        return Surfaces(n_empty, nothing, nothing, nothing)
    box = box_of_nonzero(predicted | truth)
    masks = [np.pad(np.asarray(mask[box], bool), 1) for mask in (predicted, truth)]
    _, voxels_mm, _ = _monai_distances(masks, spacing_zyx_mm, use_subvoxels=False)
    edges, elements_mm, areas = _monai_distances(masks, spacing_zyx_mm, use_subvoxels=True)
    areas_mm2 = tuple(area[edge.astype(bool)] for area, edge in zip(areas, edges, strict=True))
    return Surfaces(0, voxels_mm, elements_mm, areas_mm2)


def _monai_distances(
    masks: list[np.ndarray], spacing_zyx_mm: tuple[float, float, float], *, use_subvoxels: bool
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Edges, distances and areas of both masks, each as numpy arrays; areas only with sub-voxels."""
    import torch
    from monai.metrics.utils import get_edge_surface_distance

    # oneDNN compiles the 2x2x2 convolution anew for every box and keeps it: 2 MB a patient, and slower than without.
    with warnings.catch_warnings():
        # MONAI 1.5 and 1.6 warn about an argument that they pass themselves, torch about a flag that is not touched.
        warnings.filterwarnings("ignore", ".*always_return_as_numpy", FutureWarning)
        warnings.filterwarnings("ignore", "TF32 acceleration", UserWarning)
        with torch.backends.mkldnn.flags(enabled=False):
            found = get_edge_surface_distance(
                *(torch.from_numpy(mask) for mask in masks),
                spacing=tuple(float(mm) for mm in spacing_zyx_mm),
                use_subvoxels=use_subvoxels,
                symmetric=True,
            )
    return tuple(tuple(np.asarray(part) for part in parts) for parts in found)
