"""Normal anatomy of head, neck and upper chest, with its CT density and FDG uptake, drawn at random.

Positions and sizes are those of an average adult; SUV ranges follow the physiologic uptake reported for FDG in the
head and neck (Blodgett et al., RadioGraphics 2005; Nakamoto et al., Radiology 2005) and are drawn wide on purpose.
"""

from __future__ import annotations

import numpy as np

from HNTumorSegLib.phantom.fields import Lattice
from HNTumorSegLib.phantom.shapes import Ellipsoid, Point, Profile, Shell, Tube, mirrored
from HNTumorSegLib.phantom.structure import AIR_HU, FAT_HU, MUSCLE_HU, Structure
from HNTumorSegLib.phantom.trunk import chest, trunk_organs

# z, half width, half depth, centre y of an average adult from the crown down to the chest (mm).
BODY_KNOTS = np.array(
    [
        (-900, 175, 115, 5),
        (-620, 165, 115, 5),
        (-400, 170, 118, 5),
        (-260, 185, 118, 5),
        (-205, 215, 108, 8),
        (-170, 200, 95, 10),
        (-140, 150, 82, 12),
        (-115, 85, 70, 10),
        (-90, 63, 62, 8),
        (-50, 59, 62, 6),
        (-25, 63, 76, 0),
        (10, 70, 90, -2),
        (45, 76, 96, 0),
        (85, 78, 97, 0),
        (120, 70, 87, 0),
        (145, 50, 64, 0),
        (160, 22, 30, 0),
        (164, 4, 6, 0),
    ],
    float,
)


