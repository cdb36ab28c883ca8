"""``slicer.ScriptedLoadableModule`` and ``slicer.i18n``: the base classes of a scripted module.

Same class names, methods and attributes as Slicer's file of that name. Not imitated: the *Reload & Test* section of the
developer mode (developer mode is off here, as it is at a user's).
"""

# ruff: noqa: N802, N803  the names are Slicer's

from __future__ import annotations

import importlib
import sys
import types
import unittest
from pathlib import Path
from typing import Any

import slicer


class ScriptedLoadableModule:
    """Metadata of the module; ``parent`` is the module object that Slicer lists."""

    def __init__(self, parent: Any) -> None:
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        parent.contributors = []
        parent.helpText = ""
        parent.acknowledgementText = ""
        self._find_icon()
        slicer.selfTests[self.moduleName] = self.runTest

    def _find_icon(self) -> None:
        import qt

        for ending in (".svg", ".png"):
            path = Path(self.resourcePath(f"Icons/{self.moduleName}{ending}"))
            if path.is_file():
                self.parent.icon = qt.QIcon(str(path))
                return

    def resourcePath(self, filename: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        page = (
            slicer.app.documentationBaseUrl + docPage if docPage else slicer.app.moduleDocumentationUrl(self.moduleName)
        )
        return f'<p>For more information see the <a href="{page}">online documentation</a>.</p>'

    def runTest(self, msec: int = 100, **keywords: Any) -> None:
        module = importlib.import_module(type(self).__module__)
        case = getattr(module, f"{self.moduleName}Test")()
        case.messageDelay = msec
        case.runTest(**keywords)


class ScriptedLoadableModuleWidget:
    """The module's panel; ``parent`` is the widget around it."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        import qt

        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent
        if parent is None:
            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(qt.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """Makes the developer section in Slicer; nothing here."""

    def cleanup(self) -> None:
        """Called when the module is unloaded."""

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """The module's work; its parameters live in a node of the scene."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """The module's vtkMRMLScriptedModuleNode, made when there is none."""
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is not None:
                node.SetAttribute("ModuleName", self.moduleName)  # closing the scene may have taken it away
                return node
        elif self.getAllParameterNodes():
            return self.getAllParameterNodes()[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        return [
            node
            for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
            if node.GetAttribute("ModuleName") == self.moduleName
        ]

    def createParameterNode(self) -> Any:
        """A new parameter node, not yet in the scene."""
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The module's own test, which *Reload and Test* and pytest run."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.messageDelay = 0

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        slicer.util.delayDisplay(message)

    def takeScreenshot(self, *_arguments: Any, **_keywords: Any) -> None:
        """Makes no picture here."""

    def runTest(self) -> None:
        """Run every method whose name starts with ``test``, as Slicer's does."""
        for name in dir(self):
            if name.startswith("test") and callable(getattr(self, name)):
                self.setUp()
                getattr(self, name)()
                self.tearDown()


__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]


def install() -> None:
    """Make both importable: ``slicer.ScriptedLoadableModule`` and ``slicer.i18n``."""
    slicer.selfTests = {}
    slicer.ScriptedLoadableModule = sys.modules["slicer.ScriptedLoadableModule"] = sys.modules[__name__]
    i18n = types.ModuleType("slicer.i18n", "Slicer's translation functions, without a translation.")
    i18n.tr = lambda text: text
    i18n.translate = lambda _context, text: text
    slicer.i18n = sys.modules["slicer.i18n"] = i18n
