"""Hazard ratios of covariates: each alone, and all together, pooled over imputations."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from HNTumorSegLib.survival.burden import HazardRatio
from HNTumorSegLib.survival.encoding import Encoder
from HNTumorSegLib.survival.imputation import multiple_imputations
from HNTumorSegLib.survival.newton import fit_cox
from HNTumorSegLib.survival.rubin import pool

IMPUTATIONS = 10
COLUMNS = ["covariate", "n", "n_events", "hazard_ratio", "lower", "upper", "p"]


def univariate(frame: pd.DataFrame, y: NDArray) -> pd.DataFrame:
    """Univariate Cox of every coded column in the patients who have it; NaN where there is no finite estimate."""
    encoder = Encoder.learn(frame)
    encoded = encoder.transform(frame)
    rows = []
    for name, column in zip(encoder.names, encoded.T, strict=True):
        known = np.isfinite(column)
        row = [name, int(known.sum()), int(y["event"][known].sum())]
        ratio = None
        if np.ptp(column[known]) > 0 and y["event"][known].any():
            fit = fit_cox(column[known][:, None], y[known])
            if fit.converged[0]:
                ratio = HazardRatio.from_coefficient(float(fit.coef[0, 0]), float(np.sqrt(fit.covariance[0, 0, 0])))
        rows.append([*row, *_cells(ratio)])
    return pd.DataFrame(rows, columns=COLUMNS)


def _cells(ratio: HazardRatio | None) -> list[float]:
    if ratio is None or not np.isfinite(ratio.upper) or ratio.upper > 1e6:
        return [float("nan")] * 4
    return [ratio.value, ratio.lower, ratio.upper, ratio.p]


def multivariable(frame: pd.DataFrame, y: NDArray, seed: int, n_imputations: int = IMPUTATIONS) -> pd.DataFrame:
    """Cox of all coded columns together, on each of several imputations (which know the outcome), by Rubin's rules.

    The column ``missing_share`` says how much of the variance comes from what was missing. Empty where an imputation
    has no finite solution.
    """
    encoder = Encoder.learn(frame)
    encoded = encoder.transform(frame)
    completed = multiple_imputations(encoded, n_imputations, seed, y)
    varied = np.all([np.ptp(x, axis=0) > 1e-9 for x in completed], axis=0)
    names = [n for n, v in zip(encoder.names, varied, strict=True) if v]
    columns = [*COLUMNS, "missing_share"]
    if not names:
        return pd.DataFrame(columns=columns)
    fits = [fit_cox(x[:, varied], y) for x in completed]
    if not all(f.converged[0] for f in fits):
        return pd.DataFrame(columns=columns)
    pooled = pool([f.coef[0] for f in fits], [np.diag(f.covariance[0]) for f in fits])
    lower, upper = pooled.interval()
    n_events = int(y["event"].sum())
    rows = [
        [name, len(y), n_events, np.exp(b), np.exp(low), np.exp(high), p, share]
        for name, b, low, high, p, share in zip(
            names, pooled.estimate, lower, upper, pooled.p, pooled.missing_share, strict=True
        )
    ]
    return pd.DataFrame(rows, columns=columns)
