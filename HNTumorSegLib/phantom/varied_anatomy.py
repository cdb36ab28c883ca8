"""Normal structures of the varied families: what the source anatomy lacks, and the uptake of everything.

Uptake is drawn about the published means of normal tissue: Nakamoto et al., Radiology 2005;234:879 (78 patients, mean
SUV: palatine tonsil 3.48, soft palate 3.13, lingual tonsil 3.11, sublingual 2.93, cord 2.12, submandibular 2.11,
parotid 1.90, vocal cords 1.77, inferior concha 1.56, tongue 1.39, thyroid 1.31); Wang et al., Mol Imaging Biol
2007;9:83 (98 patients: cerebellum 8.0 +- 2.2, soft palate 2.92 +- 0.86, palatine tonsil 3.45 +- 1.4, lingual tonsil
3.08 +- 1.05, sublingual 3.3 +- 1.5). That left and right differ by less than 1.5 where uptake is physiologic, and how
hot it gets (SUVmax 4 in parotids, 5.5 in sublingual glands, 8 in tonsils, 10 in eye muscles), is from 112 patients in
Nucl Med Commun 2009, doi:10.1097/MNM.0b013e3283299a52.
"""

from __future__ import annotations

import numpy as np

from HNTumorSegLib.phantom.anatomy import AIRWAY, AIRWAY_RADII, AnatomyDraw
from HNTumorSegLib.phantom.family import Family
from HNTumorSegLib.phantom.fields import Lattice
from HNTumorSegLib.phantom.misleading import misleading
from HNTumorSegLib.phantom.shapes import Ellipsoid, Point, Tube, mirrored
from HNTumorSegLib.phantom.structure import AIR_HU, Structure
from HNTumorSegLib.phantom.trunk import chest
from HNTumorSegLib.phantom.varied_trunk import varied_trunk

# Drawn from the source anatomy's labels instead.
FROM_LABELS = {"parotid", "submandibular", "mandible", "ramus", "eye", "canal", "cord"}
HOTTEST_RATIO = 2.1
"""No uptake but a lesion's exceeds its median by more; this leaves 8 in tonsils and 4 in parotids (same source) as the
mean of both sides, of which one may be hotter by the root of :data:`PHYSIOLOGIC_RATIO`."""

PHYSIOLOGIC_RATIO = 1.45
"""Left and right of a pair differ by no more than this."""


