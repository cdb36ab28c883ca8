"""All measures of the lesions of a whole-body PET, in the library alone."""

from __future__ import annotations

import argparse
import statistics
import time

from benchmarks.common import print_table


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("measures", help="all measures of 20 lesions on a whole-body PET")
    command.add_argument("--runs", type=int, default=7)
    command.set_defaults(table=measures)


def measures(arguments: argparse.Namespace) -> None:
    from HNTumorSegLib.measures.cache import MeasurementCache
    from HNTumorSegLib.measures.detail import measure_in_detail
    from HNTumorSegLib.measures.laterality import find_midline
    from HNTumorSegLib.measures.table import measure

    lesion_set, pet = _whole_body()
    low, high = -600.0, 600.0
    jobs = {
        "all measures": (lambda: measure_in_detail(lesion_set, pet), "< 500"),
        "  of which the midline": (lambda: find_midline(pet, low, high), ""),
        "lesions.csv's columns only": (lambda: measure(lesion_set, pet), ""),
        "the same, in the module's live table": (lambda: MeasurementCache(lesion_set, pet).measurements(), ""),
    }
    rows = []
    for name, (job, promised) in jobs.items():
        job()
        wall, cpu = [], []
        for _ in range(arguments.runs):
            began, began_cpu = time.perf_counter(), time.process_time()
            job()
            wall.append(time.perf_counter() - began)
            cpu.append(time.process_time() - began_cpu)
        times = (statistics.median(wall), max(wall), statistics.median(cpu))
        rows.append([name, *(f"{1000 * t:.0f}" for t in times), promised])
    size = "x".join(str(n) for n in pet.GetSize())
    title = f"measures of {len(lesion_set)} lesions on a PET of {size}, {arguments.runs} runs, ms"
    print_table(title, ["", "median", "slowest", "median CPU", "promised"], rows)


def _whole_body() -> tuple:
    """An elliptic body of SUV 1, 120 cm long, with 20 balls of SUV 8 and radii of 5 to 20 mm in it."""
    import numpy as np
    from scipy import ndimage

    from HNTumorSegLib.geometry import Geometry, image_from_array
    from HNTumorSegLib.lesions.lesion import Lesion
    from HNTumorSegLib.lesions.lesion_set import LesionSet

    unit = tuple(np.eye(3).ravel().tolist())
    grid = Geometry((200, 200, 400), (4.07, 4.07, 3.0), (-405.0, -405.0, -598.5), unit)
    z, y, x = (
        np.arange(n) * s + o
        for n, s, o in zip(grid.shape_zyx, grid.spacing_zyx_mm, reversed(grid.origin_mm), strict=True)
    )
    body = ((x / 170) ** 2 + (y[:, None] / 120) ** 2) < 1
    suv = np.repeat(body[None].astype(np.float32), len(z), axis=0)
    labels = np.zeros(grid.shape_zyx, np.uint16)
    lesions = []
    for n in range(20):
        center = (60.0 * (-1) ** n, 20.0 * (n % 3 - 1), -540.0 + 56 * n)
        squares = [((a - c) ** 2) for a, c in zip((z, y, x), reversed(center), strict=True)]
        inside = squares[0][:, None, None] + squares[1][:, None] + squares[2] <= (5 + 15 * n / 19) ** 2
        labels[inside], suv[inside] = n + 1, 8.0
        lesions.append(Lesion(n + 1, "primary" if n < 2 else "node", "", score=0.9))
    noise = np.random.default_rng(0).normal(0, 0.05, suv.shape).astype(np.float32)
    suv = np.maximum(ndimage.gaussian_filter(suv, 0.8) * (1 + noise), 0)
    lesion_set = LesionSet(grid, labels, lesions)
    lesion_set.rename()
    return lesion_set, image_from_array(suv, grid)
