"""The grid of a DICOM series: slices ordered along their normal, and every reason why they would not make a volume.

DICOM PS3.3 C.7.6.2.1.1: voxel (column i, row j) of a slice lies at position + i * column spacing * row cosines +
j * row spacing * column cosines. Slices are ordered along the normal (row x column cosines), as ITK's readers do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from HNTumorSegLib.errors import DicomError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.study.dicom_series import DicomSeries, DicomSlice, number_of, text_of

SAME_POSITION_MM = 1e-2
"""Slices closer than this lie at the same place."""
UNEVEN_SHARE = 0.1
"""A gap that differs from the usual one by more than this share is a missing slice or a mixed series."""
TILT_PIXELS = 0.25
"""Slices may drift sideways by this share of a pixel over the whole stack (rounding), not more (gantry tilt)."""
_TIME_KEYWORDS = (
    "TemporalPositionIndex",
    "TemporalPositionIdentifier",
    "FrameReferenceTime",
    "TriggerTime",
    "AcquisitionTime",
)


@dataclass(frozen=True)
class SliceStack:
    """Slices in the order of the array's first axis (z), and the grid they make."""

    slices: tuple[DicomSlice, ...]
    geometry: Geometry


def stack_slices(series: DicomSeries) -> SliceStack:
    """Order the slices of a series along their normal and check that they make one even, upright volume.

    Raises:
        DicomError: one slice only, several frames in a file, mixed sizes or orientations, slices missing, twice at
            the same position (also dynamic and gated series) or sheared (gantry tilt).
    """
    name = f"{series.modality} series '{series.text('SeriesDescription') or series.number}'"
    _require_single_frames(series, name)
    if len(series.slices) < 2:
        raise DicomError(
            f"The {name} has one slice only ('{series.slices[0].path.name}'); a volume is needed. Give the "
            "folder with "
            "all slices of the series."
        )
    position = np.array([_numbers(one, "ImagePositionPatient", 3) for one in series.slices])
    orientation = np.array([_numbers(one, "ImageOrientationPatient", 6) for one in series.slices])
    pixel_spacing = np.array([_numbers(one, "PixelSpacing", 2) for one in series.slices])
    size = np.array([[_number(one, "Columns"), _number(one, "Rows")] for one in series.slices])
    _require_same(series, size, 0, f"The {name} mixes image sizes")
    _require_same(series, pixel_spacing, 1e-4, f"The {name} mixes pixel spacings (mm)")
    _require_same(series, orientation, 1e-3, f"The {name} mixes orientations")
    axes = _axes(orientation[0], name)
    along = position @ axes[:, 2]
    order = np.argsort(along, kind="stable")
    along, position = along[order], position[order]
    slices = tuple(series.slices[i] for i in order)
    _require_one_per_position(slices, along, name)
    spacing = _even_spacing(along, name)
    _require_upright(position, axes, pixel_spacing[0], name)
    row_spacing, column_spacing = pixel_spacing[0]
    columns, rows = (int(n) for n in size[0])
    geometry = Geometry(
        (columns, rows, len(slices)),
        (float(column_spacing), float(row_spacing), spacing),
        tuple(float(x) for x in position[0]),
        tuple(float(x) for x in axes.ravel()),
    )
    return SliceStack(slices, geometry)


def _require_single_frames(series: DicomSeries, name: str) -> None:
    frames = max(int(number_of(one.header, "NumberOfFrames") or 1) for one in series.slices)
    if frames > 1 or not any("ImagePositionPatient" in one.header for one in series.slices):
        kind = f"holds {frames} frames in one file" if frames > 1 else "has no slice positions (0020,0032)"
        raise DicomError(
            f"The {name} {kind} (an enhanced multi-frame, reformatted or secondary image). Export the "
            "original series "
            "as single slices, or convert it to NIfTI in SUVbw."
        )
    samples = max(int(number_of(one.header, "SamplesPerPixel") or 1) for one in series.slices)
    if samples > 1:
        raise DicomError(f"The {name} is a colour picture ({samples} samples a pixel). Give the original series.")


def _numbers(one: DicomSlice, keyword: str, n: int) -> list[float]:
    value = one.header.get(keyword)
    try:
        numbers = [float(x) for x in value]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != n or not np.all(np.isfinite(numbers)) or (keyword == "PixelSpacing" and min(numbers) <= 0):
        raise DicomError(
            f"The DICOM file '{one.path}' has no usable {keyword}; it may be cut short. Copy or export the "
            "series again."
        )
    return numbers


