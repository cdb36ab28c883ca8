"""Small studies with known lesions on grids of every orientation, for the tests of what is written and shown."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.lesions.lesion import Edit, Lesion
from HNTumorSegLib.lesions.lesion_set import LesionSet
from HNTumorSegLib.study.study import Provenance, SeriesInfo, Study

SIZE = (14, 11, 9)
SPACING_MM = (2.0, 3.0, 4.0)
ORIGIN_MM = (-31.5, 12.25, -700.0)


def rotation(axis: str, degrees: float) -> np.ndarray:
    """3x3 rotation about an LPS axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


DIRECTIONS = {
    "axial": np.eye(3),
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "left-handed": np.diag([1.0, 1.0, -1.0]),
    "permuted": np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]),
    "oblique": rotation("z", 20) @ rotation("x", -35),
}


def grid(direction: str = "axial") -> Geometry:
    """A small grid with three different sizes and spacings."""
    return Geometry(SIZE, SPACING_MM, ORIGIN_MM, tuple(DIRECTIONS[direction].ravel().tolist()))


def lesions(geometry: Geometry | None = None) -> LesionSet:
    """A primary and two nodes, two of them touching, each with other facts."""
    geometry = grid() if geometry is None else geometry
    labels = np.zeros(geometry.shape_zyx, np.uint16)
    labels[2:5, 3:7, 4:9] = 1
    labels[2:4, 3:5, 9:11] = 7
    labels[6:8, 1:3, 0:2] = 3
    edit = Edit("reader", "paint", "2026-01-02T03:04:05Z", 0.5, 0.25, "cut back | at 50 %: bone\nsecond line")
    return LesionSet(
        geometry,
        labels,
        [
            Lesion(1, "primary", "Primary 1", score=0.875),
            Lesion(7, "node", "Node 1", "edited", 0.5, [edit]),
            Lesion(3, "node", "Node 2 Äö", "added"),
        ],
    )


def voxel_positions_ras(lesion_set: LesionSet, lesion_id: int) -> set[tuple[float, float, float]]:
    """Where a lesion's voxels lie in RAS, rounded to 1e-4 mm: LPS by the definition of the grid, x and y negated."""
    geometry = lesion_set.geometry
    direction = np.reshape(geometry.direction, (3, 3))
    k, j, i = np.nonzero(lesion_set.labels == lesion_id)
    lps = [
        np.array(geometry.origin_mm) + direction @ (np.array(geometry.spacing_mm) * ijk)
        for ijk in zip(i, j, k, strict=True)
    ]
    return {tuple(np.round([-x, -y, z], 4) + 0.0) for x, y, z in lps}


def study(geometry: Geometry | None = None, *, with_ct: bool = True, seed: int = 0) -> Study:
    """Noise as PET on a grid, and a CT twice as fine on the same part of space."""
    geometry = grid() if geometry is None else geometry
    random = np.random.default_rng(seed)
    pet = image_from_array(random.uniform(0, 12, geometry.shape_zyx).astype(np.float32), geometry)
    fine = Geometry(
        tuple(2 * n for n in geometry.size),
        tuple(s / 2 for s in geometry.spacing_mm),
        tuple(geometry.to_lps(np.full(3, -0.25)).tolist()),
        geometry.direction,
    )
    ct = image_from_array(random.integers(-1000, 1500, fine.shape_zyx).astype(np.int16), fine)
    return Study(
        pet,
        SeriesInfo("/data/DOE_JANE/pet", "PT", "ab" * 32, 9, "1.2.3.4", "1.2.3", "1.2.9", "DOE-123", "Jane's PET"),
        Provenance("dicom", "BQML", "Bq/ml times weight over decayed dose", 2.5e-4, {"PatientWeight": "70"}),
        ct if with_ct else None,
        SeriesInfo("/data/DOE_JANE/ct", "CT", "cd" * 32, 18, "1.2.3.5", "1.2.3", "1.2.9", "DOE-123")
        if with_ct
        else None,
        ["The PET in '/data/DOE_JANE/pet' of DOE-123 has no start time."],
    )


def patient(height_mm: float = 300.0, *, n_nodes: int = 4, with_ct: bool = True, direction: str = "axial"):
    """A body of ellipsoids with a primary and nodes: (study, lesions) for the overview; 4 mm voxels."""
    spacing = 4.0
    extent = (300.0, 240.0, height_mm)
    rotated = np.reshape(grid(direction).direction, (3, 3))
    size = tuple(int(n) for n in np.ceil(np.abs(rotated.T @ extent) / spacing))
    start = rotated @ ((np.array(size) - 1) * spacing / 2)
    geometry = Geometry(
        size,
        (spacing,) * 3,
        tuple((np.array([0.0, 0.0, 150 - height_mm / 2]) - start).tolist()),
        tuple(rotated.ravel().tolist()),
    )
    ijk = np.stack(np.indices(geometry.shape_zyx)[::-1], axis=-1)
    positions = geometry.to_lps(ijk)

    def ellipsoid(center: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        return (((positions - center) / radii) ** 2).sum(axis=-1) < 1

    body = ellipsoid((0, 0, 60), (75, 95, 110)) | ellipsoid((0, 0, -height_mm / 2), (130, 100, height_mm / 2 + 20))
    suv = np.where(body, 0.8, 0.02)
    suv[ellipsoid((0, -5, 85), (60, 78, 55))] = 7
    labels = np.zeros(geometry.shape_zyx, np.uint16)
    spots = [((-15.0, -20.0, -5.0), (17.0, 14.0, 20.0))]
    spots += [((s * 50.0, 20.0 + 2 * n, -20.0 - 13 * n), (9.0, 9.0, 9.0)) for n in range(8) for s in (-1, 1)][:n_nodes]
    found = []
    for number, (center, radii) in enumerate(spots if n_nodes >= 0 else [], start=1):
        mask = ellipsoid(center, radii)
        suv[mask] = 12 - 0.4 * number
        labels[mask] = number
        found.append(Lesion(number, "primary" if number == 1 else "node", f"Lesion {number}"))
    lesion_set = LesionSet(geometry, labels, found)
    lesion_set.rename()
    base = study(geometry, with_ct=with_ct)
    base.pet = image_from_array(suv.astype(np.float32), geometry)
    if with_ct:
        base.ct = image_from_array(np.where(body, 40, -1000).astype(np.int16), geometry)
    return base, lesion_set


def array(image: sitk.Image) -> np.ndarray:
    """Voxels, zyx."""
    return sitk.GetArrayFromImage(image)
