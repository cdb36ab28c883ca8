"""What the overview picture shows: planes, projections and outlines, all in the patient's LPS millimetres.

Every view is sampled afresh from the images onto planes along L, P and S, so any orientation of the scan and any
pair of grids gives the same picture. Axes: patient's right on the left, front up (axial) or on the left (sagittal).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.geometry import Geometry, image_from_array, resample
from HNTumorSegLib.lesions.lesion_set import LesionSet
from HNTumorSegLib.study.study import Study

PLANE_SPACING_MM = 1.0
OUTLINE_SPACING_MM = 1.0
AIR_HU = -1000.0
BODY_SUV = 0.3
BODY_MARGIN_MM = 12.0


@dataclass(frozen=True)
class View:
    """A viewing direction.

    ``across`` and ``up`` are the LPS axes (0, 1, 2) drawn to the right and along the picture's height, ``depth`` the
    one looked along; ``letters`` stand at the left, right, top and bottom edge. Axial pictures run from front (top)
    to back, the others from head (top) to feet.
    """

    name: str
    across: int
    up: int
    depth: int
    letters: tuple[str, str, str, str]
    head_up: bool


AXIAL = View("Axial", 0, 1, 2, ("R", "L", "A", "P"), head_up=False)
CORONAL = View("Coronal", 0, 2, 1, ("R", "L", "S", "I"), head_up=True)
SAGITTAL = View("Sagittal", 1, 2, 0, ("A", "P", "S", "I"), head_up=True)


@dataclass(frozen=True)
class Picture:
    """A 2-D array (rows along ``up``, columns along ``across``) and the millimetres its edges lie at.

    ``extent_mm`` is (left, right, first row's outer edge, last row's outer edge).
    """

    values: np.ndarray
    extent_mm: tuple[float, float, float, float]


@dataclass(frozen=True)
class Outline:
    """A lesion's soft mask (0 to 1, outline at 0.5) on a picture's grid: rows, columns and their millimetres."""

    lesion_id: int
    values: np.ndarray
    across_mm: np.ndarray
    up_mm: np.ndarray

    @property
    def center_mm(self) -> tuple[float, float]:
        """Middle of the outlined part along (across, up)."""
        rows, columns = np.nonzero(self.values >= 0.5)
        return float(self.across_mm[columns].mean()), float(self.up_mm[rows].mean())


def window_center_mm(point_mm: np.ndarray, middle_mm: np.ndarray) -> np.ndarray:
    """Half-way from the point of interest to the body's middle, left to right and front to back.

    So a lesion at the side of the neck does not fill half of its picture with air.
    """
    return np.array([*(point_mm[:2] + middle_mm[:2]) / 2, point_mm[2]])


def window_around(center_mm: np.ndarray, size_mm: float, bounds_mm: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """A cube of side ``size_mm`` about a point, moved inside the bounds where it fits; array (2, 3): low, high."""
    low, high = np.asarray(bounds_mm[0], float), np.asarray(bounds_mm[1], float)
    start = np.clip(center_mm - size_mm / 2, low, np.maximum(low, high - size_mm))
    start = np.where(high - low < size_mm, (low + high - size_mm) / 2, start)
    return np.array([start, start + size_mm])


def sample_plane(image: sitk.Image, view: View, window_mm: np.ndarray, at_mm: float, outside: float) -> Picture:
    """An image on a plane of a view: ``at_mm`` along its depth, over the window's other two axes."""
    size = [1, 1, 1]
    origin = [0.0, 0.0, 0.0]
    for axis in (view.across, view.up):
        size[axis] = max(1, round((window_mm[1, axis] - window_mm[0, axis]) / PLANE_SPACING_MM))
        origin[axis] = float(window_mm[0, axis]) + PLANE_SPACING_MM / 2
    origin[view.depth] = float(at_mm)
    grid = Geometry(tuple(size), (PLANE_SPACING_MM,) * 3, tuple(origin), tuple(np.eye(3).ravel().tolist()))
    plane = sitk.GetArrayFromImage(resample(image, grid, outside=outside)).astype(np.float32)
    # The array is zyx: dropping the depth leaves (up, across) for each of the three views.
    values = plane.squeeze(axis=2 - view.depth)
    extent = tuple(float(window_mm[i, axis]) for axis in (view.across, view.up) for i in (0, 1))
    return Picture(values, extent)


