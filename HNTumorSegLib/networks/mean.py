"""One network from several that began as one."""

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
