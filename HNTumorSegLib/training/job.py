"""A whole training: cases, splits, one network a fold, and the model folder that comes of them."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from HNTumorSegLib.errors import InputError, ModelError, OutputError
from HNTumorSegLib.inference.tumour_classes import are_tumours
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.models.loading import write_model
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.recipes.recipe import Recipe
from HNTumorSegLib.training.case_cache import CaseCache, prepare
from HNTumorSegLib.training.checkpoint import first_setting_that_differs
from HNTumorSegLib.training.distributed import from_first, ranks, wait_for_all
from HNTumorSegLib.training.layouts import find_cases
from HNTumorSegLib.training.loop import TrainingRun
from HNTumorSegLib.training.sources import Source, require_organ_labels
from HNTumorSegLib.training.splits import (
    CENTRE,
    KFOLD,
    SINGLE,
    SPLITS_FILE,
    CaseFacts,
    Fold,
    Splits,
    k_folds,
    leave_one_centre_out,
    one_split,
    require_classes,
)
from HNTumorSegLib.training.validation import ClassOverlaps, Validator

log = logging.getLogger(__name__)

CHECKPOINT_FILE = "checkpoint.pt"
FIGURES_FILE = "validation.json"
RUN_FILE = "run.json"
MODEL_FOLDER = "model"
DEFAULT_K = 5


@dataclass(frozen=True)
class TrainingJob:
    """What to train on what.

    Attributes:
        recipe: with its ``training`` as it shall be run.
        data: see :func:`HNTumorSegLib.training.layouts.find_cases`.
        out: folder for splits, checkpoints, logs and the model.
        splits: ``kfold``, ``centre`` or ``single``; None: as the recipe says.
        k: number of folds; None: as the recipe says, else 5. 1, where ``splits`` is None, is ``single``.
        folds: names of the folds to train (numbers from 0, or centres); empty: all.
        seed: of splits, weights and patches.
        device: ``auto``, ``cpu`` or ``cuda``.
        resume: go on with what is in ``out``; otherwise a run that is there is an error.
        cache: folder for prepared cases; None: in ``out``.
        save_every: steps between checkpoints.
        licence: of the weights, for the card.
        leave_out: names of cases that are no part of the run, to be measured on afterwards.
    """

    recipe: Recipe
    data: str
    out: Path
    splits: str | None = None
    k: int | None = None
    folds: tuple[str, ...] = ()
    seed: int = 0
    device: str = "auto"
    resume: bool = False
    cache: Path | None = None
    save_every: int = 50
    licence: str = "not decided; the licence of the training data applies"
    leave_out: tuple[str, ...] = ()


def run_job(job: TrainingJob, progress: ProgressCallback = silent) -> ModelCard:
    """Train every fold asked for and write the ensemble to ``out/model``; returns its card.

    The splits are on disk before the first step. A fold that was finished is not trained again, one that was
    interrupted goes on at its last checkpoint.

    Raises:
        InputError: data or splits cannot be used.
        ModelError: the recipe cannot be trained, or the folder holds another run.
        OutOfMemoryError: a step does not fit.
    """
    out = Path(job.out)
    _require_free(job, out)
    _require_same_run(job, out / RUN_FILE)
    sources = {source.name: source for source in find_cases(job.data) if source.name not in job.leave_out}
    if not are_tumours(job.recipe.classes):
        require_organ_labels(sources.values())
    cache = CaseCache(job.cache or out / "cases", job.recipe)
    facts = _prepared(cache, list(sources.values()), progress)
    splits = _splits(job, out / SPLITS_FILE, facts)
    chosen = _chosen(splits, job.folds)
    finished: list[tuple[Fold, Any, list[dict[str, Any]]]] = []
    for number, fold in enumerate(chosen):
        fold_progress = _part(progress, number, len(chosen), fold.name)
        finished.append((fold, *_train_fold(job, fold, cache, sources, fold_progress)))
    card = None
    if ranks().first:
        card = _write_model(job, out / MODEL_FOLDER, splits, facts, finished)
    wait_for_all()
    return from_first(card)


def _require_free(job: TrainingJob, out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder '{out}' cannot be made: {error.strerror or error}.") from error
    if (out / SPLITS_FILE).exists() and not job.resume:
        raise InputError(
            f"'{out}' holds a training run already. Give --resume to go on with it, or another folder with --out."
        )


def _require_same_run(job: TrainingJob, path: Path) -> None:
    """Refuse to go on with a run of another recipe, other settings or another seed, before anything is prepared."""
    now = {"recipe": job.recipe.to_dict(), "seed": job.seed}
    if not path.exists():
        if ranks().first:
            write_json(path, now)
        return
    try:
        former = json.loads(path.read_text(encoding="utf-8"))
        name = former["recipe"]["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"'{path}' cannot be read ({error}). Use another output folder.") from error
    if name != job.recipe.name:
        raise ModelError(f"'{path.parent}' holds a run of recipe '{name}', not '{job.recipe.name}'. Use another --out.")
    difference = first_setting_that_differs(former, json.loads(json.dumps(now)))
    if difference:
        raise ModelError(
            f"'{path.parent}' holds a run of recipe '{name}' with other settings: {difference}. Use another --out, or "
            "give the former settings."
        )


def _prepared(cache: CaseCache, sources: list[Source], progress: ProgressCallback) -> list[CaseFacts]:
    """All cases on disk; one process makes them, the others wait."""
    if ranks().first:
        prepare(cache, sources, progress)
    wait_for_all()
    return prepare(cache, sources)


def _splits(job: TrainingJob, path: Path, facts: list[CaseFacts]) -> Splits:
    """The folds of the run: those on disk, or new ones, which are written down; one process decides."""
    splits = None
    if ranks().first:
        splits = _former_splits(job, path, facts) if path.exists() else plan_splits(job, facts)
        splits.save(path)
    return from_first(splits)


def _former_splits(job: TrainingJob, path: Path, facts: list[CaseFacts]) -> Splits:
    splits = Splits.load(path)
    splits.require_cases([f.name for f in facts], path)
    if job.splits is not None and splits.kind != job.splits:
        raise InputError(f"'{path}' holds a split by '{splits.kind}', not '{job.splits}'. Use another folder.")
    return splits


def plan_splits(job: TrainingJob, facts: list[CaseFacts]) -> Splits:
    """The folds of a new run, as the job or else its recipe says; raises :class:`InputError` where none can be made."""
    plan = job.recipe.training
    k = job.k or int(plan.get("folds", DEFAULT_K))
    kind = job.splits or {"centre": CENTRE}.get(plan.get("split", ""), SINGLE if k == 1 else KFOLD)
    labels = _labels_that_matter(job.recipe, facts)
    if kind == CENTRE:
        splits = leave_one_centre_out(facts)
    elif kind == SINGLE:
        splits = one_split(facts, job.seed, labels)
    else:
        # Folds that are asked for although the recipe has one split are the usual number.
        splits = k_folds(facts, DEFAULT_K if job.k is None and k == 1 else k, job.seed)
    require_classes(splits, facts, labels)
    return splits


def _labels_that_matter(recipe: Recipe, facts: list[CaseFacts]) -> dict[int, str]:
    """Label values that stand for a class of the network, with its name."""
    if recipe.class_of_label:
        # Of several labels of one class, any will do; only those that occur at all are asked for.
        present = {c for fact in facts for c in fact.classes}
        return {v: recipe.classes[c] for v, c in enumerate(recipe.class_of_label) if v and c and v in present}
    return {c: name for c, name in enumerate(recipe.classes) if c}


def _chosen(splits: Splits, names: Sequence[str]) -> list[Fold]:
    by_name = {fold.name: fold for fold in splits.folds}
    for name in names:
        if name not in by_name:
            raise InputError(f"There is no fold '{name}'; there are {', '.join(by_name)}.")
    return [by_name[name] for name in names] if names else list(splits.folds)


def _part(progress: ProgressCallback, number: int, count: int, name: str) -> ProgressCallback:
    def report(event: ProgressEvent) -> None:
        text = f"fold {name}: {event.message}" if event.message else f"fold {name}"
        progress(ProgressEvent(event.stage, (number + event.fraction) / count, text))

    return report


def _train_fold(
    job: TrainingJob, fold: Fold, cache: CaseCache, sources: dict[str, Source], progress: ProgressCallback
) -> tuple[Any, list[dict[str, Any]]]:
    """The fold's best network and its figures, case by case."""
    folder = Path(job.out) / f"fold_{fold.name.replace(' ', '_')}"
    folder.mkdir(parents=True, exist_ok=True)
    device = job.device
    validator = Validator(job.recipe, lambda: (cache.load(sources[name]) for name in fold.validation), device)
    run = TrainingRun(
        job.recipe,
        cases=lambda index: cache.load(sources[fold.training[index]]),
        n_cases=len(fold.training),
        checkpoint=folder / CHECKPOINT_FILE,
        device=device,
        seed=job.seed,
        save_every=job.save_every,
        validate=validator,
        logs=folder,
    )
    network = run.run(progress)
    figures_file = folder / FIGURES_FILE
    if not figures_file.exists() and ranks().first:
        rows = [{"case": str(name), **_counts(found)} for name, found in validator.measure(network)]
        write_json(figures_file, {"recipe": job.recipe.name, "step": _best_step(run), "cases": rows})
    wait_for_all()
    data = json.loads(figures_file.read_text(encoding="utf-8"))
    return network, data["cases"]


