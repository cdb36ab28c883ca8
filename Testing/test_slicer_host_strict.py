"""The stand-in Slicer lets nothing pass by: what Slicer would silently skip, or print, fails here."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


def test_unknown_signal(host):
    import qt

    button = qt.QPushButton()
    for signature in ("clicked(int)", "pressedd()", "currentNodeChanged(PyObject)"):
        with pytest.raises(ValueError, match="no signal"):
            button.connect(signature, print)


def test_unknown_attribute(host):
    import ctk
    import qt
    import slicer

    for widget in (qt.QPushButton(), ctk.ctkSliderWidget(), slicer.qMRMLNodeComboBox()):
        with pytest.raises(AttributeError, match="enabeld"):
            widget.enabeld = False
        with pytest.raises(AttributeError, match="enabeld"):
            widget.enabeld  # noqa: B018
        with pytest.raises(AttributeError, match="read-only"):
            widget.childrenRect = None
    with pytest.raises(AttributeError):
        slicer.qMRMLNoSuchWidget  # noqa: B018
    with pytest.raises(AttributeError):
        qt.Signal  # noqa: B018


UI = """<ui version="4.0"><class>Form</class><widget class="{root}" name="Form"><layout class="QVBoxLayout" name="box">
<item><widget class="QPushButton" name="button"><property name="{property}"><bool>true</bool></property></widget></item>
</layout></widget><connections><connection><sender>{sender}</sender><signal>{signal}</signal><receiver>Form</receiver>
<slot>{slot}</slot></connection></connections></ui>"""
GOOD = {
    "root": "qMRMLWidget",
    "property": "enabled",
    "sender": "button",
    "signal": "toggled(bool)",
    "slot": "setVisible(bool)",
}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"root": "qMRMLFancyWidget"}, "qMRMLFancyWidget"),
        ({"root": "ctkNothing"}, "ctkNothing"),
        ({"property": "enabeld"}, "enabeld"),
        ({"sender": "buton"}, "no 'buton'"),
        ({"signal": "toggled(int)"}, r"toggled\(int\)"),
        ({"slot": "setVisibel(bool)"}, "setVisibel"),
    ],
)
def test_unknown_things_in_a_ui_file(host, tmp_path, wrong, words):
    import slicer

    path = tmp_path / "form.ui"
    path.write_text(UI.format(**GOOD))
    assert slicer.util.loadUI(str(path)).className() == "qMRMLWidget"
    path.write_text(UI.format(**(GOOD | wrong)))
    with pytest.raises((RuntimeError, ValueError), match=words):
        slicer.util.loadUI(str(path))


def test_questions_raise_unless_answered(host):
    import qt
    import slicer
    from slicer_host.qt_dialogs import WouldBlock

    with pytest.raises(WouldBlock, match="Really"):
        slicer.util.confirmOkCancelDisplay("Really?")
    with pytest.raises(WouldBlock):
        qt.QFileDialog.getExistingDirectory(None, "Where?")
    host.answers += [qt.QMessageBox.Ok, "/tmp/model", lambda dialog: dialog.accept()]
    assert slicer.util.confirmOkCancelDisplay("Really?") is True
    assert qt.QFileDialog.getExistingDirectory(None, "Where?") == "/tmp/model"
    assert qt.QDialog().exec_() == 1


def test_displays_are_recorded_and_do_not_block(host):
    import slicer

    slicer.util.infoDisplay("done")
    slicer.util.warningDisplay("careful")
    slicer.util.delayDisplay("moment", 5000)
    slicer.util.errorDisplay("failed")
    assert [(message.level, message.text) for message in host.recorder.messages] == [
        ("info", "done"),
        ("warning", "careful"),
        ("info", "moment"),
        ("error", "failed"),
    ]
    assert host.take_errors() == ["failed"]


FAILING = """
    import pytest
    pytest_plugins = ["slicer_host.fixtures"]

    @pytest.fixture
    def no_vtk_errors():
        from vtkmodules.vtkCommonCore import vtkOutputWindow, vtkStringOutputWindow
        window = vtkStringOutputWindow()
        vtkOutputWindow.SetInstance(window)
        yield window.GetOutput
        assert "ERR" not in window.GetOutput().upper()

    def test_slot(host):
        import qt
        button = qt.QPushButton()
        button.connect("clicked()", lambda: 1 / 0)
        button.click()

    def test_observer(host):
        host.scene.AddObserver("UserEvent", lambda *_: 1 / 0)
        host.scene.InvokeEvent("UserEvent")
        host.scene.RemoveObservers("UserEvent")

    def test_vtk(host):
        import vtk
        vtk.vtkImageThreshold().Update()

    def test_error_display(host):
        import slicer
        slicer.util.errorDisplay("not taken")

    def test_good(host):
        assert host.scene is not None
"""


def test_hidden_errors_fail_a_test(tmp_path):
    (tmp_path / "test_failing.py").write_text(textwrap.dedent(FAILING))
    done = run_python(["-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_failing.py"], tmp_path)
    assert "5 passed, 4 errors" in done.stdout, done.stdout + done.stderr


def run_python(arguments: list[str], folder: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
