"""One file per published system, and one of our own; :data:`RECIPES` finds them by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.recipes import andrearczyk2020 as _andrearczyk
from HNTumorSegLib.recipes import bourigault2021 as _bourigault
from HNTumorSegLib.recipes import nikolov2018 as _nikolov
from HNTumorSegLib.recipes import nikulin2023 as _nikulin
from HNTumorSegLib.recipes import subpixel as _subpixel
from HNTumorSegLib.recipes import yang2023 as _yang
from HNTumorSegLib.recipes.recipe import CT, PET, Channel, Recipe

_ROWS = _andrearczyk.variants()

RECIPES: dict[str, Callable[[], Recipe]] = {
    "nikulin2023": _nikulin.nikulin2023,
    "nikulin2023_fast": _nikulin.nikulin2023_fast,
    "nikulin2023_quick": _nikulin.nikulin2023_quick,
    "subpixel": _subpixel.subpixel,
    "yang2023": _yang.yang2023,
    "yang2023_quick": _yang.yang2023_quick,
    "yang2023_one_ct": _yang.yang2023_one_ct,
    "yang2023_one_ct_quick": _yang.yang2023_one_ct_quick,
    "nikolov2018": _nikolov.nikolov2018,
    "nikolov2018_quick": _nikolov.nikolov2018_quick,
    "bourigault2021": _bourigault.bourigault2021,
    "bourigault2021_quick": _bourigault.bourigault2021_quick,
    # The best row of the publication's table, and one recipe a row.
    "andrearczyk2020": lambda: replace(_andrearczyk.andrearczyk2020(), name="andrearczyk2020"),
    "andrearczyk2020_quick": lambda: replace(_andrearczyk.andrearczyk2020_quick(), name="andrearczyk2020_quick"),
    **{f"andrearczyk2020_{d}d_{i}": partial(_andrearczyk.andrearczyk2020, d, i) for d, i in _ROWS},
    **{f"andrearczyk2020_{d}d_{i}_quick": partial(_andrearczyk.andrearczyk2020_quick, d, i) for d, i in _ROWS},
}

PUBLISHED: dict[str, dict[str, dict[str, float]]] = {
    "andrearczyk2020": _andrearczyk.FIGURES,
    "yang2023": _yang.FIGURES,
    "bourigault2021": _bourigault.FIGURES,
    "nikulin2023": _nikulin.FIGURES,
}
"""The publications' own figures by publication and row; shares, and mm where the name says so. Never those of a model
that was trained here: these are in its card."""

__all__ = ["CT", "PET", "PUBLISHED", "RECIPES", "Channel", "Recipe", "get_recipe"]


def get_recipe(name: str) -> Recipe:
    """The recipe of that name; raises :class:`ModelError` listing the names when there is none."""
    if name not in RECIPES:
        raise ModelError(f"There is no recipe '{name}'; there are {', '.join(sorted(RECIPES))}.")
    return RECIPES[name]()
