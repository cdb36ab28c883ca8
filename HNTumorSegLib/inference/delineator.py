"""From a study to a delineation: weights loaded once, any number of patients."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from HNTumorSegLib.errors import InputError, ModelError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.inference.after_network import UPTAKE_MIN_SUV, judged, settled
from HNTumorSegLib.inference.crf import CrfWeights, refine_lesions
from HNTumorSegLib.inference.delineation import Delineation
from HNTumorSegLib.inference.device import ComputeDevice, choose_device, return_freed_memory
from HNTumorSegLib.inference.engine import Engine
from HNTumorSegLib.inference.imported import imported_foreground
from HNTumorSegLib.inference.preprocess import model_grid, network_input, suv_on_grid
from HNTumorSegLib.inference.region import find_head_neck
from HNTumorSegLib.inference.to_reference import images_on_reference
from HNTumorSegLib.inference.tumour_classes import check_tumour_classes, primary_and_node
from HNTumorSegLib.models.card import OWN_ENGINE, ModelCard
from HNTumorSegLib.models.loading import load_networks
from HNTumorSegLib.models.registry import DEFAULT_MODEL, resolve_model
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.recipes.recipe import CT, PET
from HNTumorSegLib.study.study import Study

if TYPE_CHECKING:
    import SimpleITK as sitk
    import torch

STAGE = "delineate"
RUNNING = "running the network"
NETWORK_SPAN = (0.1, 0.9)
"""Shares of the stage at which the network begins and ends: what the progress bar shows."""

log = logging.getLogger(__name__)


class Delineator:
    """A model that is ready to delineate studies.

    Args:
        model: a name from :func:`HNTumorSegLib.models.registry.list_models`, or a model folder.
        device: ``auto``, ``cpu`` or ``cuda``.
        flip_left_right: average with the answer for the mirrored patient, beside the flips that the model's recipe has
            anyway: twice the time.

    Raises:
        ModelError: the model or the device cannot be used, or the model does not delineate tumours; nothing was run.
    """

    def __init__(self, model: str | Path = DEFAULT_MODEL, device: str = "auto", *, flip_left_right: bool = False):
        began = time.perf_counter()
        folder = resolve_model(model)
        compute = choose_device(device)
        self._set(ModelCard.load(folder), load_networks(folder), compute, flip_left_right)
        self.load_s = time.perf_counter() - began

    @classmethod
    def from_networks(
        cls,
        card: ModelCard,
        networks: Sequence[torch.nn.Module],
        device: str = "auto",
        *,
        flip_left_right: bool = False,
    ) -> Delineator:
        """A delineator around networks that are in memory already (training, tests)."""
        if not networks:
            raise ModelError(f"Model '{card.name}' has no network to run.")
        delineator = cls.__new__(cls)
        delineator._set(card, list(networks), choose_device(device), flip_left_right)
        delineator.load_s = 0.0
        return delineator

    def _set(
        self, card: ModelCard, networks: list[torch.nn.Module], device: ComputeDevice, flip_left_right: bool
    ) -> None:
        check_tumour_classes(card)
        self.card = card
        self.flip_left_right = flip_left_right
        axes = set(card.recipe.flip_axes) | ({"x"} if flip_left_right else set())
        flip_axes = "".join(axis for axis in "zyx" if axis in axes)
        self._crf = CrfWeights.of(card.recipe)
        options = {"flip_axes": flip_axes, "classes": len(card.classes), "fold": card.engine == OWN_ENGINE}
        self._engine = Engine(card.recipe, networks, device, **options)

    @property
    def device(self) -> ComputeDevice:
        """Where the networks are."""
        return self._engine.device

    def delineate(self, study: Study, reference: str = PET, progress: ProgressCallback = silent) -> Delineation:
        """Label image, probabilities and uncertainty of ``study`` on the grid of its PET or its CT.

        Args:
            study: PET in SUVbw and, if there is one, the CT in HU.
            reference: ``pet`` or ``ct``: the grid of the answer.
            progress: called after each run of a network; what it raises ends the delineation, and nothing was changed.

        Raises:
            InputError: there is no image of that name, or an image cannot be used.
            ModelError: the model needs an image that is not there.
        """
        reference_image = _reference_image(study, reference)
        if self.card.engine != OWN_ENGINE:
            return self._delineate_imported(study, reference_image, reference, progress)
        recipe = self.card.recipe
        timings_s: dict[str, float] = {}

        began = time.perf_counter()
        progress(ProgressEvent(STAGE, 0.0, "preparing the images"))
        region = find_head_neck(study.pet)
        log.info("region: %s, S %.0f to %.0f mm", region.found, region.low_mm[2], region.high_mm[2])
        grid = model_grid(
            Geometry.from_image(study.pet), recipe.spacing_mm, region.low_mm, region.high_mm, recipe.patch_zyx
        )
        suv = suv_on_grid(study, grid)
        array = network_input(study, recipe, grid, suv)
        worth = suv >= UPTAKE_MIN_SUV
        highest_suv = float(suv.max())
        del suv
        timings_s["prepare"] = time.perf_counter() - began

        began = time.perf_counter()
        answer, device, warnings = self._engine.run(array, worth, _network_progress(progress))
        timings_s["network"] = time.perf_counter() - began

        if self._crf is not None:
            began = time.perf_counter()
            progress(ProgressEvent(STAGE, NETWORK_SPAN[1], "refining the lesions"))
            answer.foreground = refine_lesions(answer.foreground, array, recipe, self._crf)
            timings_s["crf"] = time.perf_counter() - began
        del array, worth
        return_freed_memory()

        began = time.perf_counter()
        progress(ProgressEvent(STAGE, NETWORK_SPAN[1], "resampling to the reference grid"))
        foreground = primary_and_node(answer.foreground, self.card.classes)
        images = images_on_reference(foreground, grid, reference_image, answer.spread)
        labels, sentences = judged(images.labels, study, region, self.card, warnings, highest_suv=highest_suv)
        labels, remarks = settled(labels, images, recipe, study.pet)
        timings_s["resample"] = time.perf_counter() - began
        progress(ProgressEvent(STAGE, 1.0))
        return Delineation(
            labels=labels,
            primary_probability=images.primary,
            node_probability=images.node,
            uncertainty=images.uncertainty,
            reference=reference,
            card=self.card,
            device=device.description,
            timings_s=timings_s,
            warnings=sentences + remarks,
            spread=images.spread,
        )

    def _delineate_imported(
        self, study: Study, reference_image: sitk.Image, reference: str, progress: ProgressCallback
    ) -> Delineation:
        """Like :meth:`delineate` for a model of nnU-Net's or MONAI's, run as there: on the whole scan.

        What is brain and what is told about the scan are as for own models. There is no spread: nnU-Net averages the
        logits of its folds.
        """
        began = time.perf_counter()
        foreground, grid = imported_foreground(
            self.card,
            self._engine.networks,
            {PET: study.pet, CT: study.ct},
            self.device.name,
            _network_progress(progress),
        )
        progress(ProgressEvent(STAGE, NETWORK_SPAN[1], "resampling to the reference grid"))
        images = images_on_reference(primary_and_node(foreground, self.card.classes), grid, reference_image)
        region, remarks = find_head_neck(study.pet), self._engine.remarks
        labels, sentences = judged(images.labels, study, region, self.card, remarks, searched_all=True)
        progress(ProgressEvent(STAGE, 1.0))
        return Delineation(
            labels=labels,
            primary_probability=images.primary,
            node_probability=images.node,
            uncertainty=images.uncertainty,
            reference=reference,
            card=self.card,
            device=self.device.name,
            timings_s={"network": time.perf_counter() - began},
            warnings=sentences,
        )


def _network_progress(progress: ProgressCallback) -> Callable[[float], None]:
    """What to call with the share of the networks' work that is done; called with none of it at once."""
    begin, end = NETWORK_SPAN

    def on_run(share: float) -> None:
        progress(ProgressEvent(STAGE, begin + (end - begin) * share, RUNNING))

    on_run(0.0)
    return on_run


def _reference_image(study: Study, reference: str) -> sitk.Image:
    if reference == PET:
        return study.pet
    if reference != CT:
        raise InputError(f"The reference grid is '{PET}' or '{CT}', not '{reference}'.")
    if study.ct is None:
        raise InputError("The CT's grid was asked for as reference, but the study has no CT. Use the reference 'pet'.")
    return study.ct
