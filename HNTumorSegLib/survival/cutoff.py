"""Cut-offs that split patients into low and high: given, the median, or maximally selected with its correction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from HNTumorSegLib.errors import SurvivalError

GIVEN, MEDIAN, MAXIMAL = "given", "median", "maximally selected"


@dataclass(frozen=True)
class Cutoff:
    """Patients above ``value`` are high.

    ``statistic`` and ``p_corrected`` only for a maximally selected one: the largest standardised log-rank statistic
    and its p-value, corrected for the search.
    """

    value: float
    how: str
    statistic: float | None = None
    p_corrected: float | None = None

    def is_high(self, values: NDArray) -> NDArray:
        """(patients,) bool."""
        return np.asarray(values, float) > self.value


def median_cutoff(values: NDArray) -> Cutoff:
    """The median of the (training) patients (Nikulin et al. 2023)."""
    return Cutoff(float(np.median(values)), MEDIAN)


def maximal_cutoff(values: NDArray, y: NDArray, low: float = 0.1, high: float = 0.9) -> Cutoff:
    """The cut-off between the ``low`` and ``high`` share of the patients with the largest log-rank statistic.

    The p-value is Lausen and Schumacher's (1992), for the maximum of a standardised Brownian bridge between the two
    shares. Log-rank scores as there (and in R's maxstat), so the statistic is standardised under permutation.

    Raises:
        SurvivalError: no cut-off leaves both groups their share.
    """
    values = np.asarray(values, float)
    n = len(values)
    scores = log_rank_scores(y)
    candidates, counts = np.unique(values, return_counts=True)
    below = np.cumsum(counts)
    # As maxstat does, the shares round down to whole patients.
    usable = (below >= np.floor(n * low)) & (below <= np.floor(n * high)) & (below < n)
    if not usable.any():
        raise SurvivalError(
            f"No cut-off leaves between {low:.0%} and {high:.0%} of the patients below it: the values repeat too "
            "often. Use the median or give a cut-off."
        )
    order = np.argsort(values, kind="stable")
    sums = np.cumsum(scores[order])[below - 1]
    variance = below * (n - below) / (n * (n - 1)) * np.sum((scores - scores.mean()) ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistics = np.where(usable, np.abs(sums - below * scores.mean()) / np.sqrt(variance), -np.inf)
    best = int(np.argmax(statistics))
    statistic = float(statistics[best])
    return Cutoff(float(candidates[best]), MAXIMAL, statistic, lausen_schumacher_p(statistic, low, high))


def log_rank_scores(y: NDArray) -> NDArray:
    """Event less cumulative hazard at each patient's time, with Hothorn and Lausen's handling of ties (2003)."""
    order = np.argsort(y["time"], kind="stable")
    time, event = y["time"][order], y["event"][order].astype(float)
    # Number of patients whose time is at or before this one's.
    rank = np.searchsorted(time, time, side="right")
    increments = event / (len(y) - rank + 1)
    scores = np.empty(len(y))
    scores[order] = event - np.cumsum(increments)[rank - 1]
    return scores


def lausen_schumacher_p(statistic: float, low: float = 0.1, high: float = 0.9) -> float:
    """P that the maximum exceeds ``statistic`` with no effect (Lausen and Schumacher 1992, their equation for p)."""
    density = norm.pdf(statistic)
    if statistic < 1:
        return 1.0
    spread = np.log(high * (1 - low) / ((1 - high) * low))
    return float(np.clip(4 * density / statistic + density * (statistic - 1 / statistic) * spread, 0.0, 1.0))
