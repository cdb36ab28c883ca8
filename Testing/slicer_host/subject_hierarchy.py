"""An item in the subject hierarchy for every data node, which in Slicer the hierarchy's Qt plug-ins make."""

from __future__ import annotations

from typing import Any

from vtkmodules.util.vtkConstants import VTK_OBJECT

DATA_NODES = (
    "vtkMRMLVolumeNode",
    "vtkMRMLSegmentationNode",
    "vtkMRMLModelNode",
    "vtkMRMLMarkupsNode",
    "vtkMRMLTableNode",
    "vtkMRMLTransformNode",
    "vtkMRMLTextNode",
    "vtkMRMLPlotChartNode",
    "vtkMRMLPlotSeriesNode",
)


class SubjectHierarchyKeeper:
    """Does for a scene what qSlicerSubjectHierarchyPluginLogic does. Not imitated: other plug-ins' items."""

    def __init__(self, scene: Any) -> None:
        import slicer

        self._scene = scene
        self._hierarchy_class = slicer.vtkMRMLSubjectHierarchyNode
        added, removed = self._node_added, self._node_removed

        def node_added(_scene: Any, _event: str, node: Any) -> None:
            added(node)

        def node_removed(_scene: Any, _event: str, node: Any) -> None:
            removed(node)

        node_added.CallDataType = node_removed.CallDataType = VTK_OBJECT
        self._tags = [
            scene.AddObserver(scene.NodeAddedEvent, node_added),
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, node_removed),
            scene.AddObserver(scene.EndImportEvent, lambda *_: self._imported()),
            scene.AddObserver(scene.EndCloseEvent, lambda *_: self._hierarchy_class.ResolveSubjectHierarchy(scene)),
        ]

    def stop(self) -> None:
        """Stop following the scene."""
        while self._tags:
            self._scene.RemoveObserver(self._tags.pop())

    def _hierarchy(self) -> Any:
        return self._hierarchy_class.GetSubjectHierarchyNode(self._scene)

    def _node_added(self, node: Any) -> None:
        if not self._scene.IsImporting() and not self._scene.IsClosing():
            self._add(node)

    def _add(self, node: Any) -> None:
        if node.GetHideFromEditors() or not any(node.IsA(name) for name in DATA_NODES):
            return
        hierarchy = self._hierarchy()
        if hierarchy is not None and not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    def _node_removed(self, node: Any) -> None:
        if self._scene.IsClosing() or node.IsA("vtkMRMLSubjectHierarchyNode"):
            return
        hierarchy = self._hierarchy()
        item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
        if item:
            hierarchy.RemoveItem(item, False, False)

    def _imported(self) -> None:
        self._hierarchy_class.ResolveSubjectHierarchy(self._scene)
        for index in range(self._scene.GetNumberOfNodes()):
            self._add(self._scene.GetNthNode(index))
