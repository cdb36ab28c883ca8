"""The networks alone: this project's engine beside MONAI's and nnU-Net's, same network, weights, volume and machine."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import model_of, print_table

RUNNER = Path(__file__).with_name("engine_run.py")
NNUNET_PYTHON = "HNTUMORSEG_NNUNET_PYTHON"
NOT_HERE = 3
MATRIX = (120, 128, 128)
"""A head and neck at 2.5 mm, z y x."""

WAYS = {
    "plain": "plain tiles, fp32",
    "ours": "this project, as shipped",
    "ours_one_pass": "this project, in one pass (where a card asks for it)",
    "monai": "MONAI SlidingWindowInferer, defaults (overlap 0.25, constant)",
    "nnunet": "nnU-Net v2 predictor, defaults (step 0.5, Gaussian, 8 mirrorings)",
    "nnunet_no_mirroring": "nnU-Net v2 predictor, defaults but no mirroring",
    "plain_mirrored": "plain tiles, fp32, 8 mirrorings",
    "ours_mirrored": "this project, 8 mirrorings",
    "ours_five": "this project, 5 members x 8 mirrorings",
}
COMPARED_WITH = {"nnunet": "plain_mirrored", "ours_mirrored": "plain_mirrored", "ours_five": "plain_mirrored"}
"""Whose labels a way's are compared with; ``plain`` for all others."""

PROMISED = {"monai": "> 2", "nnunet": "> 4"}
"""How many times the time of ``ours`` on a CPU."""

PROMISED_SECONDS = {("ours", "cpu"): "< 2", ("ours_five", "cpu"): "< 30", ("ours_five", "cuda"): "< 1.5"}
"""On 2 cores and on one large GPU, for the volume of ``MATRIX``."""


NOTES = """
  s: fastest of the runs in one process; first: with what the libraries prepare once. Memory: what the runs added to the
  process at most (on a GPU: of its memory), in brackets all of the process at its peak. Dice: of each class's labels
  with those of plain tiles, of plain tiles with mirrorings for rows with these. nnU-Net's predictor is given this
  project's network object (manual_initialization) in its own environment. On a CPU both others run in 32-bit float, as
  is their default, and with the system's own malloc; on a GPU nnU-Net runs in fp16, MONAI in 32-bit float."""


@dataclass(frozen=True)
class Measured:
    """What a process of ``engine_run.py`` wrote, or why there is nothing."""

    way: str
    device: str
    result: dict | None
    labels: bytes = b""
    reason: str = ""

    @property
    def seconds(self) -> float:
        return min(self.result["seconds"])


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("engine", help="the networks alone, beside MONAI and nnU-Net")
    command.add_argument("--model", default="default", help="model name or folder, or 'untrained'")
    command.add_argument("--shape", type=int, nargs=3, default=MATRIX, metavar=("Z", "Y", "X"), help="voxels of 2.5 mm")
    command.add_argument("--device", nargs="+", default=["cpu"], choices=["cpu", "cuda"])
    command.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), help="rows; all where not given")
    command.add_argument("--runs", type=int, default=2, help="of each way in its process; the fastest counts")
    command.add_argument("--work", help="folder for an untrained model; kept")
    command.set_defaults(table=engine)


def engine(arguments: argparse.Namespace) -> None:
    from HNTumorSegLib.models.registry import resolve_model

    folder = resolve_model(model_of(arguments))
    size = " x ".join(str(n) for n in arguments.shape)
    for device in arguments.device:
        measured = [_measure(way, device, folder, arguments) for way in WAYS if way in arguments.ways]
        by_way = {m.way: m for m in measured if m.result}
        rows = [_row(m, by_way, tuple(arguments.shape)) for m in measured]
        where = next((m.result["device"] for m in by_way.values()), device)
        threads = f", {os.cpu_count()} cores" if device == "cpu" else ""
        header = ["", "s", "first, s", "CPU, s", "promised s", "times ours", "promised", "memory, GB", "Dice, plain"]
        print_table(f"engine, model {folder.name}, {size} voxels, {where}{threads}", header, rows)
        for reason in dict.fromkeys(m.reason for m in measured if m.reason):
            print(f"  left out: {reason}")
    print(NOTES)


def _measure(way: str, device: str, model: Path, arguments: argparse.Namespace) -> Measured:
    """One way in a process of its own."""
    python = os.environ.get(NNUNET_PYTHON, sys.executable) if way.startswith("nnunet") else sys.executable
    print(f"{device}: {WAYS[way]} ...", flush=True)
    with tempfile.TemporaryDirectory() as out:
        command = [python, str(RUNNER), way, "--model", str(model), "--out", out, "--device", device]
        command += ["--runs", str(arguments.runs), "--shape", *(str(n) for n in arguments.shape)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == NOT_HERE:
            where = f" (name a Python that has it in {NNUNET_PYTHON})" if way.startswith("nnunet") else ""
            return Measured(way, device, None, reason=f"{done.stdout.strip().splitlines()[-1]} is not installed{where}")
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            return Measured(way, device, None, reason=f"{WAYS[way]}: {last.removeprefix('HNTumorSegLib.errors.')}")
        result = json.loads(Path(out, "result.json").read_text(encoding="utf-8"))
        return Measured(way, device, result, Path(out, "labels.npy").read_bytes())


def _row(measured: Measured, by_way: dict[str, Measured], shape: tuple[int, int, int]) -> list[str]:
    name, result = WAYS[measured.way], measured.result
    if result is None:
        return [name, "left out", "", "", "", "", "", "", ""]
    ours, reference = by_way.get("ours"), by_way.get(COMPARED_WITH.get(measured.way, "plain"))
    if measured.way == "ours_five" and result["members"] > 1:
        reference = None  # that of one member, which five different ones need not agree with
    ratio = f"{measured.seconds / ours.seconds:.1f}" if ours else ""
    memory = result["gpu_gb"] if measured.device == "cuda" else result["run_gb"]
    return [
        name,
        f"{measured.seconds:.2f}",
        f"{result['seconds'][0]:.2f}",
        f"{min(result['cpu_s']):.2f}",
        PROMISED_SECONDS.get((measured.way, measured.device), "") if shape == MATRIX else "",
        ratio,
        PROMISED.get(measured.way, "") if measured.device == "cpu" else "",
        f"{memory:.2f} ({result['peak_gb']:.2f})",
        _dice(measured.labels, reference.labels) if reference else "",
    ]


def _dice(labels: bytes, reference: bytes) -> str:
    """Dice of each foreground class that one of them has."""
    import io

    import numpy as np

    a, b = np.load(io.BytesIO(labels)), np.load(io.BytesIO(reference))
    values = []
    for number in range(1, int(max(a.max(), b.max())) + 1):
        both, each = np.count_nonzero((a == number) & (b == number)), np.count_nonzero(a == number)
        each += np.count_nonzero(b == number)
        values.append(f"{2 * both / each:.4f}" if each else "-")
    return " ".join(values) or "no label"
