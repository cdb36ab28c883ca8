"""The running average of weights against its closed form."""

from __future__ import annotations

import pytest
import torch

from HNTumorSegLib.networks.mean import mean_network
from HNTumorSegLib.training.weight_average import WeightAverage


def test_it_is_the_closed_form_of_an_exponential_average():
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(network.weight, 0.0)
    average = WeightAverage(network, 0.75)
    torch.nn.init.constant_(network.weight, 1.0)
    late = 1_000_000  # where the first steps' lower decay is over
    for n in range(1, 6):
        average.follow(late)
        assert average.network.weight.item() == pytest.approx(1 - 0.75**n)


def test_the_start_is_soon_forgotten():
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(network.weight, 100.0)
    average = WeightAverage(network, 0.999)
    torch.nn.init.constant_(network.weight, 1.0)
    for step in range(100):
        average.follow(step)
    assert average.network.weight.item() == pytest.approx(1.0, abs=0.01)


def test_counters_are_copied_and_without_decay_there_is_no_copy():
    network = torch.nn.BatchNorm1d(2)
    average = WeightAverage(network, 0.9)
    network(torch.ones(4, 2))
    average.follow(0)
    assert average.network.num_batches_tracked == 1
    assert WeightAverage(network, 0.0).network is network


def test_the_mean_network_answers_with_the_mean_of_linear_networks():
    networks = [torch.nn.Linear(3, 2) for _ in range(4)]
    before = [network.weight.clone() for network in networks]
    x = torch.randn(5, 3)
    expected = torch.stack([network(x) for network in networks]).mean(dim=0)
    assert torch.allclose(mean_network(networks)(x), expected, atol=1e-6)
    assert all(torch.equal(network.weight, b) for network, b in zip(networks, before, strict=True))


def test_the_mean_network_has_the_mean_statistics():
    networks = [torch.nn.BatchNorm1d(1) for _ in range(2)]
    networks[0].running_mean.fill_(2.0)
    networks[1].running_mean.fill_(6.0)
    assert mean_network(networks).running_mean.item() == 4.0
