"""Tables, pictures and page of an evaluation as files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from HNTumorSegLib.errors import OutputError
from HNTumorSegLib.evaluation.cohort import CohortEvaluation
from HNTumorSegLib.evaluation.figures import all_figures
from HNTumorSegLib.evaluation.page import page
from HNTumorSegLib.evaluation.tables import Table, Value, all_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE_NAME = "evaluation.html"
DPI = 150


def write_evaluation(
    evaluation: CohortEvaluation, folder: str | Path, *, command: str = "", page_folder: str | Path | None = None
) -> list[str]:
    """Write CSV tables, figures (PNG and SVG) and the page into an existing folder.

    Args:
        evaluation: the figures.
        folder: where the files go.
        command: shown on the page, so that it can be made again.
        page_folder: where the page will lie in the end, for its links; ``folder`` when left out.

    Returns:
        The names of the files.

    Raises:
        OutputError: a file cannot be written.
    """
    folder = Path(folder)
    names = []
    try:
        for table in all_tables(evaluation):
            write_table(table, folder / f"{table.name}.csv")
            names.append(f"{table.name}.csv")
        pictures = {}
        for name, draw in all_figures(evaluation).items():
            pictures[name] = _save(draw, folder / name)
            names += [f"{name}.png", f"{name}.svg"]
        text = page(evaluation, pictures, command, Path(page_folder or folder).absolute())
        (folder / PAGE_NAME).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"The evaluation cannot be written to '{folder}': {error.strerror or error}. Make room on the disk or "
            "choose another output folder."
        ) from error
    return [PAGE_NAME, *names]


def write_table(table: Table, path: str | Path) -> None:
    """One table as CSV (UTF-8, comma, point); an empty cell is a value that is not defined."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([column.name for column in table.columns])
        writer.writerows([_cell(value) for value in row] for row in table.rows)


def _cell(value: Value) -> str:
    if value is None:
        return ""
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _save(draw: Callable[[], Figure], stem: Path) -> bytes:
    """Draw a figure, save it as PNG and SVG; the PNG's bytes."""
    import matplotlib

    # The same evaluation gives the same files: no dates, no random identifiers.
    with matplotlib.rc_context({"svg.hashsalt": "HNTumorSeg", "font.size": 10}):
        figure = draw()
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=DPI, metadata={"Software": None})
        figure.savefig(stem.with_suffix(".svg"), format="svg", metadata={"Date": None})
    stem.with_suffix(".png").write_bytes(picture.getvalue())
    return picture.getvalue()
