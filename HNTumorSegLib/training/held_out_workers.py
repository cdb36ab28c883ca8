"""The long part of measuring models, in several processes; each patient is made once for all of them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from HNTumorSegLib.errors import InputError, OutOfMemoryError
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.training import held_out
from HNTumorSegLib.training.held_out import HeldOut

_delineators: dict[Path, Delineator] = {}
"""In a worker process: its model for each folder of results."""


def fill(
    models: Mapping[Path, Path | str],
    plan: HeldOut,
    *,
    workers: int = 1,
    device: str = "auto",
    progress: ProgressCallback = silent,
) -> None:
    """Delineate what of ``plan`` is missing, so that :func:`card_figures.measure_for_card` finds it done.

    Args:
        models: the model (name or folder) by the folder of its results.
        plan: which patients.
        workers: processes; each loads the models, and they share the processor's cores.
        device: of the networks.
        progress: how far it is.

    Raises:
        InputError: ``workers`` is below 1.
        OutOfMemoryError: a process was ended from outside; what was finished is kept.
        ModelError: a model or the device cannot be used.
        OutputError: a folder holds the results of another model.
    """
    if workers < 1:
        raise InputError(f"Measuring needs at least one process, not {workers}. Give --workers 1 or more.")
    for folder, model in models.items():
        held_out.claim_folder(Path(folder), Delineator(model, device), plan)
    jobs: list[tuple[int, str | None]] = [(seed, None) for seed in plan.seeds()]
    jobs += plan.negative_scans()
    missing = [job for job in jobs if any(not _is_done(Path(folder), *job) for folder in models)]
    if not missing:
        return
    # Spawned, not forked: a fork of a process in which torch has computed hangs.
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // workers)
    arguments = ({Path(folder): model for folder, model in models.items()}, device, threads)
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=arguments) as pool:
        futures = [pool.submit(_delineate, plan, *job) for job in missing]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                progress(ProgressEvent("held-out patients", done / len(missing), f"{done} of {len(missing)}"))
        except BrokenProcessPool as error:
            raise OutOfMemoryError(
                f"One of {workers} measuring processes was ended from outside, most likely for want of main memory. "
                "Start again with fewer --workers; what is finished is kept."
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin(models: dict[Path, Path | str], device: str, threads: int) -> None:
    import torch

    from HNTumorSegLib.inference.device import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(threads)
    _delineators.update({folder: Delineator(model, device) for folder, model in models.items()})


def _is_done(folder: Path, seed: int, field_of_view: str | None) -> bool:
    if field_of_view is None:
        return held_out.is_delineated(folder, seed)
    return held_out.negative_file(folder, seed, field_of_view).exists()


def _delineate(plan: HeldOut, seed: int, field_of_view: str | None) -> None:
    """In a worker: one patient by all models that have not seen it; ``field_of_view`` of one without tumours."""
    left = {folder: d for folder, d in _delineators.items() if not _is_done(folder, seed, field_of_view)}
    patient = plan.patient(seed) if field_of_view is None else plan.negative(seed, field_of_view)
    for folder, delineator in left.items():
        if field_of_view is None:
            held_out.delineate_patient(delineator, patient, folder, seed)
        else:
            held_out.delineate_negative(delineator, patient, held_out.negative_file(folder, seed, field_of_view))
