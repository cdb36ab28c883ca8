"""Slicer's scene and module logics when Slicer itself is not running.

The ``slicer-core`` wheel brings the MRML nodes and logics but starts nothing: no scene, no colour tables, no module
logics. :func:`application` builds that minimum once, in the order the logics ask for. Inside the real Slicer it
builds nothing and changes nothing; the functions here then hand out what Slicer has.
"""

from __future__ import annotations

import atexit
import importlib.util
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from HNTumorSegLib.errors import MissingPackageError

# Slicer's module name -> its logic class. The subject hierarchy and the units come first: the others refer to them.
LOGICS = {
    "Units": "vtkSlicerUnitsLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
}

_application: CoreApplication | None = None


def require_slicer() -> ModuleType:
    """The ``slicer`` package, Slicer's own or slicer-core's.

    Raises:
        MissingPackageError: when there is none; the message has the command that installs it.
    """
    try:
        module = importlib.import_module("slicer")
        module.vtkMRMLScene  # noqa: B018  an unrelated package called slicer has no scene
    except (ImportError, AttributeError) as error:
        raise MissingPackageError(
            "Scenes need 3D Slicer's slicer-core package, which is not installed. "
            "Install it with: pip install 'hntumorseg[slicer]'"
        ) from error
    return module


def inside_slicer() -> bool:
    """Whether an application (Slicer, or another host of slicer-core) already runs in this process."""
    app = getattr(require_slicer(), "app", None)
    return app is not None and not isinstance(app, CoreApplication)


def application() -> Any:
    """The running application: Slicer's ``slicer.app``, else a :class:`CoreApplication` started at the first call."""
    global _application
    slicer = require_slicer()
    if getattr(slicer, "app", None) is None:
        _application = CoreApplication(slicer)
        slicer.app = _application
        slicer.mrmlScene = _application.mrmlScene()
        atexit.register(_stop)
    return slicer.app


def current_scene() -> Any:
    """The vtkMRMLScene that the user works in."""
    application()
    return require_slicer().mrmlScene


def module_logic(name: str) -> Any:
    """The logic of a Slicer module, for instance ``Segmentations``; raises KeyError for an unknown name."""
    app = application()
    if isinstance(app, CoreApplication):
        return app.moduleLogic(name)
    return getattr(require_slicer().modules, name.lower()).logic()


def new_scene() -> Any:
    """A vtkMRMLScene of its own, with Slicer's colour tables, that nothing shows: for writing a scene file.

    The user's scene is neither read nor changed.
    """
    slicer = require_slicer()
    scene = slicer.vtkMRMLScene()
    colors = slicer.vtkMRMLColorLogic()
    colors.SetMRMLScene(scene)
    colors.AddDefaultColorNodes()
    colors.SetMRMLScene(None)  # or the logic would remove the tables again when it goes
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    return scene


class CoreApplication:
    """A scene and the logics around it; method names as in Slicer's ``qSlicerApplication``."""

    def __init__(self, slicer: ModuleType) -> None:
        self.temporary_folder = tempfile.TemporaryDirectory(prefix="hntumorseg-slicer-")
        self._scene = slicer.vtkMRMLScene()
        self._application_logic = self._start_application_logic(slicer)
        terminologies = _terminologies_folder()
        self._logics = {
            name: self._start_logic(slicer, name, class_name, terminologies if name == "Terminologies" else None)
            for name, class_name in LOGICS.items()
            if name != "Terminologies" or terminologies is not None
        }

    def _start_application_logic(self, slicer: ModuleType) -> Any:
        from vtkmodules.vtkCommonCore import vtkCollection

        logic = slicer.vtkSlicerApplicationLogic()
        logic.SetMRMLScene(self._scene)
        logic.GetColorLogic().SetMRMLScene(self._scene)
        logic.GetColorLogic().AddDefaultColorNodes()
        logic.SetSliceLogics(vtkCollection())
        logic.SetViewLogics(vtkCollection())
        logic.SetTemporaryPath(self.temporary_folder.name)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self._scene, True)
        return logic

    def _start_logic(self, slicer: ModuleType, name: str, class_name: str, share: Path | None) -> Any:
        logic = getattr(slicer, class_name)()
        if share is not None:
            logic.SetModuleShareDirectory(str(share))
        logic.SetMRMLApplicationLogic(self._application_logic)
        logic.SetMRMLScene(self._scene)
        self._application_logic.SetModuleLogic(name, logic)
        return logic

    def mrmlScene(self) -> Any:  # noqa: N802  Slicer's spelling
        """The scene."""
        return self._scene

    def applicationLogic(self) -> Any:  # noqa: N802  Slicer's spelling
        """The vtkSlicerApplicationLogic."""
        return self._application_logic

    def moduleLogic(self, name: str) -> Any:  # noqa: N802  Slicer's spelling
        """The logic of one of :data:`LOGICS`."""
        return self._logics[name]

    @property
    def temporaryPath(self) -> str:  # noqa: N802  Slicer's spelling
        """A folder that is removed when Python ends."""
        return self.temporary_folder.name

    def stop(self) -> None:
        """Empty the scene while its logics still listen, then let go of them in the reverse order of their start."""
        self._scene.Clear(True)
        for name in reversed(list(self._logics)):
            self._application_logic.SetModuleLogic(name, None)
            del self._logics[name]
        self.temporary_folder.cleanup()


def _terminologies_folder() -> Path | None:
    """Folder of Slicer's standard terminologies, which the terminologies logic loads at its start.

    slicer-core leaves them out, trame-slicer (of the ``slicer`` extra) brings them; without them that logic cannot
    start, and everything else can.
    """
    found = importlib.util.find_spec("trame_slicer")
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(found.submodule_search_locations[0]) / "resources" / "terminologies"
    return folder if folder.is_dir() else None


def _stop() -> None:
    """At the end of the process, while VTK is still whole."""
    global _application
    if _application is None:
        return
    slicer = require_slicer()
    _application.stop()
    if slicer.app is _application:
        slicer.app, slicer.mrmlScene = None, None
    _application = None
