"""NormResSE-UNet3+ (Bourigault et al., HECKTOR 2021): full-scale skips, SE residual blocks, deep supervision.

Full-scale skips after Huang et al., ICASSP 2020 (UNet 3+); squeeze-and-excitation normalisation after Iantsen et al.,
HECKTOR 2020. No library has either in 3-D.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

SQUEEZE = 2
"""A squeezed vector is so many times shorter than the feature maps it weighs."""


class SENorm(nn.Module):
    """Instance norm whose scale (0 to 1) and shift (-1 to 1) per map follow from the maps' means (Iantsen et al.)."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.InstanceNorm3d(channels)
        squeezed = max(1, channels // SQUEEZE)
        self.scale = nn.Sequential(
            nn.Linear(channels, squeezed), nn.ReLU(), nn.Linear(squeezed, channels), nn.Sigmoid()
        )
        self.shift = nn.Sequential(nn.Linear(channels, squeezed), nn.ReLU(), nn.Linear(squeezed, channels), nn.Tanh())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, Z, Y, X) to the same shape."""
        mean = x.mean(dim=(2, 3, 4))
        scale, shift = (f(mean)[:, :, None, None, None] for f in (self.scale, self.shift))
        return scale * self.norm(x) + shift


class ResidualSEBlock(nn.Module):
    """Two 3x3x3 convolutions with SE normalisation and a shortcut."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.first = nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False)
        self.first_norm = SENorm(out_channels)
        self.second = nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False)
        self.second_norm = SENorm(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(nn.Conv3d(in_channels, out_channels, 1, bias=False), SENorm(out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in_channels, Z, Y, X) to (N, out_channels, Z, Y, X)."""
        y = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.second_norm(self.second(y)) + self.shortcut(x))


class FullScaleNode(nn.Module):
    """One level of the decoder: every level's maps, brought to this level's grid and reduced to one width, fused.

    Finer levels are max-pooled and then convolved; coarser ones are convolved on their own grid, where it is cheap,
    and then interpolated.
    """

    def __init__(self, level: int, widths: Sequence[int], factors: Sequence[int], out_width: int):
        super().__init__()
        self.pools = [math.prod(factors[i:level]) for i in range(level)]
        self.reduce = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(width, out_width, 3, padding=1, bias=False),
                nn.InstanceNorm3d(out_width, affine=True),
                nn.ReLU(inplace=True),
            )
            for width in widths
        )
        fused = len(widths) * out_width
        self.fuse = nn.Conv3d(fused, fused, 3, padding=1, bias=False)
        self.fuse_norm = SENorm(fused)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Maps of all levels, finest first (encoder above and at this level, decoder below), to this level's."""
        level = len(self.pools)
        grid = maps[level].shape[2:]
        parts = []
        for index, (x, reduce) in enumerate(zip(maps, self.reduce, strict=True)):
            y = reduce(functional.max_pool3d(x, self.pools[index]) if index < level else x)
            parts.append(functional.interpolate(y, grid, mode="trilinear") if index > level else y)
        return functional.relu(self.fuse_norm(self.fuse(torch.cat(parts, dim=1))))


class NormResSEUNet3Plus(nn.Module):
    """The network; Z, Y and X of the input must be multiples of the product of ``factors``.

    With the default options an input of 2 x 144^3 gives 384 x 3^3 at the bottom, as the publication says.

    Args:
        in_channels, out_channels: images in, classes out.
        channels: feature maps of the encoder per level, finest first.
        factors: by what each level's grid is coarser than the one above; one fewer than ``channels``.
        skip_channels: feature maps that each level gives to a node of the decoder.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (24, 48, 96, 192, 384, 384),
        factors: Sequence[int] = (2, 2, 2, 2, 3),
        skip_channels: int = 24,
    ):
        super().__init__()
        if len(factors) != len(channels) - 1:
            raise ValueError(f"{len(channels)} levels need {len(channels) - 1} factors, not {len(factors)}")
        self.factors = tuple(factors)
        self.divisor = math.prod(factors)
        self.encoder = nn.ModuleList(ResidualSEBlock(a, b) for a, b in pairwise([in_channels, *channels]))
        levels, fused = len(channels), len(channels) * skip_channels
        self.decoder = nn.ModuleList()
        for level in range(levels - 1):
            # Levels above and at this one come from the encoder, the bottom too; those between from the decoder.
            widths = [*channels[: level + 1], *[fused] * (levels - 2 - level), channels[-1]]
            self.decoder.append(FullScaleNode(level, widths, factors, skip_channels))
        self.heads = nn.ModuleList(nn.Conv3d(fused, out_channels, 1) for _ in range(levels - 1))
        self.bottom_head = nn.Conv3d(channels[-1], out_channels, 1)

    def encode(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The encoder's maps of each level, finest first: (N, channels[i], Z/f, Y/f, X/f)."""
        maps = []
        for level, block in enumerate(self.encoder):
            x = block(functional.max_pool3d(x, self.factors[level - 1]) if level else x)
            maps.append(x)
        return maps

    def deep_features(self, x: torch.Tensor) -> torch.Tensor:
        """Means of the bottom's maps, (N, channels[-1]): the publication's features for survival."""
        return self.encode(x)[-1].mean(dim=(2, 3, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """(N, in_channels, Z, Y, X) to logits (N, out_channels, Z, Y, X).

        In training mode: the list of the logits of every level, finest first, the bottom last, all interpolated to
        the input's grid. In evaluation mode the deep outputs are not computed.
        """
        maps = self.encode(x)
        for level in reversed(range(len(self.decoder))):
            maps[level] = self.decoder[level](maps)
        finest = self.heads[0](maps[0])
        if not self.training:
            return finest
        deep = [head(y) for head, y in zip([*self.heads, self.bottom_head][1:], maps[1:], strict=True)]
        return [finest, *(functional.interpolate(y, x.shape[2:], mode="trilinear") for y in deep)]
