#!/usr/bin/env python
"""Train the bundled default model from nothing, measure it, and write its folder with the card.

    python scripts/train_default.py --work DIR [--anatomy DIR] [--members N] [--steps N] [--out FOLDER]
        [--sarcomas FOLDER] [--healthy DICOM_FOLDER]

Everything follows from seeds. Cases, checkpoints and measurements stay in ``--work``; called again with the same
folder it goes on where it stopped. The measurement is that of scripts/evaluate_default.py.
"""

from __future__ import annotations

import argparse
import copy
import logging
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import nn

from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.inference.device import keep_freed_memory
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.models.card_markdown import DIAGRAM, DIAGRAM_CAPTION, card_markdown
from HNTumorSegLib.models.loading import write_model
from HNTumorSegLib.phantom.family import FIRST
from HNTumorSegLib.progress import ProgressEvent
from HNTumorSegLib.recipes import Recipe, get_recipe
from HNTumorSegLib.training.card_figures import Performance, measure_for_card
from HNTumorSegLib.training.held_out import PET_CT, HeldOut
from HNTumorSegLib.training.loop import TrainingRun
from HNTumorSegLib.training.phantom_cases import PhantomMix, read_case, write_cases

REPOSITORY = Path(__file__).resolve().parents[1]
BUNDLED = REPOSITORY / "HNTumorSegLib" / "models" / "default"

ANATOMY_SOURCE = (
    "the organ label sets of Nikolov et al., J Med Internet Res 2021;23:e26151 (CC BY 4.0), without those kept for the "
    "held-out family"
)
"""What ``--anatomy`` is meant to hold; the licence has to be named with weights trained on it."""

log = logging.getLogger("train_default")


def say(event: ProgressEvent) -> None:
    if event.stage not in ("train", "phantoms") or event.fraction == 1:
        log.info("%s %3.0f %% %s", event.stage, 100 * event.fraction, event.message)


def training_history(recipe: Recipe, options: argparse.Namespace) -> str:
    """What this run was trained on and how, after what the model it started from says of itself."""
    plan = recipe.training
    anatomy = "" if options.anatomy is None else f"; the varied ones' organs follow {ANATOMY_SOURCE}"
    last = plan["steps"] if options.stop_after is None else options.stop_after
    this_run = (
        f"synthetic patients of HNTumorSegLib.phantom, {options.cases} of the first family (seeds from 0) and "
        f"{options.varied} of the family 'varied' (seeds from {options.cases}){anatomy}; recipe {recipe.name}, "
        f"{last} of {plan['steps']} steps, learning rate {plan['learning_rate']:g}, "
        f"lesion_share {plan['lesion_share']:g}, {options.members} network(s), seeds from {options.seed}."
    )
    if options.start_from is None:
        return f"From random weights: {this_run}"
    return f"{ModelCard.load(options.start_from).training_data} Then: {this_run}"


def train_members(recipe: Recipe, options: argparse.Namespace, cases: Path, n_cases: int) -> list[nn.Module]:
    """The ensemble's networks; they differ in their random weights, and in what they see and in which order."""
    networks = []
    for member in range(options.members):
        run = TrainingRun(
            recipe,
            cases=lambda index: read_case(cases, index),
            n_cases=n_cases,
            checkpoint=options.work / (f"checkpoint_{member}.pt" if member else "checkpoint.pt"),
            device=options.device,
            seed=options.seed + member,
            start_from=options.start_from,
            stop_after=options.stop_after,
        )
        networks.append(run.run(say))
    return networks


def write_default(
    folder: Path, recipe: Recipe, networks: list[nn.Module], history: str, performance: Performance
) -> ModelCard:
    """Write the model folder; weights are stored in half precision, which changes no figure beyond rounding."""
    return write_model(
        folder,
        recipe,
        [copy.deepcopy(network).half() for network in networks],
        name="default",
        version="0.3.0",
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
            "0.3.0: another network (recipe subpixel), trained on a second phantom family with real organs' shapes.",
            "0.2.0: trained on with a lower learning rate and averaged weights.",
            "0.1.0: first default, one network.",
        ),
    )


