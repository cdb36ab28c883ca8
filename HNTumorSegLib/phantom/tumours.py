"""Primary tumours and nodal metastases, placed where they occur, in the shapes and strengths they have.

Subsite and volume statistics follow the cohort of Nikulin et al. 2023 (primary mean 13.2 and median 8.2 ml, nodes mean
5.5 and median 2.7 ml; oropharynx 63 %, larynx 17 %, oral cavity, hypopharynx and nasopharynx 6 % each, softened so
that rare sites are seen often enough); nodal levels are the usual neck levels I to VI with level II in the lead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from HNTumorSegLib.lesions.codes import NODE, PRIMARY
from HNTumorSegLib.phantom.fields import Lattice
from HNTumorSegLib.phantom.shapes import Ellipsoid, Point, mirrored

# subsite: (weight, [places with x towards the tumour's side])
PRIMARY_SITES: dict[str, tuple[float, list[Point]]] = {
    "oropharynx": (0.52, [(18, -10, 2), (16, -8, -8), (9, -17, -12), (6, -5, 12)]),
    "larynx": (0.18, [(6, -22, -60), (5, -20, -46), (4, -14, -72)]),
    "oral cavity": (0.14, [(15, -42, 0), (10, -50, -16), (28, -38, -8), (38, -30, 2)]),
    "hypopharynx": (0.10, [(15, -4, -48), (3, 2, -62), (8, 4, -40)]),
    "nasopharynx": (0.06, [(10, 6, 30), (2, 6, 36)]),
}
NODE_LEVELS: dict[str, tuple[float, Point, Point]] = {  # weight, centre, spread (mm)
    "Ia": (0.03, (4, -52, -30), (4, 6, 4)),
    "Ib": (0.10, (32, -30, -26), (6, 7, 6)),
    "IIa": (0.34, (36, 2, -10), (5, 7, 10)),
    "IIb": (0.12, (44, 20, 0), (5, 6, 9)),
    "III": (0.18, (34, 2, -45), (5, 7, 10)),
    "IV": (0.09, (32, 2, -90), (6, 8, 12)),
    "Va": (0.07, (52, 30, -45), (5, 7, 14)),
    "VI": (0.02, (6, -24, -95), (6, 4, 12)),
    "retropharyngeal": (0.05, (13, 12, 24), (4, 2, 10)),
}
LOW_CONTRAST_SUV = (2.5, 4.0)
MINIMUM_ML = 0.15


@dataclass
class Tumour:
    """One lesion to draw: active tissue, and a cold core where it is necrotic."""

    kind: str
    site: str
    shape: Ellipsoid
    suv: float
    hu: float
    texture: float
    core: Ellipsoid | None = None

    @property
    def core_suv(self) -> float:
        """Uptake of the necrotic core."""
        return 0.8


class TumourDraw:
    """Draws one patient's lesions."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.contrast_hu = float(rng.choice((0, 0, 25, 40)))

    def draw(self) -> list[Tumour]:
        """The primary (missing in 6 % of patients) and 0 to 8 nodes."""
        r = self.rng
        side = int(r.choice((-1, 1)))
        tumours = []
        if r.random() > 0.06:
            tumours.append(self.primary(side))
        count = int(np.clip(r.negative_binomial(1.6, 0.48), 0, 8))
        if not tumours and r.random() < 0.7:
            count = max(count, 1)
        last: Tumour | None = None
        for _ in range(count):
            node = self.node(side, last if r.random() < 0.25 else None)
            tumours.append(node)
            last = node
        return tumours

    def volume_ml(self, median: float, spread: float, low: float, high: float) -> float:
        """Log-normal volume."""
        return float(np.clip(median * np.exp(self.rng.normal(0, spread)), low, high))

    def ellipsoid(self, center: np.ndarray, volume_ml: float, elongation: float, roughness: float) -> Ellipsoid:
        """A rough, turned ellipsoid of about that volume."""
        r = self.rng
        radius = (volume_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
        axes = np.exp(r.normal(0, elongation, 3))
        axes /= np.prod(axes) ** (1 / 3)
        lattice = Lattice(r, max(4.0, radius * r.uniform(0.6, 1.1)), reach_mm=60)
        rotation = np.linalg.qr(r.standard_normal((3, 3)))[0]
        return Ellipsoid(tuple(center), tuple(radius * axes), roughness * radius, lattice, rotation)

    def core_of(self, shape: Ellipsoid, probability: float, least_ml: float) -> Ellipsoid | None:
        """A necrotic core for large lesions, off-centre and rough."""
        r = self.rng
        radius = float(np.prod(shape.radii)) ** (1 / 3)
        if radius < (least_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3) or r.random() > probability:
            return None
        share = r.uniform(0.5, 0.72)
        center = np.asarray(shape.center) + r.normal(0, 0.08 * radius, 3)
        lattice = Lattice(r, max(4.0, radius * 0.5), reach_mm=60)
        return Ellipsoid(tuple(center), tuple(share * np.asarray(shape.radii)), 0.1 * radius, lattice, shape.rotation)

    def primary(self, side: int) -> Tumour:
        """The primary tumour."""
        r = self.rng
        names = list(PRIMARY_SITES)
        weights = np.array([PRIMARY_SITES[n][0] for n in names])
        site = names[int(r.choice(len(names), p=weights / weights.sum()))]
        places = PRIMARY_SITES[site][1]
        center = np.asarray(mirrored(places[int(r.integers(len(places)))], side)) + r.normal(0, 3, 3)
        shape = self.ellipsoid(center, self.volume_ml(8.0, 0.95, 0.5, 90), 0.22, r.uniform(0.05, 0.2))
        suv = float(np.clip(10.5 * np.exp(r.normal(0, 0.45)), 3.5, 32))
        if site == "larynx" and r.random() < 0.3:
            suv = max(3.5, suv * 0.6)
        hu = r.uniform(45, 75) + self.contrast_hu
        return Tumour(PRIMARY, site, shape, suv, hu, r.uniform(0.05, 0.25), self.core_of(shape, 0.25, 12))

    def node(self, side: int, neighbour: Tumour | None) -> Tumour:
        """A nodal metastasis; with a ``neighbour`` it lies against that node."""
        r = self.rng
        names = list(NODE_LEVELS)
        weights = np.array([NODE_LEVELS[n][0] for n in names])
        level = names[int(r.choice(len(names), p=weights / weights.sum()))]
        volume = self.volume_ml(2.4, 1.15, MINIMUM_ML, 60)
        if neighbour is None:
            own_side = side if r.random() < 0.75 else -side
            _, center, spread = NODE_LEVELS[level]
            center = np.asarray(mirrored(center, own_side)) + r.normal(0, 1, 3) * np.asarray(spread)
        else:
            level = neighbour.site
            radius = (volume * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
            reach = float(np.prod(neighbour.shape.radii)) ** (1 / 3) + radius
            direction = r.standard_normal(3) * (0.4, 0.7, 1.0)
            direction /= np.linalg.norm(direction)
            center = np.asarray(neighbour.shape.center) + direction * reach * r.uniform(0.95, 1.3)
        shape = self.ellipsoid(center, volume, 0.18, r.uniform(0.02, 0.12))
        if r.random() < 0.15:
            suv = r.uniform(*LOW_CONTRAST_SUV)
        else:
            suv = float(np.clip(6.5 * np.exp(r.normal(0, 0.5)), 2.5, 28))
        hu = r.uniform(35, 65) + self.contrast_hu
        return Tumour(NODE, level, shape, suv, hu, r.uniform(0.03, 0.15), self.core_of(shape, 0.45, 5))
