"""The warm process beside Slicer."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from dataclasses import dataclass

from benchmarks.common import kept_whole_body, model_of, print_table


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("worker", help="the warm process beside Slicer")
    command.add_argument("--study", choices=["head_neck", "whole_body"], default="head_neck")
    command.add_argument("--model", default="default", help="model name or folder, or 'untrained'")
    command.add_argument("--reference", choices=["pet", "ct"], default="pet")
    command.add_argument("--runs", type=int, default=3)
    command.add_argument("--seed", type=int, default=1_000_001)
    command.add_argument("--work", help="folder for synthetic studies and models; kept")
    command.set_defaults(table=worker)


@dataclass(frozen=True)
class WorkerRun:
    """Seconds from the request of one delineation by the worker."""

    network_s: float
    result_s: float
    prepare_s: float


def worker(arguments: argparse.Namespace) -> None:
    from HNTumorSegLib.inference.delineator import RUNNING
    from HNTumorSegLib.phantom import make_patient
    from HNTumorSegLib.study.reader import read_study
    from HNTumorSegLib.worker_client import WorkerClient

    if arguments.study == "whole_body":
        folder = kept_whole_body(arguments)
        study = read_study(folder / "PET", folder / "CT")
    else:
        study = make_patient(arguments.seed).study
    model = model_of(arguments)

    def run(client: WorkerClient) -> WorkerRun:
        marks: dict[str, float] = {}
        began = time.perf_counter()
        delineation = client.delineate(
            study,
            model,
            "cpu",
            arguments.reference,
            lambda event: marks.setdefault(event.message, time.perf_counter() - began),
        )
        return WorkerRun(marks[RUNNING], time.perf_counter() - began, delineation.timings_s["prepare"])

    with WorkerClient() as client:
        began = time.perf_counter()
        client.wait_until_ready()
        start_s = time.perf_counter() - began
        first = run(client)
        runs = [run(client) for _ in range(arguments.runs)]
        client.request(study, model, "cpu", arguments.reference)
        while not any(RUNNING in str(event) for event in client.poll()):
            time.sleep(0.01)
        began = time.perf_counter()
        if not client.cancel():
            raise SystemExit(f"The worker ended by itself: {client.poll()}")
        cancel_s = time.perf_counter() - began
    rows = [
        ["start until ready, s", f"{start_s:.2f}", ""],
        ["first study: until the network runs, s", f"{first.network_s:.2f}", ""],
        ["first study: until the result, s", f"{first.result_s:.2f}", ""],
        ["later study: until the network runs, s", f"{statistics.median(r.network_s for r in runs):.2f}", "< 0.5"],
        ["  of it preparing the images, s", f"{statistics.median(r.prepare_s for r in runs):.2f}", ""],
        ["later study: until the result, s", f"{statistics.median(r.result_s for r in runs):.2f}", ""],
        ["cancel until no process is left, s", f"{cancel_s:.3f}", ""],
    ]
    images = f"PET {study.pet_geometry.describe()}, CT {study.ct_geometry.describe()}"
    title = f"worker, {images}, reference {arguments.reference}, {os.cpu_count()} cores, median of {len(runs)}"
    print_table(title, ["", "measured", "promised"], rows)
