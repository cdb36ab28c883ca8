"""Newton's method for Cox coefficients, many fits at a time: bootstrap samples, folds, subsets of covariates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from HNTumorSegLib.survival.partial_likelihood import BRESLOW, EFRON, RiskSets, derivatives

MAX_STEPS = 40
MAX_HALVINGS = 20
RELATIVE_TOLERANCE = 1e-12
BATCH_VALUES = 4_000_000
"""Numbers that one (fits, covariates, patients) array may have: 32 MB."""


@dataclass(frozen=True)
class CoxFits:
    """Coefficients (fits, p), covariance (fits, p, p), log partial likelihood (fits,), converged (fits,) bool.

    A fit that did not converge (singular, or no finite maximum) has NaN in place of coefficients.
    """

    coef: NDArray
    covariance: NDArray
    log_likelihood: NDArray
    converged: NDArray


def fit_cox(
    x: NDArray,
    y: NDArray,
    ties: str = EFRON,
    weights: NDArray | None = None,
    subsets: NDArray | None = None,
    l2: float = 0.0,
) -> CoxFits:
    """Maximise the Cox partial likelihood.

    Args:
        x: (patients, p) without missing values; it is centred and scaled inside.
        y: (patients,) of :func:`outcome`.
        ties: ``efron`` or ``breslow``.
        weights: (fits, patients) case weights, as a bootstrap counts them; needs ``breslow``.
        subsets: (fits, p) bool, the covariates that each fit may use; the others stay 0.
        l2: strength of a ridge penalty, ``l2 / 2`` times the sum of squares of the coefficients per standard
            deviation.

    Returns:
        One fit, or as many as ``weights`` or ``subsets`` has rows.
    """
    if weights is not None and ties != BRESLOW:
        raise ValueError("case weights need ties='breslow': Efron's tied deaths are not defined by weights")
    x = np.asarray(x, float)
    sets = RiskSets(y, ties)
    mean, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    data = torch.from_numpy(np.ascontiguousarray(((x - mean) / scale)[sets.order.numpy()].T))
    n_fits = max((len(a) for a in (weights, subsets) if a is not None), default=1)
    step = max(1, BATCH_VALUES // max(1, x.size))
    parts = [
        _fit_batch(data, sets, _rows(weights, start, step, sets), _rows(subsets, start, step, None), l2)
        for start in range(0, n_fits, step)
    ]
    coef, covariance, value, converged = (np.concatenate(p) for p in zip(*parts, strict=True))
    return CoxFits(coef / scale, covariance / (scale[:, None] * scale), value, converged)


def _rows(array: NDArray | None, start: int, step: int, sets: RiskSets | None) -> torch.Tensor | None:
    if array is None:
        return None
    rows = torch.from_numpy(np.asarray(array[start : start + step], float))
    return rows if sets is None else rows[:, sets.order]


def _fit_batch(
    x: torch.Tensor, sets: RiskSets, weights: torch.Tensor | None, subsets: torch.Tensor | None, l2: float
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    n_fits = max((len(a) for a in (weights, subsets) if a is not None), default=1)
    p = len(x)
    allowed = torch.ones(n_fits, p, dtype=x.dtype) if subsets is None else subsets.expand(n_fits, p)
    fixed = torch.diag_embed(1.0 - allowed)

    def at(beta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        found = derivatives(x, beta, sets, weights)
        information = found.information * allowed[:, :, None] * allowed[:, None, :]
        value = found.value - 0.5 * l2 * (beta**2).sum(-1)
        return value, (found.gradient - l2 * beta) * allowed, information + l2 * torch.diag_embed(allowed) + fixed

    beta = torch.zeros(n_fits, p, dtype=x.dtype)
    value, gradient, information = at(beta)
    done = torch.zeros(n_fits, dtype=torch.bool)
    singular = torch.zeros(n_fits, dtype=torch.bool)
    for _ in range(MAX_STEPS):
        factor, failed = torch.linalg.cholesky_ex(information)
        singular |= (failed > 0) & ~done
        done = done | singular
        direction = torch.cholesky_solve(gradient[..., None], factor)[..., 0]
        direction = torch.where(done[:, None], torch.zeros_like(direction), direction)
        for _ in range(MAX_HALVINGS):
            trial = at(beta + direction)
            worse = ~(trial[0] >= value - 1e-9 * value.abs() - 1e-12)
            if not bool(worse.any()):
                break
            direction = torch.where(worse[:, None], direction / 2, direction)
        gain = (trial[0] - value).abs()
        beta, (value, gradient, information) = beta + direction, trial
        # A step this small says more than the value, which rounding blurs: Newton's error falls with its square.
        small = direction.abs().amax(-1) < 1e-7
        done = done | (small & (gain <= RELATIVE_TOLERANCE * value.abs().clamp(min=1.0) * 1e3))
        if bool(done.all()):
            break
    converged = done & ~singular
    inverse, failed = torch.linalg.inv_ex(information)
    converged &= failed == 0
    covariance = inverse * allowed[:, :, None] * allowed[:, None, :]
    beta = torch.where(converged[:, None], beta, torch.full_like(beta, torch.nan))
    return beta.numpy(), covariance.numpy(), value.numpy(), converged.numpy()
