"""Phantom patients as a network sees them, kept on disk so that training reads rather than draws."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.phantom import make_patient
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.recipes.recipe import Recipe

MAXIMUM_XY = 128
"""Cases are cut to this many voxels transaxially, about the PET's centre (32 cm at 2.5 mm, as Nikulin 2023)."""


@dataclass(frozen=True)
class Case:
    """One patient on the model's grid: ``inputs`` (C, Z, Y, X) 16-bit float, ``labels`` (Z, Y, X) 0/1/2."""

    seed: int
    inputs: np.ndarray
    labels: np.ndarray


def make_case(seed: int, recipe: Recipe) -> Case:
    """The phantom patient of that seed through the preprocessing that inference uses."""
    from HNTumorSegLib.inference.preprocess import model_grid, network_input

    patient = make_patient(seed, economy=True)
    grid = model_grid(patient.study.pet_geometry, recipe.spacing_mm)
    size = (min(MAXIMUM_XY, grid.size[0]), min(MAXIMUM_XY, grid.size[1]), grid.size[2])
    grid = grid.crop(tuple((n - m) // 2 for n, m in zip(grid.size, size, strict=True)), size)
    labels = sitk.GetArrayFromImage(patient.truth_on(grid))
    return Case(seed, network_input(patient.study, recipe, grid).astype(np.float16), labels)


def case_file(folder: Path, seed: int) -> Path:
    """Where the case of that seed is kept."""
    return Path(folder) / f"case_{seed:07d}.npz"


def write_case(seed: int, recipe: Recipe, folder: Path) -> Path:
    """Make one case and keep it; a file that is there is left alone (the run goes on where it stopped)."""
    path = case_file(folder, seed)
    if not path.exists():
        case = make_case(seed, recipe)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        with temporary.open("wb") as stream:
            np.savez(stream, inputs=case.inputs, labels=case.labels)
        temporary.replace(path)
    return path


def read_case(folder: Path, seed: int) -> Case:
    """A case from disk."""
    with np.load(case_file(folder, seed)) as data:
        return Case(seed, data["inputs"], data["labels"])


def write_cases(
    seeds: list[int], recipe: Recipe, folder: Path, workers: int = 2, progress: ProgressCallback = silent
) -> None:
    """Make all cases of ``seeds`` that are not in ``folder`` yet, in ``workers`` processes."""
    from HNTumorSegLib.inference.device import keep_freed_memory

    Path(folder).mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers, initializer=keep_freed_memory) as pool:
        jobs = [pool.submit(write_case, seed, recipe, Path(folder)) for seed in seeds]
        for done, job in enumerate(jobs, 1):
            job.result()
            progress(ProgressEvent("phantoms", done / len(jobs), f"{done} of {len(jobs)}"))
