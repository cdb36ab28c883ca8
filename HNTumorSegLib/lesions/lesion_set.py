"""All lesions of one study on one grid: the object that every correction goes through."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from HNTumorSegLib.errors import LesionError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.lesions.lesion import Lesion


@dataclass
class LesionSet:
    """Lesions and their voxels.

    Attributes:
        geometry: the reference grid.
        labels: zyx array, unsigned 16-bit: 0 background, otherwise the id of the lesion the voxel belongs to.
        lesions: in the order shown to the user (primaries first, each kind from large to small).
    """

    geometry: Geometry
    labels: np.ndarray
    lesions: list[Lesion] = field(default_factory=list)

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
