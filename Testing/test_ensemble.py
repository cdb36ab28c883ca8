"""Ensembles, test-time flips, their spread, 2-D networks in tiles, the CRF in use, and models of other classes."""

from __future__ import annotations

import itertools
from dataclasses import asdict, replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from constant_net import Always
from inference_cases import (
    CARD,
    FP32,
    RECIPE,
    UptakeIsPrimary,
    convolution_net,
    make_study,
    random_array,
    untiled,
)

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.inference.crf import CrfWeights
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.inference.tiling import answer_in_tiles, flips, foreground_probabilities, tile_starts
from HNTumorSegLib.networks import build_network
from HNTumorSegLib.recipes import get_recipe
from HNTumorSegLib.recipes.recipe import BACKGROUND, NODE, PRIMARY, TUMOUR

PATCH = (8, 8, 8)
ONE_TILE = {"patch_zyx": PATCH, "overlap": (0.0,) * 3, "device": FP32}


def mirrored_answers(net, array, axes) -> list[np.ndarray]:
    """The network's answers for all mirrorings along the array axes 1..3 named, mirrored back."""
    chosen = [c for n in range(len(axes) + 1) for c in itertools.combinations(axes, n)]
    return [np.flip(untiled(net, np.flip(array, c).copy()), c) if c else untiled(net, array) for c in chosen]


# --- tiles ---


@pytest.mark.parametrize(("letters", "axes"), [("", ()), ("x", (3,)), ("zx", (1, 3)), ("zyx", (1, 2, 3))])
def test_test_time_flips_are_the_mean_of_all_mirrorings(letters, axes):
    array, net = random_array(2, *PATCH), convolution_net()
    answers = mirrored_answers(net, array, axes)
    assert len(answers) == len(flips(letters)) == 2 ** len(letters)
    found = answer_in_tiles(array, [net], flip_axes=letters, with_spread=True, **ONE_TILE)
    np.testing.assert_allclose(found.foreground, np.mean(answers, axis=0), atol=1e-6)
    np.testing.assert_allclose(found.spread, np.std([a.sum(axis=0) for a in answers], axis=0), atol=1e-5)
    if not letters:
        assert (found.spread == 0).all()


def test_spread_of_an_ensemble_in_tiles():
    """Standard deviation within each tile, tiles weighted as the probabilities are: against a sum tile by tile."""
    array, nets = random_array(2, 20, 8, 8), [convolution_net(seed) for seed in range(3)]
    found = answer_in_tiles(array, nets, PATCH, (0.5, 0.0, 0.0), FP32, with_spread=True)
    weight = 0.5 ** ((np.arange(8) - 3.5) / 4) ** 2
    total, weights = np.zeros((20, 8, 8)), np.zeros(20)
    for start in tile_starts(20, 8, 0.5):
        tile = np.ascontiguousarray(array[:, start : start + 8])
        apart = np.std([untiled(net, tile).sum(axis=0) for net in nets], axis=0)
        total[start : start + 8] += apart * weight[:, None, None]
        weights[start : start + 8] += weight
    np.testing.assert_allclose(found.spread, total / weights[:, None, None], atol=1e-5)
    assert found.spread.max() > 0.01
    assert answer_in_tiles(array, nets, PATCH, (0.5, 0.0, 0.0), FP32).spread is None


def test_members_that_agree_have_no_spread_and_those_that_differ_as_much_as_they_can_one_half():
    array = random_array(1, *PATCH)
    same = [Always(0.3, 0.5, 0.2)] * 3
    assert (answer_in_tiles(array, same, with_spread=True, **ONE_TILE).spread == 0).all()
    apart = [Always(1.0 - 1e-7, 5e-8, 5e-8), Always(1e-7, 0.5, 0.5)]
    np.testing.assert_allclose(answer_in_tiles(array, apart, with_spread=True, **ONE_TILE).spread, 0.5, atol=1e-5)


def test_a_2d_network_in_tiles_is_the_network_on_each_slice():
    """Tiles of 4 slices as large as the slice: whatever the tile, a slice's answer is that of the slice alone."""
    torch.manual_seed(0)
    options = {"dimensions": 2, "features": 4, "down_convolutions": [1], "up_convolutions": [1], "fusion": "late"}
    net = build_network("vnet", 2, 3, **options).eval()
    array = random_array(2, 10, 8, 8)
    found = foreground_probabilities(array, [net], (4, 8, 8), (0.5, 0.0, 0.0), FP32)
    slices = [untiled(net, np.ascontiguousarray(array[:, z : z + 1])) for z in range(10)]
    np.testing.assert_allclose(found, np.concatenate(slices, axis=1), atol=1e-5)


def test_tiles_equal_the_whole_in_the_interior_for_a_published_network():
    """Batch norm, two levels: 5-wide convolutions reach 21 voxels; tiles of 56 in 64 leave the middle 6 untouched."""
    torch.manual_seed(1)
    net = build_network("vnet", 1, 2, features=2, down_convolutions=[1], up_convolutions=[1]).eval()
    array = random_array(1, 64, 8, 8)
    found = foreground_probabilities(array, [net], (56, 8, 8), (0.75, 0.0, 0.0), FP32, classes=2)
    whole = untiled(net, array)
    np.testing.assert_allclose(found[:, 29:35], whole[:, 29:35], atol=1e-5)
    assert np.abs(found - whole).max() > 1e-4


