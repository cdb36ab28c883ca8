"""Honest evaluation: every step is learnt inside the training part of a split, and judged on the rest.

Beside it the leaky variant, as a warning only: imputation, filter and selection have seen all patients, and only the
estimator is cross-validated. Papers that report it see their figures fall on the next hospital's patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from HNTumorSegLib.errors import SurvivalError
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.survival.accuracy import evaluation_times, integrated_brier, time_dependent_auc
from HNTumorSegLib.survival.censoring import Censoring
from HNTumorSegLib.survival.cohort_table import shown
from HNTumorSegLib.survival.concordance import harrell_c, uno_c
from HNTumorSegLib.survival.folds import Split, leave_one_out, repeated_folds
from HNTumorSegLib.survival.kaplan_meier import kaplan_meier
from HNTumorSegLib.survival.models import make_estimator
from HNTumorSegLib.survival.preparation import Preparation, Steps

NESTED, CENTRES, LEAKY, APPARENT = "nested", "leave one centre out", "leaky", "apparent"


@dataclass(frozen=True)
class Plan:
    """What to evaluate, and how.

    Attributes:
        models: names of :mod:`models`.
        folds, repeats: of the outer cross-validation.
        steps: of the pipeline.
        horizon: time at which calibration and AUC are judged.
        seed: of folds and models.
    """

    models: tuple[str, ...] = ("cox", "forest", "deepsurv")
    folds: int = 5
    repeats: int = 3
    steps: Steps = field(default_factory=Steps)
    horizon: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Score:
    """One model on one test part."""

    scheme: str
    split: str
    features: str
    model: str
    n_train: int
    n_test: int
    n_events: int
    harrell: float
    harrell_se: float
    uno: float
    auc_mean: float
    auc_horizon: float
    integrated_brier: float
    integrated_brier_null: float
    columns: str


@dataclass
class Evaluation:
    """Scores of all splits, and what was predicted for patients when they were in the test part.

    ``predictions`` has the columns scheme, split, features, model, patient (position), risk, event_free (at the
    horizon) and high (risk above the training part's median).
    """

    scores: pd.DataFrame
    predictions: pd.DataFrame
    horizon: float


def check_splits(y: NDArray, patients: Sequence[str], event_column: str, folds: int, centre: NDArray | None) -> None:
    """Refuse splits whose test part would have no event; raises :class:`SurvivalError`."""
    events = np.flatnonzero(y["event"])
    if len(events) < folds:
        raise SurvivalError(
            f"'{event_column}' has {len(events)} events ({shown([patients[k] for k in events])}), fewer than the "
            f"{folds} folds, so a fold would have none. Give --folds {max(2, len(events))} or choose another outcome."
        )
    for name in [] if centre is None else np.unique(centre):
        inside = centre == name
        for part, where in ((inside, "in"), (~inside, "outside")):
            if y["event"][part].sum() == 0:
                raise SurvivalError(
                    f"'{event_column}' has no event {where} centre '{name}' "
                    f"({shown([patients[k] for k in np.flatnonzero(part)])}), so leaving it out tells nothing. Merge "
                    "it with another centre or leave out --group."
                )


def evaluate(
    frame: pd.DataFrame,
    y: NDArray,
    feature_sets: dict[str, list[str]],
    plan: Plan,
    centre: NDArray | None = None,
    progress: ProgressCallback = silent,
    stage: str = "evaluate",
) -> Evaluation:
    """Nested cross-validation, leave-one-centre-out where there is ``centre``, and the leaky variant.

    Args:
        frame: covariates, a row a patient.
        y: outcomes.
        feature_sets: columns of ``frame`` by name of the set.
        plan: what to evaluate.
        centre: (patients,) labels.
        progress: told after every split.
        stage: its name there.
    """
    horizon = default_horizon(y) if plan.horizon is None else plan.horizon
    schemes = {NESTED: repeated_folds(y, plan.folds, plan.repeats, plan.seed)}
    if centre is not None:
        schemes[CENTRES] = leave_one_out(centre)
    everyone = np.arange(len(y))
    schemes[LEAKY] = schemes[NESTED]
    schemes[APPARENT] = [Split("all patients", everyone, everyone)]
    total = sum(len(splits) for splits in schemes.values()) * len(feature_sets)
    scores, predictions, done = [], [], 0
    progress(ProgressEvent(stage, 0.0))
    for features, columns in feature_sets.items():
        part = frame[columns]
        seen_all = Preparation(plan.steps).fit(part, y)
        for scheme, splits in schemes.items():
            for split in splits:
                prepared = (
                    seen_all if scheme == LEAKY else Preparation(plan.steps).fit(part.iloc[split.train], y[split.train])
                )
                found = _judge(part, y, split, prepared, plan, horizon)
                for score, rows in found:
                    scores.append(replace(score, scheme=scheme, features=features))
                    predictions.append(rows.assign(scheme=scheme, features=features))
                done += 1
                progress(ProgressEvent(stage, done / total, f"{features}, {scheme}, {split.test_name}"))
    return Evaluation(pd.DataFrame(scores), pd.concat(predictions, ignore_index=True), horizon)


def default_horizon(y: NDArray) -> float:
    """A time until which there are enough patients to judge: the median time of all patients."""
    return float(np.median(y["time"]))


def _judge(
    frame: pd.DataFrame, y: NDArray, split: Split, prepared: Preparation, plan: Plan, horizon: float
) -> list[tuple[Score, pd.DataFrame]]:
    """Fit and judge every model on one split."""
    y_train, y_test = y[split.train], y[split.test]
    x_train, x_test = prepared.transform(frame.iloc[split.train]), prepared.transform(frame.iloc[split.test])
    censoring, times = Censoring.estimate(y_train), evaluation_times(y_train, y_test)
    tau = float(y_train["time"].max())
    null = np.tile(kaplan_meier(y_train).at(times), (len(y_test), 1)) if len(times) else np.zeros((len(y_test), 0))
    found = []
    for name in plan.models:
        estimator = make_estimator(name, plan.seed).fit(x_train, y_train)
        risk = estimator.predict(x_test)
        harrell = harrell_c(risk, y_test)
        auc = time_dependent_auc(risk, y_test, times, censoring)
        score = Score(
            scheme="",
            split=split.test_name,
            features="",
            model=name,
            n_train=len(split.train),
            n_test=len(split.test),
            n_events=int(y_test["event"].sum()),
            harrell=harrell.c_index,
            harrell_se=harrell.standard_error,
            uno=uno_c(risk, y_test, censoring, tau).c_index,
            auc_mean=float(np.nanmean(auc)) if np.isfinite(auc).any() else np.nan,
            auc_horizon=float(time_dependent_auc(risk, y_test, [horizon], censoring)[0]),
            integrated_brier=integrated_brier(estimator.predict_survival(x_test, times), y_test, times, censoring),
            integrated_brier_null=integrated_brier(null, y_test, times, censoring),
            columns=" ".join(prepared.names),
        )
        rows = pd.DataFrame(
            {
                "split": split.test_name,
                "model": name,
                "patient": split.test,
                "risk": risk,
                "event_free": estimator.predict_survival(x_test, [horizon])[:, 0],
                "high": risk > np.median(estimator.predict(x_train)),
            }
        )
        found.append((score, rows))
    return found
