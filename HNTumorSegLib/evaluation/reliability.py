"""Does a probability mean what it says? Predicted probability of voxels against how often they are tumour.

Reliability diagram and expected calibration error as in Guo et al., ICML 2017 (equal bins): the mean over bins,
weighted with their voxels, of the difference between mean probability and observed frequency. Only voxels that could
be tumour are counted (SUV of 1 and more, or any probability to speak of): air and cold tissue would make any network
look calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from HNTumorSegLib.evaluation.case import TARGETS, UNION
from HNTumorSegLib.lesions.codes import LABEL_NODE, LABEL_PRIMARY, NODE, PRIMARY

FINE_BINS = 200
"""Kept bins; a diagram joins them, a change of temperature is worked out on them."""

SHOWN_BINS = 10
COUNTED_SUV = 1.0
COUNTED_PROBABILITY = 0.01


@dataclass(frozen=True)
class Reliability:
    """Counts in equal bins of probability, 0 to 1; adding pools patients.

    Attributes:
        voxels, tumour: number of voxels in each bin and how many of them are truly tumour, (bins,).
        probability: sum of their probabilities, (bins,).
    """

    voxels: np.ndarray = field(default_factory=lambda: np.zeros(FINE_BINS))
    tumour: np.ndarray = field(default_factory=lambda: np.zeros(FINE_BINS))
    probability: np.ndarray = field(default_factory=lambda: np.zeros(FINE_BINS))

    @classmethod
    def of(cls, probability: np.ndarray, truth: np.ndarray) -> Reliability:
        """Of single voxels: probabilities (0 to 1) and whether they are tumour, of the same shape."""
        p = np.clip(np.asarray(probability, float).ravel(), 0, 1)
        bins = np.minimum((p * FINE_BINS).astype(int), FINE_BINS - 1)
        weights = (None, np.asarray(truth, float).ravel(), p)
        return cls(*(np.bincount(bins, w, FINE_BINS).astype(float) for w in weights))

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(self.voxels + other.voxels, self.tumour + other.tumour, self.probability + other.probability)

    def joined(self, bins: int = SHOWN_BINS) -> Reliability:
        """In fewer bins; their number divides that of the fine ones."""
        return Reliability(*(x.reshape(bins, -1).sum(axis=1) for x in (self.voxels, self.tumour, self.probability)))

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean probability and observed frequency of each bin, NaN where it is empty."""
        with np.errstate(invalid="ignore"):
            return self.probability / self.voxels, self.tumour / self.voxels

    def calibration_error(self, first_bin: int = 0) -> float | None:
        """Expected calibration error over the shown bins from ``first_bin`` on, 0 to 1; None without voxels.

        Nearly all voxels are background that the network is sure of; from bin 1 on (probability 0.1) they are left out,
        and the figure says what a user sees who looks at what was marked.
        """
        joined = self.joined()
        total = joined.voxels[first_bin:].sum()
        return float(np.abs(joined.probability - joined.tumour)[first_bin:].sum() / total) if total else None

    def at_temperature(self, temperature: float) -> Reliability:
        """As if every log-odds had been divided by ``temperature``; worked out on the bins' means."""
        mean = np.where(self.voxels > 0, self.probability / np.maximum(self.voxels, 1), 0.5).clip(1e-6, 1 - 1e-6)
        moved = 1 / (1 + np.exp(-np.log(mean / (1 - mean)) / temperature))
        bins = np.minimum((moved * FINE_BINS).astype(int), FINE_BINS - 1)
        weights = (self.voxels, self.tumour, moved * self.voxels)
        return Reliability(*(np.bincount(bins, w, FINE_BINS) for w in weights))

    def best_temperature(self) -> float:
        """The temperature (0.3 to 3) of the highest likelihood, Guo et al. 2017."""
        from scipy.optimize import minimize_scalar

        def loss(log_temperature: float) -> float:
            mean = np.where(self.voxels > 0, self.probability / np.maximum(self.voxels, 1), 0.5).clip(1e-6, 1 - 1e-6)
            p = 1 / (1 + np.exp(-np.log(mean / (1 - mean)) / np.exp(log_temperature)))
            return -float((self.tumour * np.log(p) + (self.voxels - self.tumour) * np.log(1 - p)).sum())

        return float(np.exp(minimize_scalar(loss, bounds=np.log((0.3, 3.0)), method="bounded").x))

    def to_json(self) -> dict[str, list[float]]:
        """For a file; :meth:`from_json` reads it."""
        return {name: getattr(self, name).tolist() for name in ("voxels", "tumour", "probability")}

    @classmethod
    def from_json(cls, data: dict[str, list[float]]) -> Reliability:
        """What :meth:`to_json` gave."""
        return replace(cls(), **{name: np.asarray(values, float) for name, values in data.items()})


def patient_reliability(
    primary: np.ndarray, node: np.ndarray, suv: np.ndarray, truth: np.ndarray
) -> dict[str, Reliability]:
    """Of one patient, by target (primary, node, union).

    Args:
        primary, node: zyx, probability of each class.
        suv: zyx, g/ml.
        truth: zyx, 0, 1 (primary tumour) or 2 (node).
    """
    union = np.clip(primary + node, 0, 1)
    counted = (suv >= COUNTED_SUV) | (union >= COUNTED_PROBABILITY) | (truth > 0)
    pairs = {PRIMARY: (primary, truth == LABEL_PRIMARY), NODE: (node, truth == LABEL_NODE), UNION: (union, truth > 0)}
    return {name: Reliability.of(pairs[name][0][counted], pairs[name][1][counted]) for name in TARGETS}
