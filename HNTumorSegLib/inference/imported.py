"""Imported models run as where they come from; what differs from our own is what happens before the reference grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.geometry import Geometry, resample
from HNTumorSegLib.models.card import MONAI_ENGINE, NNUNET_ENGINE, ModelCard
from HNTumorSegLib.recipes.recipe import CT, PET

if TYPE_CHECKING:
    import torch

SAME_GRID_MM = 0.05
OUTSIDE = {PET: 0.0, CT: -1024.0}


def imported_foreground(
    card: ModelCard,
    networks: Sequence[torch.nn.Module],
    images: Mapping[str, sitk.Image | None],
    device: str,
    on_tile: Callable[[float], None] = lambda fraction: None,
) -> tuple[np.ndarray, Geometry]:
    """Probability of each class but background, float32 (K - 1, Z, Y, X), and its grid.

    ``images`` are by name: ``pet`` in SUV, ``ct`` in HU.

    The grid is the CT's where the model reads one, else the PET's; such models were trained on images that share a
    grid, so a PET on another one is resampled linearly.

    Raises :class:`ModelError` when an image that the model reads is not there.
    """
    order = [channel.image for channel in card.recipe.channels]
    images = images_on_one_grid(images, order, card.name)
    grid = Geometry.from_image(images[order[0]])
    if card.engine == NNUNET_ENGINE:
        from HNTumorSegLib.inference.nnunet_engine import NnUNetPlan, logits_of, preprocess, probabilities_on_image

        plan = NnUNetPlan.from_dict(card.engine_options)
        stack = np.stack([sitk.GetArrayFromImage(images[name]) for name in order]).astype(np.float32)
        before = preprocess(stack, grid.spacing_zyx_mm, plan)
        return probabilities_on_image(logits_of(before.data, networks, plan, device, on_tile), before, plan), grid
    if card.engine == MONAI_ENGINE:
        from HNTumorSegLib.inference.bundle_engine import bundle_probabilities

        return bundle_probabilities(images, order, networks, card.engine_options, device, on_tile), grid
    raise ModelError(f"Model '{card.name}' asks for the engine '{card.engine}', which is not known.")


def images_on_one_grid(
    available: Mapping[str, sitk.Image | None], order: Sequence[str], model: str
) -> dict[str, sitk.Image]:
    """PET and CT by name, both on the CT's grid if the model reads a CT."""
    for name in order:
        if available.get(name) is None:
            raise ModelError(f"Model '{model}' reads the image '{name}' and the study has none; it cannot do without.")
    grid = Geometry.from_image(available[CT if CT in order else order[0]])
    images = {}
    for name in order:
        image = available[name]
        if Geometry.from_image(image).distance_mm(grid) > SAME_GRID_MM:
            image = resample(sitk.Cast(image, sitk.sitkFloat32), grid, outside=OUTSIDE[name])
        images[name] = image
    return images
