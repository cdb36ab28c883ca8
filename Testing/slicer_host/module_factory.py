"""What Slicer's module factory does: load a module file, list the module in ``slicer.modules``, make its panel."""

# ruff: noqa: N801, N802  the names are Slicer's

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer


@dataclass(frozen=True)
class LoadedModule:
    """A scripted module that runs in the host.

    Attributes:
        python: The imported module file.
        instance: Object of its class ``NAME`` (the metadata are attributes of ``instance.parent``).
        panel: The widget around the module's panel, a qMRMLWidget.
        widget: Object of its class ``NAMEWidget``.
        logic: ``widget.logic``, or a new ``NAMELogic`` when the widget has none.
    """

    python: Any
    instance: Any
    panel: Any
    widget: Any
    logic: Any


class CoreModule:
    """A module written in C++: it has a logic, and no panel here."""

    def __init__(self, name: str, logic: Any) -> None:
        self.name = self.title = name
        self._logic = logic

    def logic(self) -> Any:
        return self._logic


class qSlicerScriptedLoadableModule:
    """qSlicerScriptedLoadableModule: the object that ``slicer.modules.NAME`` is, and that the module calls parent."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = Path(path).stem
        self.hidden = False
        self.icon = None
        self._python: Any = None
        self._panel: Any = None

    def logic(self) -> None:
        """Scripted modules have none in Slicer either; use slicer.util.getModuleLogic."""

    def widgetRepresentation(self) -> Any:
        """The panel, made at the first call."""
        if self._panel is None:
            self._panel = self._make_panel()
        return self._panel

    def _make_panel(self) -> Any:
        panel = slicer.qSlicerScriptedLoadableModuleWidget()
        panel.setMRMLScene(slicer.mrmlScene)
        panel.setWindowTitle(self.title)
        widget = getattr(self._python, f"{self.name}Widget")(panel)
        panel._python_widget = widget
        setattr(slicer.modules, f"{self.name}Widget", widget)
        widget.setup()
        if hasattr(widget, "enter"):
            widget.enter()
        return panel


def list_core_modules() -> None:
    """Fill ``slicer.modules`` with the logics that run."""
    for name, logic in slicer.app.logics().items():
        setattr(slicer.modules, name.lower(), CoreModule(name, logic))
        setattr(slicer.moduleNames, name, name)


def load_module(path: str | Path) -> LoadedModule:
    """Load a scripted module file, unmodified, and open its panel.

    The file's folder is put on ``sys.path`` as in Slicer. Loading it a second time unloads the first.
    """
    path = Path(path).absolute()
    name = path.stem
    unload_module(name)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    python = importlib.util.module_from_spec(spec)
    sys.modules[name] = python
    spec.loader.exec_module(python)
    module = qSlicerScriptedLoadableModule(str(path))
    module._python = python
    setattr(slicer.modules, name.lower(), module)
    setattr(slicer.moduleNames, name, name)
    instance = getattr(python, name)(module)
    setattr(slicer.modules, f"{name}Instance", instance)
    slicer.app.moduleManager().moduleLoaded.emit(name)
    panel = module.widgetRepresentation()
    widget = panel.self()
    logic = getattr(widget, "logic", None) or getattr(python, f"{name}Logic")()
    return LoadedModule(python, instance, panel, widget, logic)


def unload_module(name: str) -> None:
    """Unload a scripted module as Slicer does at its end: leave, clean up, destroy the panel. Unknown names pass."""
    module = getattr(slicer.modules, name.lower(), None)
    if not isinstance(module, qSlicerScriptedLoadableModule):
        return
    widget = getattr(slicer.modules, f"{name}Widget", None)
    if widget is not None and hasattr(widget, "exit"):
        widget.exit()
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(name)
    panel, module._panel = module._panel, None
    if panel is not None:
        panel.hide()
        panel._python_widget = None
        panel.deleteLater()
        slicer.app.sendPostedEvents(panel, _DEFERRED_DELETE)
    for attribute in (name.lower(), f"{name}Instance", f"{name}Widget"):
        vars(slicer.modules).pop(attribute, None)
    vars(slicer.moduleNames).pop(name, None)
    slicer.selfTests.pop(name, None)
    sys.modules.pop(name, None)


_DEFERRED_DELETE = 52  # QEvent.DeferredDelete


def unload_all() -> None:
    """Unload every scripted module."""
    for module in list(vars(slicer.modules).values()):
        if isinstance(module, qSlicerScriptedLoadableModule):
            unload_module(module.name)
