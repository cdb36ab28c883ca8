"""Lesions of the varied families: lobed, rough, unevenly active, necrotic, in conglomerates.

Frequencies: Nikulin et al. 2023 (subsites; primary mean 13.2, median 8.2 ml; nodes mean 5.5, median 2.7 ml in the main
and 0.7 ml in the external data; 1.5 nodes a patient; 8 % of the main cohort without a primary). Nodal levels by
subsite follow the drainage that Lindberg (Cancer 1972;29:1446) and Shah (Am J Surg 1990;160:405) describe: oral cavity
to levels I to III, larynx and hypopharynx to II to IV, nasopharynx also to V and behind the pharynx.

What counts as a lesion is decided so that a reader could decide it from the images: its uptake *after* the scanner's
blur must stand out (:data:`LEAST_RECOVERED_SUV`); what would not, is made hotter, and when no plausible uptake helps,
it is left out of the patient altogether.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import erf

from HNTumorSegLib.lesions.codes import NODE, PRIMARY
from HNTumorSegLib.phantom.family import Family
from HNTumorSegLib.phantom.fields import Lattice
from HNTumorSegLib.phantom.shapes import Ellipsoid, mirrored
from HNTumorSegLib.phantom.tumours import NODE_LEVELS, PRIMARY_SITES

LEAST_RECOVERED_SUV = 2.9
"""After blurring the middle of a lesion reaches this; reactive nodes stay below 2.4 before blurring."""
TONSIL_RATIO = 1.6
"""A primary of the oropharynx exceeds the patient's tonsils by this (physiologic asymmetry stays below 1.45)."""
HIGHEST_SUV = 35.0
SMALLEST_ML = 0.15
BACKGROUND_SUV = {PRIMARY: 1.6, NODE: 1.0}
PRIMARY_SPREAD = float(np.sqrt(2 * np.log(13.21 / 8.16)))
LEVEL_FACTORS = {  # subsite: factor to the weights of the levels
    "oropharynx": {"IIa": 1.4, "retropharyngeal": 1.2, "Ia": 0.3},
    "larynx": {"III": 2.0, "IV": 1.6, "VI": 2.5, "Ia": 0.1, "Ib": 0.2},
    "hypopharynx": {"III": 1.8, "IV": 1.5, "VI": 2.0, "retropharyngeal": 1.8, "Ib": 0.2},
    "oral cavity": {"Ia": 3.0, "Ib": 3.0, "IV": 0.4, "Va": 0.4, "retropharyngeal": 0.1},
    "nasopharynx": {"retropharyngeal": 4.0, "IIb": 2.0, "Va": 2.0, "Ia": 0.1, "Ib": 0.3},
}


LARGEST_NODE_ML = {"retropharyngeal": 5.0, "Ia": 8.0, "VI": 8.0}
"""Behind the pharynx is room for two centimetres, below the chin and before the trachea for a little more."""


@dataclass
class Blob:
    """Lobes that run into each other; ``wobble_mm`` roughens the surface."""

    lobes: list[Ellipsoid]
    wobble_mm: float
    lattice: Lattice

    @property
    def center(self) -> tuple[float, float, float]:
        """Centre of the first lobe."""
        return self.lobes[0].center

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner of a box that holds the shape."""
        lows, highs = zip(*(lobe.bounds() for lobe in self.lobes), strict=True)
        return np.min(lows, axis=0) - 3 * self.wobble_mm, np.max(highs, axis=0) + 3 * self.wobble_mm

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Approximate signed distance in mm, negative inside."""
        out = self.lobes[0].distance(x, y, z)
        for lobe in self.lobes[1:]:
            other = lobe.distance(x, y, z)
            blend = np.maximum(3.0 - np.abs(out - other), 0.0)
            out = np.minimum(out, other) - blend * blend / 12.0
        return out + self.wobble_mm * self.lattice(x, y, z) if self.wobble_mm else out

    def volume_ml(self) -> float:
        """Volume, by sampling 28 points along each axis of the box."""
        low, high = self.bounds()
        axes = [np.linspace(a, b, 28, dtype=np.float32) for a, b in zip(low, high, strict=True)]
        z, y, x = np.meshgrid(*axes[::-1], indexing="ij")
        share = np.mean(self.distance(x, y, z) < 0)
        return float(share * np.prod(high - low) / 1000)

    def scaled(self, factor: float, about: np.ndarray | None = None) -> Blob:
        """The same shape, larger or smaller about its centre or about a point."""
        middle = np.asarray(self.center if about is None else about)
        lobes = [
            replace(
                lobe,
                center=tuple(middle + factor * (np.asarray(lobe.center) - middle)),
                radii=tuple(factor * np.asarray(lobe.radii)),
            )
            for lobe in self.lobes
        ]
        return Blob(lobes, self.wobble_mm * factor, self.lattice)

    def moved(self, offset_mm: np.ndarray) -> Blob:
        """The same lobes elsewhere; the surface's roughness stays where it is."""
        lobes = [replace(lobe, center=tuple(np.asarray(lobe.center) + offset_mm)) for lobe in self.lobes]
        return Blob(lobes, self.wobble_mm, self.lattice)


