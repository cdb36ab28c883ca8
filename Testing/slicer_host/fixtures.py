"""pytest fixtures of the host; Testing/conftest.py makes them known to every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

MODULE_FILE = Path(__file__).resolve().parents[2] / "HNTumorSeg" / "HNTumorSeg.py"


@pytest.fixture(scope="session")
def running_host() -> Any:
    """The host of this process; skips where PySide6 or slicer-core are missing."""
    pytest.importorskip("slicer", reason="the slicer extra is not installed")
    pytest.importorskip("PySide6.QtWidgets", reason="PySide6-Essentials of the test extra is not installed")
    from slicer_host import host

    return host.start()


@pytest.fixture
def host(running_host: Any, no_vtk_errors: Callable[[], str]) -> Iterator[Any]:
    """A stand-in Slicer with an empty scene.

    Fails the test afterwards for: an error of VTK or MRML; an error shown to the person that the test did not take
    with ``host.take_errors()``; an exception that left a slot or an observer.
    """
    running_host.reset()
    running_host.recorder.watch()
    yield running_host
    try:
        running_host.process_events()
        running_host.recorder.check()
    finally:
        running_host.recorder.unwatch()
        running_host.unload_modules()
        running_host.reset()


@pytest.fixture
def slice_views(host: Any) -> Iterator[Any]:
    """The layout manager with Red, Yellow and Green, offscreen; without this fixture Slicer has none."""
    yield host.open_views()
    host.close_views()


@pytest.fixture
def module(host: Any) -> Any:
    """The module HNTumorSeg, unmodified, loaded afresh: ``module.widget``, ``module.logic``, ``module.panel``."""
    return host.load_module(MODULE_FILE)


@pytest.fixture
def module_widget(module: Any) -> Any:
    """The object of class HNTumorSegWidget; its widgets are ``module_widget.ui.NAME``."""
    return module.widget
