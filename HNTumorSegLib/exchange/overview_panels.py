"""Drawing one panel of the overview: axes, outlines, names, colour bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from HNTumorSegLib.exchange.overview_views import Outline, Picture, View
from HNTumorSegLib.lesions.lesion_set import LesionSet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE_INCHES = (16.0, 10.0)
INK, SOFT_INK, RULE, PAPER = "#1d2733", "#6b7785", "#d5dbe1", "#ffffff"
CT_WINDOW_HU = (-160.0, 240.0)
FUSED_COLORS = "inferno"
FUSED_SUV_RANGE = (0.0, 10.0)
FUSED_OPACITY = 0.8
FUSED_FULL_SUV = 4.0
"""From this uptake on the PET has its full opacity; below, the CT shines through in proportion."""
MAX_LABELS = 14


def imshow_extent(picture: Picture) -> tuple[float, float, float, float]:
    """The edges as matplotlib wants them: it draws the first row on top; :func:`finish_axes` turns head-up views."""
    left, right, first, last = picture.extent_mm
    return (left, right, last, first)


def finish_axes(axes: Axes, picture: Picture, view: View, ink: str) -> None:
    """Limits, letters and no ticks."""
    left, right, first, last = picture.extent_mm
    axes.set_xlim(left, right)
    axes.set_ylim((first, last) if view.head_up else (last, first))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(RULE)
        spine.set_linewidth(0.8)
    places = (
        (0.015, 0.5, "left", "center"),
        (0.985, 0.5, "right", "center"),
        (0.5, 0.985, "center", "top"),
        (0.5, 0.015, "center", "bottom"),
    )
    for letter, (x, y, horizontal, vertical) in zip(view.letters, places, strict=True):
        axes.text(
            x,
            y,
            letter,
            transform=axes.transAxes,
            ha=horizontal,
            va=vertical,
            color=ink,
            fontsize=9,
            fontweight="bold",
            alpha=0.8,
            path_effects=halo(ink == INK),
        )


def draw_outlines(axes: Axes, outlines: list[Outline], colors: dict[int, tuple[float, ...]], width: float) -> None:
    """The lesions' outlines in their colours, with a fine dark edge that holds them off bright uptake."""
    from matplotlib.patheffects import withStroke

    for outline in outlines:
        if min(outline.values.shape) < 2:  # nothing to contour in a single row
            continue
        axes.contour(
            outline.across_mm,
            outline.up_mm,
            outline.values,
            levels=[0.5],
            colors=[colors[outline.lesion_id]],
            linewidths=width,
        ).set_path_effects([withStroke(linewidth=width + 1.2, foreground="#00000060")])


def label_at_sides(
    axes: Axes, picture: Picture, outlines: list[Outline], lesion_set: LesionSet, colors: dict[int, tuple[float, ...]]
) -> None:
    """Names outside the picture, on the nearer side, at heights that keep them apart, with fine leaders."""
    left, right, low, high = picture.extent_mm
    sizes = lesion_set.volumes_ml()
    largest = sorted(outlines, key=lambda o: -sizes[o.lesion_id])[:MAX_LABELS]
    height_inches = axes.get_position().height * PAGE_INCHES[1]
    gap_mm = (high - low) * 0.17 / height_inches
    margin_mm = (right - left) * 0.04
    for side in ("left", "right"):
        mine = [o for o in largest if (o.center_mm[0] < (left + right) / 2) == (side == "left")]
        mine.sort(key=lambda o: o.center_mm[1])
        heights = spread([o.center_mm[1] for o in mine], gap_mm, low, high)
        edge, text_x = (left, left - margin_mm) if side == "left" else (right, right + margin_mm)
        for outline, height in zip(mine, heights, strict=True):
            color = colors[outline.lesion_id]
            across, up = outline.center_mm
            reach = np.ptp(outline.across_mm[np.nonzero((outline.values >= 0.5).any(axis=0))[0]]) / 2
            start = across - reach if side == "left" else across + reach
            axes.plot([start, edge, text_x], [up, height, height], color=color, linewidth=0.7, alpha=0.8, clip_on=False)
            axes.text(
                text_x,
                height,
                f" {lesion_set[outline.lesion_id].name} ",
                color=darkened(color),
                fontsize=9,
                ha="right" if side == "left" else "left",
                va="center",
                clip_on=False,
            )


