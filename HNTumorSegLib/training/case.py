"""One patient as a network sees it, wherever it came from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Case:
    """One patient on the model's grid.

    Attributes:
        name: what messages call it (the seed of a phantom).
        inputs: (C, Z, Y, X) 16-bit float, each channel's window mapped to 0..1.
        labels: (Z, Y, X) unsigned 8-bit class numbers, 0 being background.
    """

    name: str | int
    inputs: np.ndarray
    labels: np.ndarray
