"""Touching parts of a lesion have one kind, unless the model is sure of two; the user is told."""

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
from HNTumorSegLib.inference.touching_kinds import SURER_WHERE_SMALLER, sentence, settle_touching_kinds

PRIMARY = (slice(3, 9), slice(4, 10), slice(4, 10))  # 216 voxels, share of primary 0.9
END = (slice(9, 11), slice(4, 10), slice(4, 7))  # 36 voxels called node, share of node 0.75
SURE_NODE = (slice(3, 7), slice(10, 14), slice(4, 10))  # 96 voxels, share of node 0.97
ALONE = (slice(3, 6), slice(4, 8), slice(14, 17))  # 36 voxels called node, share of node 0.55
VOXEL_ML = 2.0 * 2.5 * 4.0 / 1000


@pytest.fixture(params=[IDENTITY, FLIPPED, OBLIQUE], ids=["plain", "flip", "oblique"])
def images(request):
    """A primary with an end that is called node and a node against it, and a node by itself."""
    return _images(geometry_about((24, 20, 18), (2.0, 2.5, 4.0), request.param), 0.25)


def _images(geometry, share_of_end):
    labels, primary, node = (np.zeros(geometry.shape_zyx, t) for t in (np.uint8, np.float32, np.float32))
    for box, share in ((PRIMARY, 0.9), (END, share_of_end), (SURE_NODE, 0.03), (ALONE, 0.45)):
        labels[box], primary[box], node[box] = 1 + (share < 0.5), 0.8 * share, 0.8 * (1 - share)
    return [image_from_array(a, geometry) for a in (labels, primary, node)]


def test_the_unsure_end_gets_the_kind_of_its_lesion_and_the_sure_node_stays(images):
    labels, primary, node = images
    before = sitk.GetArrayFromImage(labels)
    changed, found = settle_touching_kinds(labels, primary, node, 0.7)
    expected = before.copy()
    expected[END] = 1
    np.testing.assert_array_equal(sitk.GetArrayFromImage(changed), expected)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), before)
    assert (changed.GetOrigin(), changed.GetDirection()) == (labels.GetOrigin(), labels.GetDirection())
    (part,) = found
    assert part.volume_ml == pytest.approx(36 * VOXEL_ML)
    assert part.share == pytest.approx(0.75)
    middle_mm = labels.TransformContinuousIndexToPhysicalPoint((5.0, 6.5, 9.5))
    assert part.center_mm == pytest.approx(middle_mm)
    text = sentence(found)
    assert text.startswith("1 part of a lesion looked like the other kind")
    assert "0.72 ml at L {:.0f}, P {:.0f}, S {:.0f} mm (0.75)".format(*middle_mm) in text
    assert sentence(found * 2).startswith("2 parts of a lesion")


def test_how_sure_a_part_has_to_be_follows_from_its_size():
    """The end is 36 of 348 voxels: 0.7 + 0.06 ln 9.667 = 0.836."""
    geometry = geometry_about((24, 20, 18), (2.0, 2.5, 4.0), IDENTITY)
    least = 0.7 + SURER_WHERE_SMALLER * np.log(348 / 36)
    assert least == pytest.approx(0.8361, abs=1e-4)
    for share_of_node, n_changed in ((least - 0.01, 1), (least + 0.01, 0)):
        assert len(settle_touching_kinds(*_images(geometry, 1 - share_of_node), 0.7)[1]) == n_changed


def test_a_primary_part_of_a_node_becomes_node():
    """The same with the kinds exchanged."""
    geometry = geometry_about((24, 20, 18), (2.0, 2.5, 4.0), IDENTITY)
    labels, primary, node = _images(geometry, 0.25)
    array = sitk.GetArrayFromImage(labels)
    exchanged = image_from_array(np.where(array > 0, 3 - array, 0).astype(np.uint8), geometry)
    changed, found = settle_touching_kinds(exchanged, node, primary, 0.7)
    assert (sitk.GetArrayFromImage(changed)[END] == 2).all()
    assert len(found) == 1


def test_the_least_sure_part_changes_first():
    """A thin shell of node about a core that is called primary: the core gives way, and the shell is then one node."""
    geometry = geometry_about((24, 20, 18), (2.0, 2.5, 4.0), IDENTITY)
    labels, primary, node = (np.zeros(geometry.shape_zyx, t) for t in (np.uint8, np.float32, np.float32))
    shell, core = (slice(3, 12), slice(3, 12), slice(3, 12)), (slice(5, 10), slice(5, 10), slice(5, 10))
    for box, share in ((shell, 0.3), (core, 0.55)):
        labels[box], primary[box], node[box] = 1 + (share < 0.5), share, 1 - share
    changed, found = settle_touching_kinds(*(image_from_array(a, geometry) for a in (labels, primary, node)), 0.7)
    assert set(np.unique(sitk.GetArrayFromImage(changed)[shell])) == {2}
    assert [round(part.share, 2) for part in found] == [0.55]


def test_parts_too_small_for_a_lesion_change_without_a_word(images):
    changed, found = settle_touching_kinds(*images, 0.7, 0.73)
    assert found == []
    assert (sitk.GetArrayFromImage(changed)[END] == 1).all()
    assert sentence(found) == ""


def test_nothing_to_change(images):
    labels, primary, node = images
    assert settle_touching_kinds(labels, primary, node, 0.0) == (labels, [])
    empty = sitk.Image(labels) * 0
    assert settle_touching_kinds(empty, primary, node, 0.7) == (empty, [])
    array = sitk.GetArrayFromImage(labels)
    array[PRIMARY] = array[SURE_NODE] = 0  # what is left touches nothing, however unsure its kind is
    apart = image_from_array(array, Geometry.from_image(labels))
    assert settle_touching_kinds(apart, primary, node, 0.7) == (apart, [])


class TopIsNode(torch.nn.Module):
    """Primary tumour where the uptake is high; where it is highest, node with a share of 0.6."""

    def forward(self, x):
        hot, hottest = x[:, :1] > 0.3, x[:, :1] > 0.7
        primary = torch.where(hottest, float(np.log(0.4)), torch.where(hot, 0.0, -20.0))
        node = torch.where(hottest, float(np.log(0.6)), -20.0)
        return torch.cat([torch.where(hot, -20.0, 0.0), primary, node], dim=1)


def test_a_delineation_says_which_part_got_another_kind():
    study = make_study()
    pet = np.full(sitk.GetArrayViewFromImage(study.pet).shape, 1.0, np.float32)
    pet[14:26, 12:22, 12:22] = 5.0
    pet[22:26, 12:22, 12:22] = 14.0
    study = replace(study, pet=image_from_array(pet, Geometry.from_image(study.pet)))

    def delineation(share):
        recipe = replace(RECIPE, touching_kind_share=share, patch_zyx=(80, 80, 80))
        return Delineator.from_networks(replace(CARD, recipe=recipe), [TopIsNode()], "cpu").delineate(study)

    two, one = delineation(0.0), delineation(0.7)
    kinds = sitk.GetArrayFromImage(two.labels)
    assert (kinds[24, 17, 17], kinds[16, 17, 17]) == (2, 1)
    assert not any("part of a lesion" in w for w in two.warnings)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(one.labels), (kinds > 0).astype(np.uint8))
    assert any(w.startswith("1 part of a lesion looked like the other kind") for w in one.warnings)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none(wrong):
    with pytest.raises(ModelError, match="touching_kind_share"):
        replace(RECIPE, touching_kind_share=wrong)
