"""Phantom patients as a network sees them, kept on disk so that training reads rather than draws."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.phantom import CROPPED, HEAD_NECK, PhantomPatient, make_patient
from HNTumorSegLib.phantom.family import VARIED
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.recipes.recipe import CT, PET, Recipe
from HNTumorSegLib.training.case import Case

MAXIMUM_XY = 128
"""Cases are cut to this many voxels transaxially, about the PET's centre (32 cm at 2.5 mm, as Nikulin 2023)."""

EVALUATION_SEED = 1_000_000
"""Phantom patients from this seed on are never trained on."""


@dataclass(frozen=True)
class PhantomMix:
    """Which phantom patients a model is trained on; each patient's draw follows from its seed alone.

    Attributes:
        varied_share: share of patients of ``family``; the others are of the first.
        cropped_share: share of the varied ones whose scan shows only a part of the head and neck.
        anatomy_folder: organ label sets that drive the varied ones' anatomy; None: it is drawn.
        fine_share: share of the varied ones that are made as finely as those that models are measured on, which takes
            longer; the others are coarser.
        family: ``varied``, ``nodal`` for advanced nodal disease, or ``crossed`` for anatomies between two sources.
    """

    varied_share: float = 0.0
    cropped_share: float = 0.35
    anatomy_folder: Path | None = None
    family: str = VARIED.name
    fine_share: float = 0.0

    def patient(self, seed: int) -> PhantomPatient:
        """The training patient of that seed."""
        rng = np.random.default_rng([seed, 2026])
        varied, cropped, fine = rng.random(3) < (self.varied_share, self.cropped_share, self.fine_share)
        if not varied:
            return make_patient(seed, economy=True)
        field = CROPPED if cropped else HEAD_NECK
        return make_patient(seed, field, economy=not fine, family=self.family, anatomy_folder=self.anatomy_folder)


FIRST_FAMILY = PhantomMix()


def make_case(seed: int, recipe: Recipe, mix: PhantomMix = FIRST_FAMILY) -> Case:
    """The phantom patient of that seed through the preprocessing that inference uses."""
    return case_of_patient(seed, mix.patient(seed), recipe)


def case_of_patient(
    name: str | int, patient: PhantomPatient, recipe: Recipe, more: Mapping[str, sitk.Image] | None = None
) -> Case:
    """A phantom patient on the model's grid; ``more`` are images by name beside its PET and CT."""
    from HNTumorSegLib.inference.preprocess import channels_on_grid, model_grid

    grid = model_grid(patient.study.pet_geometry, recipe.spacing_mm)
    size = (min(MAXIMUM_XY, grid.size[0]), min(MAXIMUM_XY, grid.size[1]), grid.size[2])
    grid = grid.crop(tuple((n - m) // 2 for n, m in zip(grid.size, size, strict=True)), size)
    labels = sitk.GetArrayFromImage(patient.truth_on(grid))
    images = {PET: patient.study.pet, CT: patient.study.ct, **(more or {})}
    return Case(name, channels_on_grid(images, recipe, grid).astype(np.float16), labels)


def case_file(folder: Path, seed: int) -> Path:
    """Where the case of that seed is kept."""
    return Path(folder) / f"case_{seed:07d}.npz"


def write_case(seed: int, recipe: Recipe, folder: Path, mix: PhantomMix = FIRST_FAMILY) -> Path:
    """Make one case and keep it; a file that is there is left alone (the run goes on where it stopped)."""
    path = case_file(folder, seed)
    if not path.exists():
        case = make_case(seed, recipe, mix)
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
    seeds: list[int],
    recipe: Recipe,
    folder: Path,
    workers: int = 2,
    progress: ProgressCallback = silent,
    mix: PhantomMix = FIRST_FAMILY,
) -> None:
    """Make all cases of ``seeds`` that are not in ``folder`` yet, in ``workers`` processes."""
    from HNTumorSegLib.inference.device import keep_freed_memory

    Path(folder).mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers, initializer=keep_freed_memory) as pool:
        jobs = [pool.submit(write_case, seed, recipe, Path(folder), mix) for seed in seeds]
        for done, job in enumerate(jobs, 1):
            job.result()
            progress(ProgressEvent("phantoms", done / len(jobs), f"{done} of {len(jobs)}"))
