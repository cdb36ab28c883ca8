"""A synthetic head-and-neck PET/CT patient with known lesions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.lesions.codes import LABEL_OF_KIND
from HNTumorSegLib.phantom.anatomy import AnatomyDraw
from HNTumorSegLib.phantom.canvas import Canvas, Pose
from HNTumorSegLib.phantom.family import FAMILIES, FIRST
from HNTumorSegLib.phantom.fields import Lattice, smooth_noise
from HNTumorSegLib.phantom.scanner import IDENTITY, Scanner, acquire_ct, acquire_pet, draw_scanner
from HNTumorSegLib.phantom.structure import AIR_HU, Structure
from HNTumorSegLib.phantom.tumours import Tumour, TumourDraw
from HNTumorSegLib.study.study import Provenance, SeriesInfo, Study

if TYPE_CHECKING:
    from HNTumorSegLib.phantom.varied_patient import VariedPatient

HEAD_NECK, CROPPED, WHOLE_BODY = "head_neck", "cropped", "whole_body"
CROWN_MM = 164.0


@dataclass
class PhantomPatient:
    """A study and what is really in it.

    Attributes:
        study: PET (SUVbw) and CT (HU), as if read from disk.
        truth: labels 0/1/2 on the PET's grid.
        tumours: what was drawn; a lesion may be invisible when it lies outside the field of view.
    """

    study: Study
    truth: sitk.Image
    tumours: list[Tumour]
    scanner: Scanner
    _pose: Pose = field(repr=False, default=None)
    _limits: list[Structure] = field(repr=False, default_factory=list)
    _structures: list[Structure] = field(repr=False, default_factory=list)
    _ct_pose: Pose = field(repr=False, default=None)

    def truth_on(self, geometry: Geometry) -> sitk.Image:
        """Labels 0/1/2 on any grid, drawn there rather than resampled."""
        canvas = Canvas(geometry, self._pose)
        return image_from_array(_labels(canvas, self.tumours, self._limits), geometry)


def make_patient(
    seed: int,
    field_of_view: str = HEAD_NECK,
    *,
    economy: bool = False,
    with_tumours: bool = True,
    atypia: float = 1.0,
    family: str = FIRST,
    anatomy_folder: Path | str | None = None,
) -> PhantomPatient | VariedPatient:
    """The patient of that seed; the same seed always gives the same patient.

    Args:
        seed: any integer >= 0; seeds from 1,000,000 on are kept for evaluation and never used for training.
        field_of_view: ``head_neck`` (crown to upper chest) or ``whole_body`` (crown to thighs).
        economy: coarser tissue, a CT of 2.5 mm pixels and a field of view of 40 cm: three times faster, for training.
        with_tumours: False makes a patient without any lesion.
        atypia: scales how often normal uptake misleads.
        family: ``first``; ``varied`` (for training, see :mod:`HNTumorSegLib.phantom.varied_patient`), ``nodal`` (the
            same with advanced nodal disease), ``crossed`` (the same with anatomies between two sources and larger
            primaries) or ``held_out`` (for evaluation: other source patients, wider ranges).
            All but the first also know the field of view ``cropped``.
        anatomy_folder: organ label sets of real patients (see :mod:`HNTumorSegLib.phantom.atlas`) that give the later
            families their anatomy; None draws it. The first family does not use it.

    Raises:
        InputError: an unknown family or field of view, or a folder without label sets.
    """
    if family != FIRST:
        from HNTumorSegLib.phantom.varied_patient import make_varied_patient

        if family not in FAMILIES:
            raise InputError(f"Phantom family '{family}' is unknown; use one of {', '.join([FIRST, *FAMILIES])}.")
        return make_varied_patient(
            seed,
            field_of_view,
            FAMILIES[family],
            economy=economy,
            with_tumours=with_tumours,
            atypia=atypia,
            anatomy_folder=anatomy_folder,
        )
    if field_of_view not in (HEAD_NECK, WHOLE_BODY):
        raise InputError(
            f"Field of view '{field_of_view}' is unknown to the first family; use {HEAD_NECK} or {WHOLE_BODY}."
        )
    rng = np.random.default_rng(np.random.SeedSequence([2023, seed]))
    whole_body = field_of_view == WHOLE_BODY
    anatomy = AnatomyDraw(rng, whole_body, atypia)
    structures = anatomy.draw()
    limits = [s for s in structures if s.name in ("airway", "skin")]
    tumours = _place(TumourDraw(rng).draw(), limits)
    if not with_tumours:  # drawn all the same, so that the rest of the patient is as it would be with them
        tumours = []
    scanner = draw_scanner(rng, economy)
    pose = _draw_pose(rng)
    ct_pose = Pose(pose.matrix, pose.position_mm + rng.normal(0, 1.2, 3), pose.warp_mm, pose.warp)
    low, high = _axial_range(rng, pose, whole_body)
    center = tuple(rng.normal(0, 8, 2))
    pet_grid, ct_grid = scanner.pet_grid(center, low, high), scanner.ct_grid(center, low, high)

    activity = _draw_image(
        structures, tumours, limits, _tissue_grid(pet_grid, 2.5 if economy else 2.0), pose, "suv", rng
    )
    pet = acquire_pet(activity, pet_grid, scanner, rng)
    density = _draw_image(
        structures, tumours, limits, _tissue_grid(ct_grid, 2.5 if economy else 1.25), ct_pose, "hu", rng
    )
    ct = acquire_ct(density, ct_grid, scanner, rng, _metal(structures, ct_pose, rng))

    truth = image_from_array(_labels(Canvas(pet_grid, pose), tumours, limits), pet_grid)
    study = Study(
        pet=pet,
        ct=ct,
        pet_info=SeriesInfo(path="", modality="PT", pixel_sha256="", description="Synthetic FDG-PET"),
        ct_info=SeriesInfo(path="", modality="CT", pixel_sha256="", description="Synthetic CT"),
        provenance=Provenance("phantom", "SUVbw", "made as SUVbw by the phantom"),
    )
    return PhantomPatient(study, truth, tumours, scanner, pose, limits, structures, ct_pose)


def _draw_pose(rng: np.random.Generator) -> Pose:
    """Size of the body, tilt of the head, place in the scanner, soft bending."""
    angles = np.radians(rng.normal(0, (7, 3, 4)))
    rotation = np.eye(3)
    for axis, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        turn = np.eye(3)
        a, b = [i for i in range(3) if i != axis]
        turn[[a, a, b, b], [a, b, a, b]] = c, -s, s, c
        rotation = turn @ rotation
    size = np.clip(rng.normal(1.0, 0.05), 0.87, 1.13) * (1 + rng.normal(0, 0.025, 3))
    matrix = np.diag(1 / size) @ rotation
    position = np.append(rng.normal(0, 12, 2), rng.uniform(-700, -100))
    return Pose(matrix, position, rng.uniform(1.0, 4.0), Lattice(rng, 55, components=3))


def _axial_range(rng: np.random.Generator, pose: Pose, whole_body: bool) -> tuple[float, float]:
    """Lowest and highest LPS z of the scan."""
    top = CROWN_MM + rng.uniform(10, 40) if rng.random() < 0.8 else CROWN_MM - rng.uniform(0, 50)
    bottom = rng.uniform(-880, -830) if whole_body else rng.uniform(-260, -150)
    return pose.position_mm[2] + bottom, pose.position_mm[2] + top


def _tissue_grid(image_grid: Geometry, detail_mm: float) -> Geometry:
    """A fine isotropic grid over the body within the image's axial range."""
    low, high = image_grid.bounds_mm()
    half = np.array([290.0, 190.0])
    middle = (low + high)[:2] / 2
    low[:2], high[:2] = np.maximum(low[:2], middle - half), np.minimum(high[:2], middle + half)
    size = np.ceil((high - low) / detail_mm).astype(int)
    return Geometry(tuple(size.tolist()), (detail_mm,) * 3, tuple((low + detail_mm / 2).tolist()), IDENTITY)


