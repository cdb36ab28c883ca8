"""The published networks: shapes, parameter counts, gradients, and second implementations where there are any."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.networks import NETWORKS, build_network
from HNTumorSegLib.networks.attention_unet import SelfAttention
from HNTumorSegLib.networks.narrow_grids import narrow_grids
from HNTumorSegLib.networks.norm_res_se_unet3plus import SENorm
from HNTumorSegLib.recipes import RECIPES, get_recipe

VNET = {"features": 4, "down_convolutions": [1, 2], "up_convolutions": [2, 1]}
NARROW = {
    "attention_unet": [{"channels": [4, 8, 16], "heads": 2}],
    "subpixel_unet": [{"channels": [4, 8, 16], "heads": 2}],
    "vnet": [{**VNET, "dimensions": d, "fusion": f} for d in (2, 3) for f in ("early", "late")],
    "unet_deep_supervision": [{"channels": [4, 8, 8], "supervised": 1}],
    "unet_organs": [{"channels": [4, 8, 8]}],
    "norm_res_se_unet3plus": [{"channels": [16, 20, 24], "factors": [2, 3], "skip_channels": 6}],
}
ALL_NARROW = [(name, options) for name, variants in NARROW.items() for options in variants]


def narrow(name, options, classes=3):
    torch.manual_seed(0)
    return build_network(name, 2, classes, **options)


def parameters(network) -> int:
    return sum(p.numel() for p in network.parameters())


def published(name: str) -> torch.nn.Module:
    """A recipe's network without memory for its weights: for shapes and counts."""
    recipe = get_recipe(name)
    with torch.device("meta"):
        return build_network(recipe.network, len(recipe.channels), len(recipe.classes), **recipe.network_options)


def test_every_published_network_is_looked_at():
    assert {get_recipe(name).network for name in RECIPES} == set(NARROW)
    assert set(NARROW) <= set(NETWORKS)


@pytest.mark.parametrize(("name", "options"), ALL_NARROW)
def test_output_has_the_input_grid_and_one_map_a_class(name, options):
    network = narrow(name, options, 5).eval()
    d = network.divisor
    with torch.no_grad():
        assert network(torch.rand(2, 2, 2 * d, 3 * d, 4 * d)).shape == (2, 5, 2 * d, 3 * d, 4 * d)


@pytest.mark.parametrize(("name", "options"), ALL_NARROW)
def test_gradient_reaches_every_parameter(name, options):
    network = narrow(name, options).train()
    d = network.divisor
    outputs = network(torch.randn(2, 2, 2 * d, 2 * d, 2 * d))
    sum(o.pow(2).sum() for o in (outputs if isinstance(outputs, list) else [outputs])).backward()
    without = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@pytest.mark.parametrize(("name", "options"), ALL_NARROW)
def test_no_weight_is_stored_twice(name, options):
    network = narrow(name, options)
    floats = sum(v.numel() for v in network.state_dict().values() if v.is_floating_point())
    running = sum(b.numel() for b in network.buffers() if b.is_floating_point())
    assert floats == parameters(network) + running


# --- deep supervision ---


def test_deep_outputs_come_in_training_only_finest_first():
    x = torch.rand(1, 2, 24, 24, 24)
    unet = narrow("unet_deep_supervision", {"channels": [4, 8, 8, 8], "supervised": 2})
    assert [tuple(o.shape[2:]) for o in unet.train()(x)] == [(24,) * 3, (12,) * 3, (6,) * 3]
    unet3plus = narrow(*ALL_NARROW[-1])
    assert [tuple(o.shape) for o in unet3plus.train()(x)] == [(1, 3, 24, 24, 24)] * 3
    for network in (unet, unet3plus):  # instance norm: the finest answer is the same in both modes
        first = network.train()(x)[0]
        torch.testing.assert_close(network.eval()(x), first)


# --- second implementations ---


