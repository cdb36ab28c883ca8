"""Find the DICOM series under a folder, reading every file's header once."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread

from HNTumorSegLib.errors import DicomError, InputError
from HNTumorSegLib.study.pydicom_quiet import quiet_pydicom

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_KEYWORDS = [
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "SeriesDescription",
    "SeriesNumber",
    "PatientID",
    "PatientWeight",
    "StudyDate",
    "SeriesDate",
    "SeriesTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "TimezoneOffsetFromUTC",
    "ActualFrameDuration",
    "FrameReferenceTime",
    "TriggerTime",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "RescaleSlope",
    "RescaleIntercept",
    "CorrectedImage",
    "Units",
    "SUVType",
    "DecayCorrection",
    "DecayFactor",
    "SeriesType",
    "AttenuationCorrectionMethod",
    "RadiopharmaceuticalInformationSequence",
    "RadiopharmaceuticalStartTime",
    "RadiopharmaceuticalStartDateTime",
    "RadionuclideTotalDose",
    "RadionuclideHalfLife",
    "RadionuclideCodeSequence",
    "CodeValue",
    "CodeMeaning",
]
_SLICE_CLASSES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.128")  # CT and PET Image Storage
_PRIVATE = ((0x0009, 0x0D), (0x7053, 0x00), (0x7053, 0x09))
_BLOCKS = range(0x10, 0x20)
_TAGS: list[Any] = [
    *_KEYWORDS,
    *((group, block) for group, _ in _PRIVATE for block in _BLOCKS),
    *((group, block << 8 | offset) for group, offset in _PRIVATE for block in _BLOCKS),
]


@dataclass(frozen=True)
class DicomSlice:
    """One DICOM file: where it is and the part of its header that is of use here (converted, no pixels)."""

    path: Path
    header: Dataset


@dataclass
class DicomSeries:
    """The files that share one Series Instance UID; ``number`` is its place (from 1) in the listing of its folder."""

    uid: str
    modality: str
    slices: list[DicomSlice] = field(default_factory=list)
    number: int = 0
    n_duplicates: int = 0

    def text(self, keyword: str) -> str:
        """A header value of the first file as text, empty when it is not there."""
        return text_of(self.slices[0].header, keyword)

    @property
    def is_attenuation_corrected(self) -> bool:
        """Whether a PET series says that it was corrected for attenuation."""
        header = self.slices[0].header
        corrections = header.get("CorrectedImage")
        if corrections:
            return "ATTN" in ([corrections] if isinstance(corrections, str) else list(corrections))
        return self.text("AttenuationCorrectionMethod").upper() not in ("", "NONE")

    @property
    def is_localizer(self) -> bool:
        """Whether this is a CT scout view."""
        return "LOCALIZER" in self.text("ImageType").upper()

    def describe(self) -> str:
        """One line for a listing: number, modality, description, slices, attenuation correction."""
        words = f"#{self.number} {self.modality} '{self.text('SeriesDescription') or 'no description'}', "
        words += f"{len(self.slices)} slice{'s' if len(self.slices) != 1 else ''}"
        if self.modality == "PT":
            words += ", attenuation corrected" if self.is_attenuation_corrected else ", not attenuation corrected"
        return words


def text_of(header: Dataset, keyword: str) -> str:
    """A header value as stripped text; empty when missing."""
    value = header.get(keyword)
    return "" if value is None else str(value).strip()


def number_of(header: Dataset, keyword: str) -> float | None:
    """A header value as one finite number; None when it is missing, empty, several or no number."""
    try:
        value = float(header.get(keyword))
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def list_dicom_files(source: Path) -> list[Path]:
    """All files below a folder, in a fixed order, hidden ones and macOS's companions (``._name``) left out."""
    found: list[Path] = []

    def fail(error: OSError) -> None:
        raise InputError(
            f"The folder '{error.filename}' cannot be read ({error.strerror}). Check its permissions."
        ) from error

    for folder, folders, names in os.walk(source, onerror=fail):
        folders.sort()
        found.extend(Path(folder) / name for name in sorted(names) if not name.startswith("."))
    return found


