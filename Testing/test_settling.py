"""Lesions have the volume they were drawn with and lie where lesions do: nodes beside bone and airway, not in them."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.phantom import make_patient
from HNTumorSegLib.phantom.family import FAMILIES, HELD_OUT
from HNTumorSegLib.phantom.varied_tumours import LARGEST_NODE_ML, VariedTumourDraw

SEEDS = range(8200, 8207)


def pixels(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


@pytest.fixture(scope="module")
def patients():
    """With lesions, and the same patients' densities without them; nothing is out of register."""
    return [
        (
            make_patient(seed, economy=True, family="nodal"),
            make_patient(seed, economy=True, family="nodal", with_tumours=False).study.ct,
        )
        for seed in SEEDS
    ]


def test_nodes_lie_in_soft_tissue(patients):
    """In the CT of the patient without lesions: hardly any of a node's place is bone or air."""
    hard, n_voxels = 0, 0
    for patient, ct in patients:
        geometry = Geometry.from_image(ct)
        place = pixels(patient.truth_on(geometry)) == 2
        density = pixels(ct)[place]
        # PET and CT lie up to 5 mm apart, noise and blur widen the rim: bounds are wider than what a node may have.
        hard += np.count_nonzero((density > 300) | (density < -500))
        n_voxels += density.size
    assert n_voxels > 1000
    assert hard / n_voxels < 0.06


def test_a_lesion_has_the_volume_it_was_drawn_with(patients):
    ratios = []
    for patient, _ in patients:
        truth = patient.truth_on(Geometry.from_image(patient.truth).axis_aligned(1.5))
        drawn = [t for t in patient.tumours if t.kind == "primary" and t.core is None]
        if drawn:
            volume_ml = np.count_nonzero(pixels(truth) == 1) * 1.5**3 / 1000
            ratios.append(volume_ml / drawn[0].volume_ml)
    assert len(ratios) >= 4
    assert np.median(ratios) == pytest.approx(1.0, abs=0.15)  # the airway takes some off


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_large_nodes_lie_where_there_is_room(family):
    nodes = [
        tumour
        for seed in range(300)
        for tumour in VariedTumourDraw(np.random.default_rng(seed), FAMILIES[family], 6.0, tonsil_suv=4.0).draw()
        if tumour.kind == "node"
    ]
    for level, most_ml in LARGEST_NODE_ML.items():
        volumes = [t.volume_ml for t in nodes if t.site == level]
        assert volumes
        assert max(volumes) <= most_ml
    assert max(t.volume_ml for t in nodes) > 20


def test_the_same_seed_has_the_same_lesions_in_any_field_of_view():
    """Where they come to lie follows from the body, not from the scan's grid: centres agree to a step of settling."""
    fields = [make_patient(8203, field, economy=True, family=HELD_OUT.name) for field in ("head_neck", "whole_body")]
    places = [np.array([t.shape.center for t in patient.tumours]) for patient in fields]
    assert places[0].shape == places[1].shape
    assert np.abs(places[0] - places[1]).max() < 9
