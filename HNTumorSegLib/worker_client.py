"""Delineate in a process of its own: the same client for the GUI, Slicer's Python console and scripts.

In a script::

    with WorkerClient() as worker:
        delineation = worker.delineate(study, "default", progress=print)

In a GUI: :meth:`WorkerClient.request`, then :meth:`WorkerClient.poll` from a timer, which never waits.
"""

from __future__ import annotations

import atexit
import contextlib
import queue
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from HNTumorSegLib.errors import InputError, OutputError, WorkerError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.inference.delineation import Delineation
from HNTumorSegLib.models.registry import DEFAULT_MODEL
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.recipes.recipe import CT, PET
from HNTumorSegLib.study.study import Study
from HNTumorSegLib.worker_events import (
    WorkerEvent,
    WorkerFailed,
    WorkerProgress,
    WorkerReady,
    WorkerResult,
    cancelled,
    checked_result,
    ended,
    error_of,
)
from HNTumorSegLib.worker_folder import WorkerFolder, remove
from HNTumorSegLib.worker_process import child_environment, processor_count
from HNTumorSegLib.worker_protocol import (
    USER,
    Delineate,
    Error,
    Event,
    Ping,
    Pong,
    Progress,
    Ready,
    Result,
    StoredImage,
    store_image,
)
from HNTumorSegLib.worker_session import PATIENCE_S, WorkerSession


@dataclass(eq=False)
class _Job:
    """A request that has no answer yet; ``grid`` is the one the answer must lie on."""

    number: int
    session: WorkerSession
    folder: Path
    study: Study
    reference: str
    grid: Geometry
    events: queue.SimpleQueue
    sender: threading.Thread | None = None
    is_cancelled: bool = False
    is_finished: bool = False


