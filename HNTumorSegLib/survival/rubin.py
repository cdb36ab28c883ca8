"""Estimates from several imputations become one (Rubin 1987)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student


@dataclass(frozen=True)
class Pooled:
    """One estimate per coefficient, all (p,).

    ``missing_share`` is the share of the variance that comes from what was missing (between imputations, lambda).
    """

    estimate: NDArray
    standard_error: NDArray
    degrees_of_freedom: NDArray
    missing_share: NDArray

    def interval(self, level: float = 0.95) -> tuple[NDArray, NDArray]:
        """Student's interval."""
        half = student.ppf(0.5 + level / 2, self.degrees_of_freedom) * self.standard_error
        return self.estimate - half, self.estimate + half

    @property
    def p(self) -> NDArray:
        """Two-sided, for a coefficient of 0."""
        return 2 * student.sf(np.abs(self.estimate) / self.standard_error, self.degrees_of_freedom)


def pool(estimates: ArrayLike, variances: ArrayLike) -> Pooled:
    """Rubin's rules.

    Args:
        estimates: (imputations, p).
        variances: (imputations, p), squared standard errors.

    Returns:
        Total variance W + (1 + 1/m) B; Rubin's degrees of freedom (m - 1)(1 + W / ((1 + 1/m) B))^2, infinite where
        the imputations agree.
    """
    estimates, variances = np.atleast_2d(np.asarray(estimates, float)), np.atleast_2d(np.asarray(variances, float))
    m = len(estimates)
    within = variances.mean(0)
    between = (1 + 1 / m) * estimates.var(0, ddof=1) if m > 1 else np.zeros_like(within)
    # Rounding alone makes a variance of 1e-32 between equal imputations.
    between = np.where(between < 1e-18 * within, 0.0, between)
    total = within + between
    with np.errstate(divide="ignore"):
        freedom = np.where(between > 0, (m - 1) * (total / np.where(between > 0, between, 1.0)) ** 2, np.inf)
    return Pooled(estimates.mean(0), np.sqrt(total), freedom, between / total)
