"""What several commands share: options, value checks, the process's settings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from HNTumorSegLib.progress import ProgressCallback
    from HNTumorSegLib.study.study import Study

EXIT_OK, EXIT_DEFECT, EXIT_USER, EXIT_INTERRUPTED = 0, 1, 2, 130


def add_command(
    commands: argparse._SubParsersAction, name: str, function: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """Add a command (or an action of one) that calls ``function(arguments) -> exit code``; ``text`` is its help."""
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument("--debug", action="store_true", help="log what happens, and show where an error came from")
    parser.set_defaults(command=function)
    return parser


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, device, reference grid, and what to write and print."""
    parser.add_argument(
        "--model", default="default", metavar="NAME_OR_FOLDER", help="see 'hntumorseg models list' (default: default)"
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where the network runs")
    parser.add_argument(
        "--reference", choices=["pet", "ct"], default="pet", help="whose grid the lesions lie on (default: pet)"
    )
    parser.add_argument("--no-scene", action="store_true", help="write no Slicer scene")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """PET and CT, and what the images do not say themselves."""
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


def study_from_arguments(arguments: argparse.Namespace, progress: ProgressCallback) -> Study:
    """The study that :func:`add_study_arguments`' options name."""
    from HNTumorSegLib.study.reader import read_study

    return read_study(
        arguments.pet,
        arguments.ct,
        pet_units=arguments.pet_units,
        weight_kg=arguments.weight_kg,
        dose_bq=arguments.dose_bq,
        suv_factor=arguments.suv_factor,
        pet_series=arguments.pet_series,
        ct_series=arguments.ct_series,
        progress=progress,
    )


def positive_number(text: str) -> float:
    """An argument that is a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return value


def seed_number(text: str) -> int:
    """An argument that is a whole number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 0 or more")
    return int(text)


def prepare_process() -> None:
    """Settings that only a process of our own may make, not one that 3D Slicer started and goes on with."""
    from HNTumorSegLib.inference.device import keep_freed_memory

    application = getattr(sys.modules.get("slicer"), "app", None)
    if not hasattr(application, "commandOptions"):
        keep_freed_memory()
