"""Everything that is measured of each lesion, beyond the columns of ``lesions.csv``.

Policy. A lesion without voxels has volume, TLG and all threshold volumes 0, ``n_lesions`` 0, and nothing else (empty
cells); it takes no part in distances. A lesion of one voxel is measured like any other: its standard deviation is 0,
its shape that of an octahedron (:mod:`shape`), and no sphere of 1 ml lies inside it unless voxels are that large. A
lesion of which the PET does not know every voxel has its volume and shape, and no SUV; the totals it belongs to have
no SUV and TLG either. What is missing or doubtful is said in ``remarks`` and, where it is the input's fault, in
``DetailedMeasurements.problems``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
from scipy.spatial.distance import cdist

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.geometry import SAME_GRID_TOLERANCE_MM, Geometry
from HNTumorSegLib.lesions.codes import KINDS
from HNTumorSegLib.lesions.from_labels import NEIGHBOURHOOD
from HNTumorSegLib.lesions.lesion import Lesion
from HNTumorSegLib.lesions.lesion_set import Box, LesionSet
from HNTumorSegLib.measures.laterality import Midline, find_midline, side_of, side_of_all
from HNTumorSegLib.measures.shape import Shape, shape_of
from HNTumorSegLib.measures.suv import FurtherIndices, further_indices
from HNTumorSegLib.measures.table import (
    TOTAL,
    LesionMeasures,
    Measurements,
    lesion_surroundings,
    measure_surroundings,
    pet_part,
    with_totals,
)
from HNTumorSegLib.measures.thresholds import (
    RULES,
    ThresholdRegion,
    ThresholdSearch,
    ThresholdVolume,
    no_regions,
    search_margin,
    summed,
)
from HNTumorSegLib.measures.volume import centroid_mm, volume_ml


@dataclass(frozen=True)
class LesionDetails:
    """One row beyond :class:`LesionMeasures`, of a lesion or of a total; None where a value is not defined.

    Attributes:
        id: as in :class:`LesionMeasures`.
        n_lesions: 1 for a lesion with voxels; in totals how many there are (of the nodes: the number of nodes).
        further: more SUV indices; in totals median and standard deviation of all voxels, and the highest of both peaks.
        shape: surface, sphericity, ...; in totals the sum of surfaces and mesh volumes and the largest diameter.
        nearest_lesion_mm: distance between this lesion's centroid and that of the nearest other one.
        dmax_mm: the same for the farthest one; in totals the largest distance between any two of its lesions, which is
            the patient's Dmax in ``total`` (Cottereau et al., Ann Oncol 2020;31:404).
        midline_offset_mm: distance of the centroid from the patient's midline, positive to the left.
        laterality: ``left``, ``right``, ``midline`` or ``unknown``; in totals also ``bilateral``.
        thresholds: volume and TLG by threshold, in the order of :data:`thresholds.RULES`.
        remarks: sentences.
    """

    id: int | str
    n_lesions: int
    further: FurtherIndices
    shape: Shape
    nearest_lesion_mm: float | None
    dmax_mm: float | None
    midline_offset_mm: float | None
    laterality: str
    thresholds: tuple[ThresholdVolume, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class DetailedMeasurements:
    """The table of ``lesions.csv`` and the further columns of the same rows.

    Attributes:
        table: rows and totals; ``tlg_g`` is None in rows that could not be measured whole.
        rows, totals: further columns, in the same order.
        midline: what laterality rests on.
        problems: sentences about lesions that could not be measured, or only with doubt.
    """

    table: Measurements
    rows: list[LesionDetails]
    totals: list[LesionDetails]
    midline: Midline
    problems: list[str]

    def total(self, which: str) -> LesionDetails:
        """The further columns of the total ``primary``, ``node`` or ``total``."""
        return next(row for row in self.totals if row.id == which)


@dataclass
class _Found:
    """One lesion while the table is made: its values, its voxels' SUV (None when not known) and its regions."""

    measures: LesionMeasures
    n_lesions: int
    further: FurtherIndices
    shape: Shape
    suv: np.ndarray | None
    regions: list[ThresholdRegion]
    remarks: list[str]


