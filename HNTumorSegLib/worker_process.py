"""Start the worker process, end it with all its children, and say in words how it ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from HNTumorSegLib.worker_protocol import CRASH, OUT_OF_MEMORY, USER

MODULE = "HNTumorSegLib.worker"
KEPT_FREE_MB = 64
LOG_LINES = 3
MEMORY_WORDS = ("MemoryError", "bad_alloc", "DefaultCPUAllocator", "Cannot allocate memory")
DUMP_LINES = ("File ", "Current thread", "Extension modules:", "<no Python frame>")
"""How the lines of a crash dump begin that say where in the code, not what."""

WINDOWS_NO_MEMORY = (0xC0000017, 0xC000012D)  # STATUS_NO_MEMORY, STATUS_COMMITMENT_LIMIT
WINDOWS_NAMES = {0xC0000005: "an access violation", 0xC00000FD: "a stack overflow", 0xC0000135: "a missing DLL"}


def python_executable() -> Path:
    """The Python to start the worker with: ``PythonSlicer`` when this runs in 3D Slicer, else this very Python.

    In Slicer ``sys.executable`` need not be a Python that can be started by itself.
    """
    found = shutil.which("PythonSlicer") or shutil.which("PythonSlicer", path=str(Path(sys.executable).parent))
    return Path(found or sys.executable)


def processor_count() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def child_environment(threads: int, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """A copy of this process's environment with what the worker needs; this process's own stays as it is.

    Args:
        threads: processor threads for the network.
        more: variables that come last.
    """
    environment = dict(os.environ)
    library = str(Path(__file__).resolve().parents[1])
    former = environment.get("PYTHONPATH", "")
    environment["PYTHONPATH"] = os.pathsep.join([library, former] if former else [library])
    environment["PYTHONUTF8"] = "1"
    environment["PYTHONUNBUFFERED"] = "1"
    environment["PYTHONSAFEPATH"] = "1"  # no module is taken from the working directory
    environment["OMP_NUM_THREADS"] = environment["MKL_NUM_THREADS"] = str(threads)
    environment["OMP_WAIT_POLICY"] = "PASSIVE"  # waiting threads leave the processor to the program in front
    # glibc keeps freed memory for reuse: see HNTumorSegLib.inference.device.keep_freed_memory.
    environment["MALLOC_MMAP_MAX_"] = "0"
    environment["MALLOC_TRIM_THRESHOLD_"] = str(2**31 - 1)
    environment["MALLOC_TOP_PAD_"] = str(KEPT_FREE_MB * 2**20)
    return {**environment, **(more or {})}


class WorkerProcess:
    """The running process, at the head of a process tree of its own.

    Args:
        python: the Python to run.
        environment: all of its environment.
        log_file: where its stderr goes.
        folder: its working directory.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, python: str | Path, environment: Mapping[str, str], log_file: Path, folder: Path):
        self.log_file = log_file
        self._python = python
        options = {"start_new_session": True}
        if sys.platform == "win32":
            flags = subprocess.CREATE_NO_WINDOW | subprocess.BELOW_NORMAL_PRIORITY_CLASS
            options = {"creationflags": flags}
        with open(log_file, "wb") as stderr:
            self._process = subprocess.Popen(
                [str(python), "-m", MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=dict(environment),
                cwd=folder,
                **options,
            )
        self._job = None
        if sys.platform == "win32":
            from HNTumorSegLib.worker_windows import KillOnCloseJob

            self._job = KillOnCloseJob.around(self._process)
        self.stdout = self._process.stdout

    @property
    def pid(self) -> int:
        """Process id of the tree's head."""
        return self._process.pid

    def poll(self) -> int | None:
        """Exit code, or None while it runs."""
        return self._process.poll()

    def write(self, line: bytes) -> None:
        """Send a line to its stdin; raises OSError or ValueError when it is gone."""
        self._process.stdin.write(line)
        self._process.stdin.flush()

    def close_stdin(self) -> None:
        """Ask it to end."""
        with contextlib.suppress(OSError):  # it is gone already
            self._process.stdin.close()

    def kill_tree(self) -> None:
        """End the process and all its children at once."""
        if sys.platform == "win32":
            if self._job is not None:
                self._job.terminate()
            elif self._process.poll() is None:
                command = ["taskkill", "/F", "/T", "/PID", str(self.pid)]
                subprocess.run(command, capture_output=True, check=False, creationflags=subprocess.CREATE_NO_WINDOW)
        else:
            # It leads a process group of its own. Where nobody is left, Linux says the first and macOS the second.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        if self._process.poll() is None:
            self._process.kill()

    def end(self, patience_s: float) -> int:
        """Wait for the end, after ``patience_s`` force it; children it left are ended too. Returns the exit code."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)
        self.kill_tree()
        return self._process.wait()

    def release(self) -> None:
        """Close the pipes once it has ended."""
        self.close_stdin()
        self._process.stdout.close()

    def log_tail(self, lines: int = LOG_LINES) -> list[str]:
        """The last lines of its stderr that say something."""
        try:
            text = self.log_file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        said = [line.strip() for line in text.splitlines()]
        return [line for line in said if line and not line.startswith(DUMP_LINES)][-lines:]

    def how_it_ended(self, code: int | None) -> tuple[str, str]:
        """Kind and one sentence group about an end that nobody asked for."""
        tail = self.log_tail()
        last_words = f" Its last words: {' | '.join(tail)[-500:]}" if tail else ""
        text = " ".join(self.log_tail(40))
        cause, killed = _cause(code)
        if killed or (code or 0) & 0xFFFFFFFF in WINDOWS_NO_MEMORY or any(words in text for words in MEMORY_WORDS):
            return OUT_OF_MEMORY, (
                f"The worker process was ended by the system ({cause}): the computer was probably out of memory. "
                f"Close other programs and run again; nothing was changed.{last_words if not killed else ''}"
            )
        if "ModuleNotFoundError" in text or "No module named" in text:
            return USER, f"The worker cannot run in '{self._python}', a package is missing.{last_words}"
        return CRASH, f"The worker process crashed ({cause}). Run again; nothing was changed.{last_words}"


def _cause(code: int | None) -> tuple[str, bool]:
    """An exit code in words, and whether the process was killed from outside; None: it lives but does not answer."""
    if code is None:
        return "it closed its output", False
    number = -code if code < 0 else code - 128  # shells and launchers add 128 to the signal
    if sys.platform != "win32" and 0 < number < 65:
        try:
            name = signal.Signals(number).name
            return f"signal {name}", name == "SIGKILL"
        except ValueError:
            pass
    return WINDOWS_NAMES.get(code & 0xFFFFFFFF, f"exit code {code}"), False
