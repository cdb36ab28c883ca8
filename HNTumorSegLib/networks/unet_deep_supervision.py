"""3-D U-Net with deep supervision (Yang et al., SegRap 2023: a pure 3-D U-Net on two concatenated CT channels)."""

from __future__ import annotations

from collections.abc import Sequence

from HNTumorSegLib.networks.block_unet import BlockUNet


class UNetDeepSupervision(BlockUNet):
    """The plain U-Net whose levels below the finest are compared with the labels too.

    In training mode the answer is a list of logits, finest first: (N, out_channels, Z, Y, X), then (N, out_channels,
    Z/2, Y/2, X/2) and so on; in evaluation mode only the first. Arguments as for :class:`BlockUNet`; the defaults are
    nnU-Net's widths, after which the publication models its network.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (32, 64, 128, 256, 320, 320),
        supervised: int = 3,
        norm: str = "instance",
    ):
        super().__init__(in_channels, out_channels, channels, norm, supervised=supervised)
