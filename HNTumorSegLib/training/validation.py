"""Measuring a network on cases it was not trained on, on the model's grid, in tiles as in use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch

from HNTumorSegLib.evaluation.overlap import OverlapCounts
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


def predict_case(case: Case, networks: list[torch.nn.Module], recipe: Recipe, device: str) -> np.ndarray:
    """Most probable class (Z, Y, X) of each voxel, from tiles of the recipe's patch."""
    foreground = foreground_probabilities(
        case.inputs.astype(np.float32),
        networks,
        recipe.patch_zyx,
        recipe.overlap,
        choose_device(device),
        classes=len(recipe.classes),
    )
    background = 1.0 - foreground.sum(axis=0, keepdims=True)
    return np.concatenate([background, foreground]).argmax(axis=0).astype(np.uint8)


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
        """Case name and overlap of each case."""
        found = []
        with torch.no_grad():
            for case in self.cases():
                truth = network_classes(self.recipe, case.labels)
                predicted = predict_case(case, [network], self.recipe, self.device)
                found.append((case.name, overlaps(predicted, truth, self.recipe)))
                self.progress(ProgressEvent("validate", 0.0, f"{case.name}"))
        return found

    def __call__(self, network: torch.nn.Module) -> dict[str, float]:
        """Pooled figures of all cases."""
        figures = None
        if ranks().first:
            figures = sum((o for _, o in self.measure(network)), ClassOverlaps()).figures()
        return from_first(figures)
