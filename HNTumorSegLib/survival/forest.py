"""A random survival forest (Ishwaran et al. 2008) with log-rank splitting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

GRID_POINTS = 100
N_CUTS = 16
LEAF = -1


@dataclass
class Tree:
    """A tree in arrays, one entry a node: at an inner node a value of at most ``threshold`` goes ``left``.

    ``feature`` is -1 at a leaf; ``hazard`` (nodes, grid) is the Nelson-Aalen cumulative hazard of a leaf's patients.
    """

    feature: NDArray
    threshold: NDArray
    left: NDArray
    right: NDArray
    hazard: NDArray

    def predict(self, x: NDArray) -> NDArray:
        """Cumulative hazard (patients, grid)."""
        node = np.zeros(len(x), int)
        inner = self.feature[node] != LEAF
        while inner.any():
            at = node[inner]
            goes_left = x[np.flatnonzero(inner), self.feature[at]] <= self.threshold[at]
            node[inner] = np.where(goes_left, self.left[at], self.right[at])
            inner = self.feature[node] != LEAF
        return self.hazard[node]


class RandomSurvivalForest(BaseEstimator):
    """Trees on bootstrap samples; each node takes the split with the largest log-rank statistic among some covariates.

    Args:
        n_trees: how many trees.
        min_leaf: patients in a leaf at least.
        max_features: covariates tried at a node; None for the square root of their number, rounded up.
        seed: of samples and covariates.

    Attributes:
        grid_: times of the cumulative hazards: the event times, or 100 of their quantiles.
        trees_: the trees.
    """

    def __init__(self, n_trees: int = 200, min_leaf: int = 15, max_features: int | None = None, seed: int = 0) -> None:
        self.n_trees = n_trees
        self.min_leaf = min_leaf
        self.max_features = max_features
        self.seed = seed

    def fit(self, x: NDArray, y: NDArray) -> RandomSurvivalForest:
        """Fit (patients, p) without missing values."""
        x = np.asarray(x, float)
        times = np.unique(y["time"][y["event"]])
        if len(times) > GRID_POINTS:
            times = np.unique(np.quantile(times, np.linspace(0, 1, GRID_POINTS), method="lower"))
        self.grid_ = times
        tries = self.max_features or int(np.ceil(np.sqrt(x.shape[1])))
        self.n_features_ = x.shape[1]
        rng = np.random.default_rng(self.seed)
        self.trees_ = []
        for _ in range(self.n_trees):
            rows = rng.integers(0, len(x), len(x))
            self.trees_.append(_Grower(x[rows], y[rows], times, self.min_leaf, tries, rng).grow())
        return self

    def cumulative_hazard(self, x: NDArray) -> NDArray:
        """The trees' mean cumulative hazard on ``grid_``: (patients, grid)."""
        x = np.asarray(x, float)
        total = np.zeros((len(x), len(self.grid_)))
        for tree in self.trees_:
            total += tree.predict(x)
        return total / len(self.trees_)

    def predict(self, x: NDArray) -> NDArray:
        """Logarithm of the ensemble mortality (the sum of the cumulative hazard over the grid)."""
        return np.log(self.cumulative_hazard(x).sum(1) + 1e-6)

    def predict_survival(self, x: NDArray, times: ArrayLike) -> NDArray:
        """Probability to be free of the event: (patients, times)."""
        hazard = np.column_stack([np.zeros(len(x)), self.cumulative_hazard(x)])
        position = np.searchsorted(self.grid_, np.atleast_1d(np.asarray(times, float)), side="right")
        return np.exp(-hazard[:, position])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types. Leaves hold hazards of at least ``min_leaf`` patients (with repeats), not patients."""
        trees = [
            {
                "feature": t.feature.tolist(),
                "threshold": t.threshold.tolist(),
                "left": t.left.tolist(),
                "right": t.right.tolist(),
                "hazard": [
                    row.round(6).tolist() if f == LEAF else None for f, row in zip(t.feature, t.hazard, strict=True)
                ],
            }
            for t in self.trees_
        ]
        return {**self.get_params(), "grid_": self.grid_.tolist(), "n_features_": self.n_features_, "trees_": trees}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RandomSurvivalForest:
        """Back from :meth:`to_dict`."""
        model = cls(data["n_trees"], data["min_leaf"], data["max_features"], data["seed"])
        model.grid_, model.n_features_ = np.array(data["grid_"], float), data["n_features_"]
        nothing = [0.0] * len(model.grid_)
        model.trees_ = [
            Tree(
                np.array(t["feature"], int),
                np.array(t["threshold"], float),
                np.array(t["left"], int),
                np.array(t["right"], int),
                np.array([nothing if row is None else row for row in t["hazard"]], float),
            )
            for t in data["trees_"]
        ]
        return model


class _Grower:
    """Grows one tree."""

    def __init__(
        self, x: NDArray, y: NDArray, grid: NDArray, min_leaf: int, tries: int, rng: np.random.Generator
    ) -> None:
        self.x, self.min_leaf, self.tries, self.rng = x, min_leaf, tries, rng
        last = np.searchsorted(grid, y["time"], side="right") - 1
        columns = np.arange(len(grid))
        self.at_risk = (last[:, None] >= columns).astype(np.float32)
        self.deaths = ((last[:, None] == columns) & y["event"][:, None]).astype(np.float32)
        self.event = y["event"]
        self.nodes: list[list] = []

    def grow(self) -> Tree:
        self._node(np.arange(len(self.x)))
        feature, threshold, left, right, hazard = zip(*self.nodes, strict=True)
        return Tree(np.array(feature), np.array(threshold, float), np.array(left), np.array(right), np.array(hazard))

    def _node(self, rows: NDArray) -> int:
        """Add the node of these patients and all below it; its number."""
        number = len(self.nodes)
        self.nodes.append([LEAF, 0.0, LEAF, LEAF, np.zeros(self.at_risk.shape[1])])
        split = self._best_split(rows)
        if split is None:
            self.nodes[number][4] = self._nelson_aalen(rows)
            return number
        feature, threshold = split
        goes_left = self.x[rows, feature] <= threshold
        left, right = self._node(rows[goes_left]), self._node(rows[~goes_left])
        self.nodes[number][:4] = [feature, threshold, left, right]
        return number

    def _nelson_aalen(self, rows: NDArray) -> NDArray:
        at_risk = self.at_risk[rows].sum(0, dtype=float)
        deaths = self.deaths[rows].sum(0, dtype=float)
        return np.cumsum(np.divide(deaths, at_risk, out=np.zeros_like(deaths), where=at_risk > 0))

    def _best_split(self, rows: NDArray) -> tuple[int, float] | None:
        """Covariate and threshold with the largest log-rank statistic; None where the node is to be a leaf."""
        if len(rows) < 2 * self.min_leaf or self.event[rows].sum() < 2:
            return None
        at_risk, deaths = self.at_risk[rows], self.deaths[rows]
        used = deaths.any(0)
        tried = self.rng.permutation(self.x.shape[1])[: self.tries]
        cuts = [self._cuts(self.x[rows, feature]) for feature in tried]
        left = [self.x[rows, feature] <= cut[:, None] for feature, cut in zip(tried, cuts, strict=True)]
        statistics = log_rank_of_splits(np.concatenate(left), at_risk[:, used], deaths[:, used])
        if not len(statistics) or statistics.max() <= 0:
            return None
        top = int(np.argmax(statistics))
        features = np.repeat(tried, [len(cut) for cut in cuts])
        return int(features[top]), float(np.concatenate(cuts)[top])

    def _cuts(self, values: NDArray) -> NDArray:
        """Thresholds that leave enough patients on both sides; at most ``N_CUTS``, spread evenly over the patients."""
        ordered = np.sort(values)
        ends = np.flatnonzero(np.diff(ordered) > 0)
        ends = ends[(ends + 1 >= self.min_leaf) & (len(values) - ends - 1 >= self.min_leaf)]
        if len(ends) > N_CUTS:
            ends = ends[np.unique(np.linspace(0, len(ends) - 1, N_CUTS).round().astype(int))]
        return (ordered[ends] + ordered[ends + 1]) / 2


def log_rank_of_splits(left: NDArray, at_risk: NDArray, deaths: NDArray) -> NDArray:
    """Log-rank chi-squared of many divisions of the same patients.

    Args:
        left: (splits, patients) bool.
        at_risk: (patients, times) 1 where a patient is at risk.
        deaths: (patients, times) 1 where a patient has the event.
    """
    left = left.astype(np.float32)
    total, events = at_risk.sum(0, dtype=float), deaths.sum(0, dtype=float)
    share = (left @ at_risk) / total
    excess = ((left @ deaths) - events * share).sum(1)
    factor = events * (total - events) / np.maximum(total - 1, 1)
    variance = (share * (1 - share)) @ factor
    return np.divide(excess**2, variance, out=np.zeros(len(left)), where=variance > 1e-9)
