"""All that comes before an estimator, learnt from the training patients alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from HNTumorSegLib.survival.encoding import Encoder
from HNTumorSegLib.survival.imputation import ROUNDS, ChainedImputer
from HNTumorSegLib.survival.selection import SPEARMAN_LIMIT, lasso_keep, spearman_keep


@dataclass(frozen=True)
class Steps:
    """The switches of the pipeline (Bourigault et al. 2021).

    Attributes:
        imputation_rounds: of the chained equations.
        spearman: columns that correlate by more are filtered; None for no filter.
        lasso: whether penalised Cox selects columns.
        lasso_folds: of its cross-validation.
        seed: of all that is random.
    """

    imputation_rounds: int = ROUNDS
    spearman: float | None = SPEARMAN_LIMIT
    lasso: bool = True
    lasso_folds: int = 5
    seed: int = 0


class Preparation:
    """Dummy coding, imputation, standardisation, filter and selection, in that order.

    Attributes:
        steps: the switches.
        encoder, imputer: fitted.
        mean, scale: (encoded columns,) of the imputed training data.
        filtered: positions that the filter left; kept: positions that the selection left, a part of those.
    """

    def __init__(self, steps: Steps | None = None) -> None:
        self.steps = steps or Steps()

    def fit(self, frame: pd.DataFrame, y: NDArray) -> Preparation:
        """Learn from covariates (a row a patient) and outcomes of the training patients."""
        self.encoder = Encoder.learn(frame)
        encoded = self.encoder.transform(frame)
        self.imputer = ChainedImputer(self.steps.imputation_rounds, self.steps.seed).fit(encoded)
        complete = self.imputer.transform(encoded)
        self.mean, scale = complete.mean(0), complete.std(0)
        self.scale = np.where(scale > 1e-12, scale, 1.0)
        z = (complete - self.mean) / self.scale
        varied = np.flatnonzero(scale > 1e-12)
        limit = self.steps.spearman
        self.filtered = varied if limit is None else varied[spearman_keep(complete[:, varied], limit)]
        self.kept = self.filtered
        if self.steps.lasso and len(self.filtered) > 1:
            chosen = lasso_keep(z[:, self.filtered], y, self.steps.lasso_folds, self.steps.seed)
            if len(chosen):
                self.kept = self.filtered[chosen]
        return self

    def transform(self, frame: pd.DataFrame) -> NDArray:
        """(patients, kept columns), standardised, without missing values."""
        complete = self.imputer.transform(self.encoder.transform(frame))
        return ((complete - self.mean) / self.scale)[:, self.kept]

    @property
    def names(self) -> list[str]:
        """Names of the kept columns."""
        return [self.encoder.names[k] for k in self.kept]

    @property
    def sources(self) -> list[str]:
        """The covariate behind each kept column."""
        return [self.encoder.source[k] for k in self.kept]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "steps": asdict(self.steps),
            "encoder": self.encoder.to_dict(),
            "imputer": self.imputer.to_dict(),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "filtered": self.filtered.tolist(),
            "kept": self.kept.tolist(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Preparation:
        """Back from :meth:`to_dict`."""
        preparation = cls(Steps(**data["steps"]))
        preparation.encoder = Encoder.from_dict(data["encoder"])
        preparation.imputer = ChainedImputer.from_dict(data["imputer"])
        preparation.mean, preparation.scale = np.array(data["mean"], float), np.array(data["scale"], float)
        preparation.filtered, preparation.kept = np.array(data["filtered"], int), np.array(data["kept"], int)
        return preparation
