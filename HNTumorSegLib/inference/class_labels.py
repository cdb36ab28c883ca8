"""Label images of any model's own classes, from any images: organs at risk on a CT, or tumours where there is no PET.

Tumours on PET/CT go through :class:`HNTumorSegLib.inference.delineator.Delineator`, which knows more about them.
Which of the two a model needs is decided in :mod:`HNTumorSegLib.predict_models`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import InputError, ModelError
from HNTumorSegLib.geometry import Geometry, image_from_array, resample
from HNTumorSegLib.inference.crf import CrfWeights, refine_lesions
from HNTumorSegLib.inference.device import choose_device, move_networks
from HNTumorSegLib.inference.imported import imported_foreground
from HNTumorSegLib.inference.preprocess import anti_aliased, channels_on_grid, model_grid
from HNTumorSegLib.inference.tiling import TiledAnswer, answer_in_tiles, flips
from HNTumorSegLib.inference.to_reference import surprise
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
        self.card, self.device = card, choose_device(device)
        self._crf = CrfWeights.of(card.recipe)
        self._networks = [network.eval() for network in move_networks(networks, self.device)]

    @property
    def classes(self) -> tuple[str, ...]:
        """What the label values 0, 1, ... mean; 0 is the background."""
        return self.card.classes

    def label(
        self,
        images: Mapping[str, sitk.Image | None],
        progress: ProgressCallback = silent,
        reference: str | None = None,
    ) -> sitk.Image:
        """The ``labels`` of :meth:`answer`."""
        return self.answer(images, progress, reference).labels

    def answer(
        self,
        images: Mapping[str, sitk.Image | None],
        progress: ProgressCallback = silent,
        reference: str | None = None,
        *,
        with_uncertainty: bool = False,
    ) -> ClassImages:
        """The most probable class of each voxel, and if wanted how sure that is.

        Probabilities are resampled before the voxel decision. With a CT among the images only the box about the body
        is looked at; beyond it everything is background. Imported models run as where they come from.

        Args:
            images: by name: ``pet`` in SUV, ``ct`` and ``ct_contrast`` in HU.
            progress: called once per tile; what it raises ends the run.
            reference: name of the image whose grid the answer lies on; None: the first one that the model reads.
            with_uncertainty: also give uncertainty and spread.

        Raises:
            ModelError: the model needs an image that is not there.
            InputError: an image holds values that are not finite, or there is none to be the reference.
        """
        order = list(dict.fromkeys(channel.image for channel in self.card.recipe.channels))
        present = [name for name in order if images.get(name) is not None]
        if not present:
            raise ModelError(f"Model '{self.card.name}' reads {', '.join(order)}, and none of them was given.")
        on = reference or present[0]
        if images.get(on) is None:
            known = ", ".join(f"'{name}'" for name, image in images.items() if image is not None)
            raise InputError(
                f"The grid of the image '{on}' was asked for as reference, and there is none; use {known}."
            )
        target = Geometry.from_image(images[on])

        def on_tile(share: float) -> None:
            progress(ProgressEvent(STAGE, 0.9 * share, "running the network"))

        if self.card.engine == OWN_ENGINE:
            answer, grid = self._own(images, Geometry.from_image(images[present[0]]), with_uncertainty, on_tile)
        else:
            given = imported_foreground(self.card, self._networks, images, self.device.name, on_tile)
            answer, grid = TiledAnswer(given[0]), given[1]
        found = class_images(answer, grid, target, with_uncertainty)
        progress(ProgressEvent(STAGE, 1.0))
        return found

    def _own(
        self,
        images: Mapping[str, sitk.Image | None],
        first: Geometry,
        with_spread: bool,
        on_tile: Callable[[float], None],
    ) -> tuple[TiledAnswer, Geometry]:
        recipe = self.card.recipe
        density = next((images[name] for name in (CT, CT_CONTRAST) if images.get(name) is not None), None)
        low, high = (None, None) if density is None else body_bounds_mm(density)
        grid = model_grid(first, recipe.spacing_mm, low, high, recipe.patch_zyx)
        array = channels_on_grid(images, recipe, grid)
        answer = answer_in_tiles(
            array,
            self._networks,
            recipe.patch_zyx,
            recipe.overlap,
            self.device,
            flip_axes=recipe.flip_axes,
            classes=len(self.card.classes),
            with_spread=with_spread and len(self._networks) * len(flips(recipe.flip_axes)) > 1,
            on_tile=on_tile,
        )
        if self._crf is not None:
            answer.foreground = refine_lesions(answer.foreground, array, recipe, self._crf)
        return answer, grid


@dataclass
class ClassImages:
    """A model's answer on one grid.

    Attributes:
        labels: unsigned 8-bit: the class of each voxel, 0 the background.
        uncertainty: 32-bit float, 0 (sure) to 1: entropy of the probabilities of all classes over its highest value;
            None where it was not asked for.
        spread: 32-bit float, 0 to 0.5: standard deviation, over the networks and the flips, of the probability that
            the voxel is not background; None where there was a single answer.
    """

    labels: sitk.Image
    uncertainty: sitk.Image | None = None
    spread: sitk.Image | None = None


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
    """The ``labels`` of :func:`class_images` for probabilities (K - 1, Z, Y, X)."""
    return class_images(TiledAnswer(foreground), grid, target).labels


def class_images(answer: TiledAnswer, grid: Geometry, target: Geometry, with_uncertainty: bool = False) -> ClassImages:
    """Resample probabilities linearly onto another grid, then take the most probable class, the lower on a tie.

    Args:
        answer: its foreground, float32 (K - 1, Z, Y, X), and its spread lie on ``grid``; at most 255 classes.
        grid: the model's grid.
        target: the grid of the answer.
        with_uncertainty: also give uncertainty and, where the answer has it, spread.
    """
    probabilities = [image_from_array(p, grid) for p in answer.foreground]
    apart = None if answer.spread is None or not with_uncertainty else image_from_array(answer.spread, grid)
    labels = np.zeros(target.shape_zyx, np.uint8)
    entropy = np.zeros(target.shape_zyx if with_uncertainty else (0, 0, 0), np.float32)
    spread = np.zeros(target.shape_zyx if apart is not None else (0, 0, 0), np.float32)
    for first in range(0, target.size[2], SLAB_SLICES):
        here = slice(first, min(first + SLAB_SLICES, target.size[2]))
        slab = target.crop((0, 0, first), (*target.size[:2], here.stop - first))
        part = labels[here]
        highest, total = np.zeros(part.shape, np.float32), np.zeros(part.shape, np.float32)
        for number, probability in enumerate(probabilities, 1):
            values = sitk.GetArrayFromImage(resample(probability, slab))
            part[values > highest] = number
            np.maximum(highest, values, out=highest)
            total += values
            if with_uncertainty:
                entropy[here] += surprise(values)
        part[1.0 - total >= highest] = 0
        if with_uncertainty:
            entropy[here] += surprise(1.0 - total)
        if apart is not None:
            spread[here] = sitk.GetArrayFromImage(resample(apart, slab))
    entropy /= np.float32(np.log(len(probabilities) + 1))
    return ClassImages(
        image_from_array(labels, target),
        image_from_array(np.clip(entropy, 0.0, 1.0), target) if with_uncertainty else None,
        None if apart is None else image_from_array(spread, target),
    )
