"""A model folder with a network whose answer is known."""

from __future__ import annotations

from pathlib import Path

import torch

from HNTumorSegLib.models.loading import write_model
from HNTumorSegLib.recipes.recipe import Recipe


def write_known_model(folder: Path, recipe: Recipe, network: torch.nn.Module) -> Path:
    """The folder, with a card that names the recipe."""
    write_model(
        folder,
        recipe,
        [network],
        name=recipe.name,
        version="1.0",
        intended_use="tests",
        limitations="all",
        training_data="none",
        licence="CC0-1.0",
    )
    return folder
