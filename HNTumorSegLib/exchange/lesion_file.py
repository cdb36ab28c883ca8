"""Lesions from whatever file holds them: Slicer segmentation, label image, DICOM SEG or RTSTRUCT."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, dcmread

from HNTumorSegLib.errors import DicomError, GeometryError, InputError, LesionError
from HNTumorSegLib.exchange.dicom_seg import read_dicom_seg
from HNTumorSegLib.exchange.labels import label_image
from HNTumorSegLib.exchange.rtstruct import read_rtstruct
from HNTumorSegLib.exchange.seg_nrrd import is_segmentation_file, read_segments
from HNTumorSegLib.exchange.segment_facts import kind_of_name
from HNTumorSegLib.exchange.segments import IGNORE, KindRule, NamedMask, kind_by_rules, lesions_from_segments
from HNTumorSegLib.geometry import SAME_GRID_TOLERANCE_MM, Geometry, image_from_array
from HNTumorSegLib.lesions.codes import KIND_OF_LABEL, LABEL_OF_KIND
from HNTumorSegLib.lesions.from_labels import lesions_from_labels
from HNTumorSegLib.lesions.lesion_set import LesionSet, box_of_nonzero
from HNTumorSegLib.study.files import is_image_file, read_image_file
from HNTumorSegLib.study.pydicom_quiet import quiet_pydicom
from HNTumorSegLib.study.study import SeriesInfo, Study

GTV = "GTV"
WHAT = "segmentation"
MOST_LABELS = 100
"""More values without a meaning than this: no label image."""


@dataclass(frozen=True)
class ReadLesions:
    """Lesions, and the names that stand in their file more than once."""

    lesion_set: LesionSet
    repeated_names: list[str]


def read_lesions(path: str | Path, study: Study, rules: Sequence[KindRule] = (), *, split: bool = False) -> ReadLesions:
    """The lesions of a file that belong to a study.

    A label image gives one lesion for each connected structure (26 neighbours) of a class, however small; everything
    else one lesion for each segment. Where the file's voxels are some of the PET's (a cropped segmentation, a SEG
    without its empty frames), the lesions are put onto the PET's grid; otherwise they stay on their own.

    Args:
        path: ``.seg.nrrd``, a NIfTI, NRRD or MetaImage file of labels, a DICOM SEG or RTSTRUCT, or a folder that
            holds one.
        study: the PET and CT the lesions were drawn on. Contours of an RTSTRUCT are filled on the grid of the image
            they refer to; where that is not told, on the first of PET and CT in whose slices they lie.
        rules: what the user says about kinds; for label images the names are the values ("1", "2", ...).
        split: make each connected structure of a segment a lesion of its own.

    Returns:
        The lesions; their ``notes`` have a sentence for everything that was decided or left out.

    Raises:
        InputError: unreadable, or of another patient than the PET.
        GeometryError: contours that do not lie in the slices of PET or CT.
        LesionError: a kind that nothing tells.
    """
    path = _file_of(Path(path).expanduser())
    names: list[str] = []
    if not is_image_file(path):
        lesion_set, names = _from_dicom(path, study, rules)
    elif is_segmentation_file(path):
        found = read_segments(path)
        names = [segment.name for segment in found.segments]
        lesion_set = lesions_from_segments(found.geometry, found.segments, path.name, rules)
    else:
        lesion_set = _from_labels(path, rules)
        _require_place(path, lesion_set.geometry, study)
    if split:
        notes = lesion_set.notes
        lesion_set = lesions_from_labels(label_image(lesion_set), minimum_lesion_ml=0)
        lesion_set.notes = notes + lesion_set.notes
    repeated = list(dict.fromkeys(name for name in names if names.count(name) > 1))
    return ReadLesions(on_lattice(lesion_set, study.pet_geometry), repeated)


def _file_of(path: Path) -> Path:
    """The file itself, or the only one in a folder (as programs export DICOM)."""
    if not path.exists():
        raise InputError(f"The {WHAT} '{path}' does not exist. Check the path.")
    if not path.is_dir():
        return path
    files = [p for p in sorted(path.iterdir()) if p.is_file() and not p.name.startswith(".")]
    if len(files) != 1:
        raise InputError(
            f"The folder '{path}' holds {len(files)} files; which of them is the {WHAT}? Give the path of the file."
        )
    return files[0]


def on_lattice(lesion_set: LesionSet, geometry: Geometry) -> LesionSet:
    """The lesions on a grid whose voxels coincide with theirs, voxel by voxel; unchanged where they do not."""
    own = lesion_set.geometry
    offset = np.rint(geometry.to_ijk(np.asarray(own.origin_mm))).astype(int)
    if own.distance_mm(geometry.crop(tuple(offset.tolist()), own.size)) > SAME_GRID_TOLERANCE_MM:
        return lesion_set
    labels = np.zeros(geometry.shape_zyx, lesion_set.labels.dtype)
    box = box_of_nonzero(lesion_set.labels)
    if box is not None:
        target = tuple(slice(s.start + o, s.stop + o) for s, o in zip(box, offset[::-1].tolist(), strict=True))
        if any(s.start < 0 or s.stop > n for s, n in zip(target, labels.shape, strict=True)):
            return lesion_set  # a lesion reaches beyond the grid: measuring says which
        labels[target] = lesion_set.labels[box]
    return LesionSet(geometry, labels, lesion_set.lesions, lesion_set.notes, lesion_set.dropped_ml, lesion_set.removed)


# --- label images ---


def _from_labels(path: Path, rules: Sequence[KindRule]) -> LesionSet:
    image = read_image_file(path, WHAT)
    array = sitk.GetArrayViewFromImage(image)
    values = [v.item() for v in np.unique(array) if v != 0]
    kinds = {v: kind_by_rules(f"{v:g}", rules) or KIND_OF_LABEL.get(v) for v in values}
    unknown = [v for v, kind in kinds.items() if kind is None]
    if len(unknown) > MOST_LABELS or any(v != round(v) for v in unknown):
        raise LesionError(
            f"'{path.name}' holds {len(values)} different values, such as {unknown[0]:g}: it looks like an image or a "
            "probability map, not like labels. Give a label image: 0 background, 1 primary tumour, 2 lymph-node "
            "metastasis."
        )
    if unknown:
        counts = ", ".join(f"{v:g} ({np.count_nonzero(array == v)} voxels)" for v in unknown)
        raise LesionError(
            f"The label image '{path.name}' holds values without a meaning: {counts}. Only 0 (background), 1 (primary "
            "tumour) and 2 (lymph-node metastasis) have one. Say what the others are with "
            f"--kind {unknown[0]:g}=primary (=node, or =ignore to leave it out; once for each)."
        )
    labels = np.zeros(array.shape, np.uint8)
    for value, kind in kinds.items():
        if kind != IGNORE:
            labels[array == value] = LABEL_OF_KIND[kind]
    lesion_set = lesions_from_labels(image_from_array(labels, Geometry.from_image(image)), minimum_lesion_ml=0)
    left_out = [f"{v:g}" for v, kind in kinds.items() if kind == IGNORE]
    if left_out:
        lesion_set.notes.append(f"Left out of '{path.name}': the values {', '.join(left_out)}.")
    return lesion_set


def _require_place(path: Path, geometry: Geometry, study: Study) -> None:
    """Refuse a label image with the PET's or CT's size that lies elsewhere: its header was lost on the way."""
    for name, image in (("PET", study.pet_geometry), ("CT", study.ct_geometry)):
        if image is None or geometry.size != image.size:
            continue
        distance = geometry.distance_mm(image)
        if distance > min(image.spacing_mm) / 2:
            raise GeometryError(
                f"The label image '{path.name}' has as many voxels as the {name} ({image.describe()}) but lies "
                f"elsewhere (corners up to {distance:.4g} mm apart): origin, spacing or direction in its header are "
                f"wrong, or it is of another scan. Write it with the {name}'s header."
            )


# --- DICOM ---


@dataclass(frozen=True)
class _Origin:
    """Whose a DICOM file is, which images it refers to, and the names of an RTSTRUCT's structures."""

    modality: str
    names: tuple[str, ...]
    patient_id: str
    frame_uids: frozenset[str]
    series_uids: frozenset[str]


