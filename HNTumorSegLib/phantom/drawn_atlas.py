"""Source anatomy drawn from shapes, for use without organ label sets and as more variety beside them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage

from HNTumorSegLib.phantom.atlas import (
    CANAL_LEVELS_MM,
    CODES,
    FRAME_LANDMARKS,
    LABEL_MM,
    Atlas,
    build_distances,
    canal_y,
)
from HNTumorSegLib.phantom.fields import Lattice
from HNTumorSegLib.phantom.shapes import Ellipsoid, Shape, Tube, mirrored

VARIANTS = 48
"""Different drawn anatomies in each family (each is deformed anew for every patient)."""
LOW_MM, HIGH_MM = np.array([-150.0, -140.0, -270.0]), np.array([150.0, 160.0, 180.0])


@lru_cache(maxsize=VARIANTS)
def drawn_atlas(stream: int, variant: int) -> Atlas:
    """The drawn anatomy of that number; ``stream`` keeps the families apart."""
    rng = np.random.default_rng(np.random.SeedSequence([2023, 7, stream, variant]))
    counts = np.ceil((HIGH_MM - LOW_MM) / LABEL_MM).astype(int)[::-1]
    labels = np.zeros(counts, np.uint8)
    for organ, shape in _organs(rng):
        _stamp(labels, shape, CODES[organ])
    brain_distance, head_distance = build_distances(labels)
    frame = [*FRAME_LANDMARKS.values(), *((0, canal_y(z), z) for z in CANAL_LEVELS_MM)]
    points = np.array(frame, float)
    return Atlas(f"drawn-{variant}", labels, brain_distance, head_distance, LOW_MM.copy(), points, points)


def _organs(rng: np.random.Generator) -> list[tuple[str, Shape]]:
    """Organs in the order of drawing; sizes as measured by Nikolov 2018's label sets, give or take 8 %."""
    brain = (65, 80, 56) * np.exp(rng.normal(0, 0.04, 3))
    out: list[tuple[str, Shape]] = []
    for side, name in ((1, "-Lt"), (-1, "-Rt")):
        lung = Ellipsoid(mirrored((72, 12, -310), side), (62, 80, 162), 4, Lattice(rng, 40))
        out.append(("Lung" + name, lung))
    path = [(0, float(canal_y(z)), z) for z in (34, 10, -20, -70, -130, -200, -290)]
    out += [("Spinal-Canal", Tube(path, 9)), ("Spinal-Cord", Tube(path, 5))]
    wobble = Lattice(rng, 22)
    out.append(("Brain", Ellipsoid((0, 4, 92), tuple(brain), 2.5, wobble)))
    for side in (-1, 1):
        out.append(("Brain", Ellipsoid(mirrored((38, -14, 58), side), (24, 40, 18), 2.0, wobble)))
        out.append(("Brain", Ellipsoid(mirrored((24, 46, 48), side), (27, 30, 22), 2.0, wobble)))
    out.append(("Brain", Ellipsoid((0, 50, 48), (22, 26, 20))))
    out.append(("Brain", Ellipsoid((0, 10, 66), (52, 56, 24), 2.0, wobble)))
    out.append(("Brainstem", Tube([(0, 20, 68), (0, 30, 24)], [14, 9])))
    bone = rng.uniform(5.0, 6.5)
    arch = [(-48, -8, 5), (-44, -22, -12), (-34, -48, -20), (-14, -68, -22)]
    arch += [mirrored(p, -1) for p in arch[::-1]]
    out.append(("Mandible", Tube(arch, bone)))
    for side, name in ((1, "-Lt"), (-1, "-Rt")):
        ramus = [mirrored(p, side) for p in ((48, -8, 5), (50, 0, 32))]
        out.append(("Mandible", Tube(ramus, bone)))
        size = np.exp(rng.normal(0, 0.12))
        lattice = Lattice(rng, 14)
        parotid = tuple(np.array((11, 19, 24)) * size)
        out.append(("Parotid" + name, Ellipsoid(mirrored((55, 4, 10), side), parotid, 2.5, lattice)))
        gland = tuple(np.array((8, 13, 17)) * np.exp(rng.normal(0, 0.1)))
        out.append(("Submandibular" + name, Ellipsoid(mirrored((31, -20, -22), side), gland, 1.5, lattice)))
        out.append(("Orbit" + name, Ellipsoid(mirrored((31, -70, 58), side), (12, 12, 12))))
        out.append(("Optic-Nerve" + name, Tube([mirrored((29, -58, 58), side), mirrored((12, -28, 60), side)], 2.2)))
        out.append(("Lacrimal" + name, Ellipsoid(mirrored((42, -68, 66), side), (4, 6, 5))))
    return out


def _stamp(labels: np.ndarray, shape: Shape, code: int) -> None:
    """Write ``code`` into the voxels within the shape, in place."""
    low, high = shape.bounds()
    start = np.clip(np.floor((low - LOW_MM) / LABEL_MM).astype(int), 0, labels.shape[::-1])
    stop = np.clip(np.ceil((high - LOW_MM) / LABEL_MM).astype(int) + 1, 0, labels.shape[::-1])
    if np.any(stop <= start):
        return
    axes = [LOW_MM[a] + LABEL_MM * np.arange(start[a], stop[a], dtype=np.float32) for a in range(3)]
    z, y, x = np.meshgrid(*axes[::-1], indexing="ij")
    box = tuple(slice(start[a], stop[a]) for a in (2, 1, 0))
    inside = ndimage.binary_opening(np.pad(shape.distance(x, y, z) < 0, 1))[1:-1, 1:-1, 1:-1]
    labels[box][inside] = code
