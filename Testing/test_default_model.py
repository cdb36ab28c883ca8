"""The model that ships: that it is the one its card describes, and that it finds what is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from HNTumorSegLib.evaluation.overlap import overlap
from HNTumorSegLib.exchange.labels import label_image
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.lesions.from_labels import lesions_from_delineation
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.models.card_markdown import card_markdown, page_pictures
from HNTumorSegLib.models.loading import load_networks
from HNTumorSegLib.models.registry import DEFAULT_MODEL, FAST_MODEL, resolve_model
from HNTumorSegLib.phantom import make_patient
from HNTumorSegLib.training.phantom_cases import EVALUATION_SEED

RESOURCES = Path(__file__).resolve().parents[1] / "Resources"
BUNDLED = (DEFAULT_MODEL, FAST_MODEL)
PATIENT = EVALUATION_SEED + 500  # neither trained on nor among the patients of the card's figures


@pytest.fixture(scope="module", params=BUNDLED)
def delineator(request):
    return Delineator(request.param, "cpu")


@pytest.fixture(scope="module")
def patient():
    return make_patient(PATIENT, economy=True)


@pytest.fixture(scope="module", params=BUNDLED)
def card(request):
    return ModelCard.load(resolve_model(request.param))


def test_the_card_page_is_the_card(card):
    page = RESOURCES / "ModelCards" / f"{card.name}.md"
    pictures = page_pictures(card.name)
    assert page.read_text(encoding="utf-8") == card_markdown(card, pictures)
    assert [Path(file).suffix for file in pictures] == [".png", ".jpg"]
    for file, start in zip(pictures, (b"\x89PNG", b"\xff\xd8\xff"), strict=True):
        assert (page.parent / file).read_bytes().startswith(start)
    assert "Not for clinical use" in card.intended_use
    assert "synthetic" in card.limitations


def test_a_version_has_one_line_of_changes_and_the_present_one_is_first(card):
    versions = [line.split(":")[0] for line in card.changelog]
    assert versions[0] == card.version
    assert len(set(versions)) == len(versions)


def test_what_ships_is_small():
    assert sum(f.stat().st_size for name in BUNDLED for f in resolve_model(name).iterdir()) < 25e6


def test_fast_is_the_mean_of_the_ensemble():
    (fast,) = (network.state_dict() for network in load_networks(resolve_model(FAST_MODEL)))
    members = [network.state_dict() for network in load_networks(resolve_model(DEFAULT_MODEL))]
    assert len(members) == 5
    assert ModelCard.load(resolve_model(FAST_MODEL)).mean_of == DEFAULT_MODEL
    for name in ("fold.0.weight", "body.encoder.1.second.weight"):
        mean = sum(state[name] for state in members) / len(members)
        torch.testing.assert_close(fast[name], mean)


def test_the_licence_of_the_anatomies_is_named(card):
    assert "CC BY 4.0" in card.training_data


@pytest.mark.parametrize("family", ["first", "held_out"])
@pytest.mark.parametrize("reading", ["PET and CT", "PET only"])
def test_the_card_reports_what_was_measured(card, family, reading):
    figures = card.performance[f"{family} phantoms, {reading}"]
    assert figures["patients"] >= 20
    assert 0 < figures["dsc_node"] < figures["dsc_union"] < 1
    assert figures["ttb_true_ml"] > 100
    assert 0 < figures["ece_union"] < 0.5


def test_the_promised_cohort_dsc_is_reached(card):
    """Cohort DSC of the union of at least 0.80 on 20 phantom patients never trained on."""
    assert card.performance["first phantoms, PET and CT"]["dsc_union"] >= 0.80


def test_nothing_is_found_in_a_real_healthy_head_and_neck(card):
    assert card.performance["real scans without head-and-neck tumour"]["healthy_lesions"] == 0


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
