"""The process beside 3D Slicer that delineates: ``PythonSlicer -m HNTumorSegLib.worker``.

It stays alive between patients, so torch and the model are loaded once, and ends when its stdin does, that is when the
process that started it closes it or dies. The lines it reads and writes are described in
:mod:`HNTumorSegLib.worker_protocol`; :class:`HNTumorSegLib.worker_client.WorkerClient` speaks them. Nothing but these
lines goes to stdout: whatever a library prints is sent to stderr.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import logging
import os
import queue
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from HNTumorSegLib import __version__
from HNTumorSegLib.errors import HNTumorSegError
from HNTumorSegLib.progress import ProgressEvent
from HNTumorSegLib.study.study import Provenance, SeriesInfo, Study
from HNTumorSegLib.worker_protocol import (
    DEFECT,
    IMAGES_OF_RESULT,
    OUT_OF_MEMORY,
    PROTOCOL_VERSION,
    REQUESTS,
    USER,
    Delineate,
    Error,
    Event,
    Hello,
    Ping,
    Pong,
    Progress,
    ProtocolError,
    Ready,
    Result,
    box_of_values,
    from_line,
    load_stored,
    store_image,
    to_line,
)

if TYPE_CHECKING:
    from HNTumorSegLib.inference.delineation import Delineation
    from HNTumorSegLib.inference.delineator import Delineator

LONGEST_LINE = 1 << 20
NICENESS = 5
"""Whoever looks at images beside a run comes first."""

log = logging.getLogger(__name__)


def main() -> None:
    """Serve requests until stdin ends."""
    _die_with_parent()
    requests, channel = _take_over_stdin(), Channel(_take_over_stdout())
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    faulthandler.enable(all_threads=False)
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    channel.send(Hello(PROTOCOL_VERSION, __version__, os.getpid()))
    worker = Worker(requests, channel)
    # Reading starts first: when the parent goes away, this process must end also while it imports.
    threading.Thread(target=worker.read_requests, name="requests", daemon=True).start()
    worker.load_packages()
    worker.serve()


class Channel:
    """Where the event lines go; any thread may send."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, event: Event) -> None:
        """Write one line; where nobody reads any more, end the process."""
        line = to_line(event)
        with self._lock:
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except OSError:
                os._exit(1)


@dataclass(frozen=True)
class _KeptModel:
    """The model of the last request, ready for the next."""

    key: tuple[Path, str, bool]
    delineator: Delineator


