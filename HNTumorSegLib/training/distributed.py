"""One training run over several processes, as ``torchrun`` starts them.

Plain ``torch.distributed`` rather than a training framework: what a run draws follows from (seed, step, patch), a
checkpoint holds everything, and both are promises that a framework's own samplers and checkpoints would have to be
bent to. Each process draws its share of the batch; the loss is that of the whole batch (Dice pooled over it is not the
mean of the shares' Dice), so a run on N processes follows the one on a single process up to rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

from HNTumorSegLib.errors import ModelError


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """It writes the files."""
        return self.rank == 0


def ranks() -> Ranks:
    """This process's place; one of one outside :func:`process_group`."""
    if distributed.is_available() and distributed.is_initialized():
        return Ranks(distributed.get_rank(), distributed.get_world_size())
    return Ranks()


@contextmanager
def process_group(device: str) -> Iterator[str]:
    """Join the processes that ``torchrun`` started, if it did; yields this process's device."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device.startswith("cuda"):
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise ModelError(
                f"torchrun started more processes than there are GPUs ({torch.cuda.device_count()}). Lower "
                "--nproc-per-node."
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    # The others wait while the first one prepares cases and measures.
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=timedelta(hours=24))
    try:
        yield device
    finally:
        distributed.destroy_process_group()


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if ranks().size > 1:
        distributed.barrier()


def from_first(value: object) -> object:
    """The first process's ``value``, in every process."""
    if ranks().size == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def parallel(network: torch.nn.Module, device: str) -> torch.nn.Module:
    """``network`` so that its gradients are averaged over the processes; itself where there is one process.

    On GPUs the statistics of batch norm are those of the whole batch; on processors torch has no such layer, and each
    process has its own in training (instance norm has none, and is exact).
    """
    if ranks().size == 1:
        return network
    if device.startswith("cuda"):
        network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return torch.nn.parallel.DistributedDataParallel(network, device_ids=[torch.device(device).index])
    return torch.nn.parallel.DistributedDataParallel(network)


def whole_batch(own: torch.Tensor) -> torch.Tensor:
    """The values of all processes along the batch axis, in order of rank; gradients flow into this one's share."""
    place = ranks()
    if place.size == 1:
        return own
    parts = [torch.empty_like(own) for _ in range(place.size)]
    distributed.all_gather(parts, own.detach().contiguous())
    parts[place.rank] = own
    return torch.cat(parts)
