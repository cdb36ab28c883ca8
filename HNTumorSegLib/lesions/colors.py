"""One colour a lesion: the kind's colour from :data:`codes.STYLE`, varied a little so that neighbours differ."""

from __future__ import annotations

import colorsys

from HNTumorSegLib.lesions.codes import STYLE
from HNTumorSegLib.lesions.lesion_set import LesionSet

# Steps of (hue in degrees, lightness): the first lesion of a kind has the kind's own colour. Hues stay within 26
# degrees of it, so that a primary never looks like a node; lightness alternates so that the steps also show in grey.
VARIATIONS = ((0, 0.0), (20, 0.1), (-14, -0.08), (26, -0.06), (-22, 0.12), (12, -0.14))


def lesion_color(kind: str, index: int) -> tuple[int, int, int]:
    """RGB, 0 to 255, of the ``index``-th lesion (from 0) of a kind; the colours repeat after six."""
    hue_step, lightness_step = VARIATIONS[index % len(VARIATIONS)]
    hue, lightness, saturation = colorsys.rgb_to_hls(*(channel / 255 for channel in STYLE[kind].color))
    lightness = min(max(lightness + lightness_step, 0.25), 0.8)
    rgb = colorsys.hls_to_rgb((hue + hue_step / 360) % 1.0, lightness, saturation)
    return tuple(round(255 * channel) for channel in rgb)


def lesion_colors(lesion_set: LesionSet) -> dict[int, tuple[int, int, int]]:
    """RGB, 0 to 255, of every lesion by its id, counted within each kind in the set's order."""
    seen: dict[str, int] = {}
    colors = {}
    for lesion in lesion_set.lesions:
        index = seen.get(lesion.kind, 0)
        seen[lesion.kind] = index + 1
        colors[lesion.id] = lesion_color(lesion.kind, index)
    return colors
