"""How far the figures of a cohort would vary with other patients of the same kind: bootstrap over the patients.

Efron and Tibshirani, An Introduction to the Bootstrap, 1993: percentile intervals. Patients are drawn, not lesions or
voxels, because those of one patient are not independent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.evaluation.cohort import CohortEvaluation

LEVEL = 0.95
N_RESAMPLES = 1000
FEWEST_PATIENTS = 20
"""With fewer, percentile intervals are too narrow to be shown."""


def patient_intervals(
    evaluation: CohortEvaluation,
    figures_of: Callable[[CohortEvaluation], dict[str, float]],
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """The 95 % percentile interval of each figure, by its name.

    Args:
        evaluation: of patients, not of organs.
        figures_of: the figures of a cohort; called with cohorts of as many patients, drawn with replacement. One that
            is undefined in a draw is left out of its dictionary.
        n_resamples: draws.
        seed: of the draws.

    Raises:
        InputError: there are fewer than :data:`FEWEST_PATIENTS` patients.
    """
    n = len(evaluation.cases)
    if n < FEWEST_PATIENTS:
        raise InputError(f"Intervals over patients need at least {FEWEST_PATIENTS} of them; there are {n}.")
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {}
    for _ in range(n_resamples):
        cases = tuple(evaluation.cases[i] for i in rng.integers(n, size=n))
        for name, value in figures_of(replace(evaluation, cases=cases)).items():
            drawn.setdefault(name, []).append(value)
    tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    return {name: tuple(float(q) for q in np.quantile(values, tails)) for name, values in drawn.items()}
