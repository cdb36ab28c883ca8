"""What a person does in the lesion list, in the library alone."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from benchmarks.common import print_table


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("corrections", help="what a person does in the lesion list")
    command.add_argument("--runs", type=int, default=15)
    command.set_defaults(table=corrections)


def corrections(arguments: argparse.Namespace) -> None:
    import numpy as np

    from HNTumorSegLib.measures.cache import MeasurementCache

    lesion_set, pet, positions = _twenty_lesions()
    began = time.perf_counter()
    lesion_set.voxel_index()
    first_index_s = time.perf_counter() - began
    began = time.perf_counter()
    cache = MeasurementCache(lesion_set, pet)
    cache.measurements()
    first_table_s = time.perf_counter() - began
    last = positions.pop()
    lesion_set.remove(len(positions) + 1)
    times: dict[str, list[float]] = {}

    def timed(name: str, action: Callable[[], object]) -> None:
        start = time.perf_counter()
        action()
        times.setdefault(name, []).append(time.perf_counter() - start)

    for run in range(arguments.runs):
        number = lesion_set.lesions[run % len(lesion_set)].id
        other = "node" if lesion_set[number].kind == "primary" else "primary"
        timed("relabel", lambda n=number, k=other: lesion_set.relabel(n, k))
        timed("confirm", lambda n=number: lesion_set.confirm(n))
        timed("remove", lambda n=number: lesion_set.remove(n))
        timed("undo", lesion_set.undo)
        box = lesion_set.box(number)
        stroke = tuple(slice(s.start, s.start + 8) for s in box)
        mask = np.full((8, 8, 8), run % 2 == 0)
        timed("paint a stroke", lambda n=number, m=mask, b=stroke: lesion_set.replace_mask(n, m, b))
        timed("table after a stroke", cache.measurements)
        timed("one click", lambda: lesion_set.add_by_click(pet, last))
        timed("table after the click", cache.measurements)
        lesion_set.undo()
    promised = {"relabel": "100", "confirm": "100", "remove": "100", "one click": "300", "table after a stroke": "200"}
    rows = [
        [name, f"{1000 * statistics.median(t):.1f}", f"{1000 * max(t):.1f}", f"< {promised.get(name, '')}".rstrip("< ")]
        for name, t in times.items()
    ]
    rows += [["first table (all lesions)", f"{1000 * first_table_s:.1f}", "", ""]]
    rows += [["first search for boxes", f"{1000 * first_index_s:.1f}", "", ""]]
    title = f"corrections, {len(positions) + 1} lesions, 400x400x300, {arguments.runs} runs, ms"
    print_table(title, ["", "median", "slowest", "promised"], rows)


def _twenty_lesions() -> tuple:
    """Spheres of SUV 8 with radii of 5 to 12 mm on the CT's grid, the PET that goes with them, their positions."""
    import numpy as np
    from scipy import ndimage

    from HNTumorSegLib.geometry import Geometry, image_from_array
    from HNTumorSegLib.lesions.lesion import Lesion
    from HNTumorSegLib.lesions.lesion_set import LesionSet

    unit = tuple(np.eye(3).ravel().tolist())
    grid = Geometry((400, 400, 300), (0.977, 0.977, 1.5), (-195.0, -195.0, -225.0), unit)
    pet_grid = Geometry((98, 98, 112), (4.0, 4.0, 4.0), (-194.0, -194.0, -222.0), unit)
    labels = np.zeros(grid.shape_zyx, np.uint16)
    suv = np.full(pet_grid.shape_zyx, 1.0, np.float32)
    positions, lesions = [], []
    for n in range(20):
        center = (-120.0 + 60 * (n % 5), -90.0 + 60 * (n // 5), -150.0 + 15 * n)
        radius = 5.0 + 7.0 * n / 19
        for array, geometry, value in ((labels, grid, n + 1), (suv, pet_grid, 8.0)):
            ijk = np.rint(geometry.to_ijk(np.array(center))).astype(int)
            reach = np.ceil(radius / np.asarray(geometry.spacing_mm)).astype(int) + 1
            box = tuple(slice(a - b, a + b + 1) for a, b in zip(ijk[::-1], reach[::-1], strict=True))
            k, j, i = np.meshgrid(*[np.arange(s.start, s.stop) for s in box], indexing="ij")
            inside = np.linalg.norm(geometry.to_lps(np.stack([i, j, k], -1)) - center, axis=-1) <= radius
            array[box][inside] = value
        positions.append(center)
        lesions.append(Lesion(n + 1, "primary" if n < 2 else "node", "", score=0.9))
    noise = np.random.default_rng(0).normal(0, 0.1, suv.shape)
    suv = np.maximum(ndimage.gaussian_filter(suv, 0.6) + noise, 0.2).astype(np.float32)
    lesion_set = LesionSet(grid, labels, lesions)
    lesion_set.rename()
    return lesion_set, image_from_array(suv, pet_grid), positions
