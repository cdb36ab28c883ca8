"""Installing what Slicer does not bring: what pip is told, and what is said when it fails."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

MODULE_FOLDER = Path(__file__).resolve().parents[1] / "HNTumorSeg"


@pytest.fixture
def packages(monkeypatch):
    monkeypatch.syspath_prepend(str(MODULE_FOLDER))
    from HNTumorSegPanels import packages

    return packages


def test_what_is_missing_is_found_without_importing(packages):
    before = set(sys.modules)
    assert packages.missing(("numpy", "no_such_package_of_anybody")) == ["no_such_package_of_anybody"]
    assert packages.missing(("torch",)) == []
    assert "torch" in before or "torch" not in sys.modules


def test_pip_is_kept_from_what_slicer_brings(packages):
    told = []

    def pip(arguments):
        told.extend(arguments)
        told.append(Path(arguments[arguments.index("--constraint") + 1]).read_text(encoding="utf-8"))
        print("Collecting safetensors")

    shown = []
    packages.install(["safetensors"], shown.append, pip)
    assert told[0] == "safetensors"
    for name in ("numpy", "SimpleITK", "vtk"):
        assert f"{name}=={importlib.metadata.version(name)}\n" in told[-1]
    assert not Path(told[told.index("--constraint") + 1]).exists()
    assert shown[-1] == "Collecting safetensors\n"


def test_torch_comes_from_the_pytorch_extension_where_that_is(packages, monkeypatch, tmp_path):
    (tmp_path / "PyTorchUtils.py").write_text(
        "class PyTorchUtilsLogic:\n"
        "    def installTorch(self, askConfirmation):\n"
        "        print('chosen by the extension', askConfirmation)\n"
        "        return 'torch'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    told, shown = [], []
    packages.install(["torch", "safetensors"], shown.append, lambda arguments: told.append(arguments[0]))
    sys.modules.pop("PyTorchUtils")
    assert told == ["safetensors"]
    assert shown[-1] == "chosen by the extension False\n"


LOGS = {
    "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device": "disk is full",
    "WARNING: Retrying ... Failed to establish a new connection: [Errno -2]\nERROR: No matching distribution found": (
        "cannot be reached"
    ),
    "ERROR: No matching distribution found for torch": "no build for this system",
    "ERROR: ResolutionImpossible: for help visit": "another version of one that Slicer brings",
    "ERROR: something nobody has seen yet": "something nobody has seen yet",
}


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log[7:35])
def test_the_cause_of_a_failure_is_named(packages, log):
    def pip(_arguments):
        print(log)
        raise subprocess.CalledProcessError(1, "pip")

    with pytest.raises(RuntimeError, match="torch, safetensors could not be installed") as caught:
        packages.install(["torch", "safetensors"], lambda _text: None, pip)
    assert LOGS[log] in str(caught.value)


def test_real_pip_without_an_index(packages, tmp_path):
    """What pip itself says when there is nothing to be had."""

    def pip(arguments):
        command = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", str(tmp_path), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        print(done.stdout + done.stderr)
        done.check_returncode()

    with pytest.raises(RuntimeError, match="no build for this system and Python"):
        packages.install(["no-such-package-of-anybody"], lambda _text: None, pip)
