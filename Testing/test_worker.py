"""The worker as a real process: what it answers, and that nothing of it is left, however it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from test_inference import CARD, OBLIQUE, RECIPE, geometry_about, make_study

from HNTumorSegLib.errors import Cancelled, InputError, ModelError, OutOfMemoryError, WorkerError
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.models.loading import write_model
from HNTumorSegLib.networks import build_network
from HNTumorSegLib.recipes.recipe import CT, PET
from HNTumorSegLib.worker_client import WorkerClient
from HNTumorSegLib.worker_events import WorkerFailed, WorkerProgress, WorkerReady, WorkerResult
from HNTumorSegLib.worker_folder import NEW_S, PREFIX, WorkerFolder
from HNTumorSegLib.worker_process import child_environment, python_executable
from HNTumorSegLib.worker_protocol import box_of_values, load_stored, store_image

FAKE = Path(__file__).with_name("fake_worker.py")
NETWORK_MESSAGE = "running the network"
PATIENCE_S = 120  # a busy machine; nothing here waits longer than it must

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="looks at processes as POSIX shows them")


def random_network() -> torch.nn.Module:
    """Random weights under which all three classes occur."""
    torch.manual_seed(0)
    network = build_network(RECIPE.network, 2, 3, **RECIPE.network_options).eval()
    with torch.no_grad():
        x = torch.rand(1, 2, 32, 32, 32)
        network.head.weight *= 20
        network.head.bias.zero_()
        network.head.bias -= network(x).mean((0, 2, 3, 4))
    return network


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Model folders: ``modèle`` works, ``slow`` takes minutes, ``vast`` needs more memory than there is."""
    folder = tmp_path_factory.mktemp("Modelle für Tests")
    words = {"intended_use": "tests", "limitations": "all", "training_data": "none", "licence": "CC0-1.0"}
    recipes = {
        "modèle": replace(RECIPE, overlap=(0.25, 0.25, 0.25)),
        "slow": replace(RECIPE, overlap=(0.9, 0.9, 0.9)),
        "vast": replace(RECIPE, patch_zyx=(2**16,) * 3),
    }
    for name, recipe in recipes.items():
        write_model(folder / name, recipe, [random_network()], name=name, version="1", **words)
    return folder


@pytest.fixture(scope="module")
def model(models) -> Path:
    return models / "modèle"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the clients of this module make their temporary folders."""
    return tmp_path_factory.mktemp("zwischen 仮")


@pytest.fixture(scope="module")
def worker(folder):
    """One client for the tests that leave its process alive."""
    with WorkerClient(threads=1, work_folder=folder) as client:
        yield client
    assert list(folder.iterdir()) == []


@pytest.fixture
def fresh(tmp_path):
    """A client of its own; after the test no file of it is left."""
    with WorkerClient(threads=1, work_folder=tmp_path) as client:
        yield client
    assert list(tmp_path.glob(f"{PREFIX}*")) == []


def is_running(pid: int) -> bool:
    """Whether there is such a process, zombies left out."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        if Path("/proc/self").exists():
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition, what: str):
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)
    return value


def array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayViewFromImage(image)


def request_files(folder: Path) -> list[Path]:
    return list(folder.glob(f"{PREFIX}*/request_*"))


# --- answers ---