class Worker:
    """Answers requests one after the other."""

    def __init__(self, lines: BinaryIO, channel: Channel):
        self._lines = lines
        self._channel = channel
        self._requests: queue.SimpleQueue[Delineate] = queue.SimpleQueue()
        self._busy = threading.Event()
        self._kept: _KeptModel | None = None

    def read_requests(self) -> None:
        """Take lines until their source ends, then end the process, whatever it is doing."""
        try:
            while line := self._lines.readline(LONGEST_LINE):
                self._take(line)
        finally:
            os._exit(0)

    def _take(self, line: bytes) -> None:
        try:
            request = from_line(line, REQUESTS)
        except ProtocolError as error:
            text = f"The worker was sent what it cannot read: {error}."
            self._channel.send(Error(None, DEFECT, type(error).__name__, text))
            return
        if isinstance(request, Ping):
            self._channel.send(Pong(request.id, self._busy.is_set()))
        else:
            self._requests.put(request)

    def load_packages(self) -> None:
        """Import what every delineation needs, before the first is asked for."""
        began = time.perf_counter()
        version = ""
        try:
            import torch

            import HNTumorSegLib.inference.delineator  # noqa: F401

            version = str(torch.__version__)
        except ImportError as error:  # said again, in words, to whoever asks for a delineation
            log.warning("%s", error)
        self._channel.send(Ready(version, time.perf_counter() - began))

    def serve(self) -> None:
        """Answer requests for ever; no failure of one ends the process."""
        while True:
            request = self._requests.get()
            self._busy.set()
            answer = self._answer(request)
            _give_memory_back()
            self._busy.clear()
            self._channel.send(answer)

    def _answer(self, request: Delineate) -> Result | Error:
        try:
            return self._delineate(request)
        except HNTumorSegError as error:
            return Error(request.id, USER, type(error).__name__, str(error))
        except ModuleNotFoundError as error:
            text = (
                f"The Python package '{error.name}' is not installed in {sys.executable}. Install it with "
                f"'{sys.executable} -m pip install {error.name}'."
            )
            return Error(request.id, USER, "MissingPackageError", text)
        except Exception as error:
            if _is_out_of_memory(error):
                self._kept = None
                text = (
                    "The computer's memory does not suffice for this study. Close other programs, or use a smaller "
                    "reference grid ('pet')."
                )
                return Error(request.id, OUT_OF_MEMORY, type(error).__name__, text)
            log.exception("request %d failed", request.id)
            text = f"The delineation failed by a defect of HNTumorSeg ({type(error).__name__}: {error})."
            return Error(request.id, DEFECT, type(error).__name__, text)

    def _delineate(self, request: Delineate) -> Result:
        def progress(event: ProgressEvent) -> None:
            self._channel.send(Progress(request.id, event.stage, event.fraction, event.message))

        began = time.perf_counter()
        progress(ProgressEvent("load", 0.0, "loading the model"))
        delineator, kept = self._delineator(request)
        loaded = time.perf_counter()
        progress(ProgressEvent("read", 0.0, "taking over the images"))
        study = _study(request)
        read = time.perf_counter()
        delineation = delineator.delineate(study, request.reference, progress)
        progress(ProgressEvent("hand over", 0.0, "handing over the result"))
        timings_s = {"load": loaded - began, "read": read - loaded, **delineation.timings_s}
        return _result(request, delineation, timings_s, kept)

    def _delineator(self, request: Delineate) -> tuple[Delineator, bool]:
        """The model that was asked for, and whether it was in memory; a folder that changed is loaded anew."""
        from HNTumorSegLib.inference.delineator import Delineator
        from HNTumorSegLib.models.card import ModelCard
        from HNTumorSegLib.models.registry import resolve_model

        folder = resolve_model(request.model).resolve()
        key = (folder, request.device, request.flip_left_right)
        if self._kept is not None and self._kept.key == key:
            card = ModelCard.load(folder)
            weights = [card.weights_folder(folder) / weight.file for weight in card.weights]
            if card == self._kept.delineator.card and all(path.is_file() for path in weights):
                return self._kept.delineator, True
        self._kept = None  # the former weights leave memory before others come
        delineator = Delineator(folder, request.device, flip_left_right=request.flip_left_right)
        self._kept = _KeptModel(key, delineator)
        return delineator, False


def _study(request: Delineate) -> Study:
    nobody = ""  # names and identifiers stay with the client
    return Study(
        pet=load_stored(request.pet),
        pet_info=SeriesInfo(nobody, "PT", nobody),
        provenance=Provenance("file", "SUVbw", "handed over by the client"),
        ct=None if request.ct is None else load_stored(request.ct),
        ct_info=None if request.ct is None else SeriesInfo(nobody, "CT", nobody),
    )


def _result(request: Delineate, delineation: Delineation, timings_s: dict[str, float], kept: bool) -> Result:
    images = {name: getattr(delineation, name) for name in IMAGES_OF_RESULT}
    box = box_of_values([image for image in images.values() if image is not None])
    folder = Path(request.folder)
    stored: dict[str, Any] = {
        name: None if image is None else store_image(image, folder / f"{name}.npy", box)
        for name, image in images.items()
    }
    return Result(
        id=request.id,
        **stored,
        card=asdict(delineation.card),
        device=delineation.device,
        timings_s=timings_s,
        warnings=delineation.warnings,
        model_kept=kept,
    )


def _is_out_of_memory(error: Exception) -> bool:
    from HNTumorSegLib.inference.device import is_main_memory_full, is_out_of_memory

    return is_main_memory_full(error) or is_out_of_memory(error)


def _give_memory_back() -> None:
    """A worker that waits holds its model only."""
    with contextlib.suppress(ImportError):
        from HNTumorSegLib.inference.device import return_freed_memory

        return_freed_memory()


def _take_over_stdin() -> BinaryIO:
    """The stdin this process was given; from now on it is empty for everybody else.

    On Windows a library that is loaded asks for the type of stdin, and hangs while another thread waits for a line.
    """
    lines = open(os.dup(0), "rb")  # noqa: SIM115 - open as long as the process
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    return lines


def _take_over_stdout() -> int:
    """A descriptor of the stdout this process was given; from now on what is printed goes to stderr, C code's too."""
    sys.stdout.flush()
    descriptor = os.dup(1)
    os.dup2(2, 1)
    return descriptor


def _die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies: a second way beside the end of stdin.

    It also works while C code keeps Python's threads from running.
    """
    if sys.platform != "linux":
        return
    pr_set_pdeathsig = 1  # from linux/prctl.h
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


if __name__ == "__main__":
    main()
