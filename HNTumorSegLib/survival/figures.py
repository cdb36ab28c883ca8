"""Figures: Kaplan-Meier with numbers at risk, hazard ratios, C-indices, calibration. PNG and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from HNTumorSegLib.survival.burden import BurdenAnalysis, BurdenGroups, HazardRatio
from HNTumorSegLib.survival.kaplan_meier import SurvivalCurve
from HNTumorSegLib.survival.models import MODEL_TITLES
from HNTumorSegLib.survival.nested import APPARENT, CENTRES, LEAKY, NESTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's: told apart by all kinds of colour vision. Low is blue, high is orange-red."""
SCHEME_COLORS = {NESTED: "#0072B2", CENTRES: "#009E73", LEAKY: "#D55E00", APPARENT: "#999999"}
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "hntumorseg",
    "svg.fonttype": "path",
}


def new_figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure without pyplot (no window, no global state), in inches."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(1, columns, squeeze=False)[0]
    return figure, list(axes)


def save(figure: Figure, folder: Path, name: str) -> list[str]:
    """Write ``name.png`` (150 dpi) and ``name.svg``; the files' names."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        figure.savefig(folder / f"{name}.png", dpi=150, facecolor="white")
        figure.savefig(folder / f"{name}.svg", facecolor="white", metadata={"Date": None})
    return [f"{name}.png", f"{name}.svg"]


def draw_curves(axes: Axes, curves: Sequence[SurvivalCurve], unit: str, labels: Sequence[str], title: str = "") -> None:
    """Kaplan-Meier curves with 95 % bands and ticks for the censored, and the numbers at risk below."""
    last = max(curve.times[-1] for curve in curves)
    ticks = _time_ticks(last)
    for curve, color, label in zip(curves, COLORS, labels, strict=False):
        axes.step(curve.times, curve.survival, where="post", color=color, lw=1.8, label=label)
        axes.fill_between(curve.times, curve.lower, curve.upper, step="post", color=color, alpha=0.15, lw=0)
        axes.plot(curve.censored_times, curve.at(curve.censored_times), "|", color=color, ms=4, mew=0.7)
    axes.set(xlim=(0, last), ylim=(0, 1.02), xticks=ticks, xlabel=f"Time ({unit})", ylabel="Free of the event")
    axes.set_title(title, loc="left", fontweight="bold")
    axes.legend(loc="lower left", frameon=False)
    _numbers_at_risk(axes, curves, ticks, labels)


def _numbers_at_risk(axes: Axes, curves: Sequence[SurvivalCurve], ticks: np.ndarray, labels: Sequence[str]) -> None:
    """A small table under the x axis, one row a curve, in an axes of its own that shares the times."""
    below = axes.inset_axes((0, -0.24 - 0.075 * len(curves), 1, 0.075 * len(curves)), sharex=axes)
    below.set(ylim=(len(curves) - 0.5, -0.5), yticks=range(len(curves)), yticklabels=labels)
    below.tick_params(axis="both", length=0, labelbottom=False, pad=14)
    for side in ("top", "bottom", "left", "right"):
        below.spines[side].set_visible(False)
    below.patch.set_alpha(0)
    for row, (curve, color) in enumerate(zip(curves, COLORS, strict=False)):
        below.get_yticklabels()[row].set_color(color)
        for tick in ticks:
            below.text(tick, row, str(int(curve.at_risk(tick))), ha="center", va="center", clip_on=False)
    below.set_title("Number at risk", loc="left", fontsize=9)


def _time_ticks(last: float) -> np.ndarray:
    """Whole steps; years where days reach that far."""
    for step in (0.5, 1, 2, 3, 6, 12, 24, 36, 60, 120, 182.5, 365.25, 730.5, 1826.25, 3652.5):
        if last / step <= 6.5:
            return (np.arange(0, last + 1e-9, step)).round(0 if step > 100 else 1)
    return np.linspace(0, last, 6).round()


def curves_figure(curves: Sequence[SurvivalCurve], unit: str, labels: Sequence[str], title: str, note: str) -> Figure:
    """One panel of Kaplan-Meier curves with a note (the log-rank p, for one) in its corner."""
    figure, (axes,) = new_figure(6.4, 4.6)
    draw_curves(axes, curves, unit, labels, title)
    axes.text(0.98, 0.98, note, transform=axes.transAxes, ha="right", va="top")
    return figure


def burden_figure(analysis: BurdenAnalysis, unit: str) -> Figure:
    """Figure 5 of Nikulin et al. 2023: low and high TTB, manual and (where there is one) automatic side by side."""
    groups = [g for g in (analysis.manual, analysis.automatic) if g is not None]
    figure, all_axes = new_figure(6.0 * len(groups), 4.6, len(groups))
    for axes, found in zip(all_axes, groups, strict=True):
        labels = [f"≤ {analysis.cutoff.value:.1f} ml", f"> {analysis.cutoff.value:.1f} ml"]
        draw_curves(axes, [found.low_curve, found.high_curve], unit, labels, found.name)
        axes.text(0.98, 0.98, _burden_note(found), transform=axes.transAxes, ha="right", va="top")
    return figure


def _burden_note(found: BurdenGroups) -> str:
    return f"{ratio_words(found.ratio)}\nlog-rank {p_words(found.log_rank_p)}"


def ratio_words(ratio: HazardRatio | None) -> str:
    """``HR 1.9 (1.4 to 2.6), p = 0.003``."""
    if ratio is None:
        return "HR not finite (a group has no event)"
    return f"HR {ratio_cell(ratio.value, ratio.lower, ratio.upper)}, {p_words(ratio.p)}"


def p_words(p: float) -> str:
    """A p-value as papers print it."""
    if not np.isfinite(p):
        return "p not defined"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def ratios_figure(table: pd.DataFrame, title: str) -> Figure:
    """Hazard ratios with intervals on a logarithmic axis, one row a covariate (at most 25)."""
    shown = table[np.isfinite(table["hazard_ratio"])].head(25)
    figure, (axes,) = new_figure(6.8, 1.3 + 0.32 * max(len(shown), 1))
    rows = np.arange(len(shown))
    low, high = shown["lower"].clip(lower=0.02), shown["upper"].clip(upper=50)
    axes.hlines(rows, low, high, color=COLORS[0], lw=1.6)
    axes.plot(shown["hazard_ratio"].clip(0.02, 50), rows, "s", color=COLORS[0], ms=6)
    axes.axvline(1, color="#888888", lw=0.8, ls="--")
    axes.set(xscale="log", yticks=rows, yticklabels=shown["covariate"], ylim=(len(shown) - 0.4, -0.6))
    axes.set_xlabel("Hazard ratio (95 % interval)")
    _ratio_ticks(axes, float(low.min()), float(high.max()))
    for row, found in enumerate(shown.to_dict("records")):
        words = ratio_cell(found["hazard_ratio"], found["lower"], found["upper"])
        axes.text(1.02, row, words, transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    axes.set_title(title, loc="left", fontweight="bold")
    return figure


def _ratio_ticks(axes: Axes, low: float, high: float) -> None:
    """Round numbers on the logarithmic axis, always 1, few enough to read."""
    from matplotlib.ticker import NullFormatter, NullLocator

    low, high = min(low, 0.95), max(high, 1.05)
    for ticks in (
        (0.8, 0.9, 1, 1.1, 1.25),
        (0.5, 0.7, 0.85, 1, 1.2, 1.5, 2),
        (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50),
    ):
        inside = [t for t in ticks if low * 0.98 <= t <= high * 1.02]
        if ticks[0] <= low and high <= ticks[-1]:
            break
    axes.set_xticks(inside, [f"{t:g}" for t in inside])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def ratio_cell(value: float, lower: float, upper: float) -> str:
    """``1.90 (1.41 to 2.56)``; three decimals for ratios near 1, as those per ml or per year are."""
    decimals = 3 if 0.9 < value < 1.1 else 2
    return f"{value:.{decimals}f} ({lower:.{decimals}f} to {upper:.{decimals}f})"


def scores_figure(summary: pd.DataFrame, title: str) -> Figure:
    """Harrell's C with intervals: nested, leave-one-centre-out, and the two that must not be believed."""
    schemes = [s for s in SCHEME_COLORS if (summary["scheme"] == s).any()]
    pairs = list(dict.fromkeys(zip(summary["features"], summary["model"], strict=True)))
    figure, (axes,) = new_figure(7.2, 1.5 + 0.2 * len(pairs) * (len(schemes) + 1))
    for k, scheme in enumerate(schemes):
        part = summary[summary["scheme"] == scheme].set_index(["features", "model"])["harrell"]
        bounds = summary[summary["scheme"] == scheme].set_index(["features", "model"])
        rows = [pairs.index(pair) * (len(schemes) + 1) + k for pair in part.index]
        believed = scheme in (NESTED, CENTRES)
        axes.hlines(
            rows, bounds["harrell_lower"], bounds["harrell_upper"].clip(upper=1.0), color=SCHEME_COLORS[scheme], lw=1.6
        )
        label = scheme if believed else f"{scheme} (a warning, not a result)"
        face = SCHEME_COLORS[scheme] if believed else "white"
        axes.plot(part, rows, "o", color=SCHEME_COLORS[scheme], mfc=face, ms=6, label=label)
    middles = [k * (len(schemes) + 1) + (len(schemes) - 1) / 2 for k in range(len(pairs))]
    several = len({f for f, _ in pairs}) > 1
    names = [f"{MODEL_TITLES[m]}\n{f}" if several else MODEL_TITLES[m] for f, m in pairs]
    axes.axvline(0.5, color="#888888", lw=0.8, ls="--")
    axes.set(yticks=middles, yticklabels=names, ylim=(len(pairs) * (len(schemes) + 1) - 1, -1))
    axes.set_xlabel("Harrell's C (0.5 is chance)")
    axes.set_title(title, loc="left", fontweight="bold")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def calibration_figure(tables: dict[str, pd.DataFrame], horizon: float, unit: str) -> Figure:
    """Predicted against observed risk at the horizon, a panel a model."""
    figure, all_axes = new_figure(3.4 * len(tables), 3.7, len(tables))
    top = max(float(t[["predicted", "upper"]].max().max()) for t in tables.values()) * 1.05
    for axes, (name, table), color in zip(all_axes, tables.items(), COLORS, strict=False):
        axes.plot([0, top], [0, top], color="#888888", lw=0.8, ls="--")
        axes.vlines(table["predicted"], table["lower"], table["upper"], color=color, lw=1.4)
        axes.plot(table["predicted"], table["observed"], "o-", color=color, ms=5)
        axes.set(xlim=(0, top), ylim=(0, top), xlabel="Predicted risk", aspect="equal")
        axes.set_title(name, loc="left", fontsize=10)
    all_axes[0].set_ylabel(f"Observed by {horizon:g} {unit}")
    return figure
