"""Time and memory of the main job, as tables. Nothing here passes or fails: machines differ.

    python scripts/benchmark.py whole_body [--model NAME_OR_FOLDER] [--reference pet|ct] [--runs N] [--work DIR]
    python scripts/benchmark.py import_time [--runs N]
    python scripts/benchmark.py corrections [--runs N]
    python scripts/benchmark.py one_click [--clusters N] [--seed N] [--data DIR]
    python scripts/benchmark.py measures [--runs N]
    python scripts/benchmark.py radiomics [--processes N]
    python scripts/benchmark.py evaluate [--patients N] [--work DIR]
    python scripts/benchmark.py survival [--runs N] [--no-pipeline]
    python scripts/benchmark.py worker [--study head_neck|whole_body] [--model ...] [--reference pet|ct] [--runs N]
    python scripts/benchmark.py engine [--model ...] [--shape Z Y X] [--device cpu|cuda ...] [--ways WAY ...] [--runs N]

``whole_body`` runs ``hntumorseg run`` in a process of its own on a synthetic 400-slice whole-body PET/CT written as
DICOM (kept in ``--work``). Promised on 2 cores: under 90 s and 3 GB. ``import_time`` promises 0.3 s and none of torch,
monai, radiomics and slicer. ``corrections`` times what a person does in the lesion list, in the library alone: 20
lesions on a 400x400x300 grid of CT voxels, a PET of 4 mm. Promised: relabel, remove and confirm under 100 ms, the
table after a paint stroke under 200 ms, one click under 300 ms. ``worker`` is the process beside Slicer: from the
second study on, under 0.5 s from the request until the network runs. ``measures``: all measures of 20 lesions on a PET
of 200x200x400. Promised: under 0.5 s. ``radiomics`` measures ten lesions on PET and CT beside one plain pyradiomics
call after another on the whole volumes. Promised: at least 3 times faster, values equal to 1e-9. ``evaluate`` compares
200 patients' label maps of 128x128x120 in a process of its own. Promised: under 2 minutes, and no more memory than for
20. ``survival`` fits Cox to 100,000 patients with 10 covariates (promised: no slower than lifelines, 10 times faster
for coefficients alone) and runs the nested pipeline on 300 patients (promised: under 5 minutes). ``one_click``
delineates clusters of spheres, and real tumours where their data are. Promised: median Dice 0.75 and 0.95, no sphere
over twice its volume, every click on a brain refused. ``engine`` runs one network over one volume as shipped, with
MONAI's SlidingWindowInferer and with nnU-Net v2's predictor (in the environment whose Python is named by
``HNTUMORSEG_NNUNET_PYTHON``), each in a process of its own. Promised on a CPU: 2 and 4 times faster than these at their
defaults, no more memory, the same labels as plain 32-bit tiles; under 2 s for one member and 30 s for five with all
mirrorings.
"""

from __future__ import annotations

import argparse
from importlib import import_module

from benchmarks.common import add_makers

TABLES = (
    "whole_body",
    "import_time",
    "corrections",
    "one_click",
    "worker",
    "measures",
    "radiomics",
    "evaluate",
    "survival",
    "engine",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="TABLE")
    for table in TABLES:
        import_module(f"benchmarks.{table}").add(commands)
    add_makers(commands)
    arguments = parser.parse_args()
    arguments.table(arguments)


if __name__ == "__main__":
    main()
