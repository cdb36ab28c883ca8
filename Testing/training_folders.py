"""Small patients on disk in the layouts that data sets come in."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

SPACING_MM = (4.0, 4.0, 4.0)


@dataclass
class SmallPatient:
    """PET and CT on one grid, labels 1 (a hot ball) and 2 (a warm ball)."""

    pet: sitk.Image
    ct: sitk.Image
    labels: sitk.Image


def small_patient(seed: int, with_node: bool = True) -> SmallPatient:
    """24 x 28 x 26 voxels (z, y, x) of 4 mm."""
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[:24, :28, :26]
    pet, ct = 1 + 0.1 * rng.normal(size=z.shape), 30 + 10 * rng.normal(size=z.shape)
    ct[:, :4] = -1000
    labels = np.zeros(z.shape, np.uint8)
    balls = [(1, (9 + seed % 3, 12, 9), 12.0)] + ([(2, (15, 17, 17 + seed % 2), 7.0)] if with_node else [])
    for label, center, suv in balls:
        ball = (z - center[0]) ** 2 + (y - center[1]) ** 2 + (x - center[2]) ** 2 <= 9
        labels[ball], pet[ball] = label, suv
    return SmallPatient(*(_image(array) for array in (pet.astype(np.float32), ct.astype(np.float32), labels)))


def _image(array: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING_MM)
    image.SetOrigin((-50.0, -60.0, 20.0))
    return image


def write(image: sitk.Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def hecktor2021(folder: Path, patients: dict[str, SmallPatient]) -> Path:
    for name, patient in patients.items():
        for what, image in (("pt", patient.pet), ("ct", patient.ct), ("gtvt", patient.labels)):
            write(image, folder / "hecktor_nii" / f"{name}_{what}.nii.gz")
    return folder


def hecktor2022(folder: Path, patients: dict[str, SmallPatient]) -> Path:
    for name, patient in patients.items():
        write(patient.pet, folder / "imagesTr" / f"{name}__PT.nii.gz")
        write(patient.ct, folder / "imagesTr" / f"{name}__CT.nii.gz")
        write(patient.labels, folder / "labelsTr" / f"{name}.nii.gz")
    return folder


def hecktor2025(folder: Path, patients: dict[str, SmallPatient]) -> Path:
    for name, patient in patients.items():
        for task in ("Task 1", "Task 2"):
            write(patient.pet, folder / task / name / f"{name}__PT.nii.gz")
            write(patient.ct, folder / task / name / f"{name}__CT.nii.gz")
        write(patient.ct, folder / "Task 2" / name / f"{name}__CTPlanning.nii.gz")
        write(patient.labels, folder / "Task 1" / name / f"{name}.nii.gz")
    return folder


def nnunet_raw(folder: Path, patients: dict[str, SmallPatient], labels: dict[str, int] | None = None) -> Path:
    for name, patient in patients.items():
        write(patient.ct, folder / "imagesTr" / f"{name}_0000.nii.gz")
        write(patient.pet, folder / "imagesTr" / f"{name}_0001.nii.gz")
        write(patient.labels, folder / "labelsTr" / f"{name}.nii.gz")
    about = {
        "channel_names": {"0": "CT", "1": "PET"},
        "labels": labels or {"background": 0, "GTVp": 1, "GTVn": 2},
        "numTraining": len(patients),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(about))
    return folder


def paths_csv(folder: Path, patients: dict[str, SmallPatient], **columns: list[str]) -> Path:
    rows = []
    for number, (name, patient) in enumerate(patients.items()):
        files = {what: f"{name}/{what}.nii.gz" for what in ("pet", "ct", "labels")}
        for what, file in files.items():
            write(getattr(patient, what), folder / file)
        rows.append({"case": name, **files, **{key: values[number] for key, values in columns.items()}})
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "cases.csv"