@pytest.mark.parametrize("reference", [PET, CT])
def test_answer_is_that_of_the_delineator_in_this_process(worker, model, folder, reference):
    study = make_study(OBLIQUE)
    events = []
    delineation = worker.delineate(study, model, "cpu", reference, events.append)
    expected = Delineator(model, "cpu").delineate(study, reference)
    assert set(np.unique(array(expected.labels))) == {0, 1, 2}
    # bit for bit but for the number of threads, which changes the order of sums
    assert (array(delineation.labels) != array(expected.labels)).mean() < 1e-4
    for name in ("primary_probability", "node_probability", "uncertainty"):
        one, other = getattr(delineation, name), getattr(expected, name)
        np.testing.assert_allclose(array(one), array(other), atol=2e-2)
        assert one.GetPixelID() == other.GetPixelID()
        assert Geometry.from_image(one) == Geometry.from_image(other)
    assert (delineation.card, delineation.reference) == (expected.card, reference)
    assert delineation.warnings == expected.warnings
    assert delineation.device.startswith("cpu (1 thread")
    assert {"load", "read", "prepare", "network", "resample"} == set(delineation.timings_s)
    stages = list(dict.fromkeys(event.stage for event in events if event.stage != "start"))
    assert stages == ["load", "read", "delineate", "hand over"]
    fractions = [event.fraction for event in events if event.stage == "delineate"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert request_files(folder) == []


def test_second_run_uses_the_same_process_and_the_model_in_memory(worker, model):
    worker.delineate(make_study(), model, "cpu")
    pid = worker.pid
    worker.poll()
    number = worker.request(make_study(), model, "cpu")
    with pytest.raises(WorkerError, match="running already"):
        worker.request(make_study(), model, "cpu")
    events = []
    wait_until(lambda: events.extend(worker.poll()) or not worker.is_busy, "an answer")
    events += worker.poll()
    assert isinstance(events[-1], WorkerResult)
    assert (events[-1].request, events[-1].model_kept) == (number, True)
    assert {type(event) for event in events[:-1]} == {WorkerProgress}
    assert "start" not in {event.progress.stage for event in events[:-1]}
    assert worker.pid == pid
    assert worker.ping(PATIENCE_S)


def test_what_the_user_did_wrong_does_not_end_the_worker(worker, models, model, tmp_path):
    worker.delineate(make_study(), model, "cpu")
    pid = worker.pid
    with pytest.raises(ModelError, match="There is no model"):
        worker.delineate(make_study(), tmp_path / "nothing", "cpu")
    with pytest.raises(ModelError, match="no device 'tpu'"):
        worker.delineate(make_study(), model, "tpu")
    with pytest.raises(InputError, match="the study has no CT"):
        worker.delineate(make_study(with_ct=False), model, "cpu", CT)
    with pytest.raises(InputError, match="not 'mr'"):
        worker.request(make_study(), model, "cpu", "mr")
    with pytest.raises(OutOfMemoryError, match="memory does not suffice"):
        worker.delineate(make_study(), models / "vast", "cpu")
    moved = tmp_path / "model"
    shutil.copytree(model, moved)
    assert "There is no CT" in worker.delineate(make_study(with_ct=False), moved, "cpu").warnings[0]
    shutil.rmtree(moved)
    with pytest.raises(ModelError, match="There is no model"):
        worker.delineate(make_study(), moved, "cpu")
    assert worker.pid == pid


def test_a_model_that_was_replaced_is_loaded_anew(worker, model, tmp_path):
    other = tmp_path / "model"
    shutil.copytree(model, other)
    before = worker.delineate(make_study(), other, "cpu")
    network = random_network()
    with torch.no_grad():
        network.head.bias[0] += 1e4  # nothing but background
    words = {"intended_use": "tests", "limitations": "all", "training_data": "none", "licence": "CC0-1.0"}
    write_model(other, before.card.recipe, [network], name="other", version="2", **words)
    after = worker.delineate(make_study(), other, "cpu")
    assert (array(before.labels).max(), array(after.labels).max()) == (2, 0)
    assert after.card.version == "2"


def test_environment_is_the_workers_alone(worker, model):
    before = dict(os.environ)
    worker.start()
    assert dict(os.environ) == before
    environment = child_environment(3, {"LAST": "word"})
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["LAST"] == "word"
    code = "import HNTumorSegLib; print(HNTumorSegLib.__file__)"
    found = subprocess.run(
        [sys.executable, "-S", "-c", code], env=environment, cwd="/", capture_output=True, check=True
    )
    assert Path(found.stdout.decode().strip()).parents[1] == Path(__file__).parents[1]


def test_python_of_slicer_is_found(tmp_path, monkeypatch):
    assert python_executable() == Path(sys.executable)
    launcher = tmp_path / "PythonSlicer"
    launcher.write_text("#!/bin/sh\n")
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert python_executable() == launcher


# --- the lines themselves ---


def test_lines_of_the_protocol():
    """Garbage is answered, nothing but JSON goes to stdout, and the process ends with its stdin."""
    lines = [
        b'{"message": "ping", "id": 7}',
        b"garbage",
        b"[1, 2]",
        b'{"message": "delineate"}',
        b"\xff\x00",
        b"[" * 9999,
    ]
    code = "import os, HNTumorSegLib.worker as w; s = w.Worker.load_packages; "
    code += "w.Worker.load_packages = lambda self: (print('print'), os.system('echo shell'), s(self)); w.main()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=child_environment(1),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdin.write(b"\n".join(lines) + b"\n")
        process.stdin.flush()
        said = []
        while not said or said[-1]["message"] != "ready" or len(said) < 8:
            said.append(json.loads(process.stdout.readline()))
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait() == 0
        printed = process.stderr.read().decode()
    assert {"print", "shell"} <= set(printed.split())
    assert said[0] == {"message": "hello", "protocol": 1, "version": said[0]["version"], "pid": process.pid}
    assert said[1] == {"message": "pong", "id": 7, "busy": False}
    errors = [line for line in said if line["message"] == "error"]
    assert [(e["id"], e["kind"], e["type"]) for e in errors] == [(None, "defect", "ProtocolError")] * 5
    assert "'garbage' is not a line of protocol 1" in errors[0]["text"]


@pytest.mark.parametrize("with_box", [False, True])
def test_images_pass_through_files_unchanged(tmp_path, with_box):
    geometry = replace(geometry_about((7, 6, 5), (1 / 3, 0.1, 2.7), OBLIQUE), origin_mm=(0.1 + 0.2, -1e-7, 1 / 7))
    values = np.zeros(geometry.shape_zyx, np.int16)
    values[1:3, 2, 3:6] = np.arange(6).reshape(2, 3) - 3
    image = image_from_array(values, geometry)
    box = box_of_values([image, image]) if with_box else None
    assert box in (None, (slice(1, 3), slice(2, 3), slice(3, 6)))
    stored = store_image(image, tmp_path / "ü.npy", box)
    back = load_stored(stored)
    np.testing.assert_array_equal(array(back), values)
    assert back.GetPixelID() == image.GetPixelID()
    assert Geometry.from_image(back) == geometry  # to the last bit
    assert np.load(stored.file).size == (6 if with_box else 210)


def test_an_image_of_nothing_has_a_box():
    image = image_from_array(np.zeros((4, 3, 2), np.uint8), Geometry((2, 3, 4), (1.0,) * 3, (0.0,) * 3, OBLIQUE))
    assert box_of_values([image]) == (slice(0, 1),) * 3


@contextmanager
def fake_worker(tmp_path, way):
    """A client whose Python is a launcher that runs ``fake_worker.py``, as PythonSlicer is a launcher."""
    launcher = tmp_path / "PythonFake"
    launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}"\n')
    launcher.chmod(0o755)
    environment = {"FAKE_WAY": way, "FAKE_CARD": json.dumps(asdict(CARD))}
    with WorkerClient(launcher, threads=1, work_folder=tmp_path, environment=environment) as client:
        yield client
    assert list(tmp_path.glob(f"{PREFIX}*")) == []


@pytest.mark.parametrize(
    ("way", "sentence"),
    [
        ("grid", r"worker's labels: the grids differ .* up to 1 mm apart"),
        ("file", r"result cannot be used: .*labels\.npy"),
        ("protocol", r"of HNTumorSeg 9\.9 \(protocol 99\)"),
        ("exit", r"crashed \(exit code 3\).*the licence server said no"),
    ],
)
def test_a_wrong_answer_is_not_believed(tmp_path, way, sentence):
    with fake_worker(tmp_path, way) as client, pytest.raises(WorkerError, match=sentence):
        client.delineate(make_study())


def test_a_right_answer_of_the_same_process_is_believed(tmp_path):
    with fake_worker(tmp_path, "well") as client:
        assert client.delineate(make_study()).card == CARD


def test_a_python_that_is_not_there(tmp_path):
    with (
        WorkerClient(tmp_path / "nothing", work_folder=tmp_path) as client,
        pytest.raises(WorkerError, match=r"cannot be started with '.*nothing': No such file"),
    ):
        client.delineate(make_study())
    assert list(tmp_path.iterdir()) == []


# --- ends ---


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
