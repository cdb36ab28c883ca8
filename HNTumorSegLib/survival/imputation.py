"""Missing values: chained equations, ten rounds; expected values for prediction, random draws for estimates.

Each column with missing values is modelled on the others by Bayesian ridge regression, round-robin for ten rounds
(van Buuren 2007; as in Bourigault et al. 2021); the chaining is scikit-learn's ``IterativeImputer``. Whatever is
filled in is cut to the range that the training patients had.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

ROUNDS = 10
MOST_PREDICTORS = 30
"""Columns that one column is modelled on at most: the ones that correlate most with it."""


def _chained(seed: int, draw: bool, n_columns: int, low: NDArray, high: NDArray, rounds: int) -> Any:
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer
    from sklearn.linear_model import BayesianRidge

    return IterativeImputer(
        BayesianRidge(),
        max_iter=rounds,
        tol=0.0,
        sample_posterior=draw,
        random_state=seed,
        n_nearest_features=MOST_PREDICTORS if n_columns > MOST_PREDICTORS + 1 else None,
        min_value=low,
        max_value=high,
        keep_empty_features=True,
    )


def _range(x: NDArray) -> tuple[NDArray, NDArray]:
    """Lowest and highest known value a column, a little apart so that a constant column has a range too."""
    known = np.isfinite(x)
    low = np.where(known, x, np.inf).min(0)
    high = np.where(known, x, -np.inf).max(0)
    low, high = np.where(np.isfinite(low), low, 0.0), np.where(np.isfinite(high), high, 0.0)
    return low, np.where(high > low, high, low + 1e-9)


def multiple_imputations(
    x: NDArray, n: int, seed: int, y: NDArray | None = None, rounds: int = ROUNDS
) -> list[NDArray]:
    """``n`` completed copies of (patients, p), each with its own random draws, for estimates pooled by Rubin's rules.

    With ``y`` the outcome helps to fill in (the event and the cumulative hazard at each patient's time, White and
    Royston 2009), as estimates need it; never do so where predictions are to be judged.
    """
    x = np.asarray(x, float)
    if np.all(np.isfinite(x)):
        return [x.copy() for _ in range(n)]
    columns = x if y is None else np.column_stack([x, y["event"], nelson_aalen(y)])
    low, high = _range(columns)
    completed = []
    for k in range(n):
        imputer = _chained(seed + k, True, columns.shape[1], low, high, rounds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ten rounds are asked for, whether or not they converge
            completed.append(imputer.fit_transform(columns)[:, : x.shape[1]])
    return completed


def nelson_aalen(y: NDArray) -> NDArray:
    """The cumulative hazard of the whole cohort at each patient's time: (patients,)."""
    times, position = np.unique(y["time"], return_inverse=True)
    deaths = np.bincount(position, y["event"], minlength=len(times))
    at_risk = len(y) - np.searchsorted(np.sort(y["time"]), times, side="left")
    return np.cumsum(deaths / at_risk)[position]


class ChainedImputer(BaseEstimator):
    """Fills each missing value with what the chained equations expect; the same value every time.

    Columns that were complete in training get an equation too, so that a new patient may miss anything. After
    fitting, only numbers remain (:meth:`to_dict`): the start values and the linear equations in their order.

    Args:
        rounds: of the chain.
        seed: of the choice of predictors, where there are many columns.

    Attributes:
        start_: (p,) means of the known values; low_, high_: (p,) their range.
        steps_: (column, predictors, coefficients, intercept) of the last round.
    """

    def __init__(self, rounds: int = ROUNDS, seed: int = 0) -> None:
        self.rounds = rounds
        self.seed = seed

    def fit(self, x: NDArray, y: NDArray | None = None) -> ChainedImputer:
        """Fit (patients, p) with NaN where missing; ``y`` is not used."""
        x = np.asarray(x, float)
        self.low_, self.high_ = _range(x)
        known = np.isfinite(x)
        self.start_ = np.where(known.any(0), np.where(known, x, 0.0).sum(0) / np.maximum(known.sum(0), 1), 0.0)
        filled = np.where(known, x, self.start_)
        if not known.all():
            imputer = _chained(self.seed, False, x.shape[1], self.low_, self.high_, self.rounds)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                filled = imputer.fit_transform(x)
        self.steps_ = [self._equation(column, filled, known) for column in range(x.shape[1])] if x.shape[1] > 1 else []
        return self

    def _equation(self, column: int, filled: NDArray, known: NDArray) -> tuple[int, list[int], list[float], float]:
        from sklearn.linear_model import BayesianRidge

        rows, target = known[:, column], filled[:, column]
        others = np.delete(np.arange(filled.shape[1]), column)
        if len(others) > MOST_PREDICTORS:
            spread = filled.std(0)
            centred = filled - filled.mean(0)
            strength = np.abs(centred.T @ centred[:, column])[others] / np.maximum(spread[others], 1e-12)
            others = np.sort(others[np.argsort(-strength, kind="stable")[:MOST_PREDICTORS]])
        if rows.sum() < 3 or np.ptp(target[rows]) == 0:
            return column, [], [], float(self.start_[column])
        found = BayesianRidge().fit(filled[np.ix_(rows, others)], target[rows])
        return column, others.tolist(), found.coef_.tolist(), float(found.intercept_)

    def transform(self, x: NDArray) -> NDArray:
        """(patients, p) without NaN."""
        x = np.array(x, float)
        missing = ~np.isfinite(x)
        if not missing.any():
            return x
        x = np.where(missing, self.start_, x)
        touched = [step for step in self.steps_ if missing[:, step[0]].any()]
        for _ in range(self.rounds):
            for column, predictors, coef, intercept in touched:
                rows = missing[:, column]
                expected = x[np.ix_(rows, predictors)] @ np.array(coef, float) + intercept
                x[rows, column] = np.clip(expected, self.low_[column], self.high_[column])
        return x

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        fields = {name: getattr(self, name).tolist() for name in ("start_", "low_", "high_")}
        return {**self.get_params(), **fields, "steps_": [list(step) for step in self.steps_]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ChainedImputer:
        """Back from :meth:`to_dict`."""
        imputer = cls(data["rounds"], data["seed"])
        for name in ("start_", "low_", "high_"):
            setattr(imputer, name, np.array(data[name], float))
        imputer.steps_ = [tuple(step) for step in data["steps_"]]
        return imputer
