"""The PET around one position: a crop of it, its hills and the passes between them.

A *hill* is the set of voxels from which steepest ascent ends at the same summit (the catchment basins of the watershed
on the inverted image); a *pass* is the highest way from one hill to another. Both are looked for in a
sharpened image: the scanner's blur turns a weaker node that touches a strong one into a mere shoulder of it, and
taking the blur off in part gives the node its summit back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.geometry import Geometry, image_from_array, resample

FINEST_MM = 2.0
"""PET grids finer than this along an axis are worked on at this spacing: no scanner resolves more."""

SMOOTH_SIGMA_MM = 2.0
BLUR_SIGMA_MM = 4.5
SHARPENING = 6.0
"""Hills are looked for in ``fine + SHARPENING * (fine - blurred)`` of two Gaussians: unsharp masking."""

AIR_SUV = 0.1
SHELL_MM = (8.0, 20.0)
"""The background of a lesion is measured between these distances from it."""

CORNERS = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class Patch:
    """A part of the PET.

    Attributes:
        suv: zyx array, SUVbw in g/ml, float32; 0 where the PET holds no number.
        geometry: its grid.
        taken: boolean zyx array: voxels that belong to lesions already there.
        click: zyx index of the clicked voxel.
    """

    suv: np.ndarray
    geometry: Geometry
    taken: np.ndarray
    click: tuple[int, int, int]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Spacing in mm along z, y, x."""
        return self.geometry.spacing_zyx_mm

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return self.geometry.voxel_volume_ml

    def distance_mm(self, mask: np.ndarray) -> np.ndarray:
        """Distance of each voxel to the nearest voxel of ``mask``; infinite when the mask is empty."""
        if not mask.any():
            return np.full(mask.shape, np.inf, np.float32)
        return ndimage.distance_transform_edt(~mask, self.spacing).astype(np.float32)

    def distance_to_voxel_mm(self, zyx: tuple[int, int, int]) -> np.ndarray:
        """Distance of each voxel to one voxel."""
        axes = [((np.arange(n) - c) * s) ** 2 for n, c, s in zip(self.suv.shape, zyx, self.spacing, strict=True)]
        return np.sqrt(axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :]).astype(np.float32)


def patch_grid(pet: Geometry, point_lps_mm: np.ndarray, half_width_mm: float) -> Geometry:
    """The part of a PET's grid within ``half_width_mm`` of a position along its axes, coarsened where it is very fine.

    Coarsening keeps the axes and begins at the same corner.
    """
    ijk = pet.to_ijk(point_lps_mm)
    spacing, size = np.asarray(pet.spacing_mm), np.asarray(pet.size)
    reach = half_width_mm / spacing
    start = np.maximum(0, np.floor(ijk - reach)).astype(int)
    stop = np.minimum(size, np.ceil(ijk + reach).astype(int) + 1)
    part = pet.crop(tuple(start.tolist()), tuple((stop - start).tolist()))
    coarser = np.maximum(spacing, np.where(spacing < FINEST_MM - 0.25, FINEST_MM, 0))
    n = np.maximum(1, np.floor((np.asarray(part.size) - 1) * spacing / coarser + 1e-6).astype(int) + 1)
    return Geometry(tuple(n.tolist()), tuple(coarser.tolist()), part.origin_mm, part.direction)


