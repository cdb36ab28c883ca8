"""A grid seen in the phantom's own frame, and drawing on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.phantom.fields import Lattice
from HNTumorSegLib.phantom.shapes import Shape


@dataclass(frozen=True)
class Pose:
    """How the phantom's frame lies in the scanner: ``frame = matrix @ (lps - position) + warp(lps)``.

    ``matrix`` holds rotation and body size; ``warp`` bends everything by up to ``warp_mm`` (one standard deviation).
    """

    matrix: np.ndarray
    position_mm: np.ndarray
    warp_mm: float
    warp: Lattice

    def to_lps(self, points: np.ndarray) -> np.ndarray:
        """Scanner positions (n, 3) of frame positions, the warp left out (accurate to a few ``warp_mm``)."""
        return np.asarray(points) @ np.linalg.inv(self.matrix).T + self.position_mm


class Canvas:
    """Voxels of one image with their positions in the phantom's frame, ready to be drawn on.

    Arrays are zyx. Only the voxels of a shape's box are touched when it is drawn.
    """

    def __init__(self, geometry: Geometry, pose: Pose):
        self.geometry = geometry
        self.pose = pose
        self.shape = geometry.shape_zyx
        self.edge_mm = float(np.mean(geometry.spacing_mm))
        self.x, self.y, self.z = self._frame_positions()

    def _frame_positions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Frame coordinates of all voxels, three float32 arrays."""
        to_frame = self.pose.matrix @ self.geometry.ijk_to_lps()[:3, :3]
        offset = self.pose.matrix @ (np.asarray(self.geometry.origin_mm) - self.pose.position_mm)
        k, j, i = (np.arange(n, dtype=np.float32) for n in self.shape)
        warp = self._warp() if self.pose.warp_mm else np.zeros((3, 1, 1, 1), np.float32)
        return tuple(
            (
                to_frame[a, 0] * i[None, None, :]
                + to_frame[a, 1] * j[None, :, None]
                + to_frame[a, 2] * k[:, None, None]
                + offset[a]
                + warp[a]
            ).astype(np.float32)
            for a in range(3)
        )

    def _warp(self) -> np.ndarray:
        """Displacement (3, z, y, x) in mm: evaluated on every eighth voxel and enlarged, as it varies slowly."""
        step = 8
        coarse = [np.arange(0, n + step, step, dtype=np.float32) for n in self.shape]
        k, j, i = np.meshgrid(*coarse, indexing="ij")
        lps = self.geometry.to_lps(np.stack([i, j, k], axis=-1))
        fields = [self.pose.warp(lps[..., 0], lps[..., 1], lps[..., 2], a) for a in range(3)]
        return np.stack([self.pose.warp_mm * enlarge(f, step, self.shape) for f in fields])

    def box(self, shape: Shape, margin_mm: float = 0.0) -> tuple[slice, slice, slice] | None:
        """Slices (zyx) of the voxels that ``shape`` may touch; None when it lies outside."""
        low, high = shape.bounds()
        corners = np.array([(x, y, z) for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
        ijk = self.geometry.to_ijk(self.pose.to_lps(corners))
        pad = (margin_mm + 3.5 * self.pose.warp_mm) / np.asarray(self.geometry.spacing_mm) + 1
        start = np.maximum(np.floor(ijk.min(axis=0) - pad), 0).astype(int)
        stop = np.minimum(np.ceil(ijk.max(axis=0) + pad) + 1, self.geometry.size).astype(int)
        if np.any(stop <= start):
            return None
        return tuple(slice(a, b) for a, b in zip(start[::-1], stop[::-1], strict=True))

    def coverage(self, shape: Shape, box: tuple[slice, slice, slice], softness_mm: float = 0.0) -> np.ndarray:
        """Share of each voxel of the box that lies inside the shape, 0 to 1, float32."""
        distance = shape.distance(self.x[box], self.y[box], self.z[box])
        return np.clip(0.5 - distance / (self.edge_mm + softness_mm), 0, 1).astype(np.float32)


def enlarge(coarse: np.ndarray, step: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Linear interpolation of values given at every ``step``-th voxel (first at voxel 0) to the full shape."""
    out = coarse.astype(np.float32)
    for axis, n in enumerate(shape):
        position = np.arange(n, dtype=np.float32) / step
        low = np.minimum(position.astype(int), out.shape[axis] - 2)
        weight_shape = [1, 1, 1]
        weight_shape[axis] = n
        weight = (position - low).reshape(weight_shape)
        out = np.take(out, low, axis) * (1 - weight) + np.take(out, low + 1, axis) * weight
    return out
