"""A network that says what a test wants it to: the answer is drawn into the CT it is given.

A run with it is a real run in every respect: process, resampling, tiling, probabilities, lesions.
"""

from __future__ import annotations

from pathlib import Path

import torch
from known_model import write_known_model

from HNTumorSegLib.recipes.recipe import CT, PET, Channel, Recipe

NETWORK = ("marked", ("marked_net", "MarkedNet"))
"""What a test puts into the table of networks."""

PRIMARY_HU, NODE_HU, TISSUE_HU = -150, 150, 40
"""What is drawn into the CT; everything else must lie within plus and minus ``TISSUE_HU``."""


class MarkedNet(torch.nn.Module):
    """Logits background, primary, node from the CT (channel 1, -150 to 150 HU as 0 to 1): cut half way to the mark."""

    def __init__(self, in_channels: int, out_channels: int, half_way: float = 0.25):
        super().__init__()
        assert (in_channels, out_channels) == (2, 3)
        self.half_way = torch.nn.Parameter(torch.tensor(half_way))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pet, ct = x[:, :1], x[:, 1:2]
        primary = torch.where(pet > 0.05, 40 * (self.half_way - ct), -50)  # the air around a patient is no tumour
        node = 40 * (ct - (1 - self.half_way))
        return torch.cat([torch.zeros_like(primary), primary, node], 1)


def write_marked_model(folder: Path, spacing_mm: float) -> Path:
    recipe = Recipe(
        name="marked",
        source="a test",
        channels=(Channel(PET, (0, 10)), Channel(CT, (-150, 150))),
        spacing_mm=spacing_mm,
        patch_zyx=(64, 96, 96),
        overlap=(0.25, 0.25, 0.25),
        network="marked",
    )
    return write_known_model(folder, recipe, MarkedNet(2, 3))
