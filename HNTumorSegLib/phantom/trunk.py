"""What lies below the neck: the upper chest, and the organs of a whole-body scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from HNTumorSegLib.phantom.fields import Lattice
from HNTumorSegLib.phantom.shapes import Ellipsoid, Shell, Tube
from HNTumorSegLib.phantom.structure import Structure

if TYPE_CHECKING:
    from HNTumorSegLib.phantom.anatomy import AnatomyDraw


def chest(draw: AnatomyDraw) -> list[Structure]:
    """Lungs, shoulders, clavicles and the great vessels at the top of the chest."""
    r = draw.rng
    out = []
    bottom = -420 if draw.whole_body else -330
    for side in (-1, 1):
        lung = Ellipsoid((side * 78, 5, bottom), (66, 84, abs(bottom) - 150), 3, Lattice(r, 40))
        out.append(Structure("lung", lung, r.uniform(-880, -780), r.uniform(0.25, 0.6)))
        collar = [(side * 18, -42, -150), (side * 85, -25, -135), (side * 130 * draw.build, 10, -148)]
        out.append(Structure("clavicle", Tube(collar, 6), 500.0, draw.log_suv(1.1)))
        out.append(
            Structure(
                "humeral head",
                Ellipsoid((side * 148 * draw.build, 12, -172), (21, 21, 24)),
                350.0,
                draw.log_suv(1.1),
            )
        )
    out.append(Structure("mediastinum", Ellipsoid((0, 5, -260), (34, 60, 110)), 35.0, draw.blood_suv * 0.8, 0.1))
    arch = [(10, -25, -215), (16, 10, -205), (20, 35, -225)]
    out.append(Structure("aortic arch", Tube(arch, 13), 45.0 + draw.contrast_hu, draw.blood_suv))
    out.append(Structure("sternum", Ellipsoid((0, -78, -240), (18, 8, 70)), 250.0, draw.log_suv(1.3)))
    return out


def trunk_organs(draw: AnatomyDraw) -> list[Structure]:
    """Heart, liver, spleen, kidneys, bowel, bladder and the rest of a whole-body scan."""
    r = draw.rng
    out = [
        Structure("liver", Ellipsoid((-70, -5, -475), (80, 80, 75), 4, Lattice(r, 40)), 60.0, r.uniform(1.6, 3), 0.1),
        Structure("spleen", Ellipsoid((110, 40, -460), (30, 40, 50)), 50.0, r.uniform(1.3, 2.4)),
        Structure("heart wall", Shell(Ellipsoid((35, -25, -370), (45, 45, 50)), 12), 45.0, draw.log_suv(4, 0.7)),
        Structure("bowel", Ellipsoid((0, -30, -640), (110, 60, 80), 12, Lattice(r, 30)), 30.0, draw.log_suv(1.8), 0.6),
        Structure("bladder", Ellipsoid((0, -20, -840), (35, 30, 32)), 10.0, draw.log_suv(25, 0.6)),
    ]
    for side in (-1, 1):
        cortex = Ellipsoid((side * 62, 50, -560), (25, 25, 52))
        out.append(Structure("kidney", cortex, 35.0, draw.log_suv(4, 0.4), 0.3))
        out.append(Structure("renal pelvis", Ellipsoid((side * 52, 45, -560), (9, 9, 16)), 10.0, draw.log_suv(15, 0.6)))
        out.append(Structure("pelvic bone", Ellipsoid((side * 95, 35, -790), (22, 40, 55)), 300.0, draw.log_suv(1.4)))
    return out
