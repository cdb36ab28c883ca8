"""Fitting the CRF's weights on validation cases, and leaving it out where it does not help."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.inference.crf import CrfWeights, refine_lesions
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.recipes.recipe import Recipe

GRID = tuple(
    CrfWeights(smoothness, appearance, suv=suv)
    for smoothness, appearance, suv in itertools.product((0.0, 0.01, 0.03, 0.1), (0.0, 0.01, 0.03, 0.1), (1.0, 3.0))
    if smoothness or appearance
    if appearance or suv == 1.0  # without the appearance kernel the width of the uptake does nothing
)
"""Weights that are tried: a neighbourhood of 124 voxels at a weight of 0.01 is worth about one unit of log odds."""


@dataclass(frozen=True)
class CrfCase:
    """One validation case on the model's grid.

    Attributes:
        foreground: the network's (K - 1, Z, Y, X); of a network that was not trained on this case.
        array: its input (C, Z, Y, X).
        labels: the truth (Z, Y, X), class numbers 0 to K - 1.
    """

    foreground: np.ndarray
    array: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class CrfFit:
    """What was found.

    Attributes:
        best: the weights with the highest mean DSC over all cases.
        dsc_without, dsc_best: mean DSC of the cases (mean over the classes of each) without the CRF and with ``best``.
        gain, gain_se: mean gain of a case under the weights that were best for the *other* cases, and its standard
            error. The gain of ``best`` itself is flattered by the choice among many.
        cases: how many.
    """

    best: CrfWeights
    dsc_without: float
    dsc_best: float
    gain: float
    gain_se: float
    cases: int

    @property
    def helps(self) -> bool:
        """Whether the gain on cases that were not used for the choice is above its standard error."""
        return self.gain > self.gain_se

    def applied_to(self, recipe: Recipe) -> Recipe:
        """The recipe with the fitted CRF, or without any where it does not help."""
        return replace(recipe, crf=asdict(self.best) if self.helps else {})


def fit_crf(
    cases: Sequence[CrfCase],
    recipe: Recipe,
    grid: Sequence[CrfWeights] = GRID,
    device: str = "cpu",
    progress: ProgressCallback = silent,
) -> CrfFit:
    """Try all weights of ``grid`` on all cases.

    Raises :class:`InputError` with fewer than two cases (nothing to check the choice on) or without any lesion.
    """
    if len(cases) < 2:
        raise InputError(f"The CRF's weights need at least 2 validation cases to be fitted on; there are {len(cases)}.")
    without = np.array([mean_dsc(case.foreground, case.labels) for case in cases])
    if np.isnan(without).all():
        raise InputError("None of the validation cases has or shows a lesion, so the CRF's weights cannot be fitted.")
    kept = [case for case, dsc in zip(cases, without, strict=True) if not np.isnan(dsc)]
    without = without[~np.isnan(without)]
    if len(kept) < 2:
        raise InputError("Only one of the validation cases has a lesion; the CRF's weights need at least 2.")
    scores = np.empty((len(grid), len(kept)))
    for number, weights in enumerate(grid):
        for index, case in enumerate(kept):
            scores[number, index] = mean_dsc(
                refine_lesions(case.foreground, case.array, recipe, weights, device), case.labels
            )
        progress(ProgressEvent("crf", (number + 1) / len(grid), f"{number + 1} of {len(grid)}"))
    # A lesion that only the network saw may be gone after the CRF, and nothing is left to score: that is no loss.
    scores = np.where(np.isnan(scores), 1.0, scores)
    gains = scores - without
    others = (gains.sum(axis=1, keepdims=True) - gains) / (len(kept) - 1)
    held_out = gains[others.argmax(axis=0), np.arange(len(kept))]
    best = int(scores.mean(axis=1).argmax())
    return CrfFit(
        best=grid[best],
        dsc_without=float(without.mean()),
        dsc_best=float(scores[best].mean()),
        gain=float(held_out.mean()),
        gain_se=float(held_out.std(ddof=1) / np.sqrt(len(kept))),
        cases=len(kept),
    )


def mean_dsc(foreground: np.ndarray, labels: np.ndarray) -> float:
    """Mean DSC over the foreground classes that the truth or the decision has; NaN when neither has any."""
    decided = np.concatenate([1 - foreground.sum(axis=0, keepdims=True), foreground]).argmax(axis=0)
    values = []
    for number in range(1, len(foreground) + 1):
        found, true = decided == number, labels == number
        total = np.count_nonzero(found) + np.count_nonzero(true)
        if total:
            values.append(2 * np.count_nonzero(found & true) / total)
    return float(np.mean(values)) if values else float("nan")
