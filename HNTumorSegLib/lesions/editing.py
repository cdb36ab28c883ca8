"""The corrections of a lesion set, one function each; :class:`LesionSet` offers them as methods.

Rules of the status:

- a lesion of the model (``proposed``) or one that was ``confirmed`` becomes ``edited`` when its voxels or its kind
  change: what was confirmed was another lesion, so it waits for confirmation again;
- a lesion that a person made is ``added`` and stays so when it is edited;
- confirming makes any of them ``confirmed``;
- the parts of a split and the result of a merge are ``edited``, or ``added`` when everything they come from was.

Every correction appends an :class:`Edit` to the history of each lesion it touches. What is deleted, merged into another
or painted over completely moves to ``LesionSet.removed`` with its history, and its id is not used again.
Undo takes the correction and its record back together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.errors import LesionError
from HNTumorSegLib.geometry import Geometry, image_from_array, resample
from HNTumorSegLib.lesions.codes import KINDS, NODE
from HNTumorSegLib.lesions.history import now_utc, shifted, union
from HNTumorSegLib.lesions.lesion import ADDED, CONFIRMED, EDITED, Edit, Lesion

if TYPE_CHECKING:
    from HNTumorSegLib.lesions.lesion_set import Box, LesionSet

USER = "user"
RELABEL, REMOVE, SPLIT, MERGE, ADD, CLICK = "relabel", "remove", "split", "merge", "add", "one click"
THRESHOLD, PAINT, FILL, CONFIRM = "threshold", "paint", "fill holes", "confirm"
LARGEST_ID = np.iinfo(np.uint16).max


def record(lesion: Lesion, tool: str, actor: str, before_ml: float, after_ml: float, note: str = "") -> None:
    """Append to the history, and let the status follow."""
    lesion.history.append(Edit(actor, tool, now_utc(), float(before_ml), float(after_ml), note))
    if tool == CONFIRM:
        lesion.status = CONFIRMED
    elif tool in (ADD, CLICK):
        lesion.status = ADDED
    elif lesion.status != ADDED:
        lesion.status = EDITED if not _made_by_hand(lesion) else ADDED


def _made_by_hand(lesion: Lesion) -> bool:
    return any(edit.tool in (ADD, CLICK) for edit in lesion.history)


def free_id(lesion_set: LesionSet) -> int:
    """An id that no lesion has or had."""
    number = max((x.id for x in (*lesion_set.lesions, *lesion_set.removed)), default=0) + 1
    if number > LARGEST_ID:
        raise LesionError(
            f"There were {LARGEST_ID} lesions in this set; no more can be added. Start from a saved file."
        )
    return number


def check_kind(kind: str) -> None:
    """Only the kinds there are."""
    if kind not in KINDS:
        raise LesionError(f"A lesion's kind is one of {', '.join(KINDS)}, not '{kind}'.")


def relabel(lesion_set: LesionSet, lesion_id: int, kind: str, actor: str) -> Lesion:
    """See :meth:`LesionSet.relabel`."""
    check_kind(kind)
    lesion = lesion_set[lesion_id]
    if lesion.kind == kind:
        return lesion
    with lesion_set.edits.step(lesion_set, RELABEL):
        volume = lesion_set.volume_ml(lesion_id)
        note = f"{lesion.kind} to {kind}"
        lesion.kind = kind
        record(lesion, RELABEL, actor, volume, volume, note)
    return lesion


def remove(lesion_set: LesionSet, lesion_id: int, actor: str, note: str = "") -> None:
    """See :meth:`LesionSet.remove`."""
    lesion = lesion_set[lesion_id]
    box = lesion_set.box(lesion_id)
    with lesion_set.edits.step(lesion_set, REMOVE, box):
        before = lesion_set.volume_ml(lesion_id)
        if box is not None:
            part = lesion_set.labels[box]
            part[part == lesion_id] = 0
        _take_out(lesion_set, lesion, REMOVE, actor, before, note)


def _take_out(lesion_set: LesionSet, lesion: Lesion, tool: str, actor: str, before_ml: float, note: str) -> None:
    """Move a lesion that has no voxels any more to the removed ones."""
    lesion_set.lesions = [x for x in lesion_set.lesions if x is not lesion]
    status = lesion.status
    record(lesion, tool, actor, before_ml, 0.0, note)
    lesion.status = status  # as it was when it went
    lesion_set.removed.append(lesion)


def confirm(lesion_set: LesionSet, ids: Iterable[int], actor: str) -> None:
    """See :meth:`LesionSet.confirm`."""
    lesions = [lesion_set[i] for i in ids]
    open_ones = [x for x in lesions if x.status != CONFIRMED]
    if not open_ones:
        return
    with lesion_set.edits.step(lesion_set, CONFIRM):
        for lesion in open_ones:
            volume = lesion_set.volume_ml(lesion.id)
            record(lesion, CONFIRM, actor, volume, volume)


def merge(lesion_set: LesionSet, ids: Iterable[int], actor: str) -> Lesion:
    """See :meth:`LesionSet.merge`."""
    lesions = [lesion_set[i] for i in dict.fromkeys(ids)]
    if len(lesions) < 2:
        raise LesionError("Merging needs two lesions or more. Choose a second one.")
    volumes = {x.id: lesion_set.volume_ml(x.id) for x in lesions}
    first, *others = sorted(lesions, key=lambda x: (-volumes[x.id], x.id))
    boxes = [b for b in (lesion_set.box(x.id) for x in others) if b is not None]
    box = boxes[0] if boxes else None
    for other in boxes[1:]:
        box = union(box, other)
    with lesion_set.edits.step(lesion_set, MERGE, box):
        by_hand = all(_made_by_hand(x) or x.status == ADDED for x in lesions)
        names = ", ".join(f"{x.name} (id {x.id}, {x.kind})" for x in others)
        if box is not None:
            part = lesion_set.labels[box]
            part[np.isin(part, [x.id for x in others])] = first.id
        for other in others:
            _take_out(lesion_set, other, MERGE, actor, volumes[other.id], f"merged into {first.name} (id {first.id})")
        record(first, MERGE, actor, volumes[first.id], sum(volumes.values()), f"with {names}")
        first.status = ADDED if by_hand else EDITED
    return first


def add(
    lesion_set: LesionSet, mask_zyx: np.ndarray, kind: str, actor: str, box: Box | None, tool: str, note: str = ""
) -> Lesion:
    """See :meth:`LesionSet.add`."""
    check_kind(kind)
    box, mask = _boxed(lesion_set, mask_zyx, box)
    if not mask.any():
        raise LesionError("The new lesion has no voxel inside the image. Paint or click where there is uptake.")
    free = mask & (lesion_set.labels[box] == 0)
    if not free.any():
        owner = int(np.bincount(lesion_set.labels[box][mask]).argmax())
        raise LesionError(f"The new lesion lies wholly inside '{lesion_set[owner].name}'. Edit that one, or split it.")
    tight = shifted(_tight(free), box)
    free = free[_tight(free)]
    with lesion_set.edits.step(lesion_set, tool, tight):
        lesion = Lesion(free_id(lesion_set), kind, "", ADDED)
        lesion_set.labels[tight][free] = lesion.id
        lesion_set.lesions.append(lesion)
        volume = int(np.count_nonzero(free)) * lesion_set.geometry.voxel_volume_ml
        record(lesion, tool, actor, 0.0, volume, note)
    return lesion


def add_by_click(
    lesion_set: LesionSet, pet: sitk.Image, point_lps_mm: tuple[float, float, float], kind: str | None, actor: str
) -> Lesion:
    """See :meth:`LesionSet.add_by_click`."""
    from HNTumorSegLib.lesions.one_click import PATCH_HALF_WIDTHS_MM, delineate_click

    kind = NODE if kind is None else kind
    check_kind(kind)
    inside = lesion_at(lesion_set, point_lps_mm)
    if inside is not None:
        raise LesionError(
            f"The click lies inside '{inside.name}'. Click beside it, or edit that lesion (threshold, paint, split)."
        )
    taken = _around(lesion_set, point_lps_mm, PATCH_HALF_WIDTHS_MM[-1] + 10)
    found = delineate_click(pet, point_lps_mm, taken)
    box, mask = _on_grid(lesion_set.geometry, found.mask, found.geometry)
    if not mask.any():
        raise LesionError(
            "The lesion that was clicked lies outside the grid of the segmentation. Choose the PET as reference grid."
        )
    note = (
        f"threshold SUV {found.threshold_suv:.2f}, background {found.background_suv:.2f}, maximum {found.suv_max:.2f}, "
        f"at ({', '.join(f'{x:.1f}' for x in point_lps_mm)}) mm LPS"
    )
    return add(lesion_set, mask, kind, actor, box, CLICK, note)


def lesion_at(lesion_set: LesionSet, point_lps_mm: tuple[float, float, float]) -> Lesion | None:
    """The lesion whose voxel holds a position; None when there is none."""
    ijk = np.rint(lesion_set.geometry.to_ijk(np.asarray(point_lps_mm, float)))
    if not np.isfinite(ijk).all() or (ijk < 0).any() or (ijk >= lesion_set.geometry.size).any():
        return None
    number = int(lesion_set.labels[tuple(ijk.astype(int)[::-1])])
    return lesion_set[number] if number else None


def _around(lesion_set: LesionSet, point_lps_mm: tuple[float, float, float], radius_mm: float) -> sitk.Image:
    """The lesions near a position as an image; a single empty voxel when the grid is elsewhere."""
    geometry = lesion_set.geometry
    ijk = geometry.to_ijk(np.asarray(point_lps_mm, float))
    # A cube along the grid's axes that holds the PET's cube whatever way both are turned.
    reach = np.ceil(radius_mm * np.sqrt(3) / np.asarray(geometry.spacing_mm))
    ijk = np.where(np.isfinite(ijk), ijk, 0)
    start = np.clip(np.floor(ijk - reach), 0, np.asarray(geometry.size) - 1).astype(int)
    stop = np.clip(np.ceil(ijk + reach) + 1, start + 1, geometry.size).astype(int)
    near = tuple(slice(a, b) for a, b in zip(start[::-1], stop[::-1], strict=True))
    boxes = [
        b
        for b in lesion_set.boxes().values()
        if all(s.start < t.stop and t.start < s.stop for s, t in zip(b, near, strict=True))
    ]
    box = tuple(slice(s.start, s.start + 1) for s in near)
    if boxes:
        box = boxes[0]
        for other in boxes[1:]:
            box = union(box, other)
        box = tuple(slice(max(s.start, t.start), min(s.stop, t.stop)) for s, t in zip(box, near, strict=True))
    part = lesion_set.labels[box] > 0
    return image_from_array(part, geometry.crop(tuple(s.start for s in reversed(box)), part.shape[::-1]))


def _on_grid(geometry: Geometry, mask: np.ndarray, grid: Geometry) -> tuple[Box, np.ndarray]:
    """A mask on another grid as a box and a mask on this one: linear, cut at one half."""
    mask_box = _tight(mask)
    margin = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in mask_box)
    mask, grid = mask[margin], grid.crop(tuple(s.start for s in reversed(margin)), mask[margin].shape[::-1])
    corners = geometry.to_ijk(grid.corners_mm())
    start = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    stop = np.minimum(np.ceil(corners.max(axis=0)) + 1, geometry.size).astype(int)
    if (stop <= start).any():
        return (slice(0, 1),) * 3, np.zeros((1, 1, 1), bool)
    part = geometry.crop(tuple(start.tolist()), tuple((stop - start).tolist()))
    image = image_from_array(mask.astype(np.float32), grid)
    box = tuple(slice(int(a), int(b)) for a, b in zip(start[::-1], stop[::-1], strict=True))
    return box, sitk.GetArrayFromImage(resample(image, part)) >= 0.5


def _boxed(lesion_set: LesionSet, mask: np.ndarray, box: Box | None) -> tuple[Box, np.ndarray]:
    """A mask of the whole grid, or of ``box``, as a box and its mask."""
    mask = np.asarray(mask) != 0
    if box is None:
        if mask.shape != lesion_set.labels.shape:
            raise LesionError(
                f"The mask has shape {mask.shape}, the lesions' grid {lesion_set.labels.shape} (zyx). Give the mask on "
                "that grid, or with the box it belongs to."
            )
        from HNTumorSegLib.lesions.lesion_set import box_of_nonzero

        box = box_of_nonzero(mask) or (slice(0, 1),) * 3
        return box, mask[box]
    shape = tuple(s.stop - s.start for s in box)
    if mask.shape != shape or any(s.start < 0 or s.stop > n for s, n in zip(box, lesion_set.labels.shape, strict=True)):
        raise LesionError(f"The mask has shape {mask.shape} and the box {shape}; the box must lie in the grid.")
    return box, mask


def _tight(mask: np.ndarray) -> Box:
    return ndimage.find_objects(mask.view(np.uint8))[0]


def replace_mask(
    lesion_set: LesionSet, lesion_id: int, mask_zyx: np.ndarray, actor: str, box: Box | None, tool: str, note: str = ""
) -> Lesion:
    """See :meth:`LesionSet.replace_mask`."""
    lesion = lesion_set[lesion_id]
    old = lesion_set.box(lesion_id)
    if box is None:
        box, mask = _boxed(lesion_set, mask_zyx, None)
        whole = box if old is None else union(box, old)
        wide = np.zeros([s.stop - s.start for s in whole], bool)
        wide[tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(box, whole, strict=True))] = mask
        box, mask = whole, wide
    else:
        box, mask = _boxed(lesion_set, mask_zyx, box)
    change = mask != (lesion_set.labels[box] == lesion_id)
    if not change.any():
        return lesion
    inner = _tight(change)
    box, mask = shifted(inner, box), mask[inner]
    with lesion_set.edits.step(lesion_set, tool, box):
        part = lesion_set.labels[box]
        voxel_ml = lesion_set.geometry.voxel_volume_ml
        before = part.copy()
        part[(before == lesion_id) & ~mask] = 0
        part[mask] = lesion_id
        for other_id in set(np.unique(before[mask]).tolist()) - {0, lesion_id}:
            other, ml = lesion_set[other_id], lesion_set.volume_ml(other_id)
            left = ml - int(np.count_nonzero(mask & (before == other_id))) * voxel_ml
            text = f"painted over by {lesion.name} (id {lesion.id})"
            if left < 0.5 * voxel_ml:
                _take_out(lesion_set, other, tool, actor, ml, text)
            else:
                record(other, tool, actor, ml, left, text)
        ml = lesion_set.volume_ml(lesion_id)
        gain = int(np.count_nonzero(mask & (before != lesion_id))) - int(
            np.count_nonzero((before == lesion_id) & ~mask)
        )
        if ml + gain * voxel_ml < 0.5 * voxel_ml:
            _take_out(lesion_set, lesion, tool, actor, ml, note or "nothing was left")
        else:
            record(lesion, tool, actor, ml, ml + gain * voxel_ml, note)
    return lesion


def fill_holes(lesion_set: LesionSet, lesion_id: int, actor: str) -> Lesion:
    """See :meth:`LesionSet.fill_holes`."""
    lesion = lesion_set[lesion_id]
    box = lesion_set.box(lesion_id)
    part = None if box is None else lesion_set.labels[box]
    filled = None if box is None else ndimage.binary_fill_holes(part == lesion_id) & ((part == 0) | (part == lesion_id))
    if filled is None or np.count_nonzero(filled) == np.count_nonzero(part == lesion_id):
        raise LesionError(f"'{lesion.name}' has no closed hole. Paint the gap shut, or lower its threshold.")
    return replace_mask(lesion_set, lesion_id, filled, actor, box, FILL)


def suv_in(lesion_set: LesionSet, pet: sitk.Image, box: Box) -> np.ndarray:
    """SUV on the voxels of a box (zyx, float32), interpolated linearly; 0 where the PET has no value."""
    size = tuple(s.stop - s.start for s in reversed(box))
    grid = lesion_set.geometry.crop(tuple(s.start for s in reversed(box)), size)
    image = pet if pet.GetPixelID() == sitk.sitkFloat32 else sitk.Cast(pet, sitk.sitkFloat32)
    return np.nan_to_num(sitk.GetArrayFromImage(resample(image, grid)), nan=0.0, posinf=0.0, neginf=0.0)


def margin_voxels(lesion_set: LesionSet, margin_mm: float) -> tuple[int, ...]:
    """A margin in voxels along z, y, x."""
    return tuple(int(np.ceil(margin_mm / s)) for s in lesion_set.geometry.spacing_zyx_mm)
