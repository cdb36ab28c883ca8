"""Means over folds with honest intervals, and the test between two models on the same folds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student


@dataclass(frozen=True)
class CorrectedMean:
    """A mean over folds, its corrected standard error and interval, and the two-sided p of its being 0."""

    mean: float
    standard_error: float
    lower: float
    upper: float
    p: float
    n: int


def corrected_mean(values: ArrayLike, test_share: float, level: float = 0.95) -> CorrectedMean:
    """Mean over folds with the variance correction of Nadeau and Bengio (2003).

    Folds share training patients, so their values vary together: the variance of the mean is not ``var / k`` but
    ``(1 / k + n_test / n_train) var``, with k - 1 degrees of freedom.

    Args:
        values: one a fold (of all repeats); NaN are left out.
        test_share: n_test / n_train.
        level: of the interval.
    """
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    k = len(values)
    if k < 2:
        mean = float(values[0]) if k else float("nan")
        return CorrectedMean(mean, *[float("nan")] * 4, k)
    mean = float(values.mean())
    error = float(np.sqrt((1 / k + test_share) * values.var(ddof=1)))
    half = student.ppf(0.5 + level / 2, k - 1) * error
    p = float(2 * student.sf(abs(mean) / error, k - 1)) if error > 0 else (1.0 if mean == 0 else 0.0)
    return CorrectedMean(mean, error, mean - half, mean + half, p, k)


def corrected_paired_t_test(first: ArrayLike, second: ArrayLike, test_share: float) -> CorrectedMean:
    """Whether two models differ: :func:`corrected_mean` of their difference, fold by fold (two-sided)."""
    return corrected_mean(np.asarray(first, float) - np.asarray(second, float), test_share)
