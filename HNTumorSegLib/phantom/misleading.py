"""Hot spots that are no tumour, each told from one by place, shape, side or level of uptake.

Reactive nodes stay small and below what :mod:`HNTumorSegLib.phantom.varied_tumours` makes a metastasis reach after
blurring; brown fat lies in fat and on both sides; dental foci sit at teeth; veins and injection sites are tubes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from HNTumorSegLib.phantom.fields import Lattice
from HNTumorSegLib.phantom.shapes import Ellipsoid, Tube, mirrored
from HNTumorSegLib.phantom.structure import Structure

if TYPE_CHECKING:
    from HNTumorSegLib.phantom.varied_anatomy import VariedAnatomy

REACTIVE_SUV = 2.4
"""The most that reactive nodes reach."""


def misleading(draw: VariedAnatomy) -> list[Structure]:
    """All of them, each now and then."""
    parts = (_nodes, _brown_fat, _dental, _skin, _veins, _joints, _sinusitis)
    return [structure for part in parts for structure in part(draw)]


def _nodes(draw: VariedAnatomy) -> list[Structure]:
    """Normal and reactive nodes along the jugular chain and behind it."""
    r = draw.rng
    out = []
    reactive = draw.chance(0.3)
    for _ in range(r.integers(4, 18)):
        side = int(r.choice((-1, 1)))
        where = mirrored((r.uniform(24, 52), r.uniform(-25, 35), r.uniform(-105, 8)), side)
        radius = r.uniform(2, 4.5)
        warm = reactive and r.random() < 0.5
        suv = float(np.clip(draw.log_suv(1.9 if warm else 1.2, 0.2), 0.6, REACTIVE_SUV))
        shape = Ellipsoid(where, (radius, radius, radius * r.uniform(1.2, 1.8)))
        out.append(Structure("reactive node", shape, 45.0, suv))
    return out


def _brown_fat(draw: VariedAnatomy) -> list[Structure]:
    """Brown fat above the collar bones and beside the spine, on both sides, in fat."""
    r = draw.rng
    if not draw.chance(0.1):
        return []
    out = []
    suv = float(np.clip(draw.log_suv(4.5, 0.5), 2.0, 14.0))
    spots = [(62, 20, -125), (70, 25, -142), (50, 34, -110)][: int(r.integers(1, 4))]
    for side in (-1, 1):
        for spot in spots:
            place = draw.jitter(mirrored(spot, side), 5)
            shape = Ellipsoid(place, (r.uniform(10, 22), r.uniform(5, 10), r.uniform(6, 14)), 3, Lattice(r, 10))
            out.append(Structure("brown fat", shape, -90.0, suv * np.exp(r.normal(0, 0.2)), 0.35))
        if r.random() < 0.5:
            for z in (-160, -185, -210, -235):
                ball = Ellipsoid(mirrored((24, 58, z), side), (5, 5, 5))
                out.append(Structure("brown fat", ball, -80.0, suv * 0.7))
    return out


def _dental(draw: VariedAnatomy) -> list[Structure]:
    """Inflamed roots and gums: small, at the tooth row, in bone."""
    r = draw.rng
    out = []
    if draw.chance(0.25):
        for _ in range(int(r.integers(1, 4))):
            angle = np.radians(r.uniform(-65, 65))
            where = (32 * np.sin(angle), -28 - 36 * np.cos(angle), float(r.choice((-14, 8))))
            suv = float(np.clip(draw.log_suv(3.2, 0.3), 1.5, 6.0))
            out.append(Structure("dental focus", Ellipsoid(where, (3.5, 3.5, 4.5)), None, suv))
    return out


def _skin(draw: VariedAnatomy) -> list[Structure]:
    """A wound, an atheroma or a drop of urine on the skin."""
    r = draw.rng
    if not draw.chance(0.05):
        return []
    where = (r.uniform(-40, 40), 70.0, r.uniform(-100, -20))
    return [Structure("skin focus", Ellipsoid(where, (6, 3, 6)), 30.0, draw.log_suv(2.6, 0.3))]


def _veins(draw: VariedAnatomy) -> list[Structure]:
    """Tracer held up in an arm vein on the injection's side, and an injection site beside the head."""
    r = draw.rng
    out = []
    if draw.chance(0.06):
        side = int(r.choice((-1, 1)))
        course = [mirrored(p, side) for p in ((180, 5, -178), (110, -8, -158), (45, -22, -168), (15, -25, -185))]
        hu = 45.0 + draw.contrast_hu * 2
        out.append(Structure("hot vein", Tube(course, 4.5), hu, draw.log_suv(6.0, 0.5)))
    if draw.arms_up and draw.chance(0.15):
        side = int(r.choice((-1, 1)))
        place = mirrored((125 + r.uniform(-20, 40), -55, r.uniform(60, 200)), side)
        spot = Ellipsoid(draw.jitter(place, 8), (r.uniform(3, 9), r.uniform(3, 7), r.uniform(6, 30)))
        out.append(Structure("injection site", spot, None, draw.log_suv(15.0, 0.7)))
    return out


def _joints(draw: VariedAnatomy) -> list[Structure]:
    """Worn facet joints, shoulder and jaw joints: warm, in or at bone."""
    r = draw.rng
    out = []
    if draw.chance(0.2):
        for _ in range(int(r.integers(1, 4))):
            where = mirrored((17, 44, r.uniform(-120, -5)), int(r.choice((-1, 1))))
            out.append(Structure("facet joint", Ellipsoid(where, (5, 5, 6)), None, min(draw.log_suv(2.4, 0.3), 4.0)))
    if draw.chance(0.2):
        for side in (-1, 1):
            where = mirrored((150 * draw.build, 8, -170), side)
            out.append(Structure("shoulder joint", Ellipsoid(where, (22, 20, 18)), None, draw.log_suv(1.8, 0.25), 0.4))
    return out


def _sinusitis(draw: VariedAnatomy) -> list[Structure]:
    """Inflamed lining of a maxillary sinus; warm nasal mucosa."""
    r = draw.rng
    if not draw.chance(0.1):
        return []
    side = int(r.choice((-1, 1)))
    lining = Ellipsoid(mirrored((27, -52, 20), side), (12, 14, 6), 1.5, Lattice(r, 10))
    return [Structure("sinusitis", lining, 25.0, min(draw.log_suv(2.6, 0.3), 4.5), 0.3)]
