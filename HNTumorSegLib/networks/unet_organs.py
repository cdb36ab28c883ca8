"""3-D U-Net for 21 organs at risk on CT (Nikolov et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence

from HNTumorSegLib.networks.block_unet import BlockUNet


class UNetOrgans(BlockUNet):
    """A residual-encoder U-Net with one output map an organ and one for the background.

    (N, in_channels, Z, Y, X) to logits (N, out_channels, Z, Y, X). Organs come in pairs that mirror each other, so a
    patch must be large enough to tell left from right. Arguments as for :class:`BlockUNet`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (32, 64, 128, 256, 320),
        norm: str = "instance",
    ):
        super().__init__(in_channels, out_channels, channels, norm, residual=True)
