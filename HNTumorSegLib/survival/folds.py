"""Splits of patients into training and test: by chance with the events spread evenly, or by centre."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold


@dataclass(frozen=True)
class Split:
    """One division of the patients; ``train`` and ``test`` are positions, ``test_name`` says whom it tests on."""

    test_name: str
    train: NDArray
    test: NDArray


def event_folds(y: NDArray, folds: int, seed: int) -> list[tuple[NDArray, NDArray]]:
    """(train, test) positions; every test part has its share of events. Fewer folds where events are fewer than two."""
    rarer = min(int(y["event"].sum()), int((~y["event"]).sum()) or len(y))
    folds = max(2, min(folds, rarer))
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    labels = y["event"] if np.any(~y["event"]) else np.zeros(len(y))
    return list(splitter.split(np.zeros(len(y)), labels))


def repeated_folds(y: NDArray, folds: int, repeats: int, seed: int) -> list[Split]:
    """``repeats`` times ``folds`` splits, each repeat with another seed."""
    return [
        Split(f"repeat {r + 1}, fold {k + 1}", train, test)
        for r in range(repeats)
        for k, (train, test) in enumerate(event_folds(y, folds, seed + r))
    ]


def leave_one_out(centre: NDArray) -> list[Split]:
    """One split a centre (or any other group), in alphabetical order."""
    return [
        Split(str(name), np.flatnonzero(centre != name), np.flatnonzero(centre == name)) for name in np.unique(centre)
    ]
