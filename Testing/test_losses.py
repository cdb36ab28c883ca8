"""Losses against the publications' formulas, written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.recipes import RECIPES, get_recipe
from HNTumorSegLib.training.losses import LOSSES, build_loss, deep_supervision, dice, focal, log_cosh_dice_focal
from HNTumorSegLib.training.losses import tversky_focal as tversky_focal_loss

SHAPE = (4, 5, 6)


def case(classes=3, seed=0, shape=SHAPE):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, 2, (2, classes, *shape)).astype(np.float32))
    return logits, torch.from_numpy(rng.integers(0, classes, (2, *shape)))


def probabilities(logits) -> np.ndarray:
    """(K, voxels of the batch), 64-bit."""
    values = np.exp(logits.numpy().astype(float))
    return np.moveaxis(values / values.sum(axis=1, keepdims=True), 1, 0).reshape(values.shape[1], -1)


def truth(labels, classes) -> np.ndarray:
    return np.stack([labels.numpy().ravel() == c for c in range(classes)]).astype(float)


def dice_formula(p, y, smooth=1.0) -> float:
    """Bourigault 2021, Eq. 1, mean of the foreground classes."""
    return float(
        np.mean(
            [1 - (2 * (a * b).sum() + smooth) / (a.sum() + b.sum() + smooth) for a, b in zip(p[1:], y[1:], strict=True)]
        )
    )


def focal_formula(p, y, gamma=2.0) -> float:
    """-1/N sum_n sum_c g (1 - p)^gamma log p (Yang 2023; Bourigault 2021, Eq. 2)."""
    return float(-(y * (1 - p) ** gamma * np.log(p)).sum() / p.shape[1])


def tversky_formula(p, y, alpha, beta) -> float:
    """sum_c (1 - TP / (TP + alpha FP + beta FN)) / C, background included (Yang 2023)."""
    tp, fp, fn = (p * y).sum(1), (p * (1 - y)).sum(1), ((1 - p) * y).sum(1)
    return float((1 - tp / (tp + alpha * fp + beta * fn)).mean())


@pytest.mark.parametrize("classes", [2, 3, 22])
@pytest.mark.parametrize("seed", [0, 1])
def test_losses_equal_their_formulas(classes, seed):
    logits, labels = case(classes, seed)
    p, y = probabilities(logits), truth(labels, classes)
    d, f = dice_formula(p, y), focal_formula(p, y)
    assert float(dice(logits, labels)) == pytest.approx(d, rel=1e-5)
    assert float(focal(logits, labels)) == pytest.approx(f, rel=1e-5)
    assert float(focal(logits, labels, 0.5)) == pytest.approx(focal_formula(p, y, 0.5), rel=1e-5)
    assert float(log_cosh_dice_focal(logits, labels)) == pytest.approx(np.log(np.cosh(d)) + f, rel=1e-5)
    for alpha, beta in ((0.5, 0.5), (0.3, 0.7)):
        expected = tversky_formula(p, y, alpha, beta) + f
        assert float(tversky_focal_loss(logits, labels, alpha, beta)) == pytest.approx(expected, rel=1e-4)


def test_focal_without_gamma_is_cross_entropy():
    logits, labels = case()
    assert float(focal(logits, labels, 0.0)) == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-5
    )


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_perfect_answers_cost_nothing_and_wrong_ones_much(name):
    _, labels = case()
    perfect = 30.0 * torch.nn.functional.one_hot(labels, 3).permute(0, 4, 1, 2, 3).float()
    assert float(LOSSES[name](perfect, labels)) == pytest.approx(0, abs=1e-3)
    assert float(LOSSES[name](-perfect, labels)) > 0.9


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_batch_without_a_class_has_a_finite_loss_and_gradient(name):
    logits, labels = case()
    for values in (torch.zeros_like(labels), labels.clamp(max=1)):
        leaf = (10 * logits).requires_grad_()
        loss = LOSSES[name](leaf, values)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(leaf.grad).all()


# --- deep supervision ---


def test_deep_supervision_is_the_weighted_sum_over_the_outputs():
    """Labels of the coarser grid are the voxels nearest to its centres: of 2 x 2 x 2, the last one."""
    logits, labels = case(shape=(4, 6, 8))
    coarse, _ = case(seed=5, shape=(2, 3, 4))
    full_size, _ = case(seed=6, shape=(4, 6, 8))
    expected = 1.0 * dice_formula(probabilities(logits), truth(labels, 3))
    expected += 0.5 * dice_formula(probabilities(coarse), truth(labels[:, 1::2, 1::2, 1::2], 3))
    expected += 0.25 * dice_formula(probabilities(full_size), truth(labels, 3))
    loss = deep_supervision(dice, [1.0, 0.5, 0.25])
    assert float(loss([logits, coarse, full_size], labels)) == pytest.approx(expected, rel=1e-5)
    assert float(loss(logits, labels)) == pytest.approx(float(dice(logits, labels)))


def test_a_network_with_another_number_of_outputs_is_refused():
    logits, labels = case()
    with pytest.raises(ModelError, match="has 2 outputs, but the recipe weights 3"):
        deep_supervision(dice, [1, 0.5, 0.25])([logits, logits], labels)


# --- from a recipe ---


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipes_loss_can_be_built(name):
    recipe = get_recipe(name)
    logits, labels = case(len(recipe.classes))
    weights = recipe.training.get("deep_supervision")
    outputs = [logits] * len(weights) if weights else logits
    assert float(build_loss(recipe.training)(outputs, labels)) > 0


def test_options_reach_the_loss():
    logits, labels = case()
    loss = build_loss({"loss": "tversky_focal", "loss_options": {"alpha": 0.3, "beta": 0.7, "gamma": 1.0}})
    assert float(loss(logits, labels)) == pytest.approx(float(tversky_focal_loss(logits, labels, 0.3, 0.7, 1.0)))
    loss = build_loss({"loss": "dice_ce", "lesion_share": 0.5})
    assert float(loss(logits, labels)) == pytest.approx(float(LOSSES["dice_ce"](logits, labels, 0.5)))
    entropy = float(torch.nn.functional.cross_entropy(logits, labels))
    loss = build_loss({"loss": "dice_ce", "loss_options": {"entropy_weight": 100.0}})
    assert float(loss(logits, labels)) == pytest.approx(float(LOSSES["dice_ce"](logits, labels)) + 99 * entropy)
    with pytest.raises(ModelError, match="no loss 'hinge'; there are dice"):
        build_loss({"loss": "hinge"})
    with pytest.raises(ModelError, match="'dice' has no option 'gamma'; it has smooth"):
        build_loss({"loss": "dice", "loss_options": {"gamma": 2}})
