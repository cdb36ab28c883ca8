"""The evaluation as tables in the shape of Nikulin et al. 2023 (Tables 1 to 3), and the tables behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from HNTumorSegLib.evaluation.case import TARGETS, UNION, CaseEvaluation
from HNTumorSegLib.evaluation.cohort import CohortEvaluation, SurfaceSummary, dsc_summary, surface_summary
from HNTumorSegLib.evaluation.definitions import BURDEN_DEFINITIONS, Column, column, column_of
from HNTumorSegLib.lesions.codes import NODE, PRIMARY

Value = str | int | float | None

TARGET_TITLES = {PRIMARY: "Primary tumour", NODE: "LN metastases", UNION: "Primary + metastases"}


@dataclass(frozen=True)
class Table:
    """A table; ``name`` is its file name without ``.csv``. None is an empty cell: not defined."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]


def all_tables(evaluation: CohortEvaluation) -> list[Table]:
    """Every table of an evaluation, in the order of the page; problems and definitions last."""
    tables = []
    if evaluation.cases:
        tables += [
            delineation_table(evaluation),
            classification_table(evaluation),
            detection_table(evaluation),
            burden_table(evaluation),
            surface_table(evaluation),
            aggregated_table(evaluation),
            cases_table(evaluation),
        ]
    if evaluation.structures:
        tables += [structures_table(evaluation), structure_cases_table(evaluation)]
    tables.append(problems_table(evaluation))
    return [*tables, definitions_table(tables)]


def delineation_table(evaluation: CohortEvaluation) -> Table:
    """Table 1: cohort, mean and median DSC, quartiles, failures."""
    names = (
        "target",
        "dsc_cohort",
        "dsc_mean",
        "dsc_median",
        "dsc_q25",
        "dsc_q75",
        "n_failed",
        "n_defined",
        "n_undefined",
    )
    rows = []
    for target in TARGETS:
        found = evaluation.dsc(target)
        spread = found.individual
        numbers = (found.cohort, spread.mean, spread.median, spread.q25, spread.q75)
        rows.append((TARGET_TITLES[target], *numbers, found.n_failed, spread.n, found.n_undefined))
    return _table("table1_delineation", "Table 1. Delineation performance by target volume", names, rows)


def classification_table(evaluation: CohortEvaluation) -> Table:
    """Table 2: contingency table of the common voxels, normalised to 1, with its rates."""
    names = ("n_voxels", "t_pt", "f_pt", "t_ln", "f_ln", "tpr_pt", "tpr_ln", "accuracy", "n_without_error")
    counts = evaluation.classification()
    part = counts.normalised()
    cells = (None,) * 4 if part is None else (part.true_primary, part.false_primary, part.true_node, part.false_node)
    rates = (counts.tpr_primary, counts.tpr_node, counts.accuracy)
    row = (int(counts.n_voxels), *cells, *rates, evaluation.n_without_classification_errors())
    return _table("table2_classification", "Table 2. Classification of the voxels found by both", names, [row])


def detection_table(evaluation: CohortEvaluation) -> Table:
    """Table 3: lesions found, missed and not there."""
    names = ("target", "tp_man", "tp_cnn", "fn", "fp", "tpr_str", "ppv_str")
    rows = []
    for target in TARGETS:
        found = evaluation.detection(target)
        counts = (found.tp_true, found.tp_predicted, found.fn, found.fp)
        rows.append((TARGET_TITLES[target], *counts, found.tpr, found.ppv))
    return _table("table3_detection", "Table 3. Lesion detection by target volume", names, rows)


def burden_table(evaluation: CohortEvaluation) -> Table:
    """Agreement of the total tumour burden, one figure a row with its definition."""
    found = evaluation.burden()
    line, bland, icc = found.line, found.bland_altman, found.icc
    half_width = None if line is None or line.n < 3 else float(line.prediction_half_width(line.mean_x))
    none3, none5 = (None,) * 3, (None,) * 5
    values = {
        "n": (found.n, ""),
        "n_left_out": (len(found.left_out), ""),
        "r_squared": (found.r_squared, ""),
        "mean_absolute_difference": (found.mean_absolute_difference_ml, "ml"),
        "slope": (None if line is None else line.slope, ""),
        "intercept": (None if line is None else line.intercept, "ml"),
        "prediction_half_width": (half_width, "ml"),
    }
    limits = none5 if bland is None else (bland.mean, *bland.mean_interval, bland.lower, bland.upper)
    names = ("bias", "bias_low", "bias_high", "lower_limit", "upper_limit")
    values |= {name: (value, "ml") for name, value in zip(names, limits, strict=True)}
    correlation = none3 if icc is None else (icc.value, *icc.interval)
    values |= {name: (v, "") for name, v in zip(("icc", "icc_low", "icc_high"), correlation, strict=True)}
    rows = [(name, value, unit, BURDEN_DEFINITIONS[name]) for name, (value, unit) in values.items()]
    columns = ("figure", "value", "unit", "definition")
    return _table("ttb_agreement", "Agreement of the total tumour burden (TTB)", columns, rows)


def surface_table(evaluation: CohortEvaluation) -> Table:
    """Surface figures by target volume."""
    rows = [(TARGET_TITLES[target], *_surface_cells(evaluation.surface(target))) for target in TARGETS]
    return _table("surface", "Surfaces by target volume", ("target", *SURFACE_COLUMNS), rows)


