"""A model on held-out phantom patients: everything a card's figures are made of, patient by patient, on disk.

Each patient leaves a folder with the true and the delineated labels and what else is needed; called again, the run goes
on where it stopped, unless another model was looked at there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import SimpleITK as sitk

from HNTumorSegLib.errors import InputError, OutputError
from HNTumorSegLib.evaluation.case import UNION, EvaluationCase
from HNTumorSegLib.evaluation.reliability import Reliability, patient_reliability
from HNTumorSegLib.exchange.labels import label_image
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.lesions.from_labels import lesions_from_delineation
from HNTumorSegLib.phantom import HEAD_NECK, WHOLE_BODY, PhantomPatient, make_patient
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.training.phantom_cases import EVALUATION_SEED

NEGATIVES_AFTER = 100_000
"""Patients without tumour begin so many seeds after those with, so that none is the double of one with tumours."""

DEVELOPMENT_SEED = 2_000_100
"""Patients from here on are never trained on either: models and rules are chosen on them, so that the others stay a
test."""

PET_CT, PET_ONLY = "pet_ct", "pet"
READINGS = (PET_CT, PET_ONLY)
READING_WORDS = {PET_CT: "PET and CT", PET_ONLY: "PET only"}
TRUTH_FILE, DONE_FILE, MODEL_FILE = "truth.nii.gz", "done.json", "model.json"


@dataclass(frozen=True)
class HeldOut:
    """Which patients.

    Attributes:
        patients: how many with tumours; seeds count from ``first_seed``.
        negatives: how many without, for each of head and neck and whole body; :data:`NEGATIVES_AFTER` seeds later.
        family: of :func:`HNTumorSegLib.phantom.make_patient`.
        anatomy: organ label sets for it.
        economy: coarser and faster patients.
        first_seed: :data:`EVALUATION_SEED`, or :data:`DEVELOPMENT_SEED` for what a choice is made on.
    """

    patients: int = 100
    negatives: int = 20
    family: str = "held_out"
    anatomy: Path | None = None
    economy: bool = False
    first_seed: int = EVALUATION_SEED

    def seeds(self) -> list[int]:
        """Of the patients with tumours."""
        return list(range(self.first_seed, self.first_seed + self.patients))

    def negative_scans(self) -> list[tuple[int, str]]:
        """Seed and field of view of those without tumours."""
        begin = self.first_seed + NEGATIVES_AFTER
        seeds = range(begin, begin + self.negatives)
        return [(seed, field_of_view) for seed in seeds for field_of_view in (HEAD_NECK, WHOLE_BODY)]

    def patient(self, seed: int) -> PhantomPatient:
        """The patient of that seed, with tumours."""
        return self._make(seed, HEAD_NECK, with_tumours=True)

    def negative(self, seed: int, field_of_view: str) -> PhantomPatient:
        """The patient of that seed, without tumour."""
        return self._make(seed, field_of_view, with_tumours=False)

    def _make(self, seed: int, field_of_view: str, *, with_tumours: bool) -> PhantomPatient:
        return make_patient(
            seed,
            field_of_view,
            economy=self.economy,
            with_tumours=with_tumours,
            family=self.family,
            anatomy_folder=self.anatomy,
        )

    def facts(self) -> dict[str, object]:
        """What decides how a patient looks."""
        anatomy = None if self.anatomy is None else Path(self.anatomy).name
        first = {} if self.first_seed == EVALUATION_SEED else {"first_seed": self.first_seed}
        return {"family": self.family, "anatomy": anatomy, "economy": self.economy, **first}


@dataclass(frozen=True)
class FalseLesion:
    """One lesion where there is none."""

    seed: int
    field_of_view: str
    kind: str
    volume_ml: float
    suv_max: float


def claim_folder(folder: Path, delineator: Delineator, plan: HeldOut) -> None:
    """Say in ``folder`` whose results it holds.

    Raises:
        OutputError: it holds those of another model, of the same one with another recipe (``minimum_certainty``,
            ``further_primary_share``, ``touching_kind_share``, ``outline_pet_weight``, test-time flips), or of
            other patients.
    """
    card = delineator.card
    mine = {
        "model": f"{card.name} {card.version}",
        "weights": card.weights_key(),
        "recipe": json.loads(json.dumps(card.recipe.answer_dict())),
        "flip_left_right": delineator.flip_left_right,
        **plan.facts(),
    }
    path = Path(folder) / MODEL_FILE
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != mine:
        raise OutputError(
            f"'{folder}' holds the results of another model or of other patients ({path.name}). Give a new folder."
        )
    Path(folder).mkdir(parents=True, exist_ok=True)
    _write_json(path, mine)


def delineate_patients(
    delineator: Delineator, plan: HeldOut, folder: Path, progress: ProgressCallback = silent
) -> None:
    """Delineate each patient with and without its CT; those that are in ``folder`` already are left alone."""
    seeds = plan.seeds()
    for done, seed in enumerate(seeds, 1):
        if not is_delineated(folder, seed):
            delineate_patient(delineator, plan.patient(seed), folder, seed)
        progress(ProgressEvent("held-out patients", done / len(seeds), f"{done} of {len(seeds)}"))


def patient_folder(folder: Path, seed: int) -> Path:
    """Where one patient's files lie."""
    return Path(folder) / "patients" / f"{seed:07d}"


def is_delineated(folder: Path, seed: int) -> bool:
    """Whether that patient's files are there, whole."""
    return (patient_folder(folder, seed) / DONE_FILE).exists()


