"""The module ``qt``: all of QtCore, QtGui and QtWidgets in one name space, with PythonQt's manners.

Left out are the names that PySide6 has and Slicer's PythonQt does not (``Signal``, ``Slot``, ``Property``), so that a
module which uses them fails here as it does there.
"""

from __future__ import annotations

import sys
import types

from slicer_host import qt_dialogs, qt_manners
from slicer_host.qt_ui_loader import QUiLoader

_NOT_IN_PYTHONQT = {"Signal", "Slot", "Property", "SignalInstance", "ClassInfo", "QEnum", "QFlag", "QtCore", "QtGui"}


def install() -> types.ModuleType:
    """Put the module into ``sys.modules`` and return it."""
    if "qt" in sys.modules:
        return sys.modules["qt"]
    qt_manners.apply()
    qt_dialogs.apply()
    module = types.ModuleType("qt", __doc__)
    for source in qt_manners.MODULES:
        for name in dir(source):
            if not name.startswith("_") and name not in _NOT_IN_PYTHONQT:
                setattr(module, name, getattr(source, name))
    module.QUiLoader = QUiLoader
    sys.modules["qt"] = module
    return module