def measure_in_detail(lesion_set: LesionSet, pet: sitk.Image) -> DetailedMeasurements:
    """All measures of all lesions; a lesion that cannot be measured is named in ``problems`` and the rest goes on.

    Args:
        lesion_set: lesions on any grid.
        pet: SUVbw in g/ml, handled as in :func:`table.measure`.
    """
    boxes = lesion_set.boxes()
    same_grid = lesion_set.geometry.distance_mm(Geometry.from_image(pet)) <= SAME_GRID_TOLERANCE_MM
    pet = pet if same_grid else sitk.Cast(pet, sitk.sitkFloat32)
    problems: list[str] = []
    found = [
        _measure(lesion_set, lesion, boxes.get(lesion.id), pet, same_grid, problems) for lesion in lesion_set.lesions
    ]
    table = _table(found)
    heights = [f.measures.z_mm for f in found if f.n_lesions]
    midline = find_midline(pet, min(heights), max(heights)) if heights else Midline(reason="no lesion")
    rows = _rows(found, midline, lesion_set.geometry.voxel_volume_ml)
    totals = [_total(which, found, rows, lesion_set.geometry.voxel_volume_ml) for which in (*KINDS, TOTAL)]
    return DetailedMeasurements(table, rows, totals, midline, problems)


def _measure(
    lesion_set: LesionSet, lesion: Lesion, box: Box | None, pet: sitk.Image, same_grid: bool, problems: list[str]
) -> _Found:
    """One lesion."""
    geometry = lesion_set.geometry
    spacing = geometry.spacing_zyx_mm
    if box is None:
        empty = LesionMeasures(
            lesion.id, lesion.name, lesion.kind, lesion.status, 0.0, None, None, None, 0.0, None, None, None
        )
        return _Found(empty, 0, FurtherIndices(), Shape(), np.zeros(0), no_regions(), ["no voxels"])
    mask = lesion_set.labels[box] == lesion.id
    shape, remarks = shape_of(mask, spacing), _piece_remarks(mask)
    try:
        around = lesion_surroundings(lesion_set, lesion, box, pet, same_grid)
    except InputError as error:
        problems.append(str(error))
        centre = centroid_mm(mask, tuple(s.start for s in box), geometry)
        row = LesionMeasures(
            lesion.id, lesion.name, lesion.kind, lesion.status, volume_ml(mask, geometry), None, None, None, None,
            *(float(x) for x in centre),
        )  # fmt: skip
        unknown = [replace(r, voxels=None, suv=None) for r in no_regions()]
        return _Found(
            row, 1, FurtherIndices(), shape, None, unknown, [*remarks, "the PET does not cover it, or is NaN"]
        )
    suv = around.suv[around.mask]
    negative = int(np.count_nonzero(suv < 0))
    if negative:
        remarks.append(f"negative SUV at {negative} voxels")
        problems.append(
            f"Lesion '{lesion.name}' holds negative SUV at {negative} of its {len(suv)} voxels, which no uptake can "
            "be. Its values are given as they come out; check the PET and that the lesion lies where it should."
        )
    regions = _search(lesion_set, lesion, box, pet, same_grid).regions()
    leaks = [r.rule for r in regions if r.voxels is None]
    if leaks:
        remarks.append(f"leaks at {', '.join(leaks)}")
    measures = measure_surroundings(lesion, around, geometry)
    return _Found(measures, 1, further_indices(around.suv, around.mask, spacing), shape, suv, regions, remarks)


def _piece_remarks(mask: np.ndarray) -> list[str]:
    """Whether the lesion is in several pieces."""
    from scipy import ndimage

    _, pieces = ndimage.label(mask, NEIGHBOURHOOD)
    return [f"{pieces} separate pieces"] if pieces > 1 else []


def _search(lesion_set: LesionSet, lesion: Lesion, box: Box, pet: sitk.Image, same_grid: bool) -> ThresholdSearch:
    """The PET and the lesions within reach of the threshold rules."""
    geometry = lesion_set.geometry
    margin = search_margin(geometry.spacing_zyx_mm)
    start = tuple(s.start - m for s, m in zip(box, margin, strict=True))
    stop = tuple(s.stop + m for s, m in zip(box, margin, strict=True))
    suv = pet_part(pet, geometry, start, stop, same_grid)
    inner = [slice(max(0, a), min(n, b)) for a, b, n in zip(start, stop, geometry.shape_zyx, strict=True)]
    labels = np.zeros(suv.shape, lesion_set.labels.dtype)
    labels[tuple(slice(s.start - a, s.stop - a) for s, a in zip(inner, start, strict=True))] = lesion_set.labels[
        tuple(inner)
    ]
    return ThresholdSearch(suv, labels, lesion.id, start, geometry)


