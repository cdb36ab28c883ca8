"""How one source anatomy, freely deformed, lies in the scanner, and drawing on a grid that sees it so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.phantom.atlas import DISTANCE_MM, FARTHEST_MM, LABEL_MM, Atlas
from HNTumorSegLib.phantom.crossing import Crossing
from HNTumorSegLib.phantom.fields import Lattice
from HNTumorSegLib.phantom.shapes import Ellipsoid, Profile, Shape

NODE_STEP = 4
"""Deformations are worked out on every fourth voxel and interpolated linearly between."""

MIDFACE = Ellipsoid((0, -44, 26), (52, 46, 46))
"""Cheeks and upper jaw, which no organ label covers."""


@dataclass(frozen=True)
class Placement:
    """LPS position in the scanner -> position in the source anatomy -> position in the phantom's frame.

    ``matrix`` holds rotation, size and mirroring; ``head_turn`` (nod about x, turn about z, radians) bends the neck;
    ``warps`` are (amplitude_mm, Lattice of 3 components) pairs. ``skin_mm`` is how far the skin lies outside the solid
    parts of the head, ``body`` the outline of neck and trunk in the frame. ``crossing`` moves the organs towards where
    another source anatomy has them.
    """

    atlas: Atlas
    matrix: np.ndarray
    position_mm: np.ndarray
    head_turn: tuple[float, float]
    warps: tuple[tuple[float, Lattice], ...]
    skin_mm: float
    body: Profile
    crossing: Crossing | None = None

    def to_atlas(self, lps: np.ndarray) -> np.ndarray:
        """Positions (n, 3) in the source anatomy."""
        lps = np.asarray(lps, float)
        moved = (lps - self.position_mm) @ self.matrix.T
        for amplitude, lattice in self.warps:
            x, y, z = lps.T
            moved = moved + amplitude * np.stack([lattice(x, y, z, a) for a in range(3)], axis=1)
        bent = self._bent(moved)
        return bent if self.crossing is None else self.crossing.to_source(bent)

    def _bent(self, points: np.ndarray) -> np.ndarray:
        """The head nods and turns about the upper neck, more and more from C6 up to the skull base."""
        share = np.clip((points[:, 2] + 60) / 100, 0, 1)
        nod, turn = (angle * share for angle in self.head_turn)
        x, y, z = points[:, 0], points[:, 1] - 40, points[:, 2] + 10
        y, z = y * np.cos(nod) - z * np.sin(nod), y * np.sin(nod) + z * np.cos(nod)
        x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
        return np.stack([x, y + 40, z - 10], axis=1)

    def to_frame(self, lps: np.ndarray) -> np.ndarray:
        """Positions (n, 3) in the phantom's frame."""
        return self.atlas.to_frame(self.to_atlas(lps))

    def find_lps(self, frame_points: np.ndarray) -> np.ndarray:
        """LPS positions of frame positions (n, 3), by fixed-point search; good to about a millimetre."""
        wanted = np.atleast_2d(np.asarray(frame_points, float))
        inverse = np.linalg.inv(self.matrix)
        guess = wanted @ inverse.T + self.position_mm
        for _ in range(12):
            guess = guess + 0.7 * (wanted - self.to_frame(guess)) @ inverse.T
        return guess


