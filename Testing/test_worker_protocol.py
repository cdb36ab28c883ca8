"""The worker's lines and files: what is sent, and that a wrong answer is not believed."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict, replace

import numpy as np
import pytest
from inference_cases import CARD, OBLIQUE, geometry_about, make_study
from worker_cases import FAKE, array

from HNTumorSegLib.errors import WorkerError
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.worker_client import WorkerClient
from HNTumorSegLib.worker_folder import PREFIX
from HNTumorSegLib.worker_process import child_environment
from HNTumorSegLib.worker_protocol import box_of_values, load_stored, store_image

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="looks at processes as POSIX shows them")


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
    assert said[0] == {"message": "hello", "protocol": 2, "version": said[0]["version"], "pid": process.pid}
    assert said[1] == {"message": "pong", "id": 7, "busy": False}
    errors = [line for line in said if line["message"] == "error"]
    assert [(e["id"], e["kind"], e["type"]) for e in errors] == [(None, "defect", "ProtocolError")] * 5
    assert "'garbage' is not a line of protocol 2" in errors[0]["text"]


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
