"""The attention U-Net: shapes, gradients, and that attention and batch norm do what the recipe relies on."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.networks import build_network
from HNTumorSegLib.networks.attention_unet import SelfAttention
from HNTumorSegLib.recipes import RECIPES, Recipe, get_recipe

SMALL = {"channels": (4, 8, 16), "heads": 2}


def test_output_has_the_input_grid_and_one_map_a_class():
    network = build_network("attention_unet", 2, 3, **SMALL)
    assert network(torch.zeros(1, 2, 8, 12, 16)).shape == (1, 3, 8, 12, 16)


def test_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    network = build_network("attention_unet", 2, 3, **SMALL)
    network(torch.randn(2, 2, 8, 8, 8)).pow(2).sum().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_attention_equals_the_formula_written_out():
    """softmax(q k / sqrt(d) + bias) v, head by head, with the bias looked up offset by offset."""
    torch.manual_seed(1)
    block = SelfAttention(8, 2).double()
    x = torch.randn(1, 8, 2, 3, 2, dtype=torch.float64)
    grid = [(z, y, w) for z in range(2) for y in range(3) for w in range(2)]
    tokens = block.norm(x.flatten(2).transpose(1, 2))[0]
    q, k, v = (block.to_qkv(tokens).view(12, 3, 2, 4)[:, i] for i in range(3))
    out = torch.zeros(12, 8, dtype=torch.float64)
    for head in range(2):
        scores = q[:, head] @ k[:, head].T / 4**0.5
        for a, p in enumerate(grid):
            for b, r in enumerate(grid):
                offset = torch.tensor([p[i] - r[i] for i in range(3)], dtype=torch.float64) / 8.0
                scores[a, b] += block.position(offset)[head]
        out[:, 4 * head : 4 * head + 4] = torch.softmax(scores, dim=1) @ v[:, head]
    expected = x + block.to_out(out).T.reshape(x.shape)
    torch.testing.assert_close(block(x), expected)


def test_with_batch_norm_and_no_attention_far_voxels_do_not_matter():
    """The property that lets a batch-norm network run on any tile; instance norm does not have it."""
    torch.manual_seed(2)
    for norm, independent in (("batch", True), ("instance", False)):
        network = build_network("attention_unet", 1, 3, channels=(4, 8), heads=0, norm=norm).eval()
        x = torch.randn(1, 1, 8, 8, 64)
        near = x.clone()
        near[..., 40:] += 5
        same = torch.allclose(network(x)[..., :16], network(near)[..., :16], atol=1e-5)
        assert same is independent


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_builds_its_network_and_survives_json(name):
    recipe = get_recipe(name)
    network = build_network(recipe.network, len(recipe.channels), 3, **recipe.network_options)
    assert all(n % network.divisor == 0 for n in recipe.patch_zyx)
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def block_weights(a: int, b: int, shortcut: bool = True) -> int:
    """Two 3x3x3 convolutions, two norms with scale and shift, and a 1x1x1 shortcut."""
    return 27 * a * b + 27 * b * b + 2 * 2 * b + (a * b if shortcut else 0)


def expected_weights(channels: list[int], heads: int) -> int:
    bottom = channels[-1]
    encoder = sum(block_weights(a, b) for a, b in zip([2, *channels], channels, strict=False))
    up = sum(8 * deep * shallow for shallow, deep in pairwise(channels))
    decoder = sum(block_weights(2 * c, c) for c in channels[:-1])
    attention = 2 * bottom + 4 * bottom * bottom + bottom + (3 * 32 + 32) + (32 * heads + heads)
    return encoder + up + decoder + attention + 3 * channels[0] + 3


@pytest.mark.parametrize("name", ["nikulin2023", "nikulin2023_fast"])
def test_parameter_counts(name):
    recipe = get_recipe(name)
    network = build_network(recipe.network, 2, 3, **recipe.network_options)
    expected = expected_weights(recipe.network_options["channels"], recipe.network_options["heads"])
    assert sum(p.numel() for p in network.parameters()) == expected


def test_unknown_names_and_options_are_named():
    with pytest.raises(ModelError, match="no network 'vnet9000'"):
        build_network("vnet9000", 1, 2)
    with pytest.raises(ModelError, match="cannot be built"):
        build_network("attention_unet", 1, 2, channels=(4, 6), heads=5)
    with pytest.raises(ModelError, match="no recipe"):
        get_recipe("nobody1999")