def _from_dicom(path: Path, study: Study, rules: Sequence[KindRule]) -> tuple[LesionSet, list[str]]:
    """The lesions, and the names of all segments."""
    origin = _origin(path)
    notes = _require_same_patient(path, origin, study.pet_info)
    if origin.modality == "SEG":
        found = read_dicom_seg(path)
        names = [segment.name for segment in found.segments]
        lesion_set = lesions_from_segments(found.geometry, found.segments, path.name, rules)
    else:
        names = list(origin.names)
        lesion_set = _from_rtstruct(path, study, origin, rules)
    lesion_set.notes[:0] = notes
    return lesion_set, names


def _origin(path: Path) -> _Origin:
    """The header; raises :class:`DicomError` for anything but SEG and RTSTRUCT."""
    try:
        with quiet_pydicom():
            header = dcmread(path, stop_before_pixels=True, force=True)
            modality = str(header.get("Modality") or "")
            frames = {str(header.get("FrameOfReferenceUID") or "")}
            series = {str(x.SeriesInstanceUID) for x in header.get("ReferencedSeriesSequence") or []}
            for frame in header.get("ReferencedFrameOfReferenceSequence") or []:
                frames.add(str(frame.get("FrameOfReferenceUID") or ""))
                series |= _series_of(frame)
            patient_id = str(header.get("PatientID") or "").strip()
            names = tuple(str(x.get("ROIName") or "").strip() for x in header.get("StructureSetROISequence") or [])
    except OSError as error:
        raise InputError(f"The {WHAT} '{path}' cannot be read ({error.strerror or error}).") from error
    except Exception as error:  # pydicom raises all sorts on damaged files
        raise DicomError(f"The {WHAT} '{path}' is damaged or cut short ({error}). Export it again.") from error
    if modality not in ("SEG", "RTSTRUCT"):
        raise DicomError(
            f"The {WHAT} '{path}' is {f'DICOM of modality {modality}' if modality else 'of no known format'}. Give a "
            ".seg.nrrd, a NIfTI or NRRD label image, a DICOM SEG or an RTSTRUCT."
        )
    return _Origin(modality, names, patient_id, frozenset(frames - {""}), frozenset(series))