def test_a_network_in_training_mode_with_deep_outputs_is_refused_in_words():
    net = build_network("unet_deep_supervision", 2, 3, channels=[4, 4, 4], supervised=1)
    array = random_array(2, *PATCH)
    with pytest.raises(ModelError, match="training mode"):
        foreground_probabilities(array, [net.train()], **ONE_TILE)
    assert foreground_probabilities(array, [net.eval()], **ONE_TILE).shape == (2, *PATCH)


# --- delineations ---


def values(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


def delineate(networks, card=CARD, **options):
    return Delineator.from_networks(card, networks, "cpu", **options).delineate(make_study())


def test_uncertainty_of_an_ensemble_lies_on_the_reference_grid():
    delineation = delineate([Always(0.1, 0.8, 0.1), Always(0.3, 0.2, 0.5)])
    assert Geometry.from_image(delineation.spread).distance_mm(delineation.geometry) < 1e-6
    middle = tuple(n // 2 for n in values(delineation.spread).shape)
    assert values(delineation.spread)[middle] == pytest.approx(np.std([0.9, 0.7]), abs=1e-4)
    assert delineate([UptakeIsPrimary()]).spread is None
    assert delineate([UptakeIsPrimary()], flip_left_right=True).spread is not None
    assert delineation.without_probabilities().spread is None


def test_flips_of_the_recipe_are_done_without_being_asked_for():
    seen = []

    class Recorder(UptakeIsPrimary):
        def forward(self, x):
            seen.append(x.clone())
            return super().forward(x)

    card = replace(CARD, recipe=replace(RECIPE, flip_axes="yx"))
    delineation = delineate([Recorder()], card)
    assert values(delineation.labels).max() == 1
    for plain, x, y, both in zip(seen[::4], seen[2::4], seen[1::4], seen[3::4], strict=True):
        assert torch.equal(x, plain.flip(-1))
        assert torch.equal(y, plain.flip(-2))
        assert torch.equal(both, plain.flip(-1, -2))
    seen.clear()
    delineate([Recorder()], card, flip_left_right=True)  # x is among them already
    assert torch.equal(seen[3], seen[0].flip(-1, -2))
    assert torch.equal(seen[2], seen[0].flip(-1))


def test_dropout_and_deep_outputs_are_off_in_use():
    network = build_network("unet_deep_supervision", 2, 3, channels=[4, 4, 4, 8], supervised=2).train()
    delineation = delineate([network])
    assert not network.training
    assert np.isfinite(values(delineation.primary_probability)).all()


def test_the_crf_of_a_card_is_applied_and_timed():
    """A network that is unsure outside a hot lesion's core; the CRF, drawn by the PET, is surer."""

    class Unsure(UptakeIsPrimary):
        def forward(self, x):
            return 0.1 * super().forward(x)

    plain = delineate([Unsure()])
    weights = asdict(CrfWeights(0.0, 0.05))
    refined = delineate([Unsure()], replace(CARD, recipe=replace(RECIPE, crf=weights)))
    assert set(refined.timings_s) == {"prepare", "network", "crf", "resample"}
    hot = values(make_study().pet) > 9
    surer, unsure = values(refined.primary_probability)[hot], values(plain.primary_probability)[hot]
    assert (surer > unsure).mean() > 0.95
    assert surer.mean() > unsure.mean() + 0.02
    with pytest.raises(ModelError, match="CRF"):
        Delineator.from_networks(replace(CARD, recipe=replace(RECIPE, crf={"suv": 1.0})), [Unsure()], "cpu")


class TwoClasses(torch.nn.Module):
    """Background and one class, which is where the first channel is above one half."""

    def forward(self, x):
        hot = 40 * (x[:, :1] - 0.5)
        return torch.cat([-hot, hot], dim=1)


@pytest.mark.parametrize(
    ("name", "label", "words"),
    [
        (PRIMARY, 1, "does not look for the class lymph-node metastasis"),
        (NODE, 2, "does not look for the class primary tumour"),
        (TUMOUR, 1, "does not tell primary tumours from lymph-node metastases"),
    ],
)
def test_models_of_one_class_say_what_they_do_not_know(name, label, words):
    delineation = delineate([TwoClasses()], replace(CARD, classes=(BACKGROUND, name)))
    assert set(np.unique(values(delineation.labels))) == {0, label}
    assert any(words in sentence for sentence in delineation.warnings)


def test_classes_in_another_order_end_where_they_belong():
    card = replace(CARD, classes=(BACKGROUND, NODE, PRIMARY))
    assert set(np.unique(values(delineate([UptakeIsPrimary()], card).labels))) == {0, 2}


def test_a_model_of_organs_does_not_delineate_tumours():
    card = replace(CARD, classes=get_recipe("nikolov2018").classes)
    with pytest.raises(ModelError, match=r"does not delineate tumours: its classes are Brain, .* and 18 more"):
        Delineator.from_networks(card, [UptakeIsPrimary()], "cpu")
