"""Which tile sizes to try when the GPU's memory does not hold the model's patch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SMALLEST_SHARE = 0.5
"""No side of a tile goes below this share of the model's patch: the network still sees the surroundings."""


def takes_any_tile(networks: Sequence[torch.nn.Module]) -> bool:
    """Whether the networks were made for tiles of any size.

    So it is with batch norm, whose statistics are fixed after training. Instance and group norm compute theirs from the
    tile, and a network without any of these may do so by hand: there the patch belongs to the weights.
    """
    from torch import nn

    fixed, from_tile = nn.modules.batchnorm._BatchNorm, (nn.modules.instancenorm._InstanceNorm, nn.GroupNorm)
    return all(
        any(isinstance(module, fixed) for module in network.modules())
        and not any(isinstance(module, from_tile) for module in network.modules())
        for network in networks
    )


def tile_sizes(patch_zyx: Sequence[int], networks: Sequence[torch.nn.Module]) -> Iterator[tuple[int, int, int]]:
    """The model's patch, then sizes of half the voxels each, as far as the networks allow.

    The longest side is halved. Sides stay multiples of the networks' ``divisor`` (1 for those that name none) and at
    least :data:`SMALLEST_SHARE` of the patch's.
    """
    size = tuple(patch_zyx)
    yield size
    if not takes_any_tile(networks):
        return
    divisor = max(getattr(network, "divisor", 1) for network in networks)
    while True:
        axes = [
            axis
            for axis in range(3)
            if size[axis] % (2 * divisor) == 0 and size[axis] / 2 >= SMALLEST_SHARE * patch_zyx[axis]
        ]
        if not axes:
            return
        longest = max(axes, key=lambda axis: size[axis])
        size = tuple(n // 2 if axis == longest else n for axis, n in enumerate(size))
        yield size