def measure_default(options: argparse.Namespace) -> Performance:
    """Measure the folder that ships, read back: patients of the first family, then the whole of the held-out one."""
    delineator = Delineator(options.out, options.device)
    command = shlex.join(["python", "scripts/train_default.py", *sys.argv[1:]])
    place = options.work / "measured"
    first = HeldOut(patients=options.evaluate, negatives=0, family=FIRST)
    held_out = HeldOut(options.evaluate_held_out, options.negatives, anatomy=options.anatomy)
    return {
        **measure_for_card(delineator, first, place / FIRST, command=command, progress=say),
        **measure_for_card(
            delineator,
            held_out,
            place / held_out.family,
            sarcomas=options.sarcomas,
            healthy=options.healthy,
            command=command,
            progress=say,
        ),
    }


def write_page(card: ModelCard, measured: Path) -> None:
    """The card as a page, with the reliability diagram of the held-out family beside it."""
    folder = REPOSITORY / "Resources" / "ModelCards"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(measured / HeldOut().family / f"reliability_{PET_CT}.png", folder / DIAGRAM)
    (folder / "default.md").write_text(card_markdown(card, {DIAGRAM: DIAGRAM_CAPTION}), encoding="utf-8")


def parse_options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for cases and checkpoints (about 16 GB)")
    parser.add_argument("--out", type=Path, default=BUNDLED)
    parser.add_argument("--recipe", default="subpixel")
    parser.add_argument("--members", type=int, default=1, help="networks of the ensemble")
    parser.add_argument("--cases", type=int, default=600, help="phantom patients of the first family to train on")
    parser.add_argument("--varied", type=int, default=800, help="and of the family 'varied', by the seeds after those")
    parser.add_argument("--anatomy", type=Path, default=None, help="folder of organ label sets for the varied ones")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--learning-rate", type=float, default=None)
    parser.add_argument("--lesion-share", type=float, default=None, help="see HNTumorSegLib.training.losses")
    parser.add_argument("--stop-after", type=int, default=None, help="end at this step of the schedule")
    parser.add_argument("--start-from", type=Path, default=None, help="model folder to start from")
    parser.add_argument("--evaluate", type=int, default=20, help="held-out patients of the first family")
    parser.add_argument("--evaluate-held-out", type=int, default=100, help="patients of the family 'held_out'")
    parser.add_argument("--negatives", type=int, default=20, help="patients without tumour, for each field of view")
    parser.add_argument("--sarcomas", type=Path, help="see scripts/check_real_scans.py")
    parser.add_argument("--healthy", type=Path, help="see scripts/check_real_scans.py")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=2, help="processes that make phantoms")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse_options(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    keep_freed_memory()
    recipe = get_recipe(options.recipe)
    chosen = {
        "steps": options.steps,
        "learning_rate": options.learning_rate,
        "lesion_share": options.lesion_share,
    }
    recipe = replace(recipe, training={**recipe.training, **{k: v for k, v in chosen.items() if v is not None}})
    cases, n_cases = options.work / "cases", options.cases + options.varied
    write_cases(list(range(options.cases)), recipe, cases, options.workers, say)
    varied = PhantomMix(1.0, anatomy_folder=options.anatomy)
    write_cases(list(range(options.cases, n_cases)), recipe, cases, options.workers, say, varied)
    networks = train_members(recipe, options, cases, n_cases)

    history = training_history(recipe, options)
    write_default(options.out, recipe, networks, history, {})
    performance = measure_default(options)
    card = write_default(options.out, recipe, networks, history, performance)
    if options.out.resolve() == BUNDLED:
        write_page(card, options.work / "measured")
    return 0


if __name__ == "__main__":
    sys.exit(main())
