"""DeepSurv (Katzman et al. 2018): a small network for the log hazard, trained on the partial likelihood."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from torch import nn

from HNTumorSegLib.survival.baseline import Baseline
from HNTumorSegLib.survival.folds import event_folds
from HNTumorSegLib.survival.partial_likelihood import EFRON, RiskSets


def negative_log_likelihood(score: torch.Tensor, sets: RiskSets) -> torch.Tensor:
    """The loss: the negative log partial likelihood of scores (patients,), per event; differentiable."""
    return -sets.log_likelihood(score) / sets.event.sum()


class DeepSurv(BaseEstimator):
    """One hidden stack of fully connected units with dropout, and one linear output.

    Bourigault et al. (2021) write "32 hidden layers which are fully-connected"; read as one hidden layer of 32
    units, which their cohort of 224 can bear. Full-batch Adam with weight decay (their regularisation term). Training
    stops when a fifth of the patients, kept aside with its share of events, gets no better; then all patients train
    for that long.

    Args:
        hidden: units of each hidden layer.
        dropout: share of units left out in training.
        learning_rate, weight_decay: of Adam.
        max_epochs, patience: the longest training, and epochs without gain after which it stops.
        seed: of initial weights, dropout and the part kept aside.

    Attributes:
        epochs_: how long it trained.
        mean_, scale_: (p,) of the training data; inputs are standardised inside.
        offset_: score of the training patients on average, taken off.
    """

    def __init__(
        self,
        hidden: tuple[int, ...] = (32,),
        dropout: float = 0.3,
        learning_rate: float = 0.01,
        weight_decay: float = 0.01,
        max_epochs: int = 200,
        patience: int = 25,
        seed: int = 0,
    ) -> None:
        self.hidden = hidden
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.max_epochs = max_epochs
        self.patience = patience
        self.seed = seed

    def fit(self, x: NDArray, y: NDArray) -> DeepSurv:
        """Fit (patients, p) without missing values."""
        x = np.asarray(x, float)
        self.mean_, scale = x.mean(0), x.std(0)
        self.scale_ = np.where(scale > 0, scale, 1.0)
        z = self._standardised(x)
        train, aside = event_folds(y, 5, self.seed)[0]
        with torch.random.fork_rng(devices=[]):
            self.epochs_ = self._train(z[train], y[train], self.max_epochs, (z[aside], y[aside]))
            self._train(z, y, self.epochs_, None)
        self.offset_ = 0.0
        self.offset_ = float(self.predict(x).mean())
        self.baseline_ = Baseline.estimate(self.predict(x), y)
        return self

    def _train(self, z: torch.Tensor, y: NDArray, epochs: int, aside: tuple[torch.Tensor, NDArray] | None) -> int:
        """Train anew; the number of epochs after which the patients kept aside were predicted best."""
        torch.manual_seed(self.seed)
        self.network_ = self._network(z.shape[1])
        optimizer = torch.optim.Adam(self.network_.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        sets = RiskSets(y, EFRON)
        judged = None if aside is None else RiskSets(aside[1], EFRON)
        best, best_epoch = float("inf"), 1
        for epoch in range(1, epochs + 1):
            self.network_.train()
            optimizer.zero_grad()
            negative_log_likelihood(self.network_(z)[:, 0], sets).backward()
            optimizer.step()
            if judged is not None:
                self.network_.eval()
                with torch.no_grad():
                    loss = float(negative_log_likelihood(self.network_(aside[0])[:, 0], judged))
                if loss < best:
                    best, best_epoch = loss, epoch
                if epoch - best_epoch >= self.patience:
                    break
        self.network_.eval()
        return best_epoch

    def _network(self, n_inputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for n_out in self.hidden:
            layers += [nn.Linear(n_inputs, n_out), nn.SELU(), nn.Dropout(self.dropout)]
            n_inputs = n_out
        return nn.Sequential(*layers, nn.Linear(n_inputs, 1)).double()

    def _standardised(self, x: NDArray) -> torch.Tensor:
        return torch.from_numpy((np.asarray(x, float) - self.mean_) / self.scale_)

    def predict(self, x: NDArray) -> NDArray:
        """Log hazard ratio of each patient to the training patients' mean score."""
        with torch.no_grad():
            return self.network_(self._standardised(x))[:, 0].numpy() - self.offset_

    def predict_survival(self, x: NDArray, times: ArrayLike) -> NDArray:
        """Probability to be free of the event: (patients, times)."""
        return self.baseline_.survival(self.predict(x), times)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; the weights as lists."""
        return {
            **self.get_params(),
            "hidden": list(self.hidden),
            "epochs_": self.epochs_,
            "offset_": self.offset_,
            "mean_": self.mean_.tolist(),
            "scale_": self.scale_.tolist(),
            "weights_": {name: value.tolist() for name, value in self.network_.state_dict().items()},
            "baseline_": self.baseline_.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> DeepSurv:
        """Back from :meth:`to_dict`."""
        parameters = {name: data[name] for name in cls().get_params()} | {"hidden": tuple(data["hidden"])}
        model = cls(**parameters)
        model.epochs_, model.offset_ = int(data["epochs_"]), float(data["offset_"])
        model.mean_, model.scale_ = np.array(data["mean_"], float), np.array(data["scale_"], float)
        with torch.random.fork_rng(devices=[]):
            model.network_ = model._network(len(model.mean_))
        state = {name: torch.tensor(value, dtype=torch.float64) for name, value in data["weights_"].items()}
        model.network_.load_state_dict(state)
        model.network_.eval()
        model.baseline_ = Baseline.from_dict(data["baseline_"])
        return model