@dataclass
class VariedTumour:
    """One lesion. ``volume_ml`` is that of the whole shape, before airway and skin cut into it.

    ``core`` is necrotic; it counts as tumour in the truth where ``core_resolved`` is False, as nobody could see it.
    """

    kind: str
    site: str
    shape: Blob
    volume_ml: float
    suv: float
    hu: float
    texture: float
    grain: Lattice
    core: Blob | None = None
    core_suv: float = 0.8
    core_resolved: bool = True


def recovered_share(radius_mm: float, blur_mm: float) -> float:
    """Contrast that the centre of a ball keeps under a Gaussian blur of that full width at half maximum."""
    a = radius_mm / (np.sqrt(2) * blur_mm / 2.3548)
    return float(erf(a) - 2 * a / np.sqrt(np.pi) * np.exp(-a * a))


def radius_of(volume_ml: float) -> float:
    """Radius of a ball of that volume, mm."""
    return (volume_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3)


class VariedTumourDraw:
    """Draws one patient's lesions for a scanner of that blur."""

    def __init__(self, rng: np.random.Generator, family: Family, blur_mm: float, tonsil_suv: float):
        self.rng = rng
        self.family = family
        self.blur_mm = blur_mm
        self.tonsil_suv = tonsil_suv
        self.contrast_hu = float(rng.choice((0, 0, 20, 40)))

    def draw(self) -> list[VariedTumour]:
        """None in some patients, nodes only in some, else a primary and 0 to 10 nodes, or a few more."""
        r, family = self.rng, self.family
        fate = r.random()
        if fate < family.healthy:
            return []
        side = int(r.choice((-1, 1)))
        out: list[VariedTumour | None] = []
        site = self._site()
        count = int(np.clip(r.negative_binomial(1.1, 0.32), 0, 10))
        if fate > family.healthy + family.unknown_primary:
            out.append(self.primary(side, site))
        else:
            count = max(count, 1)
        if site == "larynx" and r.random() < 0.4:  # glottic tumours seldom spread
            count = 0
        if family.more_nodes:
            count += int(r.integers(1, family.more_nodes + 1))
        for _ in range(count):
            last = out[-1] if out else None
            close = last is not None and r.random() < (0.3 if last.kind == NODE else family.beside_primary)
            out.append(self.node(side, site, last if close else None))
        return [t for t in out if t is not None]

    def _site(self) -> str:
        names = list(PRIMARY_SITES)
        weights = np.array([PRIMARY_SITES[n][0] for n in names])
        return names[int(self.rng.choice(len(names), p=weights / weights.sum()))]

    def blob(self, center: np.ndarray, volume_ml: float, lobes: int, elongation: float, roughness: float) -> Blob:
        """A lobed body of that volume about ``center``."""
        r = self.rng
        radius = radius_of(volume_ml)
        parts = []
        for index in range(lobes):
            axes = np.exp(r.normal(0, elongation, 3))
            axes /= np.prod(axes) ** (1 / 3)
            scale = 1.0 if index == 0 else r.uniform(0.45, 0.9)
            direction = r.standard_normal(3)
            offset = direction / np.linalg.norm(direction) * radius * (0 if index == 0 else r.uniform(0.6, 1.1))
            turn = np.linalg.qr(r.standard_normal((3, 3)))[0]
            parts.append(Ellipsoid(tuple(center + offset), tuple(radius * scale * axes), rotation=turn))
        lattice = Lattice(r, max(5.0, radius * r.uniform(0.5, 1.0)), reach_mm=50)
        shape = Blob(parts, roughness * radius, lattice)
        for _ in range(2):
            shape = shape.scaled((volume_ml / max(shape.volume_ml(), 1e-3)) ** (1 / 3))
        return shape

    def suv_of(self, kind: str, median: float, spread: float, volume_ml: float, least: float) -> float | None:
        """Uptake that stands out after blurring; None when no plausible one would."""
        r, background = self.rng, BACKGROUND_SUV[kind]
        suv = float(np.clip(median * np.exp(r.normal(0, spread)), 2.5, HIGHEST_SUV))
        share = recovered_share(0.9 * radius_of(volume_ml), self.blur_mm)
        if background + (suv - background) * share < least:
            suv = background + (least * float(np.exp(abs(r.normal(0, 0.25)))) - background) / max(share, 1e-3)
        return suv if suv <= HIGHEST_SUV else None

    def core(self, shape: Blob, volume_ml: float, probability: float, least_ml: float) -> Blob | None:
        """A necrotic core of larger lesions."""
        r = self.rng
        if volume_ml < least_ml or r.random() > probability:
            return None
        radius = radius_of(volume_ml)
        center = np.asarray(shape.center) + r.normal(0, 0.1 * radius, 3)
        return self.blob(center, volume_ml * r.uniform(0.08, 0.4), int(r.integers(1, 3)), 0.15, 0.12)

    def finish(
        self, kind: str, site: str, shape: Blob, volume_ml: float, suv: float, core: Blob | None
    ) -> VariedTumour:
        """The lesion with its density and its unevenness."""
        r = self.rng
        texture = float(np.clip(r.gamma(2.0, 0.09 if kind == PRIMARY else 0.06), 0.02, 0.4))
        grain = Lattice(r, max(5.0, radius_of(volume_ml) * r.uniform(0.5, 1.0)), reach_mm=60)
        resolved = core is not None and radius_of(core.volume_ml()) > 0.6 * self.blur_mm
        hu = (r.uniform(45, 75) if kind == PRIMARY else r.uniform(35, 65)) + self.contrast_hu
        cold = r.uniform(0.5, 1.6)
        return VariedTumour(kind, site, shape, volume_ml, suv, hu, texture, grain, core, cold, resolved)

    def primary(self, side: int, site: str) -> VariedTumour | None:
        """The primary tumour."""
        r = self.rng
        places = PRIMARY_SITES[site][1]
        center = np.asarray(mirrored(places[int(r.integers(len(places)))], side)) + r.normal(0, 3.5, 3)
        volume = float(np.clip(self.family.primary_median_ml * np.exp(r.normal(0, PRIMARY_SPREAD)), 0.5, 95))
        least = LEAST_RECOVERED_SUV * 1.2
        if site in ("oropharynx", "oral cavity"):
            least = max(least, TONSIL_RATIO * self.tonsil_suv * 0.9)
        suv = self.suv_of(PRIMARY, 11.5, 0.45, volume, least)
        if suv is None:
            return None
        lobes = int(r.choice((1, 2, 3, 4), p=(0.35, 0.3, 0.2, 0.15)))
        shape = self.blob(center, volume, lobes, 0.25, r.uniform(0.04, 0.2))
        return self.finish(PRIMARY, site, shape, volume, suv, self.core(shape, volume, 0.3, 9))

    def node(self, side: int, site: str, near: VariedTumour | None) -> VariedTumour | None:
        """A nodal metastasis; with ``near`` it lies against that lesion."""
        r, family = self.rng, self.family
        volume = float(np.clip(family.node_median_ml * np.exp(r.normal(0, family.node_spread)), SMALLEST_ML, 70))
        level = self._level(site, volume)
        if near is None:
            own = side if r.random() < 0.75 else -side
            _, center, spread = NODE_LEVELS[level]
            center = np.asarray(mirrored(center, own)) + 1.2 * r.normal(0, 1, 3) * np.asarray(spread)
            center = center + np.sign(center[0]) * np.array([0.25 * max(0.0, radius_of(volume) - 8), 0, 0])
        else:
            level = near.site if near.kind == NODE else "IIa"
            volume = min(volume, LARGEST_NODE_ML.get(level, volume))
            reach = radius_of(near.volume_ml) + radius_of(volume)
            direction = r.standard_normal(3) * (0.4, 0.7, 1.0)
            if near.kind == PRIMARY:
                direction = np.array([side * 1.2, 0.5, -0.2]) + 0.3 * r.standard_normal(3)
            direction /= np.linalg.norm(direction)
            center = np.asarray(near.shape.center) + direction * reach * r.uniform(0.95, 1.25)
        low = r.random() < family.cool_nodes
        suv = self.suv_of(NODE, 3.4 if low else 8.0, 0.1 if low else 0.5, volume, LEAST_RECOVERED_SUV)
        if suv is None:
            return None
        matted = volume > 3 and r.random() < 0.25  # growth beyond the capsule, several nodes in one
        lobes = int(r.integers(3, 6)) if matted else int(r.choice((1, 2), p=(0.8, 0.2)))
        shape = self.blob(center, volume, lobes, 0.18, r.uniform(0.08, 0.18) if matted else r.uniform(0.01, 0.1))
        return self.finish(NODE, level, shape, volume, suv, self.core(shape, volume, family.node_necrosis, 4))

    def _level(self, site: str, volume_ml: float) -> str:
        factors = LEVEL_FACTORS[site]
        names = [n for n in NODE_LEVELS if volume_ml <= LARGEST_NODE_ML.get(n, np.inf)]
        weights = np.array([NODE_LEVELS[n][0] * factors.get(n, 1.0) for n in names])
        return names[int(self.rng.choice(len(names), p=weights / weights.sum()))]
