#!/usr/bin/env python
"""Train the bundled default model from nothing, evaluate it, and write its folder with the card.

    python scripts/train_default.py --work DIR [--cases N] [--steps N] [--start-from FOLDER] [--out FOLDER]

Everything follows from seeds. Cases and checkpoints stay in ``--work``; called again with the same folder it goes on
where it stopped.
"""

from __future__ import annotations

import argparse
import copy
import logging
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import nn

from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.inference.device import keep_freed_memory
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.models.card_markdown import card_markdown
from HNTumorSegLib.models.loading import write_model
from HNTumorSegLib.progress import ProgressEvent
from HNTumorSegLib.recipes import Recipe, get_recipe
from HNTumorSegLib.training.evaluate_phantoms import EVALUATION_SEED, cohort_figures, evaluate_phantoms
from HNTumorSegLib.training.loop import TrainingRun
from HNTumorSegLib.training.phantom_cases import PhantomMix, read_case, write_cases

REPOSITORY = Path(__file__).resolve().parents[1]
BUNDLED = REPOSITORY / "HNTumorSegLib" / "models" / "default"

log = logging.getLogger("train_default")


def say(event: ProgressEvent) -> None:
    if event.stage != "train":
        log.info("%s %3.0f %% %s", event.stage, 100 * event.fraction, event.message)


def training_history(recipe: Recipe, options: argparse.Namespace) -> str:
    """What this run was trained on and how, after what the model it started from says of itself."""
    plan = recipe.training
    anatomy = "" if options.anatomy is None else f", anatomy from the organ label sets in '{options.anatomy.name}'"
    last = plan["steps"] if options.stop_after is None else options.stop_after
    this_run = (
        f"synthetic patients of HNTumorSegLib.phantom, {options.cases} of the first family (seeds from 0) and "
        f"{options.varied} of the family 'varied' (seeds from {options.cases}){anatomy}; recipe {recipe.name}, "
        f"{last} of {plan['steps']} steps, learning rate {plan['learning_rate']:g}, "
        f"lesion_share {plan['lesion_share']:g}, seed {options.seed}."
    )
    if options.start_from is None:
        return f"From random weights: {this_run}"
    return f"{ModelCard.load(options.start_from).training_data} Then: {this_run}"


def write_default(folder: Path, recipe: Recipe, network: nn.Module, history: str, performance: dict) -> ModelCard:
    """Write the model folder; weights are stored in half precision, which changes no figure beyond rounding."""
    return write_model(
        folder,
        recipe,
        [copy.deepcopy(network).half()],
        name="default",
        version="0.2.0",
        intended_use=(
            "Research on FDG-PET/CT of the head and neck: proposes primary tumours and lymph-node metastases "
            "(metabolically active volume) for a person to review. Not for clinical use."
        ),
        limitations=(
            "Trained on synthetic patients only and never shown a real tumour. Expect misses and false lesions on "
            "real scans, above all beside tonsils, salivary glands, larynx, brown fat and dental work. Works with the "
            "PET alone, less well than with a CT. Other tracers than FDG, children and patients after surgery are "
            "outside what it knows."
        ),
        training_data=history,
        licence="Apache-2.0",
        performance=performance,
        changelog=(
            "0.2.0: trained on with a lower learning rate and averaged weights.",
            "0.1.0: first default, one network.",
        ),
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for cases and checkpoints (about 8 GB)")
    parser.add_argument("--out", type=Path, default=BUNDLED)
    parser.add_argument("--recipe", default="nikulin2023_fast")
    parser.add_argument("--cases", type=int, default=600, help="phantom patients of the first family to train on")
    parser.add_argument("--varied", type=int, default=800, help="and of the family 'varied', by the seeds after those")
    parser.add_argument("--anatomy", type=Path, default=None, help="folder of organ label sets for the varied ones")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--learning-rate", type=float, default=None)
    parser.add_argument("--lesion-share", type=float, default=None, help="see HNTumorSegLib.training.losses")
    parser.add_argument("--stop-after", type=int, default=None, help="end at this step of the schedule")
    parser.add_argument("--start-from", type=Path, default=None, help="model folder to start from")
    parser.add_argument("--evaluate", type=int, default=20, help="held-out phantom patients")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=2, help="processes that make phantoms")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")

    keep_freed_memory()
    recipe = get_recipe(options.recipe)
    chosen = {
        "steps": options.steps,
        "learning_rate": options.learning_rate,
        "lesion_share": options.lesion_share,
    }
    recipe = replace(recipe, training={**recipe.training, **{k: v for k, v in chosen.items() if v is not None}})
    cases = options.work / "cases"
    n_cases = options.cases + options.varied
    write_cases(list(range(options.cases)), recipe, cases, options.workers, say)
    varied = PhantomMix(1.0, anatomy_folder=options.anatomy)
    write_cases(list(range(options.cases, n_cases)), recipe, cases, options.workers, say, varied)
    run = TrainingRun(
        recipe,
        cases=lambda index: read_case(cases, index),
        n_cases=n_cases,
        checkpoint=options.work / "checkpoint.pt",
        device=options.device,
        seed=options.seed,
        start_from=options.start_from,
        stop_after=options.stop_after,
    )
    network = run.run(say)

    # Figures are measured on the folder that ships, read back, not on what is in memory.
    history = training_history(recipe, options)
    write_default(options.out, recipe, network, history, {})
    seeds = list(range(EVALUATION_SEED, EVALUATION_SEED + options.evaluate))
    results = evaluate_phantoms(Delineator(options.out, "cpu"), seeds, say)
    performance = {
        "phantom, PET and CT": cohort_figures([r.with_ct for r in results]),
        "phantom, PET only": cohort_figures([r.pet_only for r in results]),
    }
    log.info("%s", performance)
    card = write_default(options.out, recipe, network, history, performance)
    if options.out.resolve() == BUNDLED:
        page = REPOSITORY / "Resources" / "ModelCards" / "default.md"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(card_markdown(card), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
