"""Solid shapes given by a signed distance, drawn with soft edges onto any grid.

Positions are LPS millimetres in the phantom's own frame: x to the left, y to the back, z to the head, z = 0 at the
hyoid bone. A signed distance is negative inside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from HNTumorSegLib.phantom.fields import Lattice

Point = tuple[float, float, float]


class Shape(Protocol):
    """What can be drawn."""

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner of a box that holds the shape."""

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Approximate signed distance in mm at the positions."""


@dataclass
class Ellipsoid:
    """An ellipsoid; ``wobble_mm`` moves its surface in and out by a smooth random amount (``lattice``)."""

    center: Point
    radii: Point
    wobble_mm: float = 0.0
    lattice: Lattice | None = None
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Shape`."""
        half = np.abs(self.rotation) @ np.asarray(self.radii) + 3 * self.wobble_mm
        return np.asarray(self.center) - half, np.asarray(self.center) + half

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """See :class:`Shape`; exact on the surface, first-order nearby."""
        p = [x - self.center[0], y - self.center[1], z - self.center[2]]
        if not np.array_equal(self.rotation, np.eye(3)):
            p = [sum(self.rotation[b, a] * p[b] for b in range(3)) for a in range(3)]
        scaled = np.sqrt(sum((c / r) ** 2 for c, r in zip(p, self.radii, strict=True)))
        gradient = np.sqrt(sum((c / r**2) ** 2 for c, r in zip(p, self.radii, strict=True)))
        distance = scaled * (scaled - 1) / np.maximum(gradient, 1e-6)
        # Near the centre the formula runs to 0/0; the true distance there is minus the smallest radius.
        distance = np.where(scaled < 0.3, (scaled - 1) * min(self.radii), distance)
        if self.lattice is not None and self.wobble_mm:
            distance = distance + self.wobble_mm * self.lattice(x, y, z)
        return distance


@dataclass
class Tube:
    """A tube along a polyline; the radius runs linearly from point to point."""

    points: np.ndarray
    radii: np.ndarray

    def __init__(self, points: list[Point] | np.ndarray, radii: float | list[float] | np.ndarray):
        self.points = np.asarray(points, float)
        self.radii = np.broadcast_to(np.asarray(radii, float), len(self.points)).copy()

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Shape`."""
        reach = self.radii.max()
        return self.points.min(axis=0) - reach, self.points.max(axis=0) + reach

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """See :class:`Shape`."""
        best = None
        for start, end, r0, r1 in zip(self.points[:-1], self.points[1:], self.radii[:-1], self.radii[1:], strict=True):
            axis = end - start
            length2 = max(float(axis @ axis), 1e-9)
            t = ((x - start[0]) * axis[0] + (y - start[1]) * axis[1] + (z - start[2]) * axis[2]) / length2
            t = np.clip(t, 0, 1)
            off = [c - start[a] - t * axis[a] for a, c in enumerate((x, y, z))]
            d = np.sqrt(off[0] ** 2 + off[1] ** 2 + off[2] ** 2) - (r0 + t * (r1 - r0))
            best = d if best is None else np.minimum(best, d)
        return best


@dataclass
class Shell:
    """The outermost ``thickness_mm`` of a solid."""

    solid: Shape
    thickness_mm: float

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Shape`."""
        return self.solid.bounds()

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """See :class:`Shape`."""
        distance = self.solid.distance(x, y, z)
        return np.maximum(distance, -self.thickness_mm - distance)


@dataclass
class Profile:
    """The outline of head, neck and trunk: an ellipse in each transverse plane.

    ``knots``: rows (z, half width, half depth, centre y), z rising; between them linear, beyond them nothing.
    ``inset_mm`` shrinks it (fat between skin and muscle).
    """

    knots: np.ndarray
    inset_mm: float = 0.0

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Shape`."""
        k = self.knots
        low = np.array([-k[:, 1].max(), (k[:, 3] - k[:, 2]).min(), k[0, 0]])
        high = np.array([k[:, 1].max(), (k[:, 3] + k[:, 2]).max(), k[-1, 0]])
        return low, high

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """See :class:`Shape`; the distance is that in the transverse plane."""
        k = self.knots
        heights = np.arange(k[0, 0], k[-1, 0] + 1.0)  # a table at each mm: much faster than interpolating every voxel
        row = np.clip(np.rint(z - k[0, 0]), 0, len(heights) - 1).astype(np.int32)
        half_width, half_depth, center_y = (np.interp(heights, k[:, 0], k[:, c]).astype(np.float32) for c in (1, 2, 3))
        half_width = np.maximum(half_width - np.float32(self.inset_mm), np.float32(0.5))
        half_depth = np.maximum(half_depth - np.float32(self.inset_mm), np.float32(0.5))
        u = np.abs(x / half_width[row])
        v = np.abs((y - center_y[row]) / half_depth[row])
        # A superellipse of power 2.5 looks more like a body than a plain ellipse.
        scaled = (u * u * np.sqrt(u) + v * v * np.sqrt(v)) ** np.float32(0.4)
        inside = (scaled - 1) * np.minimum(half_width, half_depth)[row]
        ends = np.maximum(k[0, 0] - z, z - (k[-1, 0] - self.inset_mm))
        return np.maximum(inside, ends)


def mirrored(point: Point, side: int) -> Point:
    """``point`` on the patient's left (side +1) or right (side -1)."""
    return (side * point[0], point[1], point[2])
