"""What the model is not sure of is left out, and named with its place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from inference_cases import CARD, FLIPPED, IDENTITY, OBLIQUE, geometry_about, make_study

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.geometry import image_from_array
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.inference.unsure import sentence, take_unsure_out

SURE = (slice(3, 7), slice(4, 8), slice(5, 9))
UNSURE = (slice(12, 14), slice(4, 7), slice(16, 20))
MIXED = (slice(12, 16), slice(14, 16), slice(2, 6))


@pytest.fixture(params=[IDENTITY, FLIPPED, OBLIQUE], ids=["plain", "flip", "oblique"])
def images(request):
    """Three boxes: sure, unsure, and one of both kinds whose halves are sure together only (mean 0.82)."""
    geometry = geometry_about((24, 20, 18), (2.0, 2.5, 4.0), request.param)
    labels, primary, node = (np.zeros(geometry.shape_zyx, t) for t in (np.uint8, np.float32, np.float32))
    labels[SURE], primary[SURE] = 1, 0.9
    labels[UNSURE], node[UNSURE], primary[UNSURE] = 2, 0.5, 0.1
    labels[MIXED], node[MIXED], primary[MIXED] = 2, 0.42, 0.4
    labels[12:14, 14:16, 2:6] = 1
    return geometry, [image_from_array(a, geometry) for a in (labels, primary, node)]


def test_only_the_unsure_structure_goes(images):
    _, (labels, primary, node) = images
    before = sitk.GetArrayFromImage(labels)
    kept, found = take_unsure_out(labels, primary, node, 0.8)
    after = sitk.GetArrayFromImage(kept)
    assert not after[UNSURE].any()
    after[UNSURE] = 2
    np.testing.assert_array_equal(after, before)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), before)
    assert (kept.GetOrigin(), kept.GetDirection()) == (labels.GetOrigin(), labels.GetDirection())
    (unsure,) = found
    assert unsure.volume_ml == pytest.approx(2 * 3 * 4 * 0.02)
    assert unsure.share == pytest.approx(0.6)
    middle_ijk = (17.5, 5.0, 12.5)
    expected_mm = labels.TransformContinuousIndexToPhysicalPoint(middle_ijk)
    assert unsure.center_mm == pytest.approx(expected_mm)
    text = sentence(found, 0.8)
    assert text.startswith("1 structure that the model was not sure of (mean probability of tumour below 0.8) was left")
    assert "0.48 ml at L {:.0f}, P {:.0f}, S {:.0f} mm (0.60)".format(*expected_mm) in text


def test_the_largest_are_named_and_the_rest_counted(images):
    _, (labels, primary, node) = images
    _, found = take_unsure_out(labels, primary, node, 0.95)
    assert [round(u.volume_ml, 2) for u in found] == [1.28, 0.64, 0.48]
    assert "and 4 smaller" in sentence(found * 3, 0.95)


def test_what_is_too_small_for_a_lesion_is_left_to_the_rule_of_volumes(images):
    _, (labels, primary, node) = images
    assert take_unsure_out(labels, primary, node, 0.8, 0.49) == (labels, [])
    assert len(take_unsure_out(labels, primary, node, 0.8, 0.47)[1]) == 1


def test_nothing_to_leave_out(images):
    _, (labels, primary, node) = images
    assert take_unsure_out(labels, primary, node, 0.0) == (labels, [])
    assert take_unsure_out(labels, primary, node, 0.55) == (labels, [])
    empty = sitk.Image(labels) * 0
    assert take_unsure_out(empty, primary, node, 0.8) == (empty, [])
    assert sentence([], 0.8) == ""


class HalfHearted(torch.nn.Module):
    """Primary tumour with probability 0.7 where the uptake is high, background elsewhere."""

    def forward(self, x):
        hot = x[:, :1] > 0.5
        logit = torch.where(hot, float(np.log(0.7 / 0.3)), -20.0)
        return torch.cat([torch.zeros_like(logit), logit, torch.full_like(logit, -20.0)], dim=1)


def test_a_delineation_says_what_it_left_out():
    def delineation(minimum_certainty):
        card = replace(CARD, recipe=replace(CARD.recipe, minimum_certainty=minimum_certainty))
        return Delineator.from_networks(card, [HalfHearted()], "cpu").delineate(make_study())

    everything, sure = delineation(0.0), delineation(0.8)
    assert sitk.GetArrayViewFromImage(everything.labels).any()
    assert not any("not sure" in warning for warning in everything.warnings)
    assert not sitk.GetArrayViewFromImage(sure.labels).any()
    assert any("not sure of (mean probability of tumour below 0.8) was left out" in w for w in sure.warnings)
    assert sitk.GetArrayViewFromImage(sure.primary_probability).max() == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("wrong", [-0.1, 1.0, float("nan")])
def test_a_certainty_that_is_no_share(wrong):
    with pytest.raises(ModelError, match="minimum_certainty"):
        replace(CARD.recipe, minimum_certainty=wrong)
