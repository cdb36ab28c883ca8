"""The worst patients on one picture, for a model's card: the axial slice through each one's largest error, in words."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.exchange.overview_panels import INK, PAPER, SOFT_INK
from HNTumorSegLib.exchange.overview_views import AXIAL
from HNTumorSegLib.study.study import Study
from HNTumorSegLib.training.failure_pictures import FOUND_COLOR, TRUE_COLOR, draw_slice, outlined_sets

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 5
CELL_INCHES, WORDS_INCHES, HEAD_INCHES, GAP_INCHES = 2.9, 0.95, 0.5, 0.14
LINE_LETTERS, MOST_LINES = 46, 4


class FailureSheet:
    """A figure that is filled patient by patient, so that no more than one patient's images are in memory.

    Args:
        n_patients: how many there will be.
        title: above them.
    """

    def __init__(self, n_patients: int, title: str):
        from matplotlib.figure import Figure

        n_rows = -(-n_patients // COLUMNS)
        self._width = COLUMNS * (CELL_INCHES + GAP_INCHES) + GAP_INCHES
        self._height = HEAD_INCHES + n_rows * (CELL_INCHES + WORDS_INCHES + GAP_INCHES)
        self.figure: Figure = Figure(figsize=(self._width, self._height), facecolor=PAPER)
        self._n_drawn = 0
        self._write(GAP_INCHES, 0.15, title, color=INK, fontsize=12, fontweight="bold")
        self._write(GAP_INCHES, 0.37, "truth", color=TRUE_COLOR, fontsize=9.5, fontweight="bold")
        self._write(GAP_INCHES + 0.45, 0.37, "delineated", color=FOUND_COLOR, fontsize=9.5, fontweight="bold")

    def add(
        self,
        study: Study,
        truth: sitk.Image,
        found: sitk.Image,
        center_mm: Sequence[float],
        title: str,
        sentences: Sequence[str],
    ) -> None:
        """Draw the next patient.

        Args:
            study: PET in SUVbw and, if there is one, CT in HU.
            truth, found: labels 0, 1, 2 on the PET's grid.
            center_mm: LPS, where the slice cuts.
            title, sentences: below it; of the sentences the first, and how many more there are.
        """
        row, column = divmod(self._n_drawn, COLUMNS)
        self._n_drawn += 1
        left = GAP_INCHES + column * (CELL_INCHES + GAP_INCHES)
        top = HEAD_INCHES + row * (CELL_INCHES + WORDS_INCHES + GAP_INCHES)
        place = (left, self._height - top - CELL_INCHES, CELL_INCHES, CELL_INCHES)
        sides = (self._width, self._height)
        axes = self.figure.add_axes(tuple(n / sides[i % 2] for i, n in enumerate(place)))
        draw_slice(axes, study, outlined_sets(truth, found), np.asarray(center_mm, float), AXIAL)
        below = top + CELL_INCHES
        self._write(left, below + 0.12, title, color=INK, fontsize=9, fontweight="bold")
        lines = textwrap.wrap(sentences[0] if sentences else "Nothing is wrong.", LINE_LETTERS, max_lines=MOST_LINES)
        if len(sentences) > 1:
            lines[MOST_LINES - 1 :] = []
            lines.append(f"And {len(sentences) - 1} more.")
        for number, line in enumerate(lines):
            self._write(left, below + 0.3 + 0.16 * number, line, color=SOFT_INK, fontsize=8.5)

    def _write(self, left: float, top: float, words: str, **style: object) -> None:
        """One line of text, its middle so many inches from the top."""
        self.figure.text(left / self._width, 1 - top / self._height, words, va="center", **style)
