"""Running imported nnU-Net v2 models the way nnU-Net does, so that they give the labels they were validated with.

The steps and their order are those of nnunetv2 2.8 (Apache-2.0): transpose, crop to nonzero, normalise, resample,
tile with a Gaussian, average the folds' logits, resample logits, decide. Sums of logits are kept in 16-bit float as
there, because a voxel between two classes falls to one side by their rounding. Test-time mirroring is off.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from HNTumorSegLib.errors import InputError, ModelError

if TYPE_CHECKING:
    import torch

ANISOTROPY = 3.0
"""Voxels longer than this times their shortest side are resampled slice by slice."""

TILE_STEP = 0.5
GAUSSIAN_SIGMA = 0.125
GAUSSIAN_PEAK = 10.0
SMALLEST_DEVIATION = 1e-8
NORMALISATIONS = ("ZScoreNormalization", "CTNormalization", "NoNormalization", "RescaleTo01Normalization")


@dataclass(frozen=True)
class Resampling:
    """One of nnU-Net's resampling rules: spline order within slices and across them, and when they are separate."""

    order: int = 3
    order_z: int = 0
    force_separate_z: bool | None = None


@dataclass(frozen=True)
class NnUNetPlan:
    """The part of ``plans.json`` that inference needs; axes are those of the array (zyx) after ``transpose``.

    Attributes:
        spacing_mm, patch: of the network.
        transpose: order of the axes.
        normalisation: scheme of each channel, and ``use_mask``: only over nonzero voxels.
        intensities: per channel mean, std, percentile_00_5 and percentile_99_5.
        data, logits: how each is resampled.
    """

    spacing_mm: tuple[float, float, float]
    patch: tuple[int, int, int]
    transpose: tuple[int, int, int]
    normalisation: tuple[str, ...]
    use_mask: tuple[bool, ...]
    intensities: tuple[dict[str, float], ...]
    data: Resampling
    logits: Resampling

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types, for the model card."""
        return asdict(self)

    @classmethod
    def from_dict(cls, entries: dict[str, Any]) -> NnUNetPlan:
        """Back from :meth:`to_dict`; raises :class:`ModelError` when something is missing or unknown."""
        try:
            chosen = {f.name: entries[f.name] for f in fields(cls)}
            for name, value in chosen.items():
                chosen[name] = Resampling(**value) if name in ("data", "logits") else tuple(value)
            plan = cls(**chosen)
        except (KeyError, TypeError) as error:
            raise ModelError(f"The card of an nnU-Net model is incomplete: {error}. Import the model again.") from error
        unknown = set(plan.normalisation) - set(NORMALISATIONS)
        if unknown:
            raise ModelError(f"The normalisation '{min(unknown)}' of this nnU-Net model is not known here.")
        return plan


@dataclass
class Preprocessed:
    """Network input (C, z, y, x) float32, and what leads back: shape and box before cropping, spacing there."""

    data: np.ndarray
    whole_shape: tuple[int, ...]
    box: tuple[slice, ...]
    spacing_mm: tuple[float, ...]

    @property
    def cropped_shape(self) -> tuple[int, ...]:
        """Shape of the box."""
        return tuple(s.stop - s.start for s in self.box)


def preprocess(images: np.ndarray, spacing_zyx_mm: Sequence[float], plan: NnUNetPlan) -> Preprocessed:
    """Channels (C, Z, Y, X) on one grid as the network sees them; raises :class:`InputError` when all are zero."""
    data = images.astype(np.float32).transpose([0, *(axis + 1 for axis in plan.transpose)])
    spacing = tuple(float(spacing_zyx_mm[axis]) for axis in plan.transpose)
    nonzero = ndimage.binary_fill_holes((data != 0).any(axis=0))
    if not nonzero.any():
        raise InputError("All voxels of all images are zero, so there is nothing to delineate.")
    box = tuple(slice(*(lambda hit: (int(hit[0]), int(hit[-1]) + 1))(np.flatnonzero(line))) for line in _lines(nonzero))
    whole, mask = data.shape[1:], nonzero[box]
    data = np.ascontiguousarray(data[(slice(None), *box)])
    for channel in range(len(data)):
        data[channel] = _normalised(data[channel], mask, plan, channel)
    shape = [round(a / b * n) for a, b, n in zip(spacing, plan.spacing_mm, data.shape[1:], strict=True)]
    return Preprocessed(resampled(data, shape, spacing, plan.spacing_mm, plan.data), whole, box, spacing)


def logits_of(
    data: np.ndarray,
    networks: Sequence[torch.nn.Module],
    plan: NnUNetPlan,
    device: str = "cpu",
    on_tile: Callable[[float], None] = lambda fraction: None,
) -> np.ndarray:
    """Mean logits (K, z, y, x) of the folds, 16-bit float, on the grid of ``data``."""
    import torch

    lacking = [max(0, p - n) for p, n in zip(plan.patch, data.shape[1:], strict=True)]
    padded = np.pad(data, [(0, 0), *((n // 2, n // 2 + n % 2) for n in lacking)])
    starts = [_starts(n, p) for n, p in zip(padded.shape[1:], plan.patch, strict=True)]
    corners = list(itertools.product(*starts))
    weight = torch.from_numpy(_gaussian(plan.patch)).to(device)
    image = torch.from_numpy(padded).to(device)
    total = None
    with torch.inference_mode(), torch.autocast("cuda", enabled=device.startswith("cuda")):
        for number, network in enumerate(networks):
            one = count = None
            for tile, corner in enumerate(corners):
                box = (slice(None), *(slice(c, c + p) for c, p in zip(corner, plan.patch, strict=True)))
                answer = network(torch.clone(image[box][None], memory_format=torch.contiguous_format))[0]
                if one is None:
                    one = torch.zeros((len(answer), *image.shape[1:]), dtype=torch.half, device=device)
                    count = torch.zeros(image.shape[1:], dtype=torch.half, device=device)
                answer *= weight
                one[box] += answer
                count[box[1:]] += weight
                on_tile((number + (tile + 1) / len(corners)) / len(networks))
            one = torch.div(one, count).cpu()
            total = one if total is None else total.add_(one)
        if len(networks) > 1:
            total /= len(networks)
    inside = tuple(slice(n // 2, n // 2 + size) for n, size in zip(lacking, data.shape[1:], strict=True))
    return total[(slice(None), *inside)].numpy()


def probabilities_on_image(logits: np.ndarray, before: Preprocessed, plan: NnUNetPlan) -> np.ndarray:
    """Probability of each class but background, float32 (K - 1, Z, Y, X), on the grid of the images."""
    near = resampled(logits, before.cropped_shape, plan.spacing_mm, before.spacing_mm, plan.logits).astype(np.float32)
    near = np.exp(near - near.max(axis=0))
    near /= near.sum(axis=0)
    out = np.zeros((len(near) - 1, *before.whole_shape), np.float32)
    out[(slice(None), *before.box)] = near[1:]
    back = np.argsort(plan.transpose)
    return np.ascontiguousarray(out.transpose([0, *(axis + 1 for axis in back)]))


def resampled(
    data: np.ndarray,
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    new_spacing_mm: Sequence[float],
    rule: Resampling,
) -> np.ndarray:
    """``data`` (C, z, y, x) at another shape: splines, never beyond the range of the values, same type.

    Where the voxels of either grid are much longer along one axis, slices across it are resampled by themselves, and
    then picked by nearest neighbour (``order_z`` 0).
    """
    if tuple(data.shape[1:]) == tuple(shape):
        return data
    axis = _separate_axis(spacing_mm, new_spacing_mm, rule)
    out = np.empty((len(data), *shape), data.dtype)
    for channel, values in enumerate(data):
        values = values.astype(np.float64)
        out[channel] = _zoomed(values, shape, rule.order) if axis is None else _by_slices(values, shape, axis, rule)
    return out


def _by_slices(values: np.ndarray, shape: Sequence[int], axis: int, rule: Resampling) -> np.ndarray:
    slice_shape = [n for a, n in enumerate(shape) if a != axis]
    near = np.stack([_zoomed(part, slice_shape, rule.order) for part in np.moveaxis(values, axis, 0)], axis=axis)
    if near.shape[axis] == shape[axis]:
        return near
    scales = [a / b for a, b in zip(near.shape, shape, strict=True)]
    axes = [scale * (np.arange(n) + 0.5) - 0.5 for scale, n in zip(scales, shape, strict=True)]
    at = np.stack(np.meshgrid(*axes, indexing="ij"))
    return ndimage.map_coordinates(near, at, order=rule.order_z, mode="nearest")


def _zoomed(values: np.ndarray, shape: Sequence[int], order: int) -> np.ndarray:
    """Spline zoom about the outer faces, clipped to the range of ``values`` (as scikit-image's ``resize``)."""
    factors = [1 / (old / new) for new, old in zip(shape, values.shape, strict=True)]
    out = ndimage.zoom(values, factors, order=order, mode="nearest", grid_mode=True)
    return np.clip(out, values.min(), values.max(), out=out)


def _separate_axis(spacing: Sequence[float], new_spacing: Sequence[float], rule: Resampling) -> int | None:
    """The axis across which slices are resampled by themselves."""
    if rule.force_separate_z is False:
        return None
    for sides in (spacing,) if rule.force_separate_z else (spacing, new_spacing):
        if rule.force_separate_z or max(sides) / min(sides) > ANISOTROPY:
            longest = [axis for axis, side in enumerate(sides) if max(sides) / side == 1]
            return longest[0] if len(longest) == 1 else None
    return None


def _normalised(image: np.ndarray, mask: np.ndarray, plan: NnUNetPlan, channel: int) -> np.ndarray:
    scheme = plan.normalisation[channel]
    if scheme == "NoNormalization":
        return image
    if scheme == "RescaleTo01Normalization":
        image = image - image.min()
        return image / np.clip(image.max(), SMALLEST_DEVIATION, None)
    if scheme == "CTNormalization":
        about = plan.intensities[channel]
        image = np.clip(image, about["percentile_00_5"], about["percentile_99_5"])
        image -= about["mean"]
        image /= max(about["std"], SMALLEST_DEVIATION)
        return image
    if plan.use_mask[channel]:
        inside = image[mask]
        image[mask] = (inside - inside.mean()) / max(inside.std(), SMALLEST_DEVIATION)
        return image
    mean, deviation = image.mean(), image.std()
    image -= mean
    image /= max(deviation, SMALLEST_DEVIATION)
    return image


def _starts(length: int, patch: int) -> list[int]:
    """First voxels of the tiles along one axis."""
    count = int(np.ceil((length - patch) / (patch * TILE_STEP))) + 1
    if count < 2:
        return [0]
    step = (length - patch) / (count - 1)
    return [int(np.round(step * i)) for i in range(count)]


def _gaussian(patch: Sequence[int]) -> np.ndarray:
    """Weights of a tile, 16-bit float: a Gaussian about voxel patch // 2, cut at 4 sigma, never zero."""
    weight = np.zeros(patch)
    weight[tuple(n // 2 for n in patch)] = 1
    weight = ndimage.gaussian_filter(weight, [n * GAUSSIAN_SIGMA for n in patch], 0, mode="constant", cval=0)
    weight = (weight / (weight.max() / GAUSSIAN_PEAK)).astype(np.float16)
    weight[weight == 0] = weight[weight > 0].min()
    return weight


def _lines(mask: np.ndarray) -> list[np.ndarray]:
    """For each axis, where there is anything."""
    return [mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)) for axis in range(mask.ndim)]
