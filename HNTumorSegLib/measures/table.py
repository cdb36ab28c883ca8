"""The table of measurements: one row a lesion, then the totals.

Policy for what is not defined: a lesion without voxels has volume 0 and TLG 0, and no SUV and no centroid (empty
cells). A lesion of one voxel is measured like any other. Totals follow the same rule: without a lesion of that kind
the volume and the TLG are 0 and the rest is empty. No value is ever NaN: a lesion where the PET has no value is an
error.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import InputError, OutputError
from HNTumorSegLib.geometry import SAME_GRID_TOLERANCE_MM, Geometry, resample
from HNTumorSegLib.lesions.codes import KINDS, NODE, PRIMARY
from HNTumorSegLib.lesions.lesion import Lesion
from HNTumorSegLib.lesions.lesion_set import Box, LesionSet
from HNTumorSegLib.measures.suv import peak_margin, suv_indices
from HNTumorSegLib.measures.volume import centroid_mm, lesion_glycolysis_g, volume_ml

TOTAL = "total"
TOTAL_NAMES = {PRIMARY: "Primary tumours", NODE: "Lymph-node metastases", TOTAL: "Total tumour burden"}
_DECIMALS = {"volume_ml": 4, "suv_max": 4, "suv_mean": 4, "suv_peak": 4, "tlg_g": 4, "x_mm": 3, "y_mm": 3, "z_mm": 3}


@dataclass(frozen=True)
class LesionMeasures:
    """One row of the table; None where a value is not defined.

    Attributes:
        id: the lesion's id, or ``primary``, ``node``, ``total`` in the rows of totals.
        name, kind, status: as in :class:`Lesion`; kind and status are empty where they do not apply.
        volume_ml: metabolic tumour volume.
        suv_max, suv_mean, suv_peak: g/ml; in totals the highest, the volume-weighted mean, and the highest.
        tlg_g: total lesion glycolysis, volume times SUVmean; None only where :mod:`detail` met unknown SUV.
        x_mm, y_mm, z_mm: LPS centre of volume.
    """

    id: int | str
    name: str
    kind: str
    status: str
    volume_ml: float
    suv_max: float | None
    suv_mean: float | None
    suv_peak: float | None
    tlg_g: float | None
    x_mm: float | None
    y_mm: float | None
    z_mm: float | None


COLUMNS = tuple(f.name for f in fields(LesionMeasures))
"""Column names of ``lesions.csv``, in order."""


@dataclass(frozen=True)
class Measurements:
    """Rows of the lesions, in the lesion set's order, and the totals ``primary``, ``node``, ``total``."""

    rows: list[LesionMeasures]
    totals: list[LesionMeasures]

    @property
    def ttb_ml(self) -> float:
        """Total tumour burden: the volume of all primaries and nodes (Nikulin et al. 2023)."""
        return self.total(TOTAL).volume_ml

    def total(self, which: str) -> LesionMeasures:
        """The row of totals ``primary``, ``node`` or ``total``."""
        return next(row for row in self.totals if row.id == which)

    def to_csv(self, path: Path | str) -> Path:
        """Write the table: UTF-8, comma, decimal point whatever the locale, empty cells where nothing is defined.

        Volumes, SUV and TLG have 4 decimals, positions 3. Raises :class:`OutputError` when it cannot be written.
        """
        path = Path(path)
        try:
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(COLUMNS)
                writer.writerows([cell(row, name) for name in COLUMNS] for row in (*self.rows, *self.totals))
        except OSError as error:
            raise OutputError(
                f"The lesion table '{path}' cannot be written: {error.strerror}. "
                "Choose a folder with free space that you may write to."
            ) from error
        return path


def cell(row: LesionMeasures, name: str) -> str:
    """One cell of ``lesions.csv``; empty where the value is not defined."""
    value = getattr(row, name)
    if value is None:
        return ""
    return f"{value:.{_DECIMALS[name]}f}" if name in _DECIMALS else str(value)


def measure(lesion_set: LesionSet, pet: sitk.Image) -> Measurements:
    """Volumes and SUV indices of all lesions.

    Args:
        lesion_set: lesions on any grid: the PET's, the CT's, or another.
        pet: SUVbw in g/ml. When its grid is not the lesions' grid, it is interpolated linearly onto the
            surroundings of each lesion, so volumes are always those of the lesions' own voxels.

    Raises:
        InputError: the PET has no value (NaN, or it does not reach) somewhere in a lesion; the lesion is named.
    """
    boxes = lesion_set.boxes()
    same_grid = lesion_set.geometry.distance_mm(Geometry.from_image(pet)) <= SAME_GRID_TOLERANCE_MM
    pet = pet if same_grid else sitk.Cast(pet, sitk.sitkFloat32)
    rows = [measure_lesion(lesion_set, lesion, boxes.get(lesion.id), pet, same_grid) for lesion in lesion_set.lesions]
    return with_totals(rows)


def with_totals(rows: list[LesionMeasures]) -> Measurements:
    """The table of these rows, with its totals."""
    totals = [_total(kind, [r for r in rows if r.kind == kind]) for kind in KINDS]
    return Measurements(rows, [*totals, _total(TOTAL, rows)])


