"""Structures whose labels a rule changed, as the user is told of them: volume, place and the share that decided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.lesions.lesion_set import Box

NAMED = 5
"""At most so many structures are named with their place; the rest are counted."""


@dataclass(frozen=True)
class NamedStructure:
    """One structure: volume, the share (0 to 1) by which it was judged, LPS position of its middle."""

    volume_ml: float
    share: float
    center_mm: tuple[float, float, float]


def named_structures(
    pieces: np.ndarray, numbers: np.ndarray, shares: np.ndarray, box: Box, geometry: Geometry
) -> list[NamedStructure]:
    """The structures of these numbers, largest first.

    Args:
        pieces: numbered structures (zyx) in ``box`` of the label image, counted from 1, 0 background.
        numbers: which of them; at least one.
        shares: of all structures, that of number 1 first.
        box: where ``pieces`` lies in the label image.
        geometry: of the label image.
    """
    volumes_ml = np.bincount(pieces.ravel()) * geometry.voxel_volume_ml
    corner = np.array([s.start for s in box])
    centers = np.array(ndimage.center_of_mass(pieces > 0, pieces, numbers)) + corner
    found = [
        NamedStructure(float(volumes_ml[number]), float(shares[number - 1]), tuple(float(x) for x in place))
        for number, place in zip(numbers, geometry.to_lps(centers[:, ::-1]), strict=True)
    ]
    return sorted(found, key=lambda s: -s.volume_ml)


def in_words(found: list[NamedStructure]) -> str:
    """``0.48 ml at L 12, P -7, S 130 mm (0.60)`` for the first five, and how many more there are."""
    places = [
        "{:.2f} ml at L {:.0f}, P {:.0f}, S {:.0f} mm ({:.2f})".format(s.volume_ml, *s.center_mm, s.share)
        for s in found[:NAMED]
    ]
    return "; ".join(places) + (f", and {len(found) - NAMED} smaller" if len(found) > NAMED else "")
