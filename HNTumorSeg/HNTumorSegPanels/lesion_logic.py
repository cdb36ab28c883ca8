"""The methods of the module's logic that look at lesions and correct them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import slicer

if TYPE_CHECKING:
    from HNTumorSegPanels.open_lesions import OpenLesions


class LesionLogic:
    """Base of HNTumorSegLogic.

    A lesion is named by its id (column ``id`` of :meth:`measure`); positions are RAS in mm. Methods raise
    HNTumorSegError with a sentence for the user, and then nothing was changed; they never ask.
    """

    def __init__(self) -> None:
        self._open: dict[str, OpenLesions] = {}

    def open(self, segmentation: Any) -> OpenLesions:
        """The lesions of a segmentation node, read from it at the first call.

        Raises:
            InputError: no segmentation, or one that is no longer in the scene.
            LesionError: a segment that is neither primary tumour nor node.
        """
        from HNTumorSegLib.errors import InputError
        from HNTumorSegPanels.open_lesions import OpenLesions

        if segmentation is None or segmentation.GetScene() is None:
            raise InputError("The segmentation is no longer in the scene. Choose another one, or delineate again.")
        found = self._open.get(segmentation.GetID())
        if found is None or found.node is not segmentation:
            found = self._open[segmentation.GetID()] = OpenLesions(segmentation, actor_name())
        return found

    def forget(self) -> None:
        """Let go of all lesions in memory; they are read again from the scene when asked for."""
        self._open.clear()

    def isWriting(self, segmentation: Any) -> bool:  # noqa: N802  Slicer's spelling, here and below
        """Whether the segmentation's events come from here."""
        found = self._open.get(segmentation.GetID()) if segmentation is not None else None
        return found is not None and found.live.writing

    # Looking

    def lesions(self, segmentation: Any) -> Any:
        """The LesionSet of a segmentation node: read it; change it by the methods below."""
        return self.open(segmentation).lesions

    def measure(self, segmentation: Any, pet: Any) -> Any:
        """Measurements of all lesions and their totals; what was painted meanwhile is taken over first."""
        return self.open(segmentation).measure(pet)

    def uncertainties(self, segmentation: Any) -> dict[int, float]:
        """The model's mean uncertainty inside each lesion, by id: 0 sure to 1; empty where it is not known."""
        return self.open(segmentation).uncertainties()

    def record(self, segmentation: Any) -> list[tuple[str, Any]]:
        """(lesion name, Edit), newest first: what people did."""
        return self.open(segmentation).record()

    def showLesion(self, segmentation: Any, lesion_id: int) -> None:  # noqa: N802
        """Move all slice views to the middle of a lesion."""
        ras = self.open(segmentation).centre_ras(lesion_id)
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *ras, slicer.vtkMRMLSliceNode.CenteredJumpSlice)

    # Correcting

    def addLesion(self, segmentation: Any, pet: Any, ras: Iterable[float], kind: str | None = None) -> int:  # noqa: N802
        """Add the lesion at a position in the PET as ``primary`` or ``node`` (the default); returns its id."""
        return self.open(segmentation).add(pet, ras, kind)

    def relabel(self, segmentation: Any, lesion_ids: int | Iterable[int], kind: str) -> None:
        """Make a lesion, or several in one step, ``primary`` or ``node``; names, colours and codes follow."""
        self.open(segmentation).relabel(lesion_ids, kind)

    def remove(self, segmentation: Any, lesion_ids: int | Iterable[int]) -> None:
        """Delete a lesion, or several in one step."""
        self.open(segmentation).remove(lesion_ids)

    def split(self, segmentation: Any, lesion_id: int, pet: Any = None) -> list[int]:
        """Cut a lesion apart, along the valley of the uptake when the PET is given; returns the ids of the parts."""
        return self.open(segmentation).split(lesion_id, pet)

    def merge(self, segmentation: Any, lesion_ids: Iterable[int]) -> int:
        """Make lesions of one kind one; returns its id."""
        return self.open(segmentation).merge(lesion_ids)

    def applyThreshold(self, segmentation: Any, pet: Any, lesion_id: int, fraction: float) -> None:  # noqa: N802
        """Grow or shrink a lesion to a share (0 to 1) of its SUVmax."""
        self.open(segmentation).apply_threshold(pet, lesion_id, fraction)

    def fillHoles(self, segmentation: Any, lesion_id: int) -> None:  # noqa: N802
        """Fill the holes inside a lesion."""
        self.open(segmentation).fill_holes(lesion_id)

    def confirm(self, segmentation: Any, lesion_ids: int | Iterable[int] | None = None) -> None:
        """A person agrees with a lesion, with several, or (None) with all."""
        self.open(segmentation).confirm(lesion_ids)

    def undo(self, segmentation: Any) -> None:
        """Take the last correction back, a painted one included."""
        self.open(segmentation).undo()

    def redo(self, segmentation: Any) -> None:
        """Make the correction that was taken back again."""
        self.open(segmentation).redo()


def actor_name() -> str:
    """Who acts: the name in Slicer's settings (User information), else the account's name."""
    name = ""
    information = slicer.app.applicationLogic().GetUserInformation()
    if information is not None:
        name = information.GetName() or information.GetLogin() or ""
    if not name.strip():
        import getpass

        try:
            name = getpass.getuser()
        except (OSError, KeyError, ImportError):  # an account without a name
            name = "unknown"
    return name.strip()
