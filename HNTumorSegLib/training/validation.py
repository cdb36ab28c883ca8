"""Measuring a network on cases it was not trained on, on the model's grid, in tiles as in use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from HNTumorSegLib.evaluation.overlap import OverlapCounts
from HNTumorSegLib.inference.crf import CrfWeights, refine_lesions
from HNTumorSegLib.inference.device import choose_device
from HNTumorSegLib.inference.tiling import foreground_probabilities
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.recipes.recipe import Recipe
from HNTumorSegLib.training.case import Case
from HNTumorSegLib.training.distributed import from_first, ranks
from HNTumorSegLib.training.plan import network_classes


@dataclass
class ClassOverlaps:
    """Overlap with the truth by class name (foreground only); adding pools patients."""

    counts: dict[str, OverlapCounts] = field(default_factory=dict)
    patients: int = 0

    def __add__(self, other: ClassOverlaps) -> ClassOverlaps:
        names = {**self.counts, **other.counts}
        empty = OverlapCounts()
        return ClassOverlaps(
            {n: self.counts.get(n, empty) + other.counts.get(n, empty) for n in names}, self.patients + other.patients
        )

    def figures(self) -> dict[str, float]:
        """Cohort DSC of each class, and ``score``, their mean; classes neither there nor found are left out."""
        dsc = {f"dsc_{name.replace(' ', '_')}": counts.dsc for name, counts in self.counts.items()}
        known = {name: float(value) for name, value in dsc.items() if value is not None}
        of_classes = [value for name, value in known.items() if name != UNION]
        return {"score": float(np.mean(of_classes)) if of_classes else 0.0, **known}


UNION = "dsc_union"


def overlaps(predicted: np.ndarray, truth: np.ndarray, recipe: Recipe) -> ClassOverlaps:
    """One patient: class numbers (Z, Y, X) predicted and true, on the model's grid; ``union`` is any foreground."""
    voxel_ml = recipe.spacing_mm**3 / 1000.0

    def count(a: np.ndarray, b: np.ndarray) -> OverlapCounts:
        numbers = (np.count_nonzero(a & b), np.count_nonzero(a), np.count_nonzero(b))
        return OverlapCounts(*(int(n) * voxel_ml for n in numbers))

    counts = {name: count(predicted == c, truth == c) for c, name in enumerate(recipe.classes) if c}
    if len(recipe.classes) > 2:
        counts["union"] = count(predicted > 0, truth > 0)
    return ClassOverlaps(counts, 1)


def predict_foreground(case: Case, networks: list[torch.nn.Module], recipe: Recipe, device: str) -> np.ndarray:
    """Class probabilities (K - 1, Z, Y, X) without the background's, as in use: tiles, flips and CRF of the recipe."""
    compute = choose_device(device)
    array = case.inputs.astype(np.float32)
    foreground = foreground_probabilities(
        array,
        networks,
        recipe.patch_zyx,
        recipe.overlap,
        compute,
        flip_axes=recipe.flip_axes,
        classes=len(recipe.classes),
    )
    weights = CrfWeights.of(recipe)
    return foreground if weights is None else refine_lesions(foreground, array, recipe, weights, compute.name)


def decide(foreground: np.ndarray) -> np.ndarray:
    """Most probable class (Z, Y, X) of each voxel; ``foreground`` is (K - 1, Z, Y, X)."""
    background = 1.0 - foreground.sum(axis=0, keepdims=True)
    return np.concatenate([background, foreground]).argmax(axis=0).astype(np.uint8)


def predict_case(case: Case, networks: list[torch.nn.Module], recipe: Recipe, device: str) -> np.ndarray:
    """Most probable class (Z, Y, X) of each voxel: :func:`decide` of :func:`predict_foreground`."""
    return decide(predict_foreground(case, networks, recipe, device))


@dataclass(frozen=True)
class Validator:
    """Measures a network on the same cases again and again: ``validate`` of :class:`TrainingRun`.

    ``cases`` gives them anew each time. With several processes the first one measures and tells the others.
    """

    recipe: Recipe
    cases: Callable[[], Iterable[Case]]
    device: str
    progress: ProgressCallback = silent

    def measure(self, network: torch.nn.Module) -> list[tuple[str | int, ClassOverlaps]]:
        """Case name and overlap of each case, as in use: with the recipe's flips and CRF."""
        return self._measured(network, self.recipe)

    def _measured(self, network: torch.nn.Module, recipe: Recipe) -> list[tuple[str | int, ClassOverlaps]]:
        found = []
        with torch.no_grad():
            for case in self.cases():
                truth = network_classes(recipe, case.labels)
                predicted = predict_case(case, [network], recipe, self.device)
                found.append((case.name, overlaps(predicted, truth, recipe)))
                self.progress(ProgressEvent("validate", 0.0, f"{case.name}"))
        return found

    def __call__(self, network: torch.nn.Module) -> dict[str, float]:
        """Pooled figures of all cases, to choose weights by: without flips, which take up to eight times as long."""
        figures = None
        if ranks().first:
            plain = replace(self.recipe, flip_axes="", crf={})
            figures = sum((o for _, o in self._measured(network, plain)), ClassOverlaps()).figures()
        return from_first(figures)
