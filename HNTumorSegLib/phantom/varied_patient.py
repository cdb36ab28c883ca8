"""Patients of the varied families, composed from source anatomy, structures, lesions and a scanner."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.lesions.codes import LABEL_OF_KIND
from HNTumorSegLib.phantom.anatomy import BODY_KNOTS
from HNTumorSegLib.phantom.atlas import Atlas, find_sources, group_of, load_atlas, split_sources
from HNTumorSegLib.phantom.crossing import Crossing, crossing
from HNTumorSegLib.phantom.drawn_atlas import VARIANTS, drawn_atlas
from HNTumorSegLib.phantom.family import Family
from HNTumorSegLib.phantom.fields import Lattice
from HNTumorSegLib.phantom.painter import AIRWAYS, paint_patient, paint_table, paint_tumour, tumour_share
from HNTumorSegLib.phantom.patient import CROPPED, HEAD_NECK, WHOLE_BODY
from HNTumorSegLib.phantom.placement import FieldCanvas, Placement
from HNTumorSegLib.phantom.scanner import IDENTITY
from HNTumorSegLib.phantom.settling import at_true_size, settled
from HNTumorSegLib.phantom.shapes import Profile
from HNTumorSegLib.phantom.structure import Structure
from HNTumorSegLib.phantom.varied_anatomy import VariedAnatomy
from HNTumorSegLib.phantom.varied_scanner import (
    VariedScanner,
    acquire_varied_ct,
    acquire_varied_pet,
    draw_varied_scanner,
)
from HNTumorSegLib.phantom.varied_tumours import SMALLEST_ML, VariedTumour, VariedTumourDraw
from HNTumorSegLib.study.study import Provenance, SeriesInfo, Study

CUT_MARGIN_MM = 25.0
OUTLINE = [(0, -108, 26), (0, -90, -24), (0, -105, -260), (0, 98, 84), (0, 125, -200), (0, 125, -400)]
OUTLINE_MARGIN_MM = 18.0
"""Foremost and hindmost points of the body in the frame, and what bending and the couch may add."""
CROSSED_SHARE = (-0.5, 1.0)
"""How far a crossed anatomy goes from one source's to another's; below 0 it goes away from the other."""
CUT_AWAY = 0.5
"""A lesion of which airway, skin and organs leave less than this is not drawn."""


@dataclass
class VariedPatient:
    """A study and what is really in it; attributes as :class:`HNTumorSegLib.phantom.PhantomPatient`.

    ``source`` names the anatomy (a label set, or ``drawn-N``). The truth is the boundary of the metabolically active
    tissue before any blur. That is what thresholds adapted to the background estimate (Hofheinz et al., EJNMMI Research
    2012;2:16; Nikulin 2023's truth was drawn with ROVER, of the same group). Necrotic cores are left out where the
    scanner resolves them.
    """

    study: Study
    truth: sitk.Image
    tumours: list[VariedTumour]
    scanner: VariedScanner
    source: str
    family: str
    _placement: Placement = field(repr=False, default=None)
    _airways: list[Structure] = field(repr=False, default_factory=list)

    def truth_on(self, geometry: Geometry) -> sitk.Image:
        """Labels 0/1/2 on any grid, drawn there rather than resampled."""
        return image_from_array(_labels(geometry, self._placement, self.tumours, self._airways), geometry)


def make_varied_patient(
    seed: int,
    field_of_view: str,
    family: Family,
    *,
    economy: bool,
    with_tumours: bool,
    atypia: float,
    anatomy_folder: Path | str | None,
) -> VariedPatient:
    """The patient of that seed and family, see :func:`HNTumorSegLib.phantom.make_patient`."""
    if field_of_view not in (HEAD_NECK, CROPPED, WHOLE_BODY):
        raise InputError(f"Field of view '{field_of_view}' is unknown; use {HEAD_NECK}, {CROPPED} or {WHOLE_BODY}.")
    # Streams of their own: the same seed has the same body and draws the same lesions, whatever the grids. Where these
    # settle is judged by what of them lies in the scan.
    streams = np.random.SeedSequence([2023, family.stream, seed]).spawn(4)
    rng, lesion_rng, tissue_rng, scan_rng = (np.random.default_rng(stream) for stream in streams)
    whole_body = field_of_view == WHOLE_BODY
    atlas = choose_source(rng, family, anatomy_folder)
    anatomy = VariedAnatomy(rng, family, whole_body, atypia)
    scanner = draw_varied_scanner(scan_rng, family, economy, whole_body)
    placement = _place_patient(rng, family, atlas, anatomy)
    if family.crossed:
        placement = replace(placement, crossing=_choose_crossing(rng, family, atlas, anatomy_folder))
    low, high = _axial_range(rng, placement, field_of_view)
    outline = placement.find_lps(OUTLINE)
    center = tuple((outline.min(axis=0) + outline.max(axis=0))[:2] / 2 + rng.normal(0, 8, 2))
    pet_grid, ct_grid = scanner.pet_grid(center, low, high), scanner.ct_grid(center, *_ct_range(rng, low, high))
    tissue = _tissue_grid(pet_grid, ct_grid, outline, whole_body, economy)

    canvas = FieldCanvas(tissue, placement)
    painting = paint_patient(canvas, anatomy, tissue_rng)
    airways = [s for s in anatomy.air if s.name in AIRWAYS]
    drawn = VariedTumourDraw(lesion_rng, family, scanner.blur_mm, anatomy.tonsil_suv).draw()
    tumours = _fitting(drawn, painting, placement, airways) if with_tumours else []
    for tumour in tumours:
        paint_tumour(painting, tumour, airways)
    if tissue_rng.random() < 0.8:
        paint_table(painting, tissue_rng)
    metal = _metal(anatomy, placement, tissue_rng)
    pet = acquire_varied_pet(painting.suv, painting.body < 0, tissue, pet_grid, scanner, scan_rng, metal)
    ct = acquire_varied_ct(painting.hu, tissue, ct_grid, scanner, scan_rng, metal)
    study = Study(
        pet=pet,
        ct=ct,
        pet_info=SeriesInfo(path="", modality="PT", pixel_sha256="", description="Synthetic FDG-PET"),
        ct_info=SeriesInfo(path="", modality="CT", pixel_sha256="", description="Synthetic CT"),
        provenance=Provenance("phantom", "SUVbw", "made as SUVbw by the phantom"),
    )
    truth = image_from_array(_labels(pet_grid, placement, tumours, airways), pet_grid)
    return VariedPatient(study, truth, tumours, scanner, atlas.name, family.name, placement, airways)


def choose_source(rng: np.random.Generator, family: Family, anatomy_folder: Path | str | None) -> Atlas:
    """One of the family's source anatomies; drawn anatomy without a folder, and now and then with one."""
    drawn = rng.random() < family.drawn_share
    variant, share = int(rng.integers(VARIANTS)), rng.random()
    # The folder is looked at even when this patient is drawn: a wrong one must not go unnoticed.
    sources = {} if anatomy_folder is None else find_sources(Path(anatomy_folder))
    if not sources or drawn:
        return drawn_atlas(family.stream, variant)
    names = split_sources(list(sources), family.held_out_sources)
    if not names:
        raise InputError(
            f"'{anatomy_folder}' holds too few patients ({len(sources)}) to keep some for the family '{family.name}'; "
            "give at least four."
        )
    name = names[int(share * len(names))]
    return load_atlas(name, sources[name])


def _choose_crossing(
    rng: np.random.Generator, family: Family, atlas: Atlas, anatomy_folder: Path | str | None
) -> Crossing | None:
    """Part of the way to another patient's anatomy among the family's sources; None where the anatomy is drawn."""
    if anatomy_folder is None:
        return None
    sources = find_sources(Path(anatomy_folder))
    names = split_sources(list(sources), family.held_out_sources)
    others = [name for name in names if group_of(name) != group_of(atlas.name)]
    if not others:
        return None
    other = others[int(rng.integers(len(others)))]
    return crossing(atlas, load_atlas(other, sources[other]), rng.uniform(*CROSSED_SHARE))


def _place_patient(rng: np.random.Generator, family: Family, atlas: Atlas, anatomy: VariedAnatomy) -> Placement:
    """Size, tilt, mirroring, bending and body outline of one patient."""
    rotation = np.eye(3)
    for axis, angle in enumerate(np.radians(rng.normal(0, family.tilt_deg, 3) * (1.0, 0.7, 0.8))):
        c, s = np.cos(angle), np.sin(angle)
        turn = np.eye(3)
        a, b = [i for i in range(3) if i != axis]
        turn[[a, a, b, b], [a, b, a, b]] = c, -s, s, c
        rotation = turn @ rotation
    size = np.clip(np.exp(rng.normal(0, family.size_sd)), 0.85, 1.18) * np.exp(rng.normal(0, 0.025, 3))
    mirror = np.array([rng.choice((-1.0, 1.0)), 1.0, 1.0])
    knots = BODY_KNOTS[BODY_KNOTS[:, 0] < 40].copy()
    knots[knots[:, 0] < -100, 1:3] *= anatomy.build
    neck = (knots[:, 0] >= -100) & (knots[:, 0] <= -20)
    knots[neck, 1:3] *= rng.normal(1.0 + 0.5 * (anatomy.build - 1), 0.06)
    if anatomy.arms_up:  # the shoulders rise with the arms
        knots[:, 0] += np.where((knots[:, 0] < -110) & (knots[:, 0] > -300), 12.0, 0.0)
    # Above the jaw the labels give the outline: the profile ends within the head.
    knots[knots[:, 0] > -30, 1:3] *= 0.8
    return Placement(
        atlas=atlas,
        matrix=np.diag(mirror / size) @ rotation,
        position_mm=np.append(rng.normal(0, 12, 2), rng.uniform(-700, -100)),
        head_turn=tuple(np.radians(rng.normal(0, (family.nod_deg, family.turn_deg)))),
        warps=(
            (rng.uniform(*family.warp_mm), Lattice(rng, 60, components=3)),
            (rng.uniform(*family.fine_warp_mm), Lattice(rng, 28, components=3)),
        ),
        skin_mm=rng.uniform(8, 15),
        body=Profile(knots),
    )


def _axial_range(rng: np.random.Generator, placement: Placement, field_of_view: str) -> tuple[float, float]:
    """Lowest and highest LPS z: from the crown, or from orbits or mouth, down to the chest, the neck or the thighs."""
    whole_head = rng.random() < 0.75
    share, margin = rng.random(), rng.uniform(5, 45)
    top = rng.uniform(15, 100)
    bottom = rng.uniform(-300, -140)
    if field_of_view == WHOLE_BODY:
        bottom = rng.uniform(-880, -830)
    elif field_of_view == CROPPED:
        whole_head, bottom = False, rng.uniform(-170, -110) if share < 0.5 else bottom
    if np.isfinite(placement.atlas.cut_mm):  # what the source's scan cut off cannot be shown
        whole_head = False
        edge = placement.atlas.to_frame(np.array([[0.0, 25.0, placement.atlas.cut_mm]]))[0, 2]
        top = min(top, edge - CUT_MARGIN_MM)
    lps = placement.find_lps([(0, 25, bottom), (0, 6, 165 if whole_head else top)])
    return float(lps[0, 2]), float(lps[1, 2]) + (margin if whole_head else 0.0)


def _ct_range(rng: np.random.Generator, low: float, high: float) -> tuple[float, float]:
    """The CT's axial range: the PET's, or a little shorter."""
    if rng.random() < 0.1:
        return low + rng.uniform(0, 25), high - rng.uniform(0, 10)
    return low, high


def _tissue_grid(
    pet_grid: Geometry, ct_grid: Geometry, outline: np.ndarray, whole_body: bool, economy: bool
) -> Geometry:
    """An isotropic grid over the body (``outline``: LPS points on it) within the scan."""
    detail = (3.5 if whole_body else 2.5) if economy else (2.5 if whole_body else 2.0)
    (low, high), (ct_low, ct_high) = pet_grid.bounds_mm(), ct_grid.bounds_mm()
    low, high = np.minimum(low, ct_low), np.maximum(high, ct_high)
    half_width = 190.0 if economy and not whole_body else 280.0
    middle = (outline[:, 0].min() + outline[:, 0].max()) / 2
    low[0], high[0] = max(low[0], middle - half_width), min(high[0], middle + half_width)
    low[1] = max(low[1], outline[:, 1].min() - OUTLINE_MARGIN_MM)
    high[1] = min(high[1], outline[:, 1].max() + OUTLINE_MARGIN_MM)
    size = np.ceil((high - low) / detail).astype(int)
    return Geometry(tuple(size.tolist()), (detail,) * 3, tuple((low + detail / 2).tolist()), IDENTITY)


def _fitting(drawn: list, painting, placement: Placement, airways: list[Structure]) -> list[VariedTumour]:  # noqa: ANN001
    """Those lesions of which enough lies in tissue and that no other lesion swallows, where they came to lie."""
    kept: list[VariedTumour] = []
    canvas = painting.canvas
    for new in drawn:
        tumour = settled(at_true_size(new, placement), painting, airways)
        if tumour is None:
            continue
        at, radius = _point(tumour), (tumour.volume_ml * 239) ** (1 / 3)
        if any(o.shape.distance(*at) < 0.3 * radius or tumour.shape.distance(*_point(o)) < 0 for o in kept):
            continue
        box = canvas.box(tumour.shape)
        if box is not None:
            share = tumour_share(canvas, tumour, painting.body, painting.labels, airways, box, active=True)
            whole = canvas.coverage(tumour.shape, box).sum()
            volume = float(share.sum()) * canvas.geometry.voxel_volume_ml
            if volume < SMALLEST_ML * 0.8 or share.sum() < CUT_AWAY * whole * (0.6 if tumour.core is not None else 1):
                continue
        kept.append(tumour)
    return kept


def _point(tumour: VariedTumour) -> tuple[np.ndarray, ...]:
    """The centre as three arrays of one value, as shapes want positions."""
    return tuple(np.full(1, c, np.float32) for c in tumour.shape.center)


def _labels(
    geometry: Geometry, placement: Placement, tumours: list[VariedTumour], airways: list[Structure]
) -> np.ndarray:
    """Metabolically active tumour, 0/1/2, zyx unsigned 8-bit: voxels covered by half or more."""
    labels = np.zeros(geometry.shape_zyx, np.uint8)
    if not tumours:
        return labels
    part, where = _around(geometry, placement, tumours)
    if part is None:
        return labels
    canvas = FieldCanvas(part, placement)
    body, organs = canvas.body_distance(), canvas.labels()
    best = np.full(canvas.shape, 0.5, np.float32)
    view = labels[where]
    for tumour in tumours:
        box = canvas.box(tumour.shape)
        if box is None:
            continue
        share = tumour_share(canvas, tumour, body, organs, airways, box, active=True)
        wins = share >= best[box]
        view[box][wins] = LABEL_OF_KIND[tumour.kind]
        best[box][wins] = share[wins]
    return labels


def _around(
    geometry: Geometry, placement: Placement, tumours: list[VariedTumour]
) -> tuple[Geometry | None, tuple[slice, ...]]:
    """The part of the grid that holds all lesions, and where it lies in the grid's arrays."""
    lows, highs = zip(*(t.shape.bounds() for t in tumours), strict=True)
    low, high = np.min(lows, axis=0), np.max(highs, axis=0)
    corners = np.array([(x, y, z) for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
    ijk = geometry.to_ijk(placement.find_lps(corners))
    pad = np.ceil(20.0 / np.asarray(geometry.spacing_mm)) + 4
    start = np.clip(np.floor(ijk.min(axis=0) - pad), 0, geometry.size).astype(int)
    stop = np.clip(np.ceil(ijk.max(axis=0) + pad), 0, geometry.size).astype(int)
    where = tuple(slice(a, b) for a, b in zip(start[::-1], stop[::-1], strict=True))
    if np.any(stop - start < 1):
        return None, where
    return geometry.crop(tuple(start.tolist()), tuple((stop - start).tolist())), where


def _metal(anatomy: VariedAnatomy, placement: Placement, rng: np.random.Generator) -> list[np.ndarray]:
    """LPS positions of one to four teeth with metal."""
    if not anatomy.teeth:
        return []
    count = min(len(anatomy.teeth), int(rng.integers(1, 5)))
    chosen = rng.choice(len(anatomy.teeth), size=count, replace=False)
    return list(placement.find_lps(np.array([anatomy.teeth[i] for i in chosen])))
