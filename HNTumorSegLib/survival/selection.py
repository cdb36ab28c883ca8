"""Which columns a model may use: not two that say the same (Spearman), and those that LASSO keeps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from HNTumorSegLib.survival.penalised_cox import LassoCox

SPEARMAN_LIMIT = 0.80


def spearman_matrix(x: NDArray) -> NDArray:
    """Spearman's rank correlation of all columns of (patients, p); 0 with a constant column."""
    ranks = rankdata(x, axis=0)
    ranks = ranks - ranks.mean(0)
    length = np.sqrt((ranks**2).sum(0))
    unit = np.divide(ranks, length, out=np.zeros_like(ranks), where=length > 0)
    return unit.T @ unit


def spearman_keep(x: NDArray, limit: float = SPEARMAN_LIMIT) -> NDArray:
    """Positions of columns no two of which correlate by more than ``limit`` (either sign).

    The pair that correlates most loses the one that correlates more with all others, until no pair is above the
    limit (Bourigault et al. 2021 say 0.80; which of the two goes is ours). Constant columns are left out.
    """
    found = np.abs(spearman_matrix(x))
    np.fill_diagonal(found, 0.0)
    kept = np.flatnonzero(np.ptp(x, axis=0) > 0)
    while len(kept) > 1:
        among = found[np.ix_(kept, kept)]
        first, second = np.unravel_index(np.argmax(among), among.shape)
        if among[first, second] <= limit:
            break
        mean = among.mean(0)
        # On equal terms the later column goes.
        drop = max((first, second), key=lambda k: (round(mean[k], 12), k))
        kept = np.delete(kept, drop)
    return kept


def lasso_keep(x: NDArray, y: NDArray, folds: int = 5, seed: int = 0) -> NDArray:
    """Positions of the columns to which penalised Cox, its penalty by cross-validation, gives a coefficient."""
    return np.flatnonzero(LassoCox(folds, seed).fit(x, y).selected_)
