"""Which part of a volume the networks look at, and in which tiles: the model's patches, or as few as memory allows.

Batch norm does not depend on the tile, yet one pass is not the same function as overlapping patches: zero padding shows
in what the networks say some way into a tile, and Gaussian weights keep a part of it. On four phantoms, with a
``subpixel`` network after 1,500 steps, the Dice of one pass with patches was 0.974 (primary) and 0.934 (nodes); with
the truth one pass had 0.845 and 0.599, patches 0.847 and 0.588. Attention has little part in it: in one pass, the Dice
between attention over everything and over the patch's extent was 0.999 and 0.998. So speed does not decide alone: a
recipe says whether its model is run in one pass, and what is measured of the model is measured that way.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from HNTumorSegLib.errors import ModelError

if TYPE_CHECKING:
    import torch

    from HNTumorSegLib.inference.device import ComputeDevice
    from HNTumorSegLib.recipes.recipe import Recipe

MOST_PATCHES = {"cpu": 4.0, "cuda": 16.0}
"""A tile holds at most so many times the voxels of the model's patch, which is known to fit into memory."""

SMALLEST_SHARE = 0.5
"""No side of a tile goes below this share of the model's patch: the network still sees the surroundings."""

MARGIN_VOXELS = 16
"""Kept around what is worth looking at, so that nothing of it lies at the edge of what the networks see."""


@dataclass(frozen=True)
class TilePlan:
    """How a volume is worked through.

    Attributes:
        box: part of the volume (z, y, x) that the tiles cover; all else is background.
        patch_zyx: size of every tile in voxels; it may reach beyond the volume where that is smaller.
        overlap: share of a tile that neighbours have in common along z, y, x.
    """

    box: tuple[slice, slice, slice]
    patch_zyx: tuple[int, int, int]
    overlap: tuple[float, float, float]

    @property
    def tile_voxels(self) -> int:
        """Voxels of one tile."""
        return math.prod(self.patch_zyx)


def takes_any_tile(networks: Sequence[torch.nn.Module]) -> bool:
    """Whether the networks were made for tiles of any size.

    So it is with batch norm, whose statistics are fixed after training. Instance and group norm compute theirs from the
    tile, pooling over all of it does so too, and a network without any of these may do so by hand: there the patch
    belongs to the weights.
    """
    from torch import nn

    fixed = nn.modules.batchnorm._BatchNorm
    from_tile = (
        nn.modules.instancenorm._InstanceNorm,
        nn.GroupNorm,
        nn.modules.pooling._AdaptiveAvgPoolNd,
        nn.modules.pooling._AdaptiveMaxPoolNd,
    )
    return all(
        any(isinstance(module, fixed) for module in network.modules())
        and not any(isinstance(module, from_tile) for module in network.modules())
        for network in networks
    )


