"""What several commands share: options, value checks, the process's settings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

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
