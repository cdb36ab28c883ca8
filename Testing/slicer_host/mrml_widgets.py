"""Slicer's MRML widgets other than the node selector and the Segment Editor; :func:`install` puts all into ``slicer``.

A class that is not here does not exist for the module under test: a ``.ui`` file that names it fails to load.
"""

# ruff: noqa: N801, N802, N815  the names are Slicer's

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QDoubleSpinBox, QPushButton, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from slicer_host.ctk_module import ctkSliderWidget
from slicer_host.declared import stored


class SceneHolder:
    """What every MRML widget has: a scene that it was given."""

    _scene: Any = None

    @Slot(object)
    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def mrmlScene(self) -> Any:
        return self._scene


class qMRMLWidget(QWidget):
    """qMRMLWidget: hands the scene on to the widgets that are connected to it."""

    SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged(PyObject)"}  # noqa: RUF012
    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene = None

    @Slot(object)
    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> Any:
        return self._scene


class qSlicerWidget(qMRMLWidget):
    """qSlicerWidget, the same for modules."""


class qMRMLSliderWidget(SceneHolder, ctkSliderWidget):
    """qMRMLSliderWidget. Not imitated: units of the scene."""

    quantity = stored(str, "")


class qMRMLSpinBox(SceneHolder, QDoubleSpinBox):
    """qMRMLSpinBox. Not imitated: units of the scene."""

    quantity = stored(str, "")


class qMRMLTableView(SceneHolder, QTableWidget):
    """qMRMLTableView: shows a vtkMRMLTableNode. Not imitated: following later changes of the node, editing."""

    editable = stored(bool, True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node = None

    @Slot(object)
    def setMRMLTableNode(self, node: Any) -> None:
        self._node = node
        self.clear()
        table = node.GetTable() if node is not None else None
        columns = table.GetNumberOfColumns() if table is not None else 0
        rows = table.GetNumberOfRows() if table is not None else 0
        self.setColumnCount(columns)
        self.setRowCount(rows)
        for column in range(columns):
            self.setHorizontalHeaderItem(column, QTableWidgetItem(table.GetColumnName(column)))
            for row in range(rows):
                self.setItem(row, column, QTableWidgetItem(table.GetValue(row, column).ToString()))

    def mrmlTableNode(self) -> Any:
        return self._node


class qMRMLSegmentationShow3DButton(SceneHolder, QPushButton):
    """qMRMLSegmentationShow3DButton. Not imitated: what its menu does."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__("Show 3D", parent)
        self._node = None
        self.setCheckable(True)

    @Slot(object)
    def setSegmentationNode(self, node: Any) -> None:
        self._node = node

    def segmentationNode(self) -> Any:
        return self._node


class qMRMLSegmentsTableView(qMRMLWidget):
    """qMRMLSegmentsTableView: the segments of a segmentation, one a row, selectable. Not imitated: its columns."""

    SIGNALS = {"selectionChanged(QItemSelection,QItemSelection)": "selectionChanged(PyObject,PyObject)"}  # noqa: RUF012
    selectionChanged = Signal(object, object)
    headerVisible = stored(bool, True)
    visibilityColumnVisible = stored(bool, True)
    colorColumnVisible = stored(bool, True)
    opacityColumnVisible = stored(bool, True)
    readOnly = stored(bool, False)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node = None
        self._ids: list[str] = []
        self._table = QTableWidget(0, 1, self)
        self._table.setHorizontalHeaderLabels(["Name"])
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.setSelectionBehavior(QTableWidget.SelectRows)
        QVBoxLayout(self).addWidget(self._table)
        self._table.itemSelectionChanged.connect(lambda: self.selectionChanged.emit(None, None))

    @Slot(object)
    def setSegmentationNode(self, node: Any) -> None:
        self._node = node
        segmentation = node.GetSegmentation() if node is not None else None
        self._ids = list(segmentation.GetSegmentIDs()) if segmentation is not None else []
        self._table.setRowCount(len(self._ids))
        for row, segment_id in enumerate(self._ids):
            self._table.setItem(row, 0, QTableWidgetItem(segmentation.GetSegment(segment_id).GetName()))

    def segmentationNode(self) -> Any:
        return self._node

    def selectedSegmentIDs(self) -> list[str]:
        rows = {index.row() for index in self._table.selectionModel().selectedRows()}
        return [segment_id for row, segment_id in enumerate(self._ids) if row in rows]

    def setSelectedSegmentIDs(self, segment_ids: list[str]) -> None:
        self._table.clearSelection()
        for row, segment_id in enumerate(self._ids):
            if segment_id in segment_ids:
                self._table.selectRow(row)


class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """The panel that Slicer makes around a module's Widget class; ``self()`` is the object of that class."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setLayout(QVBoxLayout())
        self._python_widget = None

    def self(self) -> Any:
        return self._python_widget


def install(slicer: Any) -> None:
    """Put every widget class into the name space of ``slicer``."""
    from slicer_host import node_selector, segment_editor_widget, slice_widget

    for module in (globals(), vars(node_selector), vars(segment_editor_widget), vars(slice_widget)):
        for name, value in module.items():
            if name.startswith(("qMRML", "qSlicer")) and isinstance(value, type):
                setattr(slicer, name, value)
