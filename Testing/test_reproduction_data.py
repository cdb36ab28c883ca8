"""Data that a reproduction draws for itself: contrast-enhanced CT and organ labels of phantom patients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tiny_training import TINY, blob_case

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.inference.crf import CrfWeights, refine_lesions
from HNTumorSegLib.phantom import make_patient
from HNTumorSegLib.phantom.contrast import contrast_ct
from HNTumorSegLib.phantom.organs import organ_labels, other_side
from HNTumorSegLib.recipes import get_recipe
from HNTumorSegLib.recipes.nikolov2018 import ORGANS
from HNTumorSegLib.training.plan import network_classes
from HNTumorSegLib.training.validation import predict_case, predict_foreground

NUMBERS = {organ: number for number, organ in enumerate(ORGANS, 1)}


@pytest.fixture(scope="module")
def patient():
    return make_patient(3, economy=True)


def test_contrast_brightens_vessels_and_tumours_and_leaves_air_and_bone(patient):
    plain = patient.study.ct
    enhanced = contrast_ct(patient, 3)
    grid = Geometry.from_image(plain)
    grid.require_same(Geometry.from_image(enhanced), "Both CT")
    before = sitk.GetArrayFromImage(plain).astype(float)
    rise = sitk.GetArrayFromImage(enhanced) - before
    noise = patient.scanner.ct_noise_hu
    assert abs(np.median(rise[before < -950])) < 2
    assert abs(np.median(rise[before > 600])) < 4
    # A ball at each carotid's course, in the frame of the phantom: -30 mm, beside the middle (anatomy.py).
    at = patient._ct_pose.to_lps(np.array([[25, 4, -30], [-25, 4, -30]]))
    for x, y, z in grid.to_ijk(at).round().astype(int):
        assert rise[z - 1 : z + 2, y - 3 : y + 4, x - 3 : x + 4].max() > 60 + noise
    truth = sitk.GetArrayFromImage(patient.truth_on(grid)) > 0
    assert 8 < rise[truth].mean() < 60
    assert (sitk.GetArrayFromImage(contrast_ct(patient, 3)) == sitk.GetArrayFromImage(enhanced)).all()


def test_contrast_and_organs_refuse_the_wrong_family(patient):
    with pytest.raises(InputError, match="varied families only"):
        organ_labels(patient, Geometry.from_image(patient.study.pet), NUMBERS)
    varied = make_patient(1, economy=True, family="varied")
    with pytest.raises(InputError, match="family 'first' only"):
        contrast_ct(varied, 1)


@pytest.mark.parametrize("mirrored", [False, True])
def test_organs_lie_on_their_side_and_on_what_the_ct_shows(mirrored):
    varied = next(
        patient
        for patient in (make_patient(seed, economy=True, family="varied") for seed in range(12))
        if (np.linalg.det(patient._placement.matrix) < 0) == mirrored
    )
    grid = Geometry.from_image(varied.study.ct)
    labels = organ_labels(varied, grid, NUMBERS)
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(labels)
    # In LPS, x grows to the patient's left.
    for organ in ("Parotid", "Submandibular", "Lung"):
        left, right = (shapes.GetCentroid(NUMBERS[f"{organ}-{side}"])[0] for side in ("Lt", "Rt"))
        assert left > right + 20
    array, ct = sitk.GetArrayFromImage(labels), sitk.GetArrayFromImage(varied.study.ct)
    assert np.median(ct[array == NUMBERS["Lung-Lt"]]) < -600
    assert np.median(ct[array == NUMBERS["Mandible"]]) > 250
    assert 0 < np.median(ct[array == NUMBERS["Brain"]]) < 60


def test_sides_are_swapped_by_name():
    assert [other_side(name) for name in ("Parotid-Lt", "Orbit-Rt", "Brain")] == ["Parotid-Rt", "Orbit-Lt", "Brain"]


def test_the_quick_organ_recipe_reads_the_publications_numbers():
    recipe = get_recipe("nikolov2018_quick")
    labels = np.array([NUMBERS["Brain"], NUMBERS["Lens-Rt"], NUMBERS["Cochlea-Lt"], NUMBERS["Spinal-Cord"], 0])
    names = [recipe.classes[c] for c in network_classes(recipe, labels)]
    assert names == ["Brain", "Orbit-Rt", "background", "Spinal-Cord", "background"]


class Shifted(torch.nn.Module):
    """Answers with the PET moved to the right, so that a mirrored image gets another answer."""

    def forward(self, x):
        moved = x[:, :1].roll(3, -1)
        return torch.cat([torch.zeros_like(moved), 6 * moved - 2, 3 * moved - 2], 1)


def test_predictions_use_the_flips_and_the_crf_of_the_recipe():
    recipe = replace(TINY, patch_zyx=(24, 32, 32))  # the case is one tile
    network, case = Shifted(), blob_case(0)
    with torch.inference_mode():
        x = torch.from_numpy(case.inputs.astype(np.float32))[None]
        plain = network(x).softmax(1)[0, 1:]
        mirrored = network(x.flip(-1)).softmax(1)[0, 1:].flip(-1)
    expected = ((plain + mirrored) / 2).numpy()
    found = predict_foreground(case, [network], replace(recipe, flip_axes="x"), "cpu")
    assert float((mirrored - plain).abs().max()) > 0.3
    assert found == pytest.approx(expected, abs=0.02)  # the processor may run in bf16
    weights = {"smoothness": 0.1, "appearance": 0.1}
    refined = predict_foreground(case, [network], replace(recipe, crf=weights), "cpu")
    inputs = case.inputs.astype(np.float32)
    without = predict_foreground(case, [network], recipe, "cpu")
    assert refined == pytest.approx(refine_lesions(without, inputs, recipe, CrfWeights(**weights)), abs=1e-6)
    assert np.abs(refined - without).max() > 0.05
    decided = predict_case(case, [network], replace(recipe, crf=weights), "cpu")
    assert (decided == np.concatenate([1 - refined.sum(0, keepdims=True), refined]).argmax(0)).all()