class FieldCanvas:
    """Voxels of one image with their positions in the phantom's frame and the source anatomy's labels beneath them.

    Arrays are zyx. Shapes are drawn within the box of voxels that they may touch.
    """

    def __init__(self, geometry: Geometry, placement: Placement):
        self.geometry = geometry
        self.placement = placement
        self.shape = geometry.shape_zyx
        self.edge_mm = float(np.mean(geometry.spacing_mm))
        self._counts = tuple((n - 1) // NODE_STEP + 2 for n in self.shape)
        k, j, i = np.meshgrid(*(np.arange(n) * NODE_STEP for n in self._counts), indexing="ij")
        lps = geometry.to_lps(np.stack([i, j, k], axis=-1).reshape(-1, 3))
        atlas = placement.to_atlas(lps)
        self._atlas = atlas.T.reshape(3, *self._counts).astype(np.float32)
        self._nodes = placement.atlas.to_frame(atlas).T.reshape(3, *self._counts).astype(np.float32)
        self.x, self.y, self.z = (self.enlarged(field) for field in self._nodes)

    def enlarged(self, nodes: np.ndarray, step: int = NODE_STEP) -> np.ndarray:
        """Values at every ``step``-th voxel, interpolated to all voxels; float32."""
        out = np.asarray(nodes, np.float32)
        for axis in (2, 1, 0):
            weights = _interpolation(out.shape[axis], self.shape[axis], step)
            out = np.tensordot(weights, out, (1, axis)) if axis == 0 else np.moveaxis(out, axis, -1) @ weights.T
            out = out if axis == 0 else np.moveaxis(out, -1, axis)
        return np.ascontiguousarray(out)

    def box(self, shape: Shape, margin_mm: float = 0.0) -> tuple[slice, slice, slice] | None:
        """Slices (zyx) of the voxels that ``shape`` may touch; None when it lies outside."""
        low, high = shape.bounds()
        margin = margin_mm + 1.5 * self.edge_mm * NODE_STEP
        near = np.ones(self._counts, bool)
        for axis in range(3):
            near &= (self._nodes[axis] >= low[axis] - margin) & (self._nodes[axis] <= high[axis] + margin)
        if not near.any():
            return None
        out = []
        for axis in range(3):
            hit = np.flatnonzero(near.any(axis=tuple(a for a in range(3) if a != axis)))
            start, stop = hit[0] * NODE_STEP, hit[-1] * NODE_STEP + 1
            out.append(slice(max(0, start), min(self.shape[axis], stop)))
        return tuple(out) if all(s.stop > s.start for s in out) else None

    def coverage(self, shape: Shape, box: tuple[slice, slice, slice], softness_mm: float = 0.0) -> np.ndarray:
        """Share of each voxel of the box that lies inside the shape, 0 to 1, float32."""
        distance = shape.distance(self.x[box], self.y[box], self.z[box])
        return np.clip(0.5 - distance / (self.edge_mm + softness_mm), 0, 1).astype(np.float32)

    def labels(self) -> np.ndarray:
        """Codes of the source anatomy (uint8); what lies below its scan is its last slice, drawn out."""
        volume = self.placement.atlas.labels
        flat = np.zeros(self.shape, np.int32)
        inside = np.ones(self.shape, bool)
        stride = volume.size
        for axis, field in ((0, 2), (1, 1), (2, 0)):
            position = (self._atlas[field] - self.placement.atlas.origin_mm[field]) / LABEL_MM + 0.5
            index = self.enlarged(position).astype(np.int32)
            if axis == 0:
                np.maximum(index, 1, out=index)
            inside &= (index >= 0) & (index < volume.shape[axis])
            stride //= volume.shape[axis]
            np.clip(index, 0, volume.shape[axis] - 1, out=index)
            flat += index * stride
        return np.where(inside, volume.ravel()[flat], 0)

    def distance_from(self, what: str) -> np.ndarray:
        """``brain`` or ``head``: mm from its surface, negative inside; float32 on all voxels."""
        return self.enlarged(self._sampled(getattr(self.placement.atlas, f"{what}_distance"), 2), 2)

    def body_distance(self) -> np.ndarray:
        """mm from the skin, negative inside; float32 on all voxels."""
        counts = tuple((n - 1) // 2 + 2 for n in self.shape)
        x, y, z = (self._half(field, counts) for field in self._nodes)
        trunk = self.placement.body.distance(x, y, z)
        head = self._sampled(self.placement.atlas.head_distance, 2) - self.placement.skin_mm
        head = _merged(head, MIDFACE.distance(x, y, z))
        return self.enlarged(_merged(trunk, head), 2)

    def _half(self, nodes: np.ndarray, counts: tuple[int, ...]) -> np.ndarray:
        """Node values at every second voxel."""
        out = nodes
        for axis, n in enumerate(counts):
            weights = _interpolation(out.shape[axis], n, NODE_STEP // 2)
            out = np.moveaxis(np.moveaxis(out, axis, -1) @ weights.T, -1, axis)
        return np.ascontiguousarray(out)

    def _sampled(self, distance: np.ndarray, step: int) -> np.ndarray:
        """A distance volume of the atlas at every ``step``-th voxel (linear between its voxels)."""
        from scipy import ndimage

        counts = tuple((n - 1) // step + 2 for n in self.shape)
        origin = self.placement.atlas.origin_mm
        at = [(self._half(self._atlas[a], counts) - origin[a]) / DISTANCE_MM for a in (2, 1, 0)]
        return ndimage.map_coordinates(distance.astype(np.float32), at, order=1, mode="constant", cval=FARTHEST_MM)


def _merged(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Distance from the union of two bodies that meet without a crease."""
    blend = np.maximum(12.0 - np.abs(one - other), 0.0)
    return np.minimum(one, other) - blend * blend / 48.0


def _interpolation(n_nodes: int, n: int, step: int) -> np.ndarray:
    """(n, n_nodes) weights of linear interpolation from values at every ``step``-th voxel; the ends go on straight."""
    position = np.arange(n, dtype=np.float32) / step
    low = np.minimum(position.astype(int), n_nodes - 2)
    weights = np.zeros((n, n_nodes), np.float32)
    weights[np.arange(n), low] = 1 - (position - low)
    weights[np.arange(n), low + 1] = position - low
    return weights
