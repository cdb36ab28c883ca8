"""One picture to judge a result by: projections, fused slices through the main lesions, and the numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from HNTumorSegLib.errors import OutputError
from HNTumorSegLib.exchange.overview_panels import (
    FUSED_COLORS,
    FUSED_SUV_RANGE,
    INK,
    PAGE_INCHES,
    PAPER,
    SOFT_INK,
    draw_color_bar,
    draw_outlines,
    finish_axes,
    fuse,
    imshow_extent,
    label_at_sides,
    label_inside,
)
from HNTumorSegLib.exchange.overview_table import MAX_TABLE_ROWS, draw_table
from HNTumorSegLib.exchange.overview_views import (
    AIR_HU,
    AXIAL,
    CORONAL,
    SAGITTAL,
    lesion_center_mm,
    pet_projections,
    plane_outlines,
    projection_outlines,
    sample_plane,
    window_around,
    window_center_mm,
)
from HNTumorSegLib.lesions.codes import NODE, PRIMARY
from HNTumorSegLib.lesions.colors import lesion_colors
from HNTumorSegLib.lesions.lesion_set import LesionSet
from HNTumorSegLib.measures.table import Measurements
from HNTumorSegLib.study.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE_DPI = 110
SLICE_WINDOW_MM = 200.0
MIP_SUV_RANGE = (0.0, 7.0)
MAX_LESIONS_FOR_TWO_ROWS = 5
"""With more lesions the table needs the room of the second row of slices."""
TOP_TO_NECK_MM = 180.0
TALL = 1.7
"""Height over width from which the two projections stand side by side."""
FOOTNOTE = "Research use only. Not a medical device; to be reviewed by a qualified person."


def write_overview(study: Study, lesion_set: LesionSet, measurements: Measurements | None, path: str | Path) -> Path:
    """Draw the overview as PNG; no patient identifiers are shown.

    Args:
        study: PET (SUVbw) with or without CT, in any orientation.
        lesion_set: lesions on any grid; none is said in words.
        measurements: the numbers for the table; without them only volumes are shown.
        path: ends in ``.png``.

    Raises:
        OutputError: when the file cannot be written.
    """
    figure = draw_overview(study, lesion_set, measurements)
    path = Path(path)
    try:
        figure.savefig(path, format="png", dpi=PAGE_DPI, facecolor=PAPER, metadata={"Software": "HNTumorSeg"})
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OutputError(
            f"The overview '{path}' cannot be written: {error.strerror}. Make room on the disk or choose another "
            "output folder."
        ) from error
    return path


def draw_overview(study: Study, lesion_set: LesionSet, measurements: Measurements | None) -> Figure:
    """The overview as matplotlib figure, drawn without any window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=PAGE_INCHES, facecolor=PAPER)
    colors = {lesion_id: tuple(c / 255 for c in rgb) for lesion_id, rgb in lesion_colors(lesion_set).items()}
    shown = _main_lesions(lesion_set)
    _draw_heading(figure, lesion_set, measurements)
    slices_left = _draw_projections(figure, study, lesion_set, colors)
    bottom = _draw_slices(figure, study, lesion_set, shown, colors, slices_left)
    draw_table(figure, lesion_set, measurements, colors, (slices_left, 0.975, bottom))
    figure.text(0.025, 0.022, FOOTNOTE, color=SOFT_INK, fontsize=9.5, va="center")
    figure.text(
        0.975,
        0.022,
        "SUVbw in g/ml; patient's right is on the left",
        color=SOFT_INK,
        fontsize=9.5,
        ha="right",
        va="center",
    )
    return figure


def _main_lesions(lesion_set: LesionSet) -> list[int]:
    """Up to two lesions worth a look: the largest primary and the largest node, else the two largest."""
    volumes = lesion_set.volumes_ml()
    by_size = sorted((x for x in lesion_set.lesions if volumes[x.id] > 0), key=lambda x: -volumes[x.id])
    first = [next((x.id for x in by_size if x.kind == kind), None) for kind in (PRIMARY, NODE)]
    chosen = [lesion_id for lesion_id in first if lesion_id is not None]
    chosen += [x.id for x in by_size if x.id not in chosen]
    return chosen[:2]


