"""The outline of what a model found, placed where the network and the PET agree.

Blurred uptake falls to half of a lesion's height above its surroundings about where the lesion ends (thresholds adapted
to the background: Hofheinz et al., EJNMMI Research 2012;2:16), and a network sees context but not the scanner's blur:
of two estimates with errors of different origin the mean is better than either. A voxel belongs to a structure where
the weighted mean of its probability of tumour and of its height, 0 at the surroundings and 1 at the lesion, is at least
one half. The weight of the PET, the recipe's ``outline_pet_weight``, is below one half, so nothing is added where the
network sees no tumour at all (the brain beside a lesion), and nothing taken away where it is certain.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.geometry import Geometry, image_from_array, resample
from HNTumorSegLib.inference.not_brain import numbered_pieces
from HNTumorSegLib.lesions.lesion_set import Box, box_of_nonzero
from HNTumorSegLib.lesions.uptake import CORNERS

REACH_MM = 7.5
"""An outline moves outward by no more than this."""

SURROUNDINGS_MM = 15.0
"""The surroundings are what lies from :data:`REACH_MM` to this far from a structure."""

SMOOTHING_MM = 1.0
"""Standard deviation of a Gaussian against the noise of single voxels."""

HEIGHT_PERCENTILE = 90.0
"""Of the PET in the structure: the lesion's height, less moved by noise than its maximum."""

HIGHEST_SURROUNDINGS = 0.7
"""Of the lesion's height: hotter surroundings are another lesion or organ."""

USUAL_SURROUNDINGS_SUV = 1.0
FEW_VOXELS = 20
"""With fewer around it (the end of the scan, other lesions) the surroundings are taken for muscle and blood."""


def place_outlines(
    labels: sitk.Image,
    primary_probability: sitk.Image,
    node_probability: sitk.Image,
    pet: sitk.Image,
    pet_weight: float,
    minimum_lesion_ml: float = 0.0,
) -> sitk.Image:
    """The labels with the outline of each connected structure moved to where network and PET agree.

    What is added has the kind of the nearest voxel; structures do not grow together.

    Args:
        labels: unsigned 8-bit: 0 background, 1 primary tumour, 2 lymph-node metastasis, on any grid.
        primary_probability, node_probability: class probabilities on the same grid.
        pet: SUVbw, on any grid.
        pet_weight: of the PET beside the network, 0 to below 0.5; 0 leaves the labels as they are.
        minimum_lesion_ml: smaller structures stay as they are; they are too small for a lesion.

    Returns:
        The same image when there is nothing to do, else a new one.
    """
    array = sitk.GetArrayFromImage(labels)
    found = box_of_nonzero(array) if pet_weight > 0 else None
    if found is None:
        return labels
    pet = pet if pet.GetPixelID() == sitk.sitkFloat32 else sitk.Cast(pet, sitk.sitkFloat32)
    geometry = Geometry.from_image(labels)
    margin = [int(np.ceil(SURROUNDINGS_MM / d)) + 1 for d in geometry.spacing_zyx_mm]
    around = _widened(found, margin, array.shape)
    part, kinds = _cropped(geometry, around), array[around]
    probabilities = [sitk.GetArrayViewFromImage(p)[around] for p in (primary_probability, node_probability)]
    structures = numbered_pieces(kinds)
    smallest = minimum_lesion_ml / geometry.voxel_volume_ml
    for number, tight in enumerate(ndimage.find_objects(structures), 1):
        box = _widened(tight, margin, kinds.shape)
        before = structures[box] == number
        if np.count_nonzero(before) < smallest:
            continue
        tumour, suv = sum(p[box] for p in probabilities), _suv(pet, _cropped(part, box))
        placed, nearest = _placed(structures[box], number, tumour, suv, geometry.spacing_zyx_mm, pet_weight)
        kind = kinds[box][tuple(nearest)]
        kinds[box][before | placed] = 0
        kinds[box][placed] = kind[placed]
        structures[box][before] = 0
        structures[box][placed] = number
    return image_from_array(array, geometry)


def _widened(box: Box, margin: list[int], shape: tuple[int, ...]) -> Box:
    return tuple(slice(max(0, s.start - m), min(n, s.stop + m)) for s, m, n in zip(box, margin, shape, strict=True))


def _cropped(geometry: Geometry, box: Box) -> Geometry:
    return geometry.crop(tuple(s.start for s in reversed(box)), tuple(s.stop - s.start for s in reversed(box)))


def _suv(pet: sitk.Image, part: Geometry) -> np.ndarray:
    """The PET on a grid, SUVbw in g/ml, a little smoothed, zyx."""
    suv = sitk.GetArrayFromImage(resample(pet, part))
    return ndimage.gaussian_filter(suv, [SMOOTHING_MM / d for d in part.spacing_zyx_mm])


def _placed(
    structures: np.ndarray,
    number: int,
    tumour: np.ndarray,
    suv: np.ndarray,
    spacing_zyx_mm: tuple[float, float, float],
    pet_weight: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Mask of one structure with its new outline, and for each voxel of the box the structure's nearest one."""
    before = structures == number
    others = (structures > 0) & ~before
    far_mm, nearest = ndimage.distance_transform_edt(~before, sampling=spacing_zyx_mm, return_indices=True)
    free = np.ones(before.shape, bool)
    if others.any():  # up to halfway to the next structure, and never touching it
        free = far_mm < ndimage.distance_transform_edt(~others, sampling=spacing_zyx_mm)
        free &= ~ndimage.binary_dilation(others, CORNERS)
    around = suv[free & (far_mm > REACH_MM) & (far_mm <= SURROUNDINGS_MM)]
    height = float(np.percentile(suv[before], HEIGHT_PERCENTILE))
    base = float(np.median(around)) if around.size > FEW_VOXELS else USUAL_SURROUNDINGS_SUV
    base = min(base, HIGHEST_SURROUNDINGS * height)
    if height <= base:
        return before, nearest
    relative = np.clip((suv - base) / (height - base), 0.0, 1.0)
    agreed = (1 - pet_weight) * tumour + pet_weight * relative >= 0.5
    agreed &= before | (free & (far_mm <= REACH_MM))
    pieces = numbered_pieces(agreed)
    kept = np.unique(pieces[before & agreed])
    return (np.isin(pieces, kept[kept > 0]), nearest) if kept.any() else (before, nearest)