class AnatomyDraw:
    """Draws one patient's normal structures from a random generator.

    ``atypia`` (0 to 1) scales how often uptake is misleading: hot tonsils, tense muscles, brown fat, dental foci.
    """

    def __init__(self, rng: np.random.Generator, whole_body: bool = False, atypia: float = 1.0):
        self.rng = rng
        self.whole_body = whole_body
        self.atypia = atypia
        self.blood_suv = rng.uniform(1.0, 2.2)
        self.fat_mm = rng.uniform(4, 22)
        self.build = rng.normal(1.0, 0.07)
        self.contrast_hu = rng.uniform(90, 220) if rng.random() < 0.35 else 0.0

    def chance(self, probability: float) -> bool:
        """True with that probability, scaled by ``atypia``."""
        return self.rng.random() < probability * self.atypia

    def jitter(self, point: Point, sd_mm: float = 2.0) -> Point:
        """The point moved by a normal random step."""
        return tuple(np.asarray(point) + self.rng.normal(0, sd_mm, 3))

    def log_suv(self, median: float, spread: float = 0.3) -> float:
        """A log-normal uptake."""
        return float(median * np.exp(self.rng.normal(0, spread)))

    def draw(self) -> list[Structure]:
        """All structures in drawing order."""
        parts = [self.body, self.deep_muscles, self.skull_and_brain, self.face, self.spine, lambda: chest(self)]
        parts += [self.airway_walls, self.glands, self.lymphoid, self.vessels, self.neck_muscles, self.larynx]
        parts += [self.airway_lumen, self.jaw_and_teeth, self.misleading_foci]
        if self.whole_body:
            parts.append(lambda: trunk_organs(self))
        return [structure for part in parts for structure in part()]

    def body(self) -> list[Structure]:
        """Skin, fat and the muscular body beneath."""
        knots = BODY_KNOTS.copy()
        trunk = knots[:, 0] < -100
        knots[trunk, 1:3] *= self.build
        knots[~trunk, 1:3] *= self.rng.normal(1.0, 0.025)
        skin = Profile(knots)
        muscle = Profile(knots, inset_mm=self.fat_mm)
        head_inset = Profile(knots[knots[:, 0] > -40], inset_mm=6.0)
        return [
            Structure("fat", skin, FAT_HU, self.rng.uniform(0.2, 0.6)),
            Structure("skin", Shell(skin, 2.5), 10.0, self.rng.uniform(0.4, 1.0)),
            Structure("muscle", muscle, MUSCLE_HU, self.rng.uniform(0.6, 1.2), 0.12),
            Structure("head soft tissue", head_inset, 35.0, self.rng.uniform(0.7, 1.2), 0.12),
        ]

    def deep_muscles(self) -> list[Structure]:
        """Fat planes of the neck and the muscles behind the spine."""
        planes = [
            Structure(
                "neck fat",
                Ellipsoid(self.jitter((side * 38, 2, -45), 4), (11, 20, 55), 3, Lattice(self.rng, 20)),
                FAT_HU,
                0.4,
            )
            for side in (-1, 1)
        ]
        backs = [
            Structure(
                "paraspinal muscle",
                Tube([(side * 20, 52, 15), (side * 24, 58, -160)], 15),
                MUSCLE_HU,
                self.log_suv(0.9, 0.2),
                0.15,
            )
            for side in (-1, 1)
        ]
        return planes + backs

    def skull_and_brain(self) -> list[Structure]:
        """Skull, grey and white matter, ventricles, cerebellum, brainstem, eyes."""
        r = self.rng
        gray = self.log_suv(8.5, 0.35)
        wobble = Lattice(r, 18)
        brain = Ellipsoid((0, 4, 92), (64, 80, 56), 2.0, wobble)
        skull = Ellipsoid((0, 3, 92), (71, 88, 64))
        out = [
            Structure("skull", skull, r.uniform(600, 1100), r.uniform(0.4, 1.0)),
            Structure("grey matter", brain, 38.0, gray, 0.18),
            Structure("white matter", Ellipsoid((0, 4, 94), (44, 58, 36), 4.0, wobble), 30.0, gray * 0.45, 0.15),
            Structure("ventricles", Ellipsoid((0, 6, 96), (12, 28, 9)), 8.0, gray * 0.3),
            Structure("basal ganglia", Ellipsoid((20, 0, 88), (8, 16, 10)), 36.0, gray * 1.05),
            Structure("basal ganglia", Ellipsoid((-20, 0, 88), (8, 16, 10)), 36.0, gray * 1.05),
            Structure("skull base", Ellipsoid((0, 8, 42), (52, 52, 9), 3.0, wobble), r.uniform(200, 500), 0.9),
            Structure("cerebellum", Ellipsoid((0, 48, 50), (48, 28, 22)), 36.0, gray * r.uniform(0.65, 0.95), 0.15),
            Structure("brainstem", Tube([(0, 22, 68), (0, 28, 22)], 12), 32.0, gray * r.uniform(0.5, 0.7)),
        ]
        for side in (-1, 1):
            eye = mirrored((31, -70, 58), side)
            out.append(Structure("orbit fat", Ellipsoid(mirrored((28, -56, 58), side), (17, 25, 17)), -70.0, 0.5))
            out.append(Structure("eye", Ellipsoid(eye, (12, 12, 12)), 15.0, r.uniform(0.5, 1.2)))
            cone = [mirrored((30, -66, 64), side), mirrored((20, -40, 58), side)]
            out.append(Structure("eye muscles", Tube(cone, 3.0), 45.0, self.log_suv(2.8)))
            cone = [mirrored((30, -66, 50), side), mirrored((20, -40, 56), side)]
            out.append(Structure("eye muscles", Tube(cone, 3.0), 45.0, self.log_suv(2.8)))
        return out

    def face(self) -> list[Structure]:
        """Sinuses, nose, tongue and floor of the mouth."""
        r = self.rng
        out = []
        for side in (-1, 1):
            sinus = Ellipsoid(mirrored((27, -52, 28), side), (12, 15, 15), 1.5, Lattice(r, 15))
            out.append(Structure("sinus wall", Shell(Ellipsoid(sinus.center, (15, 18, 18)), 3), 300.0, 0.7))
            filled = r.random() < 0.15
            out.append(
                Structure("maxillary sinus", sinus, 20.0 if filled else AIR_HU, self.log_suv(1.2) if filled else 0.05)
            )
        out.append(Structure("nasal mucosa", Ellipsoid((0, -55, 30), (14, 32, 20)), 40.0, self.log_suv(1.6)))
        out.append(Structure("nasal air", Ellipsoid((4, -58, 27), (4, 28, 13)), AIR_HU, 0.1))
        out.append(Structure("nasal air", Ellipsoid((-4, -58, 27), (4, 28, 13)), AIR_HU, 0.1))
        out.append(Structure("hard palate", Ellipsoid((0, -48, 12), (22, 26, 3)), 500.0, 0.8))
        tongue = Ellipsoid(self.jitter((0, -38, -4)), (22, 30, 16), 1.5, Lattice(r, 18))
        out.append(Structure("tongue", tongue, 55.0, self.log_suv(1.7, 0.25), 0.15))
        out.append(Structure("floor of mouth", Ellipsoid((0, -42, -20), (20, 24, 7)), 50.0, self.log_suv(1.6), 0.15))
        return out

    def spine(self) -> list[Structure]:
        """Vertebrae with marrow, the canal and the cord."""
        r = self.rng
        marrow = self.log_suv(1.5, 0.35)
        path = [(0, 28, 30), (0, 24, -20), (0, 27, -70), (0, 38, -130), (0, 52, -200), (0, 50, -900)]
        radius = [11, 11, 11, 13, 15, 20]
        out = [Structure("vertebrae", Tube(path, radius), r.uniform(200, 400), marrow, 0.15)]
        canal = [(x, y + (20 if z > -140 else 24), z) for x, y, z in path]
        out.append(
            Structure("arches", Tube([(x, y + 4, z) for x, y, z in canal], 13), r.uniform(250, 450), marrow * 0.8)
        )
        out.append(Structure("canal", Tube(canal, 8), 15.0, 0.8))
        out.append(Structure("cord", Tube(canal, 5), 38.0, self.log_suv(1.9, 0.2)))
        return out

    def airway_walls(self) -> list[Structure]:
        """Pharyngeal mucosa and the soft wall of larynx and trachea."""
        mucosa = self.log_suv(1.7, 0.25)
        wall = Tube(AIRWAY, np.asarray(AIRWAY_RADII) + 4.5)
        out = [Structure("mucosa", wall, 45.0, mucosa, 0.2)]
        out.append(Structure("prevertebral muscle", Tube([(0, 14, 20), (0, 12, -80)], 6), 50.0, self.log_suv(1.0)))
        if self.chance(0.25):
            gullet = [(3, 16, -75), (5, 28, -160), (5, 32, -300)]
            out.append(Structure("oesophagus", Tube(gullet, 6), 40.0, self.log_suv(2.2, 0.35)))
        return out

    def glands(self) -> list[Structure]:
        """Salivary glands and thyroid."""
        r = self.rng
        parotid, submandibular, sublingual = self.log_suv(1.9, 0.4), self.log_suv(2.1, 0.35), self.log_suv(2.4, 0.4)
        out = []
        for side in (-1, 1):
            lattice = Lattice(r, 16)
            skew = np.exp(r.normal(0, 0.1 if not self.chance(0.15) else 0.45))
            size = r.uniform(0.85, 1.15)
            out += [
                Structure(
                    "parotid",
                    Ellipsoid(
                        self.jitter(mirrored((54, 4, 10), side)), (11 * size, 19 * size, 24 * size), 2.0, lattice
                    ),
                    r.uniform(-40, 40),
                    parotid * skew,
                    0.15,
                ),
                Structure(
                    "submandibular",
                    Ellipsoid(
                        self.jitter(mirrored((30, -20, -22), side)), (9 * size, 14 * size, 12 * size), 1.5, lattice
                    ),
                    r.uniform(20, 60),
                    submandibular * np.exp(r.normal(0, 0.12)),
                    0.12,
                ),
                Structure(
                    "sublingual",
                    Ellipsoid(self.jitter(mirrored((12, -44, -14), side), 1.0), (5, 14, 6)),
                    50.0,
                    sublingual * np.exp(r.normal(0, 0.12)),
                    0.12,
                ),
            ]
        thyroid = self.log_suv(4.0, 0.4) if self.chance(0.08) else self.log_suv(1.4, 0.25)
        for side in (-1, 1):
            lobe = Ellipsoid(self.jitter(mirrored((16, -14, -88), side)), (8, 9, 21), 1.2, Lattice(r, 12))
            out.append(Structure("thyroid", lobe, r.uniform(70, 130), thyroid, 0.15))
        return out

    def lymphoid(self) -> list[Structure]:
        """Waldeyer's ring and normal or reactive nodes."""
        r = self.rng
        tonsil, base, adenoid = self.log_suv(2.8, 0.4), self.log_suv(2.3, 0.35), self.log_suv(2.2, 0.35)
        out = []
        for side in (-1, 1):
            skew = np.exp(r.normal(0, 0.12 if not self.chance(0.2) else 0.4))
            ellipsoid = Ellipsoid(self.jitter(mirrored((17, -10, 2), side), 1.5), (5.5, 7, 10))
            out.append(Structure("palatine tonsil", ellipsoid, 55.0, tonsil * skew, 0.15))
        out.append(Structure("lingual tonsil", Ellipsoid(self.jitter((0, -15, -12), 1.5), (15, 5, 8)), 55.0, base, 0.2))
        out.append(Structure("adenoid", Ellipsoid(self.jitter((0, 6, 32), 1.5), (13, 5, 8)), 50.0, adenoid, 0.2))
        for _ in range(r.integers(2, 12)):
            side = r.choice((-1, 1))
            where = mirrored((r.uniform(22, 52), r.uniform(-25, 35), r.uniform(-100, 10)), side)
            radius = r.uniform(2, 4.5)
            suv = self.log_suv(1.3, 0.3) if not self.chance(0.12) else self.log_suv(2.0, 0.2)
            out.append(Structure("reactive node", Ellipsoid(where, (radius, radius, radius * 1.4)), 45.0, suv))
        return out

    def vessels(self) -> list[Structure]:
        """Carotids and jugular veins."""
        out = []
        for side in (-1, 1):
            artery = [(side * 24, 8, 30), (side * 25, 4, -30), (side * 20, 0, -95), (side * 12, 0, -190)]
            vein = [(side * 32, 12, 30), (side * 33, 8, -30), (side * 28, -2, -95), (side * 20, -12, -180)]
            hu = 45.0 + self.contrast_hu
            out.append(Structure("carotid", Tube(artery, self.rng.uniform(3, 4)), hu, self.blood_suv))
            out.append(Structure("jugular", Tube(vein, self.rng.uniform(3.5, 6.5)), hu * 0.9, self.blood_suv))
        return out

    def neck_muscles(self) -> list[Structure]:
        """Sternocleidomastoids, masticatory muscles, trapezius; sometimes tense and hot."""
        out = []
        for side in (-1, 1):
            tense = self.log_suv(2.6, 0.35) if self.chance(0.08) else self.log_suv(0.9, 0.2)
            path = [(side * 60, 18, 15), (side * 50, 6, -40), (side * 34, -18, -100), (side * 20, -38, -145)]
            out.append(Structure("sternocleidomastoid", Tube(path, [7, 9, 9, 6]), 55.0, tense, 0.15))
            chewing = self.log_suv(2.5, 0.3) if self.chance(0.12) else self.log_suv(1.1, 0.25)
            masseter = Ellipsoid((side * 56, -28, 0), (7, 14, 24))
            out.append(Structure("masseter", masseter, 55.0, chewing, 0.15))
            out.append(Structure("pterygoid", Ellipsoid((side * 38, -18, 20), (8, 14, 16)), 55.0, chewing, 0.15))
            neck = [(side * 28, 62, 0), (side * 70, 48, -110), (side * 130, 30, -145)]
            out.append(Structure("trapezius", Tube(neck, 9), 50.0, self.log_suv(0.9, 0.2), 0.15))
        return out

    def larynx(self) -> list[Structure]:
        """Cartilages and vocal cords."""
        r = self.rng
        cords = self.log_suv(3.0, 0.4) if self.chance(0.35) else self.log_suv(1.7, 0.2)
        out = [Structure("hyoid", Tube([(-18, -18, -22), (0, -34, -24), (18, -18, -22)], 3), 400.0, 0.9)]
        out.append(Structure("paraglottic space", Ellipsoid((0, -20, -52), (17, 17, 20)), 20.0, self.log_suv(1.2)))
        for side in (-1, 1):
            plate = [mirrored((2, -38, -52), side), mirrored((20, -12, -52), side)]
            out.append(Structure("thyroid cartilage", Tube(plate, 3.5), r.uniform(100, 400), 1.0))
            skew = np.exp(r.normal(0, 0.1)) * (r.uniform(1.5, 2.5) if self.chance(0.06) else 1.0)
            fold = Tube([mirrored((2, -30, -60), side), mirrored((7, -12, -60), side)], 4)
            out.append(Structure("vocal cord", fold, 60.0, cords * skew, 0.1))
        out.append(Structure("cricoid", Shell(Tube([(0, -12, -68), (0, -8, -76)], 13), 4), 250.0, 1.1))
        return out

    def airway_lumen(self) -> list[Structure]:
        """Air from the nasopharynx down to the trachea."""
        radii = np.asarray(AIRWAY_RADII) * self.rng.uniform(0.7, 1.1)
        out = [Structure("airway", Tube(AIRWAY, radii), AIR_HU, 0.1)]
        if self.rng.random() < 0.4:
            out.append(Structure("mouth air", Ellipsoid((0, -48, 8), (16, 22, 3)), AIR_HU, 0.2))
        return out

    def jaw_and_teeth(self) -> list[Structure]:
        """Mandible, upper jaw and teeth."""
        r = self.rng
        bone = r.uniform(700, 1200)
        arch = np.array(
            [
                (-48, -8, 5),
                (-44, -22, -12),
                (-34, -48, -20),
                (-14, -68, -22),
                (14, -68, -22),
                (34, -48, -20),
                (44, -22, -12),
                (48, -8, 5),
            ],
            float,
        )
        out = [Structure("mandible", Tube(arch, 6), bone, self.log_suv(0.9))]
        for side in (-1, 1):
            ramus = [mirrored((48, -8, 5), side), mirrored((50, 0, 32), side)]
            out.append(Structure("ramus", Tube(ramus, 6), bone, self.log_suv(0.9)))
        for height in (-10, 4):
            for angle in np.linspace(-70, 70, 14):
                if r.random() < 0.2:
                    continue
                x, y = 32 * np.sin(np.radians(angle)), -28 - 36 * np.cos(np.radians(angle))
                out.append(Structure("tooth", Ellipsoid((x, y, height), (3, 3, 6)), r.uniform(1500, 2400), 0.6))
        return out

    def misleading_foci(self) -> list[Structure]:
        """Hot spots that are no tumour: brown fat, dental inflammation, skin."""
        r = self.rng
        out = []
        if self.chance(0.12):
            suv = self.log_suv(4.5, 0.5)
            for side in (-1, 1):
                for z in (-125, -145):
                    spot = Ellipsoid(self.jitter((side * 62, 25, z), 5), (20, 10, 8), 3, Lattice(r, 10))
                    out.append(Structure("brown fat", spot, -95.0, suv * np.exp(r.normal(0, 0.2)), 0.3))
        if self.chance(0.2):
            angle = np.radians(r.uniform(-60, 60))
            where = (32 * np.sin(angle), -28 - 36 * np.cos(angle), r.choice((-16, 8)))
            out.append(Structure("dental focus", Ellipsoid(where, (4, 4, 4)), None, self.log_suv(3.5, 0.3)))
        if self.chance(0.06):
            where = (r.uniform(-40, 40), 75, r.uniform(-100, 60))
            out.append(Structure("skin focus", Ellipsoid(where, (5, 5, 5)), 30.0, self.log_suv(3.0, 0.3)))
        return out


AIRWAY: list[Point] = [
    (0, -5, 32),
    (0, -3, 15),
    (0, -4, -5),
    (0, -5, -25),
    (0, -8, -48),
    (0, -16, -60),
    (0, -14, -80),
    (0, -2, -140),
    (0, 12, -230),
]
AIRWAY_RADII = [8, 6, 8, 9, 8, 4, 8, 9, 8]
