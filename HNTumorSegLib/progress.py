"""One way to report progress, for the command line, the worker process and the GUI alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ProgressEvent:
    """How far a run has come.

    ``stage`` is a short noun shown to the user ("read", "delineate", ...), ``fraction`` is how much of that stage is
    done (0 to 1), ``message`` is one optional sentence.
    """

    stage: str
    fraction: float
    message: str = ""


ProgressCallback = Callable[[ProgressEvent], None]
"""Called often and cheaply; it may raise :class:`HNTumorSegLib.errors.Cancelled` to stop the run."""


def silent(event: ProgressEvent) -> None:
    """The progress callback that shows nothing."""
