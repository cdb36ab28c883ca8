"""``hntumorseg demo``: a synthetic patient through the whole path."""

from __future__ import annotations

import argparse
from pathlib import Path

from HNTumorSegLib.commands.arguments import EXIT_OK, add_command, add_model_arguments, prepare_process, seed_number


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    demo = add_command(commands, "demo", _demo, "make a synthetic patient and take it through the whole path")
    demo.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    demo.add_argument("--seed", type=seed_number, default=0, metavar="N", help="which patient (default 0)")
    add_model_arguments(demo)


def _demo(arguments: argparse.Namespace) -> int:
    from HNTumorSegLib.demo import run_demo
    from HNTumorSegLib.printout import console_for_output, print_result
    from HNTumorSegLib.progress_bar import shown_progress

    prepare_process()
    console = console_for_output()
    with shown_progress(console, arguments.quiet) as progress:
        result = run_demo(
            arguments.out,
            arguments.seed,
            model=arguments.model,
            device=arguments.device,
            reference=arguments.reference,
            scene=not arguments.no_scene,
            progress=progress,
        )
    if not arguments.quiet:
        print_result(console, result, arguments.out)
    return EXIT_OK
