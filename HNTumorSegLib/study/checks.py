"""Are the voxels believable, and do PET and CT belong together?"""

from __future__ import annotations

import hashlib

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import GeometryError, InputError, SuvError
from HNTumorSegLib.geometry import Geometry, overlap_fraction
from HNTumorSegLib.study.study import SeriesInfo

SUV_PLAUSIBLE_MAX = (0.5, 200.0)
"""The highest voxel of a PET: below, nothing was injected or scaled twice; above, only a full bladder or Bq/ml."""
MIN_OVERLAP = 0.1
"""PET and CT must share at least this part of the smaller one's box."""
GOOD_OVERLAP = 0.5


def require_finite(image: sitk.Image, what: str) -> None:
    """Raise :class:`InputError` with the number of voxels that are NaN or infinite, or when all voxels are equal."""
    voxels = sitk.GetArrayViewFromImage(image)
    bad = 0
    if voxels.dtype.kind == "f":
        # A slice at a time: a mask of the whole volume would cost a quarter of it again.
        bad = sum(int(np.count_nonzero(~np.isfinite(part))) for part in voxels)
    if bad:
        raise InputError(
            f"The {what} has {bad} voxels that are NaN or infinite (of {voxels.size}). Replace them (with 0 "
            "in a PET, "
            "-1024 in a CT) or export the image again."
        )
    if voxels.min() == voxels.max():
        raise InputError(f"All voxels of the {what} are {voxels.flat[0]:g}: there is no picture in it.")


def suv_warnings(pet: sitk.Image) -> list[str]:
    """Sentences about SUV that is unlikely in a patient."""
    voxels = sitk.GetArrayViewFromImage(pet)
    low, high = float(voxels.min()), float(voxels.max())
    sentences = []
    if high < SUV_PLAUSIBLE_MAX[0]:
        sentences.append(
            f"The PET's highest SUV is {high:.3g}; brain or bladder usually exceed 5. Check units and dose."
        )
    if high > SUV_PLAUSIBLE_MAX[1]:
        # Every 7th voxel is enough for a percentile of millions.
        usual = float(np.percentile(voxels.ravel()[::7], 99.9))
        sentences.append(
            f"The PET's highest SUV is {high:.4g} (99.9 % of the voxels lie below {usual:.3g}); above "
            f"{SUV_PLAUSIBLE_MAX[1]:g} is not plausible unless it is the bladder or the injection site. "
            "Check units and dose."
        )
    if low < -0.05 * high and low < -0.5:
        sentences.append(f"The PET goes down to SUV {low:.3g}; uptake cannot be negative. Check the reconstruction.")
    return sentences


def require_suv_not_activity(pet: sitk.Image, where: str) -> None:
    """Raise :class:`SuvError` when a file that says SUVbw holds Bq/ml by its numbers (99.9 percent point above 500)."""
    usual = float(np.percentile(sitk.GetArrayViewFromImage(pet).ravel()[::7], 99.9))
    if usual > 500:
        raise SuvError(
            f"'{where}' is said to be SUVbw, but a thousandth of its voxels exceed {usual:.4g}: that is "
            "Bq/ml. Give the "
            "factor from Bq/ml to SUVbw (weight in g / dose in Bq at scan time) with --suv-factor."
        )


def hu_warnings(ct: sitk.Image) -> list[str]:
    """Sentences about a CT that does not look like Hounsfield units."""
    voxels = sitk.GetArrayViewFromImage(ct)
    low, high = float(voxels.min()), float(voxels.max())
    if low > -200 or high < 100 or high > 40000:
        return [f"The CT's values run from {low:g} to {high:g}, unlike Hounsfield units with air and bone. Check it."]
    return []


def pair_warnings(pet: Geometry, ct: Geometry, pet_info: SeriesInfo, ct_info: SeriesInfo) -> list[str]:
    """Check that PET and CT are of one patient and lie in one place; sentences for what is merely odd.

    Raises:
        InputError: two patients.
        GeometryError: hardly any overlap.
    """
    if pet_info.patient_id and ct_info.patient_id and pet_info.patient_id != ct_info.patient_id:
        raise InputError(
            f"PET ('{pet_info.description}') and CT ('{ct_info.description}') are of two different patients (their "
            "Patient IDs, 0010,0020, differ). Give the CT of the PET's patient."
        )
    share = max(overlap_fraction(pet, ct), overlap_fraction(ct, pet))
    if share < MIN_OVERLAP:
        raise GeometryError(
            f"PET and CT do not lie in the same place: they share {100 * share:.0f} percent of the smaller one's box "
            f"(at least {100 * MIN_OVERLAP:.0f} is needed; PET {_box(pet)}, CT {_box(ct)}). Give the CT of this scan."
        )
    sentences = []
    if share < GOOD_OVERLAP:
        sentences.append(
            f"PET and CT share only {100 * share:.0f} percent of the smaller one's box. Check that they match."
        )
    frames = pet_info.frame_of_reference_uid, ct_info.frame_of_reference_uid
    if all(frames) and frames[0] != frames[1]:
        sentences.append(
            "PET and CT have different frames of reference (0020,0052): they may not be registered to each other."
        )
    return sentences


def pixel_sha256(image: sitk.Image) -> str:
    """SHA-256 of an image's grid, voxel type and voxels: names nobody."""
    geometry = Geometry.from_image(image)
    voxels = sitk.GetArrayViewFromImage(image)
    digest = hashlib.sha256(voxels.dtype.newbyteorder("<").str.encode())
    digest.update(np.array(geometry.size, "<i8").tobytes())
    digest.update(np.array([*geometry.spacing_mm, *geometry.origin_mm, *geometry.direction], "<f8").tobytes())
    for part in voxels:
        digest.update(np.ascontiguousarray(part, part.dtype.newbyteorder("<")))
    return digest.hexdigest()


def _box(geometry: Geometry) -> str:
    low, high = geometry.bounds_mm()
    return "[" + ", ".join(f"{a:.0f}..{b:.0f}" for a, b in zip(low, high, strict=True)) + "] mm"
