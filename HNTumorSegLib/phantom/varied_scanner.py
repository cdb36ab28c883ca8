"""What scanners make of the varied families: blur, ringing, grain, scatter, artefacts, misregistration, table.

The noise of OSEM images grows with activity and with the attenuation along the lines of response, so it is strongest
between the shoulders, where it also lies in streaks from side to side; point-spread reconstruction overshoots at edges
(Rahmim et al., Med Phys 2013;40:064301). Dental metal makes the CT too dense, and the attenuation correction then
too strong or, in the dark streaks, too weak (Goerres et al., Eur J Nucl Med Mol Imaging 2002;29:367; the error of
uptake reaches 30 %: Schäfers et al., Nuklearmedizin 2006;45:219).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.geometry import Geometry, image_from_array, resample
from HNTumorSegLib.phantom.family import Family
from HNTumorSegLib.phantom.fields import smooth_noise
from HNTumorSegLib.phantom.scanner import CT_SLICES_MM, FWHM_TO_SIGMA, PET_GRIDS, Scanner, _add_streaks

ECONOMY_FIELD_MM, WHOLE_BODY_FIELD_MM = 380.0, 500.0
ECONOMY_CT_PIXEL_MM = 2.5
ECONOMY_LEAST_PIXEL_MM = 2.5


@dataclass(frozen=True)
class VariedScanner(Scanner):
    """A scanner with the habits of its reconstruction.

    ``ringing`` is the overshoot at edges; ``streaky`` the share of noise that lies in lateral streaks; ``halo`` the
    share of activity that scatter spreads widely; ``slice_noise`` the relative change from slice to slice;
    ``shift_mm`` and ``local_shift_mm`` how far the CT lies from the PET; ``ct_blur_mm`` the CT's kernel.
    """

    ringing: float = 0.0
    streaky: float = 0.0
    halo: float = 0.0
    slice_noise: float = 0.0
    ct_blur_mm: float = 1.0
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift_deg: float = 0.0
    local_shift_mm: float = 0.0
    metal_error: float = 0.0


def draw_varied_scanner(rng: np.random.Generator, family: Family, economy: bool, whole_body: bool) -> VariedScanner:
    """A scanner of the family; ``economy`` as in :func:`make_patient`."""
    pixel, slice_mm, matrix = PET_GRIDS[int(rng.integers(len(PET_GRIDS)))]
    field_mm = WHOLE_BODY_FIELD_MM if whole_body else ECONOMY_FIELD_MM
    if economy:
        # Finer voxels carry nothing more at this blur, they only take time.
        pixel, slice_mm = max(pixel, ECONOMY_LEAST_PIXEL_MM), max(slice_mm, ECONOMY_LEAST_PIXEL_MM)
        matrix = min(matrix, int(field_mm / pixel))
    direction = rng.standard_normal(3)
    shift = direction / np.linalg.norm(direction) * rng.uniform(*family.shift_mm) * rng.uniform(0.3, 1.0)
    low, high = np.log(family.noise)
    blur = rng.uniform(*family.blur_mm)
    return VariedScanner(
        pet_pixel_mm=pixel,
        pet_slice_mm=slice_mm,
        pet_matrix=matrix,
        ct_pixel_mm=ECONOMY_CT_PIXEL_MM if economy else float(rng.choice((0.977, 1.17, 1.37))),
        ct_slice_mm=float(rng.choice((2.5, 3.0, 3.75, 5.0) if economy else CT_SLICES_MM)),
        ct_matrix=int(field_mm / ECONOMY_CT_PIXEL_MM) if economy else 512,
        blur_mm=blur,
        noise=float(np.exp(rng.uniform(low, high))),
        noise_grain_mm=float(np.clip(blur * rng.uniform(0.65, 1.1), 2.5, 8.0)),
        ct_noise_hu=rng.uniform(4, 35),
        streak_hu=rng.uniform(150, 900) if rng.random() < 0.3 else 0.0,
        suv_bias=1 + rng.uniform(-family.suv_error, family.suv_error),
        ringing=rng.uniform(0.2, 0.8) if rng.random() < 0.35 else 0.0,
        streaky=rng.uniform(0.0, 0.6),
        halo=rng.uniform(0.0, 0.04),
        slice_noise=rng.uniform(0.0, 0.04),
        ct_blur_mm=rng.uniform(0.5, 3.0),
        shift_mm=tuple(shift.tolist()),
        shift_deg=rng.normal(0, 0.6),
        local_shift_mm=rng.uniform(0, 0.5) * family.shift_mm[1],
        metal_error=rng.uniform(-0.3, 0.3) if rng.random() < 0.3 else 0.0,
    )


def acquire_varied_pet(
    activity: np.ndarray,
    inside: np.ndarray,
    tissue: Geometry,
    grid: Geometry,
    scanner: VariedScanner,
    rng: np.random.Generator,
    metal_mm: list[np.ndarray],
) -> sitk.Image:
    """The PET (SUVbw, float32) on ``grid``.

    Args:
        activity: noise-free SUV on the tissue grid, zyx.
        inside: which voxels of the tissue grid lie in the body.
        tissue, grid: geometry of the tissue and of the PET.
        scanner: its habits.
        rng: source of the noise.
        metal_mm: LPS positions of dental metal.
    """
    spacing = tissue.spacing_zyx_mm
    sigma = [scanner.blur_mm * FWHM_TO_SIGMA / s for s in spacing]
    blurred = ndimage.gaussian_filter(activity, sigma, truncate=3.0)
    if scanner.ringing:
        blurred += scanner.ringing * (
            blurred - ndimage.gaussian_filter(blurred, [1.4 * s for s in sigma], truncate=2.5)
        )
    if scanner.halo:
        blurred += scanner.halo * _wide_blur(blurred, 30.0, spacing)
    if scanner.metal_error:
        blurred *= _metal_gain(tissue, metal_mm, scanner.metal_error, rng)
    blurred *= 1 + scanner.slice_noise * rng.standard_normal((len(blurred), 1, 1), dtype=np.float32)
    noise = _noise(inside, spacing, scanner, rng)
    # In iterative reconstructions noise follows activity, less than in proportion where there is much of it.
    level = np.maximum(blurred, 0.02)
    np.power(level, np.float32(0.65), out=level)
    blurred += scanner.noise * noise * level
    pet = image_from_array(np.maximum(blurred, 0), tissue)
    array = sitk.GetArrayFromImage(resample(pet, grid))
    return image_from_array((array * scanner.suv_bias).astype(np.float32), grid)


def _noise(
    inside: np.ndarray, spacing: tuple[float, ...], scanner: VariedScanner, rng: np.random.Generator
) -> np.ndarray:
    """Correlated noise, stronger where the body is thick, partly in streaks from side to side."""
    grain = np.array([max(0.4, scanner.noise_grain_mm * FWHM_TO_SIGMA / s) for s in spacing])
    noise = smooth_noise(rng, inside.shape, tuple(grain))
    width = inside.any(axis=1).sum(axis=1) * spacing[2]
    shoulders = np.clip((ndimage.gaussian_filter1d(width.astype(float), 4) - 180) / 200, 0, 1.2)
    if scanner.streaky and shoulders.max() > 0.05:
        long = smooth_noise(rng, inside.shape, tuple(grain * (0.8, 0.9, 3.5)))
        share = (scanner.streaky * np.minimum(shoulders, 1))[:, None, None].astype(np.float32)
        noise = (noise + share * (long - noise)) / np.sqrt((1 - share) ** 2 + share**2)
    noise *= (0.8 + 0.7 * shoulders).astype(np.float32)[:, None, None]
    return noise


def _wide_blur(array: np.ndarray, sigma_mm: float, spacing: tuple[float, ...]) -> np.ndarray:
    """A wide Gaussian blur, worked out on every fourth voxel."""
    small = ndimage.uniform_filter(array, 4)[::4, ::4, ::4]
    small = ndimage.gaussian_filter(small, [sigma_mm / (4 * s) for s in spacing], truncate=2.5)
    out = small
    for axis, n in enumerate(array.shape):
        position = np.clip(np.arange(n, dtype=np.float32) / 4, 0, small.shape[axis] - 1)
        low = np.minimum(position.astype(int), max(small.shape[axis] - 2, 0))
        weight = (position - low).reshape([-1 if a == axis else 1 for a in range(3)])
        high = np.minimum(low + 1, small.shape[axis] - 1)
        out = np.take(out, low, axis) * (1 - weight) + np.take(out, high, axis) * weight
    return out.astype(np.float32)


def _metal_gain(tissue: Geometry, metal_mm: list[np.ndarray], error: float, rng: np.random.Generator) -> np.ndarray:
    """Relative error of the attenuation correction around dental metal, 1 where there is none."""
    gain = np.ones(tissue.shape_zyx, np.float32)
    for position in metal_mm:
        i, j, k = tissue.to_ijk(position)
        z, y, x = np.ogrid[: gain.shape[0], : gain.shape[1], : gain.shape[2]]
        step = tissue.spacing_mm[0]
        near = np.exp(-(((x - i) * step / 14) ** 2 + ((y - j) * step / 10) ** 2)) * np.exp(-(((z - k) * step / 5) ** 2))
        gain += (error * rng.uniform(0.3, 1.0) * near).astype(np.float32)
    return np.clip(gain, 0.4, 1.8)


def acquire_varied_ct(
    density: np.ndarray,
    tissue: Geometry,
    grid: Geometry,
    scanner: VariedScanner,
    rng: np.random.Generator,
    metal_mm: list[np.ndarray],
) -> sitk.Image:
    """The CT (HU, int16) on ``grid`` of densities on the tissue grid, shifted against the PET."""
    sigma = [scanner.ct_blur_mm * FWHM_TO_SIGMA / s for s in tissue.spacing_zyx_mm]
    smooth = ndimage.gaussian_filter(density, sigma, truncate=3.0)
    moved = sitk.Resample(
        image_from_array(smooth, tissue),
        list(grid.size),
        _misregistration(tissue, scanner, rng),
        sitk.sitkLinear,
        grid.origin_mm,
        grid.spacing_mm,
        grid.direction,
        -1000.0,
        sitk.sitkFloat32,
    )
    ct = sitk.GetArrayFromImage(moved)
    grain = tuple(max(0.4, rng.uniform(0.9, 1.6) / s) for s in grid.spacing_zyx_mm)
    noise = smooth_noise(rng, grid.shape_zyx, grain)
    thick = np.mean(ct > -300, axis=(1, 2))
    noise *= (0.7 + 1.5 * thick / max(float(thick.max()), 1e-6))[:, None, None].astype(np.float32)
    ct += scanner.ct_noise_hu * noise
    if scanner.streak_hu and metal_mm:
        _add_streaks(ct, grid, metal_mm, scanner.streak_hu, rng)
    return image_from_array(np.clip(np.rint(ct), -1024, 3071).astype(np.int16), grid)


def _misregistration(tissue: Geometry, scanner: VariedScanner, rng: np.random.Generator) -> sitk.Transform:
    """CT position -> PET position: a rigid step and a soft local one (swallowing, the neck between the two scans)."""
    low, high = tissue.bounds_mm()
    middle = (low + high) / 2
    rigid = sitk.Euler3DTransform(middle.tolist(), np.radians(scanner.shift_deg), 0.0, 0.0, scanner.shift_mm)
    if not scanner.local_shift_mm:
        return rigid
    nodes = [max(4, int(n)) for n in np.ceil((high - low) / 35)]
    steps = (high - low) / (np.array(nodes) - 1)
    field = np.stack([smooth_noise(rng, tuple(nodes[::-1]), (0.8,) * 3) for _ in range(3)], axis=-1)
    image = sitk.GetImageFromArray((scanner.local_shift_mm * field).astype(np.float64), isVector=True)
    image.SetSpacing(steps.tolist())
    image.SetOrigin(low.tolist())
    return sitk.CompositeTransform([rigid, sitk.DisplacementFieldTransform(image)])
