"""Starts and stops the host: one for a process."""

from __future__ import annotations

import atexit
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

SEAM = 60
"""Grey value of the line between views."""

_host: Host | None = None


def start() -> Host:
    """The host of this process, started at the first call. Afterwards ``import slicer, qt, ctk`` work as in Slicer."""
    global _host
    if _host is None:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
        _host = Host()
        atexit.register(_host.stop)
    return _host


class Host:
    """The stand-in Slicer of this process; tests hold it as the fixture ``host``.

    Attributes:
        app: ``slicer.app``.
        scene: ``slicer.mrmlScene``.
        recorder: What was said to the person and what went wrong unseen.
        answers: What the person answers to the next dialogs (see :mod:`slicer_host.qt_dialogs`).
    """

    def __init__(self) -> None:
        from HNTumorSegLib.mrml import core_app

        core = core_app.application()  # the library's scene and logics; the host puts Qt's half around them
        import slicer
        import slicer.util

        from slicer_host import qt_module  # applies PythonQt's manners: before any stand-in class is made

        qt_module.install()
        from slicer_host import (
            application,
            ctk_module,
            messages,
            module_factory,
            mrml_widgets,
            qt_dialogs,
            sample_data,
            scripted_module,
            subject_hierarchy,
        )

        messages.log_qt_messages()
        ctk_module.install()
        self.answers = qt_dialogs.answers
        self.app = application.qSlicerApplication(core)
        self.scene = core.mrmlScene()
        self._add_default_crosshair()
        slicer.app, slicer.mrmlScene = self.app, self.scene
        slicer.dicomDatabase = self.app.dicomDatabase()
        for name in ("modules", "moduleNames"):
            setattr(slicer, name, types.ModuleType(f"slicer.{name}"))
            sys.modules[f"slicer.{name}"] = getattr(slicer, name)
        mrml_widgets.install(slicer)
        slicer.qSlicerScriptedLoadableModule = module_factory.qSlicerScriptedLoadableModule
        scripted_module.install()
        sample_data.install()
        module_factory.list_core_modules()
        self._factory = module_factory
        self._views: Any = None
        self._hierarchy = subject_hierarchy.SubjectHierarchyKeeper(self.scene)
        self.recorder = messages.Recorder()
        self.recorder.install(slicer.util)

    def _add_default_crosshair(self) -> None:
        import slicer

        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)

    # Modules

    def load_module(self, path: str | Path) -> Any:
        """Load a scripted module file and open its panel; see :func:`slicer_host.module_factory.load_module`."""
        return self._factory.load_module(path)

    def unload_modules(self) -> None:
        """Unload every scripted module, as at the end of Slicer."""
        self._factory.unload_all()

    # What was said

    def texts(self, level: str | None = None) -> list[str]:
        """What was shown to the person so far: of ``"error"``, ``"warning"``, ``"info"``, ``"status"``, or all."""
        return self.recorder.texts(level)

    def take_errors(self) -> list[str]:
        """The errors shown so far. A test that expects an error takes it; one that is left fails the test."""
        return self.recorder.take_errors()

    # Time

    def process_events(self) -> None:
        """Let Qt do what is due."""
        self.app.processEvents()

    def wait_until(self, condition: Any, timeout_s: float = 10.0) -> None:
        """Let Qt run until ``condition()`` is true; TimeoutError when that takes too long."""
        import time

        end = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"Waited {timeout_s} s in vain.")
            self.app.processEvents()
            time.sleep(0.005)

    # Pictures

    def open_views(self) -> Any:
        """The layout manager with the slice views Red, Yellow and Green; from now on Slicer has one."""
        if self._views is None:
            from slicer_host.slice_widget import LayoutManager

            self._views = LayoutManager(self.scene)
        if self.app._layout_manager is None:
            self._views.reset()
            self.app._layout_manager = self._views
        return self._views

    def close_views(self) -> None:
        """Back to no layout manager, as Slicer is without a main window; the views wait to be opened again."""
        self.app._layout_manager = None

    def grab(self, widget: Any, path: str | Path | None = None, size: tuple[int, int] | None = None) -> np.ndarray:
        """What a widget shows: array (height, width, 3), uint8, and a PNG when a path is given."""
        from slicer_host import pictures

        return pictures.of_widget(widget, path, size)

    def grab_views(self, path: str | Path | None = None, size: tuple[int, int] = (400, 400)) -> np.ndarray:
        """The three slice views beside each other, each of that size; also as PNG when a path is given."""
        from slicer_host import pictures

        layout = self.open_views()
        images = []
        for name in layout.sliceViewNames():
            view = layout.sliceWidget(name).view()
            view.resize(*size)
            images.append(view.image())
        pixels = np.concatenate(images, axis=1)
        if path is not None:
            pictures.save_png(pixels, path)
        return pixels

    def grab_window(
        self, panel: Any, path: str | Path | None = None, panel_width: int = 460, height: int = 800
    ) -> np.ndarray:
        """A panel with the slice views at its right, as Slicer's window shows them; also as PNG."""
        from slicer_host import pictures

        left = pictures.of_widget(panel, size=(panel_width, height))
        side = left.shape[0] // 2  # the panel may need more than it was offered
        layout = self.open_views()
        images = []
        for name, width in zip(layout.sliceViewNames(), (2 * side, side, side), strict=True):
            view = layout.sliceWidget(name).view()
            view.resize(width, side)
            images.append(view.image())
        red, yellow, green = images
        for image in images:  # a dark line, as between Slicer's views
            image[0], image[:, 0] = SEAM, SEAM
        right = np.concatenate([red, np.concatenate([yellow, green], axis=1)], axis=0)
        pixels = np.concatenate([left[: right.shape[0]], right], axis=1)
        if path is not None:
            pictures.save_png(pixels, path)
        return pixels

    # Editing as a person does

    def paint_sphere(self, editor: Any, center_ras: Any, radius_mm: float, erase: bool = False) -> None:
        """One stroke of the Segment Editor's sphere brush on the selected segment, with undo.

        Args:
            editor: A qMRMLSegmentEditorWidget with a segmentation, a source volume and a current segment.
            center_ras: Middle of the stroke, RAS in mm.
            radius_mm: Radius of the brush.
            erase: Take the voxels away instead of adding them.
        """
        from slicer_host import strokes

        strokes.paint_sphere(editor, center_ras, radius_mm, erase)

    # Between tests, and the end

    def reset(self) -> None:
        """An empty scene, empty settings, no messages: as after starting Slicer. Loaded modules stay loaded."""
        import qt

        self.scene.Clear(False)
        self.app.processEvents()
        self.recorder.clear()
        self.answers.clear()
        self.app.dicomDatabase().clear()
        qt.QSettings().clear()
        while self.app.overrideCursor() is not None:
            self.app.restoreOverrideCursor()

    def stop(self) -> None:
        """Take everything apart in the order that lets the process end cleanly. Called at exit."""
        from PySide6.QtCore import qInstallMessageHandler

        global _host
        if self.app is None:
            return
        self.unload_modules()
        self.scene.Clear(False)
        self.close_views()
        if self._views is not None:
            self._views.stop()
        for widget in self.app.topLevelWidgets():
            widget.close()
            widget.deleteLater()
        self.app.sendPostedEvents(None, 52)  # QEvent.DeferredDelete
        self.app.processEvents()
        self._hierarchy.stop()
        qInstallMessageHandler(None)  # Python is about to end
        self.app.stop()
        self.app.shutdown()
        self.app = _host = None
