"""Label images of any model's own classes, from any images: organs at risk on a CT, or tumours where there is no PET.

Tumours on PET/CT go through :class:`HNTumorSegLib.inference.delineator.Delineator`, which knows more about them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.geometry import Geometry, image_from_array, resample
from HNTumorSegLib.inference.device import choose_device, move_networks
from HNTumorSegLib.inference.preprocess import anti_aliased, channels_on_grid, model_grid
from HNTumorSegLib.inference.tiling import answer_in_tiles
from HNTumorSegLib.models.card import OWN_ENGINE, ModelCard
from HNTumorSegLib.models.loading import load_networks
from HNTumorSegLib.models.registry import resolve_model
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.recipes.recipe import CT, CT_CONTRAST

if TYPE_CHECKING:
    import torch

STAGE = "label"
BODY_HU = -500.0
"""Denser than this is body (or table): only the box about it is looked at."""

BODY_MARGIN_MM = 10.0
SLAB_SLICES = 32


class ClassLabeller:
    """A model that is ready to label images with its classes.

    Args:
        model: a name from :func:`HNTumorSegLib.models.registry.list_models`, or a model folder.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ModelError: the model or the device cannot be used.
    """

    def __init__(self, model: str | Path, device: str = "auto"):
        folder = resolve_model(model)
        self._set(ModelCard.load(folder), load_networks(folder), device)

    @classmethod
    def from_networks(cls, card: ModelCard, networks: Sequence[torch.nn.Module], device: str = "auto") -> ClassLabeller:
        """Around networks that are in memory already."""
        labeller = cls.__new__(cls)
        labeller._set(card, list(networks), device)
        return labeller

    def _set(self, card: ModelCard, networks: list[torch.nn.Module], device: str) -> None:
        if card.engine != OWN_ENGINE:
            raise ModelError(f"Model '{card.name}' was imported; it delineates PET/CT studies only.")
        self.card, self.device = card, choose_device(device)
        self._networks = [network.eval() for network in move_networks(networks, self.device)]

    @property
    def classes(self) -> tuple[str, ...]:
        """What the label values 0, 1, ... mean; 0 is the background."""
        return self.card.classes

    def label(self, images: Mapping[str, sitk.Image | None], progress: ProgressCallback = silent) -> sitk.Image:
        """The most probable class of each voxel, unsigned 8-bit, on the grid of the first image the model reads.

        Probabilities are resampled before the voxel decision. With a CT among the images only the box about the body
        is looked at; beyond it everything is background.

        Args:
            images: by name: ``pet`` in SUV, ``ct`` and ``ct_contrast`` in HU.
            progress: called once per tile; what it raises ends the run.

        Raises:
            ModelError: the model needs an image that is not there.
            InputError: an image holds values that are not finite.
        """
        recipe = self.card.recipe
        present = [images[c.image] for c in recipe.channels if images.get(c.image) is not None]
        if not present:
            names = ", ".join(dict.fromkeys(channel.image for channel in recipe.channels))
            raise ModelError(f"Model '{self.card.name}' reads {names}, and none of them was given.")
        target = Geometry.from_image(present[0])
        density = next((images[name] for name in (CT, CT_CONTRAST) if images.get(name) is not None), None)
        low, high = (None, None) if density is None else body_bounds_mm(density)
        grid = model_grid(target, recipe.spacing_mm, low, high, recipe.patch_zyx)
        answer = answer_in_tiles(
            channels_on_grid(images, recipe, grid),
            self._networks,
            recipe.patch_zyx,
            recipe.overlap,
            self.device,
            flip_axes=recipe.flip_axes,
            classes=len(self.card.classes),
            on_tile=lambda share: progress(ProgressEvent(STAGE, 0.9 * share, "running the network")),
        )
        labels = labels_on_reference(answer.foreground, grid, target)
        progress(ProgressEvent(STAGE, 1.0))
        return labels


def body_bounds_mm(ct: sitk.Image) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Lowest and highest LPS coordinate of what is denser than air, with a margin; (None, None) where nothing is."""
    coarse = Geometry.from_image(ct).axis_aligned(5.0)
    dense = sitk.GetArrayFromImage(resample(anti_aliased(ct, coarse), coarse, outside=-1000.0)) > BODY_HU
    if not dense.any():
        return None, None
    hit = [np.flatnonzero(dense.any(axis=tuple(a for a in range(3) if a != axis))) for axis in (2, 1, 0)]
    low = coarse.to_lps(np.array([h[0] for h in hit])) - BODY_MARGIN_MM
    high = coarse.to_lps(np.array([h[-1] for h in hit])) + BODY_MARGIN_MM
    return tuple(low.tolist()), tuple(high.tolist())


def labels_on_reference(foreground: np.ndarray, grid: Geometry, target: Geometry) -> sitk.Image:
    """Resample probabilities linearly onto another grid, then take the most probable class, the lower on a tie.

    Args:
        foreground: float32 (K - 1, Z, Y, X) on ``grid``; at most 255 classes.
        grid: the model's grid.
        target: the grid of the answer.
    """
    probabilities = [image_from_array(p, grid) for p in foreground]
    labels = np.zeros(target.shape_zyx, np.uint8)
    for first in range(0, target.size[2], SLAB_SLICES):
        size = (*target.size[:2], min(SLAB_SLICES, target.size[2] - first))
        slab = target.crop((0, 0, first), size)
        part = labels[first : first + size[2]]
        highest, total = np.zeros(part.shape, np.float32), np.zeros(part.shape, np.float32)
        for number, probability in enumerate(probabilities, 1):
            values = sitk.GetArrayFromImage(resample(probability, slab))
            part[values > highest] = number
            np.maximum(highest, values, out=highest)
            total += values
        part[1.0 - total >= highest] = 0
    return image_from_array(labels, target)
