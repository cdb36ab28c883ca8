"""The end of the worker: nothing of it is left, however it ends, and the ways are told apart in words."""
# ruff: noqa: F811  the fixtures are imported, and named again by each test that takes them

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from inference_cases import make_study
from worker_cases import NETWORK_MESSAGE, array, fresh, is_running, model, models, request_files, wait_until  # noqa: F401

from HNTumorSegLib.errors import Cancelled
from HNTumorSegLib.worker_client import WorkerClient
from HNTumorSegLib.worker_events import WorkerFailed, WorkerProgress, WorkerReady
from HNTumorSegLib.worker_folder import NEW_S, PREFIX, WorkerFolder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="looks at processes as POSIX shows them")


@pytest.mark.parametrize("stage", ["start", "load", "prepare", "network", "hand over"])
def test_cancel_at_each_stage_leaves_nothing(fresh, model, tmp_path, stage):
    pids = []

    def stop(event):
        pids.append(fresh.pid)
        network = event.message == NETWORK_MESSAGE
        name = event.stage if event.stage != "delineate" else "network" if network else "prepare"
        if name == stage:
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        fresh.delineate(make_study(), model, "cpu", progress=stop)
    assert pids[0] is not None
    assert not is_running(pids[0])
    assert fresh.pid is None
    assert not fresh.is_busy
    assert request_files(tmp_path) == []
    assert fresh.cancel() is False


def test_cancel_kills_the_whole_tree_and_the_next_request_starts_anew(model, models, tmp_path):
    """The Python is a launcher with the worker as its child, as PythonSlicer may be."""
    launcher = tmp_path / "PythonLauncher"
    launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n')
    launcher.chmod(0o755)
    with WorkerClient(launcher, threads=1, work_folder=tmp_path) as client:
        number = client.request(make_study(), models / "slow", "cpu")
        events = []
        wait_until(lambda: events.extend(client.poll()) or _at_network(events), "the network")
        ready = next(event for event in events if isinstance(event, WorkerReady))
        assert ready.pid != client.pid  # the child
        pids = (ready.pid, client.pid)
        assert all(is_running(pid) for pid in pids)
        assert client.cancel() is True
        wait_until(lambda: not any(is_running(pid) for pid in pids), "both gone")
        (last,) = [event for event in client.poll() if isinstance(event, WorkerFailed)]
        assert (last.request, last.kind) == (number, "cancelled")
        assert str(last.error) == "The delineation was cancelled; nothing was changed."
        assert array(client.delineate(make_study(), model, "cpu").labels).max() == 2
        pid = client.pid
    assert not is_running(pid)


def _at_network(events) -> bool:
    return any(isinstance(e, WorkerProgress) and e.progress.message == NETWORK_MESSAGE for e in events)


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (signal.SIGSEGV, "crash", ("crashed (signal SIGSEGV)", "Segmentation fault")),
        (signal.SIGKILL, "out_of_memory", ("signal SIGKILL", "probably out of memory")),
    ],
)
def test_ends_are_told_apart_in_words(fresh, models, tmp_path, number, kind, words):
    fresh.request(make_study(), models / "slow", "cpu")
    events = []
    wait_until(lambda: events.extend(fresh.poll()) or _at_network(events), "the network")
    os.kill(fresh.pid, number)
    wait_until(lambda: not fresh.is_busy, "an answer")
    failed = wait_until(lambda: [e for e in fresh.poll() if isinstance(e, WorkerFailed)], "the event")
    assert [event.kind for event in failed] == [kind]
    for word in words:
        assert word in str(failed[0].error)
    assert request_files(tmp_path) == []
    fresh.start()
    os.kill(fresh.pid, signal.SIGTERM)
    (idle,) = wait_until(lambda: [e for e in fresh.poll() if isinstance(e, WorkerFailed)], "the event")
    assert idle.request is None
    assert "signal SIGTERM" in str(idle.error)


def test_closing_during_a_run_ends_it(fresh, models, tmp_path):
    fresh.request(make_study(), models / "slow", "cpu")
    pid = fresh.pid
    fresh.close()
    assert not is_running(pid)
    assert list(tmp_path.glob(f"{PREFIX}*")) == []
    assert [event.kind for event in fresh.poll() if isinstance(event, WorkerFailed)] == ["cancelled"]


PARENT = """
    import sys, time
    from pathlib import Path
    from HNTumorSegLib.worker_client import WorkerClient
    client = WorkerClient(threads=1, work_folder=Path(sys.argv[1]))
    client.start()
    print(client.pid, flush=True)
    time.sleep(600 if sys.argv[2] == "wait" else 0)
"""


def parent_of_worker(folder: Path, what: str) -> tuple[subprocess.Popen, int]:
    command = [sys.executable, "-c", textwrap.dedent(PARENT), str(folder), what]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE)
    return parent, int(parent.stdout.readline())


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "not able to run"])
def test_worker_dies_with_its_parent(tmp_path, stopped):
    """A stopped process cannot notice the end of its stdin: there only the kernel's signal helps, on Linux."""
    if stopped and sys.platform != "linux":
        pytest.skip("only Linux ends a process with its parent")
    parent, pid = parent_of_worker(tmp_path, "wait")
    with parent:
        (log_file,) = wait_until(lambda: list(tmp_path.glob(f"{PREFIX}*/worker_*.log")), "a log")
        assert is_running(pid)
        if stopped:
            wait_until(lambda: _dies_with_parent(pid), "the worker's first lines")
            os.kill(pid, signal.SIGSTOP)
        parent.kill()
    wait_until(lambda: not is_running(pid), "the worker's end")
    # The parent could not remove its folder; the next one does, when the folder is not brand-new.
    WorkerFolder(tmp_path).close()
    assert log_file.exists()
    lock_file = log_file.with_name("in_use")
    os.utime(lock_file, (time.time() - 2 * NEW_S,) * 2)
    WorkerFolder(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def _dies_with_parent(pid: int) -> bool:
    """Whether it has come to serve: its stdin is then the empty one."""
    return os.readlink(f"/proc/{pid}/fd/0") == os.devnull


def test_a_program_that_ends_without_closing_leaves_nothing(tmp_path):
    parent, pid = parent_of_worker(tmp_path, "end")
    with parent:
        assert parent.wait() == 0
    assert not is_running(pid)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_not_taken_for_abandoned(tmp_path):
    folder = WorkerFolder(tmp_path)
    lock_file = folder.path / "in_use"
    os.utime(lock_file, (0, 0))
    code = "import sys; from pathlib import Path; from HNTumorSegLib.worker_folder import WorkerFolder as F; "
    code += "F(Path(sys.argv[1])).close()"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert lock_file.exists()
    folder.close()
    assert list(tmp_path.iterdir()) == []
