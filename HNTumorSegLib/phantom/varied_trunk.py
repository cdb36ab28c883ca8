"""Trunk of the varied families' whole-body scans: heart, liver, spleen, stomach, kidneys, ureters, bowel, bladder.

Uptake as Wang et al., Mol Imaging Biol 2007;9:83 and Zincirkeser et al., J Int Med Res 2007;35:231 report it: liver
mean SUV about 2.2, spleen 1.8, blood 1.5; the heart's wall, bowel and urine are drawn over their whole clinical range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from HNTumorSegLib.phantom.fields import Lattice
from HNTumorSegLib.phantom.shapes import Ellipsoid, Shell, Tube, mirrored
from HNTumorSegLib.phantom.structure import Structure

if TYPE_CHECKING:
    from HNTumorSegLib.phantom.varied_anatomy import VariedAnatomy


def varied_trunk(draw: VariedAnatomy) -> list[Structure]:
    """All organs below the shoulders."""
    return [*_heart(draw), *_solid_organs(draw), *_urinary(draw), *_bowel(draw), *_bones(draw)]


def _heart(draw: VariedAnatomy) -> list[Structure]:
    """Blood-filled heart; the left ventricle's wall from cold to very hot, sometimes in part."""
    r = draw.rng
    center = draw.jitter((28, -28, -365), 8)
    out = [Structure("heart", Ellipsoid(center, (48, 42, 46), 4, Lattice(r, 30)), 45.0, draw.blood_suv, 0.1)]
    place = np.asarray(center) + np.array((18, -8, -10))
    turn = np.linalg.qr(np.eye(3) + 0.6 * r.standard_normal((3, 3)))[0]
    size = r.uniform(0.8, 1.15)
    ventricle = Ellipsoid(tuple(place), (28 * size, 28 * size, 38 * size), 2.5, Lattice(r, 25), turn)
    suv = float(np.clip(draw.log_suv(4.0, 0.8), 1.2, 25.0))
    out.append(Structure("heart wall", Shell(ventricle, r.uniform(8, 12)), 45.0, suv, 0.2))
    if r.random() < 0.4:
        patch = Ellipsoid(tuple(place + r.normal(0, 15, 3)), (22, 22, 22), 4, Lattice(r, 20))
        out.append(Structure("cold heart wall", patch, None, draw.blood_suv, 0.1))
    return out


def _solid_organs(draw: VariedAnatomy) -> list[Structure]:
    """Liver, spleen, stomach."""
    r = draw.rng
    liver = float(np.clip(draw.log_suv(2.2, 0.2), 1.2, 4.0))
    wobble = Lattice(r, 45)
    right = Ellipsoid(draw.jitter((-72, 0, -475), 6), (78, 74, 72), 8, wobble)
    left = Ellipsoid(draw.jitter((10, -45, -450), 6), (60, 32, 38), 6, wobble)
    spleen = Ellipsoid(draw.jitter((108, 42, -455), 6), (27, 38, 48), 4, Lattice(r, 30))
    stomach = Ellipsoid(draw.jitter((62, -30, -480), 8), (38, 34, 48), 6, Lattice(r, 25))
    return [
        Structure("liver", right, 58.0, liver, 0.1),
        Structure("liver", left, 58.0, liver, 0.1),
        Structure("spleen", spleen, 48.0, liver * r.uniform(0.7, 1.0), 0.1),
        Structure("stomach wall", Shell(stomach, 7), 40.0, draw.log_suv(2.2, 0.35), 0.3),
    ]


def _urinary(draw: VariedAnatomy) -> list[Structure]:
    """Kidneys, ureters (often seen in pieces), bladder."""
    r = draw.rng
    out = []
    urine = draw.log_suv(18.0, 0.6)
    for side in (-1, 1):
        center = draw.jitter(mirrored((62, 50, -555), side), 6)
        kidney = Ellipsoid(center, (25, 26, 52), 3, Lattice(r, 25))
        out.append(Structure("kidney", kidney, 35.0, draw.log_suv(3.5, 0.3), 0.25))
        pelvis = Ellipsoid(tuple(np.asarray(center) - (side * 9, 4, 0)), (8, 9, 18), 3, Lattice(r, 12))
        out.append(Structure("renal pelvis", pelvis, 10.0, urine * r.uniform(0.1, 1.0)))
        for _ in range(int(r.integers(0, 4))):
            top = r.uniform(-790, -610)
            piece = [mirrored((38, 38, top), side), mirrored((40, 34, top - r.uniform(10, 45)), side)]
            out.append(Structure("ureter", Tube(piece, 2.5), None, urine * r.uniform(0.3, 1.0)))
    bladder = Ellipsoid((0, -20, -835), tuple(r.uniform(22, 48, 3)), 4, Lattice(r, 30))
    out.append(Structure("bladder", bladder, 10.0, urine))
    return out


def _bowel(draw: VariedAnatomy) -> list[Structure]:
    """Loops of small bowel and a frame of colon, hot here and there."""
    r = draw.rng
    out = []
    suv = draw.log_suv(1.6, 0.4)
    for _ in range(int(r.integers(8, 14))):
        start = np.array((r.uniform(-75, 75), r.uniform(-60, 0), r.uniform(-740, -580)))
        course = start + np.cumsum(r.normal(0, 24, (5, 3)), axis=0)
        course = np.clip(course, (-110, -75, -780), (110, 20, -560))
        hot = suv * float(np.exp(r.normal(0, 0.45)))
        out.append(Structure("bowel", Tube(course, r.uniform(8, 14)), 35.0, hot, 0.4))
    frame = [(-105, -10, -740), (-108, -15, -580), (-60, -60, -560), (60, -60, -550), (112, 0, -560), (108, 5, -740)]
    frame = [draw.jitter(point, 12) for point in frame]
    out.append(Structure("colon", Tube(frame, r.uniform(13, 22)), 0.0, draw.log_suv(1.5, 0.5), 0.5))
    return out


def _bones(draw: VariedAnatomy) -> list[Structure]:
    """Pelvis, femoral heads, ribs' marrow is left to texture."""
    marrow = draw.log_suv(1.2, 0.25)
    out = []
    for side in (-1, 1):
        wing = Ellipsoid(mirrored((95, 35, -765), side), (16, 48, 60), 5, Lattice(draw.rng, 30))
        out.append(Structure("pelvic bone", wing, 300.0, marrow, 0.15))
        head = Ellipsoid(mirrored((95, 8, -868), side), (24, 24, 24))
        out.append(Structure("femoral head", head, 350.0, marrow * 0.7, 0.1))
    return out
