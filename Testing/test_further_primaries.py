"""Of several structures called primary one stays, and those of which the model is nearly certain; the user is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from inference_cases import CARD, FLIPPED, IDENTITY, OBLIQUE, RECIPE, geometry_about, make_study

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.inference.further_primaries import call_further_primaries_nodes, sentence

MAIN = (slice(3, 8), slice(4, 10), slice(5, 11))
DOUBTED = (slice(12, 15), slice(5, 9), slice(12, 16))  # share of primary 0.8
CERTAIN = (slice(4, 8), slice(14, 17), slice(17, 20))  # share 0.98
PART = (slice(3, 8), slice(11, 13), slice(5, 8))  # from the main one's last row to its first are 5 mm; share 0.6
NODE = (slice(14, 17), slice(14, 17), slice(2, 6))


@pytest.fixture(params=[IDENTITY, FLIPPED, OBLIQUE], ids=["plain", "flip", "oblique"])
def images(request):
    """A main primary, a part of it, a second one that is certain, one that is not, and a node."""
    geometry = geometry_about((24, 20, 18), (2.0, 2.5, 4.0), request.param)
    labels, primary, node = (np.zeros(geometry.shape_zyx, t) for t in (np.uint8, np.float32, np.float32))
    for box, share in ((MAIN, 0.9), (DOUBTED, 0.8), (CERTAIN, 0.98), (PART, 0.6), (NODE, 0.1)):
        labels[box], primary[box], node[box] = 1 + (share < 0.5), 0.9 * share, 0.9 * (1 - share)
    return geometry, [image_from_array(a, geometry) for a in (labels, primary, node)]


def test_only_what_lies_apart_and_is_doubted_becomes_a_node(images):
    _, (labels, primary, node) = images
    before = sitk.GetArrayFromImage(labels)
    changed, found = call_further_primaries_nodes(labels, primary, node, 0.95)
    expected = before.copy()
    expected[DOUBTED] = 2
    np.testing.assert_array_equal(sitk.GetArrayFromImage(changed), expected)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), before)
    assert (changed.GetOrigin(), changed.GetDirection()) == (labels.GetOrigin(), labels.GetDirection())
    (called,) = found
    assert called.volume_ml == pytest.approx(3 * 4 * 4 * 0.02)
    assert called.share == pytest.approx(0.8)
    middle_mm = labels.TransformContinuousIndexToPhysicalPoint((13.5, 6.5, 13.0))
    assert called.center_mm == pytest.approx(middle_mm)
    text = sentence(found)
    assert text.startswith("1 structure apart from the primary tumour")
    assert "is called a lymph-node metastasis" in text
    assert "0.96 ml at L {:.0f}, P {:.0f}, S {:.0f} mm (0.80)".format(*middle_mm) in text


def test_the_share_decides(images):
    _, (labels, primary, node) = images
    assert call_further_primaries_nodes(labels, primary, node, 0.79) == (labels, [])
    both, found = call_further_primaries_nodes(labels, primary, node, 0.99)
    assert [round(c.share, 2) for c in found] == [0.8, 0.98]
    array = sitk.GetArrayFromImage(both)
    assert (array[CERTAIN] == 2).all()
    assert (array[MAIN] == 1).all()
    assert (array[PART] == 1).all()
    assert sentence(found).startswith("2 structures apart from the primary tumour")
    assert "and 1 smaller" in sentence(found * 3)


def test_what_is_too_small_for_a_lesion_is_left_to_the_rule_of_volumes(images):
    _, (labels, primary, node) = images
    assert call_further_primaries_nodes(labels, primary, node, 0.95, 0.97) == (labels, [])
    assert len(call_further_primaries_nodes(labels, primary, node, 0.95, 0.95)[1]) == 1


def test_nothing_to_change(images):
    _, (labels, primary, node) = images
    assert call_further_primaries_nodes(labels, primary, node, 0.0) == (labels, [])
    empty = sitk.Image(labels) * 0
    assert call_further_primaries_nodes(empty, primary, node, 0.95) == (empty, [])
    one = sitk.GetArrayFromImage(labels)
    one[DOUBTED] = one[CERTAIN] = one[PART] = 0
    single = image_from_array(one, images[0])
    assert call_further_primaries_nodes(single, primary, node, 0.95) == (single, [])
    assert sentence([]) == ""


class LowerIsDoubted(torch.nn.Module):
    """Primary tumour where the uptake is high; in the lower half of the image its share is only 0.7."""

    def forward(self, x):
        hot = x[:, :1] > 0.5
        lower = torch.zeros_like(hot)
        lower[:, :, : x.shape[2] // 2] = True
        primary = torch.where(hot, torch.where(lower, float(np.log(0.7)), 0.0), -20.0)
        node = torch.where(hot & lower, float(np.log(0.3)), -20.0)
        return torch.cat([torch.where(hot, -20.0, 0.0), primary, node], dim=1)


def test_a_delineation_says_what_it_called_a_node():
    study = make_study()
    pet = np.full(sitk.GetArrayViewFromImage(study.pet).shape, 1.0, np.float32)
    pet[20:26, 16:22, 16:22] = pet[8:11, 16:20, 16:20] = 10.0
    study = replace(study, pet=image_from_array(pet, Geometry.from_image(study.pet)))

    def delineation(share):
        recipe = replace(RECIPE, further_primary_share=share, patch_zyx=(80, 80, 80))
        return Delineator.from_networks(replace(CARD, recipe=recipe), [LowerIsDoubted()], "cpu").delineate(study)

    both, one = delineation(0.0), delineation(0.95)
    expected = sitk.GetArrayFromImage(both.labels)
    assert expected[22, 18, 18] == expected[9, 17, 17] == expected.max() == 1
    assert not any("second primaries" in w for w in both.warnings)
    expected[:15] *= 2
    np.testing.assert_array_equal(sitk.GetArrayFromImage(one.labels), expected)
    assert any("1 structure apart from the primary tumour" in w for w in one.warnings)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none(wrong):
    with pytest.raises(ModelError, match="further_primary_share"):
        replace(RECIPE, further_primary_share=wrong)
