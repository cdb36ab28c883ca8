#!/usr/bin/env python
"""Train the bundled models from nothing, measure them, and write their folders with the cards.

    python scripts/train_default.py --work DIR [--anatomy DIR] [--members N] [--out FOLDER] [--fast-out FOLDER]
        [--sarcomas FOLDER] [--healthy DICOM_FOLDER]

One network is trained from random weights (or taken from ``--start-from``); the members of the ensemble go on from it,
each on other patches. ``default`` is the ensemble, ``fast`` the one network with the mean of its weights, which is not
stored but worked out when the model is loaded. Everything follows from seeds. Cases, checkpoints and measurements stay
in ``--work``; called again with the same folder it goes on where it stopped. The measurement is that of
scripts/evaluate_default.py.
"""

from __future__ import annotations

import argparse
import copy
import logging
import shlex
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import nn
from train_default_options import parse_options, patients

from HNTumorSegLib.errors import HNTumorSegError, ModelError
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.inference.device import keep_freed_memory
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.models.card_markdown import FAILURES, RELIABILITY, card_markdown, page_pictures, picture_file
from HNTumorSegLib.models.loading import load_networks, write_mean, write_model
from HNTumorSegLib.models.registry import DEFAULT_MODEL, FAST_MODEL, bundled_folder
from HNTumorSegLib.networks import build_network
from HNTumorSegLib.networks.mean import mean_network
from HNTumorSegLib.phantom.family import FIRST
from HNTumorSegLib.progress import ProgressEvent
from HNTumorSegLib.recipes import Recipe, get_recipe
from HNTumorSegLib.training.card_figures import SHEET_FILE, Performance, measure_for_card
from HNTumorSegLib.training.held_out import PET_CT, HeldOut
from HNTumorSegLib.training.held_out_workers import fill
from HNTumorSegLib.training.loop import TrainingRun
from HNTumorSegLib.training.phantom_cases import (
    FIRST_FAMILY,
    PhantomMix,
    read_case,
    write_cases,
)
from HNTumorSegLib.training.real_scans import check_folders

REPOSITORY = Path(__file__).resolve().parents[1]
VERSION = "0.12.0"

ANATOMY_SOURCE = (
    "the organ label sets of Nikolov et al., J Med Internet Res 2021;23:e26151 (CC BY 4.0), without those kept for the "
    "held-out family"
)
"""What ``--anatomy`` is meant to hold; the licence has to be named with weights trained on it."""

CHANGES = (
    "0.12.0: three more networks, trained on in the same way with other patients: five members.",
    "0.11.0: two networks, trained on with larger patches of patients half of whom are made as finely as those of the "
    "measurement; each is averaged with what it went on from, which real scans asked for.",
    "0.10.0: a third network, trained on with larger patches, which show more of what lies around a lesion.",
    "0.9.0: outlines are placed by the PET too; touching parts have one kind unless the model is sure of two; trained "
    "on for a short while, more often without CT.",
    "0.8.0: trained on with anatomies between those of two source patients, and with larger primaries.",
    "0.7.0: trained on with patients whose lesions lie in soft tissue and whose organs are no hotter than in people.",
    "0.6.0: trained on with more patients; measured on patients whose lesions lie in soft tissue, others than before.",
    "0.5.0: trained on, with patients of advanced nodal disease; leaves out less of what it is not sure of.",
    "0.4.0: an ensemble, trained on with a loss that asks for honest probabilities.",
    "0.3.0: another network (recipe subpixel), trained on a second phantom family with real organs' shapes.",
    "0.2.0: trained on with a lower learning rate and averaged weights.",
    "0.1.0: first default, one network.",
)
"""Of the default model, for its card."""
FAST_CHANGES = (
    "0.12.0: as the default model.",
    "0.11.0: as the default model; its weights are the mean of the weights of that model's networks.",
    "0.10.0: as the default model.",
    "0.9.0: as the default model.",
    "0.8.0: as the default model.",
    "0.7.0: as the default model.",
    "0.6.0: as the default model.",
    "0.5.0: as the default model.",
    "0.4.0: first of its name.",
)

log = logging.getLogger("train_default")


def say(event: ProgressEvent) -> None:
    if event.stage not in ("train", "phantoms") or event.fraction == 1:
        log.info("%s %3.0f %% %s", event.stage, 100 * event.fraction, event.message)


@dataclass(frozen=True)
class TrainingRecord:
    """What the card says the networks were shown, and how they were trained, a sentence a step."""

    data: str
    steps: tuple[str, ...] = ()


