"""All lesions of one study on one grid: the object that every correction goes through."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.errors import LesionError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.lesions import editing
from HNTumorSegLib.lesions.codes import KINDS, LABEL_OF_KIND, NODE, STYLE
from HNTumorSegLib.lesions.history import EditHistory, VoxelIndex
from HNTumorSegLib.lesions.lesion import Lesion

Box = tuple[slice, slice, slice]
"""Slices along z, y and x."""


@dataclass
class LesionSet:
    """Lesions and their voxels, and every correction of them.

    Each correction takes ``actor`` (who acts), appends an :class:`Edit` to the history of every lesion it touches, puts
    names and order right, and is one step of undo. An error leaves everything as it was. The rules of the
    status stand in :mod:`editing`. After writing to ``labels`` directly, call :meth:`touch`.

    Attributes:
        geometry: the reference grid.
        labels: zyx array, unsigned 16-bit: 0 background, otherwise the id of the lesion the voxel belongs to.
        lesions: in the order shown to the user (primaries first, each kind from large to small).
        notes: sentences for the user about how the set came about, for instance what was too small to keep.
        dropped_ml: volume of the structures that were left out because they were too small.
        removed: lesions that were deleted or merged into others, with their history.
        edits: the steps for undo and redo.
        revision: counts up with every change of voxels, kinds, names or status.
    """

    geometry: Geometry
    labels: np.ndarray
    lesions: list[Lesion] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    dropped_ml: float = 0.0
    removed: list[Lesion] = field(default_factory=list)
    edits: EditHistory = field(default_factory=EditHistory, init=False, repr=False, compare=False)
    revision: int = field(default=0, init=False, compare=False)
    _voxel_revisions: dict[int, int] = field(default_factory=dict, init=False, repr=False, compare=False)
    _index: VoxelIndex | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.labels.shape != self.geometry.shape_zyx:
            raise LesionError(
                f"The lesion array has shape {self.labels.shape}, the grid {self.geometry.shape_zyx} (zyx)."
            )

    def __len__(self) -> int:
        return len(self.lesions)

    def __getitem__(self, lesion_id: int) -> Lesion:
        """The lesion of that id; raises :class:`LesionError` when there is none."""
        for lesion in self.lesions:
            if lesion.id == lesion_id:
                return lesion
        raise LesionError(f"There is no lesion with id {lesion_id}; there are {[x.id for x in self.lesions]}.")

    def mask(self, lesion_id: int) -> np.ndarray:
        """Boolean zyx array of one lesion."""
        self[lesion_id]
        return self.labels == lesion_id

    def boxes(self) -> dict[int, Box]:
        """Smallest box around each lesion, by id; a lesion without voxels has none."""
        return dict(self._index.boxes) if self._index is not None else self._find_boxes()

    def _find_boxes(self) -> dict[int, Box]:
        outer = box_of_nonzero(self.labels)
        if outer is None:
            return {}
        found = ndimage.find_objects(self.labels[outer])
        return {
            number: tuple(slice(s.start + o.start, s.stop + o.start) for s, o in zip(box, outer, strict=True))
            for number, box in enumerate(found, start=1)
            if box is not None
        }

    def box(self, lesion_id: int) -> Box | None:
        """Smallest box around one lesion as slices along z, y, x; None when it has no voxel."""
        self[lesion_id]
        return self.boxes().get(lesion_id)

    def volumes_ml(self) -> dict[int, float]:
        """Volume of each lesion, by id."""
        if self._index is not None:
            return {x.id: self.volume_ml(x.id) for x in self.lesions}
        box = box_of_nonzero(self.labels)
        counts = np.zeros(0, int) if box is None else np.bincount(self.labels[box].ravel())
        voxel_ml = self.geometry.voxel_volume_ml
        return {x.id: float(counts[x.id]) * voxel_ml if x.id < len(counts) else 0.0 for x in self.lesions}

    def volume_ml(self, lesion_id: int) -> float:
        """Volume of one lesion."""
        return self.voxel_index().voxels.get(lesion_id, 0) * self.geometry.voxel_volume_ml

    def voxel_index(self) -> VoxelIndex:
        """Box and voxel count of every lesion: found once, then kept up to date by the corrections."""
        if self._index is None:
            boxes = self._find_boxes()
            voxels = {n: int(np.count_nonzero(self.labels[box] == n)) for n, box in boxes.items()}
            self._index = VoxelIndex(boxes, voxels)
        return self._index

    def voxels_changed(self, box: Box | None, before: np.ndarray | None) -> None:
        """Take note that the voxels of ``box`` were ``before``; called by every correction."""
        self.revision += 1
        if box is not None:
            changed = self.voxel_index().update(self.labels, box, before)
            self._voxel_revisions.update(dict.fromkeys(changed, self.revision))

    def touch(self, ids: Iterable[int] | None = None) -> None:
        """Say that ``labels`` was written to directly: these lesions (all by default) have other voxels now."""
        self.revision += 1
        self._index = None
        ids = [x.id for x in self.lesions] if ids is None else ids
        self._voxel_revisions.update(dict.fromkeys(ids, self.revision))

    def voxel_revision(self, lesion_id: int) -> int:
        """The :attr:`revision` at which a lesion's voxels changed last; 0 when never."""
        return self._voxel_revisions.get(lesion_id, 0)

    def changed_ids(self, since_revision: int) -> set[int]:
        """Lesions of the set whose voxels changed after that revision."""
        return {x.id for x in self.lesions if self.voxel_revision(x.id) > since_revision}

    def kind_labels(self) -> np.ndarray:
        """Unsigned 8-bit zyx array: 0 background, 1 primary tumour, 2 lymph-node metastasis."""
        lookup = np.zeros(max((x.id for x in self.lesions), default=0) + 1, np.uint8)
        for lesion in self.lesions:
            lookup[lesion.id] = LABEL_OF_KIND[lesion.kind]
        kinds = np.zeros(self.labels.shape, np.uint8)
        box = box_of_nonzero(self.labels)
        if box is not None:
            kinds[box] = lookup[self.labels[box]]
        return kinds

    def rename(self) -> None:
        """Put the lesions in order (primaries first, each kind from large to small) and name them accordingly.

        Ids stay as they are; lesions of equal volume keep the order of their ids.
        """
        volumes = self.volumes_ml()
        self.lesions.sort(key=lambda x: (KINDS.index(x.kind), -volumes[x.id], x.id))
        for kind in KINDS:
            for number, lesion in enumerate((x for x in self.lesions if x.kind == kind), start=1):
                lesion.name = f"{STYLE[kind].stem} {number}"

    # --- corrections ---

    def lesion_at(self, point_lps_mm: tuple[float, float, float]) -> Lesion | None:
        """The lesion whose voxel holds an LPS position; None when there is none."""
        return editing.lesion_at(self, point_lps_mm)

    def relabel(self, lesion_id: int, kind: str, actor: str = editing.USER) -> Lesion:
        """Make a primary tumour a node or the other way round; nothing happens when it is one already."""
        return editing.relabel(self, lesion_id, kind, actor)

    def remove(self, lesion_id: int, actor: str = editing.USER, note: str = "") -> None:
        """Delete a lesion; it goes to :attr:`removed` with its history."""
        editing.remove(self, lesion_id, actor, note)

    def split(
        self, lesion_id: int, pet: sitk.Image | None = None, parts: int = 2, actor: str = editing.USER
    ) -> list[Lesion]:
        """Part touching lesions along the valleys between their most prominent summits.

        The PET decides (sharpened, SUVbw, any grid) where its valleys are deeper than 5 % of the lower summit; else,
        and without a PET, the shape (distance to the surface). The largest part keeps the id; all keep the history.

        Returns:
            The parts, the largest first.

        Raises:
            LesionError: too few voxels, or neither PET nor shape has that many parts.
        """
        from HNTumorSegLib.lesions import reshaping

        return reshaping.split(self, lesion_id, pet, parts, actor)

    def merge(self, ids: Iterable[int], actor: str = editing.USER) -> Lesion:
        """Join lesions into the largest of them, which keeps its id and kind; the others go to :attr:`removed`."""
        return editing.merge(self, ids, actor)

    def add(self, mask_zyx: np.ndarray, kind: str, actor: str = editing.USER, box: Box | None = None) -> Lesion:
        """A new lesion drawn by hand.

        Args:
            mask_zyx: on the whole grid, or on ``box``; voxels of other lesions stay theirs.
            kind: ``primary`` or ``node``.
            actor: who acts.
            box: slices along z, y, x that ``mask_zyx`` covers.

        Raises:
            LesionError: no voxel, none that is free, or a mask that does not fit.
        """
        return editing.add(self, mask_zyx, kind, actor, box, editing.ADD)

    def add_by_click(
        self,
        pet: sitk.Image,
        point_lps_mm: tuple[float, float, float],
        kind: str | None = NODE,
        actor: str = editing.USER,
    ) -> Lesion:
        """A new lesion where the PET (SUVbw, any grid) was clicked: see :mod:`one_click`; None as kind means node.

        Raises:
            LesionError: when nothing is found, saying why with the number.
        """
        return editing.add_by_click(self, pet, point_lps_mm, kind, actor)

    def apply_threshold(
        self,
        lesion_id: int,
        pet: sitk.Image,
        suv_threshold: float | None = None,
        fraction_of_max: float | None = None,
        actor: str = editing.USER,
    ) -> Lesion:
        """Grow or shrink a lesion to what is connected to it above an SUV, or above a fraction of its own SUVmax.

        Never into another lesion, by at most 30 mm, and never into what a click refuses too (:mod:`barriers`): more
        than 250 ml in one piece, tissue that is hot itself, beyond the edge of the PET. Shrinking is always possible.

        Raises:
            LesionError: both or none of the thresholds given, nothing left, or the region floods.
        """
        from HNTumorSegLib.lesions import reshaping

        return reshaping.apply_threshold(self, lesion_id, pet, suv_threshold, fraction_of_max, actor)

    def replace_mask(
        self,
        lesion_id: int,
        mask_zyx: np.ndarray,
        box: Box | None = None,
        actor: str = editing.USER,
        tool: str = editing.PAINT,
    ) -> Lesion:
        """Give a lesion new voxels after painting or erasing.

        Voxels painted over another lesion are taken from it, and recorded there; a lesion that is left without voxels
        (this one or another) goes to :attr:`removed`. Nothing happens when no voxel differs.

        Args:
            lesion_id: the lesion.
            mask_zyx: its voxels on the whole grid, or in ``box``; outside the box they stay as they are.
            box: slices along z, y, x.
            actor: who acts.
            tool: ``paint``, ``erase`` or another word for the record.
        """
        return editing.replace_mask(self, lesion_id, mask_zyx, actor, box, tool)

    def fill_holes(self, lesion_id: int, actor: str = editing.USER) -> Lesion:
        """Fill closed holes (a necrotic core); :class:`LesionError` when there is none."""
        return editing.fill_holes(self, lesion_id, actor)

    def confirm(self, lesion_id: int, actor: str = editing.USER) -> Lesion:
        """Confirm one lesion; nothing happens when it is confirmed already."""
        editing.confirm(self, [lesion_id], actor)
        return self[lesion_id]

    def confirm_all(self, actor: str = editing.USER) -> None:
        """Confirm every lesion, as one step of undo."""
        editing.confirm(self, [x.id for x in self.lesions], actor)

    def one_step(self, tool: str) -> AbstractContextManager[None]:
        """Corrections made inside the ``with`` block are one step of undo; an error there takes all of them back.

        Args:
            tool: the word for the whole, which :meth:`undo` returns.
        """
        return self.edits.joined(self, tool)

    @property
    def can_undo(self) -> bool:
        """Whether there is a correction to take back."""
        return self.edits.undo_tool is not None

    @property
    def can_redo(self) -> bool:
        """Whether there is a correction to do again."""
        return self.edits.redo_tool is not None

    def undo(self) -> str:
        """Take the last correction back, its record included; returns its tool. :class:`LesionError` if none."""
        return self.edits.undo(self)

    def redo(self) -> str:
        """Do the last undone correction again; returns its tool. :class:`LesionError` if none."""
        return self.edits.redo(self)


def box_of_nonzero(array: np.ndarray) -> Box | None:
    """Smallest box around the non-zero voxels of a zyx array; None when all are zero."""
    planes = np.flatnonzero(array.any(axis=(1, 2)))
    if not planes.size:
        return None
    z = slice(int(planes[0]), int(planes[-1]) + 1)
    # Slice by slice: one pass over whole slabs would make a copy as large as the array.
    seen = np.zeros(array.shape[1:], bool)
    for plane in array[z]:
        seen |= plane != 0
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return z, slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
