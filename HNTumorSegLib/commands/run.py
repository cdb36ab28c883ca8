"""``hntumorseg run``: delineate one study."""

from __future__ import annotations

import argparse
from pathlib import Path

from HNTumorSegLib.commands.arguments import (
    EXIT_OK,
    add_command,
    add_model_arguments,
    positive_number,
    prepare_process,
)


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    add_run_arguments(add_command(commands, "run", _run, "delineate a PET/CT study on disk"))


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``run``, also for the Slicer batch script."""
    images = parser.add_argument_group("images")
    path_help = "DICOM folder, NIfTI, NRRD or MHA"
    images.add_argument("--pet", type=Path, required=True, metavar="PATH", help=f"FDG-PET: {path_help}")
    images.add_argument(
        "--ct",
        type=Path,
        metavar="PATH",
        help=f"CT: {path_help}; when left out, the CT that lies in the PET's folder, if any; 'none' for no CT",
    )
    for image in ("PET", "CT"):
        images.add_argument(
            f"--{image.lower()}-series", metavar="NUMBER_OR_UID", help=f"which {image}, when a folder holds several"
        )
    suv = parser.add_argument_group("SUV", "for what the images do not say themselves")
    suv.add_argument(
        "--pet-units", choices=["suv", "bqml"], help="what a PET that is not DICOM holds (bqml needs --suv-factor)"
    )
    suv.add_argument("--weight-kg", type=positive_number, metavar="KG", help="patient's weight")
    suv.add_argument("--dose-bq", type=positive_number, metavar="BQ", help="injected activity")
    suv.add_argument("--suv-factor", type=positive_number, metavar="F", help="stored values times this are SUVbw")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--include-identifiers", action="store_true", help="keep paths and patient identifiers in report.json"
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