def training_record(recipe: Recipe, options: argparse.Namespace) -> TrainingRecord:
    """That of the members; it begins with that of the model they started from."""
    data = "Synthetic patients of HNTumorSegLib.phantom, never a real one."
    if options.anatomy is not None:
        data += f" The organs of all but the first family follow {ANATOMY_SOURCE}."
    mix = ", ".join(
        f"{len(seeds)} of the family '{family}' (seeds from {seeds[0]})" for family, seeds in patients(options)
    )
    fine = f"; {100 * options.fine_share:g} % of all but the first family at full detail" if options.fine_share else ""
    shown = f"{mix}{fine}; recipe {recipe.name}"
    members = members_in_words(options)
    if options.start_from is None:
        plan = recipe.training
        first = f"one network, {plan['steps']} steps, learning rate {plan['learning_rate']:g}, seed {options.seed}"
        return TrainingRecord(data, (f"From random weights: {shown}; {first}.", f"On the same patients: {members}"))
    before = ModelCard.load(options.start_from)
    if before.training_data != data:
        data = f"{before.training_data} Then: {data}"
    return TrainingRecord(data, (*before.training_steps, f"{shown}; {members}"))


def members_in_words(options: argparse.Namespace) -> str:
    """How the ensemble's networks came to be."""
    words = (
        f"{options.members} network(s), each going on from there for {options.member_steps} steps, learning rate "
        f"{options.member_learning_rate:g}, seeds from {options.seed + 1}"
        + ("" if options.member_patch is None else f", patches of {' x '.join(map(str, options.member_patch))} voxels")
        + ("; each the mean of its weights and those it went on from." if options.average_with_start else ".")
    )
    if options.with_networks_of is not None:
        card = ModelCard.load(options.with_networks_of)
        words += f" Beside them the {card.n_networks} network(s) of {card.name} {card.version}."
        if card.training_steps:
            words += f" The last step of these: {card.training_steps[-1]}"
    return words


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """What a network's tensors are called and how large they are."""
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def check_members(recipe: Recipe, options: argparse.Namespace) -> None:
    """Say what is wrong with the members' options before hours of work, not after; raises :class:`ModelError`."""
    network = build_network(recipe.network, len(recipe.channels), len(recipe.classes), **recipe.network_options)
    out, fast_out = options.out.resolve(), options.fast_out.resolve()
    if out.parent != fast_out.parent or out == fast_out:
        raise ModelError(
            f"--out is '{options.out}' and --fast-out '{options.fast_out}'; give two folders in the same folder, as "
            "the one network is the mean of the ensemble's and read from there."
        )
    for option, folder in (("--start-from", options.start_from), ("--with-networks-of", options.with_networks_of)):
        if folder is not None and {folder.resolve(), ModelCard.load(folder).weights_folder(folder)} & {out, fast_out}:
            raise ModelError(
                f"{option} is '{folder}', whose weights this run would write over; going on later, it would take the "
                f"new ones for the old. Copy '{out}' and '{fast_out}' elsewhere and give the copy."
            )
    divisor = getattr(network, "divisor", 1)
    if options.member_patch is not None and any(side < 1 or side % divisor for side in options.member_patch):
        sides = " x ".join(map(str, options.member_patch))
        raise ModelError(f"--member-patch is {sides}; recipe '{recipe.name}' needs multiples of {divisor} voxels.")
    if options.with_networks_of is None:
        return
    further = load_networks(options.with_networks_of)
    if any(shapes_of(one) != shapes_of(network) for one in further):
        raise ModelError(
            f"The networks of '{options.with_networks_of}' are not those of recipe '{recipe.name}'. Give the folder of "
            "a model of that recipe, or another --recipe."
        )


def write_patients(recipe: Recipe, options: argparse.Namespace) -> list[int]:
    """Make the patients to train on that are not in ``--work`` yet; returns their seeds."""
    every = []
    for family, seeds in patients(options):
        mix = FIRST_FAMILY
        if family != FIRST:
            mix = PhantomMix(1.0, anatomy_folder=options.anatomy, family=family, fine_share=options.fine_share)
        write_cases(list(seeds), recipe, options.work / "cases", options.workers, say, mix)
        every += seeds
    return every


def train_start(recipe: Recipe, options: argparse.Namespace, seeds: list[int]) -> Path:
    """The model folder from which the members go on."""
    if options.start_from is not None:
        return options.start_from
    folder = options.work / "start"
    run = training_run(recipe, options, seeds, "start", options.seed, None)
    write_bundled(
        folder, "start", recipe, [run.run(say)], TrainingRecord("See the model that was trained on from it."), {}
    )
    return folder


def train_members(recipe: Recipe, options: argparse.Namespace, start: Path, seeds: list[int]) -> list[nn.Module]:
    """The ensemble's networks; they differ in what they were shown and in which order."""
    plan = {**recipe.training, "steps": options.member_steps, "learning_rate": options.member_learning_rate}
    if options.member_patch is not None:
        plan["patch_zyx"] = options.member_patch
    runs = (
        training_run(replace(recipe, training=plan), options, seeds, f"member_{n}", options.seed + 1 + n, start)
        for n in range(options.members)
    )
    trained = [run.run(say) for run in runs]
    if not options.average_with_start:
        return trained
    first = load_networks(start)[0].to(options.device)
    return [mean_network([first, network]) for network in trained]


