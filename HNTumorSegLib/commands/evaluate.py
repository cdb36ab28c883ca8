"""``hntumorseg evaluate``: how well delineations agree with their references, as tables, figures and a page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from HNTumorSegLib.commands.arguments import EXIT_OK, EXIT_USER, add_command

if TYPE_CHECKING:
    from rich.console import Console

    from HNTumorSegLib.evaluation.cohort import CohortEvaluation
    from HNTumorSegLib.evaluation.tables import Table


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    evaluate = add_command(commands, "evaluate", _evaluate, "compare delineations with their references")
    case_help = "one label file (0/1/2: NIfTI, NRRD, MetaImage, .seg.nrrd) or one folder a patient"
    evaluate.add_argument("--truth", type=Path, required=True, metavar="DIR", help=f"the references: {case_help}")
    evaluate.add_argument("--predicted", type=Path, required=True, metavar="DIR", help="the delineations, likewise")
    evaluate.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for tables, figures and page")
    evaluate.add_argument(
        "--tolerances",
        type=Path,
        metavar="FILE",
        help="surface tolerances: JSON {name: mm} or CSV lines structure,tolerance_mm; 'default' for all others "
        "(default: Nikolov 2018's for organs, 2.5 mm for tumours)",
    )
    evaluate.add_argument(
        "--layout",
        choices=["auto", "labels", "structures"],
        default="auto",
        help="what a patient's folder holds: one label map 0/1/2, or one mask an organ (default: looked up)",
    )
    evaluate.add_argument(
        "--minimum-lesion-ml",
        type=_volume,
        metavar="ML",
        help="tumour structures below this are left out on both sides (default 0.1, as Nikulin 2023; 0 keeps all)",
    )
    evaluate.add_argument("--title", default="", metavar="TEXT", help="name of the data set, for the page")
    evaluate.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _volume(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a volume of 0 ml or more")
    return value


def _evaluate(arguments: argparse.Namespace) -> int:
    from HNTumorSegLib.evaluation.case import EvaluationSettings
    from HNTumorSegLib.evaluation.tolerances import Tolerances, read_tolerances
    from HNTumorSegLib.exchange.label_pairs import pair_folders
    from HNTumorSegLib.exchange.output_folder import staged_output
    from HNTumorSegLib.lesions.from_labels import MINIMUM_LESION_ML
    from HNTumorSegLib.printout import console_for_output
    from HNTumorSegLib.progress_bar import shown_progress

    smallest = MINIMUM_LESION_ML if arguments.minimum_lesion_ml is None else arguments.minimum_lesion_ml
    tolerances = Tolerances() if arguments.tolerances is None else read_tolerances(arguments.tolerances)
    pairing = pair_folders(arguments.truth, arguments.predicted, arguments.layout)
    title = arguments.title or f"{arguments.predicted.absolute().name} against {arguments.truth.absolute().name}"
    console = console_for_output()
    with staged_output(arguments.out) as stage:
        with shown_progress(console, arguments.quiet) as progress:
            evaluation = _compare(pairing, EvaluationSettings(smallest, tolerances), title, progress)
        _complain(evaluation)
        if not evaluation.cases and not evaluation.structures:
            from HNTumorSegLib.errors import InputError

            raise InputError(
                f"No case of '{arguments.truth}' and '{arguments.predicted}' could be compared; nothing was written"
            )
        from HNTumorSegLib.evaluation.writing import write_evaluation

        files = write_evaluation(
            evaluation, stage, command=_command_line(arguments), page_folder=arguments.out.absolute()
        )
    if not arguments.quiet:
        _print(console, evaluation, arguments.out, files)
    return EXIT_USER if evaluation.problems else EXIT_OK


def _compare(pairing, settings, title, progress) -> CohortEvaluation:  # noqa: ANN001
    """The streaming comparison; problems of the pairing come first."""
    from HNTumorSegLib.evaluation.cohort import evaluate_cases, evaluate_structures, with_problems

    options = {"settings": settings, "title": title, "total": len(pairing.pairs), "progress": progress}
    if pairing.has_structures:
        evaluation = evaluate_structures(pairing.structures(), **options)
    else:
        evaluation = evaluate_cases(pairing.cases(), **options)
    return with_problems(evaluation, pairing.problems)


def _complain(evaluation: CohortEvaluation) -> None:
    """Every problem as a line of its own on standard error."""
    for problem in evaluation.problems:
        print(f"hntumorseg: {' '.join(str(problem).split())}", file=sys.stderr)


def _command_line(arguments: argparse.Namespace) -> str:
    import shlex

    words = ["hntumorseg", "evaluate", "--truth", str(arguments.truth), "--predicted", str(arguments.predicted)]
    words += ["--out", str(arguments.out)]
    for name in ("tolerances", "minimum_lesion_ml"):
        if getattr(arguments, name) is not None:
            words += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    if arguments.layout != "auto":
        words += ["--layout", arguments.layout]
    return shlex.join(words)


def _print(console: Console, evaluation: CohortEvaluation, out: Path, files: list[str]) -> None:
    from HNTumorSegLib.evaluation import tables
    from HNTumorSegLib.evaluation.page import rounded_burden

    if evaluation.cases:
        for table in (
            tables.delineation_table(evaluation),
            tables.classification_table(evaluation),
            tables.detection_table(evaluation),
            rounded_burden(tables.burden_table(evaluation)),
        ):
            _print_table(console, table, tuple(column.name for column in table.columns))
    if evaluation.structures:
        names = (
            "structure",
            "n",
            "tolerance_mm",
            "surface_dsc_mean",
            "surface_dsc_median",
            "hd95_median_mm",
            "dsc_mean",
        )
        _print_table(console, tables.structures_table(evaluation), names)
    for note in evaluation.notes:
        console.print(f"Note: {note}", markup=False)
    if evaluation.problems:
        console.print(f"{len(evaluation.problems)} could not be compared, see above and problems.csv.", markup=False)
    console.print(f"Results in {out}: {', '.join(files)}", markup=False, soft_wrap=True)


def _print_table(console: Console, table: Table, names: tuple[str, ...]) -> None:
    """Some columns of a table on the screen, definitions below."""
    from rich import box
    from rich.table import Table as RichTable

    from HNTumorSegLib.evaluation.definitions import TEXT
    from HNTumorSegLib.evaluation.page import written

    shown = [(i, column) for i, column in enumerate(table.columns) if column.name in names]
    printed = RichTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for _, column in shown:
        printed.add_column(column.heading, justify="left" if column.kind == TEXT else "right")
    for row in table.rows:
        printed.add_row(*(written(row[i], column.kind) for i, column in shown))
    console.print(printed)
    for _, column in shown:
        if column.definition:
            console.print(f"  {column.heading}: {column.definition}", markup=False, style="dim")
