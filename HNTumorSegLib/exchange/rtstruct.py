"""Structures of a DICOM RTSTRUCT as masks on an image's grid."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread

from HNTumorSegLib.errors import DicomError, GeometryError, InputError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.study.pydicom_quiet import quiet_pydicom

log = logging.getLogger(__name__)

IN_PLANE_SLICES = 0.25
"""A contour belongs to a slice when all its points lie within this share of the slice spacing from it."""
_AREAS = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


@dataclass(frozen=True)
class Structure:
    """One region of interest: its name, RGB colour (0 to 255), boolean zyx mask and type (GTV, ORGAN, ...)."""

    name: str
    color: tuple[int, int, int]
    mask: np.ndarray
    interpreted_type: str = ""


def read_rtstruct(
    path: str | Path, geometry: Geometry, wanted: Callable[[str, str], bool] = lambda name, interpreted_type: True
) -> dict[str, Structure]:
    """Every structure of an RTSTRUCT file on ``geometry``, by name (a repeated name gets " (2)", " (3)", ...).

    A voxel belongs to a structure when its centre lies inside an odd number of the slice's contours (even-odd rule:
    a contour within another one is a hole, and keyhole contours need nothing special). Points and open contours
    enclose nothing and are left out.

    Args:
        path: the RTSTRUCT file; a missing or wrong transfer syntax is guessed from its bytes.
        geometry: grid of the image on whose slices the contours were drawn; any orientation.
        wanted: by name and type; the others get an empty mask, their contours are not looked at.

    Raises:
        DicomError: not an RTSTRUCT, or damaged.
        GeometryError: the contours do not lie in this grid's slices, or all lie outside of it.
    """
    path = Path(path)
    with quiet_pydicom():
        dataset = _read(path)
        try:
            return _structures(dataset, path, geometry, wanted)
        except (AttributeError, TypeError, ValueError, OSError, NotImplementedError) as error:
            raise DicomError(
                f"The RTSTRUCT '{path}' is damaged or cut short ({' '.join(str(error).split())[:160]}). "
                "Export it again."
            ) from error


def _read(path: Path) -> Dataset:
    try:
        dataset = dcmread(path, force=True)
    except OSError as error:
        raise InputError(f"The RTSTRUCT '{path}' cannot be read ({error.strerror or error}).") from error
    except Exception as error:  # pydicom raises all sorts on damaged files
        raise DicomError(f"The file '{path}' is not DICOM or is damaged ({error}). Give an RTSTRUCT file.") from error
    try:
        modality = str(dataset.get("Modality", "") or "of no known modality")
        has_contours = bool(dataset.get("StructureSetROISequence")) and bool(dataset.get("ROIContourSequence"))
    except Exception as error:  # the sequences are parsed here
        raise DicomError(f"The RTSTRUCT '{path}' is damaged or cut short ({error}). Export it again.") from error
    if not has_contours:
        raise DicomError(f"The file '{path}' is not an RTSTRUCT with contours (it is {modality}).")
    return dataset


def _structures(
    dataset: Dataset, path: Path, geometry: Geometry, wanted: Callable[[str, str], bool]
) -> dict[str, Structure]:
    contours = {int(item.ReferencedROINumber): item for item in dataset.ROIContourSequence}
    observations = dataset.get("RTROIObservationsSequence") or []
    types = {int(item.ReferencedROINumber): str(item.get("RTROIInterpretedType") or "") for item in observations}
    found: dict[str, Structure] = {}
    for roi in dataset.StructureSetROISequence:
        number = int(roi.ROINumber)
        stem = str(roi.get("ROIName") or f"ROI {number}").strip()
        name, repeat = stem, 1
        while name in found:
            repeat += 1
            name = f"{stem} ({repeat})"
        item, interpreted_type = contours.get(number, Dataset()), types.get(number, "")
        color = tuple(int(x) for x in item.get("ROIDisplayColor") or (255, 255, 0))
        item = item if wanted(stem, interpreted_type) else Dataset()
        found[name] = Structure(name, color, _mask(item, stem, path, geometry), interpreted_type)
    return found


def _mask(item: Dataset, name: str, path: Path, geometry: Geometry) -> np.ndarray:
    """Boolean zyx mask of one structure's contours."""
    mask = np.zeros(geometry.shape_zyx, bool)
    n_slices = geometry.size[2]
    inside = outside = 0
    for contour in item.get("ContourSequence") or []:
        if str(contour.ContourGeometricType) not in _AREAS:
            continue
        ijk = geometry.to_ijk(np.array(contour.ContourData, float).reshape(-1, 3))
        k = round(float(ijk[:, 2].mean()))
        away = float(np.abs(ijk[:, 2] - k).max())
        if away > IN_PLANE_SLICES:
            raise GeometryError(
                f"The contours of '{name}' in '{path}' do not lie in the image's slices (up to {away:.2f} "
                "slices away): "
                "they were drawn on another image. Read them on that one and resample the mask."
            )
        if 0 <= k < n_slices:
            mask[k] ^= fill_polygon(ijk[:, :2], mask.shape[1:])
            inside += 1
        else:
            outside += 1
    if outside and not inside:
        raise GeometryError(
            f"All contours of '{name}' in '{path}' lie outside of the image ({geometry.describe()}). Give "
            "the image that "
            "they were drawn on."
        )
    if outside:
        log.warning("%d contours lie outside of the image and are left out", outside)
    return mask


def fill_polygon(points_ij: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centre lies in a closed polygon, by the even-odd rule; centres on its left or right edge count.

    Args:
        points_ij: corners, shape (n, 2), as continuous (column, row) indices.
        shape: (rows, columns) of the mask returned.
    """
    filled = np.zeros(shape, bool)
    x, y = np.asarray(points_ij, float).T
    x_next, y_next = np.roll(x, -1), np.roll(y, -1)
    first, last = max(0, int(np.ceil(y.min()))), min(shape[0] - 1, int(np.floor(y.max())))
    for row in range(first, last + 1):
        crossing = (y <= row) != (y_next <= row)
        share = (row - y[crossing]) / (y_next[crossing] - y[crossing])
        columns = np.sort(x[crossing] + share * (x_next[crossing] - x[crossing]))
        for start, end in columns.reshape(-1, 2):
            low, high = max(0, int(np.ceil(start))), min(shape[1] - 1, int(np.floor(end)))
            # Toggled, not set: a polygon that crosses itself may cover a row twice.
            filled[row, low : high + 1] ^= True
    return filled