def measure_lesion(
    lesion_set: LesionSet, lesion: Lesion, box: Box | None, pet: sitk.Image, same_grid: bool
) -> LesionMeasures:
    """One row.

    Args:
        lesion_set: the lesions.
        lesion: the one to measure.
        box: where its voxels lie; None when it has none.
        pet: SUVbw; 32-bit float when it lies on another grid.
        same_grid: whether the PET lies on the lesions' grid.

    Raises:
        InputError: the PET has no value somewhere in the lesion.
    """
    if box is None:
        return _row(lesion.id, lesion.name, lesion.kind, lesion.status, 0.0, (None, None, None), None)
    surroundings = lesion_surroundings(lesion_set, lesion, box, pet, same_grid)
    return measure_surroundings(lesion, surroundings, lesion_set.geometry)


@dataclass(frozen=True)
class Surroundings:
    """A lesion with as much of the PET around it as SUVpeak needs.

    Attributes:
        suv: zyx array in g/ml on the lesions' grid; NaN where the PET does not reach.
        mask: boolean zyx array of the same shape.
        start: index on the grid (zyx) of the first voxel; negative where the part reaches beyond the grid.
    """

    suv: np.ndarray
    mask: np.ndarray
    start: tuple[int, int, int]


def lesion_surroundings(
    lesion_set: LesionSet, lesion: Lesion, box: Box, pet: sitk.Image, same_grid: bool
) -> Surroundings:
    """The PET around one lesion; arguments and errors as for :func:`measure_lesion`."""
    geometry = lesion_set.geometry
    margin = peak_margin(geometry.spacing_zyx_mm)
    start = [s.start - m for s, m in zip(box, margin, strict=True)]
    stop = [s.stop + m for s, m in zip(box, margin, strict=True)]
    suv = pet_part(pet, geometry, start, stop, same_grid)
    mask = np.zeros(suv.shape, bool)
    mask[tuple(slice(m, m + s.stop - s.start) for s, m in zip(box, margin, strict=True))] = (
        lesion_set.labels[box] == lesion.id
    )
    unknown = int(np.count_nonzero(~np.isfinite(suv[mask])))
    if unknown:
        raise InputError(
            f"Lesion '{lesion.name}' cannot be measured: the PET has no value at {unknown} of its "
            f"{np.count_nonzero(mask)} voxels (it does not reach there, or holds NaN). "
            "Cut the lesion back or repair the PET."
        )
    return Surroundings(suv, mask, tuple(start))


def measure_surroundings(lesion: Lesion, around: Surroundings, geometry: Geometry) -> LesionMeasures:
    """One row, from the PET around the lesion."""
    indices = suv_indices(around.suv, around.mask, geometry.spacing_zyx_mm)
    return _row(
        lesion.id,
        lesion.name,
        lesion.kind,
        lesion.status,
        volume_ml(around.mask, geometry),
        (indices.suv_max, indices.suv_mean, indices.suv_peak),
        centroid_mm(around.mask, around.start, geometry),
    )


def pet_part(
    pet: sitk.Image, geometry: Geometry, start: Sequence[int], stop: Sequence[int], same_grid: bool
) -> np.ndarray:
    """SUV on voxels ``start`` to ``stop`` (zyx) of a grid, which may reach beyond it; NaN where there is no PET."""
    if same_grid:
        array = sitk.GetArrayViewFromImage(pet)
        inner = [slice(max(0, a), min(n, b)) for a, b, n in zip(start, stop, array.shape, strict=True)]
        part = np.full([b - a for a, b in zip(start, stop, strict=True)], np.nan)
        part[tuple(slice(s.start - a, s.stop - a) for s, a in zip(inner, start, strict=True))] = array[tuple(inner)]
        return part
    size = [b - a for a, b in zip(start, stop, strict=True)]
    grid = geometry.crop(tuple(start[::-1]), tuple(size[::-1]))
    return sitk.GetArrayFromImage(resample(pet, grid, outside=float("nan"))).astype(float)


def _total(which: str, rows: list[LesionMeasures]) -> LesionMeasures:
    """Sums, maxima and volume-weighted means over lesions."""
    volume = sum(row.volume_ml for row in rows)
    glycolysis = sum(row.tlg_g for row in rows)
    filled = [row for row in rows if row.volume_ml > 0]
    suv_max = max((row.suv_max for row in filled), default=None)
    suv_peak = max((row.suv_peak for row in filled if row.suv_peak is not None), default=None)
    suv_mean = glycolysis / volume if volume else None
    centre = (
        sum(row.volume_ml * np.array([row.x_mm, row.y_mm, row.z_mm]) for row in filled) / volume if filled else None
    )
    kind = which if which in KINDS else ""
    return _row(which, TOTAL_NAMES[which], kind, "", volume, (suv_max, suv_mean, suv_peak), centre)


def _row(
    row_id: int | str,
    name: str,
    kind: str,
    status: str,
    volume: float,
    suv: tuple[float | None, float | None, float | None],
    centre_mm: np.ndarray | None,
) -> LesionMeasures:
    """A row; TLG follows from volume and SUVmean."""
    x, y, z = (None, None, None) if centre_mm is None else (float(c) for c in centre_mm)
    return LesionMeasures(row_id, name, kind, status, volume, *suv, lesion_glycolysis_g(volume, suv[1]), x, y, z)
