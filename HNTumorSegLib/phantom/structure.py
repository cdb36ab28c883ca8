"""A drawn structure and the CT densities that recur."""

from __future__ import annotations

from dataclasses import dataclass

from HNTumorSegLib.phantom.shapes import Shape

AIR_HU, FAT_HU, MUSCLE_HU = -1000.0, -100.0, 50.0


@dataclass
class Structure:
    """Something to draw: later structures lie on top of earlier ones.

    ``hu`` or ``suv`` is None where the structure leaves that image as it is. ``texture`` is the relative standard
    deviation of the uptake inside; ``softness_mm`` widens the edge.
    """

    name: str
    shape: Shape
    hu: float | None
    suv: float | None
    texture: float = 0.08
    softness_mm: float = 0.0