def aggregated_table(evaluation: CohortEvaluation) -> Table:
    """DSC aggregated as in the HECKTOR challenge."""
    rows: list[tuple[Value, ...]] = [(TARGET_TITLES[t], evaluation.dsc(t).cohort) for t in (PRIMARY, NODE)]
    rows.append(("Mean of both", evaluation.aggregated_dsc()))
    return _table("aggregated_dsc", "Aggregated DSC (HECKTOR)", ("target", "dsc_aggregated"), rows)


def cases_table(evaluation: CohortEvaluation) -> Table:
    """One row a patient."""
    by_target = ("dsc", "surface_dsc", "nsd", "hd_mm", "hd95_mm", "asd_mm", "tp_man", "tp_cnn", "fn", "fp")
    columns = [column("case"), column("ttb_true_ml"), column("ttb_predicted_ml")]
    columns += [column_of(name, target) for target in TARGETS for name in (*by_target, *VOLUMES)]
    columns += [column(name) for name in ("n_voxels", "accuracy", "left_out_ml", "truth", "predicted")]
    return Table("cases", "All cases", tuple(columns), tuple(_case_row(case) for case in evaluation.cases))


def structures_table(evaluation: CohortEvaluation) -> Table:
    """One row an organ: surface DSC at its tolerance, distances and DSC."""
    rows = []
    for structure in evaluation.structure_names():
        items = evaluation.of_structure(structure)
        overlap = dsc_summary(items)
        cells = (overlap.individual.mean, overlap.individual.median, overlap.n_failed, overlap.n_undefined)
        rows.append((structure, len(items), *_surface_cells(surface_summary(items)), *cells))
    names = ("structure", "n", *SURFACE_COLUMNS, "dsc_mean", "dsc_median", "n_failed", "n_undefined")
    return _table("structures", "Surface DSC by structure", names, rows)


def structure_cases_table(evaluation: CohortEvaluation) -> Table:
    """One row a patient and organ."""
    names = ("case", "structure", *VOLUMES, "dsc", "tolerance_mm", "surface_dsc", "nsd", "hd_mm", "hd95_mm", "asd_mm")
    rows = []
    for item in evaluation.structures:
        s, volumes = item.surface, (item.overlap.true_ml, item.overlap.predicted_ml)
        figures = (s.tolerance_mm, s.surface_dsc, s.nsd, s.hd_mm, s.hd95_mm, s.asd_mm)
        rows.append((item.name, item.structure, *volumes, item.dsc, *figures, item.truth_source, item.predicted_source))
    return _table("structure_cases", "All cases and structures", (*names, "truth", "predicted"), rows)


def problems_table(evaluation: CohortEvaluation) -> Table:
    """What could not be compared, and why."""
    rows = [(problem.case, problem.sentence) for problem in evaluation.problems]
    return _table("problems", "What could not be compared", ("case", "problem"), rows)


def definitions_table(tables: Sequence[Table]) -> Table:
    """What every column of the other tables means."""
    rows = [(t.name, c.name, c.definition) for t in tables for c in t.columns if c.definition]
    return _table("definitions", "Definitions", ("table", "column", "definition"), rows)


SURFACE_COLUMNS = (
    "tolerance_mm",
    "surface_dsc_mean",
    "surface_dsc_median",
    "surface_dsc_q25",
    "surface_dsc_q75",
    "nsd_mean",
    "hd_median_mm",
    "hd95_mean_mm",
    "hd95_median_mm",
    "asd_mean_mm",
    "asd_median_mm",
    "n_without_distance",
)
VOLUMES = ("volume_true_ml", "volume_predicted_ml")


def _surface_cells(found: SurfaceSummary) -> tuple[Value, ...]:
    """The cells under :data:`SURFACE_COLUMNS`."""
    tolerance = found.tolerances_mm[0] if len(found.tolerances_mm) == 1 else None
    dsc = found.surface_dsc
    distances = (found.hd_mm.median, found.hd95_mm.mean, found.hd95_mm.median, found.asd_mm.mean, found.asd_mm.median)
    return (tolerance, dsc.mean, dsc.median, dsc.q25, dsc.q75, found.nsd.mean, *distances, found.n_without_distance)


def _case_row(case: CaseEvaluation) -> tuple[Value, ...]:
    cells: list[Value] = [case.name, case.ttb_true_ml, case.ttb_predicted_ml]
    for target in TARGETS:
        item = case.target(target)
        s, d = item.surface, item.detection
        cells += [item.dsc, s.surface_dsc, s.nsd, s.hd_mm, s.hd95_mm, s.asd_mm]
        cells += [d.tp_true, d.tp_predicted, d.fn, d.fp, item.overlap.true_ml, item.overlap.predicted_ml]
    left_out = case.left_out_true_ml + case.left_out_predicted_ml
    counts = case.classification
    return (*cells, int(counts.n_voxels), counts.accuracy, left_out, case.truth_source, case.predicted_source)


def _table(name: str, title: str, columns: Sequence[str], rows: Sequence[tuple[Value, ...]]) -> Table:
    return Table(name, title, tuple(column(c) for c in columns), tuple(rows))
