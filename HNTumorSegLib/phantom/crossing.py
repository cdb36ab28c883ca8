"""Anatomies between two source anatomies: the organs of one where those of the other lie, or part of the way there.

A dozen source patients are few, and deforming them at random does not make them differ as people do: one's jaw is
short, another's neck long, a third's salivary glands low. What people differ in is what one source's landmarks differ
in from another's, so a crossed patient goes part of that way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import RBFInterpolator

from HNTumorSegLib.phantom.atlas import SMOOTHING, Atlas


@dataclass(frozen=True)
class Crossing:
    """Position in the crossed anatomy -> position in the source anatomy whose organs it shows.

    Attributes:
        landmarks: the landmarks (n, 3) where the crossed anatomy has them, mm.
        offsets: what leads from there to the source's own (n, 3), mm.
    """

    landmarks: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        # With a constant as its only polynomial the linear kernel stays bounded far from all landmarks.
        field = RBFInterpolator(self.landmarks, self.offsets, kernel="linear", degree=0, smoothing=SMOOTHING)
        object.__setattr__(self, "_offset", field)

    def to_source(self, points: np.ndarray) -> np.ndarray:
        """Positions (n, 3) of the crossed anatomy in the source; below the lowest landmark the offset stays."""
        points = np.asarray(points, float)
        held = points.copy()
        held[:, 2] = np.maximum(points[:, 2], self.landmarks[:, 2].min())
        return points + self._offset(held)


def crossing(source: Atlas, other: Atlas, share: float) -> Crossing:
    """``source`` with its landmarks moved by ``share`` of the way to those of ``other``; below 0 away from them.

    Landmarks that one of the two lacks do not count; both have their origin between the submandibular glands, in mm.
    """
    places = {tuple(at): number for number, at in enumerate(other.frame)}
    common = [(i, places[tuple(at)]) for i, at in enumerate(source.frame) if tuple(at) in places]
    mine, theirs = (np.array(column) for column in zip(*common, strict=True))
    way = share * (other.landmarks[theirs] - source.landmarks[mine])
    return Crossing(source.landmarks[mine] + way, -way)
