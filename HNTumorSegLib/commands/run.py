"""``hntumorseg run``: delineate one study."""

from __future__ import annotations

import argparse
from pathlib import Path

from HNTumorSegLib.commands.arguments import (
    EXIT_OK,
    add_command,
    add_model_arguments,
    add_study_arguments,
    prepare_process,
)


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    add_run_arguments(add_command(commands, "run", _run, "delineate a PET/CT study on disk"))


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``run``, also for the Slicer batch script."""
    add_study_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--include-identifiers", action="store_true", help="keep paths and patient identifiers in report.json"
    )
    parser.add_argument(
        "--uncertainty",
        action="store_true",
        help="also write uncertainty.nii.gz (how unsure each voxel is, 0 to 1) and spread.nii.gz (how far the "
        "ensemble's networks and flips are apart, 0 to 0.5)",
    )
    add_model_arguments(parser)


def run_from_arguments(arguments: argparse.Namespace) -> int:
    """``hntumorseg run`` once its arguments are parsed."""
    from HNTumorSegLib.printout import console_for_output, print_result
    from HNTumorSegLib.progress_bar import shown_progress
    from HNTumorSegLib.run import RunOptions, run

    options = RunOptions(
        pet=arguments.pet,
        ct=arguments.ct,
        out=arguments.out,
        model=arguments.model,
        device=arguments.device,
        reference=arguments.reference,
        pet_units=arguments.pet_units,
        weight_kg=arguments.weight_kg,
        dose_bq=arguments.dose_bq,
        suv_factor=arguments.suv_factor,
        pet_series=arguments.pet_series,
        ct_series=arguments.ct_series,
        include_identifiers=arguments.include_identifiers,
        scene=not arguments.no_scene,
        uncertainty=arguments.uncertainty,
    )
    console = console_for_output()
    with shown_progress(console, arguments.quiet) as progress:
        result = run(options, progress)
    if not arguments.quiet:
        print_result(console, result, options.out)
    return EXIT_OK


def _run(arguments: argparse.Namespace) -> int:
    prepare_process()
    return run_from_arguments(arguments)
