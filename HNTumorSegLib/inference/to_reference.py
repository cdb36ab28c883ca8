"""Class probabilities from the model's grid to the user's, and the voxel decision there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import GeometryError
from HNTumorSegLib.geometry import Geometry, image_from_array, resample
from HNTumorSegLib.lesions.codes import LABEL_NODE, LABEL_PRIMARY

NEGLIGIBLE = 1e-3
"""Where tumour of either kind is less probable than this on the model's grid, everything is background: 0."""

SAME_POSITION_MM = 1e-6
SLAB_SLICES = 32

Index = tuple[int, int, int]
Box = tuple[Index, Index]
"""First voxel and size, ijk."""


@dataclass
class ReferenceImages:
    """Labels (unsigned 8-bit), probabilities and uncertainties (32-bit float), all on the reference grid."""

    labels: sitk.Image
    primary: sitk.Image
    node: sitk.Image
    uncertainty: sitk.Image
    spread: sitk.Image | None = None


def images_on_reference(
    foreground: np.ndarray, grid: Geometry, reference: sitk.Image, spread: np.ndarray | None = None
) -> ReferenceImages:
    """Resample probabilities linearly onto the reference grid, then decide each voxel (Nikulin et al. 2023).

    The decision is the most probable of background, primary tumour and node. Uncertainty is the entropy of the three
    over log 3. Only the box that can hold tumour is computed, so the cost does not grow with the CT.

    Args:
        foreground: float32 (2, Z, Y, X), probability of primary tumour and of node on ``grid``.
        grid: the model's grid.
        reference: the PET or the CT; only its grid is used.
        spread: float32 (Z, Y, X) of the ensemble on ``grid``, if there is one.
    """
    target = Geometry.from_image(reference)
    images = ReferenceImages(
        labels=_empty(target, sitk.sitkUInt8),
        primary=_empty(target, sitk.sitkFloat32),
        node=_empty(target, sitk.sitkFloat32),
        uncertainty=_empty(target, sitk.sitkFloat32),
        spread=None if spread is None else _empty(target, sitk.sitkFloat32),
    )
    box = _tumour_box(foreground, grid, target)
    if box is not None:
        probabilities = [image_from_array(p, grid) for p in foreground]
        apart = None if spread is None else image_from_array(spread, grid)
        for slab in _slabs(*box):
            _fill(images, probabilities, target, slab)
            if apart is not None:
                _paste(images.spread, sitk.GetArrayFromImage(resample(apart, target.crop(*slab))), slab)
    for image in (images.labels, images.primary, images.node, images.uncertainty, images.spread):
        if image is not None and Geometry.from_image(image).distance_mm(target) > SAME_POSITION_MM:
            raise GeometryError("The delineation does not lie on the reference grid; this is a defect of HNTumorSeg.")
    return images


def _slabs(start: Index, size: Index) -> Iterator[Box]:
    """The box in pieces of a few slices, so that working memory does not grow with it."""
    for k in range(start[2], start[2] + size[2], SLAB_SLICES):
        yield (*start[:2], k), (*size[:2], min(SLAB_SLICES, start[2] + size[2] - k))


def _fill(images: ReferenceImages, probabilities: list[sitk.Image], target: Geometry, box: Box) -> None:
    """Resample, decide and write the voxels of one box."""
    part = target.crop(*box)
    primary, node = (np.clip(sitk.GetArrayFromImage(resample(p, part)), 0.0, 1.0) for p in probabilities)
    background = np.clip(1.0 - primary - node, 0.0, 1.0)
    _paste(images.primary, primary, box)
    _paste(images.node, node, box)
    _paste(images.labels, decide(background, primary, node), box)
    _paste(images.uncertainty, normalised_entropy(background, primary, node), box)


def decide(background: np.ndarray, primary: np.ndarray, node: np.ndarray) -> np.ndarray:
    """The most probable class of each voxel, unsigned 8-bit: 0, 1 (primary tumour) or 2 (node); the lower on a tie."""
    labels = np.where(primary > background, LABEL_PRIMARY, 0).astype(np.uint8)
    labels[node > np.maximum(primary, background)] = LABEL_NODE
    return labels


def normalised_entropy(*probabilities: np.ndarray) -> np.ndarray:
    """Shannon entropy of the given class probabilities over its highest value, 0 (sure) to 1, float32."""
    total = np.zeros_like(probabilities[0], np.float32)
    for p in probabilities:
        total += surprise(p)
    return np.clip(total / np.float32(np.log(len(probabilities))), 0.0, 1.0)


def surprise(probability: np.ndarray) -> np.ndarray:
    """A class's part in the entropy, -p log p, float32; what rounding took below 0 counts as 0."""
    p = np.maximum(probability, np.float32(0))
    return -p * np.log(np.maximum(p, np.float32(1e-12)))


def _empty(geometry: Geometry, pixel_type: int) -> sitk.Image:
    image = sitk.Image(geometry.size, pixel_type)
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction)
    return image


def _tumour_box(foreground: np.ndarray, grid: Geometry, target: Geometry) -> Box | None:
    """First voxel and size (ijk) of the target's box around all that may be tumour; None when nothing may."""
    mask = foreground.sum(axis=0) > NEGLIGIBLE
    spans = []
    for axis in (2, 1, 0):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if hit.size == 0:
            return None
        spans.append((hit[0] - 1, hit[-1] + 1))  # linear interpolation reaches one voxel further
    corners = np.array([(i, j, k) for i in spans[0] for j in spans[1] for k in spans[2]], float)
    index = target.to_ijk(grid.to_lps(corners))
    start = np.clip(np.floor(index.min(axis=0)), 0, None).astype(int)
    stop = np.clip(np.ceil(index.max(axis=0)) + 1, None, target.size).astype(int)
    if np.any(stop <= start):
        return None
    return tuple(int(n) for n in start), tuple(int(n) for n in stop - start)


def _paste(image: sitk.Image, values: np.ndarray, box: Box) -> None:
    """Write ``values`` (zyx) into the box of ``image``."""
    (i, j, k), (ni, nj, nk) = box
    image[i : i + ni, j : j + nj, k : k + nk] = sitk.GetImageFromArray(values)
