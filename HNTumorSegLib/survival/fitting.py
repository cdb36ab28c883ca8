"""From a cohort to a model in a folder, measured before it is written."""

from __future__ import annotations

import importlib.metadata
import math
from dataclasses import replace

import numpy as np

from HNTumorSegLib.errors import SurvivalError
from HNTumorSegLib.progress import ProgressCallback, silent
from HNTumorSegLib.survival.analysis import BurdenOptions, TableOptions, read_burden
from HNTumorSegLib.survival.burden import BurdenAnalysis
from HNTumorSegLib.survival.checks import check_cohort
from HNTumorSegLib.survival.kaplan_meier import kaplan_meier, median_follow_up
from HNTumorSegLib.survival.models import make_estimator
from HNTumorSegLib.survival.nested import CENTRES, NESTED, Plan, check_splits, evaluate
from HNTumorSegLib.survival.preparation import Preparation
from HNTumorSegLib.survival.risk_model import RiskModel, SurvivalCard
from HNTumorSegLib.survival.summaries import out_of_fold_groups, score_summary

PACKAGES = ("hntumorseg", "numpy", "scipy", "torch", "scikit-learn", "lifelines", "pandas")


def software_versions() -> dict[str, str]:
    """What this was computed with."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def fit_model(
    tables: TableOptions,
    plan: Plan,
    burden: BurdenOptions | None = None,
    name: str = "survival",
    progress: ProgressCallback = silent,
) -> RiskModel:
    """Fit one model on a whole cohort; the card's performance comes from nested folds (and centres), not from it.

    Args:
        tables: with one outcome.
        plan: with one model.
        burden: the column and cut-off of the total tumour burden, kept in the card where there is one.
        name: of the model.
        progress: told after every split.

    Raises:
        SurvivalError: the tables cannot be used.
    """
    cohort = tables.read()
    if len(cohort.endpoints) != 1 or len(plan.models) != 1:
        raise SurvivalError("A model is fitted for one outcome: give --time and --event once.")
    if cohort.covariates.shape[1] == 0:
        raise SurvivalError(f"No column can be used as a covariate. {' '.join(cohort.notes)}")
    endpoint = cohort.endpoints[0]
    frame, y = cohort.covariates, endpoint.y
    check_splits(y, cohort.patients, endpoint.event_column, plan.folds, cohort.centre)
    analysis, notes = read_burden(cohort, endpoint, burden or BurdenOptions())
    findings = check_cohort(frame, y, cohort.centre, endpoint.event_column)
    evaluation = evaluate(frame, y, {"all": list(frame.columns)}, plan, cohort.centre, progress)
    high = out_of_fold_groups(evaluation, "all", plan.models[0])
    preparation = Preparation(plan.steps).fit(frame, y)
    x = preparation.transform(frame)
    estimator = make_estimator(plan.models[0], plan.seed).fit(x, y)
    risk = estimator.predict(x)
    follow_up = median_follow_up(y)
    card = SurvivalCard(
        name=name,
        model=plan.models[0],
        time_column=endpoint.time_column,
        event_column=endpoint.event_column,
        unit=tables.unit_of(endpoint.time_column),
        n=len(y),
        n_events=int(y["event"].sum()),
        follow_up=follow_up if math.isfinite(follow_up) else None,
        covariates=list(frame.columns),
        used=list(dict.fromkeys(preparation.sources)),
        horizon=evaluation.horizon,
        risk_median=float(np.median(risk)),
        risk_percentiles=np.quantile(risk, np.linspace(0, 1, 101)).tolist(),
        curves=[
            kaplan_meier(y[part], group).to_dict() for part, group in ((~high, "low"), (high, "high")) if part.any()
        ],
        burden=_burden_card(analysis),
        performance=_performance(score_summary(evaluation)),
        # What is missing in one centre names patients, who have no place in a card.
        warnings=[f"{f.message} {f.advice}" for f in findings if f.check != "missing in test only"] + notes,
        seed=plan.seed,
        software=software_versions(),
    )
    return RiskModel(card, preparation, estimator)


def _burden_card(analysis: BurdenAnalysis | None) -> dict | None:
    if analysis is None:
        return None
    found = analysis.manual
    ratio = found.ratio
    return {
        "column": found.name,
        "cutoff_ml": analysis.cutoff.value,
        "how": analysis.cutoff.how,
        "hazard_ratio": None if ratio is None else [ratio.value, ratio.lower, ratio.upper],
        "p": None if ratio is None else ratio.p,
        "curves": [replace(c, name=n).to_dict() for c, n in ((found.low_curve, "low"), (found.high_curve, "high"))],
    }


def _performance(summary: object) -> dict[str, dict[str, float | None]]:
    """Harrell's C of the honest schemes; None where there is no interval."""
    rows = {}
    for row in summary.to_dict("records"):
        if row["scheme"] in (NESTED, CENTRES):
            values = {k: row[k] for k in ("harrell", "harrell_lower", "harrell_upper", "uno", "integrated_brier")}
            rows[row["scheme"]] = {k: float(v) if math.isfinite(v) else None for k, v in values.items()}
    return rows