def plane_outlines(lesion_set: LesionSet, view: View, window_mm: np.ndarray, at_mm: float) -> list[Outline]:
    """Where the lesions cut a plane."""
    outlines = []
    for lesion_id, mask in lesion_masks(lesion_set).items():
        low, high = Geometry.from_image(mask).bounds_mm()
        if not low[view.depth] <= at_mm <= high[view.depth]:
            continue
        picture = sample_plane(mask, view, window_mm, at_mm, 0.0)
        if (picture.values >= 0.5).any():
            outlines.append(_outline(lesion_id, picture, PLANE_SPACING_MM))
    return outlines


def lesion_masks(lesion_set: LesionSet) -> dict[int, sitk.Image]:
    """Each lesion as a small float image (0 and 1) with one voxel of margin, by id; empty ones are left out."""
    masks = {}
    boxes = lesion_set.boxes()
    for lesion in lesion_set.lesions:
        box = boxes.get(lesion.id)
        if box is None:
            continue
        mask = np.pad((lesion_set.labels[box] == lesion.id).astype(np.float32), 1)
        start = tuple(axis.start - 1 for axis in reversed(box))
        masks[lesion.id] = image_from_array(mask, lesion_set.geometry.crop(start, mask.shape[::-1]))
    return masks


def _outline(lesion_id: int, picture: Picture, spacing_mm: float) -> Outline:
    left, _, first, _ = picture.extent_mm
    n_rows, n_columns = picture.values.shape
    return Outline(
        lesion_id,
        picture.values,
        left + (np.arange(n_columns) + 0.5) * spacing_mm,
        first + (np.arange(n_rows) + 0.5) * spacing_mm,
    )


def projection_outlines(lesion_set: LesionSet, view: View) -> list[Outline]:
    """The lesions' shadows along a view's depth."""
    outlines = []
    for lesion_id, mask in lesion_masks(lesion_set).items():
        grid = Geometry.from_image(mask).axis_aligned(OUTLINE_SPACING_MM)
        soft = sitk.GetArrayFromImage(resample(mask, grid)).max(axis=2 - view.depth)
        low, high = grid.bounds_mm()
        extent = (low[view.across], high[view.across], low[view.up], high[view.up])
        if (soft >= 0.5).any():
            outlines.append(_outline(lesion_id, Picture(soft, extent), OUTLINE_SPACING_MM))
    return outlines


def pet_projections(study: Study) -> dict[str, Picture]:
    """Maximum intensity projections of the PET, coronal and sagittal, cut to the body, by view name."""
    low, high = study.pet_geometry.bounds_mm()
    # Fine enough for the paper, coarse enough for a whole body in little memory.
    spacing_mm = float(np.clip((high - low).max() / 450, 2.0, 5.0))
    grid = study.pet_geometry.axis_aligned(spacing_mm)
    suv = sitk.GetArrayFromImage(resample(study.pet, grid))
    low, high = grid.bounds_mm()
    start, stop = _body(suv, spacing_mm)
    suv = suv[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
    low, high = low + start[::-1] * spacing_mm, low + stop[::-1] * spacing_mm
    pictures = {}
    for view in (CORONAL, SAGITTAL):
        extent = tuple(float(x) for axis in (view.across, view.up) for x in (low[axis], high[axis]))
        pictures[view.name] = Picture(suv.max(axis=2 - view.depth), extent)
    return pictures


def _body(suv: np.ndarray, spacing_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """First and last voxel (zyx) of the box with uptake, with a margin; the whole image when there is none."""
    seen = suv > BODY_SUV
    start, stop = np.zeros(3, int), np.array(suv.shape)
    margin = round(BODY_MARGIN_MM / spacing_mm)
    for axis in (1, 2):  # the whole height is kept: it tells how much of the patient was scanned
        hit = np.flatnonzero(seen.any(axis=tuple(a for a in range(3) if a != axis)))
        if hit.size:
            start[axis] = max(0, hit[0] - margin)
            stop[axis] = min(suv.shape[axis], hit[-1] + 1 + margin)
    return start, stop


def lesion_center_mm(lesion_set: LesionSet, lesion_id: int) -> np.ndarray:
    """LPS position of the lesion's voxel nearest to its centre of volume: a plane through it cuts the lesion."""
    box = lesion_set.boxes()[lesion_id]
    zyx = np.argwhere(lesion_set.labels[box] == lesion_id)
    nearest = zyx[np.argmin(np.linalg.norm(zyx - zyx.mean(axis=0), axis=1))] + [axis.start for axis in box]
    return lesion_set.geometry.to_lps(nearest[::-1])
