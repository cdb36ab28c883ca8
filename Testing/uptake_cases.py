"""PET images of spheres with known borders: analytic activity, Gaussian blur of the scanner, smooth noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.geometry import Geometry, image_from_array, resample

FWHM_TO_SIGMA = 1 / np.sqrt(8 * np.log(2))
PET_SPACINGS_MM = ((2.0, 2.0, 2.0), (4.07, 4.07, 3.0), (4.07, 4.07, 5.0), (5.47, 5.47, 3.27), (2.73, 2.73, 3.27))
HALF_MM = 66.0
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
FINE_MM = 1.5


@dataclass(frozen=True)
class Sphere:
    """Centre in LPS mm, radius in mm, uptake in SUV."""

    center: np.ndarray
    radius: float
    suv: float

    def mask(self, geometry: Geometry) -> np.ndarray:
        """Voxels whose centre lies inside."""
        ijk = np.stack(np.indices(geometry.shape_zyx)[::-1], axis=-1)
        return np.linalg.norm(geometry.to_lps(ijk) - self.center, axis=-1) <= self.radius


def cube(spacing_mm, half_mm: float = HALF_MM, direction=IDENTITY) -> Geometry:
    """A grid centred at the origin."""
    size = tuple(int(2 * half_mm / s) for s in spacing_mm)
    origin = -np.reshape(direction, (3, 3)) @ [(n - 1) / 2 * s for n, s in zip(size, spacing_mm, strict=True)]
    return Geometry(size, tuple(spacing_mm), tuple(origin.tolist()), tuple(float(x) for x in direction))


def acquire(rng, spheres, geometry: Geometry, *, background=1.0, fwhm_mm=6.0, noise=0.06, body_mm=60.0) -> sitk.Image:
    """SUVbw of spheres in a cylindrical body along S: drawn on 1.5 mm voxels, blurred, sampled, noise added."""
    fine = cube((FINE_MM,) * 3)
    z, y, x = np.meshgrid(
        *[np.arange(n) * FINE_MM + fine.origin_mm[0] for n in fine.shape_zyx], indexing="ij", sparse=True
    )
    activity = np.where(np.broadcast_to(np.hypot(x, y) < body_mm, fine.shape_zyx), background, 0.02)
    for sphere in spheres:
        cx, cy, cz = sphere.center
        inside = np.clip(0.5 - (np.sqrt((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) - sphere.radius) / FINE_MM, 0, 1)
        activity = activity * (1 - inside) + sphere.suv * inside
    blurred = ndimage.gaussian_filter(activity.astype(np.float32), fwhm_mm * FWHM_TO_SIGMA / FINE_MM)
    suv = sitk.GetArrayFromImage(resample(image_from_array(blurred, fine), geometry))
    grain = ndimage.gaussian_filter(rng.normal(size=suv.shape), [max(0.4, 1.7 / s) for s in geometry.spacing_zyx_mm])
    suv = suv + noise * np.maximum(suv, 0) ** 0.75 * grain / grain.std()
    return image_from_array(np.maximum(suv, 0).astype(np.float32), geometry)


def direction(rng) -> np.ndarray:
    """A unit vector."""
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def scanner(rng) -> dict:
    """Voxels, blur and noise at random."""
    geometry = cube(PET_SPACINGS_MM[rng.integers(len(PET_SPACINGS_MM))])
    return {
        "geometry": geometry,
        "fwhm_mm": rng.uniform(4.5, 7.5),
        "noise": np.exp(rng.uniform(np.log(0.03), np.log(0.15))),
    }


def touching_nodes(rng) -> list[Sphere]:
    """Three nodes in a row, neighbours touch (0 to 1.5 mm apart) and differ by a factor 4 in uptake."""
    low, radii, gap = rng.uniform(3, 5), rng.uniform(6, 12, 3), rng.uniform(0, 1.5)
    middle = direction(rng) * (radii[0] + radii[1] + gap)
    while True:
        last = middle + direction(rng) * (radii[1] + radii[2] + gap)
        if np.linalg.norm(last) > radii[0] + radii[2] + 5:
            break
    suvs = (low, 4 * low, low) if rng.random() < 0.5 else (4 * low, low, 4 * low)
    return [Sphere(c, r, s) for c, r, s in zip((np.zeros(3), middle, last), radii, suvs, strict=True)]


def node_beside_hot_tissue(rng) -> list[Sphere]:
    """A node of SUV 4 to 5, and 0 to 4 mm beside it tissue of SUV 7 to 16 up to six times as large."""
    radius, large, gap = rng.uniform(6, 12), rng.uniform(10, 22), rng.uniform(0, 4)
    hot = Sphere(direction(rng) * (radius + large + gap), large, rng.uniform(7, 16))
    return [Sphere(np.zeros(3), radius, rng.uniform(4, 5)), hot]


def click_in(rng, sphere: Sphere) -> tuple[float, float, float]:
    """A position in the inner 60 % of the radius."""
    return tuple((sphere.center + direction(rng) * rng.uniform(0, 0.6) * sphere.radius).tolist())


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two boolean arrays."""
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))