def _best_step(run: TrainingRun) -> int:
    return int(max(run.validations, key=lambda v: v["score"])["step"]) if run.validations else run.step


def _counts(found: ClassOverlaps) -> dict[str, Any]:
    return {
        "volumes_ml": {
            name: [round(c.common_ml, 6), round(c.predicted_ml, 6), round(c.true_ml, 6)]
            for name, c in found.counts.items()
        }
    }


def _overlaps(rows: list[dict[str, Any]]) -> ClassOverlaps:
    from HNTumorSegLib.evaluation.overlap import OverlapCounts

    total = ClassOverlaps()
    for row in rows:
        total += ClassOverlaps({name: OverlapCounts(*v) for name, v in row["volumes_ml"].items()}, 1)
    return total


def _write_model(job: TrainingJob, folder: Path, splits: Splits, facts: list[CaseFacts], finished: list) -> ModelCard:
    """The ensemble of the folds' networks with the figures of those cases that each did not see."""
    recipe = job.recipe
    trained = len(finished)
    performance = {}
    pooled = sum((_overlaps(rows) for _, _, rows in finished), ClassOverlaps())
    title = _title(splits)
    performance[f"{title}, each network on the cases it never saw, model grid"] = _figures(pooled)
    if splits.kind != SINGLE:
        for fold, _, rows in finished:
            performance[f"fold {fold.name}"] = _figures(_overlaps(rows))
    centres = sorted({fact.centre for fact in facts if fact.centre})
    data = "synthetic patients of HNTumorSegLib.phantom" if job.data.startswith("phantom:") else "cases"
    origin = f" of {len(centres)} centres ({', '.join(centres)})" if centres else ""
    folds = ", ".join(fold.name for fold, _, _ in finished)
    return write_model(
        folder,
        recipe,
        [network for _, network, _ in finished],
        name=recipe.name,
        version="0.1.0",
        intended_use="Research only: proposes lesions for a person to review. Not for clinical use.",
        limitations=(
            "The figures are those of the single networks on the cases that each was not trained on"
            + ("" if trained == 1 else "; the ensemble was not measured on cases that none of its networks saw")
            + ". Best weights were chosen on these same cases, so they are somewhat flattering. Measure it on own data "
            "before use."
        ),
        training_data=(
            f"{len(facts)} {data}{origin}; {title}, "
            f"{trained} of {len(splits.folds)} folds trained (folds {folds}), seed {job.seed}."
        ),
        licence=job.licence,
        performance=performance,
        changelog=(f"0.1.0: recipe {recipe.name}, {trained} network{'s' if trained != 1 else ''}.",),
    )


def _title(splits: Splits) -> str:
    """How the cases were divided, for the card."""
    if splits.kind == CENTRE:
        return "leave-one-centre-out"
    if splits.kind == SINGLE:
        (fold,) = splits.folds
        return f"one split ({len(fold.training)} cases trained on, {len(fold.validation)} for validation)"
    return f"{len(splits.folds)}-fold cross-validation"


def _figures(found: ClassOverlaps) -> dict[str, float]:
    figures = {name: round(value, 4) for name, value in found.figures().items() if name != "score"}
    return {"patients": float(found.patients), **figures}


def write_json(path: Path, data: Any) -> None:
    """Write plain JSON types, whole or not at all; raises :class:`OutputError`."""
    part = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        part.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"'{path}' cannot be written: {error.strerror or error}.") from error


def with_settings(recipe: Recipe, settings: dict[str, Any]) -> Recipe:
    """The recipe with other entries in ``training``; ``steps`` takes the place of ``epochs``."""
    if not settings:
        return recipe
    plan = {**recipe.training, **settings}
    if "steps" in settings and settings["steps"] < 1:
        raise ModelError("--steps must be 1 or more.")
    return replace(recipe, training=plan)
