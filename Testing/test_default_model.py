"""The model that ships: that it is the one its card describes, and that it finds what is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from HNTumorSegLib.evaluation.overlap import overlap
from HNTumorSegLib.exchange.labels import label_image
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.lesions.from_labels import lesions_from_delineation
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.models.card_markdown import card_markdown
from HNTumorSegLib.models.registry import DEFAULT_MODEL, resolve_model
from HNTumorSegLib.phantom import make_patient
from HNTumorSegLib.training.phantom_cases import EVALUATION_SEED

RESOURCES = Path(__file__).resolve().parents[1] / "Resources"
PATIENT = EVALUATION_SEED + 500  # neither trained on nor among the patients of the card's figures


@pytest.fixture(scope="module")
def delineator():
    return Delineator(device="cpu")


@pytest.fixture(scope="module")
def patient():
    return make_patient(PATIENT, economy=True)


def test_the_card_page_is_the_card():
    card = ModelCard.load(resolve_model(DEFAULT_MODEL))
    assert (RESOURCES / "ModelCards" / "default.md").read_text(encoding="utf-8") == card_markdown(card)
    assert "Not for clinical use" in card.intended_use
    assert "synthetic" in card.limitations
    assert card.performance
    assert sum(f.stat().st_size for f in resolve_model(DEFAULT_MODEL).iterdir()) < 25e6


def test_the_card_reports_what_was_measured():
    for figures in ModelCard.load(resolve_model(DEFAULT_MODEL)).performance.values():
        assert figures["patients"] >= 20
        assert 0 < figures["dsc_node"] < figures["dsc_union"] < 1
        assert figures["ttb_true_ml"] > 100


def test_the_promised_cohort_dsc_is_reached():
    """Cohort DSC of the union of at least 0.80 on 20 phantom patients never trained on."""
    figures = ModelCard.load(resolve_model(DEFAULT_MODEL)).performance["phantom, PET and CT"]
    assert figures["dsc_union"] >= 0.80


@pytest.mark.parametrize("with_ct", [True, False])
def test_a_patient_it_never_saw(delineator, patient, with_ct):
    study = patient.study if with_ct else replace(patient.study, ct=None, ct_info=None)
    found = overlap(label_image(lesions_from_delineation(delineator.delineate(study))), patient.truth)
    assert found.union.true_ml > 1
    assert found.union.dsc > 0.6


def test_a_patient_without_tumour_has_next_to_nothing(delineator):
    healthy = make_patient(PATIENT, economy=True, with_tumours=False)
    lesions = lesions_from_delineation(delineator.delineate(healthy.study))
    assert sum(lesions.volumes_ml().values()) < 5
