"""Fixtures that every test may use."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

# GPU builds of torch bring triton. Loaded after the software OpenGL that draws the views, it crashes the process.
if importlib.util.find_spec("triton"):
    import triton  # noqa: F401

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real data sets and oracles that lie beside the checkout; skips where they are not."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real data sets are not at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture
def no_vtk_errors():
    """Fails the test when VTK or MRML report an error in it; yields a function that returns what they said so far."""
    vtk_core = pytest.importorskip("vtkmodules.vtkCommonCore", reason="the slicer extra is not installed")
    pytest.importorskip("slicer", reason="the slicer extra is not installed")
    before = vtk_core.vtkOutputWindow.GetInstance()
    window = vtk_core.vtkStringOutputWindow()
    vtk_core.vtkOutputWindow.SetInstance(window)
    yield window.GetOutput
    vtk_core.vtkOutputWindow.SetInstance(before)
    assert "ERR" not in window.GetOutput().upper(), window.GetOutput()


pytest_plugins = ["slicer_host.fixtures"]  # the stand-in Slicer: host, module, module_widget, slice_views


@pytest.fixture
def with_ctrl_c() -> Callable[[], None]:
    """For ``Popen(preexec_fn=...)``: the child hears Ctrl-C also when the tests themselves run in the background."""

    def restore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return restore