@pytest.mark.parametrize("dimensions", [2, 3])
def test_vnet_is_monais_vnet(dimensions):
    from monai.networks.nets import VNet

    torch.manual_seed(3)
    theirs = VNet(dimensions, 2, 3).eval()
    ours = build_network("vnet", 2, 3, dimensions=dimensions).eval()
    assert parameters(ours) == parameters(theirs)
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.rand(1, 2, 16, 16, 16)
    with torch.no_grad():
        expected = theirs(x) if dimensions == 3 else torch.stack([theirs(x[:, :, z]) for z in range(16)], dim=2)
        torch.testing.assert_close(ours(x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "residual"), [("unet_deep_supervision", False), ("unet_organs", True)])
def test_unets_are_monais_dynunet(name, residual):
    from monai.networks.nets import DynUNet

    options = {"channels": [4, 8, 12, 16]} | ({} if residual else {"supervised": 2})
    ours = narrow(name, options).train()
    theirs = DynUNet(
        3,
        2,
        3,
        [3] * 4,
        [1, 2, 2, 2],
        [2] * 3,
        filters=[4, 8, 12, 16],
        res_block=residual,
        deep_supervision=not residual,
        deep_supr_num=2,
    ).train()
    blocks = [theirs.input_block, *theirs.downsamples, theirs.bottleneck]
    pairs = [*zip(ours.encoder, blocks, strict=True), *zip(ours.decoder, reversed(theirs.upsamples), strict=True)]
    pairs.append((ours.head, theirs.output_block))
    if not residual:
        pairs += zip(ours.deep_heads, theirs.deep_supervision_heads, strict=True)
    for mine, other in pairs:
        mine.load_state_dict(other.state_dict())
    assert parameters(ours) == sum(p.numel() for _, other in pairs for p in other.parameters())
    x = torch.rand(1, 2, 16, 16, 16)
    expected = theirs(x)
    if residual:
        torch.testing.assert_close(ours(x), expected)
        return
    for mine, other in zip(ours(x), expected.unbind(1), strict=True):
        torch.testing.assert_close(torch.nn.functional.interpolate(mine, (16, 16, 16)), other)


def test_se_norm_equals_the_formula_written_out():
    torch.manual_seed(4)
    block, x = SENorm(4).double(), torch.randn(2, 4, 3, 4, 5, dtype=torch.float64)
    for n in range(2):
        squeezed = x[n].mean(dim=(1, 2, 3))
        scale = torch.sigmoid(block.scale[2](torch.relu(block.scale[0](squeezed))))
        shift = torch.tanh(block.shift[2](torch.relu(block.shift[0](squeezed))))
        for c in range(4):
            normal = (x[n, c] - x[n, c].mean()) / torch.sqrt(x[n, c].var(unbiased=False) + 1e-5)
            torch.testing.assert_close(block(x)[n, c], scale[c] * normal + shift[c])


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


# --- what the recipes rely on ---


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


def test_slices_of_a_2d_network_do_not_see_each_other():
    network = narrow("vnet", {**VNET, "dimensions": 2}).eval()
    x = torch.rand(1, 2, 5, 8, 8)
    other = x.clone()
    other[:, :, 2] = torch.rand(8, 8)
    with torch.no_grad():
        changed = (network(x) != network(other)).any(dim=(0, 1, 3, 4))
    assert changed.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_late_fusion_begins_as_the_mean_of_one_network_an_image(dimensions):
    network = narrow("vnet", {**VNET, "dimensions": dimensions, "fusion": "late"}).eval()
    x = torch.rand(1, 2, 4, 8, 8)
    pet, ct = network.branches
    with torch.no_grad():
        parts = [x] if dimensions == 3 else [x[:, :, z] for z in range(4)]
        means = [(pet(p[:, :1]) + ct(p[:, 1:])) / 2 for p in parts]
        expected = means[0] if dimensions == 3 else torch.stack(means, dim=2)
        torch.testing.assert_close(network(x), expected)


