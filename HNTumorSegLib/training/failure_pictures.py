"""The failure gallery: the worst patients as pictures with truth and delineation outlined, and one page with all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.evaluation.page import STYLE
from HNTumorSegLib.exchange.overview_panels import (
    FUSED_SUV_RANGE,
    INK,
    PAPER,
    SOFT_INK,
    draw_outlines,
    finish_axes,
    fuse,
    imshow_extent,
)
from HNTumorSegLib.exchange.overview_views import (
    AIR_HU,
    AXIAL,
    CORONAL,
    SAGITTAL,
    View,
    pet_projections,
    plane_outlines,
    projection_outlines,
    sample_plane,
    window_around,
    window_center_mm,
)
from HNTumorSegLib.lesions.from_labels import lesions_from_labels
from HNTumorSegLib.lesions.lesion_set import LesionSet
from HNTumorSegLib.study.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRUE_COLOR, FOUND_COLOR = (0.13, 0.78, 0.42), (0.93, 0.25, 0.80)
PAGE_INCHES = (16.0, 5.4)
WINDOW_MM = 150.0
MIP_SUV_MAX = 10.0
MOST_SENTENCES = 4

Color = tuple[float, float, float]
OutlinedSets = list[tuple[LesionSet, Color]]
"""Lesions and the colour of their outlines."""


@dataclass(frozen=True)
class GalleryEntry:
    """One patient of the gallery: name, DSC of the union, what went wrong (the largest error first), its picture."""

    name: str
    dsc: float
    sentences: tuple[str, ...]
    picture: str


def draw_failure(
    study: Study, truth: sitk.Image, found: sitk.Image, center_mm: Sequence[float], title: str, sentences: Sequence[str]
) -> Figure:
    """Projections of the PET and slices through one position, truth and delineation outlined.

    Args:
        study: PET and, if there is one, CT.
        truth, found: labels 0, 1, 2.
        center_mm: LPS, where the slices cut.
        title, sentences: above the pictures.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=PAGE_INCHES, facecolor=PAPER)
    sets = outlined_sets(truth, found)
    figure.text(0.012, 0.955, title, color=INK, fontsize=15, fontweight="bold", va="center")
    shown = list(sentences[:MOST_SENTENCES])
    if len(sentences) > MOST_SENTENCES:
        shown[-1] += f" (and {len(sentences) - MOST_SENTENCES} more)"
    for row, sentence in enumerate(shown):
        figure.text(
            0.012, 0.895 - 0.042 * row, sentence, color=INK if row == 0 else SOFT_INK, fontsize=10.5, va="center"
        )
    for y, words, color in ((0.955, "truth", TRUE_COLOR), (0.905, "delineated", FOUND_COLOR)):
        figure.text(0.988, y, words, color=color, fontsize=12, fontweight="bold", ha="right", va="center")
    right = _projections(figure, study, sets, center_mm)
    _slices(figure, study, sets, np.asarray(center_mm, float), right)
    return figure


def outlined_sets(truth: sitk.Image, found: sitk.Image) -> OutlinedSets:
    """Delineation and truth (labels 0, 1, 2) with their colours, the one to be drawn last at the end."""
    return [(lesions_from_labels(image, 0.0), color) for image, color in ((found, FOUND_COLOR), (truth, TRUE_COLOR))]


TOP, BOTTOM = 0.68, 0.04


def _projections(figure: Figure, study: Study, sets: OutlinedSets, center_mm: Sequence[float]) -> float:
    """Coronal and sagittal maximum; where the rest may begin (0 to 1)."""
    pictures = pet_projections(study)
    height = TOP - BOTTOM
    widths_mm = [pictures[v.name].extent_mm[1] - pictures[v.name].extent_mm[0] for v in (CORONAL, SAGITTAL)]
    tall_mm = pictures[CORONAL.name].extent_mm[3] - pictures[CORONAL.name].extent_mm[2]
    per_mm = min(height / tall_mm, 0.36 * PAGE_INCHES[0] / PAGE_INCHES[1] / sum(widths_mm))
    left = 0.012
    for view, width_mm in zip((CORONAL, SAGITTAL), widths_mm, strict=True):
        picture = pictures[view.name]
        width = width_mm * per_mm * PAGE_INCHES[1] / PAGE_INCHES[0]
        axes = figure.add_axes((left, TOP - tall_mm * per_mm, width, tall_mm * per_mm))
        extent = imshow_extent(picture)
        axes.imshow(picture.values, cmap="gray_r", vmin=0, vmax=MIP_SUV_MAX, extent=extent, aspect="auto")
        for lesions, color in sets:
            outlines = projection_outlines(lesions, view)
            draw_outlines(axes, outlines, {o.lesion_id: color for o in outlines}, 1.3)
        finish_axes(axes, picture, view, INK)
        axes.axhline(center_mm[view.up], color=SOFT_INK, linewidth=0.6, linestyle=":")
        axes.axvline(center_mm[view.across], color=SOFT_INK, linewidth=0.6, linestyle=":")
        words = f"PET maximum, SUV 0 to {MIP_SUV_MAX:g}" if view is CORONAL else "sagittal"
        axes.set_title(words, color=SOFT_INK, fontsize=9, pad=5, loc="left")
        left += width + 0.008
    return left


