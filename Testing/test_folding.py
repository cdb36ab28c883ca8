"""Batch norms folded into convolutions: the same function, and the network itself untouched."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from HNTumorSegLib.networks import build_network
from HNTumorSegLib.networks.folding import with_folded_norms

SMALL = {"channels": [4, 6, 8], "heads": 2, "norm": "batch"}
NETWORKS = {
    "attention_unet": (SMALL, 0),
    "subpixel_unet": (SMALL, 0),
    # MONAI's blocks are no plain nn.Sequential and keep their norms.
    "unet_deep_supervision": ({"channels": [4, 6, 8], "supervised": 1}, None),
}
SHAPE = (1, 2, 16, 24, 16)


def trained(network: nn.Module) -> nn.Module:
    """The network with statistics and weights of its norms that a training might leave."""
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            for values, low, high in (
                (module.running_mean, -1.0, 1.0),
                (module.running_var, 0.2, 3.0),
                (module.weight.data, -2.0, 2.0),
                (module.bias.data, -1.0, 1.0),
            ):
                values.uniform_(low, high)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)) for module in network.modules())


@pytest.mark.parametrize("name", NETWORKS)
def test_folded_networks_answer_as_before(name):
    options, left = NETWORKS[name]
    torch.manual_seed(0)
    network = trained(build_network(name, 2, 3, **options))
    state = copy.deepcopy(network.state_dict())
    folded = with_folded_norms(network)
    assert norms(folded) == (norms(network) if left is None else left)
    x = torch.rand(SHAPE)
    with torch.no_grad():
        before = network(x)
        torch.testing.assert_close(folded(x), before, atol=1e-4 * float(before.abs().max()), rtol=0)
    assert before.std() > 0.01
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert folded.divisor == network.divisor


def test_convolutions_with_a_bias_and_two_dimensions():
    torch.manual_seed(0)
    network = trained(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1)))
    folded = with_folded_norms(network)
    assert norms(folded) == 0
    x = torch.rand(1, 2, 9, 9)
    torch.testing.assert_close(folded(x), network(x).detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["attention_unet", "subpixel_unet"])
def test_channels_last_is_the_same_function(name):
    torch.manual_seed(0)
    network = trained(build_network(name, 2, 3, **SMALL))
    folded = with_folded_norms(network, channels_last=True)
    strides = [parameter.stride()[1] for parameter in folded.parameters() if parameter.dim() == 5]
    assert set(strides) == {1}
    x = torch.rand(SHAPE)
    with torch.no_grad():
        before = network(x)
        torch.testing.assert_close(folded(x), before, atol=1e-4 * float(before.abs().max()), rtol=0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert folded(x).shape == before.shape


def test_a_norm_that_does_not_follow_a_convolution_stays():
    network = trained(nn.Sequential(nn.BatchNorm3d(2), nn.Conv3d(2, 3, 1), nn.ReLU(), nn.BatchNorm3d(3)))
    assert with_folded_norms(network) is network
    assert norms(network) == 2


def test_dropout_and_training_mode_are_off():
    network = nn.Sequential(nn.Conv3d(2, 3, 1), nn.BatchNorm3d(3), nn.Dropout(0.9)).train()
    folded = with_folded_norms(network)
    assert not any(module.training for module in folded.modules())
    assert not any(parameter.requires_grad for parameter in folded.parameters())
