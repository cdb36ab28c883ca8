"""V-Net in 3-D and slice by slice in 2-D, for CT, PET or both (Andrearczyk et al., MIDL 2020).

The blocks are MONAI's, whose own ``VNet`` has fixed widths; with the default options this is the same network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets.vnet import DownTransition, InputTransition, OutputTransition, UpTransition
from torch import nn

FUSIONS = ("early", "late")
ACTIVATION = ("elu", {"inplace": True})


class VNetBranch(nn.Module):
    """One V-Net (Milletari et al., 3DV 2016) on grids of ``dimensions`` axes."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dimensions: int,
        features: int,
        down_convolutions: Sequence[int],
        up_convolutions: Sequence[int],
        dropout: float,
    ):
        super().__init__()
        levels = len(down_convolutions)
        widths = [features * 2**i for i in range(levels + 1)]
        self.first = InputTransition(dimensions, in_channels, features, ACTIVATION)
        self.down = nn.ModuleList(
            DownTransition(
                dimensions,
                widths[i],
                count,
                ACTIVATION,
                dropout_prob=dropout if i >= levels - 2 else None,
                dropout_dim=dimensions,
            )
            for i, count in enumerate(down_convolutions)
        )
        self.up = nn.ModuleList(
            UpTransition(
                dimensions,
                widths[-1] if i == levels - 1 else 2 * widths[i + 1],
                2 * widths[i],
                count,
                ACTIVATION,
                dropout_prob=(dropout if i >= levels - 2 else None, dropout),
                dropout_dim=dimensions,
            )
            for i, count in zip(reversed(range(levels)), up_convolutions, strict=True)
        )
        self.last = OutputTransition(dimensions, 2 * features, out_channels, ACTIVATION)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in_channels, [Z,] Y, X) to logits (N, out_channels, [Z,] Y, X)."""
        skips = [self.first(x)]
        for block in self.down:
            skips.append(block(skips[-1]))
        x = skips.pop()
        for block in self.up:
            x = block(x, skips.pop())
        return self.last(x)


class VNet(nn.Module):
    """V-Net over all channels (early fusion) or one V-Net a channel (late fusion).

    In late fusion the branches' logits are concatenated and mixed by a 1x1x1 convolution that begins as their mean.
    Z, Y and X of the input must be multiples of ``2 ** len(down_convolutions)``; in 2-D, Z may be anything, each slice
    is a sample of its own and the answer for it does not depend on its neighbours (batch norm, once trained).

    Args:
        in_channels, out_channels: images in, classes out. With one channel both fusions are the plain V-Net.
        dimensions: 3 or 2.
        fusion: ``early`` or ``late``.
        features: feature maps of the finest level; each level below has twice as many.
        down_convolutions, up_convolutions: 5-wide convolutions per level, in the order they run.
        dropout: share of feature maps dropped in the two deepest levels and in the skips.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dimensions: int = 3,
        fusion: str = "early",
        features: int = 16,
        down_convolutions: Sequence[int] = (1, 2, 3, 2),
        up_convolutions: Sequence[int] = (2, 2, 1, 1),
        dropout: float = 0.5,
    ):
        super().__init__()
        if dimensions not in (2, 3):
            raise ValueError(f"dimensions is 2 or 3, not {dimensions}")
        if fusion not in FUSIONS:
            raise ValueError(f"fusion is one of {', '.join(FUSIONS)}, not '{fusion}'")
        if len(down_convolutions) != len(up_convolutions):
            raise ValueError("down_convolutions and up_convolutions name a different number of levels")
        self.dimensions = dimensions
        self.divisor = 2 ** len(down_convolutions)
        late = fusion == "late" and in_channels > 1
        options = (out_channels, dimensions, features, down_convolutions, up_convolutions, dropout)
        branches, width = (in_channels, 1) if late else (1, in_channels)
        self.branches = nn.ModuleList(VNetBranch(width, *options) for _ in range(branches))
        self.mix = _mean_of_branches(branches, out_channels, dimensions) if late else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in_channels, Z, Y, X) to logits (N, out_channels, Z, Y, X), in 2-D too."""
        if self.dimensions == 3:
            return self._fused(x)
        n, channels, z, *plane = x.shape
        slices = x.transpose(1, 2).reshape(n * z, channels, *plane)
        return self._fused(slices).reshape(n, z, -1, *plane).transpose(1, 2)

    def _fused(self, x: torch.Tensor) -> torch.Tensor:
        parts = x.chunk(len(self.branches), dim=1)
        return self.mix(torch.cat([branch(part) for branch, part in zip(self.branches, parts, strict=True)], dim=1))


def _mean_of_branches(branches: int, out_channels: int, dimensions: int) -> nn.Module:
    convolution = nn.Conv3d if dimensions == 3 else nn.Conv2d
    mix = convolution(branches * out_channels, out_channels, 1)
    with torch.no_grad():
        share = torch.eye(out_channels).repeat(1, branches) / branches
        mix.weight.copy_(share.view(mix.weight.shape))
        mix.bias.zero_()
    return mix
