"""Smooth random fields: the wobble of organs, the texture of tissues."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


class Lattice:
    """A smooth random function of position: random numbers on a coarse lattice, interpolated between.

    The same object gives the same value at the same place on any grid, so a lesion has one shape whether it is drawn
    on the CT's, the PET's or the network's voxels.

    Args:
        rng: source of the numbers.
        period_mm: lattice spacing; about half the wavelength.
        components: number of independent values at each place.
        reach_mm: half the side of the cube of lattice points; the pattern repeats beyond it.
    """

    def __init__(self, rng: np.random.Generator, period_mm: float, components: int = 1, reach_mm: float = 400.0):
        n = int(np.clip(np.ceil(2 * reach_mm / period_mm), 4, 48))
        self.period_mm = period_mm
        values = rng.standard_normal((components, n, n, n)).astype(np.float32)
        # Linear interpolation between white lattice points shows creases; one smoothing step hides them.
        smooth = np.stack([ndimage.gaussian_filter(v, 0.7, mode="wrap") for v in values])
        self.values = smooth / smooth.std()

    def __call__(self, x: np.ndarray, y: np.ndarray, z: np.ndarray, component: int = 0) -> np.ndarray:
        """Values (about standard normal) at LPS positions; the arrays broadcast against each other."""
        coordinates = np.broadcast_arrays(z, y, x)
        scaled = np.stack([c / self.period_mm for c in coordinates]).astype(np.float32)
        return ndimage.map_coordinates(self.values[component], scaled, order=1, mode="grid-wrap")


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma_voxels: tuple[float, ...]) -> np.ndarray:
    """Gaussian noise of unit standard deviation, correlated over ``sigma_voxels``; zyx array."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, sigma_voxels, mode="wrap", truncate=3.0)
    return noise / max(float(noise.std()), 1e-6)
