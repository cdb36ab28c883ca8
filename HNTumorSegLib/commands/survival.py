"""``hntumorseg survival``: analyse a cohort, fit a model, apply it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from HNTumorSegLib.commands.arguments import EXIT_OK, add_command, positive_number, seed_number

if TYPE_CHECKING:
    from HNTumorSegLib.survival.analysis import BurdenOptions, TableOptions
    from HNTumorSegLib.survival.nested import Plan

MODELS = ("cox", "lasso", "forest", "deepsurv")


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    survival = commands.add_parser("survival", help="Cox, forest and DeepSurv on a cohort's table")
    actions = survival.add_subparsers(title="actions", required=True, metavar="ACTION")
    analyse = add_command(actions, "analyse", _analyse, "tables, figures and a page about a cohort's outcomes")
    _add_table_arguments(analyse)
    _add_plan_arguments(analyse)
    analyse.add_argument(
        "--models",
        nargs="+",
        choices=MODELS,
        default=["cox", "forest", "deepsurv"],
        help="default: cox forest deepsurv",
    )
    analyse.add_argument("--ttb-automatic", metavar="COL", help="total tumour burden, automatic; compared with --ttb")
    analyse.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    fit = add_command(actions, "fit", _fit, "a model folder with a card, from a cohort's table")
    _add_table_arguments(fit)
    _add_plan_arguments(fit)
    fit.add_argument("--model", choices=MODELS, default="cox", help="default: cox")
    fit.add_argument("--name", default="survival", help="the model's name")
    fit.add_argument("--out", type=Path, required=True, metavar="DIR", help="the model folder")
    apply = add_command(actions, "apply", _apply, "risk, group and contributions of each patient of a table")
    apply.add_argument("--model", type=Path, required=True, metavar="DIR", help="folder that 'survival fit' wrote")
    apply.add_argument("--table", type=Path, required=True, metavar="CSV", help="one row a patient")
    apply.add_argument(
        "--features", type=Path, nargs="+", default=[], metavar="CSV", help="further tables, same patients"
    )
    apply.add_argument("--id", dest="id_column", metavar="COL", help="column that names the patients")
    apply.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for risk.csv")
    apply.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _add_table_arguments(parser: argparse.ArgumentParser) -> None:
    table = parser.add_argument_group("table")
    table.add_argument("--table", type=Path, required=True, metavar="CSV", help="one row a patient")
    table.add_argument("--time", nargs="+", required=True, metavar="COL", help="time to event or censoring")
    table.add_argument(
        "--event", nargs="+", required=True, metavar="COL", help="1 event, 0 censored; in --time's order"
    )
    table.add_argument("--features", type=Path, nargs="+", default=[], metavar="CSV", help="radiomics, deep features")
    table.add_argument("--covariates", nargs="+", metavar="COL", help="columns to use; default: all that can be used")
    table.add_argument("--group", metavar="COL", help="centre; adds leave-one-centre-out")
    table.add_argument("--id", dest="id_column", metavar="COL", help="column that names the patients")
    table.add_argument("--unit", help="of the times, for labels; default: as the column's name says")
    table.add_argument("--ttb", metavar="COL", help="total tumour burden in ml; default: ttb_ml where there is one")
    table.add_argument(
        "--cutoff", type=_cutoff, default="median", metavar="median|maximal|ML", help="of the burden; default: median"
    )


def _add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    plan = parser.add_argument_group("pipeline")
    plan.add_argument("--folds", type=_folds, default=5, metavar="N", help="of the cross-validation; default: 5")
    plan.add_argument("--repeats", type=_repeats, default=3, metavar="N", help="of the cross-validation; default: 3")
    plan.add_argument(
        "--horizon", type=positive_number, metavar="T", help="time at which risk is given; default: median"
    )
    plan.add_argument("--spearman", type=_share, default=0.8, metavar="R", help="correlation filter; 1 for none")
    plan.add_argument("--no-lasso", action="store_true", help="no selection of columns")
    plan.add_argument("--seed", type=seed_number, default=0, help="of everything random; default: 0")
    plan.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _cutoff(text: str) -> str | float:
    return text if text in ("median", "maximal") else positive_number(text)


def _share(text: str) -> float:
    value = positive_number(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"'{text}' is above 1")
    return value


def _folds(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 2 or more")
    return int(text)


def _repeats(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 1 or more")
    return int(text)


def _tables(arguments: argparse.Namespace) -> TableOptions:
    from HNTumorSegLib.survival.analysis import TableOptions

    covariates = None if arguments.covariates is None else tuple(arguments.covariates)
    return TableOptions(
        table=arguments.table,
        times=tuple(arguments.time),
        events=tuple(arguments.event),
        features=tuple(arguments.features),
        covariates=covariates,
        group=arguments.group,
        id_column=arguments.id_column,
        unit=arguments.unit,
    )


def _plan(arguments: argparse.Namespace, models: tuple[str, ...]) -> Plan:
    from HNTumorSegLib.survival.nested import Plan
    from HNTumorSegLib.survival.preparation import Steps

    spearman = None if arguments.spearman == 1 else arguments.spearman
    steps = Steps(spearman=spearman, lasso=not arguments.no_lasso, seed=arguments.seed)
    return Plan(models, arguments.folds, arguments.repeats, steps, arguments.horizon, arguments.seed)


def _burden(arguments: argparse.Namespace, automatic: str | None = None) -> BurdenOptions:
    from HNTumorSegLib.survival.analysis import BurdenOptions

    return BurdenOptions(arguments.ttb, automatic, arguments.cutoff)


def _analyse(arguments: argparse.Namespace) -> int:
    _require_packages()
    from HNTumorSegLib.exchange.output_folder import staged_output
    from HNTumorSegLib.printout import console_for_output
    from HNTumorSegLib.progress_bar import shown_progress
    from HNTumorSegLib.survival.analysis import analyse
    from HNTumorSegLib.survival.files import PAGE, write_analysis
    from HNTumorSegLib.survival.printout import print_analysis

    plan = _plan(arguments, tuple(dict.fromkeys(arguments.models)))
    console = console_for_output()
    with staged_output(arguments.out) as folder, shown_progress(console, arguments.quiet) as progress:
        cohort, reports = analyse(_tables(arguments), plan, _burden(arguments, arguments.ttb_automatic), progress)
        files = write_analysis(folder, cohort, reports, plan)
    if not arguments.quiet:
        print_analysis(console, cohort, reports)
        console.print(
            f"{len(files)} files in {arguments.out}; open {arguments.out / PAGE}", markup=False, soft_wrap=True
        )
    return EXIT_OK


def _fit(arguments: argparse.Namespace) -> int:
    _require_packages()
    from HNTumorSegLib.exchange.output_folder import staged_output
    from HNTumorSegLib.printout import console_for_output
    from HNTumorSegLib.progress_bar import shown_progress
    from HNTumorSegLib.survival.fitting import fit_model
    from HNTumorSegLib.survival.printout import print_survival_card

    plan = _plan(arguments, (arguments.model,))
    console = console_for_output()
    with staged_output(arguments.out) as folder, shown_progress(console, arguments.quiet) as progress:
        model = fit_model(_tables(arguments), plan, _burden(arguments), arguments.name, progress)
        model.save(folder)
    if not arguments.quiet:
        print_survival_card(console, model.card)
        console.print(f"Model in {arguments.out}", markup=False, soft_wrap=True)
    return EXIT_OK


def _apply(arguments: argparse.Namespace) -> int:
    _require_packages()
    from HNTumorSegLib.exchange.output_folder import staged_output
    from HNTumorSegLib.printout import console_for_output
    from HNTumorSegLib.survival.cohort_table import read_new_patients
    from HNTumorSegLib.survival.files import write_prognoses
    from HNTumorSegLib.survival.printout import print_prognoses
    from HNTumorSegLib.survival.risk_model import RiskModel

    model = RiskModel.load(arguments.model)
    frame = read_new_patients(arguments.table, arguments.features, arguments.id_column)
    prognoses = model.prognoses(frame)
    with staged_output(arguments.out) as folder:
        write_prognoses(folder / "risk.csv", prognoses)
    if not arguments.quiet:
        console = console_for_output()
        print_prognoses(console, prognoses)
        console.print(f"Results in {arguments.out}: risk.csv", markup=False, soft_wrap=True)
    return EXIT_OK


def _require_packages() -> None:
    """Say how to install what this needs before anything else is read."""
    from importlib.util import find_spec

    from HNTumorSegLib.errors import MissingPackageError

    lacking = [
        n
        for n, m in (("pandas", "pandas"), ("lifelines", "lifelines"), ("scikit-learn", "sklearn"))
        if not find_spec(m)
    ]
    if lacking:
        raise MissingPackageError(
            f"Survival needs {', '.join(lacking)}, which are not installed here. Install them with: "
            'pip install "hntumorseg[survival]".'
        )
