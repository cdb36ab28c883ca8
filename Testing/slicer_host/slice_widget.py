"""``slicer.qMRMLSliceWidget`` and the layout manager with the three slice views."""

# ruff: noqa: N801, N802, N815  the names are Slicer's

from __future__ import annotations

from typing import Any

from PySide6.QtGui import QPainter

from slicer_host.mrml_widgets import qMRMLWidget
from slicer_host.pictures import to_qimage
from slicer_host.views import SliceView

ORIENTATIONS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}


class qMRMLSliceWidget(qMRMLWidget):
    """qMRMLSliceWidget: shows one slice view. Not imitated: the controller bar, the mouse."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._view: SliceView | None = None

    def setSliceViewName(self, name: str) -> None:
        """``Red``, ``Yellow`` or ``Green``; this makes the view."""
        self._view = SliceView(name, ORIENTATIONS[name])

    def view(self) -> SliceView:
        """The offscreen view. Not in Slicer: for tests."""
        if self._view is None:
            raise RuntimeError("qMRMLSliceWidget: call setSliceViewName first.")
        return self._view

    def sliceLogic(self) -> Any:
        return self.view().logic

    def mrmlSliceNode(self) -> Any:
        return self.view().node

    def mrmlSliceCompositeNode(self) -> Any:
        return self.view().composite_node()

    def sliceView(self) -> qMRMLSliceWidget:
        return self

    def renderWindow(self) -> Any:
        return self.view().window

    def interactor(self) -> Any:
        return self.view().interactor

    def scheduleRender(self) -> None:
        self.update()

    def forceRender(self) -> None:
        self.view().image()

    def fitSliceToBackground(self) -> None:
        self.sliceLogic().FitSliceToBackground()

    def paintEvent(self, _event: Any) -> None:
        if self._view is not None and self.width > 1 and self.height > 1:
            self._view.resize(self.width, self.height)
            QPainter(self).drawImage(0, 0, to_qimage(self._view.image()))


class LayoutManager:
    """qSlicerLayoutManager of the conventional layout. Not imitated: 3D, table and plot views, other layouts."""

    threeDViewCount = tableViewCount = plotViewCount = 0

    def __init__(self, scene: Any) -> None:
        self.layout = 2
        self._widgets: dict[str, qMRMLSliceWidget] = {}
        for name in ORIENTATIONS:
            widget = qMRMLSliceWidget()
            widget.setMRMLScene(scene)
            widget.setSliceViewName(name)
            widget.setMinimumSize(200, 200)
            self._widgets[name] = widget

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._widgets)

    def sliceWidget(self, name: str) -> qMRMLSliceWidget:
        return self._widgets[name]

    def mrmlSliceLogics(self) -> Any:
        import slicer

        return slicer.app.applicationLogic().GetSliceLogics()

    def setLayout(self, layout: int) -> None:
        self.layout = layout

    def resetSliceViews(self) -> None:
        for widget in self._widgets.values():
            widget.fitSliceToBackground()

    def resetThreeDViews(self) -> None:
        """There are none."""

    def reset(self) -> None:
        """Empty views in their usual orientations, as after starting Slicer."""
        for widget in self._widgets.values():
            widget.view().reset()

    def stop(self) -> None:
        """Take the views apart while the scene is still there."""
        for widget in self._widgets.values():
            widget.view().stop()
            widget.close()
        self._widgets.clear()