def _table(found: list[_Found]) -> Measurements:
    """Rows and totals of ``lesions.csv``; a total with an unknown lesion in it has its volume and no SUV."""
    filled = [f.measures if f.suv is not None else replace(f.measures, suv_max=0.0, tlg_g=0.0) for f in found]
    known = with_totals(filled)
    totals = []
    for total in known.totals:
        members = _members(total.id, found)
        if any(f.suv is None for f in members):
            total = replace(total, suv_max=None, suv_mean=None, suv_peak=None, tlg_g=None)
        totals.append(total)
    return Measurements([f.measures for f in found], totals)


def _members(which: int | str, found: list[_Found]) -> list[_Found]:
    return [f for f in found if which in (TOTAL, f.measures.kind)]


def centroid_distances_mm(rows: list[LesionMeasures]) -> np.ndarray:
    """Distances between the centroids of lesions, shape (n, n); NaN for a lesion without voxels, and to itself."""
    points = np.array([[np.nan if v is None else v for v in (r.x_mm, r.y_mm, r.z_mm)] for r in rows]).reshape(-1, 3)
    distances = cdist(points, points)
    np.fill_diagonal(distances, np.nan)
    return distances


def _extreme(function: np.ufunc, values: np.ndarray) -> float | None:
    """``np.min`` or ``np.max`` of the finite values; None without any."""
    finite = values[np.isfinite(values)]
    return float(function(finite)) if finite.size else None


def _rows(found: list[_Found], midline: Midline, voxel_ml: float) -> list[LesionDetails]:
    distances = centroid_distances_mm([f.measures for f in found])
    rows = []
    for f, others in zip(found, distances, strict=True):
        m = f.measures
        offset = midline.offset_mm((m.x_mm, m.y_mm, m.z_mm)) if f.n_lesions else None
        rows.append(
            LesionDetails(
                id=m.id,
                n_lesions=f.n_lesions,
                further=f.further,
                shape=f.shape,
                nearest_lesion_mm=_extreme(np.min, others),
                dmax_mm=_extreme(np.max, others),
                midline_offset_mm=offset,
                laterality=side_of(offset) if f.n_lesions else "",
                thresholds=tuple(summed(r.rule, [r], voxel_ml) for r in f.regions),
                remarks=tuple(f.remarks),
            )
        )
    return rows


def _total(which: str, found: list[_Found], rows: list[LesionDetails], voxel_ml: float) -> LesionDetails:
    """The further columns of one total."""
    pairs = [(f, r) for f, r in zip(found, rows, strict=True) if which in (TOTAL, f.measures.kind) and f.n_lesions]
    members = [f for f, _ in pairs]
    unknown = [f.measures.name for f in members if f.suv is None]
    distances = centroid_distances_mm([f.measures for f in members])
    return LesionDetails(
        id=which,
        n_lesions=len(members),
        further=FurtherIndices() if unknown else _joint_indices(members),
        shape=Shape(
            surface_mm2=sum(f.shape.surface_mm2 for f in members),
            mesh_volume_ml=sum(f.shape.mesh_volume_ml for f in members),
            largest_diameter_mm=max((f.shape.largest_diameter_mm for f in members), default=None),
        ),
        nearest_lesion_mm=_extreme(np.min, distances),
        dmax_mm=_extreme(np.max, distances),
        midline_offset_mm=None,
        laterality=side_of_all([r.laterality for _, r in pairs]),
        thresholds=tuple(summed(rule, [f.regions[n] for f in members], voxel_ml) for n, rule in enumerate(RULES)),
        remarks=(f"without SUV because of {', '.join(unknown)}",) if unknown else (),
    )


def _joint_indices(members: list[_Found]) -> FurtherIndices:
    """Median and standard deviation of all voxels; the highest of the peaks."""
    if not members:
        return FurtherIndices()
    suv = np.concatenate([f.suv for f in members]).astype(float)

    def highest(name: str) -> float | None:
        return max((v for f in members if (v := getattr(f.further, name)) is not None), default=None)

    return FurtherIndices(
        float(np.median(suv)), float(suv.std()), highest("suv_peak_inside"), highest("suv_peak_at_max")
    )
