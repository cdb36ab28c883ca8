"""Density and uptake of one patient of the varied families on a grid: body, brain, bones, organs, lesions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from HNTumorSegLib.phantom.atlas import CODES
from HNTumorSegLib.phantom.fields import Lattice
from HNTumorSegLib.phantom.placement import FieldCanvas
from HNTumorSegLib.phantom.shapes import Ellipsoid
from HNTumorSegLib.phantom.structure import AIR_HU, Structure
from HNTumorSegLib.phantom.varied_anatomy import VariedAnatomy
from HNTumorSegLib.phantom.varied_tumours import VariedTumour

FAT_HU = -98.0
AIRWAYS = ("airway", "mouth air")
NO_TUMOUR_IN = [CODES[n] for n in ("Brain", "Brainstem", "Spinal-Canal", "Spinal-Cord", "Orbit-Lt", "Orbit-Rt")]
SKIN_MM = 2.0
BEYOND_THE_SKIN = ("arm fat", "nose")
"""These belong to the body although they lie outside the outline of head, neck and trunk."""


@dataclass
class Painting:
    """Noise-free ``hu`` and ``suv`` (zyx float32) and what limits a lesion: ``body`` distance and ``labels``."""

    canvas: FieldCanvas
    hu: np.ndarray
    suv: np.ndarray
    body: np.ndarray
    labels: np.ndarray
    fine: np.ndarray = field(repr=False)

    def draw(self, structure: Structure) -> None:
        """Draw one structure on both images."""
        box = self.canvas.box(structure.shape)
        if box is None:
            return
        distance = structure.shape.distance(self.canvas.x[box], self.canvas.y[box], self.canvas.z[box])
        if structure.name in BEYOND_THE_SKIN:
            np.minimum(self.body[box], distance, out=self.body[box])
        else:
            distance = np.maximum(distance, self.body[box] + 0.5 * SKIN_MM)
        share = np.clip(0.5 - distance / (self.canvas.edge_mm + structure.softness_mm), 0, 1)
        if structure.hu is not None:
            self.hu[box] += share * (structure.hu - self.hu[box])
        if structure.suv is not None:
            paint = structure.suv * np.maximum(0.15, 1 + structure.texture * self.fine[box])
            self.suv[box] += share * (paint - self.suv[box])


def random_field(canvas: FieldCanvas, rng: np.random.Generator, step: int) -> np.ndarray:
    """Smooth noise of about unit standard deviation, independent every ``step`` voxels."""
    nodes = rng.standard_normal([(n - 1) // step + 2 for n in canvas.shape], dtype=np.float32)
    nodes = ndimage.gaussian_filter(nodes, 0.6)
    out = canvas.enlarged(nodes, step)
    return out / max(float(out[::3, ::3, ::3].std()), 1e-6)


def paint_patient(canvas: FieldCanvas, anatomy: VariedAnatomy, rng: np.random.Generator) -> Painting:
    """The healthy patient."""
    body, labels = canvas.body_distance(), canvas.labels()
    if anatomy.whole_body:
        labels[(labels == CODES["Lung-Lt"]) | (labels == CODES["Lung-Rt"])] = 0
        labels[canvas.z < -230] = 0
    shape = canvas.shape
    painting = Painting(
        canvas, np.full(shape, AIR_HU, np.float32), np.zeros(shape, np.float32), body, labels,
        random_field(canvas, rng, 2),
    )  # fmt: skip
    _paint_body(painting, anatomy, rng)
    _paint_skull(painting, anatomy, rng)
    structures = anatomy.draw()
    first = (*BEYOND_THE_SKIN, "arm", "humerus", "nasal mucosa")
    for structure in structures:
        if structure.name in first:
            painting.draw(structure)
    organs = anatomy.label_uptake()
    late = [s for s in structures if s.name not in first]
    cut = next(i for i, s in enumerate(late) if s.name == "mucosa")
    for structure in late[:cut]:
        painting.draw(structure)
    _paint_labels(painting, organs)
    _paint_brain(painting, anatomy, rng)
    for structure in late[cut:]:
        painting.draw(structure)
    return painting


def _paint_body(painting: Painting, anatomy: VariedAnatomy, rng: np.random.Generator) -> None:
    """Skin, fat of uneven thickness, and muscle with planes of fat."""
    canvas, body, edge = painting.canvas, painting.body, painting.canvas.edge_mm
    head = np.clip((canvas.z + 110) / 80, 0, 1)
    back = 1 + 0.3 * np.clip(canvas.y / 60, -1, 1)
    uneven = np.maximum(0.2, 1 + 0.35 * random_field(canvas, rng, 12)) * back
    depth = (anatomy.fat_mm * (1 - head) + min(6.0, 3 + 0.2 * anatomy.fat_mm) * head) * uneven + SKIN_MM
    within = np.clip(0.5 - body / edge, 0, 1)
    muscle = np.clip(0.5 - (body + depth) / edge, 0, 1)
    planes = np.clip(1.3 - np.abs(random_field(canvas, rng, 5)) / 0.16, 0, 1) * rng.uniform(0.3, 0.9)
    muscle *= 1 - planes * np.clip(-(body + depth) / 6, 0, 1)
    blotch = 1 + 0.12 * random_field(canvas, rng, 6) + 0.06 * painting.fine
    painting.hu += within * (FAT_HU - AIR_HU) + muscle * (52.0 - FAT_HU)
    # Muscles of the face are small, many, and never quite still.
    face = 1 + rng.uniform(0.1, 0.7) * np.clip((canvas.z + 60) / 40, 0, 1) * np.clip((30 - canvas.y) / 40, 0, 1)
    painting.suv += within * anatomy.fat_suv + muscle * (anatomy.muscle_suv * blotch * face - anatomy.fat_suv)
    skin = np.clip(1.2 - np.abs(body + 0.5 * SKIN_MM) / edge, 0, 1)
    painting.hu += skin * (np.maximum(painting.hu, 10.0) - painting.hu)
    warm = anatomy.muscle_suv * rng.uniform(0.8, 2.0)
    painting.suv += skin * 0.8 * (np.maximum(warm, painting.suv) - painting.suv)


def _paint_skull(painting: Painting, anatomy: VariedAnatomy, rng: np.random.Generator) -> None:
    """Bone around the brain with marrow between its tables."""
    distance = painting.canvas.distance_from("brain")
    thick = rng.uniform(5.0, 9.0)
    bone = (distance > 1.0) & (distance < 1.0 + thick) & (painting.body < -2.5)
    middle = np.abs(distance - 1.0 - thick / 2) < thick / 5
    painting.hu[bone] = np.where(middle[bone], rng.uniform(250, 500), rng.uniform(700, 1300))
    painting.suv[bone] = anatomy.log_suv(0.8, 0.2)
    fluid = (distance > -1.0) & (distance <= 1.0)
    painting.hu[fluid] = 10.0
    painting.suv[fluid] = 1.5


def _paint_labels(painting: Painting, organs: dict[str, tuple[float, float]]) -> None:
    """Uptake and density of the organs that have labels, the brain left out."""
    suv, hu = np.full(len(CODES) + 1, np.nan, np.float32), np.full(len(CODES) + 1, np.nan, np.float32)
    for organ, (uptake, density) in organs.items():
        suv[CODES[organ]], hu[CODES[organ]] = uptake, density
    where = np.flatnonzero((painting.labels > 0) & (painting.labels != CODES["Brain"]))
    codes = painting.labels.ravel()[where]
    marrow = painting.hu.ravel()
    painting.suv.ravel()[where] = suv[codes] * np.maximum(0.3, 1 + 0.15 * painting.fine.ravel()[where])
    marrow[where] = hu[codes] + np.where(hu[codes] > 300, 150 * painting.fine.ravel()[where], 0)


def _paint_brain(painting: Painting, anatomy: VariedAnatomy, rng: np.random.Generator) -> None:
    """A folded cortical ribbon, white matter, deep grey matter, ventricles, cerebellum."""
    canvas = painting.canvas
    where = np.flatnonzero(painting.labels == CODES["Brain"])
    if not len(where):
        return
    x, y, z = (c.ravel()[where] for c in (canvas.x, canvas.y, canvas.z))
    depth = -canvas.distance_from("brain").ravel()[where]
    fine = painting.fine.ravel()[where]
    folds, other = Lattice(rng, rng.uniform(7, 11)), Lattice(rng, 30)
    sheet = np.abs(folds(x, y, z))
    # Cortex lines the surface and follows the furrows inwards; furrows end two centimetres deep.
    grey = np.clip((7.0 - depth) / 3, 0, 1)
    grey = np.maximum(grey, np.clip((0.62 - sheet) / 0.2, 0, 1) * np.clip((26 - depth) / 8, 0, 1))
    deep = [Ellipsoid((s * 23, -4, 84), (8, 19, 13)) for s in (-1, 1)]
    deep += [Ellipsoid((s * 11, 15, 82), (8, 14, 11)) for s in (-1, 1)]
    for nucleus in deep:
        grey = np.maximum(grey, np.clip(0.5 - nucleus.distance(x, y, z) / 3, 0, 1))
    ventricle = np.zeros_like(grey)
    for side in (-1, 1):
        horn = Ellipsoid((side * 11, 8, 88), (6 * rng.uniform(0.7, 1.8), 28, 8))
        ventricle = np.maximum(ventricle, np.clip(0.5 - horn.distance(x, y, z) / 3, 0, 1))
    # Below the tentorium: behind the brainstem and low.
    cerebellum = np.clip((y - 24) / 6, 0, 1) * np.clip((62 - 0.25 * (y - 30) - z) / 5, 0, 1)
    grey = grey + cerebellum * (np.maximum(grey, 0.65) * rng.uniform(0.75, 0.95) - grey)
    regional = np.exp(0.12 * other(x, y, z) + 0.06 * fine)
    uptake = anatomy.grey_suv * (anatomy.white_share + (1 - anatomy.white_share) * grey) * regional
    painting.suv.ravel()[where] = uptake * (1 - 0.8 * ventricle)
    painting.hu.ravel()[where] = 28 + 9 * grey - 20 * ventricle


def tumour_share(
    canvas: FieldCanvas,
    tumour: VariedTumour,
    body: np.ndarray,
    labels: np.ndarray,
    airways: list[Structure],
    box: tuple[slice, ...],
    active: bool,
) -> np.ndarray:
    """Share of each voxel of the box that is tumour: beneath the skin, not in air, brain, cord or eye.

    With ``active`` the necrotic core is left out, if the scanner can resolve it at all.
    """
    share = canvas.coverage(tumour.shape, box)
    share *= np.clip(0.5 - (body[box] + SKIN_MM) / canvas.edge_mm, 0, 1)
    share[np.isin(labels[box], NO_TUMOUR_IN)] = 0
    for airway in airways:
        share *= 1 - canvas.coverage(airway.shape, box)
    if active and tumour.core is not None and tumour.core_resolved:
        share *= 1 - canvas.coverage(tumour.core, box)
    return share


def paint_tumour(painting: Painting, tumour: VariedTumour, airways: list[Structure]) -> None:
    """Draw one lesion on both images."""
    canvas = painting.canvas
    box = canvas.box(tumour.shape)
    if box is None:
        return
    share = tumour_share(canvas, tumour, painting.body, painting.labels, airways, box, active=False)
    uneven = np.clip(1 + tumour.texture * tumour.grain(canvas.x[box], canvas.y[box], canvas.z[box]), 0.6, 1.5)
    uptake = tumour.suv * uneven
    density = np.full_like(uptake, tumour.hu)
    if tumour.core is not None:
        core = canvas.coverage(tumour.core, box)
        uptake += core * (tumour.core_suv - uptake)
        density += core * (18.0 - density)
    painting.hu[box] += share * (density - painting.hu[box])
    painting.suv[box] += share * (uptake - painting.suv[box])


def paint_table(painting: Painting, rng: np.random.Generator) -> None:
    """Couch and headrest on the CT (they hold no tracer)."""
    spacing = painting.canvas.geometry.spacing_mm
    inside = painting.body < 0
    rows = np.flatnonzero(inside.any(axis=(0, 2)))
    if not len(rows):
        return
    lowest = (rows[-1] + 1) * spacing[1]
    _, ny, nx = inside.shape
    x = (np.arange(nx) - nx / 2) * spacing[0]
    y = np.arange(ny) * spacing[1]
    top = lowest + rng.uniform(2, 12) - x**2 / rng.uniform(900, 4000)
    depth = y[:, None] - top[None, :]
    shell = ((np.abs(depth) < 3) | (np.abs(depth - 30) < 3)) & (np.abs(x)[None, :] < 210)
    foam = (depth > 0) & (depth < 30) & (np.abs(x)[None, :] < 210)
    free = ~inside
    painting.hu[free & foam[None]] = -950.0
    painting.hu[free & shell[None]] = rng.uniform(-500, -100)
    crown = painting.canvas.z[:, ny // 2, nx // 2] > -30
    if rng.random() < 0.6 and crown.any():
        rest = (np.abs(x)[None, :] < 95) & (y[:, None] > lowest - 90) & (depth < 0)
        near = ndimage.binary_dilation(inside, iterations=3)
        padding = free & rest[None] & crown[:, None, None] & (painting.body > 3)
        painting.hu[padding] = -930.0
        if rng.random() < 0.4:  # a thermoplastic mask
            mask = free & near & crown[:, None, None] & (painting.body < 5.5) & (painting.body > 1.5)
            painting.hu[mask] = -250.0
