"""``slicer.app``: the application object, over the scene and logics that HNTumorSegLib.mrml.core_app starts."""

# ruff: noqa: N801, N802, N815  the names are Slicer's

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from PySide6.QtCore import QCoreApplication, QObject, QSettings, Signal
from PySide6.QtWidgets import QApplication

from slicer_host.dicom_database import DicomDatabase
from slicer_host.io_manager import IOManager

# Slicer module -> logic class: those that modules call and that core_app does not start for the library.
MORE_LOGICS = {
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
}


class qSlicerModuleManager(QObject):
    """qSlicerModuleManager: knows the modules that are there."""

    moduleAboutToBeUnloaded = Signal(str)
    moduleLoaded = Signal(str)
    modulesLoaded = Signal("QStringList")

    def module(self, name: str) -> Any:
        import slicer

        return getattr(slicer.modules, name.lower(), None)

    def modulesNames(self) -> list[str]:
        import slicer

        return [name for name in vars(slicer.moduleNames) if not name.startswith("_")]

    def isLoaded(self, name: str) -> bool:
        return self.module(name) is not None


class qSlicerApplication(QApplication):
    """qSlicerApplication of a Slicer started with ``--no-main-window``.

    There is no main window, and no layout manager until the host opens views. Settings live in a temporary folder.
    Not imitated: extensions manager, module selection, error log, undo of the scene.
    """

    startupCompleted = Signal()
    mrmlSceneChanged = Signal(object)

    slicerHome = ""
    extensionsInstallPath = ""
    majorVersion, minorVersion, revision = 5, 10, "0"
    documentationBaseUrl = "https://slicer.readthedocs.io/en/latest/"

    def __init__(self, core: Any) -> None:
        _use_temporary_settings(core.temporaryPath)
        super().__init__(["Slicer"])
        self._core = core
        self._layout_manager: Any = None
        self._module_manager = qSlicerModuleManager()
        self._io_manager = IOManager(self)
        self._logics = dict(self._core_logics())
        self._logics["Colors"] = self.applicationLogic().GetColorLogic()
        self.applicationLogic().SetModuleLogic("Colors", self._logics["Colors"])  # the volumes' logic asks for it
        self._logics.update(self._start_logics())
        self._dicom_database = DicomDatabase()

    # The scene and the logics

    def mrmlScene(self) -> Any:
        return self._core.mrmlScene()

    def applicationLogic(self) -> Any:
        return self._core.applicationLogic()

    def moduleLogic(self, name: str) -> Any:
        return self._logics[name]

    def logics(self) -> dict[str, Any]:
        """Slicer module name -> its logic. Not in Slicer: for the host."""
        return self._logics

    def coreIOManager(self) -> IOManager:
        return self._io_manager

    ioManager = coreIOManager

    def moduleManager(self) -> qSlicerModuleManager:
        return self._module_manager

    def layoutManager(self) -> Any:
        return self._layout_manager

    def dicomDatabase(self) -> DicomDatabase:
        return self._dicom_database

    @property
    def temporaryPath(self) -> str:
        return self._core.temporaryPath

    # Settings and options

    def settings(self) -> QSettings:
        return QSettings()

    userSettings = revisionUserSettings = settings

    def testingEnabled(self) -> bool:
        return False  # as in Slicer --no-main-window; True would turn every question into a silent yes

    def commandOptions(self) -> SimpleNamespace:
        return SimpleNamespace(noMainWindow=True, testingEnabled=False, disableMessageHandlers=True)

    def pythonConsole(self) -> None:
        return None

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def startupEnvironment(self) -> Any:
        from PySide6.QtCore import QProcessEnvironment

        return QProcessEnvironment.systemEnvironment()

    # Rendering goes on request here

    def pauseRender(self) -> None:
        """Nothing to pause."""

    resumeRender = pauseRender

    def setRenderPaused(self, _paused: bool) -> None:
        """Nothing to pause."""

    def _core_logics(self) -> dict[str, Any]:
        from HNTumorSegLib.mrml.core_app import LOGICS

        found = {}
        for name in LOGICS:
            try:
                found[name] = self._core.moduleLogic(name)
            except KeyError:  # the terminologies need a folder that slicer-core alone does not bring
                continue
        return found

    def _start_logics(self) -> dict[str, Any]:
        import slicer

        started = {}
        for name, class_name in MORE_LOGICS.items():
            logic = getattr(slicer, class_name)()
            logic.SetMRMLApplicationLogic(self.applicationLogic())
            logic.SetMRMLScene(self.mrmlScene())
            self.applicationLogic().SetModuleLogic(name, logic)
            started[name] = logic
        return started

    def stop(self) -> None:
        """Let go of what the host added, in the reverse order."""
        for name in [*reversed(MORE_LOGICS), "Colors"]:
            self.applicationLogic().SetModuleLogic(name, None)
        self._logics.clear()


def _use_temporary_settings(folder: str) -> None:
    QCoreApplication.setOrganizationName("NA-MIC")
    QCoreApplication.setApplicationName("Slicer")
    QCoreApplication.setApplicationVersion("5.10.0")
    QSettings.setDefaultFormat(QSettings.IniFormat)
    QSettings.setPath(QSettings.IniFormat, QSettings.UserScope, folder)
