"""A GPU whose memory is full: smaller tiles, then the processor. Provoked by the error torch raises, without a GPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from inference_cases import CARD, RECIPE, UptakeIsPrimary, make_study

from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.inference.device import is_main_memory_full, is_out_of_memory

CARD_64 = replace(CARD, recipe=replace(RECIPE, patch_zyx=(32, 64, 64)))
SMALLER = [(32, 64, 64), (16, 64, 64), (16, 32, 64), (16, 32, 32)]
"""Tiles for ``make_study`` of 60 x 64 x 64 voxels: each has half the voxels of the one before."""


class SmallMemory(UptakeIsPrimary):
    """Runs out of memory on tiles of more than ``limit`` voxels; it has a batch norm, so any tile will do."""

    divisor = 8

    def __init__(self, limit: int, norm=torch.nn.BatchNorm3d):
        super().__init__()
        self.norm = norm(2)
        self.limit = limit
        self.sizes = []

    def forward(self, x):
        self.sizes.append(tuple(x.shape[2:]))
        if x[0, 0].numel() > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward(x)


def delineate(network, card=CARD_64):
    return Delineator.from_networks(card, [network], "cpu").delineate(make_study())


def labels(delineation):
    return sitk.GetArrayFromImage(delineation.labels)


def test_tiles_are_halved_until_they_fit_and_the_answer_is_the_same():
    network = SmallMemory(16 * 64 * 64)
    delineation = delineate(network)
    assert network.sizes[:2] == SMALLER[:2]
    assert set(network.sizes[1:]) == {SMALLER[1]}
    assert delineation.warnings[0] == (
        "The GPU ran out of memory, so the network ran in smaller tiles (64 x 64 x 16 voxels)."
    )
    enough = delineate(SmallMemory(10**9))
    assert delineation.warnings[1:] == enough.warnings
    assert not any("GPU" in sentence for sentence in enough.warnings)
    assert labels(enough).max() == 1
    np.testing.assert_array_equal(labels(delineation), labels(enough))


def test_the_next_patient_begins_with_the_models_patch_again():
    network = SmallMemory(16 * 64 * 64)
    delineator = Delineator.from_networks(CARD_64, [network], "cpu")
    delineator.delineate(make_study())
    network.limit = 10**9
    network.sizes.clear()
    assert not any("GPU" in sentence for sentence in delineator.delineate(make_study()).warnings)
    assert set(network.sizes) == {(32, 64, 64)}


def test_where_half_the_patch_does_not_fit_either_the_processor_runs():
    class FullUntilHalf(SmallMemory):
        def forward(self, x):
            self.limit = 10**9 if len(self.sizes) >= len(SMALLER) else 1
            return super().forward(x)

    network = FullUntilHalf(1)
    delineation = delineate(network)
    # 16 x 32 x 32 is half of each side of the patch; after it the processor runs.
    assert network.sizes[:4] == SMALLER
    assert set(network.sizes[4:]) == {SMALLER[0]}
    assert "ran on the processor (cpu" in delineation.warnings[0]
    assert delineation.device.startswith("cpu")
    np.testing.assert_array_equal(labels(delineation), labels(delineate(SmallMemory(10**9))))


def test_with_instance_norm_the_patch_is_kept():
    class OnceFull(SmallMemory):
        def forward(self, x):
            self.limit = 1 if not self.sizes else 10**9
            return super().forward(x)

    network = OnceFull(1, torch.nn.InstanceNorm3d)
    delineation = delineate(network)
    assert set(network.sizes) == {(32, 64, 64)}
    assert "processor" in delineation.warnings[0]


def test_a_model_that_does_not_fit_on_the_gpu_runs_on_the_processor():
    class TooLarge(UptakeIsPrimary):
        moves = 0

        def to(self, *where, **options):
            TooLarge.moves += 1
            if TooLarge.moves == 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().to(*where, **options)

    delineation = delineate(TooLarge())
    assert "the model did not fit" in delineation.warnings[0]
    assert labels(delineation).max() == 1


def test_kinds_of_full_memory_are_told_apart():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))
    with pytest.raises(MemoryError) as numpy_error:
        np.empty(2**62, np.uint8)
    with pytest.raises(RuntimeError) as torch_error:
        torch.empty(2**60)
    with pytest.raises(RuntimeError) as itk_error:
        sitk.Image([2**16, 2**16, 2**14], sitk.sitkFloat64)
    for error in (numpy_error.value, torch_error.value, itk_error.value):
        assert is_main_memory_full(error), error
        assert not is_out_of_memory(error)
    assert not is_main_memory_full(RuntimeError("shapes do not fit"))
