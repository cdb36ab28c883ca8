"""``hntumorseg measure``: all measures of a segmentation that is already there."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from HNTumorSegLib.commands.arguments import EXIT_OK, EXIT_USER, add_command, add_study_arguments, study_from_arguments


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    measure = add_command(commands, "measure", _measure, "measure the lesions of a segmentation, whoever made it")
    add_study_arguments(measure)
    lesions = measure.add_argument_group("lesions")
    lesions.add_argument(
        "--seg",
        type=Path,
        required=True,
        metavar="PATH",
        help=".seg.nrrd, NIfTI or NRRD labels (1 primary tumour, 2 lymph-node metastasis), DICOM SEG, or RTSTRUCT",
    )
    lesions.add_argument(
        "--kind",
        action="append",
        default=[],
        metavar="NAME=KIND",
        help="what a segment (or label value) is: primary, node or ignore; * and ? fit any letters, the first that "
        "fits counts; may be given several times",
    )
    lesions.add_argument(
        "--split", action="store_true", help="make each connected structure of a segment a lesion of its own"
    )
    measure.add_argument("--radiomics", action="store_true", help="radiomic features of PET and CT as further columns")
    measure.add_argument(
        "--radiomics-settings",
        type=Path,
        metavar="FILE",
        help="other settings than those that ship (implies --radiomics)",
    )
    measure.add_argument("--out", type=Path, required=True, metavar="CSV", help="the table")
    measure.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _measure(arguments: argparse.Namespace) -> int:
    from HNTumorSegLib.exchange.segments import KindRule
    from HNTumorSegLib.measure_study import MeasureOptions, measure_study
    from HNTumorSegLib.printout import console_for_output, lesion_table
    from HNTumorSegLib.progress_bar import shown_progress

    options = MeasureOptions(
        segmentation=arguments.seg,
        out=arguments.out,
        rules=[KindRule.parse(text) for text in arguments.kind],
        split=arguments.split,
        radiomics=arguments.radiomics or arguments.radiomics_settings is not None,
        radiomics_settings=arguments.radiomics_settings,
    )
    console = console_for_output()
    with shown_progress(console, arguments.quiet) as progress:
        study = study_from_arguments(arguments, progress)
        result = measure_study(study, options, progress)
    if not arguments.quiet:
        console.print(lesion_table(result.measured.table))
        console.print(f"Total tumour burden (TTB): {result.measured.table.ttb_ml:.2f} ml", markup=False)
        for note in result.notes:
            console.print(f"Note: {note}", markup=False)
        console.print(f"All measures in {options.out}", markup=False, soft_wrap=True)
    for problem in result.problems:
        print(f"hntumorseg: {' '.join(problem.split())}", file=sys.stderr)
    return EXIT_USER if result.problems else EXIT_OK
