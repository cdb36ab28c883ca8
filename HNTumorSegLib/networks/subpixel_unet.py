"""A residual U-Net with attention that works on a grid half as fine as its images and answers on theirs.

A PET's resolution is 5 to 7 mm, so at 2.5 mm neighbouring voxels say nearly the same, and the finest level of an
ordinary U-Net spends half of its time there. Here a strided convolution folds blocks of 2x2x2 voxels into features, the
U-Net (:mod:`attention_unet`) works on these, and every feature vector answers for the eight voxels of its block
(sub-pixel convolution: Shi et al., CVPR 2016). With batch norm nothing depends on the tile, so one pass over all of a
head and neck is the same function.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from HNTumorSegLib.networks.attention_unet import NORMS, AttentionUNet

FOLD = 2
"""Voxels of the images along each axis that make one of the network's grid."""


class SubpixelUNet(nn.Module):
    """The network; Z, Y and X of the input must be multiples of ``2 ** len(channels)``.

    Args:
        in_channels, out_channels: images in (normalised to 0..1), classes out.
        channels: feature maps per level of the U-Net, finest first.
        heads, norm: as in :class:`AttentionUNet`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (32, 64, 96, 128),
        heads: int = 4,
        norm: str = "batch",
    ):
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm is one of {', '.join(NORMS)}, not '{norm}'")
        self.out_channels = out_channels
        self.fold = nn.Sequential(
            nn.Conv3d(2 * in_channels, channels[0], FOLD, FOLD, bias=False),
            NORMS[norm](channels[0]),
            nn.LeakyReLU(0.01, inplace=True),
        )
        self.body = AttentionUNet(channels[0], out_channels * FOLD**3, channels, heads, norm)
        self.divisor = FOLD * self.body.divisor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in_channels, Z, Y, X) to logits (N, out_channels, Z, Y, X)."""
        # The root spreads the low end, where faint nodes differ from muscle by a few hundredths of the window.
        x = torch.cat([x, x.clamp(min=0).sqrt()], dim=1)
        return self._unfold(self.body(self.fold(x)))

    def _unfold(self, x: torch.Tensor) -> torch.Tensor:
        """(N, classes * 8, Z/2, Y/2, X/2) to (N, classes, Z, Y, X)."""
        n, _, *grid = x.shape
        x = x.view(n, self.out_channels, FOLD, FOLD, FOLD, *grid).permute(0, 1, 5, 2, 6, 3, 7, 4)
        return x.reshape(n, self.out_channels, *(FOLD * side for side in grid))
