"""One file per published network; built by name so that a model card can say which."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from HNTumorSegLib.errors import ModelError

if TYPE_CHECKING:
    import torch

NETWORKS = {
    "attention_unet": ("HNTumorSegLib.networks.attention_unet", "AttentionUNet"),
}
"""Network name to (module, class); the module is imported, and torch with it, when a network is built."""


def build_network(name: str, in_channels: int, out_channels: int, **options: Any) -> torch.nn.Module:
    """A network with fresh weights: input (N, in_channels, Z, Y, X), output logits (N, out_channels, Z, Y, X).

    Raises :class:`ModelError` for an unknown name or unknown options.
    """
    if name not in NETWORKS:
        raise ModelError(f"There is no network '{name}'; there are {', '.join(sorted(NETWORKS))}.")
    module, class_name = NETWORKS[name]
    try:
        return getattr(import_module(module), class_name)(in_channels, out_channels, **options)
    except (TypeError, ValueError) as error:
        raise ModelError(f"The network '{name}' cannot be built with {options}: {error}.") from error
