"""Do two observers agree on a number, here the total tumour burden (TTB) of each patient?

Straight line, R2 and mean absolute difference as in Nikulin et al. 2023; limits of agreement: J. M. Bland,
D. G. Altman, Lancet 1986; 327:307-310; intraclass correlation: P. E. Shrout, J. L. Fleiss, Psychol Bull 1979;
86:420-428, its intervals: K. O. McGraw, S. P. Wong, Psychol Methods 1996; 1:30-46.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEFT_OUT_SHARE = 0.01
"""Of the patients, those with the largest absolute difference, before line, R2 and mean absolute difference."""
LEVEL = 0.95


@dataclass(frozen=True)
class Line:
    """Least-squares line ``y = intercept + slope x`` with what its intervals need."""

    slope: float
    intercept: float
    r_squared: float
    residual_sd: float
    n: int
    mean_x: float
    sum_of_squares_x: float

    def at(self, x: np.ndarray) -> np.ndarray:
        """The line's values."""
        return self.intercept + self.slope * np.asarray(x, float)

    def prediction_half_width(self, x: np.ndarray, level: float = LEVEL) -> np.ndarray:
        """Half the width of the interval in which a further single observation at ``x`` is expected.

        Student's t with n - 2 degrees of freedom times s sqrt(1 + 1/n + (x - mean)^2 / Sxx); NaN for n < 3.
        """
        if self.n < 3:
            return np.full(np.shape(x), np.nan)
        spread = 1 + 1 / self.n + (np.asarray(x, float) - self.mean_x) ** 2 / self.sum_of_squares_x
        return stats.t.ppf((1 + level) / 2, self.n - 2) * self.residual_sd * np.sqrt(spread)


@dataclass(frozen=True)
class BlandAltman:
    """Differences (delineated minus true) of all patients.

    ``lower`` and ``upper`` are the limits of agreement, mean plus and minus 1.96 standard deviations (n - 1);
    ``mean_interval`` is the 95 % confidence interval of the mean difference.
    """

    n: int
    mean: float
    sd: float
    lower: float
    upper: float
    mean_interval: tuple[float, float]


@dataclass(frozen=True)
class IntraclassCorrelation:
    """One intraclass correlation with its 95 % confidence interval."""

    form: str
    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class BurdenAgreement:
    """Agreement of a cohort's TTB; None where there are too few patients.

    ``left_out`` are positions of the patients that ``line`` and ``mean_absolute_difference_ml`` do without;
    ``bland_altman`` and ``icc`` are of all patients.
    """

    n: int
    left_out: tuple[int, ...]
    mean_absolute_difference_ml: float | None
    line: Line | None
    bland_altman: BlandAltman | None
    icc: IntraclassCorrelation | None

    @property
    def r_squared(self) -> float | None:
        """Squared correlation of the patients not left out."""
        return None if self.line is None else self.line.r_squared


def burden_agreement(predicted_ml: Sequence[float], true_ml: Sequence[float]) -> BurdenAgreement:
    """Agreement of delineated with true TTB, one value a patient in the same order."""
    predicted, true = np.asarray(predicted_ml, float), np.asarray(true_ml, float)
    if predicted.shape != true.shape or predicted.ndim != 1:
        raise ValueError(f"one value a patient is needed on both sides, not {predicted.shape} and {true.shape}")
    left_out = worst_positions(predicted - true)
    kept = np.delete(np.arange(predicted.size), left_out)
    difference = np.abs(predicted - true)[kept]
    return BurdenAgreement(
        n=predicted.size,
        left_out=tuple(left_out),
        mean_absolute_difference_ml=float(difference.mean()) if difference.size else None,
        line=fit_line(true[kept], predicted[kept]),
        bland_altman=bland_altman(predicted, true),
        icc=intraclass_correlation(np.stack([true, predicted], 1), "ICC(2,1)"),
    )


def worst_positions(differences: np.ndarray, share: float = LEFT_OUT_SHARE) -> list[int]:
    """Positions of the largest absolute differences: 1 % of the patients, rounded (half up).

    This leaves out 7 of 698 and 2 of 181, as the values above the 99th percentile are, but none of fewer than 50,
    where one patient would be far more than 1 %.
    """
    n = math.floor(share * differences.size + 0.5)
    order = np.argsort(-np.abs(differences), kind="stable")
    return sorted(int(i) for i in order[:n])


