"""Images, lesions and settings for the tests of radiomics, and the plain pyradiomics call they are compared with."""

from __future__ import annotations

import copy

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.lesions.lesion import Lesion
from HNTumorSegLib.lesions.lesion_set import LesionSet
from HNTumorSegLib.measures.radiomics_package import make_extractor, quiet_radiomics
from HNTumorSegLib.measures.radiomics_settings import RadiomicsSettings

OBLIQUE = tuple(np.linalg.qr(np.array([[0.9, 0.2, -0.3], [-0.1, 0.95, 0.25], [0.35, -0.2, 0.9]]))[0].ravel().tolist())


def grid(size=(40, 36, 30), spacing=(1.5, 1.3, 3.0), direction=OBLIQUE) -> Geometry:
    return Geometry(size, spacing, (-40.0, 25.0, 310.0), direction)


def texture(geometry: Geometry, *, seed: int = 1, scale: float = 400.0, kind=np.int16) -> sitk.Image:
    """Smooth noise: HU for integers, positive like SUV for floats."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, scale, geometry.shape_zyx), 1)
    return image_from_array((noise if kind == np.int16 else np.abs(noise)).astype(kind), geometry)


def ball(geometry: Geometry, center_ijk, radius_mm: float) -> np.ndarray:
    zyx = np.stack(np.meshgrid(*[np.arange(n) for n in geometry.shape_zyx], indexing="ij"), -1)
    offset = (zyx[..., ::-1] - np.array(center_ijk)) * geometry.spacing_mm
    return np.linalg.norm(offset, axis=-1) <= radius_mm


def lesion_set(geometry: Geometry, *masks, kinds=None) -> LesionSet:
    labels = np.zeros(geometry.shape_zyx, np.uint16)
    kinds = kinds or ["primary"] * len(masks)
    for number, mask in enumerate(masks, start=1):
        labels[mask] = number
    return LesionSet(geometry, labels, [Lesion(n, k, f"Lesion {n}") for n, k in enumerate(kinds, start=1)])


def settings(image_types=None, classes=("firstorder", "shape"), drop=(), **setting) -> RadiomicsSettings:
    """The settings that ship, with these changes, for both images."""
    images = copy.deepcopy(RadiomicsSettings.default().images)
    for parameters in images.values():
        parameters["setting"].update(setting)
        for key in drop:
            del parameters["setting"][key]
        parameters["featureClass"] = {name: [] for name in classes}
        if image_types is not None:
            parameters["imageType"] = image_types
    return RadiomicsSettings(images, "test")


def plain(image: sitk.Image, mask_zyx: np.ndarray, parameters: dict) -> dict[str, float]:
    """One plain pyradiomics call on the whole image, the mask on its grid."""
    mask = image_from_array(mask_zyx.astype(np.uint8), Geometry.from_image(image))
    with quiet_radiomics():
        found = make_extractor(parameters).execute(image, mask)
    return {key: float(value) for key, value in found.items()}


def members(lesions: LesionSet, row_id) -> np.ndarray:
    """Boolean zyx mask of a row."""
    ids = [x.id for x in lesions.lesions if row_id in (x.id, x.kind, "total")]
    return np.isin(lesions.labels, ids)
