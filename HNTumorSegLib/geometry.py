"""Where the voxels of an image lie: the one place for grid arithmetic.

Everything is in the patient's LPS millimetres, as DICOM and SimpleITK have it; only ``mrml/`` knows RAS.
Arrays are indexed zyx (SimpleITK's ``GetArrayFromImage``), sizes and spacings are given xyz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import GeometryError

SAME_GRID_TOLERANCE_MM = 1e-3
"""Two grids are the same when no corner voxel lies further apart than this. Files store spacings to about 1e-6."""


@dataclass(frozen=True)
class Geometry:
    """The grid of an image.

    Attributes:
        size: number of voxels along x, y, z (index order i, j, k).
        spacing_mm: distance between voxel centres along i, j, k.
        origin_mm: LPS position of the centre of voxel (0, 0, 0).
        direction: 9 numbers, row-major 3x3; column ``a`` is the LPS unit vector of index axis ``a``.
    """

    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    direction: tuple[float, ...]

    @classmethod
    def from_image(cls, image: sitk.Image) -> Geometry:
        """The grid of a 3-D SimpleITK image."""
        if image.GetDimension() != 3:
            raise GeometryError(f"The image has {image.GetDimension()} dimensions; a 3-D volume is needed.")
        return cls(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Shape of a numpy array on this grid."""
        return self.size[::-1]

    @property
    def spacing_zyx_mm(self) -> tuple[float, float, float]:
        """Spacing in the order of the array's axes."""
        return self.spacing_mm[::-1]

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    def ijk_to_lps(self) -> np.ndarray:
        """4x4 matrix from voxel indices (i, j, k) to LPS millimetres."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.reshape(self.direction, (3, 3)) * np.asarray(self.spacing_mm)
        matrix[:3, 3] = self.origin_mm
        return matrix

    def to_lps(self, ijk: np.ndarray) -> np.ndarray:
        """LPS positions, shape (..., 3), of index positions (i, j, k), shape (..., 3)."""
        matrix = self.ijk_to_lps()
        return np.asarray(ijk, float) @ matrix[:3, :3].T + matrix[:3, 3]

    def to_ijk(self, lps_mm: np.ndarray) -> np.ndarray:
        """Continuous index positions (i, j, k), shape (..., 3), of LPS positions, shape (..., 3)."""
        inverse = np.linalg.inv(self.ijk_to_lps())
        return np.asarray(lps_mm, float) @ inverse[:3, :3].T + inverse[:3, 3]

    def corners_mm(self) -> np.ndarray:
        """LPS positions of the centres of the eight corner voxels, shape (8, 3)."""
        ends = [(0, n - 1) for n in self.size]
        return self.to_lps(np.array([(i, j, k) for i in ends[0] for j in ends[1] for k in ends[2]]))

    def bounds_mm(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest LPS coordinate reached by the voxels' outer faces, two arrays of 3."""
        ends = [(-0.5, n - 0.5) for n in self.size]
        faces = self.to_lps(np.array([(i, j, k) for i in ends[0] for j in ends[1] for k in ends[2]]))
        return faces.min(axis=0), faces.max(axis=0)

    def distance_mm(self, other: Geometry) -> float:
        """Largest distance between corresponding corner voxels; infinite when the sizes differ."""
        if self.size != other.size:
            return float("inf")
        return float(np.linalg.norm(self.corners_mm() - other.corners_mm(), axis=1).max())

    def require_same(self, other: Geometry, what: str, tolerance_mm: float = SAME_GRID_TOLERANCE_MM) -> None:
        """Raise :class:`GeometryError` naming ``what`` unless both grids are the same."""
        distance = self.distance_mm(other)
        if distance > tolerance_mm:
            raise GeometryError(
                f"{what}: the grids differ ({self.describe()} against {other.describe()}, corners up to "
                f"{distance:.4g} mm apart). Resample one onto the other first."
            )

    def describe(self) -> str:
        """Size and spacing in words, for messages."""
        size = "x".join(str(n) for n in self.size)
        spacing = " x ".join(f"{s:.4g}" for s in self.spacing_mm)
        return f"{size} voxels of {spacing} mm"

    def axis_aligned(self, spacing_mm: float) -> Geometry:
        """The isotropic grid along L, P and S that covers this one.

        Networks see every patient in this orientation, whatever way the scanner stored the voxels.
        """
        low, high = self.bounds_mm()
        size = np.maximum(1, np.ceil((high - low) / spacing_mm - 1e-6)).astype(int)
        # Centred, so that the rounding up is shared between both sides.
        origin = (low + high) / 2 - (size - 1) / 2 * spacing_mm
        return Geometry(
            tuple(int(n) for n in size),
            (float(spacing_mm),) * 3,
            tuple(float(x) for x in origin),
            tuple(float(x) for x in np.eye(3).ravel()),
        )

    def crop(self, start_ijk: tuple[int, int, int], size: tuple[int, int, int]) -> Geometry:
        """The part of this grid that begins at voxel ``start_ijk``; it may reach beyond the grid (padding)."""
        origin = self.to_lps(np.asarray(start_ijk, float))
        return Geometry(tuple(int(n) for n in size), self.spacing_mm, tuple(origin.tolist()), self.direction)


def image_from_array(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    """A SimpleITK image of ``array`` (zyx) on ``geometry``; boolean arrays become unsigned 8-bit."""
    if array.shape != geometry.shape_zyx:
        raise GeometryError(f"An array of shape {array.shape} does not fit a grid of shape {geometry.shape_zyx} (zyx).")
    image = sitk.GetImageFromArray(array.astype(np.uint8) if array.dtype == bool else array)
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction)
    return image


def resample(image: sitk.Image, geometry: Geometry, *, nearest: bool = False, outside: float = 0.0) -> sitk.Image:
    """``image`` on another grid: linear for values, nearest for labels; ``outside`` where the image does not reach.

    The pixel type is kept, so pass floats where fractions matter.
    """
    return sitk.Resample(
        image,
        geometry.size,
        sitk.Transform(),
        sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear,
        geometry.origin_mm,
        geometry.spacing_mm,
        geometry.direction,
        outside,
        image.GetPixelID(),
    )


def overlap_fraction(inner: Geometry, outer: Geometry) -> float:
    """Share of ``inner``'s axis-aligned bounding box that lies in ``outer``'s, 0 to 1."""
    low_a, high_a = inner.bounds_mm()
    low_b, high_b = outer.bounds_mm()
    common = np.clip(np.minimum(high_a, high_b) - np.maximum(low_a, low_b), 0, None)
    return float(np.prod(common) / np.prod(high_a - low_a))
