"""SUV indices of one lesion: SUVmax, SUVmean, SUVpeak, median and standard deviation.

SUVpeak is the highest mean SUV of a 1 ml sphere (radius 6.204 mm) whose centre lies on a voxel of the lesion, after
PERCIST (Wahl et al., J Nucl Med 2009;50:122S) and the "global intensity peak" of the IBSI reference manual (0F91). The
sphere may reach beyond the lesion, but not beyond the image. Voxels on the sphere's surface count with the
fraction of them that lies inside, so that coarse and fine grids give comparable values.

Two further rules for the sphere's place are in use (:class:`FurtherIndices`): wholly inside the lesion, so that no
tissue around it is averaged in (not defined for lesions that hold no such sphere), and centred on the hottest voxel
(IBSI's "local intensity peak", VJGA). Always: inside <= SUVpeak, at the maximum <= SUVpeak <= SUVmax of the
surroundings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft

PEAK_VOLUME_ML = 1.0
PEAK_RADIUS_MM = (3 * PEAK_VOLUME_ML * 1000 / (4 * np.pi)) ** (1 / 3)
"""6.204 mm: the radius of a sphere of 1 ml."""

_SAMPLE_MM = 0.2
"""Voxels of the sphere are cut into cubes of at most this edge; the sphere's volume is then right to about 0.1 %."""


@dataclass(frozen=True)
class SuvIndices:
    """SUV indices in g/ml; None where an index is not defined."""

    suv_max: float | None
    suv_mean: float | None
    suv_peak: float | None


@lru_cache(maxsize=16)
def sphere_fractions(spacing_zyx_mm: tuple[float, float, float], radius_mm: float = PEAK_RADIUS_MM) -> np.ndarray:
    """Fraction of each voxel that lies in a sphere around the middle voxel's centre.

    Returns:
        zyx array of odd edges, 0 to 1; times the voxel volume it sums to the sphere's volume (to about 0.1 %).
    """
    squares = []
    for spacing in spacing_zyx_mm:
        half = max(0, int(np.ceil(radius_mm / spacing - 0.5)))
        parts = max(1, int(np.ceil(spacing / _SAMPLE_MM)))
        within = (np.arange(parts) + 0.5) / parts - 0.5
        squares.append(((np.arange(-half, half + 1)[:, None] + within) * spacing) ** 2)
    z, y, x = squares
    plane = y[:, :, None, None] + x[None, None]
    fractions = np.empty((len(z), len(y), len(x)))
    for k, samples in enumerate(z):
        counts = sum(((plane + sample) <= radius_mm**2).sum(axis=(1, 3)) for sample in samples)
        fractions[k] = counts / (z.shape[1] * y.shape[1] * x.shape[1])
    fractions.setflags(write=False)
    return fractions


def peak_margin(spacing_zyx_mm: tuple[float, float, float]) -> tuple[int, int, int]:
    """How many voxels along z, y, x the sphere reaches beyond its centre."""
    return tuple(n // 2 for n in sphere_fractions(spacing_zyx_mm).shape)


def suv_indices(suv: np.ndarray, mask: np.ndarray, spacing_zyx_mm: tuple[float, float, float]) -> SuvIndices:
    """SUV indices of one lesion.

    Args:
        suv: zyx array in g/ml: the lesion's box with at least :func:`peak_margin` voxels around the lesion; NaN where
            the image does not reach.
        mask: boolean zyx array of the same shape.
        spacing_zyx_mm: voxel size along z, y, x.

    Returns:
        All None for an empty mask. ``suv_peak`` is None when the sphere reaches beyond the image wherever it is put.
    """
    if not mask.any():
        return SuvIndices(None, None, None)
    inside = suv[mask].astype(float)
    peak = _highest(peak_means(suv, mask, spacing_zyx_mm))
    return SuvIndices(float(inside.max()), float(inside.mean()), peak)


@dataclass(frozen=True)
class FurtherIndices:
    """More SUV indices in g/ml; None where an index is not defined.

    Attributes:
        suv_median: of the lesion's voxels (the mean of the two middle ones when their number is even).
        suv_std: standard deviation of the population, 0 for one voxel (IBSI's variance, CH89).
        suv_peak_inside: the highest mean of a 1 ml sphere that lies wholly inside the lesion.
        suv_peak_at_max: the mean of the 1 ml sphere centred on the hottest voxel; of equally hot ones the highest mean.
    """

    suv_median: float | None = None
    suv_std: float | None = None
    suv_peak_inside: float | None = None
    suv_peak_at_max: float | None = None


def further_indices(suv: np.ndarray, mask: np.ndarray, spacing_zyx_mm: tuple[float, float, float]) -> FurtherIndices:
    """The further SUV indices of one lesion; arguments as for :func:`suv_indices`. All None for an empty mask."""
    if not mask.any():
        return FurtherIndices()
    values = suv[mask].astype(float)
    means = peak_means(suv, mask, spacing_zyx_mm)
    touched = (sphere_fractions(spacing_zyx_mm) > 0).astype(float)
    enclosed = mask & (_convolve((~mask).astype(float), touched) < 0.5)
    return FurtherIndices(
        suv_median=float(np.median(values)),
        suv_std=float(values.std()),
        suv_peak_inside=_highest(means[enclosed]),
        suv_peak_at_max=_highest(means[mask & (suv == values.max())]),
    )


def peak_means(suv: np.ndarray, mask: np.ndarray, spacing_zyx_mm: tuple[float, float, float]) -> np.ndarray:
    """Mean of the 1 ml sphere around each voxel of the mask; NaN elsewhere and where it reaches beyond the image."""
    fractions = sphere_fractions(spacing_zyx_mm)
    weights = fractions / fractions.sum()
    known = np.isfinite(suv)
    centres = mask.copy()
    border = np.zeros(suv.shape, bool)
    border[tuple(slice(n // 2, size - n // 2) for n, size in zip(fractions.shape, suv.shape, strict=True))] = True
    centres &= border
    if not known.all():
        centres &= _convolve((~known).astype(float), (fractions > 0).astype(float)) < 0.5
    if not centres.any():
        return np.full(suv.shape, np.nan)
    return np.where(centres, _convolve(np.where(known, suv, 0.0).astype(float), weights), np.nan)


def _highest(means: np.ndarray) -> float | None:
    """The highest that is known; None when none is."""
    known = means[np.isfinite(means)]
    return float(known.max()) if known.size else None


def _convolve(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolution with a symmetric kernel of odd edges, zero beyond the array; the result has the array's shape."""
    full = [n + k - 1 for n, k in zip(values.shape, kernel.shape, strict=True)]
    fast = [fft.next_fast_len(n, real=True) for n in full]
    product = fft.rfftn(values, fast) * fft.rfftn(kernel, fast)
    start = [k // 2 for k in kernel.shape]
    return fft.irfftn(product, fast)[tuple(slice(s, s + n) for s, n in zip(start, values.shape, strict=True))]