def _draw_heading(figure: Figure, lesion_set: LesionSet, measurements: Measurements | None) -> None:
    figure.text(0.025, 0.955, "Head and neck tumour burden", color=INK, fontsize=22, fontweight="bold", va="center")
    if not lesion_set.lesions:
        figure.text(0.975, 0.955, "No lesion found", color=INK, fontsize=22, fontweight="bold", ha="right", va="center")
        return
    ttb_ml = sum(lesion_set.volumes_ml().values()) if measurements is None else measurements.totals[-1].volume_ml
    count = " and ".join(
        _count(sum(x.kind == kind for x in lesion_set.lesions), noun)
        for kind, noun in ((PRIMARY, "primary tumour"), (NODE, "lymph-node metastasis"))
    )
    figure.text(
        0.975, 0.966, f"TTB {ttb_ml:.1f} ml", color=INK, fontsize=20, fontweight="bold", ha="right", va="center"
    )
    figure.text(0.975, 0.934, count, color=SOFT_INK, fontsize=12, ha="right", va="center")


def _count(number: int, noun: str) -> str:
    plural = noun[:-2] + "es" if noun.endswith("is") else noun + "s"
    return f"{number or 'no'} {noun if number == 1 else plural}"


def _draw_projections(
    figure: Figure, study: Study, lesion_set: LesionSet, colors: dict[int, tuple[float, ...]]
) -> float:
    """Coronal and sagittal projection on the left of the page; where the rest may begin (0 to 1)."""
    pictures = pet_projections(study)
    coronal, sagittal = pictures[CORONAL.name], pictures[SAGITTAL.name]
    height_mm = coronal.extent_mm[3] - coronal.extent_mm[2]
    widths_mm = [p.extent_mm[1] - p.extent_mm[0] for p in (coronal, sagittal)]
    top, bottom, left, gap = 0.885, 0.115, 0.03, 0.012
    page_ratio = PAGE_INCHES[0] / PAGE_INCHES[1]
    tall = height_mm / max(widths_mm) > TALL
    # Page widths of the two panels at the height they get, both at one scale.
    height = top - bottom if tall else (top - bottom - 0.045) / 2
    widths = [height * width / height_mm / page_ratio for width in widths_mm]
    widest = 0.34 if tall else 0.26
    scale = min(1.0, (widest - (gap if tall else 0)) / (sum(widths) if tall else max(widths)))
    height, widths = height * scale, [width * scale for width in widths]
    label_room = 0.055
    if tall:
        places = [(left + label_room, top - height), (left + 2 * label_room + widths[0] + gap, top - height)]
        right = places[1][0] + widths[1]
    else:
        places = [(left + label_room, top - height), (left + label_room, top - 2 * height - 0.045)]
        places = [(x + (max(widths) - width) / 2, y) for (x, y), width in zip(places, widths, strict=True)]
        right = left + label_room + max(widths) + label_room
    for view, picture, (x, y), width in zip((CORONAL, SAGITTAL), (coronal, sagittal), places, widths, strict=True):
        axes = figure.add_axes((x, y, width, height))
        axes.imshow(
            picture.values,
            cmap="gray_r",
            vmin=MIP_SUV_RANGE[0],
            vmax=MIP_SUV_RANGE[1],
            extent=imshow_extent(picture),
            interpolation="bilinear",
            aspect="auto",
        )
        outlines = projection_outlines(lesion_set, view)
        draw_outlines(axes, outlines, colors, width=1.4)
        if view is CORONAL:
            label_at_sides(axes, picture, outlines, lesion_set, colors)
        finish_axes(axes, picture, view, INK)
        axes.set_title(f"PET, {view.name.lower()} maximum", color=SOFT_INK, fontsize=10, pad=6)
    draw_color_bar(figure, (places[0][0], 0.075, widths[0], 0.011), "gray_r", MIP_SUV_RANGE)
    return right + 0.035


