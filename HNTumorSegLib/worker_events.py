"""What a client of the worker is told, and how it is made from what the process says."""

from __future__ import annotations

from dataclasses import dataclass

from HNTumorSegLib import errors
from HNTumorSegLib.errors import Cancelled, GeometryError, HNTumorSegError, OutOfMemoryError, WorkerError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.inference.delineation import Delineation
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.progress import ProgressEvent
from HNTumorSegLib.worker_protocol import (
    CANCELLED,
    DEFECT,
    IMAGES_OF_RESULT,
    OUT_OF_MEMORY,
    USER,
    Error,
    Result,
    load_stored,
)
from HNTumorSegLib.worker_session import WorkerSession


@dataclass(frozen=True)
class WorkerReady:
    """Process ``pid`` has loaded its packages, ``start_s`` after it was started; ``torch`` is its version, or empty."""

    pid: int
    start_s: float
    torch: str


@dataclass(frozen=True)
class WorkerProgress:
    """How far request number ``request`` has come."""

    request: int
    progress: ProgressEvent


@dataclass(frozen=True)
class WorkerResult:
    """The answer to request number ``request``; ``model_kept``: the model was in memory already."""

    request: int
    delineation: Delineation
    model_kept: bool


@dataclass(frozen=True)
class WorkerFailed:
    """Request number ``request`` has no result; None: the process ended while nothing was asked of it.

    ``kind`` is one of the words in :mod:`HNTumorSegLib.worker_protocol`: ``user``, ``out_of_memory``, ``crash``,
    ``defect``, ``cancelled``. ``error`` is what :meth:`WorkerClient.delineate` raises; its text is for the user.
    """

    request: int | None
    kind: str
    error: HNTumorSegError


WorkerEvent = WorkerReady | WorkerProgress | WorkerResult | WorkerFailed


def checked_result(
    result: Result, session: WorkerSession, reference: str, grid: Geometry
) -> WorkerResult | WorkerFailed:
    """The delineation, if the process is well, its files are there and they lie on the grid that was asked for."""
    if not session.is_alive:
        return ended(session, result.id)
    try:
        stored = {name: getattr(result, name) for name in IMAGES_OF_RESULT}
        images = {name: load_stored(image) for name, image in stored.items() if image is not None}
        for name, image in images.items():
            Geometry.from_image(image).require_same(grid, f"The worker's {name.replace('_', ' ')}")
        card = ModelCard.from_dict(result.card)
    except (OSError, ValueError, GeometryError) as error:
        text = f"The worker's result cannot be used: {error}. Nothing was changed; run again."
        return WorkerFailed(result.id, DEFECT, WorkerError(text))
    delineation = Delineation(
        **images,
        reference=reference,
        card=card,
        device=result.device,
        timings_s=result.timings_s,
        warnings=result.warnings,
    )
    return WorkerResult(result.id, delineation, result.model_kept)


def error_of(event: Error) -> HNTumorSegError:
    """The exception an error line stands for."""
    if event.kind == OUT_OF_MEMORY:
        return OutOfMemoryError(event.text)
    kind = getattr(errors, event.type, None)
    if event.kind == USER and isinstance(kind, type) and issubclass(kind, HNTumorSegError):
        return kind(event.text)
    return WorkerError(event.text)


def cancelled(number: int) -> WorkerFailed:
    """What a cancelled request ends with."""
    return WorkerFailed(number, CANCELLED, Cancelled("The delineation was cancelled; nothing was changed."))


def ended(session: WorkerSession, number: int | None) -> WorkerFailed:
    """Why a process that should run does not."""
    kind, text = session.how_it_ended()
    kinds = {OUT_OF_MEMORY: OutOfMemoryError, USER: errors.MissingPackageError}
    return WorkerFailed(number, kind, kinds.get(kind, WorkerError)(text))
