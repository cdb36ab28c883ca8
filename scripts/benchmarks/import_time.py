"""The cost of ``import HNTumorSegLib``."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

from benchmarks.common import print_table, run_process

HEAVY_PACKAGES = ("torch", "monai", "radiomics", "slicer", "matplotlib", "vtk", "pydicom", "scipy")


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("import_time", help="the cost of 'import HNTumorSegLib'")
    command.add_argument("--runs", type=int, default=7)
    command.set_defaults(table=import_time)


def import_time(arguments: argparse.Namespace) -> None:
    code = (
        "import sys, time; t = time.perf_counter(); import HNTumorSegLib; s = time.perf_counter() - t; "
        f"print(s, len(sys.modules), *[m for m in {HEAVY_PACKAGES!r} if m in sys.modules])"
    )
    outputs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(arguments.runs)
    ]
    bare = [run_process([sys.executable, "-c", "pass"]).wall_s for _ in range(arguments.runs)]
    whole = [run_process([sys.executable, "-c", "import HNTumorSegLib"]).wall_s for _ in range(arguments.runs)]
    rows = [
        ["import HNTumorSegLib, s", f"{statistics.median(float(o[0]) for o in outputs):.3f}", "< 0.3"],
        ["python -c 'import HNTumorSegLib', s", f"{statistics.median(whole):.3f}", "< 0.3"],
        ["ratio to python -c pass", f"{statistics.median(whole) / statistics.median(bare):.2f}", ""],
        ["modules loaded", outputs[0][1], ""],
        ["heavy packages loaded", " ".join(outputs[0][2:]) or "none", "none"],
    ]
    print_table(f"import, median of {arguments.runs}", ["", "measured", "promised"], rows)
