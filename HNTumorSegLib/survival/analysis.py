"""The whole analysis of a cohort, outcome by outcome: checks, estimates, burden, honest evaluation, and the files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from HNTumorSegLib.errors import SurvivalError
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.survival.burden import BurdenAnalysis, analyse_burden
from HNTumorSegLib.survival.checks import Finding, check_cohort, schoenfeld_test
from HNTumorSegLib.survival.cohort_table import CohortTable, Endpoint, numbers, read_cohort
from HNTumorSegLib.survival.cutoff import MEDIAN
from HNTumorSegLib.survival.encoding import Encoder
from HNTumorSegLib.survival.estimates import multivariable, univariate
from HNTumorSegLib.survival.imputation import ChainedImputer
from HNTumorSegLib.survival.nested import Evaluation, Plan, check_splits, evaluate
from HNTumorSegLib.survival.summaries import (
    calibration,
    calibration_slope,
    leak_table,
    model_tests,
    out_of_fold_groups,
    score_summary,
)

DEFAULT_TTB = "ttb_ml"
KINDS_OF_FEATURES = ("pet", "ct", "deep")
"""Beginnings of feature names (``PET_original_...``) that make feature sets of their own, as the papers compare."""
CLINICAL = "clinical"


@dataclass(frozen=True)
class TableOptions:
    """Which columns of which tables mean what; see :func:`read_cohort`."""

    table: Path
    times: tuple[str, ...]
    events: tuple[str, ...]
    features: tuple[Path, ...] = ()
    covariates: tuple[str, ...] | None = None
    group: str | None = None
    id_column: str | None = None
    unit: str | None = None

    def read(self, leave_out: tuple[str, ...] = ()) -> CohortTable:
        """The cohort; raises :class:`SurvivalError`."""
        return read_cohort(
            self.table, self.times, self.events, self.features, self.covariates, self.group, self.id_column, leave_out
        )

    def unit_of(self, time_column: str) -> str:
        """As given, or as the column's name says."""
        if self.unit:
            return self.unit
        found = re.search(r"day|week|month|year", time_column, re.IGNORECASE)
        return f"{found.group().lower()}s" if found else "time units"


@dataclass(frozen=True)
class BurdenOptions:
    """Columns of the total tumour burden in ml, and the cut-off: ``median``, ``maximal`` or a number."""

    column: str | None = None
    automatic: str | None = None
    cutoff: str | float = MEDIAN


@dataclass
class EndpointReport:
    """All that was found for one outcome; the tables are as they are written."""

    endpoint: Endpoint
    unit: str
    findings: list[Finding]
    tables: dict[str, pd.DataFrame]
    evaluation: Evaluation
    slopes: dict[str, tuple[float, float, float]]
    calibrations: dict[str, pd.DataFrame]
    high: NDArray
    shown_features: str
    shown_model: str
    burden: BurdenAnalysis | None
    notes: list[str] = field(default_factory=list)

    @property
    def slug(self) -> str:
        """The outcome's name in file names."""
        return re.sub(r"\W+", "_", self.endpoint.name).strip("_") or "outcome"


def feature_sets(cohort: CohortTable) -> dict[str, list[str]]:
    """Clinical alone, clinical with each kind of features, and with all of them."""
    features = [c for columns in cohort.feature_columns.values() for c in columns]
    clinical = [c for c in cohort.covariates.columns if c not in features]
    groups: dict[str, list[str]] = {}
    for table, columns in cohort.feature_columns.items():
        for column in columns:
            start = re.split(r"[_.\s-]", column.lower())[0]
            groups.setdefault(start if start in KINDS_OF_FEATURES else table, []).append(column)
    if not clinical:
        return {**groups, **({"all features": features} if len(groups) > 1 else {})}
    sets = {CLINICAL: clinical} | {f"{CLINICAL} + {name}": [*clinical, *columns] for name, columns in groups.items()}
    if len(groups) > 1:
        sets[f"{CLINICAL} + all features"] = [*clinical, *features]
    return sets


def analyse(
    tables: TableOptions,
    plan: Plan,
    burden: BurdenOptions | None = None,
    progress: ProgressCallback = silent,
) -> tuple[CohortTable, list[EndpointReport]]:
    """Read, check and analyse a cohort for each outcome; writes nothing.

    Raises:
        SurvivalError: the tables cannot be used; everything is checked before the long work begins.
    """
    burden = burden or BurdenOptions()
    automatic = (burden.automatic,) if burden.automatic else ()
    cohort = tables.read(leave_out=automatic)
    if cohort.covariates.shape[1] == 0:
        raise SurvivalError(
            f"No column of '{tables.table}' can be used as a covariate. {' '.join(cohort.notes)} Name columns with "
            "--covariates."
        )
    for endpoint in cohort.endpoints:
        check_splits(endpoint.y, cohort.patients, endpoint.event_column, plan.folds, cohort.centre)
    burdens = [read_burden(cohort, endpoint, burden) for endpoint in cohort.endpoints]
    reports = []
    for endpoint, found in zip(cohort.endpoints, burdens, strict=True):
        reports.append(_analyse_endpoint(cohort, endpoint, tables.unit_of(endpoint.time_column), plan, found, progress))
    return cohort, reports