def fit_line(x: np.ndarray, y: np.ndarray) -> Line | None:
    """Least squares of ``y`` on ``x``; None for fewer than two different ``x`` or when ``y`` does not vary."""
    n = x.size
    if n < 2:
        return None
    dx, dy = x - x.mean(), y - y.mean()
    sxx, syy, sxy = float(dx @ dx), float(dy @ dy), float(dx @ dy)
    if sxx <= 0 or syy <= 0:
        return None
    slope = sxy / sxx
    residual = max(0.0, syy - slope * sxy)
    return Line(
        slope=slope,
        intercept=float(y.mean() - slope * x.mean()),
        r_squared=sxy**2 / (sxx * syy),
        residual_sd=math.sqrt(residual / (n - 2)) if n > 2 else float("nan"),
        n=n,
        mean_x=float(x.mean()),
        sum_of_squares_x=sxx,
    )


def bland_altman(predicted: np.ndarray, true: np.ndarray) -> BlandAltman | None:
    """Mean difference and limits of agreement; None for fewer than two patients."""
    difference = np.asarray(predicted, float) - np.asarray(true, float)
    n = difference.size
    if n < 2:
        return None
    mean, sd = float(difference.mean()), float(difference.std(ddof=1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * sd / math.sqrt(n)
    return BlandAltman(n, mean, sd, mean - 1.96 * sd, mean + 1.96 * sd, (mean - half, mean + half))


def intraclass_correlation(ratings: np.ndarray, form: str = "ICC(2,1)") -> IntraclassCorrelation | None:
    """Intraclass correlation of single ratings.

    Args:
        ratings: shape (targets, judges), without gaps.
        form: ``ICC(1,1)`` one-way random; ``ICC(2,1)`` two-way random, absolute agreement: a constant
            difference between the judges lowers it; ``ICC(3,1)`` two-way mixed, consistency: it does not.

    Returns:
        None for fewer than two targets or judges, or where nothing varies.
    """
    ratings = np.asarray(ratings, float)
    n, k = ratings.shape
    if n < 2 or k < 2 or np.ptp(ratings) == 0:
        return None
    mean = ratings.mean()
    rows = k * float(((ratings.mean(1) - mean) ** 2).sum()) / (n - 1)
    columns = n * float(((ratings.mean(0) - mean) ** 2).sum()) / (k - 1)
    within = float(((ratings - ratings.mean(1, keepdims=True)) ** 2).sum()) / (n * (k - 1))
    error = (within * n * (k - 1) - columns * (k - 1)) / ((n - 1) * (k - 1))
    error = max(error, 0.0)
    if form == "ICC(1,1)":
        value = (rows - within) / (rows + (k - 1) * within)
        interval = _f_interval(rows, within, n - 1, n * (k - 1), k)
    elif form == "ICC(3,1)":
        value = (rows - error) / (rows + (k - 1) * error)
        interval = _f_interval(rows, error, n - 1, (n - 1) * (k - 1), k)
    elif form == "ICC(2,1)":
        value = (rows - error) / (rows + (k - 1) * error + k * (columns - error) / n)
        interval = _agreement_interval(value, rows, columns, error, n, k)
    else:
        raise ValueError(f"{form} is none of ICC(1,1), ICC(2,1) and ICC(3,1)")
    return IntraclassCorrelation(form, float(value), interval)


def _f_interval(rows: float, rest: float, df_rows: int, df_rest: int, k: int) -> tuple[float, float]:
    """Confidence interval of ICC(1,1) and ICC(3,1) (Shrout and Fleiss 1979)."""
    if rest <= 0:
        return (1.0, 1.0)
    f = rows / rest
    low = f / stats.f.ppf((1 + LEVEL) / 2, df_rows, df_rest)
    high = f * stats.f.ppf((1 + LEVEL) / 2, df_rest, df_rows)
    return float((low - 1) / (low + k - 1)), float((high - 1) / (high + k - 1))


def _agreement_interval(value: float, rows: float, columns: float, error: float, n: int, k: int) -> tuple[float, float]:
    """Confidence interval of ICC(2,1) (McGraw and Wong 1996, their ICC(A,1))."""
    if value >= 1 or (error <= 0 and columns <= 0):
        return (1.0, 1.0)
    a = k * value / (n * (1 - value))
    b = 1 + k * value * (n - 1) / (n * (1 - value))
    spread = (a * columns) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1))
    df = (a * columns + b * error) ** 2 / spread
    f_low, f_high = stats.f.ppf((1 + LEVEL) / 2, n - 1, df), stats.f.ppf((1 + LEVEL) / 2, df, n - 1)
    rest = k * columns + (k * n - k - n) * error
    low = n * (rows - f_low * error) / (f_low * rest + n * rows)
    high = n * (f_high * rows - error) / (rest + n * f_high * rows)
    return float(low), float(high)
