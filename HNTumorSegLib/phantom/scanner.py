"""What a PET/CT scanner makes of a patient: voxel sizes, field of view, blur, noise, streaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.geometry import Geometry, image_from_array, resample
from HNTumorSegLib.phantom.fields import smooth_noise

FWHM_TO_SIGMA = 1 / 2.3548

# Transaxial pixel, slice distance and matrix of PET reconstructions in common use.
PET_GRIDS = [
    (4.07, 3.0, 168),
    (4.07, 5.0, 168),
    (5.47, 3.27, 128),
    (3.65, 3.27, 192),
    (2.73, 3.27, 256),
    (4.0, 4.0, 144),
    (2.04, 2.0, 400),
    (4.69, 3.27, 128),
    (3.18, 3.0, 220),
    (1.65, 2.0, 440),
]
CT_SLICES_MM = (1.5, 2.0, 2.5, 3.0, 3.27, 3.75, 5.0)
ECONOMY_FIELD_MM = 400.0
ECONOMY_CT_PIXEL_MM = 2.5
IDENTITY = tuple(float(x) for x in np.eye(3).ravel())


@dataclass(frozen=True)
class Scanner:
    """One scanner with its settings.

    ``noise`` is the relative noise of SUV 1; ``blur_mm`` the point-spread function's full width at half maximum.
    """

    pet_pixel_mm: float
    pet_slice_mm: float
    pet_matrix: int
    ct_pixel_mm: float
    ct_slice_mm: float
    ct_matrix: int
    blur_mm: float
    noise: float
    noise_grain_mm: float
    ct_noise_hu: float
    streak_hu: float
    suv_bias: float

    def pet_grid(self, center_xy_mm: tuple[float, float], z_low_mm: float, z_high_mm: float) -> Geometry:
        """The PET's grid between two axial positions."""
        return _grid(self.pet_pixel_mm, self.pet_slice_mm, self.pet_matrix, center_xy_mm, z_low_mm, z_high_mm)

    def ct_grid(self, center_xy_mm: tuple[float, float], z_low_mm: float, z_high_mm: float) -> Geometry:
        """The CT's grid between two axial positions."""
        return _grid(self.ct_pixel_mm, self.ct_slice_mm, self.ct_matrix, center_xy_mm, z_low_mm, z_high_mm)


def _grid(
    pixel_mm: float, slice_mm: float, matrix: int, center_xy_mm: tuple[float, float], low_mm: float, high_mm: float
) -> Geometry:
    slices = max(2, round((high_mm - low_mm) / slice_mm))
    half = (matrix - 1) / 2 * pixel_mm
    origin = (center_xy_mm[0] - half, center_xy_mm[1] - half, low_mm + slice_mm / 2)
    return Geometry((matrix, matrix, slices), (pixel_mm, pixel_mm, slice_mm), origin, IDENTITY)


def draw_scanner(rng: np.random.Generator, economy: bool = False) -> Scanner:
    """A scanner at random; ``economy`` keeps the PET's voxels but narrows its field of view and coarsens the CT."""
    pixel, slice_mm, matrix = PET_GRIDS[int(rng.integers(len(PET_GRIDS)))]
    ct_pixel = float(rng.choice((0.977, 1.17, 1.37)))
    return Scanner(
        pet_pixel_mm=pixel,
        pet_slice_mm=slice_mm,
        pet_matrix=min(matrix, int(ECONOMY_FIELD_MM / pixel)) if economy else matrix,
        ct_pixel_mm=ECONOMY_CT_PIXEL_MM if economy else ct_pixel,
        ct_slice_mm=float(rng.choice(CT_SLICES_MM)),
        ct_matrix=int(ECONOMY_FIELD_MM / ECONOMY_CT_PIXEL_MM) if economy else 512,
        blur_mm=rng.uniform(4.0, 8.0),
        noise=float(np.exp(rng.uniform(np.log(0.03), np.log(0.25)))),
        noise_grain_mm=rng.uniform(2.5, 5.0),
        ct_noise_hu=rng.uniform(4, 30),
        streak_hu=rng.uniform(150, 700) if rng.random() < 0.3 else 0.0,
        suv_bias=float(np.exp(rng.normal(0, 0.08))),
    )


def acquire_pet(activity: sitk.Image, grid: Geometry, scanner: Scanner, rng: np.random.Generator) -> sitk.Image:
    """The PET (SUVbw, float32) on ``grid`` of a noise-free activity image (SUV) on a fine isotropic grid."""
    array = sitk.GetArrayFromImage(activity)
    spacing = np.asarray(Geometry.from_image(activity).spacing_zyx_mm)
    array = ndimage.gaussian_filter(array, scanner.blur_mm * FWHM_TO_SIGMA / spacing, truncate=3.0)
    blurred = image_from_array(array, Geometry.from_image(activity))
    pet = sitk.GetArrayFromImage(resample(blurred, grid))
    grain = tuple(max(0.4, scanner.noise_grain_mm * FWHM_TO_SIGMA / s) for s in grid.spacing_zyx_mm)
    noise = smooth_noise(rng, grid.shape_zyx, grain)
    # Noise of iterative reconstructions grows faster than the square root of activity, slower than activity itself.
    pet = pet + scanner.noise * np.maximum(pet, 0) ** np.float32(0.75) * noise
    return image_from_array((np.maximum(pet, 0) * scanner.suv_bias).astype(np.float32), grid)


def acquire_ct(
    density: sitk.Image, grid: Geometry, scanner: Scanner, rng: np.random.Generator, metal_mm: list[np.ndarray]
) -> sitk.Image:
    """The CT (HU, int16) on ``grid``; ``metal_mm`` are LPS positions of dental metal that throws streaks."""
    ct = sitk.GetArrayFromImage(resample(density, grid, outside=-1000.0))
    grain = tuple(max(0.5, 1.2 / s) for s in grid.spacing_zyx_mm)
    ct += scanner.ct_noise_hu * smooth_noise(rng, grid.shape_zyx, grain)
    if scanner.streak_hu and metal_mm:
        _add_streaks(ct, grid, metal_mm, scanner.streak_hu, rng)
    return image_from_array(np.clip(np.rint(ct), -1024, 3071).astype(np.int16), grid)


def _add_streaks(
    ct: np.ndarray, grid: Geometry, metal_mm: list[np.ndarray], strength_hu: float, rng: np.random.Generator
) -> None:
    """Bright and dark rays in the slices around each piece of metal, in place."""
    for position in metal_mm:
        i0, j0, k0 = grid.to_ijk(position)
        reach = int(np.ceil(5.0 / grid.spacing_mm[2]))
        low, high = max(0, int(k0) - reach), min(ct.shape[0], int(k0) + reach + 1)
        if low >= high:
            continue
        y = (np.arange(ct.shape[1]) - j0)[:, None] * grid.spacing_mm[1]
        x = (np.arange(ct.shape[2]) - i0)[None, :] * grid.spacing_mm[0]
        angle, radius = np.arctan2(y, x), np.hypot(x, y)
        rays = sum(np.sin(n * angle + rng.uniform(0, 6.3)) for n in (2, 5, 9, 14)) / 2
        streak = (strength_hu * rays * np.exp(-radius / 45) * (radius > 3)).astype(np.float32)
        for k in range(low, high):
            ct[k] += streak * np.exp(-((((k - k0) * grid.spacing_mm[2]) / 4) ** 2))
        metal = radius < 3
        ct[max(0, int(k0)) : int(k0) + 1, metal] = 3000
