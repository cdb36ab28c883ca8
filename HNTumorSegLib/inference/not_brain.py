"""What a model marked within the brain is no lesion: it is taken out of the labels, and the user is told.

Two things must speak against a structure. It lies in the brain: at least half of it in the hot part of the head that
:mod:`region` finds the head by. And one of the rules for any region of uptake (:mod:`HNTumorSegLib.lesions.barriers`)
says no: it goes over into what is too large for a lesion, lies in tissue that is hot itself, or is cut off by the end
of the PET. A tumour of the skull base that touches the brain has cooler tissue on its other sides and stays; so does
what is hotter than any brain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.geometry import Geometry, image_from_array, resample
from HNTumorSegLib.inference.region import (
    BRAIN_SUV,
    COARSE_MM,
    CUT_BRAIN_ML,
    NO_BRAIN,
    TOUCHES_TOP_MM,
    HeadNeckRegion,
    sharper_suv,
)
from HNTumorSegLib.lesions.barriers import surroundings_suv, too_large_ml, why_no_lesion
from HNTumorSegLib.lesions.uptake import CORNERS

IN_BRAIN_SHARE = 0.5
BRIDGE_VOXELS = 2
"""Half the width (coarse voxels) of what is cut between the brain and something hot that touches it."""

BROKEN_OFF_ML = 250.0
"""A hot part larger than this is the brain, even a cut one; smaller, the end of the scan has left single lobes."""

HOTTEST_BRAIN_SUV = 30.0
"""Grey matter usually has 5 to 12; with noise and edges that the reconstruction sharpens it stays below this."""

LOOKED_AROUND_MM = 90.0
"""Around a structure: more than 250 ml of brain fit in."""

THRESHOLD_SHARE = 0.41
"""Of the structure's highest SUV: where it and what it may be a part of end (EANM 2015: 41 %)."""


@dataclass(frozen=True)
class TakenOut:
    """One structure that was taken out of the labels: volume, highest SUV, LPS position, why."""

    volume_ml: float
    suv_max: float
    center_mm: tuple[float, float, float]
    why: str


def take_brain_out(labels: sitk.Image, pet: sitk.Image, region: HeadNeckRegion) -> tuple[sitk.Image, list[TakenOut]]:
    """The labels without the structures that are brain.

    Args:
        labels: unsigned 8-bit, 0 background, on any grid.
        pet: SUVbw.
        region: where :func:`HNTumorSegLib.inference.region.find_head_neck` saw the brain.

    Returns:
        The same image when nothing was taken out, else a new one; and what was taken out.
    """
    array = sitk.GetArrayFromImage(labels)
    if region.seen == NO_BRAIN or not array.any():
        return labels, []
    brain = brain_image(pet, region)
    geometry, pet_geometry = Geometry.from_image(labels), Geometry.from_image(pet)
    pieces = numbered_pieces(array)
    taken = []
    for number, box in enumerate(ndimage.find_objects(pieces), 1):
        if _share_in(brain, pieces[box] == number, geometry, box) < IN_BRAIN_SHARE:
            continue
        found = _speaks_against(pieces, number, box, geometry, pet, pet_geometry)
        if found is not None:
            taken.append(found)
            array[box][pieces[box] == number] = 0
    return (image_from_array(array, geometry) if taken else labels), taken


def numbered_pieces(array: np.ndarray) -> np.ndarray:
    """Numbers of the connected structures (zyx), in 16 bits where these do: 32 take 0.4 GB on a whole-body CT."""
    try:
        return ndimage.label(array, CORNERS, output=np.uint16)[0]
    except RuntimeError:  # more structures than 16 bits can number: an untrained network
        return ndimage.label(array, CORNERS)[0]


def sentence(taken: list[TakenOut]) -> str:
    """What was left out, for the user; empty when nothing was."""
    if not taken:
        return ""
    what = "1 structure" if len(taken) == 1 else f"{len(taken)} structures"
    heights = sorted(t.center_mm[2] for t in taken)
    where = f"S {heights[0]:.0f}" + (f" to {heights[-1]:.0f}" if round(heights[-1]) > round(heights[0]) else "")
    reasons = sorted({t.why for t in taken})
    left_out = "was left out (it is" if len(taken) == 1 else "were left out (they are"
    return (
        f"{what} that the model marked in the brain ({sum(t.volume_ml for t in taken):.2f} ml together, SUVmax up to "
        f"{max(t.suv_max for t in taken):.1f}, {where} mm) {left_out} "
        f"{' or '.join(reasons)}). Look there; what is a tumour after all can be drawn by hand."
    )


