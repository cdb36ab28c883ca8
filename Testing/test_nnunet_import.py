"""An nnU-Net v2 result folder made with nnunetv2 itself gives the labels of nnU-Net's own predictor.

nnunetv2 needs an environment of its own (it replaces torch); name its Python in HNTUMORSEG_NNUNET_PYTHON.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.inference.nnunet_engine import Resampling, _starts, resampled
from HNTumorSegLib.models.importing import import_model
from HNTumorSegLib.predict_folder import predict_folder

MAKER = Path(__file__).with_name("nnunet_maker.py")


def nnunet_python() -> str:
    """A Python that has nnunetv2, or ""."""
    named = os.environ.get("HNTUMORSEG_NNUNET_PYTHON", "")
    if named:
        return named
    return sys.executable if importlib.util.find_spec("nnunetv2") else ""


@pytest.fixture(scope="module", params=["ExperimentPlanner", "nnUNetPlannerResEncM"])
def made(request, tmp_path_factory):
    """A folder of nnunet_maker.py and the result folder in it."""
    python = nnunet_python()
    if not python:
        pytest.skip("nnunetv2 is not installed, and HNTUMORSEG_NNUNET_PYTHON names no Python that has it")
    folder = tmp_path_factory.mktemp("nnunet")
    anisotropic = request.param != "ExperimentPlanner"
    command = [python, str(MAKER), str(folder), "--planner", request.param, *(["--thick"] if anisotropic else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, Path(done.stdout.strip().splitlines()[-1])


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HNTUMORSEG_MODELS", str(tmp_path / "home"))
    return tmp_path / "home"


def test_labels_are_those_of_nnunet(made, home, tmp_path):
    folder, results = made
    model = import_model(results)
    predict_folder(folder / "raw" / "Dataset901_Tiny", tmp_path / "out", model, device="cpu")
    for number in range(2):
        expected, found = (
            sitk.ReadImage(str(where / f"case{number}.nii.gz"))
            for where in (folder / "nnunet_labels", tmp_path / "out")
        )
        a, b = sitk.GetArrayFromImage(expected), sitk.GetArrayFromImage(found)
        assert np.count_nonzero(a) > 50
        assert np.array_equal(a, b), f"{np.count_nonzero(a != b)} of {a.size} voxels differ"
        assert found.GetSpacing() == pytest.approx(expected.GetSpacing())
        assert found.GetOrigin() == pytest.approx(expected.GetOrigin())


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("plans.json", lambda p: p.update(image_reader_writer="NibabelIOWithReorient"), "NibabelIOWithReorient"),
        ("plans.json", lambda p: network(p).update(norm_op="os.system"), "norm_op 'os.system'"),
        ("plans.json", lambda p: network(p).update(features_per_stage=[8, 16, 20]), "do not fit the network"),
        ("dataset.json", lambda d: d.update(labels={"background": 0, "a": 1, "b": 2}), "--classes"),
        ("dataset.json", lambda d: d.update(channel_names={"0": "T1", "1": "T2"}), "--channels"),
    ],
)
def test_what_is_not_known_is_refused(made, home, tmp_path, file, change, message):
    copy = tmp_path / "model"
    shutil.copytree(made[1], copy)
    data = json.loads((copy / file).read_text())
    change(data)
    (copy / file).write_text(json.dumps(data))
    with pytest.raises(ModelError, match=message):
        import_model(copy)
    assert not list(home.iterdir())


def network(plans):
    return plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]


def test_tiles_begin_where_nnunet_says():
    """The example in nnU-Net's source: 110 voxels, patch 64, half a patch's step."""
    assert _starts(110, 64) == [0, 23, 46]
    assert _starts(64, 64) == [0]


def test_slices_of_thick_volumes_are_resampled_by_themselves():
    """Across thick slices the nearest one is taken, so no value between two constant slices appears."""
    data = np.repeat(np.arange(5, dtype=np.float32)[:, None, None], 8, axis=1).repeat(8, axis=2)[None]
    thick = resampled(data, (10, 16, 16), (8.0, 1.0, 1.0), (4.0, 0.5, 0.5), Resampling())
    assert thick.shape == (1, 10, 16, 16)
    assert set(np.unique(thick)) <= {0.0, 1.0, 2.0, 3.0, 4.0}
    even = resampled(data, (10, 16, 16), (1.0, 1.0, 1.0), (0.5, 0.5, 0.5), Resampling())
    assert len(np.unique(even)) > 5
    assert even.max() <= 4.0  # splines do not overshoot