def _series_of(frame: Dataset) -> set[str]:
    """The series whose images an RTSTRUCT's contours were drawn on."""
    studies = frame.get("RTReferencedStudySequence") or []
    return {str(series.SeriesInstanceUID) for one in studies for series in one.get("RTReferencedSeriesSequence") or []}


def _require_same_patient(path: Path, origin: _Origin, pet: SeriesInfo) -> list[str]:
    """Sentences for what is odd; raises :class:`InputError` for two patients."""
    if origin.patient_id and pet.patient_id and origin.patient_id != pet.patient_id:
        raise InputError(
            f"The {WHAT} '{path.name}' and the PET are of two different patients (their Patient IDs, 0010,0020, "
            f"differ). Give the {WHAT} of the PET's patient."
        )
    frame = pet.frame_of_reference_uid
    if frame and origin.frame_uids and frame not in origin.frame_uids:
        return [
            f"'{path.name}' and the PET have different frames of reference (0020,0052): it may have been drawn on a "
            "scan that is not registered to the PET. Check that the lesions lie where they should."
        ]
    return []


def _from_rtstruct(path: Path, study: Study, origin: _Origin, rules: Sequence[KindRule]) -> LesionSet:
    images = [("PET", study.pet_geometry, study.pet_info)]
    if study.ct is not None:
        images.append(("CT", study.ct_geometry, study.ct_info))
    images.sort(key=lambda image: image[2].series_uid not in origin.series_uids)
    told = images[0][2].series_uid in origin.series_uids
    failures = []
    for name, geometry, _ in images[: 1 if told else None]:
        try:
            segments = _structures(path, geometry, rules)
        except GeometryError as error:
            failures.append(error)
            continue
        lesion_set = lesions_from_segments(geometry, segments, path.name, rules)
        if not told:
            lesion_set.notes.append(
                f"'{path.name}' does not refer to the PET or CT given; its contours were filled on the grid of the "
                f"{name}."
            )
        return lesion_set
    raise failures[0]


def _structures(path: Path, geometry: Geometry, rules: Sequence[KindRule]) -> list[NamedMask]:
    """The structures; those that are neither tumour by type nor by name are not filled."""

    def may_be_left_out(name: str, interpreted_type: str) -> bool:
        untold = kind_by_rules(name, rules) is None and kind_of_name(name) is None
        return untold and interpreted_type not in (GTV, "")

    wanted: Callable[[str, str], bool] = lambda name, kind: not may_be_left_out(name, kind)  # noqa: E731
    segments = []
    for structure in read_rtstruct(path, geometry, wanted).values():
        box = box_of_nonzero(structure.mask) or (slice(0, 0),) * 3
        left_out = may_be_left_out(structure.name, structure.interpreted_type)
        segments.append(NamedMask(structure.name, structure.mask[box], box, may_be_left_out=left_out))
    return segments
