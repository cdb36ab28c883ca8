"""Cox's partial likelihood, once: its value (for DeepSurv), and its derivatives for many fits at a time (for Cox).

Notation: ``e_i = w_i exp(eta_i)``. For the deaths at one time, Breslow divides each by the sum of ``e`` over all at
risk; Efron's ``l``-th of ``d`` tied deaths takes ``l / d`` of the tied deaths' own ``e`` off that sum first
(Efron 1977). The second derivative needs no (patients, covariates, covariates) array: the part that is a mean of
squares is ``X diag(e A) X'``, with ``A_i`` the hazard that patient i went through.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BRESLOW, EFRON = "breslow", "efron"


class RiskSets:
    """Who is at risk when, for one outcome; patients are put in order of falling time.

    Attributes:
        order: (patients,) index into the data, latest first.
        event: (patients,) 1.0 for a death, in that order.
        last: (deaths,) position of the last patient at risk at each death's time.
        group: (deaths,) which distinct time of death it is, 0 for the latest.
        tied_share: (deaths,) Efron's l / d; all 0 for Breslow.
        death_position: (deaths,) position of each death.
    """

    def __init__(self, y: NDArray, ties: str = EFRON) -> None:
        if ties not in (BRESLOW, EFRON):
            raise ValueError(f"ties must be '{BRESLOW}' or '{EFRON}', not '{ties}'")
        order = np.argsort(-y["time"], kind="stable")
        time, event = y["time"][order], y["event"][order]
        deaths = np.flatnonzero(event)
        group_starts = np.r_[True, np.diff(time[deaths]) != 0] if len(deaths) else np.zeros(0, bool)
        group = np.cumsum(group_starts) - 1
        sizes = np.bincount(group) if len(deaths) else np.zeros(0, int)
        rank = np.arange(len(deaths)) - np.flatnonzero(group_starts)[group] if len(deaths) else deaths
        share = rank / sizes[group] if ties == EFRON and len(deaths) else np.zeros(len(deaths))
        self.times = time[deaths][group_starts]
        self.n_groups = len(sizes)
        self.order = torch.from_numpy(order.copy())
        self.event = torch.from_numpy(event.astype(float))
        self.last = torch.from_numpy(np.searchsorted(-time, -time[deaths], side="right") - 1)
        self.group = torch.from_numpy(group)
        self.tied_share = torch.from_numpy(share)
        self.death_position = torch.from_numpy(deaths)
        self.has_ties = bool(np.any(share > 0))

    def log_likelihood(self, eta: Tensor) -> Tensor:
        """The log partial likelihood of linear scores (..., patients) in the data's order; differentiable."""
        eta = eta[..., self.order]
        top = eta.detach().amax(-1, keepdim=True)
        e = torch.exp(eta - top)
        at_risk = self._at_risk(e)
        return (eta[..., self.death_position] - top - torch.log(at_risk)).sum(-1)

    def _at_risk(self, e: Tensor) -> Tensor:
        """The denominator of every death: (..., patients) -> (..., deaths)."""
        return self._less_tied(torch.cumsum(e, -1)[..., self.last], e[..., self.death_position])

    def _less_tied(self, sums: Tensor, of_deaths: Tensor) -> Tensor:
        if not self.has_ties:
            return sums
        tied = torch.zeros((*of_deaths.shape[:-1], self.n_groups), dtype=of_deaths.dtype)
        tied = tied.index_add(-1, self.group, of_deaths)
        return sums - self.tied_share.to(sums.dtype) * tied[..., self.group]

    def hazard(self, e: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """What the patients at risk went through.

        Args:
            e: (fits, patients) in order of falling time.
            weights: (fits, patients) case weights in that order, or None.

        Returns:
            The denominators (fits, deaths), the hazard at each death (fits, deaths), and the ``A`` of the module's
            text (fits, patients).
        """
        at_risk = self._at_risk(e)
        increment = 1.0 / at_risk if weights is None else weights[:, self.death_position] / at_risk
        passed = torch.zeros_like(e).index_add(-1, self.last, increment)
        passed = passed.flip(-1).cumsum(-1).flip(-1)
        if self.has_ties:
            own = torch.zeros((len(e), self.n_groups), dtype=e.dtype)
            own = own.index_add(-1, self.group, increment * self.tied_share)
            passed = passed.index_add(-1, self.death_position, -own[:, self.group])
        return at_risk, increment, passed


@dataclass(frozen=True)
class Derivatives:
    """Of the log partial likelihood: value (fits,), gradient (fits, p), information (fits, p, p) or None."""

    value: Tensor
    gradient: Tensor
    information: Tensor | None


def derivatives(
    x: Tensor, beta: Tensor, sets: RiskSets, weights: Tensor | None = None, second: bool = True
) -> Derivatives:
    """The log partial likelihood and its derivatives for many fits of one data set.

    Args:
        x: (p, patients), float64, patients in the order of ``sets.order``.
        beta: (fits, p).
        sets: the risk sets; with weights they must be Breslow's.
        weights: (fits, patients) case weights in that order (0 leaves a patient out), or None for all 1.
        second: whether the information matrix is wanted.
    """
    eta = beta @ x
    top = eta.amax(-1, keepdim=True)
    e = torch.exp(eta - top)
    if weights is not None:
        e = e * weights
    at_risk, increment, passed = sets.hazard(e, weights)
    at_deaths = eta[:, sets.death_position] - top - torch.log(at_risk)
    counted = sets.event.expand_as(e)
    if weights is not None:
        of_deaths = weights[:, sets.death_position]
        at_deaths = torch.where(of_deaths > 0, at_deaths * of_deaths, 0.0)
        counted = counted * weights
    gradient = (counted - e * passed) @ x.T
    information = _information(x, e, at_risk, increment * at_risk, passed, sets) if second else None
    return Derivatives(at_deaths.sum(-1), gradient, information)


def _information(x: Tensor, e: Tensor, at_risk: Tensor, deaths: Tensor, passed: Tensor, sets: RiskSets) -> Tensor:
    squares = (x * (e * passed)[:, None, :]) @ x.T
    weighted = x * e[:, None, :]
    sums = torch.cumsum(weighted, -1)[..., sets.last]
    sums = sets._less_tied(sums, weighted[..., sets.death_position])
    means = sums / at_risk[:, None, :]
    return squares - (means * deaths[:, None, :]) @ means.transpose(-1, -2)