class VariedAnatomy(AnatomyDraw):
    """Draws one patient's normal structures; see the module for the sources of the uptake."""

    def __init__(self, rng: np.random.Generator, family: Family, whole_body: bool, atypia: float):
        super().__init__(rng, whole_body, atypia * family.atypia)
        self.family = family
        self.fat_mm = rng.uniform(3, 26)
        self.build = rng.normal(1.0, 0.09)
        self.muscle_suv = float(np.clip(self.log_suv(0.85, 0.22), 0.45, 1.5))
        self.fat_suv = rng.uniform(0.15, 0.45)
        self.grey_suv = float(np.clip(self.log_suv(10.5, 0.32), 4.0, 24.0))
        self.white_share = rng.uniform(0.28, 0.5)
        self.arms_up = rng.random() < 0.5
        self.tonsil_suv = 0.0
        self.air: list[Structure] = []
        self.teeth: list[Point] = []

    def log_suv(self, median: float, spread: float = 0.3) -> float:
        """A log-normal uptake, as wide as the family has it, but no hotter than it gets in people."""
        return float(median * min(np.exp(self.rng.normal(0, spread * self.family.uptake_spread)), HOTTEST_RATIO))

    def pair(self, median: float, spread: float) -> tuple[float, float]:
        """Uptake of the right and the left of a pair."""
        both = self.log_suv(median, spread)
        skew = float(np.clip(np.exp(self.rng.normal(0, 0.11)), PHYSIOLOGIC_RATIO**-0.5, PHYSIOLOGIC_RATIO**0.5))
        return both / skew, both * skew

    def label_uptake(self) -> dict[str, tuple[float, float]]:
        """(SUV, HU) of the organs that come from labels; brain and bone are painted with more care."""
        r = self.rng
        parotid, gland = self.pair(1.9, 0.35), self.pair(2.2, 0.3)
        lacrimal, fatty, plain = self.pair(1.9, 0.3), r.uniform(-60, 40), r.uniform(20, 65)
        eye, nerve = r.uniform(0.4, 1.0), self.log_suv(1.6, 0.2)
        lung_hu, lung = r.uniform(-900, -780), r.uniform(0.2, 0.6)
        out = {
            "Lung-Lt": (lung, lung_hu),
            "Lung-Rt": (lung, lung_hu),
            "Spinal-Canal": (0.8, 12.0),
            "Spinal-Cord": (self.log_suv(2.1, 0.2), 38.0),
            "Brainstem": (self.grey_suv * r.uniform(0.5, 0.7), 33.0),
            "Mandible": (self.log_suv(1.0, 0.25), r.uniform(500, 1100)),
        }
        for index, side in enumerate(("-Rt", "-Lt")):
            out["Orbit" + side] = (eye, 12.0)
            out["Optic-Nerve" + side] = (nerve, 35.0)
            out["Lacrimal" + side] = (lacrimal[index], 40.0)
            out["Parotid" + side] = (parotid[index], fatty)
            out["Submandibular" + side] = (gland[index], plain)
        return out

    def draw(self) -> list[Structure]:
        """All structures in drawing order; body, brain, skull and what the labels hold are painted elsewhere."""
        parts = [self.deep_muscles, self.skull_base, self.face, self.spine, self.chest_wall]
        parts += [self.airway_walls, self.lymphoid, self.glands, self.vessels, self.neck_muscles, self.larynx]
        parts += [self.airway_lumen, self.jaw_and_teeth, lambda: misleading(self)]
        if self.whole_body:
            parts.append(lambda: varied_trunk(self))
        structures = [structure for part in parts for structure in part()]
        self.air = [s for s in structures if s.hu == AIR_HU]
        self.teeth = [s.shape.center for s in structures if s.name == "tooth"]
        return [s for s in structures if s.name not in FROM_LABELS]

    def skull_base(self) -> list[Structure]:
        """Skull base, cheek bones and eye muscles."""
        r = self.rng
        base = Ellipsoid((0, 6, 40), (50, 50, 8), 3.0, Lattice(r, 18))
        out = [Structure("skull base", base, r.uniform(200, 450), r.uniform(0.7, 1.1), 0.15)]
        muscle = self.pair(3.2, 0.35)
        for index, side in enumerate((-1, 1)):
            cheek = [mirrored((30, -74, 36), side), mirrored((54, -56, 34), side), mirrored((62, -20, 38), side)]
            out.append(Structure("cheek bone", Tube(cheek, 4.0), r.uniform(400, 800), 0.8))
            fat = Ellipsoid(mirrored((27, -55, 58), side), (16, 24, 16))
            out.append(Structure("orbit fat", fat, -75.0, 0.5))
            for height in (66, 49):
                cone = [mirrored((30, -64, height), side), mirrored((19, -40, 57), side)]
                out.append(Structure("eye muscles", Tube(cone, 3.0), 45.0, muscle[index], 0.1))
            inner = [mirrored((19, -68, 58), side), mirrored((17, -42, 57), side)]
            out.append(Structure("eye muscles", Tube(inner, 2.5), 45.0, muscle[index] * 1.1, 0.1))
        pituitary = Ellipsoid((0, -12, 58), (5, 4, 4))
        out.append(Structure("pituitary", pituitary, 40.0, self.log_suv(2.6, 0.3)))
        return out

    def face(self) -> list[Structure]:
        """Sinuses, conchae, palate, tongue, floor of the mouth, lips."""
        r = self.rng
        out = [s for s in super().face() if s.name not in ("tongue", "floor of mouth", "nasal mucosa")]
        concha, palate = self.log_suv(1.7, 0.3), self.log_suv(3.3, 0.3)
        out.insert(0, Structure("nasal mucosa", Ellipsoid((0, -55, 30), (14, 32, 20)), 40.0, concha, 0.2))
        nose = Ellipsoid((0, -96, 26), (12, 14, 18))
        out.insert(0, Structure("nose", nose, 20.0, self.log_suv(1.2, 0.25), 0.15))
        soft = Ellipsoid(self.jitter((0, -14, 13), 1.5), (14, 10, 3.5), 1.0, Lattice(r, 10))
        out.append(Structure("soft palate", soft, 50.0, palate, 0.2))
        wobble = Lattice(r, 18)
        tongue = Ellipsoid(self.jitter((0, -36, -4)), (22, 30, 17), 2.0, wobble)
        suv = self.log_suv(1.5, 0.25)
        out.append(Structure("tongue", tongue, 55.0, suv, 0.2))
        if self.chance(0.2):  # swallowing and talking after the injection
            working = Ellipsoid(self.jitter((0, -30, -12), 2), (14, 20, 9), 1.5, wobble)
            out.append(Structure("working tongue", working, 55.0, suv * r.uniform(1.3, 1.9), 0.2))
        floor = Ellipsoid((0, -42, -21), (20, 24, 7))
        out.append(Structure("floor of mouth", floor, 50.0, self.log_suv(1.8, 0.25), 0.2))
        gums = self.log_suv(2.0, 0.25)
        for height in (-14, 8):
            arch = [(32 * np.sin(a), -27 - 35 * np.cos(a), height) for a in np.radians(np.linspace(-85, 85, 9))]
            out.append(Structure("gums", Tube(arch, r.uniform(3.5, 6)), 45.0, gums, 0.3))
        lips = Tube([(-20, -84, 0), (0, -92, 0), (20, -84, 0)], 6)
        out.append(Structure("lips", lips, 40.0, self.log_suv(1.7, 0.3), 0.2))
        return out

    def spine(self) -> list[Structure]:
        """Vertebrae with warm marrow, and the discs between them."""
        out = [s for s in super().spine() if s.name in ("vertebrae", "arches")]
        marrow = self.log_suv(1.25, 0.25)
        for structure in out:
            structure.suv, structure.texture = marrow * (1.0 if structure.name == "vertebrae" else 0.8), 0.2
        height = 2.0
        while height > (-880 if self.whole_body else -300):
            center = (0, float(np.interp(height, (-900, -200, -130, -70, -20, 30), (50, 52, 38, 27, 24, 28))), height)
            radius = float(np.interp(height, (-900, -200, -130, -70), (21, 16, 14, 12)))
            disc = Ellipsoid(center, (radius, radius, 2.8))
            out.append(Structure("disc", disc, 90.0, self.muscle_suv))
            height -= float(np.interp(height, (-600, -150, 0), (34, 22, 17)))
        return out

    def chest_wall(self) -> list[Structure]:
        """Lungs where labels give none, shoulders, mediastinum; arms beside the head or the trunk."""
        r = self.rng
        out = [s for s in chest(self) if s.name != "lung"]
        if self.whole_body:
            hu, suv = r.uniform(-900, -780), r.uniform(0.2, 0.6)
            for side in (-1, 1):
                lung = Ellipsoid(mirrored((74, 8, -285), side), (60, 82, 138), 4, Lattice(r, 40))
                out.insert(0, Structure("lung", lung, hu, suv, 0.15))
        names = ("clavicle", "humeral head", "sternum")
        marrow = self.log_suv(1.1, 0.2)
        for structure in out:
            if structure.name in names:
                structure.suv, structure.texture = marrow, 0.15
        return out + self.arms(r)

    def arms(self, r: np.random.Generator) -> list[Structure]:
        """Arms up (beside the head) or down (beside the trunk)."""
        out = []
        spread, thick = r.uniform(-15, 40), r.uniform(34, 48)
        for side in (-1, 1):
            if self.arms_up:
                course = [(160 * self.build, 12, -175), (152 + spread, -15, -70), (140 + spread, -35, 40)]
                course.append((110 + spread * 0.6, -55, 190))
                widths = [thick * 1.2, thick, thick * 0.85, thick * 0.7]
            else:
                course = [(172 * self.build, 12, -190), (195 * self.build, 20, -330), (205 * self.build, 0, -560)]
                widths = [thick * 1.1, thick, thick * 0.8]
            course = [mirrored(p, side) for p in course]
            out.append(Structure("arm fat", Tube(course, widths), -90.0, self.fat_suv, 0.1))
            inner = np.asarray(widths) - min(self.fat_mm * 0.5, 12) - 2
            out.append(Structure("arm", Tube(course, inner), 50.0, self.muscle_suv, 0.15))
            out.append(Structure("humerus", Tube(course, 10), 450.0, self.muscle_suv * 0.8))
        return out

    def airway_walls(self) -> list[Structure]:
        """Mucosa and the wall of larynx, trachea and gullet."""
        mucosa = self.log_suv(1.9, 0.25)
        wall = Tube(AIRWAY, np.asarray(AIRWAY_RADII) + self.rng.uniform(3.5, 6))
        out = [Structure("mucosa", wall, 45.0, mucosa, 0.25)]
        prevertebral = Tube([(0, 14, 20), (0, 12, -80)], 6)
        out.append(Structure("prevertebral muscle", prevertebral, 50.0, self.log_suv(1.1, 0.2), 0.15))
        gullet = [(3, 16, -75), (5, 28, -160), (5, 32, -300)]
        suv = self.log_suv(2.3, 0.3) if self.chance(0.2) else self.log_suv(1.4, 0.2)
        out.append(Structure("oesophagus", Tube(gullet, 6), 40.0, suv, 0.25))
        return out

    def glands(self) -> list[Structure]:
        """Sublingual glands, small glands of the palate, thyroid; the large salivary glands come from labels."""
        r = self.rng
        out = []
        sublingual = self.pair(3.0, 0.4)
        thyroid = self.log_suv(4.5, 0.4) if self.chance(0.07) else self.log_suv(1.4, 0.25)  # thyroiditis: both lobes
        for index, side in enumerate((-1, 1)):
            place = self.jitter(mirrored((12, -46, -14), side), 1.5)
            under = Ellipsoid(place, (5, 14, 6), 1.0, Lattice(r, 9))
            out.append(Structure("sublingual", under, 50.0, sublingual[index], 0.15))
            size = r.uniform(0.8, 1.4)
            place = self.jitter(mirrored((16, -14, -88), side))
            lobe = Ellipsoid(place, (7 * size, 9 * size, 21 * size), 1.5, Lattice(r, 12))
            out.append(Structure("thyroid", lobe, r.uniform(70, 130), thyroid, 0.15))
        return out

    def lymphoid(self) -> list[Structure]:
        """Waldeyer's ring; hot in the young, alike on both sides within the physiologic ratio."""
        r = self.rng
        tonsil = self.pair(3.9, 0.38)
        self.tonsil_suv = max(tonsil)
        base, adenoid = self.log_suv(3.4, 0.3), self.log_suv(2.5, 0.35)
        size = float(np.exp(r.normal(0, 0.15)))
        out = []
        for index, side in enumerate((-1, 1)):
            place = self.jitter(mirrored((17, -10, 2), side), 1.5)
            shape = Ellipsoid(place, (5.5 * size, 7 * size, 10 * size), 1.0, Lattice(r, 9))
            out.append(Structure("palatine tonsil", shape, 55.0, tonsil[index], 0.15))
        shape = Ellipsoid(self.jitter((0, -15, -12), 1.5), (15, 5, 8), 1.2, Lattice(r, 9))
        out.append(Structure("lingual tonsil", shape, 55.0, base, 0.25))
        shape = Ellipsoid(self.jitter((0, 6, 32), 1.5), (13, 5, 8), 1.2, Lattice(r, 9))
        out.append(Structure("adenoid", shape, 50.0, adenoid, 0.25))
        return out

    def neck_muscles(self) -> list[Structure]:
        """The first family's muscles; one side may be tense, along its whole length."""
        out = super().neck_muscles()
        calm = self.muscle_suv
        for structure in out:
            structure.suv = min(structure.suv, 3.5)
            if structure.suv < 2.0:
                structure.suv = calm * float(np.exp(self.rng.normal(0.08, 0.12)))
        return out

    def larynx(self) -> list[Structure]:
        """Cartilages and vocal cords; talking makes both cords hot, a palsy one of them."""
        r = self.rng
        out = [s for s in super().larynx() if s.name != "vocal cord"]
        cords = self.pair(3.2, 0.4) if self.chance(0.3) else self.pair(1.9, 0.2)
        palsy = r.choice((0, 1)) if self.chance(0.04) else None
        for index, side in enumerate((-1, 1)):
            suv = cords[index] if palsy is None else (1.2 if index == palsy else max(cords) * 1.2)
            fold = Tube([mirrored((2, -30, -60), side), mirrored((7, -12, -60), side)], 3.5)
            out.append(Structure("vocal cord", fold, 60.0, min(suv, 5.0), 0.1))
        return out

    def airway_lumen(self) -> list[Structure]:
        """Air from the nose to the trachea; the mouth open or shut."""
        radii = np.asarray(AIRWAY_RADII) * self.rng.uniform(0.65, 1.2)
        out = [Structure("airway", Tube(AIRWAY, radii), AIR_HU, 0.1)]
        if self.rng.random() < 0.4:
            mouth = Ellipsoid((0, -48, 8), (16, 22, self.rng.uniform(2, 6)))
            out.append(Structure("mouth air", mouth, AIR_HU, 0.2))
        sphenoid = Ellipsoid((0, -20, 50), (12, 11, 7))
        out.append(Structure("sphenoid sinus", sphenoid, AIR_HU, 0.1))
        for side in (-1, 1):
            cells = Ellipsoid(mirrored((52, 26, 36), side), (9, 11, 12), 2.5, Lattice(self.rng, 9))
            out.append(Structure("mastoid cells", cells, -500.0, 0.6))
            canal: list[Point] = [mirrored((52, 2, 34), side), mirrored((70, 4, 36), side)]
            out.append(Structure("ear canal", Tube(canal, 3.5), AIR_HU, 0.2))
        return out
