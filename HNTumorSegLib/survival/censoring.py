"""How long patients stay uncensored: the weights of Uno's C, the time-dependent AUC and the Brier score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Censoring:
    """The Kaplan-Meier estimate of being uncensored: ``uncensored[k]`` just after ``times[k]``, 1 before all."""

    times: NDArray
    uncensored: NDArray

    @classmethod
    def estimate(cls, y: NDArray) -> Censoring:
        """From the censored patients; where an event and a censoring share a time, the event came first."""
        times = np.unique(y["time"][~y["event"]])
        censored = np.array([np.sum((y["time"] == t) & ~y["event"]) for t in times], float)
        at_risk = np.array([np.sum((y["time"] > t) | ((y["time"] == t) & ~y["event"])) for t in times], float)
        return cls(times, np.cumprod(1.0 - censored / at_risk) if len(times) else np.zeros(0))

    def uncensored_at(self, times: ArrayLike) -> NDArray:
        """G(t)."""
        return self._at(times, "right")

    def uncensored_before(self, times: ArrayLike) -> NDArray:
        """G(t-), just before each time."""
        return self._at(times, "left")

    def _at(self, times: ArrayLike, side: str) -> NDArray:
        return np.r_[1.0, self.uncensored][np.searchsorted(self.times, np.asarray(times, float), side=side)]
