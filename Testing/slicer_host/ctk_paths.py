"""CTK's widgets for paths; :mod:`slicer_host.ctk_module` makes them part of the module ``ctk``."""

# ruff: noqa: N801, N802, N815  the names are CTK's

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Property, Signal, Slot
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QPushButton, QToolButton, QWidget

from slicer_host.declared import stored


class ctkPathLineEdit(QWidget):
    """ctkPathLineEdit: a path with a button that asks for one."""

    Dirs, Files, Drives, NoSymLinks = 0x001, 0x002, 0x004, 0x008
    Readable, Writable, Executable, Hidden = 0x010, 0x020, 0x040, 0x100

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    label = stored(str, "")
    filters = stored(int, 0x007)
    nameFilters = stored("QStringList", [])
    options = stored(int, 0)
    settingKey = stored(str, "")
    showHistoryButton = stored(bool, True)
    showBrowseButton = stored(bool, True, "_show_button")
    minimumContentsLength = stored(int, 0)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._line_edit = QLineEdit(self)
        self._button = QToolButton(self)
        self._button.setText("...")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._line_edit)
        layout.addWidget(self._button)
        self._line_edit.textChanged.connect(self.currentPathChanged)
        self._button.clicked.connect(lambda _checked: self.browse())

    @Slot(str)
    def setCurrentPath(self, path: str) -> None:
        if not isinstance(path, str):
            raise TypeError(f"setCurrentPath takes a str, not {type(path).__name__}.")  # Qt cannot take a pathlib.Path
        self._line_edit.setText(path)

    currentPath = Property(str, lambda self: self._line_edit.text, setCurrentPath)

    def browse(self) -> None:
        if self.filters & self.Files:
            ask = QFileDialog.getSaveFileName if self.filters & self.Writable else QFileDialog.getOpenFileName
        else:
            ask = QFileDialog.getExistingDirectory
        chosen = ask(self, self.label, self.currentPath)
        if chosen:
            self.setCurrentPath(chosen)

    def addCurrentPathToHistory(self) -> None:
        """Keeps nothing here."""

    def retrieveHistory(self) -> None:
        """Has nothing here."""

    def _show_button(self) -> None:
        self._button.setVisible(self.showBrowseButton)


class ctkDirectoryButton(QWidget):
    """ctkDirectoryButton: a button with the chosen folder on it."""

    directoryChanged = Signal(str)
    directorySelected = Signal(str)
    caption = stored(str, "")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._button = QPushButton(self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)
        self._button.clicked.connect(lambda _checked: self.browse())

    def setDirectory(self, path: str) -> None:
        if path != self._button.text:
            self._button.setText(path)
            self.directoryChanged.emit(path)

    directory = Property(str, lambda self: self._button.text, setDirectory)

    def browse(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, self.caption, self.directory)
        if chosen:
            self.setDirectory(chosen)
            self.directorySelected.emit(chosen)
