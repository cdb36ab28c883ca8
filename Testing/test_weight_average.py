"""The running average of weights against its closed form."""

from __future__ import annotations

import pytest
import torch

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
