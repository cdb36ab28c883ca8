"""A network whose answer is known: tissue hotter than SUV 4 is a lesion, a node where the CT is denser than 75 HU."""

from __future__ import annotations

from pathlib import Path

import torch
from known_model import write_known_model

from HNTumorSegLib.recipes.recipe import CT, PET, Channel, Recipe

NETWORK = ("threshold", ("threshold_net", "ThresholdNet"))
"""What a test puts into the table of networks."""


class ThresholdNet(torch.nn.Module):
    """Logits background, primary, node from the PET (channel 0, SUV 0 to 10) and the CT (channel 1, -150 to 150 HU)."""

    def __init__(self, in_channels: int, out_channels: int, threshold: float = 0.4):
        super().__init__()
        assert (in_channels, out_channels) == (2, 3)
        self.threshold = torch.nn.Parameter(torch.tensor(threshold))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pet, ct = x[:, :1], x[:, 1:2]
        hot = 200 * (pet - self.threshold)
        dense = ct > 0.75
        return torch.cat([torch.zeros_like(hot), torch.where(dense, -50, hot), torch.where(dense, hot, -50)], 1)


def write_threshold_model(folder: Path, spacing_mm: float) -> Path:
    recipe = Recipe(
        name="threshold",
        source="a test",
        channels=(Channel(PET, (0, 10)), Channel(CT, (-150, 150), missing=0.0)),
        spacing_mm=spacing_mm,
        patch_zyx=(32, 32, 32),
        network="threshold",
    )
    return write_known_model(folder, recipe, ThresholdNet(2, 3))
