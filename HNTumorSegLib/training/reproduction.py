"""Reproducing a publication: train what its table holds, measure it, and write both side by side."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.progress import ProgressCallback, silent
from HNTumorSegLib.training.reproduction_papers import PAPERS
from HNTumorSegLib.training.reproduction_session import Reproduction, Session, cores
from HNTumorSegLib.training.reproduction_table import ReproductionTable


def reproduce(job: Reproduction, progress: ProgressCallback = silent) -> ReproductionTable:
    """Train and measure what is not done yet, write ``PAPER.md`` and ``PAPER.csv`` to ``job.out``; returns the table.

    Called again with the same settings it goes on where it stopped.

    Raises:
        InputError: an unknown paper, data that cannot be used, or a folder that holds another reproduction.
        ModelError, OutOfMemoryError: see :func:`HNTumorSegLib.training.job.run_job`.
    """
    if job.paper not in PAPERS:
        raise InputError(f"There is no publication '{job.paper}'; there are {', '.join(PAPERS)}.")
    rows_of, kind, test_kind = PAPERS[job.paper]
    if job.test and not test_kind:
        raise InputError(f"The table of '{job.paper}' is cross-validated; it has no test data. Leave out --test.")
    session = Session(job, kind, test_kind, progress)
    session.prepare()
    result = rows_of(session)
    recipe = result.recipe
    table = ReproductionTable(
        job.paper,
        recipe.source,
        result.rows,
        result.orderings,
        (
            *result.notes,
            f"All figures here are measured on the model's grid (voxels of {recipe.spacing_mm:g} mm), those of the "
            "publication on real patients: compare the order of rows, not the height of figures."
            if job.on_phantom
            else f"All figures here are measured on the model's grid (voxels of {recipe.spacing_mm:g} mm).",
        ),
        _facts(job, session, recipe.deviations),
    )
    table.write(job.out)
    return table


def command(job: Reproduction) -> str:
    """The command line that makes this table."""
    parts = [f"python scripts/reproduce.py --paper {job.paper} --data {job.data}"]
    parts += ["--quick"] if job.quick else []
    parts += [f"--test {job.test}"] if job.test else []
    parts += [f"--steps {job.steps}"] if job.steps else []
    parts += [f"--seed {job.seed}"] if job.seed else []
    return " ".join([*parts, "--out DIR"])


def _facts(job: Reproduction, session: Session, deviations: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    import torch

    from HNTumorSegLib import __version__
    from HNTumorSegLib.inference.device import choose_device

    device = choose_device(job.device)
    tested = f"; {len(session.test_sources)} test cases" if session.test_sources else ""
    synthetic = "synthetic patients of HNTumorSegLib.phantom, " if job.on_phantom else ""
    facts = [
        ("Command", f"`{command(job)}`"),
        ("Data", f"{synthetic}{job.data}{tested}, seed {job.seed}"),
        (
            "Machine",
            f"{_processor()}, cores: {cores()}, threads: {torch.get_num_threads()}; trained on {device.description}",
        ),
        ("Versions", f"HNTumorSeg {__version__}, torch {torch.__version__}, Python {platform.python_version()}"),
        (
            "Time of trainings and measurements",
            f"{session.minutes():.0f} min, without drawing phantoms and without interrupted rows",
        ),
    ]
    if job.steps:
        facts.append(("Steps", f"{job.steps} in place of the recipe's: this run only tries the command out"))
    return (*facts, *((f"Deviation {n}", sentence) for n, sentence in enumerate(deviations, 1)))


def _processor() -> str:
    """Name of the processor, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or os.name
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
