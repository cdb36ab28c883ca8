"""``qt.QUiLoader``: Qt's own loader with Slicer's widget classes, and with open eyes.

Qt leaves out what it does not know: a widget class becomes a plain QWidget, a property is stored and never looked at, a
connection is skipped. In Slicer that shows up as a panel that does not work. Here each of them raises RuntimeError.
"""

# ruff: noqa: N802  the names are Slicer's

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import shiboken6
from PySide6 import QtCore, QtUiTools, QtWidgets

from slicer_host import qt_manners


class QUiLoader(QtUiTools.QUiLoader):
    """Stands in for PythonQt's QUiLoader with CTK's and Slicer's designer plugins loaded.

    Not imitated: icons from Slicer's compiled-in resources (``:/Icons/...`` stay empty), ``<tabstops>``.
    """

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        """Called by Qt for each widget of the file. An error is kept: Qt would swallow it."""
        try:
            cls = widget_class(class_name)
            if cls is None:
                return super().createWidget(class_name, parent, name)
            widget = cls(parent)
            widget.setObjectName(name)
        except Exception as error:
            self._errors.append(error)
            raise
        self._created.append(widget)  # until load() has put it into its parent
        return widget

    def load(self, device: QtCore.QIODevice, parent: Any = None) -> Any:
        """The widget that the open ``.ui`` file describes; RuntimeError when anything in it is not known."""
        self._errors: list[Exception] = []
        self._created: list[Any] = []
        root = ElementTree.fromstring(bytes(device.readAll().data()))
        connections = [
            [connection.findtext(part) for part in ("sender", "signal", "receiver", "slot")]
            for connection in root.iterfind("connections/connection")
        ]
        for element in root.findall("connections"):  # Qt cannot make those that carry VTK objects
            root.remove(element)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.ReadOnly)
        widget = super().load(buffer, parent)
        if self._errors:
            raise self._errors[0]
        if widget is None:
            raise RuntimeError(self.errorString())
        _check_properties(root, widget)
        for connection in connections:
            _make_connection(widget, *connection)
        return widget


def widget_class(class_name: str) -> type | None:
    """The stand-in for a class named in a ``.ui`` file, None for Qt's own; RuntimeError for one nobody knows."""
    import ctk
    import slicer

    for module in (ctk, slicer):
        found = getattr(module, class_name, None)
        if isinstance(found, type) and issubclass(found, QtWidgets.QWidget):
            return found
    if hasattr(QtWidgets, class_name):
        return None
    raise RuntimeError(f"The .ui file uses the widget class {class_name}, which the host does not have.")


def find(root: Any, name: str) -> Any:
    """The object of that name in a loaded ``.ui`` tree, the root itself included; None when there is none."""
    return root if root.objectName == name else root.findChild(QtCore.QObject, name)


def _check_properties(root: ElementTree.Element, widget: Any) -> None:
    for element in root.iter():
        if element.tag not in ("widget", "layout", "action") or element.get("name") is None:
            continue
        target = find(widget, element.get("name"))
        for entry in element.findall("property"):
            name = entry.get("name")
            dynamic = entry.get("stdset") == "0"  # Designer's mark for one that a person added
            if target is None or dynamic or _layout_margin(element, name):
                continue
            if target.metaObject().indexOfProperty(name) < 0:
                raise RuntimeError(
                    f"The .ui file sets the property '{name}' of {element.get('name')}, "
                    f"which {target.className()} does not have."
                )


def _layout_margin(element: ElementTree.Element, name: str) -> bool:
    # Designer writes these for a layout; Qt's loader knows them although they are no properties.
    return element.tag == "layout" and (name.endswith(("Margin", "Spacing")) or name == "margin")


def _make_connection(widget: Any, sender: str, signal: str, receiver: str, slot: str) -> None:
    source, target = find(widget, sender), find(widget, receiver)
    if source is None or target is None:
        missing = sender if source is None else receiver
        raise RuntimeError(f"The .ui file connects {sender}.{signal} to {receiver}.{slot}: there is no '{missing}'.")
    if not shiboken6.isValid(source) or not hasattr(target, slot.partition("(")[0]):
        raise RuntimeError(f"The .ui file connects to {receiver}.{slot}, which {target.className()} does not have.")
    qt_manners.connect(source, signal, target, slot)
