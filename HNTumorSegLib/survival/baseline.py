"""From a log hazard ratio to a survival curve: the baseline hazard that goes with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from HNTumorSegLib.survival.partial_likelihood import EFRON, RiskSets


@dataclass(frozen=True)
class Baseline:
    """A cumulative baseline hazard: a step function that is ``cumulative_hazard[k]`` from ``times[k]`` on."""

    times: NDArray
    cumulative_hazard: NDArray

    @classmethod
    def estimate(cls, log_risk: NDArray, y: NDArray, ties: str = EFRON) -> Baseline:
        """Breslow's estimator (with Efron's denominators for Efron's ties) for log hazard ratios (patients,)."""
        sets = RiskSets(y, ties)
        e = torch.exp(torch.from_numpy(np.asarray(log_risk, float))[sets.order])[None]
        increment = sets.hazard(e)[1][0].numpy()
        steps = np.bincount(sets.group.numpy(), increment, minlength=sets.n_groups)[::-1]
        return cls(sets.times[::-1].copy(), np.cumsum(steps))

    def survival(self, log_risk: NDArray, times: ArrayLike) -> NDArray:
        """Probability to be free of the event at ``times``: (patients, times)."""
        position = np.searchsorted(self.times, np.atleast_1d(np.asarray(times, float)), side="right")
        hazard = np.r_[0.0, self.cumulative_hazard][position]
        return np.exp(-hazard[None, :] * np.exp(np.asarray(log_risk, float))[:, None])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"times": self.times.tolist(), "cumulative_hazard": self.cumulative_hazard.tolist()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Baseline:
        """Back from :meth:`to_dict`."""
        return cls(np.array(data["times"], float), np.array(data["cumulative_hazard"], float))
