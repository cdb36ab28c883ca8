"""One file per published network; built by name so that a model card can say which."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from HNTumorSegLib.errors import ModelError

if TYPE_CHECKING:
    import torch

NETWORKS = {
    "attention_unet": ("HNTumorSegLib.networks.attention_unet", "AttentionUNet"),
    "subpixel_unet": ("HNTumorSegLib.networks.subpixel_unet", "SubpixelUNet"),
    "vnet": ("HNTumorSegLib.networks.vnet", "VNet"),
    "unet_deep_supervision": ("HNTumorSegLib.networks.unet_deep_supervision", "UNetDeepSupervision"),
    "unet_organs": ("HNTumorSegLib.networks.unet_organs", "UNetOrgans"),
    "nnunet_unet": ("HNTumorSegLib.networks.nnunet_unet", "NnUNet"),
    "monai_network": ("HNTumorSegLib.networks.monai_network", "MonaiNetwork"),
    "norm_res_se_unet3plus": ("HNTumorSegLib.networks.norm_res_se_unet3plus", "NormResSEUNet3Plus"),
}
"""Network name to (module, class); the module is imported, and torch with it, when a network is built."""


def build_network(name: str, in_channels: int, out_channels: int, **options: Any) -> torch.nn.Module:
    """A network with fresh weights: input (N, in_channels, Z, Y, X), output logits (N, out_channels, Z, Y, X).

    A network with deep supervision answers with a list of logits in training mode, finest first, and with the first of
    them in evaluation mode. ``network.divisor``: of what the grid's sides must be multiples.

    Raises :class:`ModelError` for an unknown name or unknown options.
    """
    if name not in NETWORKS:
        raise ModelError(f"There is no network '{name}'; there are {', '.join(sorted(NETWORKS))}.")
    module, class_name = NETWORKS[name]
    try:
        return getattr(import_module(module), class_name)(in_channels, out_channels, **options)
    except (TypeError, ValueError) as error:
        raise ModelError(f"The network '{name}' cannot be built with {options}: {str(error).rstrip('.')}.") from error