def _draw_image(
    structures: list[Structure],
    tumours: list[Tumour],
    limits: list[Structure],
    grid: Geometry,
    pose: Pose,
    what: str,
    rng: np.random.Generator,
) -> sitk.Image:
    """Noise-free density (``what`` = "hu") or activity ("suv") on a fine grid."""
    canvas = Canvas(grid, pose)
    values = np.full(canvas.shape, AIR_HU if what == "hu" else 0.0, np.float32)
    texture = smooth_noise(rng, canvas.shape, (2.0 / grid.spacing_mm[0] * 1.5,) * 3)
    for structure in structures:
        value = structure.hu if what == "hu" else structure.suv
        box = None if value is None else canvas.box(structure.shape)
        if box is None:
            continue
        share = canvas.coverage(structure.shape, box, structure.softness_mm)
        paint = value if what == "hu" else value * _textured(structure.texture, texture[box])
        values[box] += share * (paint - values[box])
    for tumour in tumours:
        box = canvas.box(tumour.shape)
        if box is None:
            continue
        share = tumour_coverage(canvas, tumour, limits, box, whole=True)
        if what == "hu":
            values[box] += share * (tumour.hu - values[box])
            continue
        active = tumour_coverage(canvas, tumour, limits, box, whole=False)
        uptake = tumour.core_suv + (tumour.suv * _textured(tumour.texture, texture[box]) - tumour.core_suv) * (
            active / np.maximum(share, 1e-6)
        )
        values[box] += share * (uptake - values[box])
    return image_from_array(values, grid)


