"""Concordance: Harrell's and Uno's C-index, with the standard error of the infinitesimal jackknife."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from HNTumorSegLib.survival.censoring import Censoring

BLOCK = 512


@dataclass(frozen=True)
class Concordance:
    """The share of usable pairs in which the patient with the earlier event has the higher risk; ties count half.

    ``standard_error`` is that of R's ``survival::concordance``: the infinitesimal jackknife over patients (for Uno's
    C with the censoring distribution taken as known). NaN where no pair is usable.
    """

    c_index: float
    standard_error: float
    n_pairs: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The normal interval, cut to 0 and 1."""
        from scipy.stats import norm

        half = norm.ppf(0.5 + level / 2) * self.standard_error
        return max(0.0, self.c_index - half), min(1.0, self.c_index + half)


def harrell_c(risk: NDArray, y: NDArray) -> Concordance:
    """Harrell's C (1982). A pair is usable when the earlier time is an event; tied times of event and censoring too.

    Args:
        risk: (patients,) higher for earlier events.
        y: (patients,) of :func:`outcome`.
    """
    return _concordance(np.asarray(risk, float), y, np.ones(len(y)), np.inf)


def uno_c(risk: NDArray, y: NDArray, censoring: Censoring | None = None, tau: float | None = None) -> Concordance:
    """Uno's C (2011): pairs weighted by the inverse squared probability to be uncensored, up to ``tau``.

    Args:
        risk, y: as for :func:`harrell_c`.
        censoring: the censoring distribution, of the training patients where there are any; by default of ``y``.
        tau: events from this time on are not counted; by default none is left out.
    """
    censoring = Censoring.estimate(y) if censoring is None else censoring
    before = censoring.uncensored_before(y["time"])
    weights = np.divide(1.0, before**2, out=np.zeros(len(y)), where=before > 0)
    return _concordance(np.asarray(risk, float), y, weights, np.inf if tau is None else tau)


def _concordance(risk: NDArray, y: NDArray, weights: NDArray, tau: float) -> Concordance:
    """All pairs, a block of patients with event at a time."""
    time, event = y["time"], y["event"]
    earlier = np.flatnonzero(event & (time < tau))
    good, total = np.zeros(len(y)), np.zeros(len(y))
    for start in range(0, len(earlier), BLOCK):
        rows = earlier[start : start + BLOCK]
        usable = (time[rows, None] < time) | ((time[rows, None] == time) & ~event)
        pairs = usable * weights[rows, None]
        agree = ((risk[rows, None] > risk) + 0.5 * (risk[rows, None] == risk)) * pairs
        for sums, values in ((good, agree), (total, pairs)):
            sums[rows] += values.sum(1)
            sums += values.sum(0)
    n_pairs = total.sum() / 2
    if n_pairs == 0:
        return Concordance(np.nan, np.nan, 0.0)
    c = good.sum() / total.sum()
    influence = (good - c * total) / n_pairs
    return Concordance(float(c), float(np.sqrt(np.sum(influence**2))), float(n_pairs))
