"""One patient's picture: the tumour burden against the cohort's cut-off, the curve beside the cohort's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from HNTumorSegLib.survival.figures import COLORS, STYLE
from HNTumorSegLib.survival.prognosis import BurdenPosition, Prognosis
from HNTumorSegLib.survival.risk_model import SurvivalCard

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS_PER_INCH = 100
INK = "#222222"
GROUPS = {"low": COLORS[0], "high": COLORS[1]}
"""As in the cohort's own figures: low is blue, high is orange-red."""


def prognosis_figure(prognosis: Prognosis, card: SurvivalCard, size_px: tuple[int, int] = (400, 340)) -> Figure:
    """Above, where the card has a cut-off, the patient's burden; below, the patient's curve and the risk groups'.

    Args:
        prognosis: of the patient.
        card: of the model that it comes from.
        size_px: width and height at 100 dots an inch.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    size = [side / DOTS_PER_INCH for side in size_px]
    with mpl.rc_context(STYLE | {"font.size": 9}):
        figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
        if prognosis.burden is None:
            curves = figure.subplots()
        else:
            above, curves = figure.subplots(2, 1, height_ratios=(1, 6))
            _draw_burden(above, prognosis.burden)
        _draw_curves(curves, prognosis, card)
    return figure


def save_prognosis_figure(path: Path, prognosis: Prognosis, card: SurvivalCard, size_px: tuple[int, int]) -> None:
    """Write the figure as PNG with twice as many dots each way as asked for, so that it is sharp on any screen."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        figure = prognosis_figure(prognosis, card, size_px)
        figure.savefig(path, format="png", dpi=2 * DOTS_PER_INCH, facecolor="white")


def _draw_burden(axes: Axes, burden: BurdenPosition) -> None:
    """A bar of ml from 0 on, blue up to the cut-off and orange-red beyond it, and the patient's place on it."""
    last = 1.15 * max(burden.value_ml, 2 * burden.cutoff_ml)
    axes.axvspan(0, burden.cutoff_ml, color=GROUPS["low"], alpha=0.3, lw=0)
    axes.axvspan(burden.cutoff_ml, last, color=GROUPS["high"], alpha=0.3, lw=0)
    axes.axvline(burden.cutoff_ml, color=INK, lw=1)
    axes.plot([burden.value_ml], [0.5], "D", color=INK, ms=7)
    axes.set(xlim=(0, last), ylim=(0, 1), yticks=[], xlabel="TTB (ml)")
    axes.spines["left"].set_visible(False)
    axes.set_title(
        f"TTB {burden.value_ml:.1f} ml (diamond), cut-off {burden.cutoff_ml:.1f} ml (line)", loc="left", fontsize=9
    )


def _draw_curves(axes: Axes, prognosis: Prognosis, card: SurvivalCard) -> None:
    for curve in card.curves:
        label = f"{_group_words(curve)}, observed (n = {curve['n']})"
        axes.step(curve["times"], curve["survival"], where="post", color=GROUPS[curve["name"]], lw=1.6, label=label)
    axes.plot(prognosis.times, prognosis.survival, color=INK, lw=2.2, label="This patient, predicted")
    axes.plot([prognosis.horizon], [prognosis.event_free], "o", color=INK, ms=5)
    axes.annotate(
        f"{prognosis.event_free:.0%}",
        (prognosis.horizon, prognosis.event_free),
        xytext=(6, 6),
        textcoords="offset points",
        color=INK,
    )
    axes.set(xlim=(0, prognosis.times[-1]), ylim=(0, 1.02))
    axes.set(xlabel=f"Time ({prognosis.unit})", ylabel=f"Free of '{card.event_column}'")
    axes.legend(loc="lower left", frameon=True, framealpha=0.8, edgecolor="none", fontsize=8)


def _group_words(curve: dict[str, Any]) -> str:
    return f"{curve['name'].capitalize()}-risk patients"
