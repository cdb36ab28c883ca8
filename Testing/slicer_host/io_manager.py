"""``slicer.app.coreIOManager()``: what ``slicer.util.load*`` and ``save*`` call."""

# ruff: noqa: N802  the names are Slicer's

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# Endings of a file -> Slicer's name for its type; the longer endings first.
FILE_TYPES = (
    ((".mrml", ".mrb"), "SceneFile"),
    ((".seg.nrrd", ".seg.nhdr"), "SegmentationFile"),
    ((".mrk.json", ".fcsv"), "MarkupsFile"),
    ((".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd", ".dcm"), "VolumeFile"),
    ((".vtk", ".vtp", ".stl", ".obj", ".ply"), "ModelFile"),
    ((".csv", ".tsv"), "TableFile"),
    ((".h5", ".tfm", ".mat"), "TransformFile"),
    ((".txt", ".json", ".xml"), "TextFile"),
)

WRITERS = (
    ("vtkMRMLSegmentationNode", "SegmentationFile"),
    ("vtkMRMLVolumeNode", "VolumeFile"),
    ("vtkMRMLModelNode", "ModelFile"),
    ("vtkMRMLTableNode", "TableFile"),
    ("vtkMRMLMarkupsNode", "MarkupsFile"),
    ("vtkMRMLTransformNode", "TransformFile"),
    ("vtkMRMLTextNode", "TextFile"),
)

_LABELMAP, _CENTERED, _SINGLE_FILE, _NO_AUTO_WINDOW, _NO_ORIENTATION = 1, 2, 4, 8, 16


class IOManager:
    """Stands in for qSlicerCoreIOManager. Not imitated: dialogs, readers of extensions, exportNodes."""

    def __init__(self, app: Any) -> None:
        import slicer

        self._app = app
        self._cache = slicer.vtkCacheManager()  # the scene unpacks .mrb files into its folder
        self._cache.SetRemoteCacheDirectory(app.temporaryPath)
        self._data_io = slicer.vtkDataIOManager()
        self._data_io.SetCacheManager(self._cache)
        app.mrmlScene().SetCacheManager(self._cache)
        app.mrmlScene().SetDataIOManager(self._data_io)

    def fileType(self, path: str) -> str:
        lower = str(path).lower()
        return next((kind for endings, kind in FILE_TYPES if lower.endswith(endings)), "NoFile")

    def fileWriterFileType(self, node: Any) -> str:
        return next((kind for class_name, kind in WRITERS if node.IsA(class_name)), "NoFile")

    def loadNodes(self, file_type: str, properties: dict[str, Any], loaded: Any = None, messages: Any = None) -> bool:
        """Load one file; False, with the reason in ``messages``, when that did not work."""
        path = str(properties["fileName"])
        if not os.path.exists(path):
            if messages is not None:
                messages.AddMessage(messages.ErrorEvent if hasattr(messages, "ErrorEvent") else 0, f"No file {path}")
            return False
        if file_type == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear", False)))
        name = properties.get("name") or Path(path).name.split(".")[0]
        node = self._load_node(file_type, path, name, properties)
        if node is None:
            return False
        if loaded is not None:
            loaded.AddItem(node)
        return True

    def saveNodes(self, file_type: str, properties: dict[str, Any], _messages: Any = None) -> bool:
        """Save one node, or the scene; False when that did not work."""
        path = str(properties["fileName"])
        if file_type == "SceneFile":
            return self._save_scene(path)
        node = self._app.mrmlScene().GetNodeByID(properties["nodeID"])
        if node is None:
            return False
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        if "useCompression" in properties:
            storage.SetUseCompression(properties["useCompression"])
        storage.SetFileName(path)
        storage.SetURI(None)
        return bool(storage.WriteData(node))

    def _load_node(self, file_type: str, path: str, name: str, properties: dict[str, Any]) -> Any:
        if file_type == "VolumeFile":
            return self._app.moduleLogic("Volumes").AddArchetypeVolume(path, name, _volume_options(properties), None)
        if file_type == "SegmentationFile":
            return self._app.moduleLogic("Segmentations").LoadSegmentationFromFile(path, True, name)
        if file_type == "TransformFile":
            return self._app.moduleLogic("Transforms").AddTransform(path, self._app.mrmlScene())
        class_name = {
            "ModelFile": "vtkMRMLModelNode",
            "TableFile": "vtkMRMLTableNode",
            "TextFile": "vtkMRMLTextNode",
            "MarkupsFile": "vtkMRMLMarkupsFiducialNode",
        }.get(file_type)
        if class_name is None:
            return None
        node = self._app.mrmlScene().AddNewNodeByClass(class_name, name)
        node.AddDefaultStorageNode(path)
        if not node.GetStorageNode().ReadData(node):
            self._app.mrmlScene().RemoveNode(node)
            return None
        if node.IsA("vtkMRMLDisplayableNode"):
            node.CreateDefaultDisplayNodes()
        return node

    def _load_scene(self, path: str, clear: bool) -> bool:
        scene = self._app.mrmlScene()
        if path.lower().endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear, None))
        scene.SetURL(path)
        return bool(scene.Connect() if clear else scene.Import(None))

    def _save_scene(self, path: str) -> bool:
        scene = self._app.mrmlScene()
        if path.lower().endswith(".mrb"):
            return bool(scene.WriteToMRB(path, None))
        if path.lower().endswith(".mrml"):
            scene.SetURL(path)
            scene.SetRootDirectory(os.path.dirname(path))
            return bool(scene.Commit(path))
        os.makedirs(path, exist_ok=True)
        return bool(scene.SaveSceneToSlicerDataBundleDirectory(path, None))


def _volume_options(properties: dict[str, Any]) -> int:
    return (
        (_LABELMAP if properties.get("labelmap") else 0)
        | (_CENTERED if properties.get("center") else 0)
        | (_SINGLE_FILE if properties.get("singleFile") else 0)
        | (_NO_AUTO_WINDOW if properties.get("autoWindowLevel") is False else 0)
        | (_NO_ORIENTATION if properties.get("discardOrientation") else 0)
    )