def scan_dicom(source: Path | Sequence[Path], report: Callable[[float], None] = lambda _: None) -> list[DicomSeries]:
    """Group the DICOM files of a folder (searched in depth) or of a list into series.

    Files that are not DICOM are passed over. ``report`` is told the share of files read (0 to 1).

    Raises:
        DicomError: no DICOM file there, or one that is damaged or cut short.
        InputError: a file or folder that may not be read.
    """
    files = list_dicom_files(source) if isinstance(source, Path) else [Path(p) for p in source]
    series: dict[str, DicomSeries] = {}
    with quiet_pydicom():
        for index, path in enumerate(files):
            header = read_header(path)
            if header is not None:
                uid = text_of(header, "SeriesInstanceUID")
                one = series.setdefault(uid, DicomSeries(uid, _modality(header)))
                one.slices.append(DicomSlice(path, header))
            if index % 16 == 0:
                report(index / len(files))
    report(1.0)
    if not series:
        where = f"in '{source}'" if isinstance(source, Path) else "among the files given"
        raise DicomError(
            f"There is no DICOM file {where} ({len(files)} files looked at). Give the folder that holds the "
            "PET's DICOM "
            "slices, or a NIfTI, NRRD or MHA file."
        )
    listing = list(series.values())
    for number, one in enumerate(listing, 1):
        one.number = number
        _drop_copies(one)
    return listing


def read_header(path: Path) -> Dataset | None:
    """The header of one file with every value converted, or None when the file is not DICOM (or is a DICOMDIR)."""
    try:
        with open(path, "rb") as file:
            start = file.read(132)
            if not _is_dicom(start):
                if path.suffix.lower() == ".dcm":
                    raise DicomError(_damaged(path, "it does not begin as a DICOM file"))
                return None
            file.seek(0)
            header = dcmread(file, stop_before_pixels=True, specific_tags=_TAGS, force=True)
            if text_of(header.file_meta, "MediaStorageSOPClassUID") == MEDIA_DIRECTORY:
                return None
            _convert(header)
    except OSError as error:
        raise InputError(f"The file '{path}' cannot be read ({error.strerror or error}).") from error
    except DicomError:
        raise
    except Exception as error:  # pydicom raises all sorts on damaged files
        raise DicomError(_damaged(path, str(error) or type(error).__name__)) from error
    if not text_of(header, "SeriesInstanceUID"):
        raise DicomError(_damaged(path, "it has no Series Instance UID (0020,000E)"))
    if text_of(header, "SOPClassUID") in _SLICE_CLASSES and not number_of(header, "Rows"):
        raise DicomError(_damaged(path, "its header breaks off before the image size"))
    return header


def private_value(header: Dataset, group: int, creator: str, offset: int) -> Any:
    """Value of a private element found by its creator's block, or None.

    When no creator at all is written for the group (some anonymisers drop it), block 0x10 is taken.
    """
    blocks = {block: str(header[group, block].value).strip().lower() for block in _BLOCKS if (group, block) in header}
    for block in [b for b, name in blocks.items() if name == creator.lower()] or ([] if blocks else [0x10]):
        element = header.get((group, block << 8 | offset))
        if element is not None:
            value = element.value
            return value.decode("ascii", "ignore").strip("\0 ") if isinstance(value, bytes) else value
    return None


def describe_all(series: Iterable[DicomSeries]) -> str:
    """The listing that error messages show."""
    return "; ".join(one.describe() for one in series)


def _modality(header: Dataset) -> str:
    """PT, CT, ...; scanners' raw data and reports, which carry the same codes without a picture, are told apart."""
    modality = text_of(header, "Modality").upper() or "unknown"
    return modality if modality not in ("PT", "CT") or number_of(header, "Rows") else f"{modality} without image"


def _is_dicom(start: bytes) -> bool:
    if start[128:132] == b"DICM":
        return True
    # Old files begin with group 2 or 8 at once, without the preamble; the element numbers there are small.
    return len(start) == 132 and start[0] in (0x02, 0x08) and start[1] == 0 and start[3] == 0 and start[2] <= 0x18


def _damaged(path: Path, why: str) -> str:
    return (
        f"The DICOM file '{path}' is damaged or cut short ({' '.join(why.split())[:160]}). Copy or export the series "
        "again, or move the file away if it does not belong to it."
    )


def _convert(header: Dataset) -> None:
    """Turn the raw values into Python's now, dropping the unreadable ones: nothing is parsed later."""
    for tag in list(header.keys()):
        try:
            element = header[tag]
            if element.VR == "SQ":
                for item in element.value:
                    _convert(item)
        except Exception:  # a malformed number or date counts as missing
            del header[tag]


def _drop_copies(series: DicomSeries) -> None:
    """Keep one file of each SOP Instance; the same picture is often exported twice."""
    seen: dict[str, DicomSlice] = {}
    kept = []
    for one in series.slices:
        uid = text_of(one.header, "SOPInstanceUID")
        first = seen.get(uid) if uid else None
        if first is None:
            seen[uid] = one
            kept.append(one)
        elif text_of(first.header, "ImagePositionPatient") == text_of(one.header, "ImagePositionPatient"):
            series.n_duplicates += 1
        else:
            raise DicomError(
                f"Two files of one series have the same SOP Instance UID but lie at different positions "
                f"('{first.path.name}' and '{one.path.name}'). Export the series again."
            )
    series.slices = kept
