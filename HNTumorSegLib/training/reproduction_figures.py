"""Figures of predictions on the model's grid, through the evaluation room."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.evaluation.case import (
    EvaluationCase,
    EvaluationSettings,
    StructureCase,
    evaluate_case,
    evaluate_structure,
)
from HNTumorSegLib.evaluation.cohort import CohortEvaluation
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.lesions.codes import NODE, PRIMARY
from HNTumorSegLib.recipes.recipe import Recipe
from HNTumorSegLib.training.validation import decide

Figures = dict[str, float | None]


class Cohort:
    """Patients measured one after another; no image is kept."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.settings = EvaluationSettings(minimum_lesion_ml=recipe.minimum_lesion_ml)
        self._cases: list = []
        self._structures: list = []

    def add_tumours(self, name: str, foreground: np.ndarray, truth: np.ndarray) -> None:
        """One patient: probabilities (K - 1, Z, Y, X) and true class numbers (Z, Y, X).

        A recipe of one tumour class has it measured as the primary tumour.
        """
        case = EvaluationCase(name, self._image(truth), self._image(decide(foreground)))
        self._cases.append(evaluate_case(case, self.settings))

    def add_organs(self, name: str, foreground: np.ndarray, truth: np.ndarray, within: dict[str, str]) -> None:
        """One patient's organs; ``within`` names the organ that another one is a part of."""
        predicted = decide(foreground)
        for organ in self.recipe.classes[1:]:
            parts = [self.recipe.classes.index(n) for n in self.recipe.classes if n == organ or within.get(n) == organ]
            true = np.isin(truth, parts)
            if true.any():  # an organ outside the scan cannot be scored
                images = (self._image(true.astype(np.uint8)), self._image(np.isin(predicted, parts).astype(np.uint8)))
                self._structures.append(evaluate_structure(StructureCase(name, organ, *images), self.settings))

    def evaluation(self) -> CohortEvaluation:
        """All patients."""
        return CohortEvaluation("", self.settings, tuple(self._cases), tuple(self._structures))

    def tumour(self) -> Figures:
        """Of recipes of one class: mean DSC of the patients, pooled DSC, mean HD95."""
        found = self.evaluation()
        dsc = found.dsc(PRIMARY)
        return {
            "dsc": dsc.individual.mean,
            "dsc_cohort": dsc.cohort,
            "hd95_mm": found.surface(PRIMARY).hd95_mm.mean,
        }

    def primary_and_node(self) -> Figures:
        """Mean DSC and NSD of the patients, as in SegRap."""
        found = self.evaluation()
        figures: Figures = {}
        for name, target in (("primary", PRIMARY), ("node", NODE)):
            figures[f"dsc_{name}"] = found.dsc(target).individual.mean
            figures[f"nsd_{name}"] = found.surface(target).nsd.mean
        return figures

    def pooled(self) -> Figures:
        """Cohort DSC and share of tumour voxels given the right kind, as Nikulin et al. 2023."""
        found = self.evaluation()
        return {
            "dsc_primary": found.dsc(PRIMARY).cohort,
            "dsc_node": found.dsc(NODE).cohort,
            "dsc_union": found.dsc("union").cohort,
            "accuracy": found.classification().accuracy,
        }

    def _image(self, labels: np.ndarray) -> sitk.Image:
        spacing = (self.recipe.spacing_mm,) * 3
        identity = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
        return image_from_array(labels, Geometry(labels.shape[::-1], spacing, (0.0, 0.0, 0.0), identity))


def mean_figures(all_figures: Iterable[Figures]) -> Figures:
    """Mean of each figure; None where one of them is not defined."""
    rows = list(all_figures)
    return {
        name: None if any(row[name] is None for row in rows) else float(np.mean([row[name] for row in rows]))
        for name in rows[0]
    }
