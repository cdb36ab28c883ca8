"""Fitting the CRF's weights, all at once, against each weight alone by sums over all pairs of voxels; its bounds."""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from test_crf import ball, pet_of

from HNTumorSegLib.inference.crf import (
    CANDIDATES,
    LARGEST_BOX_ML,
    CrfWeights,
    feature_scale,
    lesion_boxes,
    refine_lesions,
)
from HNTumorSegLib.inference.crf_fit import GRID, CrfCase, fit_crf, fit_scores, score_case
from HNTumorSegLib.recipes import get_recipe
from HNTumorSegLib.recipes.recipe import NODE, PRIMARY

RECIPE = replace(get_recipe("bourigault2021"), spacing_mm=2.0)
SHAPE = (12, 13, 11)
OF_ALL = (*GRID[::6], CrfWeights(0.02, 0.03, smoothness_mm=3.0), CrfWeights(0.05, 0.02, reach_voxels=1, iterations=3))


def by_matrix(case: CrfCase, recipe, weights: CrfWeights) -> float:
    """Mean DSC after the CRF: one matrix over all pairs of voxels of the whole volume, updates as matrix products.

    The volume is one box and all of it belongs to the lesion, so boxes play no part.
    """
    at = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")).reshape(3, -1).T.astype(float)
    features = (case.array * feature_scale(recipe, weights)).reshape(len(case.array), -1).T.astype(float)
    apart = at[:, None] - at[None]
    distance2 = (apart**2).sum(axis=-1) * recipe.spacing_mm**2
    unlike2 = ((features[:, None] - features[None]) ** 2).sum(axis=-1)
    kernel = weights.smoothness * np.exp(-distance2 / (2 * weights.smoothness_mm**2))
    kernel += weights.appearance * np.exp(-distance2 / (2 * weights.appearance_mm**2) - unlike2 / 2)
    kernel[np.abs(apart).max(axis=-1) > weights.reach_voxels] = 0
    np.fill_diagonal(kernel, 0)
    p = np.concatenate([1 - case.foreground.sum(axis=0, keepdims=True), case.foreground]).reshape(-1, at.shape[0])
    unary = np.log(np.maximum(p.astype(float), 1e-6))
    q = p
    for _ in range(weights.iterations):
        q = np.exp(unary + q @ kernel)
        q /= q.sum(axis=0)
    decided, labels = q.argmax(axis=0), case.labels.ravel()
    present = [k for k in range(1, len(q)) if ((decided == k) | (labels == k)).any()]
    dsc = [2 * ((decided == k) & (labels == k)).sum() / ((decided == k).sum() + (labels == k).sum()) for k in present]
    return float(np.mean(dsc))


