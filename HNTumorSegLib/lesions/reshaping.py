"""Corrections that work out new voxels from the PET: splitting at a valley, growing and shrinking to a threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.errors import LesionError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.lesions.barriers import LARGEST_ML, surroundings_suv, too_large_ml, why_no_lesion
from HNTumorSegLib.lesions.editing import SPLIT, THRESHOLD, free_id, margin_voxels, record, replace_mask, suv_in
from HNTumorSegLib.lesions.history import grown
from HNTumorSegLib.lesions.lesion import Lesion
from HNTumorSegLib.lesions.uptake import Hills, region_above, sharpened

if TYPE_CHECKING:
    from HNTumorSegLib.lesions.lesion_set import Box, LesionSet

GROW_MM = 30.0
"""A lesion grows to a threshold by no more than this in one go."""

FLOOD_MM = 60.0
"""How far around the lesion it is looked whether the threshold floods."""

SPLIT_SHARPENING = 1.5
"""Less than a click needs: that there are two parts is known here, and noise must not decide which."""

VALLEY = 0.05
"""A dip in the PET below this share of the lower summit is noise; the shape decides then."""


def split(lesion_set: LesionSet, lesion_id: int, pet: sitk.Image | None, parts: int, actor: str) -> list[Lesion]:
    """See :meth:`LesionSet.split`."""
    lesion = lesion_set[lesion_id]
    box = lesion_set.box(lesion_id)
    n_voxels = 0 if box is None else lesion_set.voxel_index().voxels[lesion_id]
    if parts < 2:
        raise LesionError(f"A lesion is split into 2 parts or more, not {parts}.")
    if n_voxels < parts:
        word = "voxel" if n_voxels == 1 else "voxels"
        raise LesionError(f"'{lesion.name}' has {n_voxels} {word} and cannot be split into {parts} parts.")
    mask = lesion_set.labels[box] == lesion_id
    numbers = _parts(lesion_set, mask, box, pet, parts)
    if numbers is None:
        basis = "shape" if pet is None else "PET or shape"
        raise LesionError(
            f"'{lesion.name}' cannot be split into {parts} parts: nothing in its {basis} parts it so. Erase a gap with "
            "the brush, or ask for fewer parts."
        )
    voxel_ml = lesion_set.geometry.voxel_volume_ml
    counts = np.bincount(numbers[mask], minlength=parts + 1)
    order = sorted(range(1, parts + 1), key=lambda n: (-counts[n], n))
    with lesion_set.edits.step(lesion_set, SPLIT, box):
        before = lesion_set.volume_ml(lesion_id)
        made = [lesion]
        for number in order[1:]:
            other = replace(lesion, id=free_id(lesion_set), history=list(lesion.history))
            lesion_set.labels[box][mask & (numbers == number)] = other.id
            lesion_set.lesions.append(other)
            made.append(other)
        ids = ", ".join(str(x.id) for x in made)
        for part, number in zip(made, order, strict=True):
            record(part, SPLIT, actor, before, int(counts[number]) * voxel_ml, f"id {lesion_id} into ids {ids}")
    return made


def _parts(
    lesion_set: LesionSet, mask: np.ndarray, box: tuple[slice, slice, slice], pet: sitk.Image | None, parts: int
) -> np.ndarray | None:
    """Numbers 1 to ``parts`` on the mask, 0 elsewhere; None when there are not as many parts."""
    spacing = lesion_set.geometry.spacing_zyx_mm
    padded = np.pad(mask, 1)
    depth = ndimage.distance_transform_edt(padded, spacing)[1:-1, 1:-1, 1:-1].astype(np.float32)
    # Smoothed a little: the distance map of voxels is a staircase with a summit on every step.
    depth = ndimage.gaussian_filter(depth, 0.5)
    if pet is not None:
        wide = grown(box, margin_voxels(lesion_set, 10.0), lesion_set.labels.shape)
        inner = tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(box, wide, strict=True))
        uptake = sharpened(suv_in(lesion_set, pet, wide), spacing, SPLIT_SHARPENING)[inner]
        found = _hills(uptake, mask, parts, VALLEY)
        if found is not None:
            return found
    return _hills(depth, mask, parts, VALLEY)


def _hills(image: np.ndarray, mask: np.ndarray, parts: int, valley: float) -> np.ndarray | None:
    """The ``parts`` most prominent hills; the others join the neighbour to which the pass is highest.

    The prominence of a hill is its summit's height above its highest pass; infinite without neighbours.
    """
    hills = Hills(image, mask, 0.0)
    root = list(range(hills.n + 1))
    summit = hills.summit.astype(float)
    passes = dict(hills.neighbours())
    alive = set(range(1, hills.n + 1))
    while True:
        weakest, least = None, np.inf
        for hill in alive:
            if passes[hill]:
                prominence = summit[hill] - max(passes[hill].values())
                if prominence < least:
                    weakest, least = hill, prominence
        enough = weakest is None or least >= valley * max(summit[weakest], 1e-6)
        if len(alive) <= parts and enough:
            break
        if weakest is None or len(alive) <= 1:
            return None
        into = max(passes[weakest], key=lambda h: (passes[weakest][h], -h))
        for other, height in passes.pop(weakest).items():
            del passes[other][weakest]
            if other != into:
                passes[into][other] = passes[other][into] = max(height, passes[into].get(other, -np.inf))
        summit[into] = max(summit[into], summit[weakest])
        alive.remove(weakest)
        root = [into if r == weakest else r for r in root]
    if len(alive) != parts:
        return None
    lookup = np.zeros(hills.n + 1, np.int32)
    for number, hill in enumerate(sorted(alive), start=1):
        lookup[[n for n, r in enumerate(root) if r == hill and n]] = number
    return lookup[hills.number]


def apply_threshold(
    lesion_set: LesionSet,
    lesion_id: int,
    pet: sitk.Image,
    suv_threshold: float | None,
    fraction_of_max: float | None,
    actor: str,
) -> Lesion:
    """See :meth:`LesionSet.apply_threshold`."""
    lesion = lesion_set[lesion_id]
    if (suv_threshold is None) == (fraction_of_max is None):
        raise LesionError("Give either an SUV threshold or a fraction of the lesion's maximum.")
    box = lesion_set.box(lesion_id)
    if box is None:
        raise LesionError(f"'{lesion.name}' has no voxels to start from. Add it by a click.")
    wide = grown(box, margin_voxels(lesion_set, FLOOD_MM), lesion_set.labels.shape)
    suv = suv_in(lesion_set, pet, wide)
    labels = lesion_set.labels[wide]
    own = labels == lesion_id
    highest = float(suv[own].max())
    threshold = fraction_of_max * highest if suv_threshold is None else suv_threshold
    if not threshold > 0:
        raise LesionError(f"The threshold must be above 0, not {threshold:g}.")
    if threshold > highest:
        raise LesionError(
            f"The threshold SUV {threshold:.2f} lies above the maximum of '{lesion.name}' (SUV {highest:.2f}): nothing "
            "would be left. Choose a lower one."
        )
    taken = (labels != 0) & ~own
    region = region_above(suv, threshold, own, ~taken)
    if np.count_nonzero(region & ~own):  # what only shrinks a lesion needs nobody's leave
        _require_lesion(lesion_set, lesion, region, suv, taken, threshold, highest, wide, pet)
    reach = grown(box, margin_voxels(lesion_set, GROW_MM), lesion_set.labels.shape)
    inner = tuple(slice(r.start - w.start, r.stop - w.start) for r, w in zip(reach, wide, strict=True))
    distance = ndimage.distance_transform_edt(~own[inner], lesion_set.geometry.spacing_zyx_mm)
    region = region[inner] & (distance <= GROW_MM)
    return replace_mask(lesion_set, lesion_id, region, actor, reach, THRESHOLD, f"SUV {threshold:.2f}")


def _require_lesion(
    lesion_set: LesionSet,
    lesion: Lesion,
    region: np.ndarray,
    suv: np.ndarray,
    taken: np.ndarray,
    threshold: float,
    highest: float,
    box: Box,
    pet: sitk.Image,
) -> None:
    """Refuse a region that a click would refuse too (see :mod:`barriers`), unless the lesion was as large already."""
    advice = f"Choose a higher threshold; its maximum is SUV {highest:.1f}."
    voxel_ml, spacing = lesion_set.geometry.voxel_volume_ml, lesion_set.geometry.spacing_zyx_mm
    volume = too_large_ml(region, suv, taken, threshold, voxel_ml)
    if volume is not None and volume > lesion_set.volume_ml(lesion.id):
        raise LesionError(
            f"At SUV {threshold:.2f} '{lesion.name}' would flood its surroundings ({volume:.0f} ml or more, over "
            f"{LARGEST_ML:.0f} ml: brain or background). {advice}"
        )
    grid = lesion_set.geometry.crop(tuple(s.start for s in reversed(box)), region.shape[::-1])
    around = surroundings_suv(region, suv, taken, threshold, spacing)
    why_not = why_no_lesion(region, grid, threshold, around, Geometry.from_image(pet))
    if why_not is not None:
        raise LesionError(f"At SUV {threshold:.2f} '{lesion.name}' {why_not}. {advice}")
