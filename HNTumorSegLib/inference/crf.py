"""Dense conditional random field on PET and CT: mean field in 3-D, on the boxes of what may be tumour.

Krähenbühl and Koltun, NeurIPS 2011: the energy of a labelling is -log P of each voxel plus, for each pair of voxels of
different class,

    smoothness * exp(-d^2 / 2 smoothness_mm^2) + appearance * exp(-d^2 / 2 appearance_mm^2 - f^2 / 2)

with d their distance and f^2 the sum of (difference / width)^2 over PET (width in SUV) and CT (width in HU). Pairs are
those within a cube of ``2 reach_voxels + 1`` voxels. No kept library has this in 3-D for PET and CT.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.recipes.recipe import PET, Recipe

if TYPE_CHECKING:
    import torch

CANDIDATES = (0.1, 0.3, 0.5)
"""Voxels whose tumour probability is at least the first make the lesions that are refined; where their box is larger
than :data:`LARGEST_BOX_ML`, those of the next, and where it still is, the region is left as it is."""

LARGEST_BOX_ML = 4000.0
"""A primary with bulky nodes on both sides, margins included, measures some 16 x 12 x 18 cm (3.5 litres). What a poor
network marks may fill the scan, and the CRF's time and memory grow with the box."""

LEAST_PROBABILITY = 1e-6
BATCH_VALUES = 4_000_000
"""Values (weights that are tried x classes x voxels) that are updated at once: 16 MB each of a few arrays."""

Box = tuple[slice, slice, slice]
log = logging.getLogger(__name__)


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

    @property
    def widths(self) -> CrfWeights:
        """The same with both weights 0: what weights must share to be tried together."""
        return replace(self, smoothness=0.0, appearance=0.0)

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
    refined = foreground.copy()
    for box, own, (answer,) in refined_boxes(foreground, array, recipe, [weights], device):
        refined[(slice(None), *box)] = np.where(own, answer, refined[(slice(None), *box)])
    return refined


def refined_boxes(
    foreground: np.ndarray,
    array: np.ndarray,
    recipe: Recipe,
    candidates: Sequence[CrfWeights],
    device: str = "cpu",
) -> Iterator[tuple[Box, np.ndarray, np.ndarray]]:
    """Each lesion's box with the answers of several weights; arguments as for :func:`refine_lesions`.

    How alike two voxels are is worked out once for all ``candidates``, which must have the same ``widths``.

    Yields the box, the mask of its own voxels (z, y, x), and float32 (W, K - 1, z, y, x), one answer a candidate.
    """
    import torch

    shared = candidates[0].widths
    if any(weights.widths != shared for weights in candidates):
        raise ValueError("weights that are tried together differ in widths, reach or iterations")
    widths = feature_scale(recipe, shared)
    largest = round(LARGEST_BOX_ML * 1000.0 / recipe.spacing_mm**3)
    for box, own in lesion_boxes(foreground, shared.reach_voxels + 1, largest):
        part = torch.from_numpy(np.ascontiguousarray(foreground[(slice(None), *box)], np.float32)).to(device)
        probabilities = torch.cat([(1 - part.sum(0, keepdim=True)).clamp(0, 1), part])
        features = torch.from_numpy(array[(slice(None), *box)].astype(np.float32) * widths).to(device)
        answers = mean_fields(probabilities, features, (recipe.spacing_mm,) * 3, candidates)[:, 1:]
        yield box, own, answers.cpu().numpy()


def feature_scale(recipe: Recipe, weights: CrfWeights) -> np.ndarray:
    """What a normalised channel is multiplied by to count in standard deviations; float32 (C, 1, 1, 1)."""
    scale = [(c.window[1] - c.window[0]) / (weights.suv if c.image == PET else weights.hu) for c in recipe.channels]
    return np.array(scale, np.float32)[:, None, None, None]


def lesion_boxes(
    foreground: np.ndarray, margin: int, largest_voxels: float = float("inf")
) -> Iterator[tuple[Box, np.ndarray]]:
    """Boxes about what may be tumour, with the mask of the box's voxels that belong to it and to no other box.

    Lesions nearer to each other than twice ``margin`` (voxels) share a box. One of more than ``largest_voxels`` is
    divided by the next higher of :data:`CANDIDATES`, and left out after the last; both are logged.
    """
    yield from _boxes(foreground.sum(axis=0), margin, largest_voxels, CANDIDATES)


