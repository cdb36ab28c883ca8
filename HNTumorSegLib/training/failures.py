"""What went wrong in one patient, error by error, in words and with the place to look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.evaluation.case import EvaluationSettings
from HNTumorSegLib.evaluation.detection import COVERAGE, without_small_structures
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.lesions.codes import LABEL_NODE, LABEL_PRIMARY
from HNTumorSegLib.lesions.from_labels import NEIGHBOURHOOD
from HNTumorSegLib.phantom.varied_patient import VariedPatient

MISSED, FALSE, SWAPPED, BOUNDARY = "missed", "false", "kind swapped", "boundary"
WORDS = {LABEL_PRIMARY: "primary tumour", LABEL_NODE: "node"}
UNTOUCHED = 0.1
"""A structure of which the other side has less than this share is missed or false; with more, its boundary is wrong."""

NEAR_MM = 25.0
"""An organ further away than this does not tell where a lesion lies."""


@dataclass(frozen=True)
class Failure:
    """One error.

    Attributes:
        what: ``missed``, ``false``, ``kind swapped`` or ``boundary``.
        wrong_ml: volume that is wrong: what the cases are ordered by.
        center_mm: LPS, a voxel of it.
        sentence: for people.
    """

    what: str
    wrong_ml: float
    center_mm: tuple[float, float, float]
    sentence: str


def find_failures(
    truth: sitk.Image, predicted: sitk.Image, pet: sitk.Image, settings: EvaluationSettings | None = None
) -> list[Failure]:
    """The errors of one patient, the largest first.

    Args:
        truth, predicted: labels 0, 1, 2 on the PET's grid.
        pet: SUVbw.
        settings: smallest structure that counts, as in the figures.
    """
    geometry = Geometry.from_image(truth)
    for image in (predicted, pet):
        Geometry.from_image(image).require_same(geometry, "Truth, delineation and PET")
    smallest = (settings or EvaluationSettings()).minimum_lesion_ml / geometry.voxel_volume_ml
    true, found = (
        without_small_structures(sitk.GetArrayFromImage(image), (LABEL_PRIMARY, LABEL_NODE), smallest)[0]
        for image in (truth, predicted)
    )
    suv = sitk.GetArrayViewFromImage(pet)
    failures = []
    for label in (LABEL_PRIMARY, LABEL_NODE):
        failures += _of_true(true == label, found, label, suv, geometry)
        failures += _of_found(found == label, true, label, suv, geometry)
    return sorted(failures, key=lambda failure: -failure.wrong_ml)


def _of_true(mask: np.ndarray, found: np.ndarray, label: int, suv: np.ndarray, geometry: Geometry) -> list[Failure]:
    """Each true structure: missed, of the wrong kind, or with a wrong boundary."""
    failures = []
    other = LABEL_PRIMARY + LABEL_NODE - label
    for here, box in _structures(mask):
        answer = found[box]
        share, swapped = ((answer[here] == label).mean(), (answer[here] == other).mean())
        facts = _facts(here, box, suv, geometry)
        if share + swapped < UNTOUCHED:
            failures.append(_failure(MISSED, here, box, geometry, f"Missed {WORDS[label]} of {facts}"))
        elif swapped >= COVERAGE:
            words = f"{WORDS[label].capitalize()} of {facts}, taken for a {WORDS[other]}"
            failures.append(_failure(SWAPPED, here & (answer == other), box, geometry, words))
        elif share + swapped < 1:
            words = f"{WORDS[label].capitalize()} of {facts}, only {100 * (share + swapped):.0f} % of it delineated"
            failures.append(_failure(BOUNDARY, here & (answer == 0), box, geometry, words))
    return failures


def _of_found(mask: np.ndarray, true: np.ndarray, label: int, suv: np.ndarray, geometry: Geometry) -> list[Failure]:
    """Each delineated structure: false, or beyond the true boundary."""
    failures = []
    for here, box in _structures(mask):
        outside = here & (true[box] == 0)
        share = np.count_nonzero(outside) / np.count_nonzero(here)
        facts = _facts(here, box, suv, geometry)
        if share > 1 - UNTOUCHED:
            failures.append(_failure(FALSE, here, box, geometry, f"False {WORDS[label]} of {facts}"))
        elif outside.any():
            words = f"Delineated {WORDS[label]} of {facts}, {100 * share:.0f} % of it beyond the true boundary"
            failures.append(_failure(BOUNDARY, outside, box, geometry, words))
    return failures


def _structures(mask: np.ndarray) -> list[tuple[np.ndarray, tuple[slice, ...]]]:
    """Each connected structure as a mask of its box, and the box."""
    pieces, _ = ndimage.label(mask, NEIGHBOURHOOD)
    return [(pieces[box] == number, box) for number, box in enumerate(ndimage.find_objects(pieces), 1)]


def _facts(here: np.ndarray, box: tuple[slice, ...], suv: np.ndarray, geometry: Geometry) -> str:
    volume_ml = np.count_nonzero(here) * geometry.voxel_volume_ml
    return f"{volume_ml:.1f} ml, SUVmax {suv[box][here].max():.1f}"


def _failure(what: str, wrong: np.ndarray, box: tuple[slice, ...], geometry: Geometry, sentence: str) -> Failure:
    zyx = np.argwhere(wrong)
    nearest = zyx[np.argmin(np.linalg.norm(zyx - zyx.mean(axis=0), axis=1))] + [s.start for s in box]
    center = geometry.to_lps(nearest[::-1])
    return Failure(what, len(zyx) * geometry.voxel_volume_ml, tuple(float(x) for x in center), sentence)


def in_words(failure: Failure, patient: object) -> str:
    """The sentence, with the organ beside it where the patient's anatomy has labels."""
    beside = organ_near(patient, failure.center_mm) if isinstance(patient, VariedPatient) else ""
    return failure.sentence + (f", {beside}." if beside else ".")


def organ_near(patient: VariedPatient, center_mm: tuple[float, float, float]) -> str:
    """``in the left parotid`` or ``8 mm from the mandible``; empty when no labelled organ is within 25 mm."""
    from HNTumorSegLib.phantom.atlas import CODES
    from HNTumorSegLib.phantom.organs import organ_labels

    size, spacing = 27, 2.0
    origin = tuple(x - spacing * (size - 1) / 2 for x in center_mm)
    grid = Geometry((size,) * 3, (spacing,) * 3, origin, tuple(np.eye(3).ravel().tolist()))
    labels = sitk.GetArrayFromImage(organ_labels(patient, grid, CODES))
    middle = np.ones(grid.shape_zyx, bool)
    middle[(size // 2,) * 3] = False
    distance = ndimage.distance_transform_edt(middle) * spacing
    distance[labels == 0] = np.inf
    at = np.unravel_index(np.argmin(distance), distance.shape)
    if distance[at] > NEAR_MM:
        return ""
    name = {code: organ for organ, code in CODES.items()}[int(labels[at])]
    words = name.replace("-Lt", "").replace("-Rt", "").replace("-", " ").lower()
    words += " gland" if words in ("parotid", "submandibular", "lacrimal") else ""
    side = " left" if name.endswith("-Lt") else " right" if name.endswith("-Rt") else ""
    return f"in the{side} {words}" if distance[at] == 0 else f"{distance[at]:.0f} mm from the{side} {words}"
