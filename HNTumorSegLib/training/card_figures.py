"""The whole measurement of a model for its card: held-out patients, negatives, real scans, calibration, failures."""

from __future__ import annotations

import json
from pathlib import Path

import SimpleITK as sitk

from HNTumorSegLib.evaluation.case import TARGETS, EvaluationSettings
from HNTumorSegLib.evaluation.cohort import CohortEvaluation, evaluate_cases
from HNTumorSegLib.evaluation.intervals import FEWEST_PATIENTS, patient_intervals
from HNTumorSegLib.evaluation.reliability_figure import reliability_diagram
from HNTumorSegLib.evaluation.writing import write_evaluation
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.lesions.codes import NODE, PRIMARY
from HNTumorSegLib.models.card import HIGH, LOW
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.training import held_out
from HNTumorSegLib.training.failure_pictures import GalleryEntry, draw_failure, gallery_page, save_figure
from HNTumorSegLib.training.failure_sheet import FailureSheet
from HNTumorSegLib.training.failures import find_failures, in_words
from HNTumorSegLib.training.held_out import PET_CT, READING_WORDS, READINGS, HeldOut
from HNTumorSegLib.training.real_scans import check_folders, look_at_real_scans

FIGURES_FILE = "figures.json"
N_WORST = 10
SHEET_FILE = "failures.jpg"
"""The gallery on one picture; beside its folder."""

AGREEMENT = ("dsc_", "tpr_", "ppv_", "classification_accuracy", "ttb_r2")
"""How the figures that get an interval begin."""

Performance = dict[str, dict[str, float]]
"""What ``ModelCard.performance`` holds: data set to figures, names with units."""


def measure_for_card(
    delineator: Delineator,
    plan: HeldOut,
    folder: Path,
    *,
    sarcomas: Path | None = None,
    healthy: Path | None = None,
    command: str = "",
    progress: ProgressCallback = silent,
) -> Performance:
    """Measure a model and write tables, figures, gallery and :data:`FIGURES_FILE` into ``folder``.

    Args:
        delineator: the model.
        plan: which synthetic patients.
        folder: made; a run that was interrupted there goes on.
        sarcomas, healthy: see :func:`HNTumorSegLib.training.real_scans.look_at_real_scans`; None leaves them out.
        command: shown on the pages.
        progress: how far it is.

    Raises:
        InputError: a folder of real scans holds none.
        OutputError: the folder holds the results of another model.
    """
    check_folders(sarcomas, healthy)
    folder = Path(folder)
    held_out.claim_folder(folder, delineator, plan)
    held_out.delineate_patients(delineator, plan, folder, progress)
    settings = EvaluationSettings()
    performance: Performance = {}
    for reading in READINGS:
        name = f"{plan.family} phantoms, {READING_WORDS[reading]}"
        evaluation = evaluate_cases(
            held_out.evaluation_cases(plan, folder, reading),
            settings=settings,
            title=f"{delineator.card.name} {delineator.card.version}: {name}",
            total=plan.patients,
            progress=progress,
        )
        (folder / reading).mkdir(exist_ok=True)
        write_evaluation(evaluation, folder / reading, command=command)
        patients = held_out.cohort_reliability(plan, folder, reading)
        diagram = reliability_diagram(held_out.pooled(patients), f"Reliability: {name}, {plan.patients} patients")
        save_figure(diagram, folder / f"reliability_{reading}.png")
        figures = with_intervals(evaluation, cohort_figures_of(evaluation))
        performance[name] = {**figures, **held_out.calibration_figures(patients)}
        if reading == PET_CT:
            write_gallery(evaluation, plan, folder, progress)
    found = held_out.false_lesions(delineator, plan, folder, progress)
    if plan.negatives:
        performance[f"{plan.family} phantoms without tumour"] = held_out.false_lesion_figures(found, plan)
    if sarcomas is not None or healthy is not None:
        scans = look_at_real_scans(delineator, sarcomas, healthy, progress)
        performance["real scans without head-and-neck tumour"] = scans.summary()
    text = json.dumps({"model": delineator.card.name, **plan.facts(), "performance": performance}, indent=2)
    (folder / FIGURES_FILE).write_text(text + "\n", encoding="utf-8")
    return performance


