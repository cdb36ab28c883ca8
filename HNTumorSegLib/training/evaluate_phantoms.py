"""How well a model does on phantom patients it never saw, through the whole chain that a user runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from HNTumorSegLib.evaluation.overlap import Overlap, overlap
from HNTumorSegLib.exchange.labels import label_image
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.lesions.from_labels import lesions_from_delineation
from HNTumorSegLib.phantom import make_patient
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent

EVALUATION_SEED = 1_000_000
"""Phantom patients from this seed on are never trained on."""


@dataclass(frozen=True)
class PhantomResult:
    """One patient: overlap with the truth, with the CT and from the PET alone."""

    seed: int
    with_ct: Overlap
    pet_only: Overlap


def evaluate_phantoms(
    delineator: Delineator, seeds: list[int], progress: ProgressCallback = silent
) -> list[PhantomResult]:
    """Delineate the phantom patients of ``seeds``, apply the smallest-lesion rule, compare with the truth.

    Each is delineated twice: with its CT, and without, as for a user who has none.
    """
    results = []
    for done, seed in enumerate(seeds, 1):
        patient = make_patient(seed)
        compared = []
        for study in (patient.study, replace(patient.study, ct=None, ct_info=None)):
            lesions = lesions_from_delineation(delineator.delineate(study))
            compared.append(overlap(label_image(lesions), patient.truth))
        results.append(PhantomResult(seed, *compared))
        so_far = sum((r.with_ct for r in results), Overlap())
        text = f"{done} of {len(seeds)} patients, union {so_far.union.dsc or 0:.3f}, node {so_far.node.dsc or 0:.3f}"
        progress(ProgressEvent("evaluate", done / len(seeds), text))
    return results


def cohort_figures(overlaps: list[Overlap]) -> dict[str, float]:
    """Cohort DSC (volumes pooled over patients, Nikulin et al. 2023) and total volumes, names with units."""
    pooled = sum(overlaps, Overlap())
    figures = {
        "patients": float(len(overlaps)),
        "dsc_union": pooled.union.dsc,
        "dsc_primary": pooled.primary.dsc,
        "dsc_node": pooled.node.dsc,
        "ttb_true_ml": pooled.union.true_ml,
        "ttb_ml": pooled.union.predicted_ml,
    }
    return {name: round(float(value), 4) for name, value in figures.items() if value is not None}
