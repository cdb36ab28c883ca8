"""Metabolic tumour volume, total lesion glycolysis and position of one lesion."""

from __future__ import annotations

import numpy as np

from HNTumorSegLib.geometry import Geometry


def volume_ml(mask: np.ndarray, geometry: Geometry) -> float:
    """Metabolic tumour volume: number of voxels times voxel volume."""
    return int(np.count_nonzero(mask)) * geometry.voxel_volume_ml


def lesion_glycolysis_g(volume: float, suv_mean: float | None) -> float:
    """Total lesion glycolysis in g: ``volume`` in ml times SUVmean in g/ml; 0 for an empty lesion."""
    return 0.0 if suv_mean is None else volume * suv_mean


def centroid_mm(mask: np.ndarray, start_zyx: tuple[int, int, int], geometry: Geometry) -> np.ndarray | None:
    """LPS position of the centre of volume, three numbers; None for an empty lesion.

    Args:
        mask: boolean zyx array of a part of the grid.
        start_zyx: index on the grid of the first voxel of ``mask``.
        geometry: the whole grid.
    """
    if not mask.any():
        return None
    zyx = np.array([np.mean(axis) for axis in np.nonzero(mask)]) + np.asarray(start_zyx)
    return geometry.to_lps(zyx[::-1])
