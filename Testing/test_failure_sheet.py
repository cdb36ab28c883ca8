"""The worst patients on one picture: nothing is cut off or lies on something else, and no patient is missing."""

from __future__ import annotations

import numpy as np
import pytest

from HNTumorSegLib.geometry import image_from_array
from HNTumorSegLib.phantom import make_patient
from HNTumorSegLib.training.failure_sheet import FailureSheet

LONG = "Primary tumour of 12.3 ml, SUVmax 14.2, only 43 % of it delineated, 12 mm from the left submandibular gland. "


@pytest.fixture(scope="module")
def patient():
    return make_patient(1_000_021, economy=True)


def boxes(figure, items):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    return [item.get_window_extent(renderer) for item in items]


@pytest.mark.parametrize("n_patients", [1, 6])
def test_every_patient_has_a_place_of_its_own(patient, n_patients):
    sheet = FailureSheet(n_patients, "default 1.0: held_out phantoms, PET and CT: the worst")
    none = image_from_array(np.zeros(patient.study.pet_geometry.shape_zyx, np.uint8), patient.study.pet_geometry)
    for number in range(n_patients):
        sheet.add(patient.study, patient.truth, none, (0, 0, 0), f"{number}. Patient", [LONG * 3, "More.", "More."])
    slices = boxes(sheet.figure, sheet.figure.axes)
    words = boxes(sheet.figure, sheet.figure.texts)
    assert len(slices) == n_patients
    everything = slices + words
    assert not any(a.overlaps(b) for i, a in enumerate(everything) for b in everything[:i])
    for box in everything:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= sheet.figure.bbox.x1
        assert box.y1 <= sheet.figure.bbox.y1
    said = [text.get_text() for text in sheet.figure.texts]
    assert said.count("And 2 more.") == n_patients


def test_what_is_right_needs_no_sentence(patient):
    sheet = FailureSheet(1, "title")
    sheet.add(patient.study, patient.truth, patient.truth, (0, 0, 0), "1. Patient", [])
    assert "Nothing is wrong." in [text.get_text() for text in sheet.figure.texts]
