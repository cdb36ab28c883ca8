"""The reliability diagram: observed frequency against predicted probability, with how many voxels lie where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from HNTumorSegLib.evaluation.case import TARGETS
from HNTumorSegLib.evaluation.figures import INK, RULE, SOFT_INK, UNION_COLOR, _figure, _style
from HNTumorSegLib.evaluation.reliability import SHOWN_BINS, Reliability
from HNTumorSegLib.evaluation.tables import TARGET_TITLES
from HNTumorSegLib.lesions.codes import STYLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEW_VOXELS = 20
"""A bin with fewer is drawn hollow."""


def reliability_diagram(by_target: dict[str, Reliability], title: str = "") -> Figure:
    """One column a target: the diagram above, the number of voxels by probability (logarithmic) below."""
    figure = _figure(11.0, 5.0)
    panels = figure.subplots(2, 3, sharex=True, height_ratios=(3, 1), squeeze=False)
    for column, target in enumerate(TARGETS):
        upper, lower = panels[0, column], panels[1, column]
        counts = by_target[target].joined()
        predicted, observed = counts.curve()
        color = tuple(c / 255 for c in STYLE[target].color) if target in STYLE else UNION_COLOR
        dark = tuple(0.72 * c for c in color) if target in STYLE else color
        upper.plot([0, 1], [0, 1], color=SOFT_INK, linestyle=":", linewidth=1)
        upper.plot(predicted, observed, color=dark, linewidth=1.6)
        many = counts.voxels >= FEW_VOXELS
        upper.scatter(predicted[many], observed[many], s=34, color=dark, zorder=3)
        upper.scatter(predicted[~many], observed[~many], s=34, facecolor="white", edgecolor=dark, zorder=3)
        errors = [by_target[target].calibration_error(first_bin) for first_bin in (0, 1)]
        words = "\n".join(
            f"{name} {error:.3f}" for name, error in zip(("ECE", "above 0.1"), errors, strict=True) if error is not None
        )
        upper.text(0.04, 0.94, words, transform=upper.transAxes, va="top", color=INK, fontsize=10, fontweight="bold")
        _style(upper, TARGET_TITLES.get(target, target), "", "observed frequency" if column == 0 else "")
        upper.set_xlim(-0.02, 1.02)
        upper.set_ylim(-0.02, 1.02)
        upper.grid(color=RULE, linewidth=0.6)
        upper.set_axisbelow(True)
        edges = np.linspace(0, 1, SHOWN_BINS + 1)
        height = np.maximum(counts.voxels, 0.5)  # below the axis: a logarithm has no zero
        lower.bar(edges[:-1], height, 1 / SHOWN_BINS, align="edge", color=color, alpha=0.7, edgecolor="white")
        lower.set_yscale("log")
        lower.set_ylim(0.8, 3 * max(10.0, float(counts.voxels.max())))
        _style(lower, "", "predicted probability", "voxels" if column == 0 else "")
    if title:
        figure.suptitle(title, color=INK, fontsize=12, x=0.01, ha="left")
    return figure
