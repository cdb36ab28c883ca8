"""One segmentation node in work: its lesions, what was measured, and the corrections."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from HNTumorSegLib.errors import GeometryError, InputError, LesionError
from HNTumorSegLib.lesions import editing
from HNTumorSegLib.lesions.lesion_set import LesionSet
from HNTumorSegLib.measures.cache import MeasurementCache
from HNTumorSegLib.mrml.live_lesions import LiveLesions
from HNTumorSegLib.mrml.pet_units import pet_units
from HNTumorSegLib.mrml.study_nodes import pet_image
from HNTumorSegLib.mrml.volumes import LPS_TO_RAS, array_from_vtk_image, node_geometry
from HNTumorSegPanels.parameters import Origin


class OpenLesions:
    """Lesions of a segmentation node with the PET they are measured in.

    Args:
        node: vtkMRMLSegmentationNode.
        actor: who acts, for the record of edits.
    """

    def __init__(self, node: Any, actor: str) -> None:
        self.node, self.actor = node, actor
        self.live = LiveLesions(node, actor)
        self._pet_key: tuple | None = None
        self._pet: Any = None
        self._cache: Any = None

    @property
    def lesions(self) -> LesionSet:
        """The lesions as they are in memory."""
        return self.live.lesions

    # Looking

    def pet(self, node: Any) -> Any:
        """SUVbw image of a PET node; made again only when the node or its units changed."""
        if node is None:
            raise InputError("No PET is chosen. Choose the PET first.")
        key = (node.GetID(), node.GetImageData().GetMTime(), node.GetMTime(), pet_units(node).factor)
        if key != self._pet_key:
            self._pet, self._pet_key, self._cache = pet_image(node), key, None
        return self._pet

    def measure(self, pet: Any) -> Any:
        """Take over what was painted, then measure what changed since the last time."""
        image = self.pet(pet)
        self.live.take_over()
        if self._cache is None or self._cache.lesion_set is not self.lesions:
            self._cache = MeasurementCache(self.lesions, image)
        return self._cache.measurements()

    def uncertainties(self) -> dict[int, float]:
        """Mean of the uncertainty volume inside each lesion; empty when there is none on the lesions' grid."""
        volume = Origin(self.node).uncertainty
        if volume is None or volume.GetImageData() is None:
            return {}
        try:
            if self.lesions.geometry.distance_mm(node_geometry(volume)) > 1e-2:
                return {}
        except (GeometryError, InputError):
            return {}
        values = array_from_vtk_image(volume.GetImageData())
        if values.shape != self.lesions.labels.shape:
            return {}
        return {
            number: float(values[box][self.lesions.labels[box] == number].mean())
            for number, box in self.lesions.voxel_index().boxes.items()
        }

    def record(self) -> list[tuple[str, Any]]:
        """(lesion name, edit), newest first."""
        all_of_them = [*self.lesions.lesions, *self.lesions.removed]
        edits = [(lesion.name, edit) for lesion in all_of_them for edit in lesion.history]
        return sorted(edits, key=lambda pair: pair[1].time_utc, reverse=True)

    def centre_ras(self, lesion_id: int) -> tuple[float, float, float]:
        """The voxel of a lesion that is nearest to its centre of volume, RAS in mm: always inside the lesion."""
        box = self.lesions.box(lesion_id)
        if box is None:
            raise LesionError(f"'{self.lesions[lesion_id].name}' has no voxels.")
        zyx = np.argwhere(self.lesions.labels[box] == lesion_id)
        spacing = self.lesions.geometry.spacing_zyx_mm
        nearest = zyx[np.argmin((((zyx - zyx.mean(axis=0)) * spacing) ** 2).sum(axis=1))]
        lps = self.lesions.geometry.to_lps((nearest + [s.start for s in box])[::-1])
        return tuple((LPS_TO_RAS @ [*lps, 1.0])[:3].tolist())

    # Correcting

    def add(self, pet: Any, ras: Iterable[float], kind: str | None) -> int:
        """The lesion at a position in the PET; its id."""
        image = self.pet(pet)
        lps = tuple((LPS_TO_RAS @ [*ras, 1.0])[:3].tolist())
        return self.live.apply(lambda lesions: lesions.add_by_click(image, lps, kind=kind, actor=self.actor)).id

    def relabel(self, lesion_ids: int | Iterable[int], kind: str) -> None:
        """Another kind."""
        self._each(editing.RELABEL, lesion_ids, lambda lesions, n: lesions.relabel(n, kind, actor=self.actor))

    def remove(self, lesion_ids: int | Iterable[int]) -> None:
        """No lesion."""
        self._each(editing.REMOVE, lesion_ids, lambda lesions, n: lesions.remove(n, actor=self.actor))

    def _each(self, tool: str, lesion_ids: int | Iterable[int], change: Callable[[LesionSet, int], Any]) -> None:
        """The same correction of several lesions: all or none of them, and one step of undo."""
        numbers = _several(lesion_ids)

        def change_all(lesions: LesionSet) -> None:
            with lesions.one_step(tool):
                for number in numbers:
                    change(lesions, number)

        self.live.apply(change_all)

    def split(self, lesion_id: int, pet: Any) -> list[int]:
        """Ids of the parts."""
        image = self.pet(pet) if pet is not None else None
        return [x.id for x in self.live.apply(lambda lesions: lesions.split(lesion_id, image, actor=self.actor))]

    def merge(self, lesion_ids: Iterable[int]) -> int:
        """Id of the whole."""
        numbers = list(lesion_ids)
        return self.live.apply(lambda lesions: lesions.merge(numbers, actor=self.actor)).id

    def apply_threshold(self, pet: Any, lesion_id: int, fraction: float) -> None:
        """A share of the lesion's SUVmax as its border."""
        image = self.pet(pet)
        self.live.apply(
            lambda lesions: lesions.apply_threshold(lesion_id, image, fraction_of_max=fraction, actor=self.actor)
        )

    def fill_holes(self, lesion_id: int) -> None:
        """Nothing enclosed is left out."""
        self.live.apply(lambda lesions: lesions.fill_holes(lesion_id, actor=self.actor))

    def confirm(self, lesion_ids: int | Iterable[int] | None) -> None:
        """A person agrees."""
        if lesion_ids is None:
            self.live.apply(lambda lesions: lesions.confirm_all(actor=self.actor))
            return
        numbers = _several(lesion_ids)
        self.live.apply(lambda lesions: editing.confirm(lesions, numbers, self.actor))

    def undo(self) -> None:
        """One step back."""
        self.live.apply(lambda lesions: lesions.undo())

    def redo(self) -> None:
        """One step forward again."""
        self.live.apply(lambda lesions: lesions.redo())


def _several(lesion_ids: int | Iterable[int]) -> list[int]:
    return [lesion_ids] if isinstance(lesion_ids, int) else list(lesion_ids)