def patch_suv(pet: sitk.Image, grid: Geometry) -> np.ndarray:
    """SUV on a grid from :func:`patch_grid`; averaged over the coarser voxels, 0 where there is no number."""
    geometry = Geometry.from_image(pet)
    start = np.rint(geometry.to_ijk(np.asarray(grid.origin_mm))).astype(int)
    step = np.asarray(grid.spacing_mm) / np.asarray(geometry.spacing_mm)
    stop = np.minimum(start + np.ceil((np.asarray(grid.size) - 1) * step).astype(int) + 1, geometry.size)
    box = tuple(slice(a, b) for a, b in zip(start[::-1], stop[::-1], strict=True))
    suv = sitk.GetArrayViewFromImage(pet)[box].astype(np.float32)
    np.nan_to_num(suv, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    if np.allclose(step, 1):
        return suv
    sigma = [0.35 * s if s > 1.01 else 0.0 for s in step[::-1]]
    part = geometry.crop(tuple(start.tolist()), tuple((stop - start).tolist()))
    return sitk.GetArrayFromImage(resample(image_from_array(ndimage.gaussian_filter(suv, sigma), part), grid))


def sharpened(suv: np.ndarray, spacing_zyx_mm: tuple[float, float, float], strength: float = SHARPENING) -> np.ndarray:
    """The PET with part of the scanner's blur taken off and its finest noise smoothed; float32."""
    fine, blurred = (
        ndimage.gaussian_filter(suv, [sigma / s for s in spacing_zyx_mm], mode="nearest", truncate=3.0)
        for sigma in (SMOOTH_SIGMA_MM, BLUR_SIGMA_MM)
    )
    return fine + np.float32(strength) * (fine - blurred)


def shell_background_suv(
    suv: np.ndarray, distance_mm: np.ndarray, threshold_suv: float, taken: np.ndarray
) -> float | None:
    """Background of a region: median uptake in a shell around it, without air, other lesions and what is hotter.

    Args:
        suv: zyx array in g/ml.
        distance_mm: of each voxel to the region.
        threshold_suv: the region's threshold; nothing above it counts.
        taken: boolean zyx array: voxels of other lesions.

    Returns:
        None where the shell holds nothing that counts.
    """
    shell = (distance_mm > SHELL_MM[0]) & (distance_mm < SHELL_MM[1]) & (suv < threshold_suv) & (suv > AIR_SUV)
    values = suv[shell & ~taken]
    return float(np.median(values)) if values.size else None


def region_above(suv: np.ndarray, threshold_suv: float, own: np.ndarray, free: np.ndarray) -> np.ndarray:
    """What lies at or above a threshold in ``free`` and is connected (26 neighbours) to voxels of ``own`` that do."""
    pieces, n = ndimage.label((suv >= threshold_suv) & free, CORNERS)
    kept = np.zeros(n + 1, bool)
    kept[np.unique(pieces[own])] = True
    kept[0] = False
    return kept[pieces]


class Hills:
    """The hills of an image and the passes between them.

    Attributes:
        number: zyx array, int32: the hill of each voxel, from 1; 0 outside ``domain``.
        summit: for each hill the image's highest value on it (index 0 unused).
        passes: for each pair of touching hills (a < b) the highest value at which one can walk from one to the other.
    """

    def __init__(self, image: np.ndarray, domain: np.ndarray, depth: float):
        """Args: the image, where to look, and the depth below which a dip between two summits is noise."""
        low = float(image[domain].min()) - 1.0 if domain.any() else 0.0
        inverted = sitk.GetImageFromArray(np.where(domain, -image, -low).astype(np.float32))
        found = sitk.MorphologicalWatershed(inverted, depth, markWatershedLine=False, fullyConnected=False)
        number = np.where(domain, sitk.GetArrayFromImage(found), 0).astype(np.int32)
        used = np.unique(number[number > 0])
        lookup = np.zeros(int(number.max()) + 1, np.int32)
        lookup[used] = np.arange(1, len(used) + 1)
        self.number = lookup[number]
        self.n = len(used)
        self.summit = np.full(self.n + 1, -np.inf, np.float32)
        np.maximum.at(self.summit, self.number.ravel(), image.ravel())
        self.passes = self._passes(image)

    def _passes(self, image: np.ndarray) -> dict[tuple[int, int], float]:
        keys, heights = [], []
        for axis in range(3):
            here = tuple(slice(0, -1) if a == axis else slice(None) for a in range(3))
            there = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
            a, b = self.number[here], self.number[there]
            edge = (a != b) & (a > 0) & (b > 0)
            a, b = a[edge].astype(np.int64), b[edge].astype(np.int64)
            keys.append(np.minimum(a, b) * (self.n + 1) + np.maximum(a, b))
            heights.append(np.minimum(image[here][edge], image[there][edge]))
        key, height = np.concatenate(keys), np.concatenate(heights)
        order = np.lexsort((height, key))
        key, height = key[order], height[order]
        last = np.flatnonzero(np.append(key[1:] != key[:-1], True)) if key.size else np.zeros(0, int)
        return {
            (int(k) // (self.n + 1), int(k) % (self.n + 1)): float(h)
            for k, h in zip(key[last], height[last], strict=True)
        }

    def neighbours(self) -> dict[int, dict[int, float]]:
        """For each hill the hills it touches and the height of the pass."""
        table: dict[int, dict[int, float]] = {n: {} for n in range(1, self.n + 1)}
        for (a, b), height in self.passes.items():
            table[a][b] = height
            table[b][a] = height
        return table
