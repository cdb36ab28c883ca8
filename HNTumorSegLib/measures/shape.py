"""Shape of one lesion: surface, sphericity, asphericity and largest diameter, all from its mesh (:mod:`mesh`).

Definitions of the IBSI reference manual (Zwanenburg et al., Radiology 2020;295:328): area ``A`` (C0JK) and volume ``V``
(RNU0) of the mesh, sphericity ``(36 pi V^2)^(1/3) / A`` (QCFX), asphericity ``(A^3 / (36 pi V^2))^(1/3) - 1`` (25C7),
maximum 3D diameter (L0JK): the largest distance between two corners of the mesh. Asphericity in percent is that of
Apostolova et al. (BMC Cancer 2014;14:896), 0 for a ball; a ball of voxels has about 7 % (see :mod:`mesh`).

Policy: a lesion without voxels has no shape (None throughout). A lesion of one voxel is an octahedron
with its corners on the voxel's faces, and is measured as one. A lesion of several pieces is measured as one body.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from HNTumorSegLib.measures.mesh import mesh_area_and_volume

_FEW_POINTS = 600
"""As few as these are compared each with each, without the hull."""


@dataclass(frozen=True)
class Shape:
    """Shape of a lesion; None where it has no voxels."""

    surface_mm2: float | None = None
    mesh_volume_ml: float | None = None
    sphericity: float | None = None
    asphericity_percent: float | None = None
    largest_diameter_mm: float | None = None


def shape_of(mask: np.ndarray, spacing_zyx_mm: tuple[float, float, float]) -> Shape:
    """Shape of a boolean zyx mask; see the module's text."""
    if not mask.any():
        return Shape()
    area, volume = mesh_area_and_volume(mask, spacing_zyx_mm)
    sphericity = float(np.cbrt(36 * np.pi * volume**2)) / area
    return Shape(
        surface_mm2=area,
        mesh_volume_ml=volume / 1000,
        sphericity=sphericity,
        asphericity_percent=100 * (1 / sphericity - 1),
        largest_diameter_mm=largest_diameter_mm(mask, spacing_zyx_mm),
    )


def largest_diameter_mm(mask: np.ndarray, spacing_zyx_mm: tuple[float, float, float]) -> float:
    """Largest distance between two corners of the mesh around a mask that is not empty."""
    corners = np.concatenate([_ends(mask, axis) for axis in range(3)]) * spacing_zyx_mm
    if len(corners) > _FEW_POINTS:
        corners = corners[ConvexHull(corners).vertices]
    return float(pdist(corners).max())


def _ends(mask: np.ndarray, axis: int) -> np.ndarray:
    """First and last corner of the mesh on each grid line along an axis, as zyx indices; the others lie between."""
    along = np.moveaxis(mask, axis, -1)
    lines = np.argwhere(along.any(axis=-1))
    inside = along[tuple(lines.T)]
    first = inside.argmax(axis=1) - 0.5
    last = mask.shape[axis] - 0.5 - inside[:, ::-1].argmax(axis=1)
    return np.concatenate([np.insert(lines.astype(float), axis, ends, axis=1) for ends in (first, last)])
