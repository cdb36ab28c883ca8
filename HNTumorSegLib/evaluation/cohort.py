"""Many patients: figures pooled over the cohort and spread over its patients.

Cases are taken one by one and only their numbers are kept, so memory does not grow with images. A case that cannot be
compared becomes a :class:`Problem` and the rest goes on; whoever asks decides what problems mean.

Policy for empty delineations: a patient in whom both delineations of a target are empty has no DSC and no part in mean,
median and quartiles (counted in ``n_undefined``); one in whom exactly one is empty has DSC 0 and counts as failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from HNTumorSegLib.errors import InputError, LesionError
from HNTumorSegLib.evaluation.burden import BurdenAgreement, burden_agreement
from HNTumorSegLib.evaluation.case import (
    UNION,
    CaseEvaluation,
    EvaluationCase,
    EvaluationSettings,
    StructureCase,
    StructureEvaluation,
    TargetEvaluation,
    evaluate_case,
    evaluate_structure,
)
from HNTumorSegLib.evaluation.classification import VoxelClassification
from HNTumorSegLib.evaluation.detection import Detection
from HNTumorSegLib.evaluation.overlap import OverlapCounts
from HNTumorSegLib.lesions.codes import NODE, PRIMARY
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent

STAGE = "comparing"
SAME_VOXEL_SHARE = 1e-3


@dataclass(frozen=True)
class Problem:
    """A case (or one structure of it) that could not be compared, and why."""

    case: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.case}: {self.sentence}"


@dataclass(frozen=True)
class Distribution:
    """Mean, median and quartiles (linear interpolation, R's type 7) of the defined values; None without any."""

    n: int
    mean: float | None = None
    median: float | None = None
    q25: float | None = None
    q75: float | None = None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Distribution:
        """Of the values that are not None."""
        defined = [value for value in values if value is not None]
        if not defined:
            return cls(0)
        q25, median, q75 = (float(q) for q in np.quantile(defined, [0.25, 0.5, 0.75]))
        return cls(len(defined), float(np.mean(defined)), median, q25, q75)


@dataclass(frozen=True)
class DscSummary:
    """One row of Nikulin's Table 1: DSC of the pooled volumes, individual DSC, failures (DSC = 0), undefined."""

    cohort: float | None
    individual: Distribution
    n_failed: int
    n_undefined: int


@dataclass(frozen=True)
class SurfaceSummary:
    """Surface figures of one target or organ over the cohort; ``n_without_distance``: exactly one mask empty."""

    tolerances_mm: tuple[float, ...]
    surface_dsc: Distribution
    nsd: Distribution
    hd_mm: Distribution
    hd95_mm: Distribution
    asd_mm: Distribution
    n_without_distance: int


def dsc_summary(items: Sequence[TargetEvaluation | StructureEvaluation]) -> DscSummary:
    """Table 1's figures of one target or organ in several patients."""
    individual = [item.dsc for item in items]
    return DscSummary(
        cohort=sum((item.overlap for item in items), OverlapCounts()).dsc,
        individual=Distribution.of(individual),
        n_failed=sum(dsc == 0 for dsc in individual if dsc is not None),
        n_undefined=sum(dsc is None for dsc in individual),
    )


def surface_summary(items: Sequence[TargetEvaluation | StructureEvaluation]) -> SurfaceSummary:
    """Surface figures of one target or organ in several patients."""
    figures = [item.surface for item in items]
    return SurfaceSummary(
        tuple(sorted({f.tolerance_mm for f in figures})),
        *(Distribution.of(getattr(f, name) for f in figures) for name in ("surface_dsc", "nsd", "hd_mm", "hd95_mm")),
        Distribution.of(f.asd_mm for f in figures),
        n_without_distance=sum(f.hd_mm is None and f.surface_dsc is not None for f in figures),
    )


@dataclass(frozen=True)
class CohortEvaluation:
    """All patients of a cohort in numbers, and what could not be compared.

    ``cases`` are tumour label maps; ``structures`` organs. A cohort holds the one or the other.
    """

    title: str = ""
    settings: EvaluationSettings = field(default_factory=EvaluationSettings)
    cases: tuple[CaseEvaluation, ...] = ()
    structures: tuple[StructureEvaluation, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    def dsc(self, target: str) -> DscSummary:
        """Row of Table 1 for ``primary``, ``node`` or ``union``."""
        return dsc_summary([case.target(target) for case in self.cases])

    def aggregated_dsc(self) -> float | None:
        """DSCagg of the HECKTOR challenge: the mean of the pooled DSC of primary tumours and of nodes.

        None unless both are defined. The pooled DSC of each class is Nikulin's cohort DSC.
        """
        both = [self.dsc(target).cohort for target in (PRIMARY, NODE)]
        return None if None in both else sum(both) / 2

    def surface(self, target: str) -> SurfaceSummary:
        """Surface figures of ``primary``, ``node`` or ``union``."""
        return surface_summary([case.target(target) for case in self.cases])

    def classification(self) -> VoxelClassification:
        """Voxel counts over all patients (Table 2)."""
        return sum((case.classification for case in self.cases), VoxelClassification())

    def n_without_classification_errors(self) -> int:
        """Patients without a voxel of the wrong class."""
        return sum(case.classification.n_errors == 0 for case in self.cases)

    def detection(self, target: str) -> Detection:
        """Lesion counts over all patients (Table 3)."""
        return sum((case.target(target).detection for case in self.cases), Detection())

    def burden(self) -> BurdenAgreement:
        """Agreement of the total tumour burden."""
        return burden_agreement([c.ttb_predicted_ml for c in self.cases], [c.ttb_true_ml for c in self.cases])

    def worst_cases(self, n: int = 10) -> list[CaseEvaluation]:
        """Patients with the lowest DSC of the union; undefined ones have none and are not among them."""
        defined = [case for case in self.cases if case.union.dsc is not None]
        return sorted(defined, key=lambda c: (c.union.dsc, -abs(c.ttb_predicted_ml - c.ttb_true_ml), c.name))[:n]

    def worst_structures(self, n: int = 10) -> list[StructureEvaluation]:
        """Organs of single patients with the lowest surface DSC."""
        defined = [item for item in self.structures if item.surface.surface_dsc is not None]
        return sorted(defined, key=lambda s: (s.surface.surface_dsc, s.name, s.structure))[:n]

    def structure_names(self) -> list[str]:
        """The organs, in alphabetical order."""
        return sorted({item.structure for item in self.structures})

    def of_structure(self, structure: str) -> list[StructureEvaluation]:
        """All patients' results of one organ."""
        return [item for item in self.structures if item.structure == structure]


def evaluate_cases(
    cases: Iterable[EvaluationCase | Problem],
    *,
    settings: EvaluationSettings | None = None,
    title: str = "",
    total: int | None = None,
    progress: ProgressCallback = silent,
) -> CohortEvaluation:
    """Compare the patients' delineations with their references, one after another.

    Args:
        cases: label images in memory or from a generator that reads them; a :class:`Problem` in it is passed on.
        settings: smallest lesion and tolerances.
        title: name of the data set, for tables and page.
        total: how many cases will come, for the progress.
        progress: called after every case.

    Returns:
        The cohort; look at ``problems``: a case with labels other than 0, 1, 2, with two grids or with the name of one
        before is there, not in ``cases``.
    """
    settings = settings or EvaluationSettings()
    results, problems = _collect(cases, evaluate_case, settings, total, progress)
    notes = [note for result in results for note in result.notes]
    same = [r.union.dsc == 1 and r.classification.n_errors == 0 for r in results]
    notes += (
        _identical_notes(sum(same), len(results))
        + _voxel_notes(results)
        + _unused_notes(settings, (PRIMARY, NODE, UNION))
    )
    return CohortEvaluation(title, settings, tuple(results), (), tuple(problems), tuple(notes))


def evaluate_structures(
    cases: Iterable[StructureCase | Problem],
    *,
    settings: EvaluationSettings | None = None,
    title: str = "",
    total: int | None = None,
    progress: ProgressCallback = silent,
) -> CohortEvaluation:
    """Like :func:`evaluate_cases` for organs: one pair of masks a patient and organ."""
    settings = settings or EvaluationSettings()
    results, problems = _collect(cases, evaluate_structure, settings, total, progress)
    notes = _identical_notes(sum(item.dsc == 1 for item in results), len(results))
    notes += _unused_notes(settings, {item.structure for item in results})
    return CohortEvaluation(title, settings, (), tuple(results), tuple(problems), tuple(notes))


def with_problems(evaluation: CohortEvaluation, problems: Iterable[Problem]) -> CohortEvaluation:
    """The same with further problems before its own."""
    return replace(evaluation, problems=(*problems, *evaluation.problems))


def _collect(cases, evaluate, settings: EvaluationSettings, total: int | None, progress: ProgressCallback):  # noqa: ANN001
    """Results and problems of a stream of cases."""
    results, problems, seen, done = [], [], set(), 0
    for case in cases:
        done += 1  # noqa: SIM113 (enumerate would hold on to the images of one case while the next is read)
        if isinstance(case, Problem):
            problems.append(case)
            label = case.case
        else:
            key = (case.name, getattr(case, "structure", ""))
            label = " ".join(part for part in key if part)
            if key in seen:
                problems.append(Problem(label, "another case has the same name; only the first is counted."))
            else:
                seen.add(key)
                try:
                    results.append(evaluate(case, settings))
                except (InputError, LesionError) as error:
                    problems.append(Problem(label, str(error)))
        del case
        progress(ProgressEvent(STAGE, min(1.0, done / total) if total else 0.0, label))
    progress(ProgressEvent(STAGE, 1.0))
    return results, problems


def _identical_notes(n_same: int, n: int) -> list[str]:
    """Two people, or a person and a network, hardly ever draw the same: copies would flatter every figure."""
    if not n_same:
        return []
    return [
        f"In {n_same} of {n} comparisons both sides are the same, voxel for voxel. Make sure that neither is a copy of "
        "the other; copies raise every figure of agreement."
    ]


def _voxel_notes(results: Sequence[CaseEvaluation]) -> list[str]:
    """Table 2 counts voxels, which only weigh alike where they are alike."""
    volumes = [case.voxel_ml for case in results]
    if not volumes or max(volumes) - min(volumes) <= SAME_VOXEL_SHARE * max(volumes):
        return []
    return [
        f"The patients' voxels differ in size ({min(volumes) * 1000:.3g} to {max(volumes) * 1000:.3g} cubic mm). The "
        "voxel classification counts voxels, so patients with small voxels weigh more; cohort DSC pools volumes."
    ]


def _unused_notes(settings: EvaluationSettings, structures: Iterable[str]) -> list[str]:
    return [
        f"The tolerance given for '{name}' fits no structure here and was not used."
        for name in settings.tolerances.unused(structures)
    ]