def noisy_case(seed: int, classes: int) -> CrfCase:
    """Lesions whose edge the PET shows and the network sees roughly; every voxel is a candidate."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.uint8)
    labels[ball((5, 5, 5), 3, SHAPE)] = 1
    if classes > 1:
        labels[ball((7, 10, 7), 2, SHAPE)] = 2
    foreground = np.stack([ndimage.gaussian_filter((labels == k).astype(float), 1.2) for k in range(1, classes + 1)])
    foreground = np.clip(0.8 * foreground + 0.11 / classes + rng.uniform(0, 0.15 / classes, foreground.shape), 0, 1)
    array = pet_of(labels > 0, suv=6.0) + rng.normal(0, 0.02, (2, *SHAPE))
    return CrfCase(foreground.astype(np.float32), array.astype(np.float32), labels)


@pytest.mark.parametrize("classes", [1, 2])
def test_all_weights_at_once_are_each_weight_alone(classes):
    """Scores of every weight, and with them the choice and its gain, are those of the full sums, one by one."""
    recipe = (
        RECIPE if classes == 1 else replace(RECIPE, classes=(*RECIPE.classes[:1], PRIMARY, NODE), class_of_label=())
    )
    cases = [noisy_case(seed, classes) for seed in range(3)]
    ((box, own),) = lesion_boxes(cases[0].foreground, 3)
    assert own.all()
    assert own.shape == SHAPE == tuple(s.stop for s in box)
    direct = np.array([[by_matrix(case, recipe, weights) for weights in OF_ALL] for case in cases])
    scores = [score_case(case, recipe, OF_ALL) for case in cases]
    np.testing.assert_allclose([case.refined for case in scores], direct, atol=1e-9)
    assert np.ptp(direct, axis=1).min() > 0.01  # the weights do differ
    fit = fit_crf(cases, recipe, OF_ALL)
    assert fit == fit_scores(scores, OF_ALL)
    assert fit.best == OF_ALL[int(direct.mean(axis=0).argmax())]
    gains = direct - np.array([case.without for case in scores])[:, None]
    others = [(gains.sum(axis=0) - gains[i]).argmax() for i in range(3)]
    assert fit.gain == pytest.approx(np.mean([gains[i, chosen] for i, chosen in enumerate(others)]))


def test_the_usual_weights_share_their_widths():
    """What is worked out once: two widths of uptake, and the neighbourhoods that need none."""
    assert len(GRID) == 3 + 2 * 12
    assert {weights.widths for weights in GRID} == {CrfWeights(0, 0, suv=suv) for suv in (1.0, 3.0)}


# --- bounds ---

COARSE = replace(RECIPE, spacing_mm=8.0)
LARGE = (48, 48, 48)  # 57 litres


def floor_case(floor: float) -> tuple[CrfCase, np.ndarray]:
    """Two lesions, seen too smoothly, in a volume that is everywhere ``floor`` probable."""
    lesions = ball((12, 12, 12), 4, LARGE) | ball((34, 33, 34), 5, LARGE)
    seen = 0.9 * ndimage.gaussian_filter(lesions.astype(np.float32), 1.5)
    return CrfCase(np.maximum(seen, floor)[None], pet_of(lesions), lesions.astype(np.uint8)), lesions


def test_a_floor_under_all_voxels_does_not_make_the_scan_one_lesion(caplog):
    """The boxes are then those of the next threshold, and the lesions in them are refined."""
    caplog.set_level(logging.INFO)
    case, lesions = floor_case(0.15)
    largest = LARGEST_BOX_ML / (COARSE.spacing_mm / 10) ** 3
    boxes = list(lesion_boxes(case.foreground, 3, largest))
    assert len(boxes) == 2
    assert "looks at what has 0.3 or more of it" in caplog.text
    assert max(own.size for _, own in boxes) <= largest < lesions.size
    expected = ndimage.binary_dilation(case.foreground[0] >= CANDIDATES[1], np.ones((3, 3, 3)), 3)
    covered = np.zeros(LARGE, int)
    for box, own in boxes:
        covered[box] += own
    np.testing.assert_array_equal(covered, expected)
    weights = CrfWeights(0.0, 0.05)
    refined = refine_lesions(case.foreground, case.array, COARSE, weights)
    np.testing.assert_array_equal(refined[0][~expected], case.foreground[0][~expected])
    before, after = (((f[0] > 0.5) != lesions).sum() for f in (case.foreground, refined))
    assert after < before


def test_what_fills_the_scan_is_left_as_it_is_and_said(caplog):
    case, _ = floor_case(0.6)
    refined = refine_lesions(case.foreground, case.array, COARSE, CrfWeights(0.05, 0.05))
    np.testing.assert_array_equal(refined, case.foreground)
    assert "too large for lesions: the CRF leaves it as it is" in caplog.text
    fit = fit_crf([case, replace(case)], COARSE, GRID[:4])
    assert (fit.gain, fit.helps) == (0.0, False)


def test_lesions_of_ordinary_size_have_the_boxes_they_had():
    """Whatever the bound, as long as they are below it."""
    case, _ = floor_case(0.02)
    bound = LARGEST_BOX_ML / (COARSE.spacing_mm / 10) ** 3
    for (box, own), (other, mine) in itertools.zip_longest(
        lesion_boxes(case.foreground, 3), lesion_boxes(case.foreground, 3, bound)
    ):
        assert box == other
        np.testing.assert_array_equal(own, mine)
