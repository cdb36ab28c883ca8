"""From the scores of many splits to the tables that a paper prints: means with honest intervals, tests, calibration."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from HNTumorSegLib.survival.compare import corrected_mean, corrected_paired_t_test
from HNTumorSegLib.survival.kaplan_meier import kaplan_meier
from HNTumorSegLib.survival.nested import CENTRES, LEAKY, NESTED, Evaluation
from HNTumorSegLib.survival.newton import fit_cox

METRICS = ("harrell", "uno", "auc_mean", "auc_horizon", "integrated_brier", "integrated_brier_null")
NO_SKILL = 0.5


def score_summary(evaluation: Evaluation) -> pd.DataFrame:
    """One row a scheme, feature set and model: means over the splits with the corrected 95 % interval.

    Across folds the interval is Nadeau and Bengio's. Across centres it is that of a random-effects mean
    (DerSimonian and Laird 1986), for centres differ by more than chance; each centre weighs by its own error.
    """
    rows = []
    for (scheme, features, model), part in evaluation.scores.groupby(["scheme", "features", "model"], sort=False):
        row = {"scheme": scheme, "features": features, "model": model, "splits": len(part)}
        share = float((part["n_test"] / part["n_train"]).mean())
        for metric in METRICS:
            found = corrected_mean(part[metric], share)
            mean, lower, upper = found.mean, found.lower, found.upper
            if scheme == CENTRES:
                lower = upper = float("nan")  # four or five centres with no error of their own give no interval
                if metric == "harrell":
                    mean, lower, upper = random_effects_mean(part["harrell"].to_numpy(), part["harrell_se"].to_numpy())
            elif len(part) == 1 and metric == "harrell":
                half = 1.96 * float(part["harrell_se"].iloc[0])
                lower, upper = mean - half, mean + half
            row |= {metric: mean, f"{metric}_lower": lower, f"{metric}_upper": upper}
        rows.append(row)
    return pd.DataFrame(rows)


def random_effects_mean(values: NDArray, errors: NDArray) -> tuple[float, float, float]:
    """Mean of independent estimates with their standard errors, and its 95 % interval (DerSimonian and Laird)."""
    usable = np.isfinite(values) & np.isfinite(errors) & (errors > 0)
    values, errors = values[usable], errors[usable]
    if not len(values):
        return (float("nan"),) * 3
    weights = 1 / errors**2
    fixed = np.sum(weights * values) / np.sum(weights)
    excess = np.sum(weights * (values - fixed) ** 2) - (len(values) - 1)
    spread = np.sum(weights) - np.sum(weights**2) / np.sum(weights)
    between = max(0.0, excess / spread) if spread > 0 else 0.0
    weights = 1 / (errors**2 + between)
    mean, half = np.sum(weights * values) / np.sum(weights), 1.96 / np.sqrt(np.sum(weights))
    return float(mean), float(mean - half), float(mean + half)


def model_tests(evaluation: Evaluation, metric: str = "harrell") -> pd.DataFrame:
    """Every pair of models and feature sets, and every one against no skill, on the same nested folds."""
    scores = evaluation.scores[evaluation.scores["scheme"] == NESTED]
    share = float((scores["n_test"] / scores["n_train"]).mean())
    by_split = scores.pivot_table(metric, "split", ["features", "model"], sort=False)
    rows = []
    for name in by_split.columns:
        found = corrected_mean(by_split[name] - NO_SKILL, share)
        rows.append((*name, "", "no skill (0.5)", found.mean, found.lower, found.upper, found.p))
    for first, second in combinations(by_split.columns, 2):
        found = corrected_paired_t_test(by_split[first], by_split[second], share)
        rows.append((*first, *second, found.mean, found.lower, found.upper, found.p))
    columns = ["features", "model", "other_features", "other_model", "difference", "lower", "upper", "p"]
    return pd.DataFrame(rows, columns=columns)


def leak_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Harrell's C, honest beside leaky, and by how much the leak flatters."""
    parts = {s: summary[summary["scheme"] == s].set_index(["features", "model"])["harrell"] for s in (NESTED, LEAKY)}
    table = pd.DataFrame(parts)
    return table.assign(flattery=table[LEAKY] - table[NESTED]).reset_index()


def calibration(evaluation: Evaluation, y: NDArray, features: str, model: str, groups: int = 5) -> pd.DataFrame:
    """Predicted beside observed, at the horizon, in groups of equal size of predicted risk.

    Predictions are those made when a patient was in the nested test part (their mean over repeats); observed is one
    less Kaplan-Meier, with its interval.
    """
    predicted = 1 - _out_of_fold(evaluation, features, model)["event_free"].to_numpy()
    edges = np.quantile(predicted, np.linspace(0, 1, groups + 1)[1:-1])
    number = np.searchsorted(edges, predicted, side="right")
    rows = []
    for group in np.unique(number):
        inside = number == group
        curve = kaplan_meier(y[inside])
        k = np.searchsorted(curve.times, evaluation.horizon, side="right") - 1
        observed = 1 - curve.survival[k], 1 - curve.upper[k], 1 - curve.lower[k]
        rows.append((int(inside.sum()), int(y["event"][inside].sum()), float(predicted[inside].mean()), *observed))
    return pd.DataFrame(rows, columns=["n", "n_events", "predicted", "observed", "lower", "upper"])


def calibration_slope(evaluation: Evaluation, y: NDArray, features: str, model: str) -> tuple[float, float, float]:
    """Cox coefficient of the out-of-fold log hazard, with 95 % interval: 1 is right, below 1 overfitted."""
    event_free = _out_of_fold(evaluation, features, model)["event_free"].to_numpy().clip(1e-6, 1 - 1e-6)
    fit = fit_cox(np.log(-np.log(event_free))[:, None], y)
    slope, error = float(fit.coef[0, 0]), float(np.sqrt(fit.covariance[0, 0, 0]))
    return slope, slope - 1.96 * error, slope + 1.96 * error


def out_of_fold_groups(evaluation: Evaluation, features: str, model: str) -> NDArray:
    """(patients,) bool: above the training median in most repeats, when the patient was in the test part."""
    return _out_of_fold(evaluation, features, model)["high"].to_numpy() > 0.5


def _out_of_fold(evaluation: Evaluation, features: str, model: str) -> pd.DataFrame:
    rows = evaluation.predictions
    rows = rows[(rows["scheme"] == NESTED) & (rows["features"] == features) & (rows["model"] == model)]
    return rows.groupby("patient")[["risk", "event_free", "high"]].mean().sort_index()
