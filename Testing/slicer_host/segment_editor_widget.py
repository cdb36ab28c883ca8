"""``slicer.qMRMLSegmentEditorWidget`` over Slicer's real vtkSlicerSegmentEditorLogic."""

# ruff: noqa: N801, N802, N815  the names are Slicer's

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Property, Qt, Signal, Slot
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QToolButton, QVBoxLayout, QWidget

from slicer_host.declared import stored
from slicer_host.mrml_widgets import qMRMLSegmentsTableView, qMRMLWidget

EFFECTS = (
    "Paint",
    "Draw",
    "Erase",
    "Level tracing",
    "Grow from seeds",
    "Fill between slices",
    "Threshold",
    "Margin",
    "Hollow",
    "Smoothing",
    "Scissors",
    "Islands",
    "Logical operators",
    "Mask volume",
)


class SegmentEditorEffect:
    """What scripted code reaches of qSlicerSegmentEditorAbstractEffect: parameters and changing the segment.

    The changes go through Slicer's own logic (masking, overwriting and undo included). Not imitated: what each effect
    does with the mouse; a stroke is :meth:`modifySelectedSegmentByLabelmap`.
    """

    def __init__(self, editor: qMRMLSegmentEditorWidget, name: str) -> None:
        self.name = name
        self._editor = editor
        self._logic = editor._logic

    def self(self) -> SegmentEditorEffect:
        return self

    def parameterSetNode(self) -> Any:
        return self._editor.mrmlSegmentEditorNode()

    def setParameterDefault(self, name: str, value: Any) -> None:
        if not self.parameter(name):
            self.setParameter(name, value)

    def setParameter(self, name: str, value: Any) -> None:
        self.parameterSetNode().SetAttribute(f"{self.name}.{name}", str(value))

    def parameter(self, name: str) -> str:
        return self.parameterSetNode().GetAttribute(f"{self.name}.{name}") or ""

    def integerParameter(self, name: str) -> int:
        return int(self.parameter(name))

    def doubleParameter(self, name: str) -> float:
        return float(self.parameter(name))

    def saveStateForUndo(self) -> None:
        self._logic.SaveStateForUndo()

    def selectedSegmentLabelmap(self) -> Any:
        self._logic.UpdateSelectedSegmentLabelmap()
        return self._logic.GetSelectedSegmentLabelmap()

    def defaultModifierLabelmap(self) -> Any:
        self._logic.ResetModifierLabelmapToDefault()
        return self._logic.GetModifierLabelmap()

    def sourceVolumeImageData(self) -> Any:
        self._logic.UpdateAlignedSourceVolume()
        return self._logic.GetAlignedSourceVolume()

    def modifySelectedSegmentByLabelmap(self, modifier: Any, mode: Any) -> None:
        node = self.parameterSetNode()
        self.modifySegmentByLabelmap(node.GetSegmentationNode(), node.GetSelectedSegmentID(), modifier, mode)

    def modifySegmentByLabelmap(self, node: Any, segment_id: str, modifier: Any, mode: Any) -> None:
        self._logic.UpdateMaskLabelmap()
        self._logic.ModifySegmentByLabelmap(node, segment_id, modifier, mode, False, False)


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """Stands in for qMRMLSegmentEditorWidget: selections, effects by name, undo and redo.

    As in Slicer the module owns the vtkMRMLSegmentEditorNode and must set it before anything else. Not imitated: the
    effects' own panels and what they do in the views, masking's controls, keyboard shortcuts (only whether they are
    installed).
    """

    SIGNALS = {  # noqa: RUF012
        "segmentationNodeChanged(vtkMRMLSegmentationNode*)": "segmentationNodeChanged(PyObject)",
        "sourceVolumeNodeChanged(vtkMRMLVolumeNode*)": "sourceVolumeNodeChanged(PyObject)",
    }
    currentSegmentIDChanged = Signal(str)
    segmentationNodeChanged = Signal(object)
    sourceVolumeNodeChanged = Signal(object)
    segmentationNodeSelectorVisible = stored(bool, True)
    sourceVolumeNodeSelectorVisible = stored(bool, True)
    switchToSegmentationsButtonVisible = stored(bool, True)
    autoShowSourceVolumeNode = stored(bool, True)
    undoEnabled = stored(bool, True, "_show_buttons")
    readOnly = stored(bool, False)
    effectButtonStyle = stored(int, 2)
    effectColumnCount = stored(int, 2, "_show_buttons")
    unorderedEffectsVisible = stored(bool, True, "_show_buttons")
    defaultTerminologyEntry = stored(str, "")
    defaultTerminologyEntrySettingsKey = stored(str, "Segmentations/DefaultTerminologyEntry")
    jumpToSelectedSegmentEnabled = stored(bool, True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        import slicer

        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._node: Any = None
        self._effect: SegmentEditorEffect | None = None
        self._order: list[str] = []
        self._shortcuts_installed = False
        self._views_observed = False
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._segments = qMRMLSegmentsTableView(self)
        layout.addWidget(self._segments)
        self._effects_box = QWidget(self)
        QGridLayout(self._effects_box).setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._effects_box)
        undo_row = QHBoxLayout()
        layout.addLayout(undo_row)
        self._undo_button, self._redo_button = QToolButton(self), QToolButton(self)
        for button, text, act in ((self._undo_button, "Undo", self.undo), (self._redo_button, "Redo", self.redo)):
            button.setText(text)
            button.clicked.connect(lambda _checked, act=act: act())
            undo_row.addWidget(button)
        undo_row.addStretch(1)
        self._show_buttons()

    # Nodes

    @Slot(object)
    def setMRMLScene(self, scene: Any) -> None:
        self._logic.SetMRMLScene(scene)
        super().setMRMLScene(scene)

    @Slot(object)
    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        self._node = node
        self._logic.SetSegmentEditorNode(node)
        self.updateWidgetFromMRML()

    def mrmlSegmentEditorNode(self) -> Any:
        return self._node

    @Slot(object)
    def setSegmentationNode(self, node: Any) -> None:
        self._need_node("setSegmentationNode")
        changed = node is not self.segmentationNode()
        self._logic.SetSegmentationNode(node)
        ids = list(node.GetSegmentation().GetSegmentIDs()) if node is not None else []
        if self.currentSegmentID() not in ids:
            self.setCurrentSegmentID(ids[0] if ids else "")
        self.updateWidgetFromMRML()
        if changed:
            self.segmentationNodeChanged.emit(node)

    def segmentationNode(self) -> Any:
        return self._node.GetSegmentationNode() if self._node is not None else None

    def segmentationNodeID(self) -> str:
        return self.segmentationNode().GetID() if self.segmentationNode() is not None else ""

    @Slot(object)
    def setSourceVolumeNode(self, node: Any) -> None:
        self._need_node("setSourceVolumeNode")
        changed = node is not self.sourceVolumeNode()
        self._logic.SetSourceVolumeNode(node)
        if changed:
            self.sourceVolumeNodeChanged.emit(node)

    def sourceVolumeNode(self) -> Any:
        return self._node.GetSourceVolumeNode() if self._node is not None else None

    @Slot(str)
    def setCurrentSegmentID(self, segment_id: str) -> None:
        self._need_node("setCurrentSegmentID")
        if segment_id != self.currentSegmentID():
            self._logic.SetCurrentSegmentID(segment_id)
            self.currentSegmentIDChanged.emit(segment_id)
        self._segments.setSelectedSegmentIDs([segment_id])

    def currentSegmentID(self) -> str:
        return (self._node.GetSelectedSegmentID() or "") if self._node is not None else ""

    def updateWidgetFromMRML(self) -> None:
        self._segments.setSegmentationNode(self.segmentationNode())
        self._segments.setSelectedSegmentIDs([self.currentSegmentID()])

    def _need_node(self, what: str) -> None:
        if self._node is None:
            raise RuntimeError(f"qMRMLSegmentEditorWidget.{what}: call setMRMLSegmentEditorNode first.")

    # Effects

    def availableEffectNames(self) -> list[str]:
        return list(EFFECTS)

    def setEffectNameOrder(self, names: list[str]) -> None:
        unknown = [name for name in names if name and name not in EFFECTS]
        if unknown:
            raise ValueError(f"Slicer's Segment Editor has no effect called {', '.join(unknown)}.")
        self._order = list(names)
        self._show_buttons()

    def effectNameOrder(self) -> list[str]:
        return list(self._order)

    @Slot(str)
    def setActiveEffectByName(self, name: str) -> None:
        if name and name not in EFFECTS:
            raise ValueError(f"Slicer's Segment Editor has no effect called {name}.")
        self._need_node("setActiveEffectByName")
        self._node.SetActiveEffectName(name or "")
        self._effect = SegmentEditorEffect(self, name) if name else None

    def setActiveEffect(self, effect: SegmentEditorEffect | None) -> None:
        self.setActiveEffectByName(effect.name if effect is not None else "")

    def activeEffect(self) -> SegmentEditorEffect | None:
        return self._effect

    def effectByName(self, name: str) -> SegmentEditorEffect | None:
        return SegmentEditorEffect(self, name) if name in EFFECTS else None

    # Undo

    def setMaximumNumberOfUndoStates(self, number: int) -> None:
        self._logic.SetMaximumNumberOfUndoStates(number)

    maximumNumberOfUndoStates = Property(
        int, lambda self: self._logic.GetMaximumNumberOfUndoStates(), setMaximumNumberOfUndoStates
    )

    def saveStateForUndo(self) -> None:
        self._logic.SaveStateForUndo()

    def undo(self) -> None:
        self._logic.Undo()

    def redo(self) -> None:
        self._logic.Redo()

    # Views and keys

    def setupViewObservations(self) -> None:
        self._views_observed = True

    def removeViewObservations(self) -> None:
        self._views_observed = False

    def installKeyboardShortcuts(self, _parent: Any = None) -> None:
        self._shortcuts_installed = True

    def uninstallKeyboardShortcuts(self) -> None:
        self._shortcuts_installed = False

    def _show_buttons(self) -> None:
        if "_redo_button" not in self.__dict__:
            return
        grid = self._effects_box.layout()
        while grid.count():
            button = grid.takeAt(0).widget()
            button.hide()  # it is deleted only when the events are next served
            button.deleteLater()
        names = [name for name in self._order if name]
        if self.unorderedEffectsVisible:
            names += [name for name in EFFECTS if name not in names]
        for position, name in enumerate(names):
            button = QToolButton(self._effects_box)
            button.setText(name)
            button.setCheckable(True)
            button.setToolButtonStyle(Qt.ToolButtonTextOnly)
            button.clicked.connect(lambda _checked, name=name: self.setActiveEffectByName(name))
            grid.addWidget(button, position // self.effectColumnCount, position % self.effectColumnCount)
        for button in (self._undo_button, self._redo_button):
            button.setVisible(self.undoEnabled)
