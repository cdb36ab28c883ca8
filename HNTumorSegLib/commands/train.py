"""``hntumorseg train``: a recipe on a data set, to a model folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from HNTumorSegLib.commands.arguments import EXIT_OK, add_command, positive_number, prepare_process, seed_number
from HNTumorSegLib.errors import ModelError


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    train = add_command(commands, "train", _train, "train a recipe on a data set, fold by fold, to a model folder")
    train.add_argument("--recipe", required=True, metavar="NAME", help="which published system, or a variant of it")
    train.add_argument(
        "--data",
        required=True,
        metavar="DIR_OR_CSV",
        help="HECKTOR or nnU-Net raw folder, CSV (case, pet, ct, labels, patient, centre), or phantom:N",
    )
    train.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for checkpoints, logs and model")
    train.add_argument("--resume", action="store_true", help="go on with the run in --out where it stopped")
    folds = train.add_argument_group("folds")
    folds.add_argument(
        "--splits",
        choices=["kfold", "centre", "single"],
        help="k folds of patients, one centre left out in each, or one split of the patients for a single network "
        "(default: as the recipe says)",
    )
    folds.add_argument("--k", type=_whole, metavar="K", help="number of folds (default: the recipe's, else 5)")
    folds.add_argument("--folds", default="all", metavar="all|0,1,..", help="which folds to train (default: all)")
    plan = train.add_argument_group("training", "what differs from the recipe")
    plan.add_argument("--steps", type=_whole, metavar="N", help="length of the whole schedule, in steps")
    plan.add_argument("--batch", type=_whole, metavar="N", help="patches a step, over all GPUs together")
    plan.add_argument("--learning-rate", type=positive_number, metavar="X")
    plan.add_argument("--precision", choices=["auto", "bf16", "fp16", "fp32"])
    plan.add_argument(
        "--validate-every", type=_whole, metavar="N", help="steps between validations (default: an epoch)"
    )
    plan.add_argument("--seed", type=seed_number, default=0, metavar="N")
    train.add_argument("--device", default="auto", help="auto, cpu or cuda; several GPUs: start with torchrun")
    train.add_argument("--cache", type=Path, metavar="DIR", help="folder for prepared cases (default: in --out)")
    train.add_argument("--save-every", type=_whole, default=50, metavar="N", help="steps between checkpoints")
    train.add_argument("--licence", metavar="TEXT", help="licence of the weights, for the model card")
    train.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _whole(text: str) -> int:
    number = seed_number(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 1 or more")
    return number


def _train(arguments: argparse.Namespace) -> int:
    from HNTumorSegLib.inference.device import choose_device
    from HNTumorSegLib.printout import console_for_output, print_card
    from HNTumorSegLib.progress_bar import shown_progress
    from HNTumorSegLib.recipes import get_recipe
    from HNTumorSegLib.training.distributed import process_group, ranks
    from HNTumorSegLib.training.job import MODEL_FOLDER, TrainingJob, run_job, with_settings

    prepare_process()
    recipe = with_settings(get_recipe(arguments.recipe), _settings(arguments))
    console = console_for_output()
    with process_group(choose_device(arguments.device).name) as device:
        quiet = arguments.quiet or not ranks().first
        job = TrainingJob(
            recipe,
            arguments.data,
            arguments.out,
            splits=arguments.splits,
            k=arguments.k,
            folds=_folds(arguments.folds),
            seed=arguments.seed,
            device=device,
            resume=arguments.resume,
            cache=arguments.cache,
            save_every=arguments.save_every,
            **({"licence": arguments.licence} if arguments.licence else {}),
        )
        with shown_progress(console, quiet) as progress:
            card = run_job(job, progress)
    if not quiet:
        print_card(console, card, arguments.out / MODEL_FOLDER)
    return EXIT_OK


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The entries of the recipe's training plan that were given by hand."""
    names = ("steps", "batch", "learning_rate", "precision", "validate_every")
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def _folds(text: str) -> tuple[str, ...]:
    if text == "all":
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise ModelError(f"--folds takes 'all' or names with commas between them, not '{text}'.")
    return names
