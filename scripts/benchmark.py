"""Time and memory of the main job, as tables. Nothing here passes or fails: machines differ.

    python scripts/benchmark.py whole_body [--model NAME_OR_FOLDER] [--reference pet|ct] [--runs N] [--work DIR]
    python scripts/benchmark.py import_time [--runs N]
    python scripts/benchmark.py corrections [--runs N]
    python scripts/benchmark.py worker [--study head_neck|whole_body] [--model ...] [--reference pet|ct] [--runs N]

``whole_body`` runs ``hntumorseg run`` in a process of its own on a synthetic 400-slice whole-body PET/CT written as
DICOM (kept in ``--work``). Promised on 2 cores: under 90 s and 3 GB. ``import_time`` promises 0.3 s and none of torch,
monai, radiomics and slicer. ``corrections`` times what a person does in the lesion list, in the library alone: 20
lesions on a 400x400x300 grid of CT voxels, a PET of 4 mm. Promised: relabel, remove and confirm under 100 ms, the table
after a paint stroke under 200 ms, one click under 300 ms. ``worker`` is the process beside Slicer: from the second
study on, under 0.5 s from the request until the network runs.
"""

from __future__ import annotations

import argparse
from importlib import import_module

from benchmarks.common import add_makers

TABLES = ("whole_body", "import_time", "corrections", "worker")


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
