"""Cox's proportional hazards model, Breslow's or Efron's ties."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from HNTumorSegLib.errors import SurvivalError
from HNTumorSegLib.survival.baseline import Baseline
from HNTumorSegLib.survival.newton import fit_cox
from HNTumorSegLib.survival.partial_likelihood import EFRON


class CoxPH(BaseEstimator):
    """Cox regression by Newton's method.

    Args:
        ties: ``efron`` or ``breslow``.
        l2: ridge penalty per standard deviation; 0 for the plain model. A small one keeps a fit finite where a
            covariate separates the events.

    Attributes:
        coef_: (p,) log hazard ratios per unit.
        covariance_: (p, p) inverse of the observed information.
        log_likelihood_: log partial likelihood (less the penalty).
        mean_: (p,) of the training data; ``predict`` is relative to it.
        baseline_: of a patient at ``mean_``.
    """

    def __init__(self, ties: str = EFRON, l2: float = 0.0) -> None:
        self.ties = ties
        self.l2 = l2

    def fit(self, x: NDArray, y: NDArray) -> CoxPH:
        """Fit (patients, p) without missing values; raises :class:`SurvivalError` where there is no finite maximum."""
        x = np.asarray(x, float)
        found = fit_cox(x, y, self.ties, l2=self.l2)
        if not found.converged[0]:
            raise SurvivalError(
                "The Cox model has no finite solution: covariates repeat each other, or one separates patients with "
                "and without event. Leave covariates out or give a ridge penalty (l2)."
            )
        self.coef_, self.covariance_ = found.coef[0], found.covariance[0]
        self.log_likelihood_ = float(found.log_likelihood[0])
        self.mean_ = x.mean(0)
        self.baseline_ = Baseline.estimate(self.predict(x), y, self.ties)
        return self

    @property
    def standard_error_(self) -> NDArray:
        """(p,) standard errors of ``coef_``."""
        return np.sqrt(np.diag(self.covariance_))

    def predict(self, x: NDArray) -> NDArray:
        """Log hazard ratio of each patient to one at the training mean."""
        return (np.asarray(x, float) - self.mean_) @ self.coef_

    def predict_survival(self, x: NDArray, times: ArrayLike) -> NDArray:
        """Probability to be free of the event: (patients, times)."""
        return self.baseline_.survival(self.predict(x), times)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; no patient's data."""
        fields = {name: getattr(self, name).tolist() for name in ("coef_", "covariance_", "mean_")}
        return {**self.get_params(), **fields, "log_likelihood_": self.log_likelihood_} | {
            "baseline_": self.baseline_.to_dict()
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> CoxPH:
        """Back from :meth:`to_dict`."""
        model = cls(data["ties"], data["l2"])
        for name in ("coef_", "covariance_", "mean_"):
            setattr(model, name, np.array(data[name], float))
        model.log_likelihood_ = float(data["log_likelihood_"])
        model.baseline_ = Baseline.from_dict(data["baseline_"])
        return model
