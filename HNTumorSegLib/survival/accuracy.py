"""Accuracy at a time: cumulative/dynamic AUC and the Brier score, weighted for censoring (IPCW)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from HNTumorSegLib.survival.censoring import Censoring


def evaluation_times(y_train: NDArray, y_test: NDArray, n: int = 20) -> NDArray:
    """Times at which both sets can be judged: between the test set's 10 % and 90 % event times, within follow-up.

    Both sets need patients who are still at risk (the training set also uncensored) afterwards; sorted and distinct,
    at most ``n``; empty where there are none.
    """
    events = y_test["time"][y_test["event"]]
    if len(events) < 2:
        return np.zeros(0)
    censoring = Censoring.estimate(y_train)
    last = min(np.max(y_test["time"]), np.max(y_train["time"]))
    times = np.unique(np.quantile(events, np.linspace(0.1, 0.9, n)))
    return times[(times < last) & (censoring.uncensored_at(times) > 0)]


def time_dependent_auc(risk: NDArray, y: NDArray, times: ArrayLike, censoring: Censoring | None = None) -> NDArray:
    """Cumulative/dynamic AUC (Uno 2007; Hung and Chiang 2010): (times,), NaN where there is no case or no control.

    Cases had the event by t, weighted by 1 / G(T-); controls are still free of it after t. Ties count half.

    Args:
        risk: (patients,), or (patients, times) where it changes with time.
        y: (patients,) of :func:`outcome`.
        times: where to judge.
        censoring: of the training patients; by default of ``y``.
    """
    times = np.atleast_1d(np.asarray(times, float))
    weights = _event_weights(y, Censoring.estimate(y) if censoring is None else censoring)
    risk = np.broadcast_to(np.asarray(risk, float).reshape(len(y), -1), (len(y), len(times)))
    found = np.full(len(times), np.nan)
    for k, t in enumerate(times):
        cases, controls = y["event"] & (y["time"] <= t) & (weights > 0), y["time"] > t
        if cases.any() and controls.any():
            case_risk, control_risk = risk[cases, k][:, None], risk[controls, k]
            order = (case_risk > control_risk) + 0.5 * (case_risk == control_risk)
            found[k] = np.average(order.mean(1), weights=weights[cases])
    return found


def brier_scores(survival: NDArray, y: NDArray, times: ArrayLike, censoring: Censoring | None = None) -> NDArray:
    """Brier score at each time (Graf 1999): (times,), 0 is perfect, 0.25 is a coin.

    Args:
        survival: (patients, times) probability to be free of the event.
        y, times, censoring: as for :func:`time_dependent_auc`.
    """
    times = np.atleast_1d(np.asarray(times, float))
    censoring = Censoring.estimate(y) if censoring is None else censoring
    weights = _event_weights(y, censoring)
    after = censoring.uncensored_at(times)
    time = y["time"][:, None]
    cases = (y["event"][:, None] & (time <= times)) * weights[:, None]
    controls = np.divide(time > times, after, out=np.zeros((len(y), len(times))), where=after > 0)
    return np.mean(cases * survival**2 + controls * (1 - survival) ** 2, axis=0)


def integrated_brier(survival: NDArray, y: NDArray, times: ArrayLike, censoring: Censoring | None = None) -> float:
    """The mean Brier score over the span of ``times`` (trapezoids); NaN with fewer than two times."""
    times = np.atleast_1d(np.asarray(times, float))
    if len(times) < 2:
        return float("nan")
    scores = brier_scores(survival, y, times, censoring)
    return float(np.trapezoid(scores, times) / (times[-1] - times[0]))


def _event_weights(y: NDArray, censoring: Censoring) -> NDArray:
    """1 / G(T-) of every patient with event, 0 for the others and where G is 0."""
    before = censoring.uncensored_before(y["time"])
    return np.divide(y["event"], before, out=np.zeros(len(y)), where=before > 0)
