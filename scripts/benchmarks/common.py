"""What the tables share: processes that are measured, tables on the screen, studies and models that are kept."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmark.py"


N_SLICES = 400


@dataclass(frozen=True)
class ProcessCost:
    """What one process took."""

    wall_s: float
    cpu_s: float
    peak_gb: float


def run_process(command: list[str]) -> ProcessCost:
    """Run to the end; peak memory is that process's own (the kernel counts this one too, so it must stay small)."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with exit code {process.returncode}.")
    return ProcessCost(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9)


def print_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    print(f"\n{title}")
    for row in (header, ["-" * width for width in widths], *rows):
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def work_folder(arguments: argparse.Namespace) -> Path:
    return Path(arguments.work or Path(tempfile.gettempdir()) / "hntumorseg_benchmark")


def kept_whole_body(arguments: argparse.Namespace) -> Path:
    """Folder of the whole-body study as DICOM, made when it is not there."""
    study = work_folder(arguments) / f"whole_body_seed{arguments.seed}"
    if not (study / "PET").is_dir():
        print(f"making a {N_SLICES}-slice whole-body PET/CT in {study} ...", flush=True)
        run_process([sys.executable, str(BENCHMARK), "make_whole_body", str(study), "--seed", str(arguments.seed)])
    return study


def model_of(arguments: argparse.Namespace) -> str:
    """The model that was asked for; 'untrained' is made."""
    if arguments.model != "untrained":
        return arguments.model
    model = str(work_folder(arguments) / "untrained")
    run_process([sys.executable, str(BENCHMARK), "make_untrained", model])
    return model


def make_untrained(arguments: argparse.Namespace) -> None:
    """A model of the default's size with random weights that finds nothing: for timing before there is a default."""
    import torch

    from HNTumorSegLib.models.loading import write_model
    from HNTumorSegLib.networks import build_network
    from HNTumorSegLib.recipes import get_recipe

    recipe = get_recipe("nikulin2023_fast")
    torch.manual_seed(0)
    network = build_network(recipe.network, len(recipe.channels), 3, **recipe.network_options)
    with torch.no_grad():
        network.head.bias[0] = 20.0
    words = {"intended_use": "timing", "limitations": "finds nothing", "training_data": "none", "licence": "Apache-2.0"}
    write_model(arguments.folder, recipe, [network], name="untrained", version="0", **words)


def add_makers(commands: argparse._SubParsersAction) -> None:
    """The commands that the tables call to make what they need, in a process of its own."""
    from benchmarks.whole_body import make_whole_body

    for name, function in (("make_whole_body", make_whole_body), ("make_untrained", make_untrained)):
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path)
        command.add_argument("--seed", type=int, default=1_000_001)
        command.set_defaults(table=function)
