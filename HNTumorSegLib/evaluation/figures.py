"""The figures of an evaluation: histograms of the individual DSC, TTB scatter, Bland-Altman, surface DSC by organ."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from HNTumorSegLib.evaluation.case import TARGETS
from HNTumorSegLib.evaluation.cohort import CohortEvaluation
from HNTumorSegLib.evaluation.tables import TARGET_TITLES
from HNTumorSegLib.lesions.codes import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACCEPTABLE_DSC = 0.7
"""Nikulin et al. 2023, Fig. 1: "a value which might be considered acceptable for practical use"."""
N_BINS = 20
INK, SOFT_INK, RULE = "#1d2733", "#5d6976", "#d5dbe1"
POINT, OUTLIER, LINE, BAND = "#3b5b7c", "#c8382e", "#c8382e", "#2f6fb3"
UNION_COLOR = "#6c6f93"
MANY_POINTS = 3000

CAPTIONS = {
    "figure1_dsc_histograms": "Figure 1. Individual DSC of the patients. The dashed line is at DSC = 0.7, which may be "
    "acceptable for practical use; the numbers beside it are the shares of patients below and at or above it. Patients "
    "in whom both sides are empty have no DSC and are not counted.",
    "figure2_ttb_scatter": "Figure 2. Delineated against true total tumour burden (TTB). Red points: outliers, the 1 % "
    "of the patients with the largest absolute difference, left out of the regression. Red line: least squares. Blue "
    "lines: 95 % prediction interval, where single further patients are expected. Grey dots: equality.",
    "figure3_bland_altman": "Figure 3. Bland-Altman plot of the TTB of all patients: difference (delineated - true) "
    "against the mean of the two. Solid: mean difference; dashed: limits of agreement, mean ± 1.96 standard "
    "deviations.",
    "figure4_surface_dsc": "Surface DSC by structure at the structure's tolerance. Dots: single patients; bar: median; "
    "thin line: quartiles.",
}


def all_figures(evaluation: CohortEvaluation) -> dict[str, Callable[[], Figure]]:
    """What can be drawn of an evaluation: file name without suffix to a function that draws it."""
    figures: dict[str, Callable[[], Figure]] = {}
    if evaluation.cases:
        figures["figure1_dsc_histograms"] = lambda: dsc_histograms(evaluation)
        figures["figure2_ttb_scatter"] = lambda: burden_scatter(evaluation)
        figures["figure3_bland_altman"] = lambda: bland_altman_plot(evaluation)
    if evaluation.structures:
        figures["figure4_surface_dsc"] = lambda: structure_plot(evaluation)
    return figures


def dsc_histograms(evaluation: CohortEvaluation) -> Figure:
    """Frequency of the individual DSC by target volume (Nikulin's Fig. 1)."""
    figure = _figure(11.0, 3.6)
    panels = figure.subplots(1, 3, sharey=True)
    for axes, target in zip(panels, TARGETS, strict=True):
        values = [case.target(target).dsc for case in evaluation.cases]
        defined = np.array([v for v in values if v is not None], float)
        color = tuple(c / 255 for c in STYLE[target].color) if target in STYLE else UNION_COLOR
        weights = np.full(defined.size, 100 / max(1, defined.size))
        axes.hist(defined, np.linspace(0, 1, N_BINS + 1), weights=weights, color=color, alpha=0.75, edgecolor="white")
        axes.axvline(ACCEPTABLE_DSC, color=INK, linestyle="--", linewidth=1)
        below = 100 * float(np.mean(defined < ACCEPTABLE_DSC)) if defined.size else float("nan")
        if defined.size:
            height = 0.94
            transform = axes.get_xaxis_transform()
            for x, share, side in ((-0.02, below, "right"), (0.02, 100 - below, "left")):
                text = f"{share:.1f} %"
                axes.text(ACCEPTABLE_DSC + x, height, text, ha=side, color=INK, transform=transform, fontsize=9.5)
        else:
            axes.text(0.5, 0.5, "no patient", ha="center", color=SOFT_INK, transform=axes.transAxes)
        _style(axes, f"{TARGET_TITLES[target]} (N = {defined.size})", "DSC", "")
        axes.set_xlim(0, 1)
    panels[0].set_ylabel("patients, %", color=INK)
    panels[0].set_ylim(0, max(panels[0].get_ylim()[1] * 1.15, 1))
    return figure


def burden_scatter(evaluation: CohortEvaluation) -> Figure:
    """Delineated against true TTB with line and prediction band (Nikulin's Fig. 2)."""
    figure = _figure(6.2, 6.6)
    axes = figure.subplots()
    true, predicted = _burdens(evaluation)
    found = evaluation.burden()
    out = np.zeros(true.size, bool)
    out[list(found.left_out)] = True
    top = max(1.0, 1.05 * max(true.max(initial=0), predicted.max(initial=0)))
    axes.plot([0, top], [0, top], color=SOFT_INK, linestyle=":", linewidth=1, label="equality")
    many = true.size > MANY_POINTS
    axes.scatter(true[~out], predicted[~out], s=16, color=POINT, alpha=0.55, linewidths=0, rasterized=many)
    if out.any():
        axes.scatter(true[out], predicted[out], s=26, color=OUTLIER, label=f"outliers ({out.sum()})", zorder=3)
    words = f"N = {true.size}"
    if found.line is not None:
        x = np.linspace(0, top, 200)
        y = found.line.at(x)
        axes.plot(x, y, color=LINE, linewidth=1.5, label="least squares")
        half = found.line.prediction_half_width(x)
        for sign, label in ((1, "95 % prediction interval"), (-1, None)):
            axes.plot(x, y + sign * half, color=BAND, linewidth=1.1, label=label)
        words += f"\nR² = {found.line.r_squared:.3f}"
    if found.mean_absolute_difference_ml is not None:
        words += f"\nmean |difference| = {found.mean_absolute_difference_ml:.2f} ml"
    axes.text(0.04, 0.96, words, transform=axes.transAxes, va="top", color=INK, fontsize=10, linespacing=1.5)
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    axes.set_aspect("equal")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9, labelcolor=INK)
    _style(axes, "Total tumour burden", "true TTB, ml", "delineated TTB, ml")
    return figure