def test_bottom_of_the_unet3plus_is_as_published():
    """Bourigault 2021: 2 x 144^3 gives 384 x 3^3; the first block has 24 filters; the answer has the input's size."""
    network = published("bourigault2021").eval()
    x = torch.empty(1, 2, 144, 144, 144, device="meta")
    maps = network.encode(x)
    assert tuple(maps[-1].shape) == (1, 384, 3, 3, 3)
    assert tuple(maps[0].shape) == (1, 24, 144, 144, 144)
    assert tuple(network(x).shape) == (1, 2, 144, 144, 144)
    assert network.deep_features(x).shape == (1, 384)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipes_network_takes_its_patches(name):
    recipe = get_recipe(name)
    network = published(name)
    for patch in (recipe.patch_zyx, recipe.training.get("patch_zyx", recipe.patch_zyx)):
        sides = patch[1:] if recipe.network_options.get("dimensions") == 2 else patch
        assert all(n % network.divisor == 0 for n in sides)
        outputs = network.train()(torch.empty(1, len(recipe.channels), *patch, device="meta"))
        finest = outputs[0] if isinstance(outputs, list) else outputs
        assert tuple(finest.shape) == (1, len(recipe.classes), *patch)
        assert len(recipe.training.get("deep_supervision", [1])) == (len(outputs) if isinstance(outputs, list) else 1)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_no_convolution_is_wider_than_its_grid_in_training(name):
    """There oneDNN's bf16 gives convolution weights a wrong gradient, often 1e35, without a word (torch 2.13, CPU)."""
    recipe = get_recipe(name)
    patch = recipe.training.get("patch_zyx", recipe.patch_zyx)
    assert narrow_grids(published(name), len(recipe.channels), patch) == []


def test_a_convolution_wider_than_its_grid_is_found():
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 1, 3, padding=1), torch.nn.Conv3d(1, 1, 5, padding=2))
    assert narrow_grids(network, 1, (8, 8, 8)) == []
    assert narrow_grids(network, 1, (8, 4, 8)) == [((8, 4, 8), (5, 5, 5))]


# --- parameter counts, written out by hand ---


def block_weights(a: int, b: int, shortcut: int | None = None) -> int:
    """Two 3x3x3 convolutions, two norms with scale and shift, and a 1x1x1 shortcut."""
    return 27 * a * b + 27 * b * b + 2 * 2 * b + (a * b if shortcut is None else shortcut)


def attention_unet_weights(channels, heads, images, classes) -> int:
    bottom = channels[-1]
    encoder = sum(block_weights(a, b) for a, b in zip([images, *channels], channels, strict=False))
    up = sum(8 * deep * shallow for shallow, deep in pairwise(channels))
    decoder = sum(block_weights(2 * c, c) for c in channels[:-1])
    attention = 2 * bottom + 4 * bottom * bottom + bottom + (3 * 32 + 32) + (32 * heads + heads)
    return encoder + up + decoder + attention + classes * channels[0] + classes


def block_unet_weights(channels, residual, images, classes, supervised=0) -> int:
    shortcuts = [a * b + 2 * b if residual else 0 for a, b in pairwise([images, *channels])]
    encoder = sum(block_weights(a, b, s) for (a, b), s in zip(pairwise([images, *channels]), shortcuts, strict=True))
    decoder = sum(8 * deep * c + block_weights(2 * c, c, 0) for c, deep in pairwise(channels))
    return encoder + decoder + sum(classes * c + classes for c in channels[: 1 + supervised])


def vnet_weights(images, classes, dimensions, features=16, down=(1, 2, 3, 2), up=(2, 2, 1, 1)) -> int:
    """5-wide convolutions without bias, each with a batch norm; strided ones of width 2; a 1-wide one at the end."""
    wide, two = 5**dimensions, 2**dimensions
    widths = [features * 2**i for i in range(len(down) + 1)]
    total = wide * images * features + 2 * features
    for (a, b), count in zip(pairwise(widths), down, strict=True):
        total += two * a * b + 2 * b + count * (wide * b * b + 2 * b)
    below = widths[-1]
    for a, count in zip(reversed(widths[:-1]), up, strict=True):
        total += two * below * a + a + 2 * a + count * (wide * 4 * a * a + 4 * a)
        below = 2 * a
    return total + wide * below * classes + 2 * classes + classes**2 + classes


