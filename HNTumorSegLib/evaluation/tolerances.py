"""How far two surfaces may lie apart and still count as the same: the one place for tolerances.

The organs' values are those of Nikolov et al. 2018 (arXiv:1809.04430), found there from the differences between
clinicians who delineated the same organ.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from HNTumorSegLib.errors import InputError

ORGAN_TOLERANCES_MM: Mapping[str, float] = {
    "brain": 1.01,
    "brainstem": 2.50,
    "cochlea": 1.25,
    "lacrimal": 2.50,
    "lens": 0.98,
    "lung": 2.42,
    "mandible": 1.01,
    "optic nerve": 2.50,
    "orbit": 1.65,
    "parotid": 2.85,
    "spinal canal": 1.17,
    "spinal cord": 2.93,
    "submandibular": 2.02,
}
"""Nikolov et al. 2018; one value for left and right."""

DEFAULT_TOLERANCE_MM = 2.5
"""For tumours and organs without a published value: one voxel of the 2.5 mm grid Nikulin et al. 2023 evaluate on."""

DEFAULT_KEY = "default"

_SIDE = re.compile(r" (l|r|lt|rt|left|right)$|^(l|r|lt|rt|left|right) ")
_GLAND = re.compile(r" glands?$")


def plain_structure_name(name: str) -> str:
    """Lower case, without side, "gland" and separators: "Cochlea-Lt", "left cochlea", "Cochlea_L" are one."""
    text = re.sub(r"[\s_.-]+", " ", name).strip().lower()
    return _GLAND.sub("", _SIDE.sub("", text))


@dataclass(frozen=True)
class Tolerances:
    """Tolerance in mm by structure name.

    Attributes:
        given_mm: what the user set; a name with a side ("Cochlea-Lt") goes before one without ("cochlea").
        default_mm: for every structure that is named neither there nor in :data:`ORGAN_TOLERANCES_MM`.
    """

    given_mm: Mapping[str, float] = field(default_factory=dict)
    default_mm: float = DEFAULT_TOLERANCE_MM

    def of(self, structure: str) -> float:
        """Tolerance in mm of a structure, whatever its side."""
        exact = {name.lower(): mm for name, mm in self.given_mm.items()}
        if structure.lower() in exact:
            return exact[structure.lower()]
        name = plain_structure_name(structure)
        plain = {plain_structure_name(given): mm for given, mm in self.given_mm.items() if _names_no_side(given)}
        return plain.get(name, ORGAN_TOLERANCES_MM.get(name, self.default_mm))

    def unused(self, structures: Iterable[str]) -> list[str]:
        """Names that were given and fit none of the structures: usually a misspelling."""
        seen = list(structures)
        exact = {name.lower() for name in seen}
        plain = {plain_structure_name(name) for name in seen}
        return [
            given
            for given in self.given_mm
            if given.lower() not in exact and not (_names_no_side(given) and plain_structure_name(given) in plain)
        ]


def _names_no_side(name: str) -> bool:
    text = re.sub(r"[\s_.-]+", " ", name).strip().lower()
    return not _SIDE.search(text)


def read_tolerances(path: str | Path) -> Tolerances:
    """Tolerances from a file: a JSON object of name to mm, or CSV lines ``structure,tolerance_mm``.

    The name ``default`` sets the value for all structures that have none; ``primary``, ``node`` and ``union`` are
    the tumours. Names not in the file keep the published value.

    Raises:
        InputError: the file cannot be read, or a value is not a number of 0 or more; the message names it.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise InputError(f"The tolerances '{path}' cannot be read ({reason}).") from error
    entries = _json_entries(text, path) if text.lstrip().startswith("{") else _csv_entries(text)
    given: dict[str, float] = {}
    for name, value in entries:
        if name in given:
            raise InputError(f"The tolerances '{path}' name '{name}' twice. Keep one.")
        given[name] = _millimetres(value, name, path)
    if not given:
        raise InputError(f"The tolerances '{path}' hold no line 'structure,tolerance_mm'.")
    default_mm = given.pop(DEFAULT_KEY, DEFAULT_TOLERANCE_MM)
    return Tolerances(given, default_mm)


def _json_entries(text: str, path: Path) -> list[tuple[str, object]]:
    try:
        return list(json.loads(text, object_pairs_hook=lambda pairs: pairs))
    except (ValueError, TypeError) as error:
        raise InputError(f"The tolerances '{path}' are not valid JSON ({error}).") from error


def _csv_entries(text: str) -> list[tuple[str, object]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines)]
    if rows and rows[0][0].lower() in {"structure", "organ", "name"}:
        rows = rows[1:]
    return [(row[0], row[1] if len(row) > 1 else "") for row in rows]


def _millimetres(value: object, name: str, path: Path) -> float:
    try:
        number = float("nan") if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = float("nan")
    if not math.isfinite(number) or number < 0:
        raise InputError(
            f"The tolerance of '{name}' in '{path}' is '{value}'; a number of millimetres of 0 or more is needed."
        )
    return number