def delineate_patient(delineator: Delineator, patient: PhantomPatient, folder: Path, seed: int) -> None:
    """Write one patient's files."""
    place = patient_folder(folder, seed)
    place.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(patient.truth, str(place / TRUTH_FILE), True)
    truth, suv = sitk.GetArrayViewFromImage(patient.truth), sitk.GetArrayViewFromImage(patient.study.pet)
    record: dict[str, dict] = {}
    for reading in READINGS:
        study = patient.study if reading == PET_CT else replace(patient.study, ct=None, ct_info=None)
        answer = delineator.delineate(study)
        sitk.WriteImage(label_image(lesions_from_delineation(answer)), str(place / f"{reading}.nii.gz"), True)
        probabilities = [sitk.GetArrayViewFromImage(p) for p in (answer.primary_probability, answer.node_probability)]
        counts = patient_reliability(*probabilities, suv, truth)
        record[reading] = {
            "reliability": {target: counted.to_json() for target, counted in counts.items()},
            "warnings": answer.warnings,
            "seconds": round(sum(answer.timings_s.values()), 2),
        }
    _write_json(place / DONE_FILE, record)


def _write_json(path: Path, data: object) -> None:
    """Whole or not at all: an interrupted run must not look finished."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(data) + "\n", encoding="utf-8")
    temporary.replace(path)


def evaluation_cases(plan: HeldOut, folder: Path, reading: str) -> Iterator[EvaluationCase]:
    """The patients' labels from disk, one after another, for :func:`HNTumorSegLib.evaluation.cohort.evaluate_cases`."""
    for seed in plan.seeds():
        place = patient_folder(folder, seed)
        paths = [(place / name).absolute() for name in (TRUTH_FILE, f"{reading}.nii.gz")]
        truth, predicted = (sitk.ReadImage(str(path)) for path in paths)
        yield EvaluationCase(f"{seed:07d}", truth, predicted, *map(str, paths))


def records(plan: HeldOut, folder: Path, reading: str) -> Iterator[dict]:
    """What was written down of each patient's reading."""
    for seed in plan.seeds():
        yield json.loads((patient_folder(folder, seed) / DONE_FILE).read_text(encoding="utf-8"))[reading]


def cohort_reliability(plan: HeldOut, folder: Path, reading: str) -> list[dict[str, Reliability]]:
    """Each patient's counts by target."""
    return [
        {target: Reliability.from_json(data) for target, data in record["reliability"].items()}
        for record in records(plan, folder, reading)
    ]


def pooled(patients: list[dict[str, Reliability]]) -> dict[str, Reliability]:
    """The patients' counts added, by target."""
    if not patients:
        raise InputError("There are no patients to add up. Evaluate at least one.")
    return {target: sum((p[target] for p in patients), Reliability()) for target in patients[0]}


def calibration_figures(patients: list[dict[str, Reliability]]) -> dict[str, float]:
    """ECE by target, and what one temperature, fitted to every other patient, would make of the rest's (union).

    ``..._above_0.1`` counts only voxels with a probability above 0.1.
    """
    figures: dict[str, float | None] = {}
    for target, counts in pooled(patients).items():
        figures[f"ece_{target}"] = counts.calibration_error()
        figures[f"ece_{target}_above_0.1"] = counts.calibration_error(1)
    if len(patients) > 1:
        fitted, others = (pooled(patients[start::2])[UNION] for start in (0, 1))
        figures["temperature"] = fitted.best_temperature()
        figures["ece_union_others"] = others.calibration_error()
        figures["ece_union_others_at_temperature"] = others.at_temperature(figures["temperature"]).calibration_error()
    return {name: round(value, 4) for name, value in figures.items() if value is not None}


def false_lesions(
    delineator: Delineator, plan: HeldOut, folder: Path, progress: ProgressCallback = silent
) -> list[FalseLesion]:
    """What is found in patients without any tumour, of the head and neck and of the whole body; resumes likewise."""
    found: list[FalseLesion] = []
    scans = plan.negative_scans()
    for done, (seed, field_of_view) in enumerate(scans, 1):
        path = negative_file(folder, seed, field_of_view)
        if not path.exists():
            delineate_negative(delineator, plan.negative(seed, field_of_view), path)
        found += [FalseLesion(seed, field_of_view, *row) for row in json.loads(path.read_text(encoding="utf-8"))]
        progress(ProgressEvent("patients without tumour", done / len(scans), f"{len(found)} found"))
    return found


def negative_file(folder: Path, seed: int, field_of_view: str) -> Path:
    """Where what was found in one patient without tumour is written down."""
    return Path(folder) / "negatives" / f"{field_of_view}_{seed:07d}.json"


def delineate_negative(delineator: Delineator, patient: PhantomPatient, path: Path) -> None:
    """Write down what is found in one patient without tumour."""
    from HNTumorSegLib.measures.table import measure

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = measure(lesions_from_delineation(delineator.delineate(patient.study)), patient.study.pet).rows
    _write_json(path, [[row.kind, row.volume_ml, row.suv_max] for row in rows])


def false_lesion_figures(found: list[FalseLesion], plan: HeldOut) -> dict[str, float]:
    """False lesions a patient by field of view, how many patients had any, and volume."""
    figures: dict[str, float] = {"patients": 2.0 * plan.negatives}
    for field_of_view in (HEAD_NECK, WHOLE_BODY):
        mine = [lesion for lesion in found if lesion.field_of_view == field_of_view]
        if plan.negatives:
            figures[f"false_lesions_per_patient_{field_of_view}"] = len(mine) / plan.negatives
            figures[f"patients_with_any_{field_of_view}"] = float(len({lesion.seed for lesion in mine}))
            volume_ml = sum(lesion.volume_ml for lesion in mine)
            figures[f"false_ml_per_patient_{field_of_view}"] = volume_ml / plan.negatives
    return {name: round(value, 4) for name, value in figures.items()}