@dataclass(frozen=True)
class TileRule:
    """Which tiles a model is given.

    Attributes:
        patch_zyx, overlap: the recipe's.
        any_size: the networks take tiles of any size, see :func:`takes_any_tile`.
        divisor: of what a tile's sides must be multiples.
        one_pass: the recipe's: tiles are as few and as large as memory allows.
    """

    patch_zyx: tuple[int, int, int]
    overlap: tuple[float, float, float]
    any_size: bool
    divisor: int = 1
    one_pass: bool = False

    @classmethod
    def of(cls, recipe: Recipe, networks: Sequence[torch.nn.Module]) -> TileRule:
        """The rule of a model: its networks as they were trained, their batch norms not folded away.

        Raises :class:`ModelError` where the recipe asks for one pass and the networks have no fixed statistics.
        """
        any_size = takes_any_tile(networks)
        if recipe.one_pass and not any_size:
            raise ModelError(
                f"Recipe '{recipe.name}' asks for one pass, but its network '{recipe.network}' is no batch-norm "
                "network: its answer belongs to the patch it was trained on. Set one_pass to false in the model's card."
            )
        divisor = max(getattr(network, "divisor", 1) for network in networks)
        return cls(tuple(recipe.patch_zyx), tuple(recipe.overlap), any_size, divisor, recipe.one_pass)

    def plans(self, worth: np.ndarray, device: ComputeDevice) -> Iterator[TilePlan]:
        """The plan to run, then plans with tiles of half the voxels each, for a GPU whose memory is full.

        With ``one_pass`` the tiles cover the box of what is worth looking at, with a margin, and are as large as
        :data:`MOST_PATCHES` allows: one in most scans. Otherwise they are the model's patches over all of the volume.
        Smaller tiles follow only where any size will do. Neighbours have as many voxels in common as patches would, or
        as great a share of tiles smaller than a patch. Sides are multiples of ``divisor``, and at least
        :data:`SMALLEST_SHARE` of the patch's unless the box is smaller.

        Args:
            worth: boolean (Z, Y, X): what is worth looking at.
            device: where the networks run.
        """
        if not worth.any():
            yield self.plain(worth.shape)
            return
        if self.one_pass:
            box = _box_of(worth, self.divisor)
            plan = self._fewest_voxels(box, MOST_PATCHES[device.name.split(":")[0]] * math.prod(self.patch_zyx))
        else:
            plan = self.plain(worth.shape)
        yield plan
        while self.any_size:
            smaller = self._fewest_voxels(plan.box, plan.tile_voxels / 2)
            if smaller.tile_voxels >= plan.tile_voxels:
                return
            plan = smaller
            yield plan

    def plain(self, shape_zyx: Sequence[int]) -> TilePlan:
        """The model's patches over all of a volume: what every other plan is measured by."""
        return TilePlan(tuple(slice(0, n) for n in shape_zyx), self.patch_zyx, self.overlap)

    def _fewest_voxels(self, box: tuple[slice, slice, slice], most_voxels: float) -> TilePlan:
        """The plan that runs the fewest voxels in tiles of at most ``most_voxels``, or with the smallest there are."""
        lengths = [b.stop - b.start for b in box]
        axes = [_sides(n, p, o, self.divisor) for n, p, o in zip(lengths, self.patch_zyx, self.overlap, strict=True)]
        small = [tiles for tiles in itertools.product(*axes) if math.prod(t.side for t in tiles) <= most_voxels]
        small = small or [tuple(options[0] for options in axes)]
        best = min(small, key=lambda tiles: (math.prod(t.side * t.count for t in tiles), sum(t.count for t in tiles)))
        return TilePlan(box, tuple(t.side for t in best), tuple(t.shared / t.side for t in best))


def _box_of(worth: np.ndarray, divisor: int) -> tuple[slice, slice, slice]:
    """The box about True voxels with the margin, grown to multiples of ``divisor`` where the volume allows."""
    slices = []
    for axis, n in enumerate(worth.shape):
        hit = np.flatnonzero(worth.any(axis=tuple(a for a in range(3) if a != axis)))
        low, high = max(0, hit[0] - MARGIN_VOXELS), min(n, hit[-1] + 1 + MARGIN_VOXELS)
        side = min(n, _multiple(high - low, divisor))
        low = int(min(max(0, low - (side - (high - low)) // 2), n - side))
        slices.append(slice(low, low + side))
    return tuple(slices)


@dataclass(frozen=True)
class _Side:
    """Tiles along one axis: their side, how much neighbours share, and how many they are."""

    side: int
    shared: float
    count: int


def _sides(length: int, patch: int, overlap: float, divisor: int) -> list[_Side]:
    """What tiles may measure along an axis of ``length`` voxels, smallest first."""
    largest = _multiple(length, divisor)
    smallest = min(largest, _multiple(math.ceil(SMALLEST_SHARE * patch), divisor))
    found = []
    for side in range(smallest, largest + 1, divisor):
        shared = overlap * min(side, patch)
        found.append(_Side(side, shared, max(0, math.ceil((length - side) / max(1.0, side - shared) - 1e-9)) + 1))
    return found


def _multiple(length: int, divisor: int) -> int:
    return -(-int(length) // divisor) * divisor
