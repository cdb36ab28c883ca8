"""DICOM series for tests, written with pydicom alone (not with the library's own writer)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

PT_CLASS = "1.2.840.10008.5.1.4.1.1.128"
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
STUDY_UID = "1.2.826.0.1.3680043.8.498.1"
FRAME_UID = "1.2.826.0.1.3680043.8.498.2"


def ramp(n_slices: int = 6, rows: int = 5, columns: int = 4, top: int = 20000) -> np.ndarray:
    """Stored values that are all different, zyx, signed 16-bit."""
    return np.linspace(0, top, n_slices * rows * columns).astype(np.int16).reshape(n_slices, rows, columns)


def slice_dataset(modality: str, k: int, pixels: np.ndarray, series: str, **attributes) -> FileDataset:
    """One slice at z = -100 + 3 k mm; ``attributes`` replace or (None) remove header values."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = PT_CLASS if modality == "PT" else CT_CLASS
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[series, str(k)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.Modality, ds.SeriesDescription, ds.PatientID = modality, series, "NOBODY"
    ds.StudyInstanceUID, ds.FrameOfReferenceUID = STUDY_UID, FRAME_UID
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=[series])
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = "20200301"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = "100000"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-50, -60, -100 + 3 * k], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = [2, 2.5]
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    ds.PixelData = pixels.astype("<i2").tobytes()
    if modality == "PT":
        ds.Units, ds.DecayCorrection, ds.CorrectedImage = "BQML", "START", ["DECY", "ATTN"]
        ds.PatientWeight = 70
        tracer = Dataset()
        tracer.RadiopharmaceuticalStartTime = "090000"
        tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = 350e6, 6586.2
        ds.RadiopharmaceuticalInformationSequence = [tracer]
    put(ds, **attributes)
    return ds


def put(ds: Dataset, **attributes) -> Dataset:
    """Set header values (those of the tracer inside its sequence); None removes."""
    tracer_only = ("RadiopharmaceuticalStart", "RadionuclideTotal", "RadionuclideHalf", "RadionuclideCode")
    for keyword, value in attributes.items():
        target = ds.RadiopharmaceuticalInformationSequence[0] if keyword.startswith(tracer_only) else ds
        if value is None:
            if keyword in target:
                delattr(target, keyword)
        else:
            setattr(target, keyword, value)
    return ds


def pet_series(series: str = "PET AC", pixels: np.ndarray | None = None, **attributes) -> list[FileDataset]:
    pixels = ramp() if pixels is None else pixels
    return [slice_dataset("PT", k, part, series, **attributes) for k, part in enumerate(pixels)]


def ct_series(series: str = "CT", pixels: np.ndarray | None = None, **attributes) -> list[FileDataset]:
    pixels = ramp(top=2000) if pixels is None else pixels
    attributes = {"RescaleIntercept": -1024, **attributes}
    return [slice_dataset("CT", k, part, series, **attributes) for k, part in enumerate(pixels)]


def save(slices: list[FileDataset], folder: Path, names: list[str] | None = None) -> Path:
    """Write the slices; by default under names whose order is not the slices' order."""
    folder.mkdir(parents=True, exist_ok=True)
    names = names or [f"{(7 * k + 3) % 97:02d}_{k}.dcm" for k in range(len(slices))]
    for ds, name in zip(slices, names, strict=True):
        ds.save_as(folder / name, enforce_file_format=True)
    return folder


def mixed(folder: Path, *series) -> Path:
    """Several series below one folder."""
    for n, slices in enumerate(series):
        save(slices, folder / f"s{n}")
    return folder
