"""A model's networks on a device, run over whole volumes: arrays in, probabilities out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from HNTumorSegLib.inference.device import (
    ComputeDevice,
    cpu_device,
    is_out_of_memory,
    move_networks,
    release_gpu_memory,
)
from HNTumorSegLib.inference.tile_plan import TilePlan, TileRule
from HNTumorSegLib.inference.tiling import TiledAnswer, answer_in_tiles, flips

if TYPE_CHECKING:
    import torch

    from HNTumorSegLib.recipes.recipe import Recipe

log = logging.getLogger(__name__)


class Engine:
    """Networks made ready once for any number of volumes.

    Tiles are as few and as large as the networks and the memory allow (:class:`TileRule`), batch norms are folded into
    convolutions, and convolutions run in bf16 where the device computes in it natively. A GPU whose memory is full is
    given smaller tiles where the networks allow it; then the processor runs.

    Args:
        recipe: of the model.
        networks: ensemble members as they were trained; they are not changed, but for evaluation mode.
        device: where to run, and in which precision.
        flip_axes: letters of ``zyx``, see :func:`answer_in_tiles`.
        classes: classes of the networks' answers, background among them.
        fold: fold batch norms into convolutions.

    Attributes:
        device: where the networks are.
        networks: as they are run.
        remarks: sentences for the user about the device.
    """

    def __init__(
        self,
        recipe: Recipe,
        networks: Sequence[torch.nn.Module],
        device: ComputeDevice,
        *,
        flip_axes: str = "",
        classes: int = 3,
        fold: bool = True,
    ):
        from HNTumorSegLib.networks.folding import with_folded_norms

        self.rule = TileRule.of(recipe, networks)
        channels_last = device.bf16 and device.name == "cpu"
        self.networks = [with_folded_norms(n, channels_last) if fold else n.eval() for n in networks]
        self.classes = classes
        self._flip_axes = flip_axes
        self._place(device)

    def _place(self, device: ComputeDevice) -> None:
        """Put the networks on ``device``; where its memory is full, on the processor, with a remark."""
        self.device, self.remarks = device, []
        try:
            self.networks = move_networks(self.networks, device)
            return
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        self.device = cpu_device()
        self.networks = move_networks(self.networks, self.device)
        self.remarks = [
            f"The GPU's memory is full and the model did not fit, so it ran on the processor "
            f"({self.device.description}). Close other programs that use the GPU and run again."
        ]
        log.warning(self.remarks[0])
        release_gpu_memory(device)

    def run(
        self, array: np.ndarray, worth: np.ndarray, on_run: Callable[[float], None] = lambda share: None
    ) -> tuple[TiledAnswer, ComputeDevice, list[str]]:
        """The networks' answer, where it was computed, and a warning if that was not as it was asked.

        Args:
            array: network input, float32 (C, Z, Y, X), normalised.
            worth: boolean (Z, Y, X): what is worth looking at; background is far from all of it.
            on_run: called with the share done after each run of a network; what it raises ends the work.
        """
        asked, warnings = self.device, list(self.remarks)
        for number, plan in enumerate(self.rule.plans(worth, asked)):
            if number:
                size = " x ".join(str(n) for n in reversed(plan.patch_zyx))
                warnings = [f"The GPU ran out of memory, so the network ran in smaller tiles ({size} voxels)."]
                log.warning(warnings[0])
            try:
                return self.run_plan(array, worth, plan, asked, on_run), asked, warnings
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            # Only here, outside the handler: the error's traceback held on to the tensors.
            release_gpu_memory(asked)
        fallback = cpu_device()
        warning = f"The GPU ran out of memory, so the network ran on the processor ({fallback.description})."
        log.warning(warning)
        self.networks = move_networks(self.networks, fallback)
        release_gpu_memory(asked)
        try:
            plan = next(self.rule.plans(worth, fallback))
            return self.run_plan(array, worth, plan, fallback, on_run), fallback, [warning]
        finally:
            self._place(asked)

    def run_plan(
        self,
        array: np.ndarray,
        worth: np.ndarray,
        plan: TilePlan,
        device: ComputeDevice,
        on_run: Callable[[float], None] = lambda share: None,
    ) -> TiledAnswer:
        """The networks' answer by one plan; ``spread`` is there where several answers are averaged."""
        return answer_in_tiles(
            array,
            self.networks,
            plan.patch_zyx,
            plan.overlap,
            device,
            box=plan.box,
            worth=worth,
            flip_axes=self._flip_axes,
            classes=self.classes,
            with_spread=len(self.networks) * len(flips(self._flip_axes)) > 1,
            on_tile=on_run,
        )