def _number(one: DicomSlice, keyword: str) -> int:
    value = number_of(one.header, keyword)
    if not value:
        raise DicomError(
            f"The DICOM file '{one.path}' has no usable {keyword}; it may be cut short. Copy or export the "
            "series again."
        )
    return int(value)


def _require_same(series: DicomSeries, values: np.ndarray, tolerance: float, what: str) -> None:
    usual = np.median(values, axis=0)
    odd = np.flatnonzero(np.abs(values - usual).max(axis=1) > tolerance)
    if odd.size:
        one = series.slices[odd[0]]
        raise DicomError(
            f"{what}: '{one.path.name}' has {_short(values[odd[0]])}, others have "
            f"{_short(values[np.argmin(np.abs(values - usual).sum(axis=1))])}. Separate the series first."
        )


def _short(values: np.ndarray) -> str:
    return "[" + ", ".join(f"{x:.5g}" for x in values) + "]"


def _axes(orientation: np.ndarray, name: str) -> np.ndarray:
    """3x3 matrix with the LPS unit vectors of i, j and k as columns."""
    row, column = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if min(lengths) < 0.9 or max(lengths) > 1.1 or abs(row @ column) > 1e-2:
        raise DicomError(f"The {name} has rows and columns that are not perpendicular unit vectors: {orientation}.")
    row = row / lengths[0]
    column = column - row * (row @ column)
    column = column / np.linalg.norm(column)
    return np.column_stack([row, column, np.cross(row, column)])


def _require_one_per_position(slices: tuple[DicomSlice, ...], along: np.ndarray, name: str) -> None:
    twice = np.flatnonzero(np.diff(along) < SAME_POSITION_MM)
    if not twice.size:
        return
    a, b = slices[twice[0]], slices[twice[0] + 1]
    n_positions = len(along) - twice.size
    differing = [k for k in _TIME_KEYWORDS if text_of(a.header, k) != text_of(b.header, k)]
    kind = text_of(a.header, "SeriesType").upper()
    if n_positions * 2 <= len(along) and (differing or "DYNAMIC" in kind or "GATED" in kind):
        raise DicomError(
            f"The {name} is dynamic or gated: {len(along) / n_positions:.3g} frames at each of "
            f"{n_positions} positions "
            f"(they differ in {differing[0] if differing else 'SeriesType'}). Give a static series."
        )
    raise DicomError(
        f"The {name} has {twice.size} duplicate slice position{'s' if twice.size > 1 else ''}: '{a.path.name}' and "
        f"'{b.path.name}' both lie at {along[twice[0]]:.2f} mm. Two series may have been mixed; export it again."
    )


def _even_spacing(along: np.ndarray, name: str) -> float:
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    odd = np.flatnonzero(np.abs(gaps - usual) > UNEVEN_SHARE * usual)
    if odd.size:
        k = odd[0]
        missing = round(gaps[k] / usual) - 1
        what = f"{missing} slice{'s' if missing != 1 else ''} missing" if missing > 0 else "slices unevenly spaced"
        raise DicomError(
            f"The {name} has {what} between {along[k]:.2f} and {along[k + 1]:.2f} mm along its normal (gap "
            f"{gaps[k]:.2f} mm, usual {usual:.2f} mm{f'; {odd.size} such gaps' if odd.size > 1 else ''}). "
            "Copy or export the whole series again."
        )
    return float((along[-1] - along[0]) / (len(along) - 1))


def _require_upright(position: np.ndarray, axes: np.ndarray, pixel_spacing: np.ndarray, name: str) -> None:
    sideways = (position - position[0]) @ axes[:, :2]
    drift = float(np.abs(sideways).max())
    if drift > TILT_PIXELS * float(pixel_spacing.min()):
        height = abs(float((position[-1] - position[0]) @ axes[:, 2]))
        angle = np.degrees(np.arctan2(np.linalg.norm(sideways[-1]), height))
        raise DicomError(
            f"The {name} is sheared: its slices shift sideways by {drift:.2f} mm over the stack "
            f"({angle:.1f} degrees of "
            "gantry tilt). Resample it to an upright volume first (3D Slicer does so when it loads it)."
        )
