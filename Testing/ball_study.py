"""A patient of two balls, a hot primary and a hot node, whose volumes and positions are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.geometry import Geometry, image_from_array

PET_GRID = Geometry((44, 40, 36), (4.0, 4.0, 4.0), (-88.0, -80.0, -70.0), tuple(np.eye(3).ravel()))
CT_GRID = Geometry((88, 80, 36), (2.0, 2.0, 4.0), (-88.0, -80.0, -70.0), tuple(np.eye(3).ravel()))
# Voxel centres of both grids, so that the sphere of SUVpeak can lie right in the middle.
PRIMARY_MM, NODE_MM = np.array([-20.0, 0.0, 2.0]), np.array([40.0, 8.0, 18.0])
RADIUS_MM = {"Primary 1": 16.9, "Node 1": 12.9}


def distance_mm(geometry: Geometry, centre_mm) -> np.ndarray:
    zyx = np.stack(np.meshgrid(*[np.arange(n) for n in geometry.shape_zyx], indexing="ij"), -1)
    return np.linalg.norm(geometry.to_lps(zyx[..., ::-1]) - centre_mm, axis=-1)


def soft_ball(geometry: Geometry, centre_mm, radius_mm: float) -> np.ndarray:
    """1 inside, 0 outside, half at the radius, with an edge as blurred as a PET's."""
    return 1 / (1 + np.exp((distance_mm(geometry, centre_mm) - radius_mm) / 1.5))


def write_ball_study(folder: Path) -> dict[str, Path]:
    """A body of SUV 1 with a hot primary of SUV 7 and, in dense tissue, a hot node: 4 is half-way up for both."""
    body = soft_ball(PET_GRID, [0, 0, 0], 65)
    primary = soft_ball(PET_GRID, PRIMARY_MM, RADIUS_MM["Primary 1"])
    node = soft_ball(PET_GRID, NODE_MM, RADIUS_MM["Node 1"])
    suv = body + (7 - body) * np.maximum(primary, node)
    hu = np.where(distance_mm(CT_GRID, [0, 0, 0]) < 66, 0.0, -1000.0)
    hu[distance_mm(CT_GRID, NODE_MM) < 24] = 200
    paths = {}
    for name, array, geometry in (("PET", suv, PET_GRID), ("CT", hu, CT_GRID)):
        paths[name] = folder / f"{name}.nii.gz"
        sitk.WriteImage(image_from_array(array.astype(np.float32), geometry), str(paths[name]))
    return paths
