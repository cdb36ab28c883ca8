"""``hntumorseg run`` in a process of its own on a synthetic 400-slice whole-body PET/CT."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.common import N_SLICES, kept_whole_body, model_of, print_table, run_process

PET_MATRIX, PET_PIXEL_MM = 200, 4.07
CT_MATRIX, CT_PIXEL_MM = 512, 0.977


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("whole_body", help="run on a 400-slice whole-body PET/CT")
    command.add_argument("--model", default="default", help="model name or folder, or 'untrained'")
    command.add_argument("--reference", choices=["pet", "ct"], default="pet")
    command.add_argument("--no-scene", action="store_true", help="leave out the Slicer scene")
    command.add_argument("--runs", type=int, default=1)
    command.add_argument("--seed", type=int, default=1_000_001)
    command.add_argument("--work", help="folder for the synthetic study; kept")
    command.set_defaults(table=whole_body)


def whole_body(arguments: argparse.Namespace) -> None:
    study, model = kept_whole_body(arguments), model_of(arguments)
    costs, reports = [], []
    for _ in range(arguments.runs):
        with tempfile.TemporaryDirectory() as out:
            command = [sys.executable, "-m", "HNTumorSegLib.cli", "run", "--pet", str(study / "PET")]
            command += ["--ct", str(study / "CT"), "--out", f"{out}/results", "--model", model, "--device", "cpu"]
            command += ["--reference", arguments.reference, "--quiet"]
            costs.append(run_process(command + (["--no-scene"] if arguments.no_scene else [])))
            reports.append(json.loads(Path(out, "results", "report.json").read_text(encoding="utf-8")))
    rows = [
        ["wall time, s", f"{statistics.median(c.wall_s for c in costs):.1f}", "< 90"],
        ["processor time, s", f"{statistics.median(c.cpu_s for c in costs):.1f}", ""],
        ["peak memory, GB", f"{max(c.peak_gb for c in costs):.2f}", "< 3"],
    ]
    title = f"hntumorseg run, {N_SLICES} slices, reference {arguments.reference}, {os.cpu_count()} cores, median of"
    print_table(f"{title} {len(costs)}", ["", "measured", "promised"], rows)
    wall_s = statistics.median(c.wall_s for c in costs)
    stages = {key: statistics.median(r["timings_s"][key] for r in reports) for key in reports[0]["timings_s"]}
    parts = {"prepare", "network", "resample"} & set(stages)  # of delineate
    rows = [[("  " if k in parts else "") + k, f"{v:.1f}", f"{100 * v / wall_s:.0f} %"] for k, v in stages.items()]
    rest = wall_s - sum(v for k, v in stages.items() if k not in parts or "delineate" not in stages)
    rows.append(["imports, start, report", f"{rest:.1f}", f"{100 * rest / wall_s:.0f} %"])
    print_table("share of each stage", ["stage", "s", "share"], rows)


def make_whole_body(arguments: argparse.Namespace) -> None:
    """The phantom's whole-body patient on the grids of a common scanner, as DICOM."""
    from dataclasses import replace

    import SimpleITK as sitk

    from HNTumorSegLib.geometry import Geometry, resample
    from HNTumorSegLib.phantom import WHOLE_BODY, make_patient
    from HNTumorSegLib.phantom.dicom_writer import write_dicom_study

    study = make_patient(arguments.seed, WHOLE_BODY).study
    low, high = study.pet_geometry.bounds_mm()

    def grid(matrix: int, pixel_mm: float) -> Geometry:
        spacing_mm = (pixel_mm, pixel_mm, float(high[2] - low[2]) / N_SLICES)
        middle = (low + high) / 2
        size = (matrix, matrix, N_SLICES)
        origin = tuple(float(m - (n - 1) / 2 * s) for m, n, s in zip(middle, size, spacing_mm, strict=True))
        return Geometry(size, spacing_mm, origin, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))

    pet = resample(study.pet, grid(PET_MATRIX, PET_PIXEL_MM))
    ct = resample(sitk.Cast(study.ct, sitk.sitkInt16), grid(CT_MATRIX, CT_PIXEL_MM), outside=-1024)
    write_dicom_study(replace(study, pet=pet, ct=ct), arguments.folder)
