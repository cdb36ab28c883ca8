"""Penalised Cox: the LASSO path for many data sets at a time, and the penalty by cross-validation.

Proximal gradient with momentum (FISTA) on the partial likelihood divided by the number of events, with Breslow's
ties; covariates are standardised. All folds run as one batch, each penalty beginning where the last one ended.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from torch import Tensor

from HNTumorSegLib.survival.baseline import Baseline
from HNTumorSegLib.survival.folds import event_folds
from HNTumorSegLib.survival.partial_likelihood import BRESLOW, RiskSets, derivatives

N_PENALTIES = 40
MAX_STEPS = 3000
TOLERANCE, FINAL_TOLERANCE = 1e-4, 1e-7
RISING = 8


class LassoPath:
    """Solutions of ``-log PL / events + penalty * sum |coef|``, from one penalty to the next, for many data sets.

    Args:
        z: (patients, p) standardised covariates.
        y: (patients,).
        weights: (fits, patients) of 0 and 1: who belongs to each fit; None for one fit of all.
    """

    def __init__(self, z: NDArray, y: NDArray, weights: NDArray | None = None) -> None:
        self._sets = RiskSets(y, BRESLOW)
        self._x = torch.from_numpy(np.ascontiguousarray(z[self._sets.order.numpy()].T))
        rows = np.ones((1, len(y))) if weights is None else np.asarray(weights, float)
        self._weights = torch.from_numpy(rows)[:, self._sets.order]
        self._n_events = (self._weights * self._sets.event).sum(-1)
        self._beta = torch.zeros(len(rows), len(self._x), dtype=self._x.dtype)
        self._curvature = torch.full((len(rows),), 0.25, dtype=self._x.dtype)

    def _smooth(self, beta: Tensor) -> tuple[Tensor, Tensor]:
        found = derivatives(self._x, beta, self._sets, self._weights, second=False)
        return -found.value / self._n_events, -found.gradient / self._n_events[:, None]

    def solve(self, penalty: float, tolerance: float = TOLERANCE) -> NDArray:
        """Coefficients (fits, p); begins where the last penalty ended, so go from large to small."""
        beta, curvature = self._beta, self._curvature
        point, momentum = beta.clone(), torch.ones(len(beta), dtype=beta.dtype)
        for _ in range(MAX_STEPS):
            value, gradient = self._smooth(point)
            for _ in range(30):
                trial = point - gradient / curvature[:, None]
                trial = torch.sign(trial) * (trial.abs() - penalty / curvature[:, None]).clamp(min=0)
                step = trial - point
                bound = value + (gradient * step).sum(-1) + 0.5 * curvature * (step**2).sum(-1)
                too_far = self._smooth(trial)[0] > bound + 1e-12
                if not bool(too_far.any()):
                    break
                curvature = torch.where(too_far, curvature * 2, curvature)
            change = trial - beta
            uphill = ((point - trial) * change).sum(-1) > 0
            following = (1 + torch.sqrt(1 + 4 * momentum**2)) / 2
            push = torch.where(uphill, torch.zeros_like(momentum), (momentum - 1) / following)
            momentum = torch.where(uphill, torch.ones_like(momentum), following)
            point, beta = trial + push[:, None] * change, trial
            if float(torch.maximum(change.abs().amax(), step.abs().amax())) < tolerance:
                break
        self._beta, self._curvature = beta, curvature
        return beta.numpy()


def largest_penalty(z: NDArray, y: NDArray) -> float:
    """The smallest penalty at which every coefficient is 0."""
    sets = RiskSets(y, BRESLOW)
    x = torch.from_numpy(np.ascontiguousarray(z[sets.order.numpy()].T))
    gradient = derivatives(x, torch.zeros(1, len(x), dtype=x.dtype), sets, second=False).gradient
    return float(gradient.abs().max() / sets.event.sum())


class LassoCox(BaseEstimator):
    """Cox with a LASSO penalty chosen by cross-validation.

    Args:
        folds: of the inner cross-validation; fewer where there are fewer events.
        seed: of the folds.
        smallest: the smallest penalty of the path, as a share of the largest useful one.

    Attributes:
        coef_: (p,) per unit of ``x``.
        penalty_: the chosen one: least partial-likelihood deviance on the folds left out (Verweij and van Houwelingen
            1993).
        deviance_: (penalties,) summed over folds; ``penalties_`` goes with it.
        selected_: (p,) bool. Never empty: when the best model has no covariate, the first one to enter is kept
            and ``fell_back_`` is True.
    """

    def __init__(self, folds: int = 5, seed: int = 0, smallest: float = 0.02) -> None:
        self.folds = folds
        self.seed = seed
        self.smallest = smallest

    def fit(self, x: NDArray, y: NDArray) -> LassoCox:
        """Fit (patients, p) without missing values."""
        x = np.asarray(x, float)
        self.mean_, scale = x.mean(0), x.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        z = (x - self.mean_) / scale
        self.penalties_ = largest_penalty(z, y) * np.geomspace(1.0, self.smallest, N_PENALTIES)
        self.deviance_ = self._deviance(z, y)
        best = int(np.argmin(self.deviance_))
        self.penalty_ = float(self.penalties_[best])
        path = LassoPath(z, y)
        for penalty in self.penalties_[: best + 1]:
            coef = path.solve(penalty, TOLERANCE if penalty > self.penalty_ else FINAL_TOLERANCE)[0]
        self.fell_back_ = not np.any(coef)
        for penalty in self.penalties_[best + 1 :]:
            if np.any(coef):
                break
            coef = path.solve(penalty)[0]
        self.selected_ = coef != 0
        self.coef_ = coef / scale
        self.baseline_ = Baseline.estimate(self.predict(x), y, BRESLOW)
        return self

    def _deviance(self, z: NDArray, y: NDArray) -> NDArray:
        """Of the patients left out: -2 (log PL of all - log PL of those fitted), summed over folds.

        Stops early once it has long been rising: the penalties after that have no deviance (infinity).
        """
        splits = event_folds(y, self.folds, self.seed)
        weights = np.ones((len(splits), len(y)))
        for row, (_, test) in zip(weights, splits, strict=True):
            row[test] = 0.0
        path = LassoPath(z, y, weights)
        whole = RiskSets(y, BRESLOW)
        inside = [RiskSets(y[train], BRESLOW) for train, _ in splits]
        deviance = np.full(len(self.penalties_), np.inf)
        for k, penalty in enumerate(self.penalties_):
            eta = torch.from_numpy(path.solve(penalty) @ z.T)
            fitted = [
                s.log_likelihood(eta[i, train]) for i, (s, (train, _)) in enumerate(zip(inside, splits, strict=True))
            ]
            deviance[k] = -2 * float((whole.log_likelihood(eta) - torch.stack(fitted)).sum())
            if k - int(np.argmin(deviance)) >= RISING:
                break
        return deviance

    def predict(self, x: NDArray) -> NDArray:
        """Log hazard ratio of each patient to one at the training mean."""
        return (np.asarray(x, float) - self.mean_) @ self.coef_

    def predict_survival(self, x: NDArray, times: ArrayLike) -> NDArray:
        """Probability to be free of the event: (patients, times)."""
        return self.baseline_.survival(self.predict(x), times)

    def to_dict(self) -> dict[str, Any]:
        """What prediction needs, as plain JSON types."""
        return {
            **self.get_params(),
            "coef_": self.coef_.tolist(),
            "mean_": self.mean_.tolist(),
            "penalty_": self.penalty_,
            "baseline_": self.baseline_.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LassoCox:
        """Back from :meth:`to_dict`."""
        model = cls(data["folds"], data["seed"], data["smallest"])
        model.coef_, model.mean_ = np.array(data["coef_"], float), np.array(data["mean_"], float)
        model.selected_, model.penalty_ = model.coef_ != 0, float(data["penalty_"])
        model.baseline_ = Baseline.from_dict(data["baseline_"])
        return model
