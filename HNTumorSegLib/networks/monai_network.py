"""A network of MONAI's by name, for imported bundles."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

MONAI_NETWORKS = (
    "AttentionUnet",
    "BasicUNet",
    "DynUNet",
    "SegResNet",
    "SwinUNETR",
    "UNETR",
    "UNet",
    "VNet",
)
"""Those that map (N, C, X, Y, Z) to logits (N, K, X, Y, Z) and take plain values only."""


class MonaiNetwork(nn.Module):
    """``monai.networks.nets.KIND(**options)``; axes are MONAI's, x first.

    Args:
        in_channels, out_channels: what the options must amount to, under whatever names.
        kind: one of :data:`MONAI_NETWORKS`.
        options: its keyword arguments.
    """

    def __init__(self, in_channels: int, out_channels: int, *, kind: str, options: dict[str, Any]):
        super().__init__()
        if kind not in MONAI_NETWORKS:
            raise ValueError(f"the MONAI network is one of {', '.join(MONAI_NETWORKS)}, not '{kind}'")
        from monai.networks import nets

        for what, expected in (("in_channels", in_channels), ("out_channels", out_channels)):
            if what in options and options[what] != expected:
                raise ValueError(f"{what} is {options[what]} and the model has {expected}")
        self.network = getattr(nets, kind)(**options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits; of several heads (deep supervision) the first."""
        answer = self.network(x)
        return answer[0] if isinstance(answer, (list, tuple)) else answer
