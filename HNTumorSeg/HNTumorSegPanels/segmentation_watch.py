"""Follows what a person paints, deletes or recodes in Slicer's own editors."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.util import VTKObservationMixin

from HNTumorSegPanels.session import Session

QUIET_MS = 150
EVENTS = ("SourceRepresentationModified", "SegmentAdded", "SegmentRemoved", "SegmentModified")


class SegmentationWatch(VTKObservationMixin):
    """Measures anew once the segmentation on show has been quiet for a moment: once a stroke, not once a voxel.

    Args:
        session: the session; its segmentation is watched from every :meth:`refresh` on.
        parent: the widget that the timer belongs to.
        quiet: called when something changed and a moment has passed.
    """

    def __init__(self, session: Session, parent: Any, quiet: Any) -> None:
        VTKObservationMixin.__init__(self)
        self.session = session
        self._watched: Any = None
        self.timer = qt.QTimer(parent)
        self.timer.setSingleShot(True)
        self.timer.setInterval(QUIET_MS)
        self.timer.connect("timeout()", quiet)

    def refresh(self) -> None:
        """Watch the segmentation that is on show now."""
        node = self.session.segmentation
        held = node.GetSegmentation() if node is not None else None
        if held is self._watched:
            return
        self.stop()
        self._watched = held
        for event in EVENTS if held is not None else ():
            self.addObserver(held, getattr(slicer.vtkSegmentation, event), self._changed)

    def stop(self) -> None:
        """Watch nothing."""
        self._watched = None
        self.removeObservers()

    def _changed(self, _caller: Any, _event: str) -> None:
        if not self.session.logic.isWriting(self.session.segmentation):
            self.timer.start()  # anew with each change
