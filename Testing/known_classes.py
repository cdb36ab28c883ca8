"""Networks in model folders whose answers can be worked out: classes by density, or by uptake with any thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.models.loading import write_model
from HNTumorSegLib.recipes.recipe import Channel, Recipe

NETWORK = ("density", ("known_classes", "DensityNet"))
"""What a test puts into the table of networks."""


class DensityNet(torch.nn.Module):
    """Of the last channel (0 to 1): class 1 between ``low`` and ``high``, class 2 above; certain but at the limits."""

    def __init__(self, in_channels: int, out_channels: int, low: float = 0.25, high: float = 0.75):
        super().__init__()
        assert out_channels == 3
        self.limits = torch.nn.Parameter(torch.tensor([low, high]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value = x[:, -1:]
        low, high = self.limits
        return 400 * torch.cat([low - value, torch.minimum(value - low, high - value), value - high], 1)


def write_density_model(
    folder: Path,
    channels: Sequence[Channel],
    classes: Sequence[str],
    limits: Sequence[tuple[float, float]] = ((0.25, 0.75),),
    spacing_mm: float = 2.0,
) -> ModelCard:
    """One member for each pair of limits."""
    recipe = Recipe(
        name="density",
        source="a test",
        channels=tuple(channels),
        spacing_mm=spacing_mm,
        patch_zyx=(32, 32, 32),
        overlap=(0.0, 0.0, 0.0),
        network="density",
        classes=tuple(classes),
    )
    words = {"intended_use": "tests", "limitations": "all", "training_data": "none", "licence": "CC0-1.0"}
    networks = [DensityNet(len(channels), len(classes), *pair) for pair in limits]
    return write_model(folder, recipe, networks, name="density", version="1", **words)
