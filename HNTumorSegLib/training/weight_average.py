"""The running average of a network's weights in training."""

from __future__ import annotations

import copy

import torch


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
