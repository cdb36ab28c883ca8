"""One click in a slice view, through Slicer's own markups placing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.util import VTKObservationMixin

POINT_CLASS = "vtkMRMLMarkupsFiducialNode"


class PlaceClick(VTKObservationMixin):
    """Waits for a click and tells where it was.

    Args:
        clicked: called with the position, RAS in mm, after each click.
        over: called when placing ends, whoever ends it (Esc, another tool, the scene's end).
    """

    def __init__(self, clicked: Callable[[tuple[float, float, float]], None], over: Callable[[], None]) -> None:
        VTKObservationMixin.__init__(self)
        self._tell, self._tell_over = clicked, over
        self._node: Any = None

    @property
    def active(self) -> bool:
        """Whether a click is waited for."""
        return self._node is not None

    @property
    def node(self) -> Any:
        """The markups node that takes the click, or None."""
        return self._node

    def start(self) -> None:
        """Turn Slicer's place mode on."""
        if self.active:
            return
        node = slicer.mrmlScene.AddNewNodeByClass(POINT_CLASS, "HNTumorSeg click")
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetVisibility(False)
        self._node = node
        selection, interaction = _selection(), _interaction()
        selection.SetReferenceActivePlaceNodeClassName(POINT_CLASS)
        selection.SetActivePlaceNodeID(node.GetID())
        interaction.SetPlaceModePersistence(1)
        interaction.SetCurrentInteractionMode(interaction.Place)
        self.addObserver(node, node.PointPositionDefinedEvent, self._on_point)
        self.addObserver(interaction, interaction.InteractionModeChangedEvent, self._on_mode)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self._on_close)

    def stop(self) -> None:
        """Turn place mode off; nothing of it stays in the scene."""
        if not self.active:
            return
        node, self._node = self._node, None
        self.removeObservers()
        interaction = _interaction()
        interaction.SetPlaceModePersistence(0)
        interaction.SetCurrentInteractionMode(interaction.ViewTransform)
        if slicer.mrmlScene.IsNodePresent(node):
            slicer.mrmlScene.RemoveNode(node)
        self._tell_over()

    def _on_point(self, node: Any, _event: str) -> None:
        if not node.GetNumberOfDefinedControlPoints():
            return
        ras = [0.0, 0.0, 0.0]
        node.GetNthControlPointPositionWorld(node.GetNumberOfControlPoints() - 1, ras)
        # After one lesion the mouse is the person's again.
        self.stop()
        self._tell(tuple(ras))

    def _on_mode(self, interaction: Any, _event: str) -> None:
        if interaction.GetCurrentInteractionMode() != interaction.Place:
            self.stop()

    def _on_close(self, _scene: Any, _event: str) -> None:
        self.stop()


def _interaction() -> Any:
    return slicer.app.applicationLogic().GetInteractionNode()


def _selection() -> Any:
    return slicer.app.applicationLogic().GetSelectionNode()
