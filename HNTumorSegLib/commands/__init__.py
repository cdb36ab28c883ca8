"""The commands of ``hntumorseg``, one file each; a file adds its parser with ``add(commands)``."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

COMMANDS = ("run", "demo", "train", "predict", "models", "measure", "evaluate", "survival")
"""Names of the files in this folder, in the order of ``hntumorseg --help``."""


def command_modules() -> list[ModuleType]:
    """The modules of all commands; importing them loads no heavy package."""
    return [import_module(f"{__name__}.{name}") for name in COMMANDS]
