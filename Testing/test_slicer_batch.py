"""scripts/slicer_batch.py on slicer-core: its arguments and its exit code."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "slicer_batch.py"


@pytest.fixture(scope="module")
def batch():
    spec = importlib.util.spec_from_file_location("slicer_batch", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "argv",
    [
        ["scripts/slicer_batch.py", "--pet", "P", "--out", "D"],
        ["Slicer", "--no-main-window", "--python-script", "scripts/slicer_batch.py", "--", "--pet", "P", "--out", "D"],
        ["/opt/Slicer/bin/SlicerApp-real", "--pet", "P", "--out", "D"],
        ["/opt/Slicer/bin/SlicerApp-real", "/x/slicer_batch.py", "--pet", "P", "--out", "D"],
        ["slicer_batch.py", "--", "--pet", "P", "--out", "D"],
    ],
)
def test_arguments_with_and_without_slicer(batch, argv):
    assert batch.own_arguments(argv) == ["--pet", "P", "--out", "D"]


def test_bad_input_is_one_line_and_exit_code_2(tmp_path):
    pytest.importorskip("slicer", reason="the slicer extra is not installed")
    missing = ["--pet", str(tmp_path / "nowhere"), "--model", str(tmp_path / "nowhere")]
    command = [sys.executable, str(SCRIPT), *missing, "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_exit_code_goes_through_slicer(tmp_path):
    """Slicer's ``exec`` of the script with an application that records its exit, as in ``slicer.util.exit``."""
    code = f"""
import sys, types
slicer = types.ModuleType("slicer")
slicer.util = types.SimpleNamespace(exit=lambda code: print("slicer.util.exit", code))
slicer.app = types.SimpleNamespace(commandOptions=lambda: None)
slicer.vtkMRMLScene = object
sys.modules["slicer"] = slicer
sys.argv = ["Slicer", "--pet", "nowhere", "--model", "nowhere", "--out", {str(tmp_path / "out")!r}]
globals()["__file__"] = {str(SCRIPT)!r}
exec(open(__file__).read(), globals())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.splitlines()[-1] == "slicer.util.exit 2", done.stderr
