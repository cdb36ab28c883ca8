"""Segments of a DICOM Segmentation object (SEG), read with highdicom.

A SEG stores only the frames that hold something, so its own grid is a part of the image's that begins at its first
frame. It is placed by its own positions (Plane Position, Plane Orientation, Pixel Measures), never by the image's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydicom.sr.coding import Code as DicomCode

from HNTumorSegLib.errors import DicomError, MissingPackageError
from HNTumorSegLib.exchange.segment_facts import ALGORITHM_TYPE, STATUS_TAG, TERMINOLOGY_TAG, terminology_entry
from HNTumorSegLib.exchange.segments import NamedMask
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.lesions.codes import STYLE
from HNTumorSegLib.lesions.lesion import EDITED, PROPOSED
from HNTumorSegLib.lesions.lesion_set import box_of_nonzero
from HNTumorSegLib.study.pydicom_quiet import quiet_pydicom

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription

INSIDE_FRACTION = 0.5
"""Voxels of a FRACTIONAL segmentation at or above this belong to the segment."""


@dataclass(frozen=True)
class DicomSegmentation:
    """The segments of a SEG on its own grid."""

    geometry: Geometry
    segments: list[NamedMask]


def read_dicom_seg(path: str | Path) -> DicomSegmentation:
    """Every segment of a SEG file: BINARY, FRACTIONAL (cut at one half) or LABELMAP.

    The type code (SNOMED CT, or the retired SNOMED RT) becomes Slicer's terminology tag where it is one of ours; the
    algorithm type becomes the status: AUTOMATIC ``proposed``, SEMIAUTOMATIC ``edited``, MANUAL ``added``.

    Raises:
        DicomError: not a SEG, damaged, or not one volume of parallel, evenly spaced frames in the patient's
            coordinates.
        MissingPackageError: highdicom is not installed.
    """
    try:
        from highdicom.seg import segread
    except ImportError as error:
        raise MissingPackageError(
            "Reading DICOM SEG needs the package highdicom. Install it: pip install 'hntumorseg[dicom]'."
        ) from error
    try:
        with quiet_pydicom():
            seg = segread(str(path))
            return _segments(seg)
    except DicomError:
        raise
    except Exception as error:  # highdicom and pydicom raise all sorts on damaged or unusual files
        raise DicomError(
            f"The DICOM SEG '{path}' cannot be read as a volume ({' '.join(str(error).split())[:200]}). Export it "
            "again."
        ) from error


def _segments(seg: Segmentation) -> DicomSegmentation:
    geometry, segments = None, []
    for number in seg.segment_numbers:
        volume = seg.get_volume(segment_numbers=[number], rescale_fractional=True, allow_missing_positions=True)
        if geometry is None:
            geometry = _geometry(volume.affine, volume.spatial_shape)
        array = volume.array[..., 0]
        mask = array >= INSIDE_FRACTION if array.dtype.kind == "f" else array > 0
        box = box_of_nonzero(mask) or (slice(0, 0),) * 3
        description = seg.get_segment_description(number)
        name = str(description.segment_label or f"Segment {number}").strip()
        segments.append(NamedMask(name, mask[box].copy(), box, _tags(description)))
    return DicomSegmentation(geometry, segments)


def _geometry(affine: np.ndarray, shape: tuple[int, ...]) -> Geometry:
    """From highdicom's affine: indices (slice, row, column) to LPS."""
    columns = affine[:3, 2::-1]
    spacing = np.linalg.norm(columns, axis=0)
    return Geometry(
        tuple(int(n) for n in shape[2::-1]),
        tuple(float(x) for x in spacing),
        tuple(float(x) for x in affine[:3, 3]),
        tuple(float(x) for x in (columns / spacing).ravel()),
    )


def _tags(description: SegmentDescription) -> dict[str, str]:
    """What the coded type and the algorithm type say, as a Slicer segment would."""
    tags = {}
    found = description.segmented_property_type
    code = DicomCode(found.value, found.scheme_designator, found.meaning)
    for kind, style in STYLE.items():
        # pydicom holds retired SNOMED RT codes and their SNOMED CT successors equal.
        if code == DicomCode(style.type.value, style.type.scheme, style.type.meaning):
            tags[TERMINOLOGY_TAG] = terminology_entry(kind)
    algorithm = str(getattr(description.algorithm_type, "value", description.algorithm_type) or "")
    for status in (PROPOSED, EDITED):
        if algorithm == ALGORITHM_TYPE[status]:
            tags[STATUS_TAG] = status
    return tags
