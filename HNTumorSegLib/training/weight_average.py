"""Averages of weights: of one network in training over its steps, and of several that began as one."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch


@torch.no_grad()
def mean_network(networks: Sequence[torch.nn.Module]) -> torch.nn.Module:
    """One network with the mean of the others' weights, batch norms' statistics included (Wortsman et al., ICML 2022).

    It is of use only for networks that were trained on from the same weights; between others there is no common ground
    and the mean is nonsense. ``networks`` are not changed.
    """
    mean = copy.deepcopy(networks[0])
    states = [network.state_dict() for network in networks]
    for name, value in mean.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.stack([state[name].double() for state in states]).mean(dim=0))
    return mean


class WeightAverage:
    """Follows a network in training (exponential moving average, after Polyak and Juditsky 1992).

    Args:
        network: the network that is trained.
        decay: share of the old average that a step keeps; in the first steps less, so that the random start is soon
            forgotten. 0: no average, :attr:`network` is the network itself.
    """

    def __init__(self, network: torch.nn.Module, decay: float):
        self._followed = network
        self.decay = decay
        self.network = copy.deepcopy(network) if decay else network

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move a little towards the network after its step number ``step`` (from 0)."""
        if not self.decay:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        ours, theirs = self.network.state_dict(), self._followed.state_dict()
        for name, mine in ours.items():
            if mine.is_floating_point():
                mine.lerp_(theirs[name], 1 - decay)
            else:
                mine.copy_(theirs[name])