def bland_altman_plot(evaluation: CohortEvaluation) -> Figure:
    """Difference of the TTB against the mean of the two."""
    figure = _figure(7.6, 4.4)
    axes = figure.subplots()
    true, predicted = _burdens(evaluation)
    many = true.size > MANY_POINTS
    axes.scatter((true + predicted) / 2, predicted - true, s=16, color=POINT, alpha=0.55, linewidths=0, rasterized=many)
    axes.axhline(0, color=SOFT_INK, linestyle=":", linewidth=1)
    found = evaluation.burden().bland_altman
    _style(axes, "Bland-Altman: total tumour burden", "mean of true and delineated TTB, ml", "delineated - true, ml")
    if found is not None:
        limits = [(found.upper, "--", "+1.96 SD"), (found.lower, "--", "-1.96 SD")] if found.sd > 0 else []
        for value, style, words in [(found.mean, "-", "mean"), *limits]:
            axes.axhline(value, color=BAND, linestyle=style, linewidth=1.2)
            place = axes.get_yaxis_transform()
            axes.text(1.01, value, f"{words}\n{value:.2f} ml", transform=place, va="center", color=BAND, fontsize=9)
    axes.set_xlim(left=0)
    return figure


def structure_plot(evaluation: CohortEvaluation) -> Figure:
    """Surface DSC of every organ: dots for patients, median and quartiles."""
    names = evaluation.structure_names()
    figure = _figure(8.2, 1.2 + 0.3 * len(names))
    axes = figure.subplots()
    for row, name in enumerate(names):
        figures = [item.surface for item in evaluation.of_structure(name)]
        values = np.array([f.surface_dsc for f in figures if f.surface_dsc is not None], float)
        if not values.size:
            axes.text(0.5, row, "both empty in every patient", color=SOFT_INK, va="center", ha="center", fontsize=8.5)
            continue
        q25, median, q75 = np.quantile(values, [0.25, 0.5, 0.75])
        axes.plot([q25, q75], [row, row], color=POINT, linewidth=1.4, zorder=1)
        axes.plot([median, median], [row - 0.3, row + 0.3], color=OUTLIER, linewidth=2.2, zorder=3)
        axes.scatter(values, np.full(values.size, row), s=18, color=POINT, alpha=0.6, linewidths=0, zorder=2)
    tolerances = [evaluation.of_structure(name)[0].surface.tolerance_mm for name in names]
    axes.set_yticks(range(len(names)), [f"{n}  ({t:.2f} mm)" for n, t in zip(names, tolerances, strict=True)])
    axes.set_ylim(len(names) - 0.4, -0.6)
    _style(axes, "Surface DSC by structure", "surface DSC at the tolerance in brackets", "")
    low = min([i.surface.surface_dsc for i in evaluation.structures if i.surface.surface_dsc is not None], default=0)
    axes.set_xlim(max(0.0, np.floor(10 * low - 0.2) / 10), 1.01)
    axes.grid(axis="x", color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    return figure


def _burdens(evaluation: CohortEvaluation) -> tuple[np.ndarray, np.ndarray]:
    """True and delineated TTB of the patients, ml."""
    return (
        np.array([case.ttb_true_ml for case in evaluation.cases], float),
        np.array([case.ttb_predicted_ml for case in evaluation.cases], float),
    )


def _figure(width: float, height: float) -> Figure:
    """A figure of our own, so that nobody's pyplot state is touched."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _style(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, color=INK, fontsize=11, loc="left")
    axes.set_xlabel(x, color=INK)
    if y:
        axes.set_ylabel(y, color=INK)
    axes.tick_params(colors=SOFT_INK, labelcolor=INK, labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(RULE)
