"""Residual 3-D U-Net with multi-head self-attention at the bottom (Nikulin et al., EJNMMI 2023).

The paper names the parts (residual U-Net, one multi-head self-attention block at the bottom for global context) and
leaves widths, depth and normalisation to its supplement; those are options here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

NORMS = {
    "batch": lambda channels: nn.BatchNorm3d(channels),
    "instance": lambda channels: nn.InstanceNorm3d(channels, affine=True),
}


class ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions with normalisation and a shortcut; ``stride`` halves the grid in the first one."""

    CONV_THEN_NORM = (("first", "first_norm"), ("second", "second_norm"))

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, norm: str = "batch"):
        super().__init__()
        self.first = nn.Conv3d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.first_norm = NORMS[norm](out_channels)
        self.second = nn.Conv3d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.second_norm = NORMS[norm](out_channels)
        self.activation = nn.LeakyReLU(0.01, inplace=True)
        if in_channels == out_channels and stride == 1:
            self.shortcut: nn.Module = nn.Identity()
        else:
            self.shortcut = nn.Conv3d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in_channels, Z, Y, X) to (N, out_channels, Z/stride, Y/stride, X/stride)."""
        y = self.activation(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        return self.activation(y + self.shortcut(x))


class SelfAttention(nn.Module):
    """Multi-head self-attention over all voxels of a coarse grid, with a bias that depends on relative position.

    The bias is a small network of the offset between two voxels (in voxels of the coarse grid, divided by
    ``POSITION_SCALE``), so one set of weights serves every grid size.
    """

    POSITION_SCALE = 8.0

    def __init__(self, channels: int, heads: int):
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels cannot be shared by {heads} heads")
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.to_qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.to_out = nn.Linear(channels, channels)
        self.position = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, heads))

    def position_bias(self, grid: Sequence[int]) -> torch.Tensor:
        """Bias (1, heads, tokens, tokens) of a grid (z, y, x)."""
        weight = self.position[0].weight
        reach = [torch.arange(1 - n, n, device=weight.device, dtype=weight.dtype) for n in grid]
        offsets = torch.stack(torch.meshgrid(*reach, indexing="ij"), dim=-1) / self.POSITION_SCALE
        table = self.position(offsets).flatten(0, 2)  # every possible offset once, then looked up
        index = [torch.arange(n, device=weight.device) for n in grid]
        tokens = torch.stack(torch.meshgrid(*index, indexing="ij"), dim=-1).flatten(0, 2)
        difference = tokens[:, None] - tokens[None] + torch.tensor([n - 1 for n in grid], device=weight.device)
        rows, columns = 2 * grid[1] - 1, 2 * grid[2] - 1
        flat = (difference[..., 0] * rows + difference[..., 1]) * columns + difference[..., 2]
        return table[flat].permute(2, 0, 1)[None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, Z, Y, X) to the same shape; the input is added to the attended values."""
        n, channels, *grid = x.shape
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        q, k, v = self.to_qkv(tokens).view(n, -1, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        bias = self.position_bias(grid).to(q.dtype)
        attended = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        attended = self.to_out(attended.transpose(1, 2).flatten(2))
        return x + attended.transpose(1, 2).reshape(x.shape)


class AttentionUNet(nn.Module):
    """The network; Z, Y and X of the input must be multiples of ``2 ** (len(channels) - 1)``.

    Args:
        in_channels, out_channels: images in, classes out.
        channels: feature maps per level, finest first.
        heads: attention heads at the bottom; 0 leaves attention out.
        norm: ``batch`` (the answer does not depend on the patch) or ``instance``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (16, 32, 64, 128),
        heads: int = 4,
        norm: str = "batch",
    ):
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm is one of {', '.join(NORMS)}, not '{norm}'")
        self.divisor = 2 ** (len(channels) - 1)
        widths = [in_channels, *channels]
        self.encoder = nn.ModuleList(
            ResidualBlock(widths[i], widths[i + 1], 1 if i == 0 else 2, norm) for i in range(len(channels))
        )
        self.attention = SelfAttention(channels[-1], heads) if heads else nn.Identity()
        self.upsample = nn.ModuleList(
            nn.ConvTranspose3d(deep, shallow, 2, 2, bias=False) for shallow, deep in pairwise(channels)
        )
        self.decoder = nn.ModuleList(ResidualBlock(2 * width, width, 1, norm) for width in channels[:-1])
        self.head = nn.Conv3d(channels[0], out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in_channels, Z, Y, X) to logits (N, out_channels, Z, Y, X)."""
        skips = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        x = self.attention(skips.pop())
        for level in reversed(range(len(self.decoder))):
            x = torch.cat([self.upsample[level](x), skips[level]], dim=1)
            x = self.decoder[level](x)
        return self.head(x)
