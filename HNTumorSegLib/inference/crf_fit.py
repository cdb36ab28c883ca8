"""Fitting the CRF's weights on validation cases, and leaving it out where it does not help."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.inference.crf import CrfWeights, refined_boxes
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
class CaseScores:
    """Mean DSC of one case over its classes: without the CRF (NaN: nothing to score), and with each weight tried."""

    without: float
    refined: tuple[float, ...]


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
    scores = []
    for number, case in enumerate(cases, 1):
        scores.append(score_case(case, recipe, grid, device))
        progress(ProgressEvent("crf", number / len(cases), f"{number} of {len(cases)} cases"))
    return fit_scores(scores, grid)


def score_case(case: CrfCase, recipe: Recipe, grid: Sequence[CrfWeights] = GRID, device: str = "cpu") -> CaseScores:
    """One case under all weights of ``grid``, which is what takes time; several fits may share it."""
    classes = np.arange(1, len(case.foreground) + 1)[:, None]
    before, truth = _decided(case.foreground), np.asarray(case.labels)
    true = (truth.ravel() == classes).sum(axis=1)
    found, common = _found(before.ravel(), truth.ravel(), classes)
    without = _mean_dsc(found, common, true)
    if np.isnan(without):
        return CaseScores(without, ())
    found, common = (np.repeat(count[None], len(grid), axis=0) for count in (found, common))
    for members in _tried_together(grid):
        for box, own, answers in refined_boxes(case.foreground, case.array, recipe, [grid[m] for m in members], device):
            there = truth[box][own]
            former = _found(before[box][own], there, classes)
            for member, answer in zip(members, answers, strict=True):
                now = _found(_decided(answer)[own], there, classes)
                found[member] += now[0] - former[0]
                common[member] += now[1] - former[1]
    return CaseScores(without, tuple(_mean_dsc(f, c, true) for f, c in zip(found, common, strict=True)))


def fit_scores(scores: Sequence[CaseScores], grid: Sequence[CrfWeights] = GRID) -> CrfFit:
    """The choice among the weights of ``grid`` by the scores of the validation cases; raises as :func:`fit_crf`."""
    if len(scores) < 2:
        raise InputError(
            f"The CRF's weights need at least 2 validation cases to be fitted on; there are {len(scores)}."
        )
    kept = [case for case in scores if not np.isnan(case.without)]
    if not kept:
        raise InputError("None of the validation cases has or shows a lesion, so the CRF's weights cannot be fitted.")
    if len(kept) < 2:
        raise InputError("Only one of the validation cases has a lesion; the CRF's weights need at least 2.")
    without = np.array([case.without for case in kept])
    refined = np.array([case.refined for case in kept]).T
    # A lesion that only the network saw may be gone after the CRF, and nothing is left to score: that is no loss.
    refined = np.where(np.isnan(refined), 1.0, refined)
    gains = refined - without
    others = (gains.sum(axis=1, keepdims=True) - gains) / (len(kept) - 1)
    held_out = gains[others.argmax(axis=0), np.arange(len(kept))]
    best = int(refined.mean(axis=1).argmax())
    return CrfFit(
        best=grid[best],
        dsc_without=float(without.mean()),
        dsc_best=float(refined[best].mean()),
        gain=float(held_out.mean()),
        gain_se=float(held_out.std(ddof=1) / np.sqrt(len(kept))),
        cases=len(kept),
    )


def mean_dsc(foreground: np.ndarray, labels: np.ndarray) -> float:
    """Mean DSC over the foreground classes that the truth or the decision has; NaN when neither has any."""
    classes = np.arange(1, len(foreground) + 1)[:, None]
    truth = np.asarray(labels).ravel()
    return _mean_dsc(*_found(_decided(foreground).ravel(), truth, classes), (truth == classes).sum(axis=1))


def _tried_together(grid: Sequence[CrfWeights]) -> list[list[int]]:
    """Numbers of the weights that share what is costly: the same widths, and with or without the appearance kernel."""
    groups: dict[tuple[CrfWeights, bool], list[int]] = {}
    for number, weights in enumerate(grid):
        groups.setdefault((weights.widths, weights.appearance > 0), []).append(number)
    return list(groups.values())


def _decided(foreground: np.ndarray) -> np.ndarray:
    return np.concatenate([1 - foreground.sum(axis=0, keepdims=True), foreground]).argmax(axis=0)


def _found(decided: np.ndarray, truth: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of each class that were decided, and those of them that are right; ``classes`` is (K - 1, 1)."""
    mine = decided == classes
    return mine.sum(axis=1), (mine & (truth == classes)).sum(axis=1)


def _mean_dsc(found: np.ndarray, common: np.ndarray, true: np.ndarray) -> float:
    there = found + true > 0
    return float(np.mean(2 * common[there] / (found + true)[there])) if there.any() else float("nan")