def _boxes(
    tumour: np.ndarray, margin: int, largest_voxels: float, thresholds: Sequence[float]
) -> Iterator[tuple[Box, np.ndarray]]:
    from scipy import ndimage

    near = tumour >= thresholds[0]
    if not near.any():
        return
    near = ndimage.binary_dilation(near, np.ones((3, 3, 3), bool), iterations=margin)
    numbers, _ = ndimage.label(near)
    for number, box in enumerate(ndimage.find_objects(numbers), 1):
        own = numbers[box] == number
        if own.size <= largest_voxels:
            yield box, own
            continue
        left = len(thresholds) == 1
        log.log(
            logging.WARNING if left else logging.INFO,
            "tumour of probability %.1f or more fills a box of %d voxels, too large for lesions: the CRF %s",
            thresholds[0],
            own.size,
            "leaves it as it is" if left else f"looks at what has {thresholds[1]:.1f} or more of it",
        )
        if not left:
            for inner, mine in _boxes(np.where(own, tumour[box], 0.0), margin, largest_voxels, thresholds[1:]):
                yield tuple(slice(o.start + i.start, o.start + i.stop) for o, i in zip(box, inner, strict=True)), mine


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
    return mean_fields(probabilities, features, spacing_mm, [weights])[0]


def mean_fields(
    probabilities: torch.Tensor,
    features: torch.Tensor,
    spacing_mm: tuple[float, float, float],
    candidates: Sequence[CrfWeights],
) -> torch.Tensor:
    """:func:`mean_field` of several weights that have the same ``widths``: (W, K, Z, Y, X)."""
    import torch

    shared = candidates[0]
    alike = []
    if any(weights.appearance for weights in candidates):
        alike = [
            (here, there, _alike(features[(slice(None), *here)], features[(slice(None), *there)], distance_mm2, shared))
            for here, there, distance_mm2 in _pairs(tuple(features.shape[1:]), spacing_mm, shared.reach_voxels)
        ]
    answers = torch.empty((len(candidates), *probabilities.shape), dtype=probabilities.dtype, device=features.device)
    at_once = max(1, BATCH_VALUES // probabilities.numel())
    for first in range(0, len(candidates), at_once):
        chosen = candidates[first : first + at_once]
        answers[first : first + at_once] = _updated(probabilities, alike, spacing_mm, chosen)
    return answers


Alike = list[tuple[Box, Box, "torch.Tensor"]]


def _updated(
    probabilities: torch.Tensor, alike: Alike, spacing_mm: tuple[float, float, float], candidates: Sequence[CrfWeights]
) -> torch.Tensor:
    """The updates of a batch of weights, (W, K, Z, Y, X).

    Only the foreground is summed over neighbours: as the classes sum to one, what the background receives is the sum
    of all weights around a voxel less what the foreground receives.
    """
    import torch

    shared = candidates[0]

    def message(q: torch.Tensor) -> torch.Tensor:
        near = _near_sum(q, spacing_mm, shared) * strength("smoothness")
        return near.addcmul_(_alike_sum(q, alike), strength("appearance")) if alike else near

    def strength(name: str) -> torch.Tensor:
        return probabilities.new_tensor([getattr(weights, name) for weights in candidates])[:, None, None, None, None]

    unary = probabilities.clamp_min(LEAST_PROBABILITY).log()
    around = message(torch.ones_like(probabilities[:1])[None])
    q = probabilities[None].expand(len(candidates), -1, -1, -1, -1)
    for _ in range(shared.iterations):
        received = message(q[:, 1:])
        q = (unary + torch.cat([around - received.sum(1, keepdim=True), received], 1)).softmax(1)
    return q


def _alike(here: torch.Tensor, there: torch.Tensor, distance_mm2: float, weights: CrfWeights) -> torch.Tensor:
    """The appearance kernel of all pairs one offset apart, in the shape of the part of the grid that has these."""
    difference = (here - there).square_().sum(0)
    return (-0.5 * (difference + distance_mm2 / weights.appearance_mm**2)).exp_()


def _alike_sum(q: torch.Tensor, alike: Alike) -> torch.Tensor:
    """Sum over the neighbours, weighted by how alike they are; ``q`` is (W, F, Z, Y, X)."""
    import torch

    total = torch.zeros_like(q, memory_format=torch.contiguous_format)
    for here, there, kernel in alike:
        total[(..., *here)].addcmul_(kernel, q[(..., *there)])
        total[(..., *there)].addcmul_(kernel, q[(..., *here)])
    return total


def _near_sum(q: torch.Tensor, spacing_mm: tuple[float, float, float], weights: CrfWeights) -> torch.Tensor:
    """Sum over the neighbours, weighted by their distance alone: a Gaussian, so axis by axis; then less the voxel."""
    total = q
    for axis, mm in zip((-3, -2, -1), spacing_mm, strict=True):
        before, total, n = total, total.clone(), q.shape[axis]
        for step in range(1, min(weights.reach_voxels, n - 1) + 1):
            weight = float(np.exp(-0.5 * (step * mm / weights.smoothness_mm) ** 2))
            total.narrow(axis, step, n - step).add_(before.narrow(axis, 0, n - step), alpha=weight)
            total.narrow(axis, 0, n - step).add_(before.narrow(axis, step, n - step), alpha=weight)
    return total - q


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
