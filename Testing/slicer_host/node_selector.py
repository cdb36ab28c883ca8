"""``slicer.qMRMLNodeComboBox``: a list of the scene's nodes that follows the scene."""

# ruff: noqa: N801, N802, N815  the names are Slicer's

from __future__ import annotations

import weakref
from typing import Any

from PySide6.QtCore import Property, Signal, Slot
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QWidget
from vtkmodules.util.vtkConstants import VTK_OBJECT

from slicer_host.declared import stored

_NO_NODE = ""
_ADD, _REMOVE = "*add", "*remove"  # entries that act instead of selecting; no node ID starts with an asterisk


class qMRMLNodeComboBox(QWidget):
    """Stands in for qMRMLNodeComboBox.

    Lists the nodes whose class is in ``nodeTypes`` (or derives from one, with ``showChildNodeTypes``), as they come and
    go, are renamed, are imported or closed. Without ``noneEnabled`` the first node of an empty list becomes current.
    Not imitated: editing and renaming by its menu, sorting, the models behind it, ``addMenuAction``.
    """

    SIGNALS = {  # noqa: RUF012
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged(PyObject)",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated(PyObject)",
        "nodeAdded(vtkMRMLNode*)": "nodeAdded(PyObject)",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser(PyObject)",
        "nodeAddedByUserAction(vtkMRMLNode*)": "nodeAddedByUserAction(PyObject)",
        "nodeAboutToBeRemoved(vtkMRMLNode*)": "nodeAboutToBeRemoved(PyObject)",
    }
    currentNodeChanged = Signal((object,), (bool,))
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAddedByUserAction = Signal(object)
    nodeAboutToBeRemoved = Signal(object)

    nodeTypes = stored("QStringList", [], "_refresh")
    hideChildNodeTypes = stored("QStringList", [], "_refresh")
    showChildNodeTypes = stored(bool, True, "_refresh")
    showHidden = stored(bool, False, "_refresh")
    noneEnabled = stored(bool, False, "_refresh")
    noneDisplay = stored(str, "None", "_refresh")
    addEnabled = stored(bool, True, "_refresh")
    removeEnabled = stored(bool, True, "_refresh")
    editEnabled = stored(bool, False)
    renameEnabled = stored(bool, False)
    baseName = stored(str, "")
    selectNodeUponCreation = stored(bool, True)
    interactionNodeSingletonTag = stored(str, "Singleton")
    sizeAdjustPolicy = stored(int, 0)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._current_id = _NO_NODE
        self._listed: list[str] = []
        self._attributes: dict[tuple[str, str], Any] = {}
        self._filling = False
        self._observed: list[tuple[Any, int]] = []  # the scene's observers
        self._observed_nodes: list[tuple[Any, int]] = []
        self._combo_box = QComboBox(self)
        self._combo_box.setEnabled(False)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo_box)
        self._combo_box.currentIndexChanged.connect(self._entry_chosen)
        self._combo_box.activated.connect(lambda _index: self.nodeActivated.emit(self.currentNode()))
        scene_observers, node_observers = self._observed, self._observed_nodes
        self.destroyed.connect(lambda *_: (_remove_observers(scene_observers), _remove_observers(node_observers)))

    # The scene

    @Slot(object)
    def setMRMLScene(self, scene: Any) -> None:
        _remove_observers(self._observed)
        self._scene = scene
        if scene is not None:
            refresh = _weak_call(self._refresh)
            about_to_be_removed = _weak_call(self._node_about_to_be_removed)
            for event in (
                scene.NodeAddedEvent,
                scene.NodeRemovedEvent,
                scene.EndCloseEvent,
                scene.EndImportEvent,
                scene.EndBatchProcessEvent,
            ):
                self._observed.append((scene, scene.AddObserver(event, lambda _scene, _event: refresh())))

            def removed(_scene: Any, _event: str, node: Any) -> None:
                about_to_be_removed(node)

            removed.CallDataType = VTK_OBJECT
            self._observed.append((scene, scene.AddObserver(scene.NodeAboutToBeRemovedEvent, removed)))
        self._combo_box.setEnabled(scene is not None)
        self._refresh()

    def mrmlScene(self) -> Any:
        return self._scene

    def nodes(self) -> list[Any]:
        """The nodes in the list. Not reachable in Slicer; tests may use it."""
        if self._scene is None:
            return []
        scene = self._scene
        return [
            node for node in map(scene.GetNthNode, range(scene.GetNumberOfNodes())) if node and self._is_listed(node)
        ]

    def nodeCount(self) -> int:
        return len(self.nodes())

    def nodeFromIndex(self, index: int) -> Any:
        nodes = self.nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:
        self._attributes[node_type, name] = value
        self._refresh()

    def removeAttribute(self, node_type: str, name: str) -> None:
        self._attributes.pop((node_type, name), None)
        self._refresh()

    def _is_listed(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        if any(node.IsA(name) for name in self.hideChildNodeTypes if name):
            return False
        for node_type in filter(None, self.nodeTypes):
            if node.IsA(node_type) if self.showChildNodeTypes else node.GetClassName() == node_type:
                return self._has_attributes(node, node_type)
        return False

    def _has_attributes(self, node: Any, node_type: str) -> bool:
        for (of_type, name), wanted in self._attributes.items():
            value = node.GetAttribute(name)
            if of_type == node_type and (value is None or (wanted is not None and value != str(wanted))):
                return False
        return True

    # The current node

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._current_id) if self._scene is not None and self._current_id else None

    @Slot(object)
    def setCurrentNode(self, node: Any) -> None:
        if node is not None and not isinstance(node, str) and not hasattr(node, "GetID"):
            raise TypeError(f"setCurrentNode takes a node, not {type(node).__name__}.")
        self.setCurrentNodeID(node if isinstance(node, str) else (node.GetID() if node is not None else _NO_NODE))

    @Slot(str)
    def setCurrentNodeID(self, node_id: str) -> None:
        self._refresh()
        self._make_current(node_id if node_id in self._listed else _NO_NODE)

    currentNodeID = Property(str, lambda self: self._current_id, setCurrentNodeID)

    def setCurrentNodeIndex(self, index: int) -> None:
        self.setCurrentNode(self.nodeFromIndex(index))

    def addNode(self, node_type: str | None = None) -> Any:
        """What the entry *Create new ...* does."""
        node_type = node_type or self.nodeTypes[0]
        name = self.baseName or node_type.removeprefix("vtkMRML").removesuffix("Node")
        node = self._scene.AddNewNodeByClass(node_type, self._scene.GenerateUniqueName(name))
        for (of_type, attribute), value in self._attributes.items():
            if of_type == node_type:
                node.SetAttribute(attribute, "" if value is None else str(value))
        self._refresh()
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUserAction.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        """What the entry *Delete current ...* does."""
        if self.currentNode() is not None:
            self._scene.RemoveNode(self.currentNode())

    def _make_current(self, node_id: str) -> None:
        changed = node_id != self._current_id
        self._current_id = node_id
        self._filling = True
        self._combo_box.setCurrentIndex(self._combo_box.findData(node_id))
        self._filling = False
        if changed:
            node = self.currentNode()
            self.currentNodeChanged[object].emit(node)
            self.currentNodeChanged[bool].emit(node is not None)
            self.currentNodeIDChanged.emit(node_id)

    def _entry_chosen(self, index: int) -> None:
        if self._filling or index < 0:
            return
        chosen = self._combo_box.itemData(index)
        if chosen == _ADD:
            self.addNode()
        elif chosen == _REMOVE:
            self.removeCurrentNode()
        else:
            self._make_current(chosen)

    def _node_about_to_be_removed(self, node: Any) -> None:
        if node is not None and node.GetID() in self._listed:
            self.nodeAboutToBeRemoved.emit(node)

    def _refresh(self) -> None:
        if self._scene is None or self._filling or self._scene.IsBatchProcessing():
            return
        nodes = self.nodes()
        before, self._listed = self._listed, [node.GetID() for node in nodes]
        self._observe_names(nodes)
        self._fill(nodes)
        if self._current_id in self._listed:
            self._make_current(self._current_id)
        elif self._listed and not self.noneEnabled and (self._current_id or not before):
            self._make_current(self._listed[0])
        else:
            self._make_current(_NO_NODE)
        for node in nodes:
            if node.GetID() not in before:
                self.nodeAdded.emit(node)
                self.nodeAddedByUser.emit(node)

    def _fill(self, nodes: list[Any]) -> None:
        kind = self.nodeTypes[0].removeprefix("vtkMRML").removesuffix("Node") if self.nodeTypes else "node"
        self._filling = True
        self._combo_box.clear()
        if self.noneEnabled:
            self._combo_box.addItem(self.noneDisplay, _NO_NODE)
        for node in nodes:
            self._combo_box.addItem(node.GetName() or "", node.GetID())
        if self.addEnabled:
            self._combo_box.addItem(f"Create new {kind}", _ADD)
        if self.removeEnabled and nodes:
            self._combo_box.addItem(f"Delete current {kind}", _REMOVE)
        self._filling = False

    def _observe_names(self, nodes: list[Any]) -> None:
        _remove_observers(self._observed_nodes)
        rename = _weak_call(self._rename)
        for node in nodes:
            self._observed_nodes.append((node, node.AddObserver("ModifiedEvent", lambda node, _event: rename(node))))

    def _rename(self, node: Any) -> None:
        index = self._combo_box.findData(node.GetID())
        if index >= 0:
            self._combo_box.setItemText(index, node.GetName() or "")


def _remove_observers(observed: list[tuple[Any, int]]) -> None:
    while observed:
        caller, tag = observed.pop()
        caller.RemoveObserver(tag)


def _weak_call(method: Any) -> Any:
    """Calls a method as long as its object is there: an observer must not keep a widget alive."""
    reference = weakref.WeakMethod(method)

    def call(*arguments: Any) -> None:
        found = reference()
        if found is not None:
            found(*arguments)

    return call
