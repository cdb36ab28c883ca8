"""The dense CRF against the sum over all pairs, written out voxel by voxel; where it works and where it stays off."""

from __future__ import annotations

import itertools
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from HNTumorSegLib.errors import InputError, ModelError
from HNTumorSegLib.inference.crf import CrfWeights, feature_scale, lesion_boxes, mean_field, refine_lesions
from HNTumorSegLib.inference.crf_fit import CrfCase, fit_crf, mean_dsc
from HNTumorSegLib.recipes import get_recipe

RECIPE = replace(get_recipe("bourigault2021"), spacing_mm=2.0)  # PET 0..20 SUV, CT -1024..1024 HU, one class
SHAPE = (5, 4, 3)


def direct_mean_field(p, features, spacing_mm, weights) -> np.ndarray:
    """Kraehenbuehl and Koltun 2011, Algorithm 1, as a double loop over voxels."""
    k, shape = len(p), p.shape[1:]
    voxels = list(itertools.product(*(range(n) for n in shape)))
    pairwise = np.zeros((len(voxels), len(voxels)))
    for a, b in itertools.permutations(range(len(voxels)), 2):
        offset = np.array(voxels[a]) - np.array(voxels[b])
        if np.abs(offset).max() > weights.reach_voxels:
            continue
        distance2 = ((offset * np.array(spacing_mm)) ** 2).sum()
        unlike2 = ((features[(slice(None), *voxels[a])] - features[(slice(None), *voxels[b])]) ** 2).sum()
        pairwise[a, b] = weights.smoothness * np.exp(-distance2 / (2 * weights.smoothness_mm**2))
        pairwise[a, b] += weights.appearance * np.exp(-distance2 / (2 * weights.appearance_mm**2) - unlike2 / 2)
    energy = -np.log(p.reshape(k, -1))
    q = p.reshape(k, -1)
    potts = 1 - np.eye(k)
    for _ in range(weights.iterations):
        q = np.exp(-energy - potts @ (q @ pairwise.T))
        q /= q.sum(axis=0)
    return q.reshape(p.shape)


@pytest.mark.parametrize("reach", [1, 2, 4])
@pytest.mark.parametrize(("smoothness", "appearance"), [(0.3, 0.0), (0.0, 0.4), (0.15, 0.3)])
def test_mean_field_equals_the_sum_over_all_pairs(reach, smoothness, appearance):
    """With a reach of 4 every voxel of the 5 x 4 x 3 volume sees every other one: the full O(N^2) formula."""
    rng = np.random.default_rng(reach)
    p = np.moveaxis(rng.dirichlet((1, 1, 1), SHAPE), -1, 0)
    features = rng.normal(0, 1, (2, *SHAPE))
    spacing_mm = (3.0, 2.0, 1.5)
    weights = CrfWeights(smoothness, appearance, 3.0, 5.0, reach_voxels=reach, iterations=4)
    found = mean_field(torch.from_numpy(p), torch.from_numpy(features), spacing_mm, weights).numpy()
    np.testing.assert_allclose(found, direct_mean_field(p, features, spacing_mm, weights), atol=1e-10)
    assert np.abs(found - p).max() > 0.05


def test_without_weights_nothing_changes():
    p = torch.from_numpy(np.moveaxis(np.random.default_rng(0).dirichlet((1, 1), SHAPE), -1, 0))
    torch.testing.assert_close(mean_field(p, torch.zeros(2, *SHAPE), (2.0,) * 3, CrfWeights(0, 0)), p)


def test_widths_are_in_suv_and_hu():
    """A difference of one width of the window is so many standard deviations."""
    np.testing.assert_allclose(feature_scale(RECIPE, CrfWeights(1, 1, suv=4.0, hu=64.0)).ravel(), [5, 32])


# --- lesions' boxes ---


def ball(center, radius, shape=(24, 24, 24)) -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))
    return ((grid - np.array(center)[:, None, None, None]) ** 2).sum(axis=0) <= radius**2


def pet_of(mask, suv=10.0) -> np.ndarray:
    """Normalised PET and CT: uptake of ``suv`` in the mask, 1 elsewhere, water everywhere."""
    return np.stack([np.where(mask, suv, 1.0) / 20.0, np.full(mask.shape, 0.5)]).astype(np.float32)


def test_the_answer_is_pulled_to_the_edge_that_the_pet_shows():
    lesion = ball((12, 12, 12), 5)
    blurred = ndimage.gaussian_filter(lesion.astype(np.float32), 2.0)[None]  # as of a network that is too smooth
    refined = refine_lesions(blurred, pet_of(lesion), RECIPE, CrfWeights(0.0, 0.05))
    assert mean_dsc(blurred, lesion) < 0.9
    assert mean_dsc(refined, lesion) > 0.99
    assert refined.dtype == np.float32
    assert blurred[0, 12, 12, 12] == ndimage.gaussian_filter(lesion.astype(np.float32), 2.0)[12, 12, 12]


def test_probabilities_beyond_the_boxes_stay_what_they_are():
    lesion = ball((6, 6, 6), 3)
    foreground = np.where(lesion, 0.8, 0.03).astype(np.float32)[None]
    refined = refine_lesions(foreground, pet_of(lesion), RECIPE, CrfWeights(0.05, 0.05))
    far = ndimage.distance_transform_cdt(~lesion, "chessboard") > 3
    np.testing.assert_array_equal(refined[0][far], foreground[0][far])
    assert (refined[0][lesion] != foreground[0][lesion]).all()
    assert 0 <= refined.min() <= refined.max() <= 1