def brain_image(pet: sitk.Image, region: HeadNeckRegion) -> sitk.Image:
    """Mask (0 and 1, 32-bit float, 5 mm voxels along L, P, S) of the brain, its cooler inside filled slice by slice."""
    grid = Geometry.from_image(pet).axis_aligned(COARSE_MM)
    suv = sitk.GetArrayFromImage(resample(sitk.Cast(pet, sitk.sitkFloat32), grid))
    hot = sharper_suv(suv) > BRAIN_SUV[-1]
    parts, count = ndimage.label(ndimage.binary_opening(hot, iterations=BRIDGE_VOXELS))
    sizes = np.bincount(parts.ravel(), minlength=2)
    sizes[0] = 0
    if count and sizes.max() * grid.voxel_volume_ml >= BROKEN_OFF_ML:
        brain = parts == sizes.argmax()
    else:
        brain = _hot_at_top(hot, grid)
    for here in brain:
        here[:] = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(here, 4), iterations=3))[4:-4, 4:-4] | here
    return image_from_array(brain.astype(np.float32), grid)


def _hot_at_top(hot: np.ndarray, grid: Geometry) -> np.ndarray:
    """The lobes that the end of the scan cuts: hot parts of at least 15 ml that reach the top."""
    parts, _ = ndimage.label(hot)
    top = max(1, round(TOUCHES_TOP_MM / COARSE_MM))
    volumes_ml = np.bincount(parts.ravel()) * grid.voxel_volume_ml
    reaching = [n for n in np.unique(parts[-top:]) if n and volumes_ml[n] >= CUT_BRAIN_ML]
    return np.isin(parts, reaching)


def _share_in(brain: sitk.Image, mask: np.ndarray, geometry: Geometry, box: tuple[slice, ...]) -> float:
    """Part of a structure's voxels whose place is in the brain or within half a coarse voxel of it."""
    grid = Geometry.from_image(brain)
    inside = sitk.GetArrayViewFromImage(brain) > 0
    ijk = np.argwhere(mask)[:, ::-1] + [s.start for s in reversed(box)]
    place = np.rint(grid.to_ijk(geometry.to_lps(ijk))).astype(int)
    place = np.clip(place, 0, np.array(grid.size) - 1)
    return float(inside[place[:, 2], place[:, 1], place[:, 0]].mean())


def _speaks_against(
    pieces: np.ndarray, number: int, box: tuple[slice, ...], geometry: Geometry, pet: sitk.Image, whole: Geometry
) -> TakenOut | None:
    """The structure with what a barrier says about it, None when none does."""
    margin = [int(np.ceil(LOOKED_AROUND_MM / d)) for d in geometry.spacing_zyx_mm]
    near = tuple(
        slice(max(0, s.start - m), min(n, s.stop + m)) for s, m, n in zip(box, margin, pieces.shape, strict=True)
    )
    start = tuple(s.start for s in reversed(near))
    part = geometry.crop(start, tuple(s.stop - s.start for s in reversed(near)))
    suv = sitk.GetArrayFromImage(resample(pet, part))
    mask = pieces[near] == number
    others = (pieces[near] > 0) & ~mask
    suv_max = float(suv[mask].max())
    if suv_max > HOTTEST_BRAIN_SUV:
        return None
    threshold = THRESHOLD_SHARE * suv_max
    if too_large_ml(mask, suv, np.zeros_like(mask), threshold, part.voxel_volume_ml) is not None:
        why = "part of a hot region larger than any lesion"
    else:
        # Up to the structure's own height everything around it counts: the brain is about as hot as what lies in it.
        around = surroundings_suv(mask, suv, others, suv_max, part.spacing_zyx_mm)
        if why_no_lesion(mask, part, threshold, around, whole) is None:
            return None
        cut = why_no_lesion(mask, part, threshold, None, whole) is not None
        why = "cut off by the end of the scan" if cut else "surrounded by tissue as hot as brain"
    center = part.to_lps(np.argwhere(mask)[:, ::-1]).mean(axis=0)
    volume_ml = float(np.count_nonzero(mask) * part.voxel_volume_ml)
    return TakenOut(volume_ml, suv_max, tuple(float(x) for x in center), why)
