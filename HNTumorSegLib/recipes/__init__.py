"""One file per published system; :data:`RECIPES` finds them by name."""

from __future__ import annotations

from collections.abc import Callable

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.recipes.nikulin2023 import nikulin2023, nikulin2023_fast
from HNTumorSegLib.recipes.recipe import CT, PET, Channel, Recipe

RECIPES: dict[str, Callable[[], Recipe]] = {
    "nikulin2023": nikulin2023,
    "nikulin2023_fast": nikulin2023_fast,
}

__all__ = ["CT", "PET", "RECIPES", "Channel", "Recipe", "get_recipe"]


def get_recipe(name: str) -> Recipe:
    """The recipe of that name; raises :class:`ModelError` listing the names when there is none."""
    if name not in RECIPES:
        raise ModelError(f"There is no recipe '{name}'; there are {', '.join(sorted(RECIPES))}.")
    return RECIPES[name]()
