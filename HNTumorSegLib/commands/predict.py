"""``hntumorseg predict``: a model on a folder of cases."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from HNTumorSegLib.commands.arguments import EXIT_OK, EXIT_USER, add_command, prepare_process


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    predict = add_command(commands, "predict", _predict, "delineate all cases of a folder, to label images and a table")
    predict.add_argument("--model", default="default", metavar="NAME_OR_FOLDER", help="see 'hntumorseg models list'")
    predict.add_argument(
        "--in",
        dest="data",
        required=True,
        metavar="DIR_OR_CSV",
        help="HECKTOR or nnU-Net raw folder, or CSV (case, pet, ct, ct_contrast); PET files hold SUVbw",
    )
    predict.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    predict.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where the network runs")
    predict.add_argument(
        "--reference",
        choices=["pet", "ct"],
        help="whose grid the labels lie on (default: pet; for a model that reads none, the first image it reads)",
    )
    predict.add_argument(
        "--uncertainty",
        type=Path,
        metavar="DIR",
        help="also write, into another folder, how unsure each voxel is (CASE_entropy, 0 to 1) and how far the "
        "ensemble's networks and flips are apart (CASE_spread, 0 to 0.5)",
    )
    predict.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _predict(arguments: argparse.Namespace) -> int:
    from HNTumorSegLib.predict_folder import TABLE_FILE, predict_folder
    from HNTumorSegLib.printout import console_for_output
    from HNTumorSegLib.progress_bar import shown_progress

    prepare_process()
    console = console_for_output()
    with shown_progress(console, arguments.quiet) as progress:
        result = predict_folder(
            arguments.data,
            arguments.out,
            arguments.model,
            device=arguments.device,
            reference=arguments.reference,
            uncertainty=arguments.uncertainty,
            progress=progress,
        )
    for row in result.failed:
        print(
            f"hntumorseg: {row.message if row.case in row.message else f'{row.case}: {row.message}'}", file=sys.stderr
        )
    if not arguments.quiet:
        finished = len(result.rows) - len(result.failed)
        before = f" ({result.reused} of them before)" if result.reused else ""
        console.print(
            f"{finished} of {len(result.rows)} cases delineated{before}; labels and {TABLE_FILE} in {arguments.out}",
            markup=False,
            soft_wrap=True,
        )
    return EXIT_USER if result.failed else EXIT_OK
