"""The three models of Bourigault et al. 2021 (and penalised Cox) by name."""

from __future__ import annotations

from typing import Any

COX, LASSO, FOREST, DEEPSURV = "cox", "lasso", "forest", "deepsurv"
MODEL_TITLES = {
    COX: "CoxPH",
    LASSO: "Penalised Cox",
    FOREST: "Random survival forest",
    DEEPSURV: "DeepSurv",
}
SMALL_RIDGE = 1e-3
"""Ridge of the Cox model in the pipeline: too weak to be seen, enough to stay finite where a category has no event."""


def estimator_class(name: str) -> type:
    """The class behind a name of :data:`MODEL_TITLES`."""
    if name == COX:
        from HNTumorSegLib.survival.cox import CoxPH as Found
    elif name == LASSO:
        from HNTumorSegLib.survival.penalised_cox import LassoCox as Found
    elif name == FOREST:
        from HNTumorSegLib.survival.forest import RandomSurvivalForest as Found
    elif name == DEEPSURV:
        from HNTumorSegLib.survival.deepsurv import DeepSurv as Found
    else:
        raise ValueError(f"'{name}' is no model; there are {', '.join(MODEL_TITLES)}")
    return Found


def make_estimator(name: str, seed: int) -> Any:
    """An unfitted estimator with the settings of the pipeline."""
    if name == COX:
        return estimator_class(name)(l2=SMALL_RIDGE)
    return estimator_class(name)(seed=seed)