def training_run(
    recipe: Recipe, options: argparse.Namespace, seeds: list[int], name: str, seed: int, start: Path | None
) -> TrainingRun:
    """One network's training, kept in ``--work``."""
    return TrainingRun(
        recipe,
        cases=lambda index: read_case(options.work / "cases", seeds[index]),
        n_cases=len(seeds),
        checkpoint=options.work / f"{name}.pt",
        device=options.device,
        seed=seed,
        start_from=start,
    )


def write_bundled(
    folder: Path,
    name: str,
    recipe: Recipe,
    networks: list[nn.Module],
    record: TrainingRecord,
    performance: Performance,
) -> ModelCard:
    """Write the model folder; weights are stored in half precision, which changes no figure beyond rounding."""
    return write_model(
        folder,
        recipe,
        [copy.deepcopy(network).half() for network in networks],
        name=name,
        version=VERSION,
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
        training_data=record.data,
        training_steps=record.steps,
        licence="Apache-2.0",
        performance=performance,
        changelog=CHANGES,
    )


def write_models(
    options: argparse.Namespace,
    recipe: Recipe,
    networks: list[nn.Module],
    record: TrainingRecord,
    performance: dict[str, Performance],
) -> dict[str, ModelCard]:
    """Write both models' folders, with what was measured so far."""
    default = write_bundled(options.out, DEFAULT_MODEL, recipe, networks, record, performance.get(DEFAULT_MODEL, {}))
    fast = write_mean(
        options.fast_out,
        options.out,
        name=FAST_MODEL,
        intended_use=f"{default.intended_use} One network instead of the ensemble of 'default': for a slow machine.",
        training_steps=(*default.training_steps, "The mean of these networks' weights."),
        performance=performance.get(FAST_MODEL, {}),
        changelog=FAST_CHANGES,
    )
    return {DEFAULT_MODEL: default, FAST_MODEL: fast}


def measure_bundled(models: dict[str, Path], options: argparse.Namespace) -> dict[str, Performance]:
    """Measure the folders that ship, read back: patients of the first family, then the whole of the held-out one."""
    command = shlex.join(["python", "scripts/train_default.py", *sys.argv[1:]])
    first = HeldOut(patients=options.evaluate, negatives=0, family=FIRST)
    held_out = HeldOut(options.evaluate_held_out, options.negatives, anatomy=options.anatomy)
    for plan in (first, held_out):
        places = {options.work / "measured" / name / plan.family: folder for name, folder in models.items()}
        fill(places, plan, workers=options.workers, device=options.device, progress=say)
    performance = {}
    for name, folder in models.items():
        delineator, place = Delineator(folder, options.device), options.work / "measured" / name
        scans = {"sarcomas": options.sarcomas, "healthy": options.healthy}
        performance[name] = {
            **measure_for_card(delineator, first, place / first.family, command=command, progress=say),
            **measure_for_card(delineator, held_out, place / held_out.family, **scans, command=command, progress=say),
        }
    return performance


def write_page(card: ModelCard, measured: Path) -> None:
    """The card as a page, with the held-out family's reliability diagram and worst patients beside it."""
    folder = REPOSITORY / "Resources" / "ModelCards"
    folder.mkdir(parents=True, exist_ok=True)
    for picture, file in ((RELIABILITY, f"reliability_{PET_CT}.png"), (FAILURES, SHEET_FILE)):
        shutil.copyfile(measured / HeldOut().family / file, folder / picture_file(card.name, picture))
    (folder / f"{card.name}.md").write_text(card_markdown(card, page_pictures(card.name)), encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    options = parse_options(argv, __doc__.split("\n")[0])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    keep_freed_memory()
    check_folders(options.sarcomas, options.healthy)
    recipe = get_recipe(options.recipe)
    chosen = {"steps": options.steps, "learning_rate": options.learning_rate}
    recipe = replace(recipe, training={**recipe.training, **{k: v for k, v in chosen.items() if v is not None}})
    check_members(recipe, options)
    seeds = write_patients(recipe, options)
    networks = train_members(recipe, options, train_start(recipe, options, seeds), seeds)
    if options.with_networks_of is not None:
        networks += [network.to(options.device) for network in load_networks(options.with_networks_of)]

    record = training_record(recipe, options)
    folders = {DEFAULT_MODEL: options.out, FAST_MODEL: options.fast_out}
    write_models(options, recipe, networks, record, {})
    performance = measure_bundled(folders, options)
    for name, card in write_models(options, recipe, networks, record, performance).items():
        if folders[name].resolve() == (bundled_folder() / name).resolve():
            write_page(card, options.work / "measured" / name)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HNTumorSegError as error:
        print(f"train_default: {error}", file=sys.stderr)
        sys.exit(2)
