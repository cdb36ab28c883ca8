"""PythonQt's manners on PySide6's classes.

Slicer's Python reaches Qt through PythonQt, the tests through PySide6. The two differ in how code reads; :func:`apply`
changes PySide6's classes in place so that code written for PythonQt runs:

- a Qt property is a Python attribute: ``button.text``, ``button.enabled = False`` (``setText`` stays);
- signals are connected by their C++ signature: ``button.connect("clicked(bool)", slot)``, and a slot may take fewer
  arguments than the signal has;
- ``widget.name``, ``widget.className()``, ``widget.delete()``;
- a signature that the class does not have, and an attribute that the class does not have, raise at once (PythonQt
  only prints for the first; a test must fail).

Not imitated: PythonQt's conversions of containers and its lifetime rules (here an object lives as PySide6 has it).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

MODULES = (QtCore, QtGui, QtWidgets)

# Virtual methods that Shiboken looks up by name when Qt calls them: they must stay methods.
_STAY_METHODS = {"sizeHint", "minimumSizeHint", "parent"}

# (address of the sender, signature) -> what is connected: the callable given by the module and the one given to Qt.
_connections: dict[tuple[int, str], list[tuple[Callable, Callable]]] = {}
_watched_senders: set[int] = set()


def qobject_classes() -> list[type]:
    """Every class of QtCore, QtGui and QtWidgets that is a QObject, each once."""
    found: dict[type, None] = {}
    for module in MODULES:
        for name in dir(module):  # dir, not vars: PySide6 makes its classes when they are first asked for
            value = getattr(module, name)
            if isinstance(value, type) and issubclass(value, QtCore.QObject):
                found[value] = None
    return list(found)


def apply() -> None:
    """Give PySide6's classes PythonQt's manners. Once a process; a second call does nothing."""
    if hasattr(QtCore.QObject, "className"):
        return
    classes = qobject_classes()
    for cls in classes:
        _properties_as_attributes(cls)
    object_name = vars(QtCore.QObject)["objectName"]
    QtCore.QObject.name = property(object_name.__get__, lambda self, value: self.setObjectName(value))
    QtCore.QObject.className = lambda self: self.metaObject().className()
    QtCore.QObject.delete = lambda self: shiboken6.delete(self)
    for cls in classes:
        if "__getattribute__" in vars(cls):
            cls.__getattribute__ = _with_connect_by_signature(cls.__getattribute__)
        if "__setattr__" in vars(cls):
            cls.__setattr__ = _set_attribute


class QtProperty:
    """A Qt property as an attribute of its objects; on the class it is what it was (``QTimer.singleShot``)."""

    def __init__(self, name: str, original: Any) -> None:
        self.name = name
        self.original = original

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        if owner is None:
            return self.original.__get__(None, cls) if hasattr(self.original, "__get__") else self.original
        if callable(self.original) and not isinstance(self.original, staticmethod):
            return self.original(owner)
        return owner.property(self.name)

    def __set__(self, owner: Any, value: Any) -> None:
        setter = getattr(owner, f"set{self.name[0].upper()}{self.name[1:]}", None)
        if setter is not None:
            setter(value)
        elif not owner.metaObject().property(owner.metaObject().indexOfProperty(self.name)).isWritable():
            raise AttributeError(f"Property '{self.name}' of {owner.className()} is read-only.")
        else:
            owner.setProperty(self.name, value)


def _properties_as_attributes(cls: type) -> None:
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        name = meta.property(index).name()
        original = inspect.getattr_static(cls, name, None)
        if isinstance(original, QtProperty):
            original = original.original
        if name not in _STAY_METHODS and not isinstance(original, QtCore.Signal):
            setattr(cls, name, QtProperty(name, original))


def _set_attribute(self: Any, name: str, value: Any) -> None:
    declared = inspect.getattr_static(type(self), name, None)
    if isinstance(declared, QtCore.Property):  # PySide6's own way to reach its setter is not open to Python code
        if declared.fset is None:
            raise AttributeError(f"Property '{name}' of {self.className()} is read-only.")
        declared.fset(self, value)
        return
    # Python classes of a module may have any attribute, as in PythonQt; Qt's, ctk's and qMRML's may not.
    if not name.startswith("_") and declared is None and _is_wrapped_class(type(self)):
        raise AttributeError(f"{type(self).__name__} has no attribute '{name}' that could be set.")
    shiboken6.Object.__setattr__(self, name, value)


def _is_wrapped_class(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in ("PySide6", "slicer_host")


def _with_connect_by_signature(original: Callable) -> Callable:
    # `connect` is resolved by Shiboken's attribute look-up (it is static and an instance method at once), so a
    # function of that name on the class would never be seen.
    def get_attribute(self: Any, name: str) -> Any:
        if name == "connect":
            return lambda *arguments: _connect_any(self, original(self, name), arguments)
        if name == "disconnect":
            return lambda *arguments: _disconnect_any(self, original(self, name), arguments)
        return original(self, name)

    return get_attribute


def _is_signature(arguments: tuple) -> bool:
    # PySide6's own strings start with a digit: "2clicked()".
    return bool(arguments) and isinstance(arguments[0], str) and not arguments[0][:1].isdigit()


def _connect_any(sender: Any, original: Callable, arguments: tuple) -> Any:
    return connect(sender, *arguments) if _is_signature(arguments) else original(*arguments)


def _disconnect_any(sender: Any, original: Callable, arguments: tuple) -> Any:
    return disconnect(sender, *arguments) if _is_signature(arguments) else original(*arguments)


def qt_signature(sender: Any, signature: str) -> str:
    """The signature under which Qt knows a signal; ValueError when the sender's class does not have it.

    Stand-ins list signals with VTK types in ``SIGNALS``: ``{"currentNodeChanged(vtkMRMLNode*)": "...(PyObject)"}``.
    """
    normalized = bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()
    for cls in type(sender).__mro__:
        normalized = vars(cls).get("SIGNALS", {}).get(normalized, normalized)
    if "PyObject" in signature or sender.metaObject().indexOfSignal(normalized) < 0:
        raise ValueError(f"QObject::connect: there is no signal {sender.metaObject().className()}::{signature}")
    return normalized


def connect(sender: Any, signature: str, receiver: Any, slot: str | None = None) -> bool:
    """``sender.connect("signal(type)", callable)`` or ``sender.connect("signal(type)", object, "slot(type)")``."""
    taken = None
    if slot is not None:
        receiver, taken = getattr(receiver, slot.partition("(")[0].strip()), _number_in_signature(slot)
    if not callable(receiver):
        raise TypeError(f"{sender.className()}.connect('{signature}', ...): {receiver!r} cannot be called.")
    known = qt_signature(sender, signature)
    given = _number_in_signature(known)
    if taken is None:
        taken = _number_of_arguments(receiver, given)
    count = min(given, taken)

    def deliver(*values: Any) -> None:
        receiver(*values[:count])

    if not QtCore.QObject.connect(sender, f"2{known}", deliver):
        raise ValueError(f"Qt refused to connect {sender.metaObject().className()}::{signature}")
    _remember(sender, known, receiver, deliver)
    return True


def disconnect(sender: Any, signature: str, receiver: Any = None, slot: str | None = None) -> bool:
    """Undo :func:`connect`; without a receiver, every connection of that signal. False when there was none."""
    if slot is not None:
        receiver = getattr(receiver, slot.partition("(")[0].strip())
    known = qt_signature(sender, signature)
    connected = _connections.get((_address(sender), known), [])
    found = [entry for entry in connected if receiver is None or entry[0] == receiver]
    for entry in found:
        QtCore.QObject.disconnect(sender, f"2{known}", entry[1])
        connected.remove(entry)
    return bool(found)


def _address(sender: Any) -> int:
    return shiboken6.getCppPointer(sender)[0]


def _remember(sender: Any, signature: str, receiver: Callable, deliver: Callable) -> None:
    address = _address(sender)
    _connections.setdefault((address, signature), []).append((receiver, deliver))
    if address not in _watched_senders:
        _watched_senders.add(address)
        sender.destroyed.connect(lambda *_: _forget(address))


def _forget(address: int) -> None:
    _watched_senders.discard(address)
    for key in [key for key in _connections if key[0] == address]:
        del _connections[key]


def _number_in_signature(signature: str) -> int:
    types = signature.partition("(")[2].rstrip(") ").strip()
    return len(types.split(",")) if types else 0


def _number_of_arguments(function: Callable, given: int) -> int:
    """How many of the given positional arguments a callable takes."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, QtCore.QObject) and inspect.isbuiltin(function):
        return _number_of_slot_arguments(owner, function.__name__, given)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return given
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return given
    return sum(
        parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) for parameter in parameters
    )


def _number_of_slot_arguments(owner: QtCore.QObject, name: str, given: int) -> int:
    """The overload of one of Qt's own slots that takes the most of the arguments."""
    meta = owner.metaObject()
    methods = [meta.method(index) for index in range(meta.methodCount())]
    counts = [method.parameterCount() for method in methods if bytes(method.name().data()).decode() == name]
    return max((count for count in counts if count <= given), default=given)
