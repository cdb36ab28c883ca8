"""All lesions of one study on one grid: the object that every correction goes through."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from HNTumorSegLib.errors import LesionError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.lesions.codes import KINDS, LABEL_OF_KIND, STYLE
from HNTumorSegLib.lesions.lesion import Lesion

Box = tuple[slice, slice, slice]
"""Slices along z, y and x."""


@dataclass
class LesionSet:
    """Lesions and their voxels.

    Attributes:
        geometry: the reference grid.
        labels: zyx array, unsigned 16-bit: 0 background, otherwise the id of the lesion the voxel belongs to.
        lesions: in the order shown to the user (primaries first, each kind from large to small).
        notes: sentences for the user about how the set came about, for instance what was too small to keep.
        dropped_ml: volume of the structures that were left out because they were too small.
    """

    geometry: Geometry
    labels: np.ndarray
    lesions: list[Lesion] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    dropped_ml: float = 0.0

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
        box = box_of_nonzero(self.labels)
        counts = np.zeros(0, int) if box is None else np.bincount(self.labels[box].ravel())
        voxel_ml = self.geometry.voxel_volume_ml
        return {x.id: float(counts[x.id]) * voxel_ml if x.id < len(counts) else 0.0 for x in self.lesions}

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
