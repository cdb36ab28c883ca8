"""From a study to a delineation: weights loaded once, any number of patients."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from HNTumorSegLib.errors import InputError, ModelError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.inference.crf import CrfWeights, refine_lesions
from HNTumorSegLib.inference.delineation import Delineation
from HNTumorSegLib.inference.device import (
    ComputeDevice,
    choose_device,
    cpu_device,
    is_out_of_memory,
    move_networks,
    release_gpu_memory,
    return_freed_memory,
)
from HNTumorSegLib.inference.imported import imported_foreground
from HNTumorSegLib.inference.not_brain import TakenOut, take_brain_out
from HNTumorSegLib.inference.not_brain import sentence as brain_sentence
from HNTumorSegLib.inference.plausibility import implausible
from HNTumorSegLib.inference.preprocess import model_grid, network_input, suv_on_grid
from HNTumorSegLib.inference.region import HeadNeckRegion, find_head_neck
from HNTumorSegLib.inference.smaller_tiles import tile_sizes
from HNTumorSegLib.inference.tiling import TiledAnswer, answer_in_tiles, flips
from HNTumorSegLib.inference.to_reference import images_on_reference
from HNTumorSegLib.inference.tumour_classes import check_tumour_classes, primary_and_node, tumour_sentence
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

UPTAKE_MIN_SUV = 1.0
"""A tile whose highest SUV is below this is background: muscle and blood lie between 0.5 and 2."""

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
        self._flip_axes = "".join(axis for axis in "zyx" if axis in axes)
        self._crf = CrfWeights.of(card.recipe)
        self._networks = [network.eval() for network in networks]  # heads of deep supervision and dropout are off
        self._place(device)

    def _place(self, device: ComputeDevice) -> None:
        """Put the networks on ``device``; where its memory is full, on the processor, and say so with every patient."""
        self.device, self._remarks = device, []
        try:
            self._networks = move_networks(self._networks, device)
            return
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        self.device = cpu_device()
        self._networks = move_networks(self._networks, self.device)
        self._remarks = [
            f"The GPU's memory is full and the model did not fit, so it ran on the processor "
            f"({self.device.description}). Close other programs that use the GPU and run again."
        ]
        log.warning(self._remarks[0])
        release_gpu_memory(device)

    def delineate(self, study: Study, reference: str = PET, progress: ProgressCallback = silent) -> Delineation:
        """Label image, probabilities and uncertainty of ``study`` on the grid of its PET or its CT.

        Args:
            study: PET in SUVbw and, if there is one, the CT in HU.
            reference: ``pet`` or ``ct``: the grid of the answer.
            progress: called once per tile; what it raises ends the run, and nothing was changed.

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
        answer, device, warnings = self._run(array, worth, progress)
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
        labels, in_brain = take_brain_out(images.labels, study.pet, region)
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
            warnings=self._sentences(study, region, highest_suv, in_brain) + warnings + implausible(study, region),
            spread=images.spread,
        )

    def _delineate_imported(
        self, study: Study, reference_image: sitk.Image, reference: str, progress: ProgressCallback
    ) -> Delineation:
        """Like :meth:`delineate` for a model of nnU-Net's or MONAI's, run as there."""
        begin, end = NETWORK_SPAN
        began = time.perf_counter()
        foreground, grid = imported_foreground(
            self.card,
            self._networks,
            study,
            self.device.name,
            lambda share: progress(ProgressEvent(STAGE, begin + (end - begin) * share, RUNNING)),
        )
        progress(ProgressEvent(STAGE, end, "resampling to the reference grid"))
        images = images_on_reference(primary_and_node(foreground, self.card.classes), grid, reference_image)
        progress(ProgressEvent(STAGE, 1.0))
        return Delineation(
            labels=images.labels,
            primary_probability=images.primary,
            node_probability=images.node,
            uncertainty=images.uncertainty,
            reference=reference,
            card=self.card,
            device=self.device.name,
            timings_s={"network": time.perf_counter() - began},
            warnings=[sentence for sentence in (tumour_sentence(self.card), *self._remarks) if sentence],
        )

    def _run(
        self, array: np.ndarray, worth: np.ndarray, progress: ProgressCallback
    ) -> tuple[TiledAnswer, ComputeDevice, list[str]]:
        """The networks' answer, where it was computed, and a warning if that was not as it was asked.

        A GPU that runs out of memory is given smaller tiles where the networks allow it; then the processor runs.
        """
        asked, warnings = self.device, list(self._remarks)
        for patch_zyx in tile_sizes(self.card.recipe.patch_zyx, self._networks):
            if patch_zyx != self.card.recipe.patch_zyx:
                size = " x ".join(str(n) for n in reversed(patch_zyx))
                warnings = [f"The GPU ran out of memory, so the network ran in smaller tiles ({size} voxels)."]
                log.warning(warnings[0])
            try:
                return self._tiles(array, worth, patch_zyx, asked, progress), asked, warnings
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            # Only here, outside the handler: the error's traceback held on to the tensors.
            release_gpu_memory(asked)
        fallback = cpu_device()
        warning = f"The GPU ran out of memory, so the network ran on the processor ({fallback.description})."
        log.warning(warning)
        self._networks = move_networks(self._networks, fallback)
        release_gpu_memory(asked)
        try:
            return self._tiles(array, worth, self.card.recipe.patch_zyx, fallback, progress), fallback, [warning]
        finally:
            self._place(asked)

    def _tiles(
        self,
        array: np.ndarray,
        worth: np.ndarray,
        patch_zyx: tuple[int, int, int],
        device: ComputeDevice,
        progress: ProgressCallback,
    ) -> TiledAnswer:
        begin, end = NETWORK_SPAN

        def on_tile(share: float) -> None:
            progress(ProgressEvent(STAGE, begin + (end - begin) * share, RUNNING))

        on_tile(0.0)
        return answer_in_tiles(
            array,
            self._networks,
            patch_zyx,
            self.card.recipe.overlap,
            device,
            worth=worth,
            flip_axes=self._flip_axes,
            classes=len(self.card.classes),
            with_spread=len(self._networks) * len(flips(self._flip_axes)) > 1,
            on_tile=on_tile,
        )

    def _sentences(
        self, study: Study, region: HeadNeckRegion, highest_suv: float, in_brain: list[TakenOut]
    ) -> list[str]:
        """What the user should know about how the answer came about."""
        sentences = [region.sentence(), tumour_sentence(self.card), brain_sentence(in_brain)]
        if study.ct is None and any(channel.image == CT for channel in self.card.recipe.channels):
            sentences.append("There is no CT; the model ran on the PET alone, see its card for how well it does so.")
        if highest_suv < UPTAKE_MIN_SUV:
            sentences.append(
                f"The highest SUV is {highest_suv:.2g}, below {UPTAKE_MIN_SUV:g}: nothing was searched. "
                "Check that the PET holds SUV."
            )
        return [sentence for sentence in sentences if sentence]


def _reference_image(study: Study, reference: str) -> sitk.Image:
    if reference == PET:
        return study.pet
    if reference != CT:
        raise InputError(f"The reference grid is '{PET}' or '{CT}', not '{reference}'.")
    if study.ct is None:
        raise InputError("The CT's grid was asked for as reference, but the study has no CT. Use the reference 'pet'.")
    return study.ct
