"""``hntumorseg evaluate`` on synthetic label maps: time, and whether memory grows with the patients."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.common import BENCHMARK, print_table, run_process

SHAPE_ZYX = (120, 128, 128)
SPACING_MM = 2.5


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("evaluate", help="evaluate a cohort of label maps")
    command.add_argument("--patients", type=int, default=200)
    command.add_argument("--few", type=int, default=20, help="patients of the run whose memory is compared")
    command.add_argument("--work", help="folder for the synthetic label maps; kept")
    command.set_defaults(table=evaluate)
    maker = commands.add_parser("make_label_maps")
    maker.add_argument("folder", type=Path)
    maker.add_argument("--patients", type=int, default=200)
    maker.set_defaults(table=make_label_maps)


def evaluate(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(arguments.work or scratch)
        costs = {}
        for n in (arguments.few, arguments.patients):
            folder = work / f"label_maps_{n}"
            if not (folder / "predicted").is_dir():
                print(f"making label maps of {n} patients in {folder} ...", flush=True)
                maker = [sys.executable, str(BENCHMARK), "make_label_maps", str(folder), "--patients", str(n)]
                run_process(maker)
            command = [sys.executable, "-m", "HNTumorSegLib.cli", "evaluate", "--truth", str(folder / "truth")]
            command += ["--predicted", str(folder / "predicted"), "--out", f"{scratch}/out_{n}", "--quiet"]
            costs[n] = run_process(command)
    rows = [
        [str(n), f"{c.wall_s:.1f}", f"{c.cpu_s:.1f}", f"{c.peak_gb:.3f}", "< 120 s, memory flat" if n == 200 else ""]
        for n, c in costs.items()
    ]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    size = "x".join(map(str, SHAPE_ZYX[::-1]))
    title = f"hntumorseg evaluate, {size}, {usable} of {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print_table(title, ["patients", "wall, s", "processor, s", "peak, GB", "promised"], rows)


def make_label_maps(arguments: argparse.Namespace) -> None:
    """Label maps as of a network that misses, invents and confuses some lesions: one to four lumps a patient."""
    import numpy as np
    import SimpleITK as sitk

    random = np.random.default_rng(0)
    sides = [arguments.folder / side for side in ("truth", "predicted")]
    for side in sides:
        side.mkdir(parents=True)
    for patient in range(arguments.patients):
        truth, predicted = np.zeros((2, *SHAPE_ZYX), np.uint8)
        for number in range(random.integers(1, 5)):
            label = 1 if number == 0 else 2
            center = np.array([random.uniform(15, n - 15) for n in SHAPE_ZYX])
            radii = random.uniform(3, 9 if label == 1 else 6) * random.uniform(0.8, 1.25, 3)
            _fill(truth, center, radii, label)
            if random.random() < 0.85:
                said = label if random.random() < 0.93 else 3 - label
                _fill(predicted, center + random.normal(0, 0.7, 3), radii * random.uniform(0.85, 1.1), said)
        if random.random() < 0.2:
            _fill(predicted, np.array([random.uniform(15, n - 15) for n in SHAPE_ZYX]), np.full(3, 3.0), 2)
        for side, array in zip(sides, (truth, predicted), strict=True):
            image = sitk.GetImageFromArray(array)
            image.SetSpacing((SPACING_MM,) * 3)
            sitk.WriteImage(image, str(side / f"P{patient:04d}.nii.gz"), True)


def _fill(array, center, radii, label) -> None:  # noqa: ANN001
    """Set an ellipsoid."""
    import numpy as np

    box = tuple(slice(int(c - r) - 1, int(c + r) + 3) for c, r in zip(center, radii, strict=True))
    zyx = np.stack(np.meshgrid(*[np.arange(s.start, s.stop) for s in box], indexing="ij"), -1)
    array[box][(((zyx - center) / radii) ** 2).sum(-1) <= 1] = label
