"""Tiling against brute force and the untiled network."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from constant_net import Always
from inference_cases import FP32, convolution_net, random_array, untiled

from HNTumorSegLib.inference.tiling import foreground_probabilities, gaussian_profile, tile_starts


class Pointwise(torch.nn.Module):
    """Logits that depend on the voxel alone."""

    def forward(self, x):
        first = x[:, :1]
        return torch.cat([torch.zeros_like(first), 3 * first - 1, 2 - 4 * first], dim=1)


# --- tiles and weights ---


@pytest.mark.parametrize(("length", "patch", "overlap"), [(100, 32, 0.75), (33, 32, 0.5), (64, 16, 0.0), (7, 7, 0.5)])
def test_tiles_cover_the_axis_and_overlap_enough(length, patch, overlap):
    starts = tile_starts(length, patch, overlap)
    covered = np.zeros(length, int)
    for start in starts:
        assert 0 <= start <= length - patch
        covered[start : start + patch] += 1
    assert covered.min() >= 1
    assert all(b - a <= np.ceil(patch * (1 - overlap)) for a, b in itertools.pairwise(starts))
    assert len(starts) <= np.ceil((length - patch) / (patch * (1 - overlap))) + 1


def test_overlap_must_be_a_share():
    with pytest.raises(ValueError, match="overlap"):
        tile_starts(64, 32, 1.0)


def test_gaussian_has_its_full_width_at_half_maximum_at_the_patch():
    """Nikulin 2023: FWHM = side of the patch: 1/2 at the outer faces, half a voxel beyond the last centre."""
    profile = gaussian_profile(32).astype(float)
    np.testing.assert_allclose(profile, profile[::-1])
    assert np.log(profile[0]) / np.log(0.5) == pytest.approx((15.5 / 16) ** 2)


@pytest.mark.parametrize("shape", [(40, 36, 50), (16, 12, 12), (10, 30, 5)])
def test_probabilities_of_constant_answers_stay_what_they_are(shape):
    """The weights of all tiles sum to one at every voxel."""
    result = foreground_probabilities(
        random_array(1, *shape), [Always(0.2, 0.5, 0.3)], (16, 12, 12), (0.75, 0.5, 0.3), FP32
    )
    assert result.shape == (2, *shape)
    np.testing.assert_allclose(result[0], 0.5, atol=1e-5)
    np.testing.assert_allclose(result[1], 0.3, atol=1e-5)


@pytest.mark.parametrize("shape", [(40, 36, 50), (10, 30, 5)])
def test_tiling_of_a_pointwise_network_is_the_untiled_network(shape):
    array = random_array(2, *shape)
    result = foreground_probabilities(array, [Pointwise()], (16, 12, 12), (0.5, 0.5, 0.5), FP32)
    np.testing.assert_allclose(result, untiled(Pointwise(), array), atol=1e-5)


def test_tiling_equals_the_untiled_network_where_no_tile_ends_near():
    """Patch 16, overlap 1/2: tiles end at multiples of 8, so positions 2 to 5 modulo 8 are two voxels from any end."""
    array, net = random_array(2, 40, 40, 40), convolution_net()
    result = foreground_probabilities(array, [net], (16, 16, 16), (0.5, 0.5, 0.5), FP32)
    whole = untiled(net, array)
    far = np.isin(np.arange(40) % 8, (2, 3, 4, 5))
    inner = np.ix_([True, True], far, far, far)
    np.testing.assert_allclose(result[inner], whole[inner], atol=1e-5)
    assert np.abs(result - whole).max() > 1e-3  # elsewhere the tiles' zero padding shows


def test_tiling_equals_a_brute_force_sum():
    array, nets = random_array(2, 30, 26, 21), [convolution_net(0), convolution_net(1)]
    patch, overlap = (16, 12, 12), (0.75, 0.5, 0.25)
    result = foreground_probabilities(array, nets, patch, overlap, FP32)
    position = np.stack(np.meshgrid(*(np.arange(p) for p in patch), indexing="ij"), axis=-1)
    half_widths = (position - (np.array(patch) - 1) / 2) / np.array(patch) * 2
    weight = 0.5 ** (half_widths**2).sum(axis=-1)
    total, weights = np.zeros((2, 30, 26, 21)), np.zeros((30, 26, 21))
    axes = [tile_starts(n, p, o) for n, p, o in zip((30, 26, 21), patch, overlap, strict=True)]
    for corner in itertools.product(*axes):
        box = tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True))
        tile = np.ascontiguousarray(array[(slice(None), *box)])
        total[(slice(None), *box)] += weight * sum(untiled(net, tile) for net in nets) / 2
        weights[box] += weight
    np.testing.assert_allclose(result, total / weights, atol=1e-5)


def test_every_tile_has_the_models_patch():
    """With instance norm the patch belongs to the weights, also where the volume is smaller."""
    seen = set()

    class Recorder(Pointwise):
        def forward(self, x):
            seen.add(tuple(x.shape))
            return super().forward(x)

    for shape in ((20, 20, 20), (5, 40, 8)):
        foreground_probabilities(random_array(2, *shape), [Recorder()], (8, 16, 12), (0.5, 0.5, 0.5), FP32)
    assert seen == {(1, 2, 8, 16, 12)}


def test_padding_holds_the_channels_own_values():
    class Recorder(Pointwise):
        def forward(self, x):
            assert (x[0, 0, 4:] == 0.25).all()
            assert (x[0, 1, 4:] == 0.75).all()
            return super().forward(x)

    foreground_probabilities(
        random_array(2, 4, 8, 8), [Recorder()], (8, 8, 8), (0.5, 0.5, 0.5), FP32, padding=(0.25, 0.75)
    )


def test_tiles_without_anything_worth_looking_at_are_background():
    worth = np.zeros((32, 8, 8), bool)
    worth[2] = True
    result = foreground_probabilities(
        random_array(1, 32, 8, 8), [Always(0.2, 0.5, 0.3)], (8, 8, 8), (0.0, 0.0, 0.0), FP32, worth=worth
    )
    np.testing.assert_allclose(result[0, :8], 0.5, atol=1e-5)
    assert (result[:, 8:] == 0).all()
    nothing = foreground_probabilities(
        random_array(1, 8, 8, 8), [Always(0.2, 0.5, 0.3)], (8, 8, 8), (0.0,) * 3, FP32, worth=np.zeros((8, 8, 8), bool)
    )
    assert (nothing == 0).all()


def test_flipped_average_is_mirror_symmetric():
    """The mean over x and its mirror image commutes with mirroring, whatever the network."""
    array, net = random_array(2, 8, 8, 8), convolution_net()
    options = {"patch_zyx": (8, 8, 8), "overlap": (0.0,) * 3, "device": FP32, "flip_axes": "x"}
    result = foreground_probabilities(array, [net], **options)
    mirrored = foreground_probabilities(np.ascontiguousarray(array[..., ::-1]), [net], **options)
    np.testing.assert_allclose(result, mirrored[..., ::-1], atol=1e-6)
    assert np.abs(result - untiled(net, array)).max() > 1e-3
