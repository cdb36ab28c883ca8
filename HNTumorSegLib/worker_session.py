"""One life of the worker process, from its start to its end, watched by a thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from HNTumorSegLib.worker_process import WorkerProcess
from HNTumorSegLib.worker_protocol import (
    DEFECT,
    EVENTS,
    PROTOCOL_VERSION,
    Event,
    Hello,
    ProtocolError,
    Ready,
    Request,
    from_line,
    to_line,
)

PATIENCE_S = 2.0
"""How long a process that was asked to end, or closed its output, may take before it is killed."""

log = logging.getLogger(__name__)


class WorkerSession:
    """Starts the process and listens to it.

    Linux kills the worker when the *thread* that started it ends (see ``worker._die_with_parent``), so the thread that
    listens also starts it.

    Args:
        python, environment, log_file: as for :class:`HNTumorSegLib.worker_process.WorkerProcess`.
        on_event: called with each line's event, in the session's thread.
        on_end: called once when the process is gone, in the session's thread, with the session.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(
        self,
        python: str | Path,
        environment: Mapping[str, str],
        log_file: Path,
        on_event: Callable[[WorkerSession, Event], None],
        on_end: Callable[[WorkerSession], None],
    ):
        self.began = time.perf_counter()
        self.is_end_wanted = False
        self.worker_pid = 0
        self.ready = threading.Event()
        self.over = threading.Event()
        self._gone = threading.Event()
        self._on_event, self._on_end = on_event, on_end
        self._process: WorkerProcess | None = None
        self._problem: OSError | None = None
        self._mistake = ""
        started = threading.Event()
        arguments = (python, environment, log_file, started)
        self._thread = threading.Thread(target=self._live, args=arguments, name="worker", daemon=True)
        self._thread.start()
        started.wait()
        if self._problem is not None:
            raise self._problem

    @property
    def pid(self) -> int:
        """Process id of the process that was started: the worker, or a launcher around it."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether requests can be sent."""
        return self._process.poll() is None

    def send(self, request: Request) -> None:
        """Write a request line; raises OSError or ValueError when the process is gone."""
        self._process.write(to_line(request))

    def kill(self) -> None:
        """End the process and its children at once and wait until they are gone."""
        self.is_end_wanted = True
        self._process.kill_tree()
        self.over.wait(PATIENCE_S)

    def close(self) -> None:
        """Ask the process to end; kill it when it does not."""
        self.is_end_wanted = True
        self._process.close_stdin()
        if not self.over.wait(PATIENCE_S):
            self.kill()

    def how_it_ended(self) -> tuple[str, str]:
        """Kind and sentence about an end that was not asked for; to be called when it is gone or about to be."""
        if threading.current_thread() is not self._thread:
            self._gone.wait(PATIENCE_S)
        if self._mistake:
            return DEFECT, self._mistake
        return self._process.how_it_ended(self._process.poll())

    def _live(
        self, python: str | Path, environment: Mapping[str, str], log_file: Path, started: threading.Event
    ) -> None:
        try:
            self._process = WorkerProcess(python, environment, log_file, log_file.parent)
        except OSError as error:
            self._problem = error
            self.over.set()
            return
        finally:
            started.set()
        try:
            for line in self._process.stdout:
                self._hear(line)
                if self._mistake:  # what it had said before it was killed is not believed either
                    break
        except (OSError, ValueError) as error:  # the pipe broke: it ends
            log.debug("%s", error)
        finally:
            self._process.end(PATIENCE_S)
            self._process.release()
            self._gone.set()
            self._on_end(self)
            self.over.set()

    def _hear(self, line: bytes) -> None:
        try:
            event = from_line(line, EVENTS)
        except ProtocolError as error:  # a launcher may greet on stdout before Python starts
            log.warning("the worker said something else: %s", error)
            return
        if isinstance(event, Hello):
            self.worker_pid = event.pid
            if event.protocol != PROTOCOL_VERSION:
                self._mistake = (
                    f"The worker is of HNTumorSeg {event.version} (protocol {event.protocol}), this program speaks "
                    f"protocol {PROTOCOL_VERSION}. Restart the application, so that both are of one version."
                )
                self._process.kill_tree()
                return
        elif isinstance(event, Ready):
            self.ready.set()
        self._on_event(self, event)
