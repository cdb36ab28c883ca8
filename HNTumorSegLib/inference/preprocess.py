"""From a study to the array a network reads: one axis-aligned grid, windows, channels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import InputError, ModelError
from HNTumorSegLib.geometry import Geometry, resample
from HNTumorSegLib.recipes.recipe import CT, CT_CONTRAST, PET, Channel, Recipe
from HNTumorSegLib.study.study import Study

NAMES = {PET: "PET", CT: "CT", CT_CONTRAST: "contrast-enhanced CT"}
"""What messages call the images that a recipe may ask for."""

BOX_VARIANCE = 1.0 / 12.0
"""Variance of a box of width 1: the blur that averaging over one voxel means."""


def model_grid(
    pet_geometry: Geometry,
    spacing_mm: float,
    low_mm: tuple[float, float, float] | None = None,
    high_mm: tuple[float, float, float] | None = None,
    at_least_zyx: tuple[int, int, int] = (1, 1, 1),
) -> Geometry:
    """The isotropic grid along L, P and S on which the network sees the PET, or the part of it within a box.

    Args:
        pet_geometry: grid of the PET, any orientation.
        spacing_mm: voxel size of the model.
        low_mm, high_mm: LPS bounds to crop to; None: all of the PET.
        at_least_zyx: the grid is widened about its centre, beyond the box or the PET if need be, to this size (the
            patch), so that a tile holds surroundings rather than padding.
    """
    whole = pet_geometry.axis_aligned(spacing_mm)
    start, stop = np.zeros(3, int), np.array(whole.size)
    origin = np.array(whole.origin_mm)
    if low_mm is not None:
        start = np.clip(np.floor((np.array(low_mm) - origin) / spacing_mm + 0.5).astype(int), 0, stop - 1)
    if high_mm is not None:
        stop = np.clip(np.ceil((np.array(high_mm) - origin) / spacing_mm + 0.5).astype(int), start + 1, stop)
    lacking = np.maximum(0, np.array(at_least_zyx[::-1]) - (stop - start))
    start = start - lacking // 2
    stop = stop + lacking - lacking // 2
    return whole.crop(tuple(int(n) for n in start), tuple(int(n) for n in stop - start))


def network_input(study: Study, recipe: Recipe, grid: Geometry, suv: np.ndarray | None = None) -> np.ndarray:
    """The channels of ``recipe`` on ``grid``: :func:`channels_on_grid` of a study's images.

    ``suv`` is :func:`suv_on_grid`, where the caller has it already.

    Returns:
        float32 (C, Z, Y, X).

    Raises:
        ModelError: the model needs an image that the study has not.
        InputError: PET or CT hold values that are not finite.
    """
    return channels_on_grid({PET: study.pet, CT: study.ct}, recipe, grid, {} if suv is None else {PET: suv})


def channels_on_grid(
    images: Mapping[str, sitk.Image | None],
    recipe: Recipe,
    grid: Geometry,
    known: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """The channels of ``recipe`` on ``grid``.

    Values are averaged over the model's voxel where an image is finer than the grid, interpolated linearly, and each
    channel's window is mapped to 0..1 and clipped. Where a CT does not reach, and everywhere when there is none, its
    channels hold their ``missing`` value (0, like air, where the CT does not reach and the recipe has no such value).
    Where the PET does not reach, SUV is 0.

    Args:
        images: by name: ``pet`` in SUV, ``ct`` and ``ct_contrast`` in HU; None or absent where there is none.
        recipe: says which channels.
        grid: of the answer.
        known: values of an image on ``grid``, float32 (Z, Y, X), where the caller has them already.

    Returns:
        float32 (C, Z, Y, X).

    Raises:
        ModelError: the model needs an image that is not there, or asks for an unknown one.
        InputError: an image holds values that are not finite.
    """
    values: dict[str, np.ndarray | None] = dict(known or {})
    array = np.empty((len(recipe.channels), *grid.shape_zyx), np.float32)
    for index, channel in enumerate(recipe.channels):
        if channel.image not in values:
            values[channel.image] = _image_on_grid(images, channel, grid, recipe.name)
        if values[channel.image] is None and channel.missing is None:
            raise ModelError(_missing(channel.image, recipe.name))
        _fill_channel(array[index], values[channel.image], channel)
    return array


def suv_on_grid(study: Study, grid: Geometry) -> np.ndarray:
    """The PET on ``grid``, SUV, float32 (Z, Y, X); 0 where the PET does not reach."""
    return _suv_on_grid(study.pet, grid)


def _suv_on_grid(pet: sitk.Image, grid: Geometry) -> np.ndarray:
    suv = sitk.GetArrayFromImage(resample(anti_aliased(pet, grid), grid, outside=0.0))
    if not np.isfinite(suv).all():
        raise InputError(
            "The PET holds values that are not finite (NaN or infinity), so SUV cannot be read from it. "
            "Export the series again."
        )
    return suv


def anti_aliased(image: sitk.Image, grid: Geometry) -> sitk.Image:
    """``image`` near ``grid`` as 32-bit float, blurred along the axes on which it is finer than the grid.

    Sampling a 1 mm CT every 2.5 mm would let the noise of single voxels through. The blur has the variance of a box
    of the grid's voxel: whole voxels are averaged first (cheap, on the integers as stored), the rest is a Gaussian.
    Only the part of the image that ``grid`` needs is kept; an image that does not meet the grid is returned as it is
    in one voxel of it.
    """
    image = _cropped_to(image, grid)
    target = min(grid.spacing_mm)
    factors = [
        max(1, min(int(target / spacing + 1e-6), size))
        for spacing, size in zip(image.GetSpacing(), image.GetSize(), strict=True)
    ]
    if max(factors) > 1:
        image = sitk.BinShrink(image, factors)
    image = sitk.Cast(image, sitk.sitkFloat32)
    spacing = np.array(image.GetSpacing())
    variance = np.clip(target**2 - spacing**2, 0.0, None) * BOX_VARIANCE
    # A Gaussian much narrower than a voxel does nothing but cost time.
    variance[variance < (0.2 * spacing) ** 2] = 0.0
    if variance.any():
        image = sitk.DiscreteGaussian(image, variance.tolist(), 16, 0.01, True)
    return image


def _cropped_to(image: sitk.Image, grid: Geometry) -> sitk.Image:
    """The voxels of ``image`` that a resampling onto ``grid`` can ask for, with a margin for the blur."""
    geometry = Geometry.from_image(image)
    low, high = grid.bounds_mm()
    corners = np.array([(x, y, z) for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
    index = geometry.to_ijk(corners)
    margin = np.ceil(2.0 * max(grid.spacing_mm) / np.array(geometry.spacing_mm)) + 1
    size = np.array(geometry.size)
    start = np.clip(np.floor(index.min(axis=0) - margin), 0, size - 1).astype(int)
    stop = np.clip(np.ceil(index.max(axis=0) + margin) + 1, start + 1, size).astype(int)
    return sitk.RegionOfInterest(image, (stop - start).tolist(), start.tolist())


def _image_on_grid(
    images: Mapping[str, sitk.Image | None], channel: Channel, grid: Geometry, recipe_name: str
) -> np.ndarray | None:
    """An image on the grid, NaN where a CT does not reach; None when there is no such image."""
    if channel.image not in NAMES:
        raise ModelError(f"Recipe '{recipe_name}' asks for the image '{channel.image}'; there are {', '.join(NAMES)}.")
    image = images.get(channel.image)
    if image is None:
        return None
    if channel.image == PET:
        return _suv_on_grid(image, grid)
    near = anti_aliased(image, grid)
    if not np.isfinite(sitk.GetArrayViewFromImage(near)).all():
        name = NAMES[channel.image]
        raise InputError(f"The {name} holds values that are not finite (NaN or infinity). Export the series again.")
    return sitk.GetArrayFromImage(resample(near, grid, outside=float("nan")))


def _missing(image: str, recipe_name: str) -> str:
    if image == CT:
        return (
            f"The model (recipe '{recipe_name}') needs a CT and the study has none. Give the CT with --ct, or "
            "choose a model that runs on PET alone."
        )
    how = ""
    if image == CT_CONTRAST:
        how = (
            "Name its file in the column 'ct_contrast' of a CSV, or make it a channel of nnU-Net's layout with "
            "'contrast' in its name; 'hntumorseg run' has no place for it. The plain CT is not taken in its place: "
            "where there is no other, use a recipe of one CT ('yang2023_one_ct'), or a model that was trained by one."
        )
    return (
        f"The model (recipe '{recipe_name}') needs a {NAMES[image]} and the study has none. "
        f"{how or 'Choose a model that does without it.'}"
    )


def _fill_channel(out: np.ndarray, values: np.ndarray | None, channel: Channel) -> None:
    """Write ``values`` through the channel's window into ``out``."""
    if values is None:
        out[:] = channel.missing
        return
    low, high = channel.window
    np.subtract(values, low, out=out)
    out /= high - low
    np.clip(out, 0.0, 1.0, out=out)
    np.nan_to_num(out, copy=False, nan=0.0 if channel.missing is None else channel.missing)
