"""Helpers that declare Qt properties of a stand-in widget, so that ``.ui`` files and PythonQt code can set them."""

from __future__ import annotations

from itertools import count
from typing import Any

from PySide6.QtCore import Property

_number = count()


def stored(kind: Any, default: Any, changed: str | None = None) -> Property:
    """A property that only keeps its value.

    Args:
        kind: Its Qt type: a Python type, or a C++ name such as ``"QStringList"``.
        default: Its value before anybody sets it.
        changed: Name of the widget's method that is called after the value was set.
    """
    key = f"_stored_{next(_number)}"

    def read(widget: Any) -> Any:
        return widget.__dict__.get(key, default)

    def write(widget: Any, value: Any) -> None:
        widget.__dict__[key] = value
        if changed is not None:
            getattr(widget, changed)()

    return Property(kind, read, write)


def of_child(kind: Any, child: str, name: str) -> Property:
    """A property that is that of an inner widget: ``of_child(float, "_spin_box", "value")``."""
    setter = f"set{name[0].upper()}{name[1:]}"
    return Property(
        kind,
        lambda widget: getattr(widget.__dict__[child], name),
        lambda widget, value: getattr(widget.__dict__[child], setter)(value),
    )