def test_each_voxel_belongs_to_one_box_and_near_lesions_share_one():
    foreground = np.zeros((1, 40, 30, 30), np.float32)
    for center in ((5, 5, 5), (5, 5, 13), (30, 20, 20)):
        foreground[0][ball(center, 2, (40, 30, 30))] = 0.9
    count = np.zeros((40, 30, 30), int)
    boxes = list(lesion_boxes(foreground, 3))
    for box, own in boxes:
        count[box] += own
    assert len(boxes) == 2  # the first two are 4 voxels apart
    assert set(np.unique(count)) == {0, 1}
    np.testing.assert_array_equal(count > 0, ndimage.binary_dilation(foreground[0] > 0, np.ones((3, 3, 3)), 3))
    assert list(lesion_boxes(np.zeros((1, 4, 4, 4), np.float32), 3)) == []


def test_more_than_one_class_and_no_ct():
    """PET alone: the recipe's own channels are what counts; classes stay apart."""
    recipe = replace(get_recipe("nikulin2023"), channels=RECIPE.channels[:1])
    primary, node = ball((12, 8, 8), 4), ball((12, 16, 16), 4)
    foreground = np.stack([np.where(m, 0.7, 0.05) for m in (primary, node)]).astype(np.float32)
    refined = refine_lesions(foreground, pet_of(primary | node)[:1], recipe, CrfWeights(0.02, 0.05))
    labels = np.where(primary, 1, np.where(node, 2, 0))
    assert mean_dsc(refined, labels) == 1
    assert refined[0][primary].min() > 0.9
    assert refined[1][node].min() > 0.9


# --- fitting ---

GRID = (CrfWeights(0.1, 0.0), CrfWeights(0.0, 0.05), CrfWeights(0.02, 0.02))


def smooth_case(radius) -> CrfCase:
    lesion = ball((12, 12, 12), radius)
    return CrfCase(
        ndimage.gaussian_filter(lesion.astype(np.float32), 2.0)[None], pet_of(lesion), lesion.astype(np.uint8)
    )


def small_case(seed) -> CrfCase:
    """A lesion of a few voxels, found rightly, of no more uptake than what is about it: a CRF can only take it away."""
    center = np.random.default_rng(seed).integers(8, 16, 3)
    lesion = ball(center, 1)
    foreground = np.where(lesion, 0.6, 0.02).astype(np.float32)[None]
    return CrfCase(foreground, pet_of(lesion, suv=1.0), lesion.astype(np.uint8))


def test_fitted_weights_are_kept_where_they_help():
    fit = fit_crf([smooth_case(r) for r in (5, 6, 7, 8)], RECIPE, GRID)
    assert fit.best == GRID[1]
    assert fit.dsc_best > fit.dsc_without + 0.03
    assert fit.helps
    recipe = fit.applied_to(RECIPE)
    assert CrfWeights.of(recipe) == GRID[1]
    assert CrfWeights.of(type(RECIPE).from_dict(recipe.to_dict())) == GRID[1]


def test_the_crf_is_left_out_where_it_takes_small_lesions_away():
    fit = fit_crf([small_case(seed) for seed in range(4)], RECIPE, GRID)
    assert fit.dsc_without == 1
    assert fit.dsc_best < 1
    assert not fit.helps
    assert fit.applied_to(replace(RECIPE, crf={"smoothness": 1.0, "appearance": 1.0})).crf == {}


def test_the_gain_is_that_of_weights_chosen_on_the_other_cases():
    """Each case is scored under the weights that are best for all others, worked out here case by case."""
    cases = [smooth_case(4), smooth_case(6), small_case(0), small_case(1)]
    fit = fit_crf(cases, RECIPE, GRID)
    without = [mean_dsc(c.foreground, c.labels) for c in cases]
    with_crf = [[mean_dsc(refine_lesions(c.foreground, c.array, RECIPE, w), c.labels) for c in cases] for w in GRID]
    gains = []
    for i in range(4):
        others = [j for j in range(4) if j != i]
        best = max(range(3), key=lambda w: sum(with_crf[w][j] - without[j] for j in others))
        gains.append(with_crf[best][i] - without[i])
    assert fit.gain == pytest.approx(np.mean(gains))
    assert fit.gain_se == pytest.approx(np.std(gains, ddof=1) / 2)


def test_what_cannot_be_fitted_is_said():
    nothing = CrfCase(np.zeros((1, 8, 8, 8), np.float32), np.zeros((2, 8, 8, 8), np.float32), np.zeros((8, 8, 8), int))
    with pytest.raises(InputError, match="at least 2 validation cases"):
        fit_crf([smooth_case(4)], RECIPE, GRID)
    with pytest.raises(InputError, match="None of the validation cases"):
        fit_crf([nothing, nothing], RECIPE, GRID)
    with pytest.raises(InputError, match="Only one of the validation cases"):
        fit_crf([smooth_case(4), nothing], RECIPE, GRID)


def test_weights_of_a_card_are_checked():
    good = asdict(CrfWeights(0.1, 0.2))
    assert CrfWeights.of(replace(RECIPE, crf=good)) == CrfWeights(0.1, 0.2)
    assert CrfWeights.of(RECIPE) is None
    with pytest.raises(ModelError, match="cannot be read"):
        CrfWeights.of(replace(RECIPE, crf={**good, "weight": 3}))
    for wrong in ({"suv": 0.0}, {"smoothness": -1.0}, {"appearance": float("nan")}, {"iterations": 0}):
        with pytest.raises(ModelError, match=f"CRF's '{next(iter(wrong))}'"):
            CrfWeights.of(replace(RECIPE, crf={**good, **wrong}))
