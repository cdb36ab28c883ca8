"""A scene file as a scene of its own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.mrml import core_app


def load_scene(path: str | Path) -> Any:
    """Open a ``.mrb`` file beside the user's scene, which is not touched.

    Returns:
        A vtkMRMLScene with everything that the file holds; call ``Clear(True)`` on it when done.

    Raises:
        MissingPackageError: when neither Slicer nor slicer-core is there.
        InputError: when the file is missing, cut short or no scene.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no scene file '{path}'. Give the path of a .mrb file.")
    slicer = core_app.require_slicer()
    scene = core_app.new_scene()
    with tempfile.TemporaryDirectory(prefix="hntumorseg-scene-") as folder:
        # Slicer unpacks bundles into the cache folder of the scene's input and output manager.
        cache = slicer.vtkCacheManager()
        cache.SetRemoteCacheDirectory(folder)
        manager = slicer.vtkDataIOManager()
        manager.SetCacheManager(cache)
        scene.SetCacheManager(cache)
        scene.SetDataIOManager(manager)
        if not scene.ReadFromMRB(os.fspath(path.absolute()), True, None):
            scene.Clear(True)
            raise InputError(f"The scene '{path}' cannot be opened: it is cut short or no Slicer scene. Save it again.")
    return scene
