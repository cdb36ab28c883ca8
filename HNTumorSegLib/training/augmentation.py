"""Random changes to training patches; each follows from the generator handed in and can be switched off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.recipes.recipe import CT, CT_CONTRAST, PET, Channel


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a patch; probabilities are 0 to 1, and 0 switches off.

    Attributes:
        flip: probability of mirroring left to right.
        suv_scale: standard deviation of the logarithm of the factor on the PET (calibration, patient's weight).
        hu_shift: standard deviation of what is added to the CT, as a share of its window.
        noise, noise_sd: probability, and highest standard deviation as a share of the window, of white noise a channel.
        gamma: probability that a channel v becomes v ** g, with g between 0.7 and 1.5.
        affine, rotation_deg, scaling: probability of turning and scaling in space, standard deviation of the angle
            about each axis, and of the logarithm of the factor along each axis.
        elastic, elastic_voxels, elastic_spacing: probability of bending, standard deviation of the shift of control
            points, and their distance, in voxels.
        misregistration, misregistration_mm, misregistration_deg: probability that the CT (not PET and labels) is
            shifted and turned as by motion between the two scans, standard deviations along and about each axis.
        ct_dropout, pet_dropout: probability that all CT (PET) channels are left out; never both. A dropped channel
            holds its ``missing`` value; CT is dropped only where there is such a value.
    """

    flip: float = 0.5
    suv_scale: float = 0.12
    hu_shift: float = 0.03
    noise: float = 0.3
    noise_sd: float = 0.03
    gamma: float = 0.0
    affine: float = 0.0
    rotation_deg: float = 8.0
    scaling: float = 0.08
    elastic: float = 0.0
    elastic_voxels: float = 2.0
    elastic_spacing: int = 16
    misregistration: float = 0.0
    misregistration_mm: float = 3.0
    misregistration_deg: float = 2.0
    ct_dropout: float = 0.0
    pet_dropout: float = 0.0

    @classmethod
    def from_dict(cls, entries: dict[str, Any], recipe: str) -> Augmentation:
        """From a recipe's ``augmentation``; raises :class:`ModelError` for an unknown entry or an impossible value."""
        known = {f.name for f in fields(cls)}
        for key, value in entries.items():
            if key not in known:
                raise ModelError(
                    f"Recipe '{recipe}' asks for the augmentation '{key}'; there are {', '.join(sorted(known))}."
                )
            if not value >= 0 or (key in _PROBABILITIES and value > 1):
                raise ModelError(f"The augmentation '{key}' of recipe '{recipe}' is {value}, which is out of range.")
        return cls(**entries)


_PROBABILITIES = {
    "flip",
    "noise",
    "gamma",
    "affine",
    "elastic",
    "misregistration",
    "ct_dropout",
    "pet_dropout",
}


_NAMED: dict[str, dict[str, float]] = {
    "flip": {"flip": 0.5},
    "rotation": {"affine": 0.3, "scaling": 0.0},
    "affine": {"affine": 0.3, "scaling": Augmentation.scaling},
    "elastic": {"elastic": 0.2},
    "intensity": {
        "suv_scale": Augmentation.suv_scale,
        "hu_shift": Augmentation.hu_shift,
        "noise": Augmentation.noise,
        "gamma": 0.2,
    },
    "misregistration": {"misregistration": 0.3},
}
_OFF = dict.fromkeys((*_PROBABILITIES, "suv_scale", "hu_shift"), 0.0)


def named_transforms(names: Sequence[str], recipe: str) -> dict[str, float]:
    """Entries of :class:`Augmentation` for transforms by name, all others being off."""
    chosen = dict(_OFF)
    for name in names:
        if name not in _NAMED:
            raise ModelError(f"Recipe '{recipe}' asks for the augmentation '{name}'; there are {', '.join(_NAMED)}.")
        chosen |= _NAMED[name]
    return chosen


@dataclass(frozen=True)
class Displacement:
    """Where the voxels of a patch are read, relative to its own grid.

    ``shared`` is (3, z, y, x) voxel offsets for labels and all channels, or None; ``ct`` is an additional one for the
    CT, or None.
    """

    shared: np.ndarray | None = None
    ct: np.ndarray | None = None

    @property
    def any(self) -> bool:
        """Whether anything moves."""
        return self.shared is not None or self.ct is not None


def draw_displacement(
    rule: Augmentation, patch_zyx: tuple[int, int, int], spacing_mm: float, rng: np.random.Generator
) -> Displacement:
    """Draw the spatial part of the augmentation of one patch."""
    shared = None
    if rng.random() < rule.affine:
        matrix = _rotation(rng.normal(0, np.radians(rule.rotation_deg), 3)) @ np.diag(
            np.exp(rng.normal(0, rule.scaling, 3))
        )
        shared = _affine_field(matrix, np.zeros(3), patch_zyx)
    if rng.random() < rule.elastic:
        bend = _elastic_field(rule, patch_zyx, rng)
        shared = bend if shared is None else shared + bend
    ct = None
    if rng.random() < rule.misregistration:
        turn = _rotation(rng.normal(0, np.radians(rule.misregistration_deg), 3))
        ct = _affine_field(turn, rng.normal(0, rule.misregistration_mm, 3) / spacing_mm, patch_zyx)
    return Displacement(shared, ct)


