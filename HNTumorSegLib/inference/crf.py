"""Dense conditional random field on PET and CT: mean field in 3-D, on the boxes of what may be tumour.

Krähenbühl and Koltun, NeurIPS 2011: the energy of a labelling is -log P of each voxel plus, for each pair of voxels of
different class,

    smoothness * exp(-d^2 / 2 smoothness_mm^2) + appearance * exp(-d^2 / 2 appearance_mm^2 - f^2 / 2)

with d their distance and f^2 the sum of (difference / width)^2 over PET (width in SUV) and CT (width in HU). Pairs are
those within a cube of ``2 reach_voxels + 1`` voxels. No kept library has this in 3-D for PET and CT.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.recipes.recipe import PET, Recipe

if TYPE_CHECKING:
    import torch

CANDIDATE = 0.1
"""Voxels whose tumour probability is at least this make the lesions that are refined."""

LEAST_PROBABILITY = 1e-6
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class CrfWeights:
    """Weights and widths of the two kernels.

    Attributes:
        smoothness, appearance: weight of a pair of neighbours; 0 switches the kernel off.
        smoothness_mm, appearance_mm: standard deviations over distance.
        suv, hu: standard deviations over the difference of uptake (SUV) and of density (HU).
        reach_voxels: pairs further apart than this along any axis are left out.
        iterations: mean-field updates.
    """

    smoothness: float
    appearance: float
    smoothness_mm: float = 4.0
    appearance_mm: float = 8.0
    suv: float = 2.0
    hu: float = 60.0
    reach_voxels: int = 2
    iterations: int = 5

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            may_be_0 = name in ("smoothness", "appearance")
            if not np.isfinite(value) or value < 0 or (value == 0 and not may_be_0):
                least = "of 0 or more" if may_be_0 else "above 0"
                raise ModelError(f"The CRF's '{name}' is {value}; it must be a number {least}.")

    @classmethod
    def of(cls, recipe: Recipe) -> CrfWeights | None:
        """The weights in a recipe, None where it has none; raises :class:`ModelError` for entries that are unknown."""
        if not recipe.crf:
            return None
        try:
            return cls(**recipe.crf)
        except TypeError as error:
            raise ModelError(f"The CRF of recipe '{recipe.name}' cannot be read: {error}.") from error


def refine_lesions(
    foreground: np.ndarray, array: np.ndarray, recipe: Recipe, weights: CrfWeights, device: str = "cpu"
) -> np.ndarray:
    """Foreground probabilities after the CRF; beyond the lesions' boxes they are what they were.

    Args:
        foreground: float32 (K - 1, Z, Y, X) on the model's grid.
        array: the network's input (C, Z, Y, X), windows mapped to 0..1.
        recipe: says what the channels are and how large a voxel is.
        weights: of the CRF.
        device: torch device.

    Returns:
        float32 (K - 1, Z, Y, X), a new array.
    """
    import torch

    refined = foreground.copy()
    widths = feature_scale(recipe, weights)
    for box, own in lesion_boxes(foreground, weights.reach_voxels + 1):
        part = torch.from_numpy(np.ascontiguousarray(foreground[(slice(None), *box)], np.float32)).to(device)
        probabilities = torch.cat([(1 - part.sum(0, keepdim=True)).clamp(0, 1), part])
        features = torch.from_numpy(array[(slice(None), *box)].astype(np.float32) * widths).to(device)
        answer = mean_field(probabilities, features, (recipe.spacing_mm,) * 3, weights)[1:].cpu().numpy()
        refined[(slice(None), *box)] = np.where(own, answer, refined[(slice(None), *box)])
    return refined


def feature_scale(recipe: Recipe, weights: CrfWeights) -> np.ndarray:
    """What a normalised channel is multiplied by to count in standard deviations; float32 (C, 1, 1, 1)."""
    scale = [(c.window[1] - c.window[0]) / (weights.suv if c.image == PET else weights.hu) for c in recipe.channels]
    return np.array(scale, np.float32)[:, None, None, None]


def lesion_boxes(foreground: np.ndarray, margin: int) -> Iterator[tuple[Box, np.ndarray]]:
    """Boxes about what may be tumour, with the mask of the box's voxels that belong to it and to no other box.

    Lesions nearer to each other than twice ``margin`` (voxels) share a box.
    """
    from scipy import ndimage

    near = foreground.sum(axis=0) >= CANDIDATE
    if not near.any():
        return
    near = ndimage.binary_dilation(near, np.ones((3, 3, 3), bool), iterations=margin)
    numbers, _ = ndimage.label(near)
    for number, box in enumerate(ndimage.find_objects(numbers), 1):
        yield box, numbers[box] == number


def mean_field(
    probabilities: torch.Tensor, features: torch.Tensor, spacing_mm: tuple[float, float, float], weights: CrfWeights
) -> torch.Tensor:
    """Class probabilities (K, Z, Y, X) after the mean-field updates, all voxels at once in each.

    Q(i, l) is proportional to P(i, l) exp(sum over j of k(i, j) Q(j, l)), beginning with Q = P.

    Args:
        probabilities: (K, Z, Y, X), the network's; they sum to one.
        features: (C, Z, Y, X) in standard deviations of the appearance kernel.
        spacing_mm: voxel size along z, y, x.
        weights: of the kernels.
    """
    unary = probabilities.clamp_min(LEAST_PROBABILITY).log()
    pairs = [
        (here, there, _kernel(features[(slice(None), *here)], features[(slice(None), *there)], distance_mm2, weights))
        for here, there, distance_mm2 in _pairs(tuple(unary.shape[1:]), spacing_mm, weights.reach_voxels)
    ]
    q = probabilities
    for _ in range(weights.iterations):
        total = unary.clone()
        for here, there, kernel in pairs:
            total[(slice(None), *here)] += kernel * q[(slice(None), *there)]
            total[(slice(None), *there)] += kernel * q[(slice(None), *here)]
        q = total.softmax(0)
    return q


def _kernel(here: torch.Tensor, there: torch.Tensor, distance_mm2: float, weights: CrfWeights) -> torch.Tensor:
    """k of all pairs one offset apart, in the shape of the part of the grid that has such a neighbour."""
    difference = (here - there).square_().sum(0)
    alike = (-0.5 * (difference + distance_mm2 / weights.appearance_mm**2)).exp_()
    return alike * weights.appearance + weights.smoothness * float(
        np.exp(-0.5 * distance_mm2 / weights.smoothness_mm**2)
    )


def _pairs(
    shape: tuple[int, ...], spacing_mm: tuple[float, float, float], reach: int
) -> Iterator[tuple[Box, Box, float]]:
    """Each pair of neighbours once: where the one lies, where the other, and their squared distance in mm^2."""
    for offset in itertools.product(range(-reach, reach + 1), repeat=3):
        if offset <= (0, 0, 0) or any(abs(o) >= n for o, n in zip(offset, shape, strict=True)):
            continue
        here = tuple(slice(max(0, -o), n - max(0, o)) for o, n in zip(offset, shape, strict=True))
        there = tuple(slice(max(0, o), n - max(0, -o)) for o, n in zip(offset, shape, strict=True))
        yield here, there, sum((o * s) ** 2 for o, s in zip(offset, spacing_mm, strict=True))
