"""The plain U-Net of MONAI's DynUNet blocks that two of the publications' networks share.

MONAI's ``DynUNet`` is the same function; it keeps every weight twice in its ``state_dict`` (once in the list of blocks,
once in the nested skip layers), and brings deep-supervision outputs to full size, which costs memory for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.blocks.dynunet_block import UnetBasicBlock, UnetOutBlock, UnetResBlock, UnetUpBlock
from torch import nn

NORMS = {"instance": ("INSTANCE", {"affine": True}), "batch": "BATCH"}


class BlockUNet(nn.Module):
    """U-Net of two 3x3x3 convolutions a level, strided on the way down, transposed convolutions on the way up.

    Z, Y and X of the input must be multiples of ``2 ** (len(channels) - 1)``.

    Args:
        in_channels, out_channels: images in, classes out.
        channels: feature maps per level, finest first; at least three levels.
        norm: ``instance`` (the patch belongs to the weights) or ``batch``.
        residual: shortcuts around the encoder's blocks.
        supervised: how many levels below the finest have an output of their own in training.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int],
        norm: str = "instance",
        residual: bool = False,
        supervised: int = 0,
    ):
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm is one of {', '.join(NORMS)}, not '{norm}'")
        if not 0 <= supervised <= len(channels) - 2:
            raise ValueError(f"{len(channels)} levels have at most {len(channels) - 2} deep outputs, not {supervised}")
        self.divisor = 2 ** (len(channels) - 1)
        block = UnetResBlock if residual else UnetBasicBlock
        widths = [in_channels, *channels]
        self.encoder = nn.ModuleList(
            block(3, a, b, 3, 1 if level == 0 else 2, NORMS[norm]) for level, (a, b) in enumerate(pairwise(widths))
        )
        self.decoder = nn.ModuleList(
            UnetUpBlock(3, deep, shallow, 3, 2, 2, NORMS[norm]) for shallow, deep in pairwise(channels)
        )
        self.head = UnetOutBlock(3, channels[0], out_channels)
        self.deep_heads = nn.ModuleList(UnetOutBlock(3, channels[1 + i], out_channels) for i in range(supervised))
        self.apply(_initialise)

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """(N, in_channels, Z, Y, X) to logits (N, out_channels, Z, Y, X).

        In training mode and with deep supervision: the list of these and of the deeper levels' logits, each level on
        a grid of half the size of the one before. In evaluation mode the deep outputs are not computed.
        """
        skips = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        skips.pop()
        deep = []
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](x, skips[level])
            if self.training and 1 <= level <= len(self.deep_heads):
                deep.insert(0, self.deep_heads[level - 1](x))
        return [self.head(x), *deep] if deep else self.head(x)


def _initialise(module: nn.Module) -> None:
    """He's initialisation for leaky ReLU, as nnU-Net."""
    if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
        nn.init.kaiming_normal_(module.weight, a=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
