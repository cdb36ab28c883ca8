"""Features of one lesion on one image by pyradiomics, and what is not defined.

Policy, applied in this order; what is not defined is None (an empty cell), and a sentence says why:

- No voxel, part of the lesion outside the image, or a value in the lesion that is not finite: nothing is defined.
- One voxel: pyradiomics refuses it. Defined are the first-order features of the original image that need no spread
  (mean, energy, percentiles, ...; range and variance are 0) and the voxel volume.
- A feature that is NaN or infinite, or that pyradiomics could not compute, is not defined.
- All voxels equal: skewness and kurtosis are 0/0 (pyradiomics says 0). All neighbouring voxels in one grey level:
  correlation, MCC and IMC1 are 0/0 (pyradiomics says 1, 1, 0), as are contrast, busyness and strength of the NGTDM
  (pyradiomics says 0), and coarseness is 1/0 (pyradiomics says 1,000,000). These placeholders would enter a model as
  measurements, so they are not defined here. They are the only values that differ from a plain pyradiomics call.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.measures.radiomics_package import make_extractor, quiet_radiomics, require_radiomics

if TYPE_CHECKING:
    from radiomics.featureextractor import RadiomicsFeatureExtractor

MOST_GREY_LEVELS = 2000
"""The co-occurrence matrices of one lesion then take 400 MB; a CT with metal has 1,200 levels of 25 HU."""

_SPREADLESS = ("firstorder_Skewness", "firstorder_Kurtosis")
_ONE_LEVEL = {
    ("firstorder_Range", 0.0): _SPREADLESS,
    ("firstorder_Variance", 0.0): _SPREADLESS,
    ("glcm_MaximumProbability", 1.0): ("glcm_Correlation", "glcm_MCC", "glcm_Imc1"),
    ("glcm_JointEnergy", 1.0): ("glcm_Correlation", "glcm_MCC", "glcm_Imc1"),
    ("ngtdm_Coarseness", 1e6): ("ngtdm_Coarseness", "ngtdm_Contrast", "ngtdm_Busyness", "ngtdm_Strength"),
}
"""A feature and the value that shows a uniform lesion, and the features that are 0/0 or 1/0 then."""


@dataclass(frozen=True)
class Extraction:
    """Features by name, None where not defined, and why in words (empty when all are)."""

    features: dict[str, float | None] = field(default_factory=dict)
    note: str = ""


@lru_cache(maxsize=8)
def _extractor(parameters_json: str) -> RadiomicsFeatureExtractor:
    """Made once: reading pyradiomics' schema takes longer than measuring a small lesion."""
    return make_extractor(json.loads(parameters_json))


@lru_cache(maxsize=8)
def _feature_names(parameters_json: str) -> tuple[str, ...]:
    parameters = json.loads(parameters_json)
    setting = dict(parameters.get("setting") or {})
    for key in ("resampledPixelSpacing", "normalize", "resegmentRange", "minimumROISize", "preCrop"):
        setting.pop(key, None)
    parameters["setting"] = {**setting, "additionalInfo": False, "binWidth": 0.1}
    setting.pop("binCount", None)
    sigmas = [s for kind in (parameters.get("imageType") or {}).values() for s in (kind or {}).get("sigma") or []]
    z, y, x = np.ogrid[:12, :12, :12]
    ball = (z - 5.5) ** 2 + (y - 5.5) ** 2 + (x - 5.5) ** 2 < 20
    image = sitk.GetImageFromArray(np.sin(1.0 * z + 2 * y + 3 * x))
    mask = sitk.GetImageFromArray(ball.astype(np.uint8))
    for probe in (image, mask):
        probe.SetSpacing([max([1.0, *sigmas, *setting.get("sigma", [])])] * 3)
    extractor = make_extractor(parameters)
    with quiet_radiomics():
        return tuple(extractor.execute(image, mask))


def feature_names(parameters: dict[str, Any]) -> tuple[str, ...]:
    """The features that pyradiomics computes with these parameters, in its order: asked of it with a small ball."""
    return _feature_names(json.dumps(parameters, sort_keys=False))


def nothing_defined(parameters: dict[str, Any], note: str) -> Extraction:
    """All features None."""
    return Extraction(dict.fromkeys(feature_names(parameters)), note)


