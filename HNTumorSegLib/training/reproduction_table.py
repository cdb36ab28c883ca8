"""The table of a reproduction: our figures beside the publication's, and whether its order of rows was found again."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from HNTumorSegLib.errors import OutputError

NAMES = {
    "dsc": "DSC",
    "dsc_cohort": "DSC, pooled",
    "dsc_primary": "DSC primary",
    "dsc_node": "DSC node",
    "dsc_union": "DSC union",
    "dsc_crf": "DSC + CRF",
    "nsd_primary": "NSD primary",
    "nsd_node": "NSD node",
    "surface_dsc": "surface DSC",
    "hd95_mm": "HD95 (mm)",
    "hd95_crf_mm": "HD95 + CRF (mm)",
    "accuracy": "right kind",
}
"""Column heads of the figures, which are shares of 1 unless they name a unit."""

LEARNED = 0.1
"""Where no DSC reaches this, the networks found nothing to speak of and their order means nothing."""


@dataclass(frozen=True)
class Row:
    """One row: measured and published figures by name (those of :data:`NAMES`), None where not defined."""

    name: str
    patients: int
    ours: dict[str, float | None]
    published: dict[str, float]


@dataclass(frozen=True)
class Ordering:
    """An order of DSC that the publication has: each value below the next (``strict``), or not above it."""

    values: tuple[tuple[str, float | None], ...]
    strict: bool = True

    @property
    def holds(self) -> bool | None:
        """Whether it was found; None where a value is not defined, or where no network learned anything."""
        values = [value for _, value in self.values]
        if None in values or max(values) < LEARNED:
            return None
        return all(a < b if self.strict else a <= b for a, b in pairwise(values))

    def sentence(self) -> str:
        """What was expected, what was measured, and whether both agree."""
        sign = " < " if self.strict else " <= "
        claim = sign.join(name for name, _ in self.values)
        found = ", ".join(f"{name} {'-' if value is None else f'{value:.4f}'}" for name, value in self.values)
        verdict = {True: "Reproduced", False: "NOT reproduced", None: "Could not be judged"}[self.holds]
        return f"{verdict}: {claim} (measured: {found})."


@dataclass(frozen=True)
class ReproductionTable:
    """Everything that is written.

    Attributes:
        paper, source: name and publication.
        rows: measured and published.
        orderings: what the rows' order should be.
        notes: sentences that a reader of the figures has to know.
        facts: how they were made (command, data, machine), as (what, value).
    """

    paper: str
    source: str
    rows: tuple[Row, ...]
    orderings: tuple[Ordering, ...]
    notes: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]

    def figures(self) -> list[str]:
        """Names of all figures, in the order of :data:`NAMES`."""
        present = {name for row in self.rows for name in (*row.ours, *row.published)}
        return [name for name in NAMES if name in present]

    def header(self) -> list[str]:
        """Column heads."""
        heads = [f"{NAMES[name]}, {whose}" for name in self.figures() for whose in ("here", "paper")]
        return ["row", "patients", *heads]

    def cells(self) -> list[list[str]]:
        """All rows as text; empty where there is no figure."""
        return [
            [
                row.name,
                str(row.patients) if row.patients else "",
                *(_number(side.get(name)) for name in self.figures() for side in (row.ours, row.published)),
            ]
            for row in self.rows
        ]

    def markdown(self) -> str:
        """The page."""
        header = self.header()
        lines = [f"# {self.paper}", "", self.source, ""]
        lines += [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
        lines += [f"| {' | '.join(cells)} |" for cells in self.cells()]
        if self.orderings:
            lines += ["", "## Order of the rows", ""]
            lines += [f"- {ordering.sentence()}" for ordering in self.orderings]
        lines += ["", "## How to read it", "", *(f"- {note}" for note in self.notes)]
        lines += ["", "## How it was made", "", *(f"- {what}: {value}" for what, value in self.facts)]
        return "\n".join(lines) + "\n"

    def csv_text(self) -> str:
        """The rows as CSV; a last column says for the whole table whether the order was reproduced."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        verdict = " ".join(ordering.sentence() for ordering in self.orderings)
        writer.writerow([*self.header(), "order of the rows"])
        writer.writerows([*cells, verdict] for cells in self.cells())
        return text.getvalue()

    def write(self, folder: Path) -> tuple[Path, Path]:
        """``PAPER.md`` and ``PAPER.csv``, each whole or not at all; returns their paths."""
        paths = (folder / f"{self.paper}.md", folder / f"{self.paper}.csv")
        for path, text in zip(paths, (self.markdown(), self.csv_text()), strict=True):
            part = path.with_suffix(f".{os.getpid()}.tmp")
            try:
                part.write_text(text, encoding="utf-8")
                part.replace(path)
            except OSError as error:
                part.unlink(missing_ok=True)
                raise OutputError(f"The table '{path}' cannot be written: {error.strerror or error}.") from error
        return paths


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
