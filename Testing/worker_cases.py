"""Models, clients and questions about processes that the tests of the worker share."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from inference_cases import RECIPE

from HNTumorSegLib.models.loading import write_model
from HNTumorSegLib.networks import build_network
from HNTumorSegLib.worker_client import WorkerClient
from HNTumorSegLib.worker_folder import PREFIX

FAKE = Path(__file__).with_name("fake_worker.py")
NETWORK_MESSAGE = "running the network"
PATIENCE_S = 120  # a busy machine; nothing here waits longer than it must


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