def _slices(figure: Figure, study: Study, sets: OutlinedSets, center: np.ndarray, left: float) -> None:
    """Axial, coronal and sagittal slice through the error."""
    gap = 0.006
    width = min((0.988 - left - 2 * gap) / 3, (TOP - BOTTOM) * PAGE_INCHES[1] / PAGE_INCHES[0])
    height = width * PAGE_INCHES[0] / PAGE_INCHES[1]
    for column, view in enumerate((AXIAL, CORONAL, SAGITTAL)):
        axes = figure.add_axes((left + column * (width + gap), TOP - height, width, height))
        draw_slice(axes, study, sets, center, view)
        suv = f"SUV {FUSED_SUV_RANGE[0]:g} to {FUSED_SUV_RANGE[1]:g}"
        words = f"PET ({suv})" if study.ct is None else f"PET ({suv}) on CT"
        axes.set_title(f"{view.name}, {words}", color=SOFT_INK, fontsize=9, pad=5)


def draw_slice(axes: Axes, study: Study, sets: OutlinedSets, center_mm: np.ndarray, view: View) -> None:
    """One slice through a position, PET (SUVbw) on CT (HU) where there is one, with each set of lesions outlined.

    Args:
        axes: emptied by the caller; gets limits in mm.
        study: PET and, if there is one, CT.
        sets: lesions and the colour of their outlines, those drawn last at the end.
        center_mm: LPS, shape (3,); the slice is :data:`WINDOW_MM` wide about it.
        view: orientation.
    """
    bounds = study.pet_geometry.bounds_mm()
    window = window_around(window_center_mm(center_mm, np.mean(bounds, axis=0)), WINDOW_MM, bounds)
    pet = sample_plane(study.pet, view, window, center_mm[view.depth], 0.0)
    extent = imshow_extent(pet)
    if study.ct is None:
        axes.imshow(pet.values, cmap="gray_r", vmin=0, vmax=MIP_SUV_MAX, extent=extent, aspect="auto")
    else:
        ct = sample_plane(study.ct, view, window, center_mm[view.depth], AIR_HU)
        axes.imshow(fuse(ct.values, pet.values), extent=extent, aspect="auto")
    for lesions, color in sets:
        outlines = plane_outlines(lesions, view, window, center_mm[view.depth])
        draw_outlines(axes, outlines, {o.lesion_id: color for o in outlines}, 1.8)
    finish_axes(axes, pet, view, INK if study.ct is None else "white")


def save_figure(figure: Figure, path: Path) -> Path:
    """As PNG, or as JPEG (fewer bytes where slices fill the figure), by the path's suffix."""
    if path.suffix == ".jpg":
        figure.savefig(path, format="jpg", dpi=110, facecolor=PAPER, pil_kwargs={"quality": 88, "subsampling": 0})
    else:
        figure.savefig(path, format="png", dpi=110, facecolor=PAPER, metadata={"Software": "HNTumorSeg"})
    return path


def gallery_page(entries: Sequence[GalleryEntry], title: str) -> str:
    """One HTML page beside the pictures."""
    blocks = []
    for entry in entries:
        lines = "".join(f"<li>{escape(sentence)}</li>" for sentence in entry.sentences)
        blocks.append(
            f"<h2>{escape(entry.name)}, DSC {entry.dsc:.3f}</h2><ul>{lines}</ul>"
            f'<figure><img alt="{escape(entry.name)}" src="{escape(entry.picture, quote=True)}"></figure>'
        )
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    note = '<p class="note">Green: truth. Magenta: delineation. The slices cut through the largest error.</p>'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head><body><h1>{escape(title)}</h1>{note}'
        + "\n".join(blocks)
        + "</body></html>\n"
    )
