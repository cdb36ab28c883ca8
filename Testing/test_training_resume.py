"""A killed training goes on to the same weights; several processes train as one does."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch
from tiny_training import TINY, blob_case

from HNTumorSegLib.training.loop import TrainingRun

SCRIPT = Path(__file__).with_name("tiny_training.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    state = torch.load(checkpoint, weights_only=True)
    return {
        "step": torch.tensor(state["step"]),
        "losses": torch.tensor(state["losses"]),
        **state["network"],
        **{f"average of {k}": v for k, v in state["average"].items()},
    }


def train(checkpoint: Path, *options: str, launcher: tuple[str, ...] = ()) -> None:
    command = [sys.executable, *launcher, str(SCRIPT), str(checkpoint), *options]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def test_killed_at_a_random_step_it_ends_at_bit_identical_weights(tmp_path):
    train(tmp_path / "straight.pt")
    kill_after = random.Random().randint(4, 11)
    command = [sys.executable, str(SCRIPT), str(tmp_path / "killed.pt"), "--pause", "0.05"]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith(f"step {kill_after} "):
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    kept = int(weights(tmp_path / "killed.pt")["step"])
    assert 3 <= kept < 12, f"killed after step {kill_after}"
    train(tmp_path / "killed.pt")
    straight, resumed = weights(tmp_path / "straight.pt"), weights(tmp_path / "killed.pt")
    assert straight.keys() == resumed.keys()
    for name, value in straight.items():
        assert torch.equal(value, resumed[name]), f"{name} differs; killed after step {kill_after}"


def test_two_processes_train_as_one_on_the_same_batch(tmp_path):
    """Instance norm: batch norm of two halves is not that of the whole on processors."""
    options = ("--norm", "instance", "--batch", "4", "--steps", "6")
    train(tmp_path / "one.pt", *options)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    train(tmp_path / "two.pt", *options, launcher=launcher)
    one, two = weights(tmp_path / "one.pt"), weights(tmp_path / "two.pt")
    torch.testing.assert_close(two["losses"], one["losses"], rtol=1e-4, atol=1e-5)
    recipe = replace(TINY, network_options={**TINY.network_options, "norm": "instance"})
    fresh = TrainingRun(recipe, blob_case, 4, tmp_path / "none.pt").network.state_dict()
    for name in fresh:
        torch.testing.assert_close(
            two[name], one[name], rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name} {text}"
        )
    # The weights went somewhere, so being alike says something.
    assert max(float((one[name] - value).abs().max()) for name, value in fresh.items()) > 1e-2