def unet3plus_weights(channels, skip_channels, images, classes) -> int:
    def se(c):
        return 2 * (c * (c // 2) + c // 2 + (c // 2) * c + c)

    def residual(a, b):
        return 27 * a * b + 27 * b * b + 2 * se(b) + (a * b + se(b) if a != b else 0)

    levels, fused = len(channels), len(channels) * skip_channels
    total = sum(residual(a, b) for a, b in pairwise([images, *channels]))
    for level in range(levels - 1):
        for source in range(levels):
            width = fused if level < source < levels - 1 else channels[source]
            total += 27 * width * skip_channels + 2 * skip_channels
        total += 27 * fused**2 + se(fused) + fused * classes + classes
    return total + channels[-1] * classes + classes


PUBLISHED_COUNTS = {
    "nikulin2023": attention_unet_weights([32, 64, 128, 256], 8, 2, 3),
    "nikulin2023_fast": attention_unet_weights([16, 32, 48, 64, 96], 4, 2, 3),
    # Its first block has as many maps in as out, hence no shortcut.
    "subpixel": attention_unet_weights([32, 64, 88, 112], 4, 32, 3 * 8) - 32**2 + 4 * 32 * 8 + 2 * 32,
    "yang2023": block_unet_weights([32, 64, 128, 256, 320, 320], False, 2, 3, 3),
    "nikolov2018": block_unet_weights([32, 64, 128, 256, 320], True, 2, 22),
    "bourigault2021": unet3plus_weights([24, 48, 96, 192, 384, 384], 24, 2, 2),
    "andrearczyk2020_3d_ct": vnet_weights(1, 2, 3),
    "andrearczyk2020_3d_early": vnet_weights(2, 2, 3),
    "andrearczyk2020_3d_late": 2 * vnet_weights(1, 2, 3) + 4 * 2 + 2,
    "andrearczyk2020_2d_pet": vnet_weights(1, 2, 2),
    "andrearczyk2020_2d_late": 2 * vnet_weights(1, 2, 2) + 4 * 2 + 2,
}


@pytest.mark.parametrize("name", sorted(PUBLISHED_COUNTS))
def test_parameter_counts(name):
    assert parameters(published(name)) == PUBLISHED_COUNTS[name]


def test_subpixel_answers_stand_at_their_voxels():
    """Torch's own pixel shuffle, slice by slice in two dimensions, puts them where this one does in three."""
    network = build_network("subpixel_unet", 1, 3, channels=[4, 8], heads=0)
    x = torch.randn(2, 3 * 8, 4, 5, 6)
    ours = network._unfold(x)
    for odd in (0, 1):
        of_slice = x.view(2, 3, 2, 4, 4, 5, 6)[:, :, odd].reshape(2, 12, 4, 5, 6)
        for z in range(4):
            theirs = torch.nn.functional.pixel_shuffle(of_slice[:, :, z], 2)
            assert torch.equal(ours[:, :, 2 * z + odd], theirs)


def test_unknown_names_and_options_are_named():
    with pytest.raises(ModelError, match="no network 'vnet9000'"):
        build_network("vnet9000", 1, 2)
    with pytest.raises(ModelError, match="cannot be built"):
        build_network("attention_unet", 1, 2, channels=(4, 6), heads=5)
    for name, options in (
        ("vnet", {"dimensions": 4}),
        ("vnet", {"fusion": "middle"}),
        ("vnet", {"down_convolutions": [1, 1]}),
        ("unet_deep_supervision", {"channels": [4, 8, 8], "supervised": 2}),
        ("unet_organs", {"channels": [4, 8, 8], "norm": "group"}),
        ("norm_res_se_unet3plus", {"factors": [2]}),
    ):
        with pytest.raises(ModelError, match=f"The network '{name}' cannot be built"):
            build_network(name, 2, 3, **options)
    with pytest.raises(ModelError, match="no recipe"):
        get_recipe("nobody1999")


def test_the_divisor_is_the_smallest_side():
    assert math.prod(get_recipe("bourigault2021").network_options["factors"]) == published("bourigault2021").divisor