def read_figures(folder: Path) -> Performance:
    """The figures that :func:`measure_for_card` wrote, for ``ModelCard.performance``."""
    return json.loads((Path(folder) / FIGURES_FILE).read_text(encoding="utf-8"))["performance"]


def cohort_figures_of(evaluation: CohortEvaluation) -> dict[str, float]:
    """What issue and publication state of a cohort (Nikulin et al. 2023, Tables 1 to 3), undefined ones left out."""
    figures: dict[str, float | None] = {"patients": float(len(evaluation.cases))}
    figures |= {f"dsc_{target}": evaluation.dsc(target).cohort for target in TARGETS}
    for target in (PRIMARY, NODE):
        detection = evaluation.detection(target)
        figures |= {f"tpr_{target}": detection.tpr, f"ppv_{target}": detection.ppv}
    figures["classification_accuracy"] = evaluation.classification().accuracy
    figures["ttb_r2"] = evaluation.burden().r_squared
    figures["ttb_true_ml"] = sum(case.ttb_true_ml for case in evaluation.cases)
    figures["ttb_ml"] = sum(case.ttb_predicted_ml for case in evaluation.cases)
    return {name: round(float(value), 4) for name, value in figures.items() if value is not None}


def with_intervals(evaluation: CohortEvaluation, figures: dict[str, float]) -> dict[str, float]:
    """Agreement's figures with the ends of their 95 % interval over patients after each, where there are enough.

    A figure that is the same in every draw, as a TPR without a miss, gets none: it would look certain.
    """
    if len(evaluation.cases) < FEWEST_PATIENTS:
        return figures
    intervals = patient_intervals(evaluation, cohort_figures_of)
    both: dict[str, float] = {}
    for name, value in figures.items():
        both[name] = value
        low, high = intervals.get(name, (value, value))
        if name.startswith(AGREEMENT) and low < high:
            both[name + LOW], both[name + HIGH] = round(low, 4), round(high, 4)
    return both


def write_gallery(
    evaluation: CohortEvaluation, plan: HeldOut, folder: Path, progress: ProgressCallback = silent
) -> list[GalleryEntry]:
    """The worst patients of an evaluation of PET and CT as pictures, a page and a table with what went wrong."""
    place = folder / "failures"
    place.mkdir(exist_ok=True)
    for old in place.glob("*.png"):
        old.unlink()
    worst = evaluation.worst_cases(N_WORST)
    sheet = FailureSheet(len(worst), f"{evaluation.title}: the {len(worst)} worst of {len(evaluation.cases)} patients")
    entries = []
    for rank, case in enumerate(worst, 1):
        entries.append(_gallery_entry(rank, case.name, float(case.union.dsc), plan, folder, place, sheet))
        progress(ProgressEvent("failure gallery", rank / len(worst), case.name))
    save_figure(sheet.figure, folder / SHEET_FILE)
    (place / "failures.html").write_text(gallery_page(entries, f"{evaluation.title}: worst patients"), encoding="utf-8")
    table = [{"patient": e.name, "dsc": round(e.dsc, 4), "what": list(e.sentences)} for e in entries]
    (place / "failures.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    return entries


def _gallery_entry(
    rank: int, name: str, dsc: float, plan: HeldOut, folder: Path, place: Path, sheet: FailureSheet
) -> GalleryEntry:
    seed = int(name)
    patient = plan.patient(seed)
    files = held_out.patient_folder(folder, seed)
    truth, found = (sitk.ReadImage(str(files / file)) for file in (held_out.TRUTH_FILE, f"{PET_CT}.nii.gz"))
    pet = patient.study.pet
    for image in (truth, found):  # NIfTI keeps the grid in 32-bit numbers
        image.CopyInformation(pet)
    failures = find_failures(truth, found, pet)
    sentences = tuple(in_words(failure, patient) for failure in failures)
    middle = pet.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in pet.GetSize()])
    center = failures[0].center_mm if failures else middle
    shown = (patient.study, truth, found, center, f"{rank}. Patient {name}: DSC {dsc:.3f}", sentences)
    figure = draw_failure(*shown)
    sheet.add(*shown)
    picture = f"{rank:02d}_{name}.png"
    save_figure(figure, place / picture)
    return GalleryEntry(name, dsc, sentences, picture)