def spread(positions: list[float], gap: float, low: float, high: float) -> list[float]:
    """Positions (ascending) moved as little as needed so that neighbours are ``gap`` apart, within low to high."""
    if not positions:
        return []
    gap = min(gap, (high - low) / len(positions))
    # Least squares under the order constraint: subtract the gaps, pool adjacent violators, add them back.
    blocks: list[list[float]] = []
    for index, position in enumerate(positions):
        blocks.append([position - index * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            value, count = blocks.pop()
            total = blocks[-1][1] + count
            blocks[-1] = [(blocks[-1][0] * blocks[-1][1] + value * count) / total, total]
    flat = [value for value, count in blocks for _ in range(int(count))]
    last = (len(positions) - 1) * gap
    return [float(np.clip(value, low, high - last)) + index * gap for index, value in enumerate(flat)]


def fuse(ct_hu: np.ndarray, suv: np.ndarray) -> np.ndarray:
    """RGB (0 to 1) of a CT in grey under a PET in colour whose opacity grows with the uptake."""
    from matplotlib import colormaps

    low, high = CT_WINDOW_HU
    grey = np.clip((ct_hu - low) / (high - low), 0, 1)[..., np.newaxis]
    low, high = FUSED_SUV_RANGE
    hot = colormaps[FUSED_COLORS](np.clip((suv - low) / (high - low), 0, 1))[..., :3]
    opacity = FUSED_OPACITY * np.clip(suv / FUSED_FULL_SUV, 0, 1)[..., np.newaxis]
    return grey * (1 - opacity) + hot * opacity


def label_inside(
    axes: Axes, picture: Picture, outlines: list[Outline], lesion_set: LesionSet, main: int | None, *, on_light: bool
) -> None:
    """Names beside the outlines, the main lesion's first; one that would cover another or the edge is left out."""
    left, right, low, high = picture.extent_mm
    mm_per_inch = (right - left) / (axes.get_position().width * PAGE_INCHES[0])
    line_mm, letter_mm, edge_mm = 0.17 * mm_per_inch, 0.082 * mm_per_inch, 0.05 * (right - left)
    sizes = lesion_set.volumes_ml()
    taken: list[tuple[float, float, float]] = []
    for outline in sorted(outlines, key=lambda o: (o.lesion_id != main, -sizes[o.lesion_id])):
        across, up = outline.center_mm
        if not (left + edge_mm < across < right - edge_mm and low + edge_mm < up < high - edge_mm):
            continue
        name = lesion_set[outline.lesion_id].name
        width = len(name) * letter_mm
        columns = outline.across_mm[np.nonzero((outline.values >= 0.5).any(axis=0))[0]]
        starts = (columns.max() + 3, columns.min() - 3 - width)
        for start in starts if across < (left + right) / 2 else reversed(starts):
            box = (start, start + width, up)
            clear = all(abs(up - y) > line_mm or box[1] < a or box[0] > b for a, b, y in taken)
            if clear and left + edge_mm < start and start + width < right - edge_mm:
                taken.append(box)
                axes.text(
                    start,
                    up,
                    name,
                    color=INK if on_light else "white",
                    fontsize=9,
                    fontweight="bold",
                    ha="left",
                    va="center",
                    path_effects=halo(on_light),
                )
                break


def halo(on_light: bool) -> list[object]:
    """A soft edge around text, so that it can be read on any picture."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.2, foreground="#ffffffd0" if on_light else "#000000b0")]


def darkened(color: tuple[float, ...]) -> tuple[float, ...]:
    """The colour darkened for text on white."""
    return tuple(0.72 * channel for channel in color)


def draw_color_bar(
    figure: Figure,
    area: tuple[float, float, float, float],
    cmap: str,
    suv_range: tuple[float, float],
    *,
    vertical: bool = False,
) -> None:
    """A colour bar for SUV in g/ml; ``area`` is left, bottom, width, height of the page (0 to 1)."""
    axes = figure.add_axes(area)
    ramp = np.linspace(0, 1, 256)
    low, high = suv_range
    if vertical:
        axes.imshow(ramp[:, np.newaxis], cmap=cmap, aspect="auto", origin="lower", extent=(0, 1, low, high))
        axes.set_xticks([])
        axes.yaxis.tick_right()
        axes.set_title("SUV\ng/ml", color=SOFT_INK, fontsize=8.5, pad=6)
    else:
        axes.imshow(ramp[np.newaxis], cmap=cmap, aspect="auto", extent=(low, high, 0, 1))
        axes.set_yticks([])
        axes.set_xlabel("SUV, g/ml", color=SOFT_INK, fontsize=8.5, labelpad=2)
    axes.tick_params(length=2, width=0.6, labelsize=8.5, colors=SOFT_INK)
    for spine in axes.spines.values():
        spine.set_color(RULE)
