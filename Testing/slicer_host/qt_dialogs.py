"""Dialogs that would wait for a person.

Slicer without a main window still opens a dialog when code asks a question, and then hangs: nobody is there to answer.
Here every such dialog raises :class:`WouldBlock`, unless the test said beforehand what the person does::

    host.answers.append(qt.QMessageBox.Ok)       # the value that exec_() or the static function returns
    host.answers.append("/tmp/model")            # ... also of QFileDialog.getExistingDirectory and so on
    host.answers.append(lambda dialog: dialog.ui.name.setText("x") or dialog.accept())   # acts on the open dialog
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtWidgets

# What the person will answer, first question first.
answers: list[Any] = []

_STATIC_QUESTIONS = {
    QtWidgets.QMessageBox: ("question", "information", "warning", "critical", "about", "aboutQt"),
    QtWidgets.QFileDialog: ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory"),
    QtWidgets.QInputDialog: ("getText", "getMultiLineText", "getInt", "getDouble", "getItem"),
    QtWidgets.QColorDialog: ("getColor",),
    QtWidgets.QFontDialog: ("getFont",),
}


class WouldBlock(RuntimeError):
    """Code opened a dialog that waits for a person, and the test had no answer ready."""


def apply() -> None:
    """Replace what opens a modal dialog. Once a process."""
    for cls, names in _STATIC_QUESTIONS.items():
        for name in names:
            setattr(cls, name, staticmethod(_question(f"{cls.__name__}.{name}")))
    run_for_real = QtWidgets.QDialog.exec
    for cls in (QtWidgets.QDialog, QtWidgets.QMenu):
        cls.exec_ = cls.exec = _answered_exec(run_for_real if cls is QtWidgets.QDialog else None)


def _question(name: str) -> Callable:
    def ask(*arguments: Any, **_keywords: Any) -> Any:
        texts = " | ".join(argument for argument in arguments if isinstance(argument, str))
        if not answers:
            raise WouldBlock(f"{name}({texts}) waits for a person. Put the answer into host.answers first.")
        return answers.pop(0)

    return ask


def _answered_exec(run_for_real: Callable | None) -> Callable:
    def exec_dialog(dialog: Any, *_arguments: Any) -> Any:
        text = getattr(dialog, "text", "") or getattr(dialog, "windowTitle", "")
        if not answers:
            raise WouldBlock(
                f"{dialog.className()} '{text}' waits for a person. Put the answer into host.answers first."
            )
        answer = answers.pop(0)
        if not callable(answer) or run_for_real is None:
            return answer
        QtCore.QTimer.singleShot(0, lambda: answer(dialog))
        return run_for_real(dialog)

    return exec_dialog
