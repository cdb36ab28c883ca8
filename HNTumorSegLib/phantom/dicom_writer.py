"""A study as DICOM: a PET series in Bq/ml and a CT series, as a scanner would send them.

For the demo and the tests: what is written here goes through the same reader as a clinical study.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)
from pydicom.valuerep import format_number_as_ds

from HNTumorSegLib.errors import OutputError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.study.checks import pixel_sha256
from HNTumorSegLib.study.study import Study

HALF_LIFE_S = 6586.2
CT_INTERCEPT_HU = -1024
_PARTIAL = ".partial"
_MAKER = "HNTumorSeg phantom"


@dataclass(frozen=True)
class Injection:
    """Who got how much when; the defaults are an ordinary FDG examination.

    ``injected`` is a local date and time, ``delay_s`` the time from it to the scan (series and acquisition time).
    """

    weight_kg: float = 75.0
    dose_bq: float = 350e6
    injected: datetime = datetime(2020, 1, 15, 9, 30)
    delay_s: float = 3600.0

    @property
    def bqml_per_suv(self) -> float:
        """Activity concentration at scan time of SUVbw 1."""
        return self.dose_bq * 2 ** (-self.delay_s / HALF_LIFE_S) / (self.weight_kg * 1000)


def write_dicom_study(
    study: Study,
    folder: str | Path,
    *,
    patient_id: str = "PHANTOM-0001",
    seed: int = 0,
    injection: Injection | None = None,
    progress: ProgressCallback = silent,
) -> tuple[Path, Path | None]:
    """Write a study as two DICOM series, ``folder/PET`` and ``folder/CT``, one file a slice.

    PET: Units BQML, DecayCorrection START, 16-bit with a rescale slope of its own in every slice, so SUV comes back
    within half a slope (the slice's highest value / 65534). CT: HU rounded to whole numbers, stored with intercept
    -1024. Any orientation of the image is kept; a left-handed image (k against i x j) is the same in space but comes
    back with its slices in reverse order, since DICOM readers sort along i x j. UIDs follow from ``patient_id``,
    ``seed`` and the voxels: writing twice gives the same files.

    Returns:
        The two folders; the second is None without a CT.

    Raises:
        OutputError: no permission, disk full, or a folder of that name holds something else; what was there
            before stays then, and nothing half-written is left.
    """
    folder = Path(folder)
    injection = injection or Injection()
    identity = [patient_id, str(seed), study.pet_info.pixel_sha256 or pixel_sha256(study.pet)]
    common = _common(identity, patient_id, injection)
    n_total = study.pet.GetSize()[2] + (study.ct.GetSize()[2] if study.ct is not None else 0)
    done = 0

    def one_done() -> None:
        nonlocal done
        done += 1
        progress(ProgressEvent("write DICOM", done / n_total))

    series = {folder / "PET": _pet_slices(study.pet, common, identity, injection)}
    if study.ct is not None:
        series[folder / "CT"] = _ct_slices(study.ct, common, identity)
    _write_whole(folder, series, one_done)
    return folder / "PET", None if study.ct is None else folder / "CT"


def _write_whole(folder: Path, series: dict[Path, Iterator[FileDataset]], one_done: Callable[[], None]) -> None:
    """Write every series into a folder beside its own, then put all in place: the study is there whole or not."""
    partial = {target: target.with_name(target.name + _PARTIAL) for target in series}
    try:
        for target in series:
            if target.exists() and not _is_ours(target):
                raise OutputError(f"'{target}' exists and holds other files. Give another output folder, or empty it.")
        for target, slices in series.items():
            shutil.rmtree(partial[target], ignore_errors=True)
            partial[target].mkdir(parents=True)
            for dataset in slices:
                name = f"{dataset.Modality}_{int(dataset.InstanceNumber):04d}.dcm"
                dataset.save_as(partial[target] / name, enforce_file_format=True)
                one_done()
        for target in series:
            if target.exists():
                shutil.rmtree(target)
            partial[target].rename(target)
    except OSError as error:
        raise OutputError(
            f"The DICOM study cannot be written to '{folder}' ({error.strerror or error}). Check permissions and free "
            "space, or give another output folder."
        ) from error
    finally:
        for leftover in partial.values():
            shutil.rmtree(leftover, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    return folder.is_dir() and all(p.suffix == ".dcm" and p.name[:3] in ("PT_", "CT_") for p in folder.iterdir())


def _common(identity: list[str], patient_id: str, injection: Injection) -> Dataset:
    """Patient, study and frame of reference, shared by both series."""
    scanned = injection.injected + timedelta(seconds=injection.delay_s)
    common = Dataset()
    common.SpecificCharacterSet = "ISO_IR 192"
    common.PatientName = patient_id
    common.PatientID = patient_id
    common.PatientBirthDate = ""
    common.PatientSex = "O"
    common.PatientWeight = _ds(injection.weight_kg)
    common.StudyInstanceUID = generate_uid(entropy_srcs=[*identity, "study"])
    common.FrameOfReferenceUID = generate_uid(entropy_srcs=[*identity, "frame of reference"])
    common.StudyID = "1"
    common.AccessionNumber = ""
    common.ReferringPhysicianName = ""
    common.StudyDescription = "Synthetic head and neck PET/CT"
    common.Manufacturer = _MAKER
    common.ManufacturerModelName = "synthetic"
    common.PositionReferenceIndicator = ""
    common.PatientPosition = "HFS"
    for what in ("Study", "Series", "Acquisition", "Content"):
        setattr(common, f"{what}Date", scanned.strftime("%Y%m%d"))
        setattr(common, f"{what}Time", scanned.strftime("%H%M%S"))
    common.SamplesPerPixel = 1
    common.PhotometricInterpretation = "MONOCHROME2"
    common.BitsAllocated = 16
    common.BitsStored = 16
    common.HighBit = 15
    common.PixelRepresentation = 1
    return common


def _pet_slices(image: sitk.Image, common: Dataset, identity: list[str], injection: Injection) -> Iterator[FileDataset]:
    series = _series(common, [*identity, "PET"], "PT", PositronEmissionTomographyImageStorage, 2, "PET AC synthetic")
    series.ImageType = ["ORIGINAL", "PRIMARY"]
    series.Units = "BQML"
    series.DecayCorrection = "START"
    series.CorrectedImage = ["NORM", "DTIM", "ATTN", "SCAT", "DECY", "RAN"]
    series.SeriesType = ["WHOLE BODY", "IMAGE"]
    series.CountsSource = "EMISSION"
    series.CollimatorType = "NONE"
    series.AttenuationCorrectionMethod = "CT-derived"
    series.NumberOfSlices = image.GetSize()[2]
    series.ActualFrameDuration = "180000"
    series.FrameReferenceTime = "0"
    series.RescaleIntercept = "0"
    tracer = Dataset()
    tracer.Radiopharmaceutical = "Fluorodeoxyglucose"
    tracer.RadiopharmaceuticalStartTime = injection.injected.strftime("%H%M%S")
    tracer.RadiopharmaceuticalStartDateTime = injection.injected.strftime("%Y%m%d%H%M%S")
    tracer.RadionuclideTotalDose = _ds(injection.dose_bq)
    tracer.RadionuclideHalfLife = _ds(HALF_LIFE_S)
    nuclide = Dataset()
    nuclide.CodeValue, nuclide.CodingSchemeDesignator, nuclide.CodeMeaning = "C-111A1", "SRT", "^18^Fluorine"
    tracer.RadionuclideCodeSequence = [nuclide]
    series.RadiopharmaceuticalInformationSequence = [tracer]
    array = sitk.GetArrayViewFromImage(image)
    for k, dataset in enumerate(_slices(series, image)):
        activity = array[k].astype(np.float64) * injection.bqml_per_suv
        # The slope is rounded to what its text can hold before it is used.
        slope = f"{np.abs(activity).max() / 32767 or 1.0:.9e}"
        # A slope rounded down puts the highest voxel a hair above 32767; clipping costs far less than a step.
        stored = np.clip(np.rint(activity / float(slope)), -32767, 32767)
        dataset.RescaleSlope = slope
        dataset.ImageIndex = k + 1
        dataset.PixelData = stored.astype("<i2").tobytes()
        yield dataset


def _ct_slices(image: sitk.Image, common: Dataset, identity: list[str]) -> Iterator[FileDataset]:
    series = _series(common, [*identity, "CT"], "CT", CTImageStorage, 1, "CT synthetic")
    series.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    series.KVP = "120"
    series.AcquisitionNumber = "1"
    series.RescaleIntercept = str(CT_INTERCEPT_HU)
    series.RescaleSlope = "1"
    series.RescaleType = "HU"
    array = sitk.GetArrayViewFromImage(image)
    for k, dataset in enumerate(_slices(series, image)):
        stored = np.clip(np.rint(array[k].astype(np.float32)) - CT_INTERCEPT_HU, -32768, 32767)
        dataset.PixelData = stored.astype("<i2").tobytes()
        yield dataset


def _series(
    common: Dataset, identity: list[str], modality: str, sop_class: str, number: int, description: str
) -> Dataset:
    series = Dataset()
    series.update(common)
    series.Modality = modality
    series.SOPClassUID = sop_class
    series.SeriesInstanceUID = generate_uid(entropy_srcs=[*identity, "series"])
    series.SeriesNumber = str(number)
    series.SeriesDescription = description
    return series


def _slices(series: Dataset, image: sitk.Image) -> Iterator[FileDataset]:
    """One data set for each slice k, without pixels yet."""
    geometry = Geometry.from_image(image)
    direction = np.reshape(geometry.direction, (3, 3))
    n_slices = geometry.size[2]
    positions = geometry.to_lps(np.column_stack([np.zeros((n_slices, 2)), np.arange(n_slices)]))
    series.Columns, series.Rows = geometry.size[:2]
    series.PixelSpacing = [_ds(geometry.spacing_mm[1]), _ds(geometry.spacing_mm[0])]
    series.SliceThickness = _ds(geometry.spacing_mm[2])
    series.ImageOrientationPatient = [_ds(x) for x in (*direction[:, 0], *direction[:, 1])]
    for k, position in enumerate(positions):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = series.SOPClassUID
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[series.SeriesInstanceUID, str(k)])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset = FileDataset("", series, file_meta=meta, preamble=b"\0" * 128)
        dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        dataset.InstanceNumber = str(k + 1)
        dataset.ImagePositionPatient = [_ds(x) for x in position]
        yield dataset


def _ds(number: float) -> str:
    """A decimal string with all the digits that DICOM's 16 characters hold."""
    return format_number_as_ds(float(number))
