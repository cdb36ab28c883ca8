"""The numbers at the foot of the overview."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from HNTumorSegLib.exchange.overview_panels import INK, RULE, SOFT_INK
from HNTumorSegLib.lesions.lesion_set import LesionSet
from HNTumorSegLib.measures.table import LesionMeasures, Measurements

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_TABLE_ROWS = 12
LARGEST_WIDTH = 0.52
LINE_HEIGHT = 0.024
COLUMNS = (
    ("Lesion", 0.03, "left"),
    ("Volume, ml", 0.44, "right"),
    ("SUVmax", 0.58, "right"),
    ("SUVpeak", 0.72, "right"),
    ("TLG, g", 0.86, "right"),
    ("Status", 0.90, "left"),
)
"""Heading, place across the table (0 to 1) and alignment."""
TOTALS = ("Primary tumours", "Lymph-node metastases", "Total tumour burden (TTB)")
UNDEFINED = "–"


@dataclass
class _Sheet:
    """A place on the page that takes line after line, from the top; positions are shares of the page."""

    figure: Figure
    left: float
    width: float
    y: float

    def line(self, values: list[str], *, color: str = INK, bold: bool = False) -> None:
        for (_, x, alignment), value in zip(COLUMNS, values, strict=True):
            self.figure.text(
                self.left + x * self.width,
                self.y,
                value,
                color=color,
                fontsize=10.5,
                va="center",
                ha=alignment,
                fontweight="bold" if bold else "normal",
            )
        self.y -= LINE_HEIGHT

    def dot(self, color: tuple[float, ...]) -> None:
        """A lesion's colour at the head of the line that comes next."""
        self.figure.text(self.left + 0.004, self.y, "●", color=color, fontsize=10, va="center")

    def rule(self) -> None:
        from matplotlib.lines import Line2D

        y = self.y + LINE_HEIGHT / 2
        self.figure.add_artist(Line2D([self.left, self.left + self.width], [y, y], color=RULE, linewidth=0.9))


def draw_table(
    figure: Figure,
    lesion_set: LesionSet,
    measurements: Measurements | None,
    colors: dict[int, tuple[float, ...]],
    place: tuple[float, float, float],
) -> None:
    """Lesions and totals as quiet lines of text.

    ``place`` is left, right and top on the page (0 to 1). Without measurements only volumes are known.
    """
    left, right, top = place
    if not lesion_set.lesions:
        _say_none(figure, left, top)
        return
    sheet = _Sheet(figure, left, min(right - left, LARGEST_WIDTH), top - 0.02)
    sheet.line([name for name, _, _ in COLUMNS], color=SOFT_INK)
    sheet.rule()
    row_of = {} if measurements is None else {row.id: row for row in measurements.rows}
    volumes = lesion_set.volumes_ml()
    for lesion in lesion_set.lesions[:MAX_TABLE_ROWS]:
        sheet.dot(colors[lesion.id])
        sheet.line(_cells(lesion.name, row_of.get(lesion.id), volumes[lesion.id], lesion.status))
    if len(lesion_set) > MAX_TABLE_ROWS:
        sheet.line([f"and {len(lesion_set) - MAX_TABLE_ROWS} more", *[""] * 5], color=SOFT_INK)
    sheet.rule()
    if measurements is None:
        sheet.line(_cells(TOTALS[-1], None, sum(volumes.values()), ""), bold=True)
        return
    for name, row in zip(TOTALS, measurements.totals, strict=True):
        sheet.line(_cells(name, row, row.volume_ml, ""), bold=name == TOTALS[-1])


def _say_none(figure: Figure, left: float, top: float) -> None:
    figure.text(left, top - 0.03, "No lesion found", color=INK, fontsize=15, fontweight="bold", va="center")
    sentence = "No primary tumour and no lymph-node metastasis is marked in this scan."
    figure.text(left, top - 0.065, sentence, color=SOFT_INK, fontsize=11, va="center")


def _cells(name: str, row: LesionMeasures | None, volume_ml: float, status: str) -> list[str]:
    """The texts of one line; a dash where a value is not defined."""

    def number(value: float | None) -> str:
        return UNDEFINED if value is None else f"{value:.1f}"

    if row is None:
        return [name, f"{volume_ml:.2f}", UNDEFINED, UNDEFINED, UNDEFINED, status]
    return [name, f"{row.volume_ml:.2f}", number(row.suv_max), number(row.suv_peak), number(row.tlg_g), status]
