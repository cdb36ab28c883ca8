"""The worker as a real process: what it answers."""
# ruff: noqa: F811  the fixtures are imported, and named again by each test that takes them

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from inference_cases import OBLIQUE, make_study
from worker_cases import PATIENCE_S, array, folder, model, models, random_network, request_files, wait_until, worker  # noqa: F401

from HNTumorSegLib.errors import InputError, ModelError, OutOfMemoryError, WorkerError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.models.loading import write_model
from HNTumorSegLib.recipes.recipe import CT, PET
from HNTumorSegLib.worker_events import WorkerProgress, WorkerResult
from HNTumorSegLib.worker_process import child_environment, python_executable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="looks at processes as POSIX shows them")


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
