"""Kaplan-Meier curves with numbers at risk, and the log-rank test; the arithmetic is lifelines'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class SurvivalCurve:
    """A Kaplan-Meier estimate: a step function from ``times[k]`` on, with its log-log 95 % interval.

    Attributes:
        name: what the group is called.
        times: (k,) beginning with 0.
        survival, lower, upper: (k,) probability to be free of the event; the interval is NaN where undefined.
        censored_times: times of censored patients, for the ticks.
        n, n_events: patients and events.
    """

    name: str
    times: NDArray
    survival: NDArray
    lower: NDArray
    upper: NDArray
    censored_times: NDArray
    sorted_times: NDArray
    n: int
    n_events: int

    def at(self, times: ArrayLike) -> NDArray:
        """The curve at any times."""
        return self.survival[np.searchsorted(self.times, np.asarray(times, float), side="right") - 1]

    def at_risk(self, times: ArrayLike) -> NDArray:
        """How many patients are at risk just before each time."""
        return self.n - np.searchsorted(self.sorted_times, np.asarray(times, float), side="left")

    @property
    def median(self) -> float:
        """The first time at which the curve is at or below one half; infinity where it never is."""
        below = np.flatnonzero(self.survival <= 0.5)
        return float(self.times[below[0]]) if len(below) else float("inf")

    def to_dict(self, points: int = 100) -> dict[str, Any]:
        """Plain JSON types for a card: the curve at evenly spaced times, which points at no single patient."""
        times = np.linspace(0, self.times[-1], points)
        return {
            "name": self.name,
            "n": self.n,
            "n_events": self.n_events,
            "times": times.round(3).tolist(),
            "survival": self.at(times).round(5).tolist(),
        }


def kaplan_meier(y: NDArray, name: str = "") -> SurvivalCurve:
    """The curve of the patients ``y`` (of :func:`outcome`); raises ValueError without patients."""
    from lifelines import KaplanMeierFitter

    if len(y) == 0:
        raise ValueError(f"no patient in group '{name}'")
    fitted = KaplanMeierFitter().fit(y["time"], y["event"])
    interval = fitted.confidence_interval_survival_function_.to_numpy()
    return SurvivalCurve(
        name=name,
        times=fitted.survival_function_.index.to_numpy(float),
        survival=fitted.survival_function_.to_numpy()[:, 0],
        lower=interval[:, 0],
        upper=interval[:, 1],
        censored_times=np.unique(y["time"][~y["event"]]),
        sorted_times=np.sort(y["time"]),
        n=len(y),
        n_events=int(y["event"].sum()),
    )


def log_rank(y: NDArray, groups: NDArray) -> tuple[float, float]:
    """Chi-squared and p of the log-rank test between the groups (patients,) of any labels; NaN with one group."""
    from lifelines.statistics import multivariate_logrank_test

    if len(np.unique(groups)) < 2:
        return float("nan"), float("nan")
    found = multivariate_logrank_test(y["time"], groups, y["event"])
    return float(found.test_statistic), float(found.p_value)


def median_follow_up(y: NDArray) -> float:
    """By the reverse Kaplan-Meier method: the median time to censoring; infinity where most had the event."""
    reverse = y.copy()
    reverse["event"] = ~y["event"]
    return kaplan_meier(reverse).median
