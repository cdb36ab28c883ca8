"""Which tiles a volume is run in: against enumeration, and against the networks' own answers."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from inference_cases import FP32, RECIPE, UptakeIsPrimary, random_array, untiled

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.inference import tile_plan
from HNTumorSegLib.inference.device import ComputeDevice, cpu_device, has_native_bf16
from HNTumorSegLib.inference.engine import Engine
from HNTumorSegLib.inference.preprocess import model_grid, network_input, suv_on_grid
from HNTumorSegLib.inference.region import find_head_neck
from HNTumorSegLib.inference.tile_plan import MARGIN_VOXELS, TileRule, takes_any_tile
from HNTumorSegLib.inference.tiling import foreground_probabilities, tile_starts
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.models.loading import load_networks
from HNTumorSegLib.models.registry import DEFAULT_MODEL, resolve_model
from HNTumorSegLib.networks import build_network
from HNTumorSegLib.phantom import make_patient

GPU = ComputeDevice("cuda:0", True, "a GPU that is not there")
RULE = TileRule((32, 64, 64), (0.25, 0.5, 0.0), True, 8, one_pass=True)


def worth(shape, *box) -> np.ndarray:
    array = np.zeros(shape, bool)
    array[tuple(slice(*b) for b in box)] = True
    return array


def unet(norm="batch", heads=2, seed=0) -> torch.nn.Module:
    """A network whose norms do something."""
    torch.manual_seed(seed)
    network = build_network("attention_unet", 2, 3, channels=[4, 6, 8], heads=heads, norm=norm)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            for values in (module.running_mean, module.bias.data):
                values.uniform_(-0.3, 0.3)
            for values in (module.running_var, module.weight.data):
                values.uniform_(0.5, 2.0)
    return network.eval()


# --- plans ---


@pytest.mark.parametrize(("norm", "free"), [("batch", True), ("instance", False)])
def test_which_networks_take_any_tile(norm, free):
    assert takes_any_tile([unet(norm)]) is free
    assert takes_any_tile([unet(), unet("instance")]) is False
    assert takes_any_tile([UptakeIsPrimary()]) is False  # nothing says so
    pooled = torch.nn.Sequential(torch.nn.BatchNorm3d(2), torch.nn.AdaptiveAvgPool3d(1))
    assert takes_any_tile([pooled]) is False  # squeeze and excitation


def test_one_pass_over_the_box_of_what_is_worth_looking_at():
    plans = RULE.plans(worth((80, 90, 120), (20, 41), (30, 60), (40, 80)), FP32)
    plan = next(plans)
    assert plan.patch_zyx == (56, 64, 72)  # 21, 30 and 40 voxels and two margins of 16, in multiples of 8
    bounds = zip(plan.patch_zyx, plan.box, (20, 30, 40), (41, 60, 80), (80, 90, 120), strict=True)
    for side, box, low, high, n in bounds:
        assert box.stop - box.start == side
        assert 0 <= box.start <= low - MARGIN_VOXELS
        assert high + MARGIN_VOXELS <= box.stop <= n


def test_at_the_volumes_end_the_box_is_shifted_inwards_or_padded():
    plan = next(RULE.plans(worth((80, 30, 100), (75, 80), (0, 30), (0, 3)), FP32))
    assert plan.box == (slice(56, 80), slice(0, 30), slice(0, 24))
    assert plan.patch_zyx == (24, 32, 24)


def test_models_that_do_not_ask_for_one_pass_get_their_patches():
    seen = worth((80, 90, 100), (20, 41), (30, 60), (40, 80))
    patches = replace(RULE, one_pass=False)
    plain, smaller = itertools.islice(patches.plans(seen, FP32), 2)
    assert plain == patches.plain(seen.shape)
    assert plain.box == smaller.box == (slice(0, 80), slice(0, 90), slice(0, 100))
    assert plain.patch_zyx == (32, 64, 64)
    assert smaller.tile_voxels <= 32 * 64 * 64 / 2
    weights_own = replace(patches, any_size=False)
    assert list(weights_own.plans(seen, FP32)) == [plain]
    nothing = np.zeros((80, 90, 100), bool)
    assert list(RULE.plans(nothing, FP32)) == [RULE.plain(nothing.shape)]  # no tile of it is run


@pytest.mark.parametrize("device", [FP32, GPU])
@pytest.mark.parametrize("shape", [(150, 130, 200), (400, 130, 200), (97, 61, 33)])
def test_tiles_above_the_bound_are_the_cheapest_that_cover_the_box(device, shape):
    """Enumerated: every tile of multiples of 8 from half the patch, with as much overlap as patches have."""
    most = {"cpu": 4, "cuda:0": 16}[device.name] * 32 * 64 * 64
    plan = next(RULE.plans(np.ones(shape, bool), device))
    assert plan.box == tuple(slice(0, n) for n in shape)
    costs = {}
    ranges = [range(low, n + 8, 8) for low, n in zip((16, 32, 32), shape, strict=True)]
    for sides in itertools.product(*ranges):
        if math.prod(sides) > most:
            continue
        shares = [o * min(p, s) / s for o, p, s in zip(RULE.overlap, RULE.patch_zyx, sides, strict=True)]
        counts = [len(tile_starts(n, s, o)) for n, s, o in zip(shape, sides, shares, strict=True)]
        costs[sides] = math.prod(sides) * math.prod(counts)
    assert costs[plan.patch_zyx] == min(costs.values())
    asked = zip(shape, plan.patch_zyx, RULE.patch_zyx, plan.overlap, RULE.overlap, strict=True)
    for n, side, patch, share, overlap in asked:
        starts = tile_starts(n, side, share)
        assert all(b - a <= math.ceil(side - overlap * min(side, patch)) for a, b in itertools.pairwise(starts))


def test_plans_for_a_full_gpu_halve_the_tiles_down_to_half_the_patch():
    plans = list(RULE.plans(np.ones((150, 130, 200), bool), GPU))
    voxels = [plan.tile_voxels for plan in plans]
    assert all(b <= a / 2 for a, b in itertools.pairwise(voxels[:-1]))
    assert voxels[-1] < voxels[-2]
    assert plans[-1].patch_zyx == (16, 32, 32)


def test_one_pass_is_refused_where_the_patch_belongs_to_the_weights():
    with pytest.raises(ModelError, match=r"'uptake' asks for one pass.*one_pass to false"):
        engine([unet("instance")])


# --- answers ---


def engine(networks, patch_zyx=(24, 24, 24), one_pass=True, device=FP32, **options) -> Engine:
    recipe = replace(RECIPE, patch_zyx=patch_zyx, overlap=(0.5, 0.5, 0.5), one_pass=one_pass)
    return Engine(recipe, networks, device, classes=3, **options)


def test_one_pass_is_the_network_itself_on_the_box_and_background_beyond():
    network, array = unet(), random_array(2, 48, 44, 32)
    answer, device, warnings = engine([network]).run(array, worth((48, 44, 32), (20, 28), (17, 21), (8, 24)))
    box = (slice(None), slice(4, 44), slice(1, 37), slice(0, 32))  # 8, 4 and 16 voxels with the margin of 16
    np.testing.assert_allclose(answer.foreground[box], untiled(network, array[box].copy()), atol=2e-5)
    outside = np.ones(answer.foreground.shape, bool)
    outside[box] = False
    assert (answer.foreground[outside] == 0).all()
    assert (device, warnings, answer.spread) == (FP32, [], None)


def test_far_from_the_ends_of_tiles_one_pass_and_patches_agree():
    """Without attention, three levels see 24 voxels to each side; patches of 64 in 96 end at 32 and 64."""
    network, array = unet(heads=0), random_array(2, 96, 16, 16)
    seen = np.ones(array.shape[1:], bool)
    one = engine([network], (64, 16, 16)).run(array, seen)[0].foreground
    patches = engine([network], (64, 16, 16), one_pass=False).run(array, seen)[0].foreground
    for far in (slice(0, 8), slice(88, 96)):
        np.testing.assert_allclose(patches[:, far], one[:, far], atol=1e-5)
    assert np.abs(patches - one).max() > 1e-3


def test_above_the_bound_one_pass_falls_into_tiles(monkeypatch):
    network, array = unet(), random_array(2, 96, 16, 16)
    seen = np.ones(array.shape[1:], bool)
    monkeypatch.setitem(tile_plan.MOST_PATCHES, "cpu", 1.0)
    shares = []
    split = engine([network], (32, 16, 16))
    assert next(split.rule.plans(seen, FP32)).patch_zyx == (32, 16, 16)
    found = split.run(array, seen, shares.append)[0].foreground
    assert len(shares) == 5
    plain = engine([network], (32, 16, 16), one_pass=False).run(array, seen)[0].foreground
    np.testing.assert_allclose(found, plain, atol=1e-6)


def test_members_and_flips_of_one_pass_are_averaged():
    networks, array = [unet(seed=seed) for seed in range(2)], random_array(2, 16, 16, 16)
    shares = []
    ready = engine(networks, (16, 16, 16), flip_axes="zx")
    answer = ready.run(array, np.ones((16, 16, 16), bool), shares.append)[0]
    answers = [
        np.flip(untiled(network, np.flip(array, axes).copy()), axes)
        for network in networks
        for axes in ((), (1,), (3,), (1, 3))
    ]
    np.testing.assert_allclose(answer.foreground, np.mean(answers, axis=0), atol=2e-5)
    np.testing.assert_allclose(answer.spread, np.std([a.sum(axis=0) for a in answers], axis=0), atol=2e-5)
    np.testing.assert_allclose(shares, np.arange(1, 9) / 8)  # one for each of 2 members x 4 mirrorings


@pytest.mark.skipif(not has_native_bf16(), reason="the processor does not compute in bf16")
@pytest.mark.parametrize("seed", [3, 5, 17])
def test_labels_in_bf16_are_those_of_plain_tiles_in_32_bit(seed):
    """The bundled model on a phantom patient, as shipped, against the network as it was trained in the same tiles."""
    folder = resolve_model(DEFAULT_MODEL)
    recipe = ModelCard.load(folder).recipe
    networks = load_networks(folder)
    study = make_patient(seed, economy=True).study
    region = find_head_neck(study.pet)
    grid = model_grid(study.pet_geometry, recipe.spacing_mm, region.low_mm, region.high_mm, recipe.patch_zyx)
    suv = suv_on_grid(study, grid)
    middle = tuple(slice(max(0, (n - m) // 2), (n + m) // 2) for n, m in zip(suv.shape, (120, 128, 128), strict=True))
    array, seen = network_input(study, recipe, grid, suv)[(slice(None), *middle)], suv[middle] >= 1.0  # two patches
    plain = foreground_probabilities(array, networks, recipe.patch_zyx, recipe.overlap, FP32, worth=seen)
    shipped = Engine(replace(recipe, one_pass=False), networks, cpu_device()).run(array, seen)[0].foreground
    a, b = (np.concatenate([1 - f.sum(axis=0, keepdims=True), f]).argmax(axis=0) for f in (plain, shipped))
    assert np.abs(plain - shipped).max() < 0.05
    sizes = [np.count_nonzero(labels == number) for labels in (a, b) for number in (1, 2)]
    assert min(sizes) > 100
    assert 2 * np.count_nonzero((a == b) & (a > 0)) / sum(sizes) >= 0.995