def _textured(amount: float, noise: np.ndarray) -> np.ndarray:
    """Relative uptake about 1, never negative."""
    return np.maximum(0.1, 1 + amount * noise)


def tumour_coverage(
    canvas: Canvas, tumour: Tumour, limits: list[Structure], box: tuple[slice, ...], whole: bool
) -> np.ndarray:
    """Share of each voxel that is tumour: not in the airway, beneath the skin, and not necrotic unless ``whole``."""
    share = canvas.coverage(tumour.shape, box)
    for limit in limits:
        inside = canvas.coverage(limit.shape, box)
        share = share * (1 - inside if limit.name == "airway" else _beneath_skin(limit, canvas, box))
    if not whole and tumour.core is not None:
        share = share * (1 - canvas.coverage(tumour.core, box))
    return share


def _beneath_skin(skin: Structure, canvas: Canvas, box: tuple[slice, ...]) -> np.ndarray:
    """Share of each voxel inside the body; the skin structure is a shell around the body's solid."""
    return canvas.coverage(skin.shape.solid, box)


def _labels(canvas: Canvas, tumours: list[Tumour], limits: list[Structure]) -> np.ndarray:
    """Metabolically active tumour, 0/1/2, zyx unsigned 8-bit: voxels covered by half or more."""
    labels = np.zeros(canvas.shape, np.uint8)
    best = np.full(canvas.shape, 0.5, np.float32)
    for tumour in tumours:
        box = canvas.box(tumour.shape)
        if box is None:
            continue
        share = tumour_coverage(canvas, tumour, limits, box, whole=False)
        wins = share >= best[box]
        labels[box][wins] = LABEL_OF_KIND[tumour.kind]
        best[box][wins] = share[wins]
    return labels


def _place(tumours: list[Tumour], limits: list[Structure]) -> list[Tumour]:
    """Those tumours that lie in the body and whose centre is in no other tumour and not deep in the airway."""
    kept: list[Tumour] = []
    for tumour in tumours:
        at = _point(tumour)
        radius = float(np.prod(tumour.shape.radii)) ** (1 / 3)
        airway = next(s for s in limits if s.name == "airway").shape.distance(*at)
        depth = next(s for s in limits if s.name == "skin").shape.solid.distance(*at)
        swallowed = any(
            other.shape.distance(*at) < 0.3 * radius or tumour.shape.distance(*_point(other)) < 0 for other in kept
        )
        if depth < -3 and airway > -0.5 * radius and not swallowed:
            kept.append(tumour)
    return kept


def _point(tumour: Tumour) -> tuple[np.ndarray, ...]:
    """The tumour's centre as three arrays of one value, as shapes want positions."""
    return tuple(np.full(1, c, np.float32) for c in tumour.shape.center)


def _metal(structures: list[Structure], pose: Pose, rng: np.random.Generator) -> list[np.ndarray]:
    """LPS positions of one to four teeth with metal."""
    teeth = [s.shape.center for s in structures if s.name == "tooth"]
    if not teeth:
        return []
    chosen = rng.choice(len(teeth), size=min(len(teeth), int(rng.integers(1, 5))), replace=False)
    return list(pose.to_lps(np.array([teeth[i] for i in chosen])))
