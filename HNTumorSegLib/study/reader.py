"""From paths to a :class:`~HNTumorSegLib.study.study.Study`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from HNTumorSegLib.errors import DicomError, InputError, SuvError
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.study import checks, files
from HNTumorSegLib.study.dicom_series import DicomSeries, read_header, scan_dicom, text_of
from HNTumorSegLib.study.dicom_stack import stack_slices
from HNTumorSegLib.study.dicom_volume import load_ct, load_pet
from HNTumorSegLib.study.pydicom_quiet import quiet_pydicom
from HNTumorSegLib.study.series_choice import choose_ct, choose_pet, find_companion_ct
from HNTumorSegLib.study.study import Provenance, SeriesInfo, Study
from HNTumorSegLib.study.suv import SuvByHand, suv_scale

log = logging.getLogger(__name__)

PET_UNITS = ("suv", "bqml")
NO_CT = "none"
AUTO_CT = "auto"


def read_study(
    pet: str | Path,
    ct: str | Path | None = None,
    *,
    pet_units: str | None = None,
    weight_kg: float | None = None,
    dose_bq: float | None = None,
    suv_factor: float | None = None,
    pet_series: str | int | None = None,
    ct_series: str | int | None = None,
    progress: ProgressCallback = silent,
) -> Study:
    """Read a PET (as SUVbw) and, if there is one, its CT (in HU).

    Args:
        pet: DICOM folder (searched in depth, may hold several series), one DICOM file of the series, NIfTI, NRRD or
            MetaImage. ``folder#3`` or ``folder#SERIES_UID`` picks a series, like ``pet_series``.
        ct: the same for the CT; None or "auto" takes the CT that shares the PET's folder and frame of reference,
            "none" leaves it out.
        pet_units: for a PET that is not DICOM: "suv" says its voxels are SUVbw in g/ml; "bqml" needs ``suv_factor``.
        weight_kg: patient's weight, in place of the header's.
        dose_bq: injected dose at the time of injection, in place of the header's.
        suv_factor: SUVbw per stored unit (after rescale), in place of everything else.
        pet_series: Series Instance UID or number (from 1) in the folder's listing.
        ct_series: the same for the CT.
        progress: told about stage "read".

    Returns:
        PET and CT each on its own grid; ``warnings`` has a sentence for everything decided or doubted.

    Raises:
        DicomError: no, unfit, damaged or ambiguous DICOM.
        SuvError: SUVbw cannot be computed or believed.
        GeometryError: PET and CT do not overlap.
        InputError: anything else that is wrong with the images.
    """
    if pet_units is not None and pet_units not in PET_UNITS:
        raise InputError(f"--pet-units is one of {', '.join(PET_UNITS)}, not '{pet_units}'.")
    by_hand = SuvByHand(weight_kg, dose_bq, suv_factor)
    pet_source = _Source.parse(pet, pet_series, "PET")
    ct_name = None if ct is None or str(ct) == AUTO_CT else str(ct)
    ct_source = _Source.parse(ct, ct_series, "CT") if ct_name not in (None, NO_CT) else None
    warnings: list[str] = []
    scans = _Scans(progress)
    ct_chosen: DicomSeries | None = None
    if pet_source.is_dicom:
        listing = scans.listing(pet_source.path, 0.0, 0.25)
        pet_chosen, remarks = choose_pet(listing, str(pet_source.path), pet_source.series)
        warnings += remarks
        if ct_series is not None and ct_name is None:
            ct_chosen = choose_ct(listing, str(pet_source.path), "", str(ct_series))
        elif ct_name is None:
            ct_chosen, remarks = find_companion_ct(listing, pet_chosen)
            warnings += remarks
        if pet_units is not None:
            warnings.append("--pet-units was not used: a DICOM PET says its units itself.")
        pet_image, pet_info, provenance = _read_dicom_pet(pet_chosen, by_hand, warnings, _part(progress, 0.25, 0.5))
    else:
        pet_image, pet_info, provenance = _read_file_pet(pet_source.path, pet_units, by_hand)
    if ct_source is not None and ct_source.is_dicom:
        listing = scans.listing(ct_source.path, 0.5, 0.6)
        where = str(ct_source.path)
        ct_chosen = choose_ct(listing, where, pet_info.frame_of_reference_uid, ct_source.series)
    warnings += checks.suv_warnings(pet_image)
    study = Study(pet_image, pet_info, provenance, warnings=warnings)
    if ct_chosen is not None:
        hint = "" if ct_source or ct_series else " Or read the PET alone with --ct none."
        study.ct, study.ct_info = _read_dicom_ct(ct_chosen, warnings, _part(progress, 0.6, 1.0), hint)
    elif ct_source is not None:
        study.ct, study.ct_info = _read_file_ct(ct_source.path)
    if study.ct is not None:
        warnings += checks.pair_warnings(study.pet_geometry, study.ct_geometry, pet_info, study.ct_info)
        warnings += checks.hu_warnings(study.ct)
    progress(ProgressEvent("read", 1.0))
    log.info(
        "read PET %s%s",
        study.pet_geometry.describe(),
        f", CT {study.ct_geometry.describe()}" if study.ct else ", no CT",
    )
    return study


@dataclass(frozen=True)
class _Source:
    """A path given by the user: what it is, and which series of it is wanted."""

    path: Path
    is_dicom: bool
    series: str | None = None

    @classmethod
    def parse(cls, given: str | Path, series: str | int | None, what: str) -> _Source:
        wanted = None if series is None else str(series)
        path = Path(given).expanduser()
        if not _exists(path, what) and "#" in path.name:
            folder, _, wanted = str(path).rpartition("#")
            path = Path(folder)
        if not _exists(path, what):
            raise InputError(f"The {what} '{path}' does not exist. Check the path.")
        if path.is_dir():
            return cls(path, True, wanted)
        if files.is_image_file(path):
            return cls(path, False)
        with quiet_pydicom():
            header = read_header(path)
        if header is None:
            # Let the file reader say which formats there are.
            return cls(path, False)
        return cls(path.parent, True, wanted or text_of(header, "SeriesInstanceUID"))


def _exists(path: Path, what: str) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"The {what} '{path}' cannot be read ({reason}). Check its permissions.") from error
    return True


class _Scans:
    """Listings of the folders read so far: PET and CT often share one."""

    def __init__(self, progress: ProgressCallback) -> None:
        self.progress = progress
        self.known: dict[Path, list[DicomSeries]] = {}

    def listing(self, folder: Path, start: float, end: float) -> list[DicomSeries]:
        key = folder.resolve()
        if key not in self.known:
            self.known[key] = scan_dicom(folder, _part(self.progress, start, end))
        return self.known[key]


def _part(progress: ProgressCallback, start: float, end: float) -> Callable[[float], None]:
    """A reporter of 0..1 that fills ``start``..``end`` of the stage."""
    return lambda share: progress(ProgressEvent("read", start + share * (end - start)))


def _read_dicom_pet(
    series: DicomSeries, by_hand: SuvByHand, warnings: list[str], report: Callable[[float], None]
) -> tuple[sitk.Image, SeriesInfo, Provenance]:
    stack = stack_slices(series)
    _tell_copies(series, warnings)
    scale = suv_scale([one.header for one in stack.slices], by_hand)
    warnings += scale.warnings
    image = load_pet(stack, scale.factors, report)
    checks.require_finite(image, "PET")
    return image, _series_info(series, image), scale.provenance


def _read_dicom_ct(
    series: DicomSeries, warnings: list[str], report: Callable[[float], None], hint: str
) -> tuple[sitk.Image, SeriesInfo]:
    """The CT in HU; ``hint`` is added to the message when it does not make a volume."""
    try:
        stack = stack_slices(series)
        image = load_ct(stack, report)
    except DicomError as error:
        raise DicomError(f"{error}{hint}") from error
    _tell_copies(series, warnings)
    checks.require_finite(image, "CT")
    return image, _series_info(series, image)


def _tell_copies(series: DicomSeries, warnings: list[str]) -> None:
    if series.n_duplicates:
        warnings.append(
            f"{series.n_duplicates} files of the {series.modality} series are second copies of the same slices; they "
            "were passed over."
        )


def _series_info(series: DicomSeries, image: sitk.Image) -> SeriesInfo:
    return SeriesInfo(
        path=str(series.slices[0].path.parent),
        modality=series.modality,
        pixel_sha256=checks.pixel_sha256(image),
        n_files=len(series.slices),
        series_uid=series.uid,
        study_uid=series.text("StudyInstanceUID"),
        frame_of_reference_uid=series.text("FrameOfReferenceUID"),
        patient_id=series.text("PatientID"),
        description=series.text("SeriesDescription"),
        manufacturer=series.text("Manufacturer"),
        scanner=series.text("ManufacturerModelName"),
    )


def _read_file_pet(path: Path, pet_units: str | None, by_hand: SuvByHand) -> tuple[sitk.Image, SeriesInfo, Provenance]:
    """A PET that is not DICOM: SUVbw only when the user, a factor or the file itself says so."""
    image = files.read_image_file(path, "PET")
    said, other = files.says_suvbw(image), files.says_other_suv(image)
    image = sitk.Cast(image, sitk.sitkFloat32)
    checks.require_finite(image, f"PET '{path}'")
    factor = by_hand.suv_factor
    if factor is not None:
        if pet_units == "suv" and factor != 1:
            raise SuvError(
                "--pet-units suv says the PET is SUVbw already; --suv-factor would scale it. Give one of them."
            )
        image = image * factor
        provenance = Provenance(
            "file",
            "BQML" if pet_units == "bqml" else "unknown",
            f"file's values x {factor:g}, given by the user",
            factor,
            {"--suv-factor": f"{factor:g}"},
        )
    elif pet_units == "suv" or (pet_units is None and said):
        checks.require_suv_not_activity(image, str(path))
        source = "the user" if pet_units == "suv" else f"the file ({said})"
        tags = {"--pet-units": "suv"} if pet_units == "suv" else dict([said.split("=", 1)])
        provenance = Provenance("file", "SUVbw", f"the values are SUVbw, says {source}", 1.0, tags)
    else:
        raise SuvError(_unknown_units(path, pet_units, other))
    return image, _file_info(path, "PT", image), provenance


def _unknown_units(path: Path, pet_units: str | None, other: str) -> str:
    if pet_units == "bqml":
        return (
            f"The PET '{path}' is in Bq/ml and a file that is not DICOM has no weight, dose and times. Give "
            "the factor to "
            "SUVbw (weight in g / dose in Bq at scan time) with --suv-factor, or give the DICOM folder."
        )
    if other:
        return f"The PET '{path}' is SUV, but not by body weight ({other}). Give the factor to SUVbw with --suv-factor."
    return (
        f"The PET '{path}' does not say what its values are. If they are SUVbw (g/ml) give --pet-units suv; "
        "if they are "
        "Bq/ml give the factor to SUVbw (weight in g / dose in Bq at scan time) with --suv-factor, or give "
        "the DICOM folder."
    )


def _read_file_ct(path: Path) -> tuple[sitk.Image, SeriesInfo]:
    image = files.read_image_file(path, "CT")
    checks.require_finite(image, f"CT '{path}'")
    image = files.as_hounsfield(image)
    return image, _file_info(path, "CT", image)


def _file_info(path: Path, modality: str, image: sitk.Image) -> SeriesInfo:
    return SeriesInfo(path=str(path), modality=modality, pixel_sha256=checks.pixel_sha256(image), description=path.name)