def _analyse_endpoint(
    cohort: CohortTable,
    endpoint: Endpoint,
    unit: str,
    plan: Plan,
    burden: tuple[BurdenAnalysis | None, list[str]],
    progress: ProgressCallback,
) -> EndpointReport:
    frame, y = cohort.covariates, endpoint.y
    progress(ProgressEvent(f"check {endpoint.name}", 0.0))
    sets = feature_sets(cohort)
    first = frame[next(iter(sets.values()))]
    findings = check_cohort(first, y, cohort.centre, endpoint.event_column)
    tables = {"univariate": univariate(frame, y), "multivariable": multivariable(first, y, plan.seed)}
    residuals = schoenfeld_of(first, y)
    if residuals is not None:
        tables["schoenfeld"] = residuals
    progress(ProgressEvent(f"check {endpoint.name}", 1.0))
    evaluation = evaluate(frame, y, sets, plan, cohort.centre, progress, f"evaluate {endpoint.name}")
    summary = score_summary(evaluation)
    tables |= {
        "scores": evaluation.scores,
        "summary": summary,
        "model_tests": model_tests(evaluation),
        "leak": leak_table(summary),
        "predictions": evaluation.predictions.assign(
            patient=[cohort.patients[k] for k in evaluation.predictions["patient"]]
        ),
    }
    features, model = next(iter(sets)), plan.models[0]
    calibrations = {name: calibration(evaluation, y, features, name) for name in plan.models}
    for name, table in calibrations.items():
        tables[f"calibration_{name}"] = table
    slopes = {name: calibration_slope(evaluation, y, features, name) for name in plan.models}
    high = out_of_fold_groups(evaluation, features, model)
    return EndpointReport(
        endpoint, unit, findings, tables, evaluation, slopes, calibrations, high, features, model, burden[0], burden[1]
    )


def schoenfeld_of(frame: pd.DataFrame, y: NDArray) -> pd.DataFrame | None:
    """The Schoenfeld test of all coded columns together; None where they are too many or the model has no fit."""
    encoder = Encoder.learn(frame)
    encoded = encoder.transform(frame)
    complete = ChainedImputer().fit(encoded).transform(encoded)
    varied = np.ptp(complete, axis=0) > 1e-8
    names = [n for n, v in zip(encoder.names, varied, strict=True) if v]
    if not names or len(names) >= y["event"].sum() / 2:
        return None
    found = schoenfeld_test(complete[:, varied], y, names)
    return None if found is None else found.reset_index(names="covariate")


def read_burden(
    cohort: CohortTable, endpoint: Endpoint, options: BurdenOptions
) -> tuple[BurdenAnalysis | None, list[str]]:
    """The burden's analysis where the tables have the column, and notes on patients who lack it."""
    column = options.column or (DEFAULT_TTB if DEFAULT_TTB in cohort.columns.columns else None)
    if column is None:
        if options.automatic:
            raise SurvivalError("--ttb-automatic needs --ttb, the manual burden it is compared with.")
        return None, []
    names = [column, *([options.automatic] if options.automatic else [])]
    values = []
    for name in names:
        if name not in cohort.columns.columns:
            raise SurvivalError(f"The tables have no column '{name}' for the total tumour burden.")
        values.append(numbers(cohort.columns, name, "volumes in ml"))
    known = np.all([np.isfinite(v) for v in values], axis=0)
    negative = known & np.any([v < 0 for v in values], axis=0)
    if negative.any():
        patients = [p for p, bad in zip(cohort.patients, negative, strict=True) if bad]
        raise SurvivalError(f"'{' or '.join(names)}' is negative for {', '.join(patients[:5])}: volumes are in ml.")
    if not known.any():
        raise SurvivalError(f"'{column}' is empty for all patients.")
    notes = []
    if not known.all():
        notes.append(
            f"{int((~known).sum())} patients without '{' and '.join(names)}' are not in the burden's analysis."
        )
    automatic = values[1][known] if len(values) > 1 else None
    labels = (column, options.automatic or "")
    return analyse_burden(values[0][known], endpoint.y[known], options.cutoff, automatic, labels), notes