class WorkerClient:
    """Starts the worker, keeps it warm between studies, starts it anew after a cancel or a crash.

    One request at a time. Its methods may be called from any thread. Nothing of this process's environment is
    changed, and its temporary files are removed at the latest by :meth:`close`, which also runs at exit.

    Args:
        python: the Python to run; in 3D Slicer :func:`HNTumorSegLib.worker_process.python_executable`.
        threads: processor threads for the network; None: all this process may use.
        work_folder: where the temporary folder is made; None: the system's.
        environment: further environment variables for the worker.
    """

    def __init__(
        self,
        python: str | Path = sys.executable,
        *,
        threads: int | None = None,
        work_folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ):
        self._python = python
        self._threads = threads or processor_count()
        self._parent_folder = work_folder
        self._environment = dict(environment or {})
        self._lock = threading.RLock()
        self._events: queue.SimpleQueue[WorkerEvent] = queue.SimpleQueue()
        self._pongs: queue.SimpleQueue[Pong] = queue.SimpleQueue()
        self._folder: WorkerFolder | None = None
        self._session: WorkerSession | None = None
        self._job: _Job | None = None
        self._numbers = 0
        atexit.register(self.close)

    # --- life ---

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the running worker, or None."""
        session = self._session
        return session.pid if session is not None and session.is_alive else None

    @property
    def is_busy(self) -> bool:
        """Whether a request has no answer yet."""
        with self._lock:
            return self._job is not None

    def start(self) -> None:
        """Start the process unless it runs; returns at once, it loads its packages meanwhile.

        Raises:
            WorkerError: this Python cannot be started.
            OutputError: there is no room for temporary files.
        """
        with self._lock:
            if self.pid is not None:
                return
            try:
                self._folder = self._folder or WorkerFolder(self._parent_folder)
            except OSError as error:
                raise OutputError(f"No temporary folder can be made: {error.strerror or error}.") from error
            environment = child_environment(self._threads, self._environment)
            log_file = self._folder.path / f"worker_{self._new_number()}.log"
            try:
                self._session = WorkerSession(self._python, environment, log_file, self._on_event, self._on_end)
            except OSError as error:
                raise WorkerError(
                    f"The worker cannot be started with '{self._python}': {error.strerror or error}. Check that there "
                    "is a Python."
                ) from error

    def wait_until_ready(self, timeout_s: float = 120.0) -> bool:
        """Start the worker and wait until its packages are loaded; False when it took longer or ended."""
        self.start()
        session, deadline = self._session, time.perf_counter() + timeout_s
        while not session.ready.wait(0.02):
            if session.over.is_set() or time.perf_counter() > deadline:
                return False
        return True

    def ping(self, timeout_s: float = 5.0) -> bool:
        """Whether the worker is alive and answers."""
        session, number, deadline = self._session, self._new_number(), time.perf_counter() + timeout_s
        if session is None or not session.is_alive:
            return False
        try:
            session.send(Ping(number))
            while self._pongs.get(timeout=max(0.0, deadline - time.perf_counter())).id != number:
                pass
        except (OSError, ValueError, queue.Empty):
            return False
        return True

    def close(self) -> None:
        """End the worker, a running request with it, and remove all temporary files. :meth:`start` begins anew."""
        self.cancel()
        with self._lock:
            session, self._session = self._session, None
            folder, self._folder = self._folder, None
        if session is not None:
            session.close()
        if folder is not None:
            folder.close()

    # --- requests ---

    def delineate(
        self,
        study: Study,
        model: str | Path = DEFAULT_MODEL,
        device: str = "auto",
        reference: str = PET,
        progress: ProgressCallback = silent,
        *,
        flip_left_right: bool = False,
    ) -> Delineation:
        """Delineate and wait for the result.

        Args:
            study: PET in SUVbw and, if there is one, the CT in HU.
            model, device, reference, flip_left_right: as for :class:`HNTumorSegLib.inference.delineator.Delineator`.
            progress: called in this thread; what it raises (``Cancelled``, ``KeyboardInterrupt``) cancels the run.

        Raises:
            Cancelled: :meth:`cancel` was called.
            OutOfMemoryError: the computer's memory does not suffice.
            WorkerError: the process crashed or failed by a defect of ours.
            HNTumorSegError: whatever the delineation itself raises, of the same type.
        """
        events: queue.SimpleQueue[WorkerEvent] = queue.SimpleQueue()
        self._begin(study, model, device, reference, flip_left_right, events)
        try:
            while True:
                match events.get():
                    case WorkerProgress(progress=event):
                        progress(event)
                    case WorkerResult(delineation=delineation):
                        return delineation
                    case WorkerFailed(error=error):
                        raise error
        except BaseException:
            self.cancel()
            raise

    def request(
        self,
        study: Study,
        model: str | Path = DEFAULT_MODEL,
        device: str = "auto",
        reference: str = PET,
        *,
        flip_left_right: bool = False,
    ) -> int:
        """Ask for a delineation and return its number at once; :meth:`poll` brings what becomes of it.

        Raises :class:`InputError` when the reference is no image of the study, :class:`WorkerError` when the worker is
        busy or cannot be started.
        """
        return self._begin(study, model, device, reference, flip_left_right, self._events).number

    def poll(self) -> list[WorkerEvent]:
        """What happened since the last call, in order; never waits."""
        events = []
        with contextlib.suppress(queue.Empty):
            while True:
                events.append(self._events.get_nowait())
        return events

    def cancel(self) -> bool:
        """End the running request: the process and all its children are killed, its files removed.

        Returns False when there was none. The next request starts a fresh process.
        """
        with self._lock:
            job = self._job
            if job is None:
                return False
            job.is_cancelled = True
        job.session.kill()
        job.sender.join(PATIENCE_S)
        self._finish(job, cancelled(job.number))
        return True

    def _begin(
        self,
        study: Study,
        model: str | Path,
        device: str,
        reference: str,
        flip_left_right: bool,
        events: queue.SimpleQueue,
    ) -> _Job:
        grid = _reference_grid(study, reference)
        with self._lock:
            if self._job is not None:
                raise WorkerError("A delineation is running already. Wait for it, or cancel it first.")
            cold = self.pid is None
            self.start()
            number = self._new_number()
            folder = self._folder.path / f"request_{number}"
            # Shallow copies: what the caller does to the images from now on does not reach these.
            ct = None if study.ct is None else sitk.Image(study.ct)
            copy = Study(sitk.Image(study.pet), study.pet_info, study.provenance, ct)
            job = _Job(number, self._session, folder, copy, reference, grid, events)
            if cold:
                events.put(WorkerProgress(number, ProgressEvent("start", 0.0, "starting the worker process")))
            arguments = (job, str(model), device, flip_left_right)
            job.sender = threading.Thread(target=self._hand_over, args=arguments, name="hand over", daemon=True)
            self._job = job
            job.sender.start()
        return job

    def _new_number(self) -> int:
        with self._lock:
            self._numbers += 1
            return self._numbers

    def _hand_over(self, job: _Job, model: str, device: str, flip_left_right: bool) -> None:
        """Write the images, then the request line; runs in a thread of its own, as a CT takes a moment."""
        try:
            job.folder.mkdir()
            stored: dict[str, StoredImage | None] = {}
            for name, image in ((PET, job.study.pet), (CT, job.study.ct)):
                stored[name] = None if image is None else store_image(image, job.folder / f"{name}.npy")
        except OSError as error:
            text = f"The images cannot be handed to the worker in '{job.folder}': {error.strerror or error}."
            self._finish(job, WorkerFailed(job.number, USER, OutputError(text)))
            return
        if job.is_finished or job.is_cancelled:
            remove(job.folder)
            return
        folder, reference = str(job.folder), job.reference
        try:
            job.session.send(
                Delineate(job.number, folder, stored[PET], stored[CT], model, device, reference, flip_left_right)
            )
        except (OSError, ValueError):  # it is gone, maybe before this request was known to the thread that listens
            self._finish(job, ended(job.session, job.number))

    # --- what the process says; in the session's thread ---

    def _on_event(self, session: WorkerSession, event: Event) -> None:
        if isinstance(event, Ready):
            self._events.put(WorkerReady(session.worker_pid, time.perf_counter() - session.began, event.torch))
        elif isinstance(event, Pong):
            self._pongs.put(event)
        job = self._job
        if job is None or job.session is not session:
            return
        if isinstance(event, Progress) and event.id == job.number:
            job.events.put(WorkerProgress(job.number, ProgressEvent(event.stage, event.fraction, event.text)))
        elif isinstance(event, Result) and event.id == job.number:
            self._finish(job, checked_result(event, job.session, job.reference, job.grid))
        elif isinstance(event, Error) and event.id in (job.number, None):
            self._finish(job, WorkerFailed(job.number, event.kind, error_of(event)))

    def _on_end(self, session: WorkerSession) -> None:
        job = self._job
        if job is not None and job.session is session:
            self._finish(job, ended(session, job.number))
        elif not session.is_end_wanted:
            self._events.put(ended(session, None))

    def _finish(self, job: _Job, event: WorkerEvent) -> None:
        """The one answer to a request; its files go. Later answers are not heard."""
        with self._lock:
            if job.is_finished:
                return
            job.is_finished = True
        if threading.current_thread() is not job.sender:
            job.sender.join(PATIENCE_S)
        remove(job.folder)
        with self._lock:  # whoever sees the event may ask again at once
            self._job = None
            job.events.put(cancelled(job.number) if job.is_cancelled else event)


def _reference_grid(study: Study, reference: str) -> Geometry:
    grids = {PET: study.pet_geometry, CT: study.ct_geometry}
    if reference not in grids:
        raise InputError(f"The reference grid is '{PET}' or '{CT}', not '{reference}'.")
    if grids[reference] is None:
        raise InputError("The CT's grid was asked for as reference, but the study has no CT. Use the reference 'pet'.")
    return grids[reference]
