"""The state of a run on disk: replaced whole or not at all, and only ever read by the run it belongs to."""

from __future__ import annotations

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from HNTumorSegLib.errors import ModelError, OutputError
from HNTumorSegLib.recipes.recipe import Recipe

NOT_TRAINED = (
    "source", "deviations", "figures", "minimum_lesion_ml", "minimum_certainty", "further_primary_share",
    "touching_kind_share", "outline_pet_weight", "crf", "one_pass",
)  # fmt: skip
"""Settings of a recipe that change nothing about the weights: words, and what is done with a network's answers."""


def save_checkpoint(path: Path, recipe: Recipe, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors, numbers, texts, lists, dictionaries) so that a kill leaves the former file or this."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save({"recipe": recipe.name, "settings": recipe.to_dict(), **state}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        raise OutputError(
            f"The checkpoint '{path}' cannot be written: {getattr(error, 'strerror', None) or error}. The last one "
            "that was written whole is kept; make room and resume."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path, recipe: Recipe, device: str) -> dict[str, Any]:
    """Read what :func:`save_checkpoint` wrote for the same recipe; nothing but plain values is unpickled.

    Raises:
        ModelError: the file is damaged, or belongs to another recipe or to other settings of it (the first that
            differs is named).
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        name = state["recipe"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, UnpicklingError) as error:
        raise ModelError(
            f"The checkpoint '{path}' cannot be read ({_first_line(error)}). Delete it to begin anew, or use another "
            "output folder."
        ) from error
    if name != recipe.name:
        raise ModelError(
            f"'{path}' belongs to recipe '{name}', not '{recipe.name}'. Use another output folder, or train that "
            "recipe on."
        )
    difference = first_setting_that_differs(state.get("settings", {}), recipe.to_dict())
    if difference:
        raise ModelError(
            f"'{path}' belongs to recipe '{name}' with other settings: {difference}. Use another output folder, or "
            "give the former settings."
        )
    return state


def first_setting_that_differs(former: dict[str, Any], now: dict[str, Any], prefix: str = "") -> str:
    """The first entry in which two settings differ, in words; those of :data:`NOT_TRAINED` do not count."""
    for key in sorted(set(former) | set(now) if former else ()):
        if key in NOT_TRAINED:
            continue
        a, b = former.get(key), now.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            inner = first_setting_that_differs(a, b, f"{prefix}{key}.")
            if inner:
                return inner
        elif _plain(a) != _plain(b):
            return f"{prefix}{key} was {a!r} and is {b!r}"
    return ""


def _plain(value: Any) -> Any:
    """Tuples as lists, all the way down."""
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:160] if text else type(error).__name__