def _draw_slices(
    figure: Figure,
    study: Study,
    lesion_set: LesionSet,
    shown: list[int],
    colors: dict[int, tuple[float, ...]],
    left: float,
) -> float:
    """Axial, coronal and sagittal slices, one row a lesion; where the table below may begin (0 to 1)."""
    right, top, gap, bar_room = 0.975, 0.885, 0.008, 0.045
    rows: list[int | None] = [*shown[: 2 if len(lesion_set) <= MAX_LESIONS_FOR_TWO_ROWS else 1]] or [None]
    ratio = PAGE_INCHES[0] / PAGE_INCHES[1]
    head_room = 0.032
    table_room = 0.10 + 0.024 * (min(len(lesion_set), MAX_TABLE_ROWS + 1) + 4)
    height = (top - 0.06 - table_room) / len(rows) - head_room
    width = min((right - bar_room - left - 2 * gap) / 3, height / ratio)
    height = width * ratio
    y = top
    for lesion_id in rows:
        y -= height
        _draw_slice_row(figure, study, lesion_set, lesion_id, colors, (left, y, width, height, gap))
        y -= head_room
    bar_left = left + 3 * width + 2 * gap + 0.012
    draw_color_bar(figure, (bar_left, top - height, 0.009, height), *_slice_colors(study), vertical=True)
    return y + head_room - 0.02


def _slice_colors(study: Study) -> tuple[str, tuple[float, float]]:
    return ("gray_r", MIP_SUV_RANGE) if study.ct is None else (FUSED_COLORS, FUSED_SUV_RANGE)


def _draw_slice_row(
    figure: Figure,
    study: Study,
    lesion_set: LesionSet,
    lesion_id: int | None,
    colors: dict[int, tuple[float, ...]],
    place: tuple[float, float, float, float, float],
) -> None:
    left, y, width, height, gap = place
    bounds = study.pet_geometry.bounds_mm()
    center = _neck_mm(bounds) if lesion_id is None else lesion_center_mm(lesion_set, lesion_id)
    window = window_around(window_center_mm(center, np.mean(bounds, axis=0)), SLICE_WINDOW_MM, bounds)
    kind = "PET" if study.ct is None else "PET/CT"
    title = "no lesion" if lesion_id is None else f"through {lesion_set[lesion_id].name}"
    for column, view in enumerate((AXIAL, CORONAL, SAGITTAL)):
        axes = figure.add_axes((left + column * (width + gap), y, width, height))
        pet = sample_plane(study.pet, view, window, center[view.depth], 0.0)
        if study.ct is None:
            axes.imshow(
                pet.values,
                cmap="gray_r",
                vmin=MIP_SUV_RANGE[0],
                vmax=MIP_SUV_RANGE[1],
                extent=imshow_extent(pet),
                interpolation="bilinear",
                aspect="auto",
            )
        else:
            ct = sample_plane(study.ct, view, window, center[view.depth], AIR_HU)
            axes.imshow(fuse(ct.values, pet.values), extent=imshow_extent(pet), interpolation="bilinear", aspect="auto")
        outlines = plane_outlines(lesion_set, view, window, center[view.depth])
        draw_outlines(axes, outlines, colors, width=1.6)
        label_inside(axes, pet, outlines, lesion_set, lesion_id, on_light=study.ct is None)
        finish_axes(axes, pet, view, INK if study.ct is None else "white")
        if column == 0:
            axes.set_title(f"{kind}, {title}", color=SOFT_INK, fontsize=10, pad=6, loc="left")


def _neck_mm(bounds_mm: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Where to look without a lesion: the middle of a short scan, a hand's breadth below the top of a long one."""
    low, high = bounds_mm
    middle = (low + high) / 2
    return np.array([*middle[:2], max(middle[2], high[2] - TOP_TO_NECK_MM)])
