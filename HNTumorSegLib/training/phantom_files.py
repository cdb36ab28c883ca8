"""Phantom patients written once as files and listed in a CSV, as a data set that many recipes read."""

from __future__ import annotations

import csv
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import SimpleITK as sitk

from HNTumorSegLib.errors import InputError, OutputError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.training.layouts import CASES_FILE, CSV_COLUMNS

TUMOURS, CONTRAST, ORGANS, HELD_OUT = "tumours", "contrast", "organs", "held_out"
KINDS = (TUMOURS, CONTRAST, ORGANS, HELD_OUT)
"""PET, CT and tumours; with a contrast-enhanced CT too; CT and organs; and the tumours of patients of another family
(other anatomy, wider ranges), which stand for another hospital."""


def write_phantom_set(
    folder: Path, seeds: list[int], kind: str = TUMOURS, workers: int = 1, progress: ProgressCallback = silent
) -> Path:
    """Write the patients of ``seeds`` that are not there yet; returns the CSV (columns ``CSV_COLUMNS``).

    The centre of a case is the group of PET scanners it was drawn for, as in ``phantom:N``.

    Raises:
        InputError: an unknown kind, or no seed.
        OutputError: the folder cannot be written.
    """
    if kind not in KINDS or not seeds:
        raise InputError(f"A phantom data set needs a seed and one of the kinds {', '.join(KINDS)}, not '{kind}'.")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        with ProcessPoolExecutor(workers) as pool:
            jobs = [pool.submit(_write_patient, folder, seed, kind) for seed in seeds]
            for done, job in enumerate(jobs, 1):
                rows.append(job.result())
                progress(ProgressEvent("phantoms", done / len(jobs), f"{done} of {len(jobs)}"))
        path = folder / CASES_FILE
        part = path.with_suffix(f".{os.getpid()}.tmp")
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, CSV_COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        part.replace(path)
    except OSError as error:
        raise OutputError(f"The phantom data '{folder}' cannot be written: {error.strerror or error}.") from error
    return path


def _write_patient(folder: Path, seed: int, kind: str) -> dict[str, str]:
    """One patient's files, the centre's last: where it is, the others are whole. Returns the CSV's row."""
    name = f"phantom-{seed:07d}"
    case = folder / name
    mark = case / "centre.txt"
    if not mark.exists():
        case.mkdir(exist_ok=True)
        images, centre = phantom_images(seed, kind)
        for what, image in images.items():
            sitk.WriteImage(image, str(case / f"{what}.nii.gz"), useCompression=True, compressionLevel=1)
        mark.write_text(centre, encoding="utf-8")
    files = {what: f"{name}/{what}.nii.gz" for what in CSV_COLUMNS if (case / f"{what}.nii.gz").exists()}
    return {"case": name, "patient": name, "centre": mark.read_text(encoding="utf-8"), **files}


def phantom_images(seed: int, kind: str) -> tuple[dict[str, sitk.Image], str]:
    """The images of the patient of a seed by CSV column, and the centre; ``kind`` is one of :data:`KINDS`."""
    from HNTumorSegLib.phantom import make_patient
    from HNTumorSegLib.phantom.contrast import contrast_ct
    from HNTumorSegLib.phantom.organs import organ_labels
    from HNTumorSegLib.recipes.nikolov2018 import ORGANS as ORGAN_NAMES
    from HNTumorSegLib.training.sources import phantom_centre

    if kind == ORGANS:
        patient = make_patient(seed, economy=True, family="varied")
        numbers = {organ: number for number, organ in enumerate(ORGAN_NAMES, 1)}
        labels = organ_labels(patient, Geometry.from_image(patient.study.ct), numbers)
        return {"ct": patient.study.ct, "labels": labels}, phantom_centre(patient)
    patient = make_patient(seed, economy=True, **({"family": HELD_OUT} if kind == HELD_OUT else {}))
    images = {"pet": patient.study.pet, "ct": patient.study.ct, "labels": patient.truth}
    if kind == CONTRAST:
        images["ct_contrast"] = contrast_ct(patient, seed)
    return images, phantom_centre(patient)