def extract(image: sitk.Image, mask: sitk.Image, parameters: dict[str, Any], name: str) -> Extraction:
    """Features of one lesion.

    Args:
        image, mask: from :func:`radiomics_crop.cropped`; 1 in the lesion.
        parameters: from :func:`radiomics_crop.remaining_parameters`.
        name: of the lesion and the image, for messages.
    """
    inside = sitk.GetArrayViewFromImage(image)[sitk.GetArrayViewFromImage(mask) == 1]
    problem = _problem(inside, parameters, name)
    if problem:
        return nothing_defined(parameters, problem)
    if inside.size == 1:
        return _one_voxel(image, mask, parameters, name)
    extractor = _extractor(json.dumps(parameters))
    with quiet_radiomics():
        try:
            found = extractor.execute(image, mask, label=1)
        except (ValueError, RuntimeError) as error:
            return nothing_defined(parameters, f"{name}: pyradiomics refuses it: {' '.join(str(error).split())}")
    return _with_policy({key: float(value) for key, value in found.items()}, parameters, name)


def _problem(inside: np.ndarray, parameters: dict[str, Any], name: str) -> str:
    """Why these values cannot be measured; empty when they can."""
    if not inside.size:
        return (
            f"{name}: no voxel of it is left on the grid that the radiomics settings resample to; it is too small for "
            "that voxel size."
        )
    unknown = int(inside.size - np.count_nonzero(np.isfinite(inside)))
    if unknown:
        return (
            f"{name}: the image has no value (NaN or infinity) at {unknown} of its {inside.size} voxels. "
            "Repair the image or cut the lesion back."
        )
    setting = parameters.get("setting") or {}
    width = setting.get("binWidth", 25)
    levels = (float(inside.max()) - float(inside.min())) / width
    if setting.get("binCount") is None and levels > MOST_GREY_LEVELS:
        return (
            f"{name}: values from {inside.min():g} to {inside.max():g} would make {levels:.0f} grey levels of "
            f"{width:g}, more than {MOST_GREY_LEVELS}. Check the image's units (PET in SUVbw, CT in HU)."
        )
    return ""


def _one_voxel(image: sitk.Image, mask: sitk.Image, parameters: dict[str, Any], name: str) -> Extraction:
    """First-order features and the volume; see the policy above."""
    radiomics = require_radiomics()
    zyx = np.argwhere(sitk.GetArrayViewFromImage(mask) == 1)[0]
    start = [int(n) for n in zyx[::-1]]
    alone = [sitk.RegionOfInterest(what, (1, 1, 1), start) for what in (image, mask)]
    found: dict[str, float] = {"original_shape_VoxelVolume": float(np.prod(image.GetSpacing()))}
    with quiet_radiomics():
        first_order = radiomics.getFeatureClasses()["firstorder"](*alone, **(parameters.get("setting") or {}))
        first_order.enableAllFeatures()
        found |= {f"original_firstorder_{key}": float(value) for key, value in first_order.execute().items()}
    asked = feature_names(parameters)
    extraction = _with_policy({key: found[key] for key in asked if key in found}, parameters, name)
    return Extraction(
        extraction.features,
        f"{name} is a single voxel: shape and texture are not defined for it, nor what needs a spread of values.",
    )


def _with_policy(found: dict[str, float], parameters: dict[str, Any], name: str) -> Extraction:
    """None for whatever is not defined, in the order of :func:`feature_names`, with the reason."""
    features = {key: found.get(key) for key in (*feature_names(parameters), *found)}
    failed = [key for key, value in features.items() if value is None or not math.isfinite(value)]
    features.update(dict.fromkeys(failed))
    uniform = []
    for prefix in dict.fromkeys(key.split("_", 1)[0] for key in features):
        for (sign, shown_by), placeholders in _ONE_LEVEL.items():
            if found.get(f"{prefix}_{sign}") == shown_by:
                uniform += [f"{prefix}_{key}" for key in placeholders if features.get(f"{prefix}_{key}") is not None]
                features.update(dict.fromkeys(uniform))
    notes = []
    if uniform:
        notes.append(
            f"{name} is uniform (one value, or one grey level at this bin width): not defined are {_listed(uniform)}."
        )
    if failed:
        notes.append(f"{name}: pyradiomics has no value for {_listed(failed)}.")
    return Extraction(features, " ".join(notes))


def _listed(names: list[str], most: int = 8) -> str:
    """The names, the first few of them where there are many."""
    more = len(names) - most
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:most])} and {more} more"