def sample(array: np.ndarray, start: np.ndarray, offsets: np.ndarray, *, nearest: bool = False) -> np.ndarray:
    """Read ``array`` (C, Z, Y, X) at the patch that begins at ``start``, moved by ``offsets`` (3, z, y, x) voxels.

    Linear interpolation, or nearest neighbour for labels; 0 where the array does not reach. Returns float32
    (C, z, y, x).
    """
    import torch

    shape = offsets.shape[1:]
    grid = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij"))
    at = grid + np.asarray(start, np.float32)[:, None, None, None] + offsets.astype(np.float32)
    low = np.maximum(np.floor(at.min(axis=(1, 2, 3))).astype(int) - 1, 0)
    high = np.minimum(np.ceil(at.max(axis=(1, 2, 3))).astype(int) + 2, array.shape[1:])
    if np.any(high <= low):
        return np.zeros((len(array), *shape), np.float32)
    near = array[:, low[0] : high[0], low[1] : high[1], low[2] : high[2]].astype(np.float32)
    # grid_sample wants x, y, z in -1..1 from the first voxel's centre to the last one's.
    size = np.maximum(np.array(near.shape[1:], np.float32) - 1, 1)[:, None, None, None]
    relative = 2 * (at - low[:, None, None, None]) / size - 1
    where = torch.from_numpy(np.ascontiguousarray(relative[::-1].transpose(1, 2, 3, 0), np.float32))[None]
    return torch.nn.functional.grid_sample(
        torch.from_numpy(near)[None],
        where,
        mode="nearest" if nearest else "bilinear",
        padding_mode="zeros",
        align_corners=True,
    )[0].numpy()


def change_values(
    inputs: np.ndarray, channels: tuple[Channel, ...], rule: Augmentation, rng: np.random.Generator
) -> np.ndarray:
    """The intensity part: calibration, contrast, noise, and whole images left out. ``inputs`` is changed in place."""
    dropped = _dropped_image(channels, rule, rng)
    for index, channel in enumerate(channels):
        if channel.image == dropped:
            inputs[index] = 0.0 if channel.missing is None else channel.missing
            continue
        if channel.image == PET:
            inputs[index] *= np.exp(rng.normal(0, rule.suv_scale))
        elif channel.image in (CT, CT_CONTRAST):
            inputs[index] += rng.normal(0, rule.hu_shift)
        if rng.random() < rule.gamma:
            inputs[index] = np.clip(inputs[index], 0, 1) ** rng.uniform(0.7, 1.5)
        if rng.random() < rule.noise:
            inputs[index] += rng.normal(0, rng.uniform(0, rule.noise_sd), inputs[index].shape)
    return np.clip(inputs, 0, 1, out=inputs)


def _dropped_image(channels: tuple[Channel, ...], rule: Augmentation, rng: np.random.Generator) -> str | None:
    """Which image the network does without this time."""
    images = {channel.image for channel in channels}
    can_miss_ct = all(channel.missing is not None for channel in channels if channel.image == CT)
    if CT in images and can_miss_ct and rng.random() < rule.ct_dropout:
        return CT
    if images >= {PET, CT} and rng.random() < rule.pet_dropout:
        return PET
    return None


def _rotation(angles: np.ndarray) -> np.ndarray:
    """3x3 rotation about z, y and x, zyx order."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [i for i in range(3) if i != axis]
        one = np.eye(3)
        one[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        turn = one @ turn
    return turn


def _affine_field(matrix: np.ndarray, shift: np.ndarray, patch_zyx: tuple[int, int, int]) -> np.ndarray:
    """Offsets (3, z, y, x) of turning and scaling about the patch's centre, then shifting."""
    axes = [np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in patch_zyx]
    about = np.stack(np.meshgrid(*axes, indexing="ij"))
    moved = np.einsum("ij,jzyx->izyx", (matrix - np.eye(3)).astype(np.float32), about)
    return moved + shift.astype(np.float32)[:, None, None, None]


def _elastic_field(rule: Augmentation, patch_zyx: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """Offsets (3, z, y, x): control points shifted at random, with smooth interpolation between them."""
    from scipy.ndimage import map_coordinates

    points = [int(np.ceil(n / rule.elastic_spacing)) + 3 for n in patch_zyx]
    control = rng.normal(0, rule.elastic_voxels, (3, *points)).astype(np.float32)
    axes = [1 + np.arange(n, dtype=np.float32) / rule.elastic_spacing for n in patch_zyx]
    at = np.stack(np.meshgrid(*axes, indexing="ij"))
    # A cubic B-spline of the control points themselves (no prefilter): smooth, and never beyond their range.
    return np.stack([map_coordinates(c, at, order=3, prefilter=False, mode="nearest") for c in control])
