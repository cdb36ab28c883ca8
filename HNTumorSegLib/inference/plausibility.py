"""Is this scan like those a head-and-neck model knows? A sentence for every way in which it is not.

A network answers whatever it is given. What is checked here is what a person would see at a glance: a head and neck,
tissue with the uptake of tissue, a CT in Hounsfield units. Nothing stops the run. A missing correction for attenuation
is not looked for in the picture (simulated, the ratio of skin to depth does not tell it); DICOM says it in its header,
see :mod:`HNTumorSegLib.study.suv`.

Where the limits come from: normal FDG uptake (Wang et al., Mol Imaging Biol 2007;9:83: in 98 patients few tissues
exceed a mean SUV of 2.5; cerebellum 8.0 +- 2.2, tonsils 3.5 +- 1.4), widened until the phantom families and the real
scans at hand (limbs and a whole body: median of the body 0.4 to 0.8) lie well inside. An error of SUV by less than a
factor of about 3 is therefore not seen here.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.geometry import Geometry, resample
from HNTumorSegLib.inference.region import (
    BRAIN,
    BRAIN_SUV,
    COARSE_MM,
    CUT_BRAIN,
    NO_BRAIN,
    SHOULDERS,
    HeadNeckRegion,
    sharper_suv,
)
from HNTumorSegLib.study.study import Study

TISSUE_SUV = (0.2, 3.0)
"""Median SUV of a body: mostly muscle, fat and blood."""

BRAIN_MEDIAN_SUV_MAX = 20.0
"""Median of the brain's hot part. Grey matter has 5 to 15."""

BODY_SHARE_OF_HOT = 0.04
"""The body is what exceeds this share of the 99.5 % point: SUV 0.3 where the brain has 8, whatever the scale."""

LEAST_BODY_ML = 500.0

VOXEL_MAX_MM = 6.0
"""The scanners that the phantom is drawn from have pixels to 5.5 mm and slices to 5 mm; see its ``PET_GRIDS``."""

CUT_BRAIN_SHARE = 0.12
"""Of its slice. Brains cut a centimetre above their base fill 0.17 to 0.3 of it, a hot limb tumour at the end 0.09."""

TISSUE_HU = (-200.0, 200.0)
"""Median of the CT within the PET's body: between fat and contrast-filled tissue."""

SOFT_TISSUE_MIN_HU, AIR_MAX_HU = -300.0, -400.0
NECK_CM2 = (60.0, 350.0)
AIRWAY_CM2 = (0.5, 12.0)
AIRWAY_LENGTH_MM = 50.0
"""Pharynx, larynx and upper trachea: a lumen of 1 to 5 cm2 over some 15 cm in slices no larger than a head's; gas in
the bowel lies in slices of more than 400 cm2."""

SKULL_HU, INSIDE_SKULL_CM2, SKULL_HEIGHT_MM = 250.0, 60.0, 40.0
"""A ring of bone that encloses this area over this height is a skull, in which a brain must take up FDG."""

FEW_VOXELS = 50


def implausible(study: Study, region: HeadNeckRegion) -> list[str]:
    """Sentences about what is unlike the scans a head-and-neck model was made for; empty when nothing is.

    Args:
        study: PET in SUVbw, CT in HU if there is one.
        region: what :func:`HNTumorSegLib.inference.region.find_head_neck` says of its PET.
    """
    pet = study.pet if study.pet.GetPixelID() == sitk.sitkFloat32 else sitk.Cast(study.pet, sitk.sitkFloat32)
    grid = Geometry.from_image(pet).axis_aligned(COARSE_MM)
    suv = sitk.GetArrayFromImage(resample(pet, grid))
    hu = None if study.ct is None else sitk.GetArrayFromImage(resample(study.ct, grid, outside=np.nan))
    body = _body(suv)
    sentences = [_coarse(study.pet_geometry)]
    if np.count_nonzero(body) * grid.voxel_volume_ml < LEAST_BODY_ML:
        sentences.append(
            "The PET shows less than half a litre of tissue: that is no head and neck. Do not rely on what the model "
            "marked or left out."
        )
        return [sentence for sentence in sentences if sentence]
    scale = _suv_scale(suv, body, region)
    # With a wrong scale everything else that rests on SUV is said wrongly too.
    sentences += [scale] if scale else [_no_head_neck(hu, grid, region)]
    sentences.append(_unlike_hu(hu, body))
    return [sentence for sentence in sentences if sentence]


def _body(suv: np.ndarray) -> np.ndarray:
    """The patient, whatever the scale of the values: the largest connected part that is not air."""
    body = ndimage.gaussian_filter(suv, 1.0) > BODY_SHARE_OF_HOT * np.percentile(suv, 99.5)
    parts, count = ndimage.label(body & (suv > 0))
    if count == 0:
        return np.zeros(suv.shape, bool)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return parts == sizes.argmax()


def _coarse(pet: Geometry) -> str:
    if max(pet.spacing_mm) <= VOXEL_MAX_MM:
        return ""
    size = " x ".join(f"{x:.1f}" for x in pet.spacing_mm)
    return (
        f"The PET's voxels measure {size} mm; the model was made for voxels of up to {VOXEL_MAX_MM:g} mm. Nodes below "
        "about 2 cm may be missed and volumes are rough."
    )


def _suv_scale(suv: np.ndarray, body: np.ndarray, region: HeadNeckRegion) -> str:
    """Whether tissue has the uptake of tissue, and the brain that of brain."""
    usual, (low, high) = float(np.median(suv[body])), TISSUE_SUV
    advice = "Check units, weight, dose and times of the PET; lesions are found and measured wrongly with a wrong SUV."
    if not low <= usual <= high:
        return (
            f"The SUV seems to be wrong: half of the body lies below {usual:.3g}, where muscle, fat and blood give "
            f"{low:g} to {high:g}. {advice}"
        )
    if region.seen == BRAIN:
        hot = sharper_suv(suv) > BRAIN_SUV[-1]
        parts, _ = ndimage.label(hot)
        brain = parts == np.bincount(parts[hot]).argmax()
        of_brain = float(np.median(suv[brain]))
        if of_brain > BRAIN_MEDIAN_SUV_MAX:
            return (
                f"The SUV seems to be too high: the brain has {of_brain:.3g}, where 5 to 15 is usual and "
                f"{BRAIN_MEDIAN_SUV_MAX:g} is rare. {advice}"
            )
    return ""


def _no_head_neck(hu: np.ndarray | None, grid: Geometry, region: HeadNeckRegion) -> str:
    """Neither a brain nor the airway of a neck; of a long scan without brain the region's own sentence speaks."""
    if region.seen == BRAIN or (region.seen == CUT_BRAIN and region.seen_share >= CUT_BRAIN_SHARE):
        return ""
    if hu is not None and skull_seen(hu, grid):
        return (
            f"The CT shows the inside of a skull, but the PET no brain (nothing as large above SUV {BRAIN_SUV[-1]:g}). "
            "Check tracer, blood sugar and SUV of the PET: lesions may be missed for the same reason."
        )
    if region.found in (NO_BRAIN, SHOULDERS) or (hu is not None and airway_seen(hu, grid)):
        return ""
    where = "no brain uptake in the PET" + ("" if hu is None else ", no airway of a neck in the CT")
    return (
        f"No head and neck was recognised in this scan ({where}). If it shows another part of the body, do not rely on "
        "what the model marked or left out: it knows nothing else. If it does show the neck, from below the brain, "
        "check the result with more care; if the brain is in it, check tracer, blood sugar and SUV."
    )


def airway_seen(hu: np.ndarray, grid: Geometry) -> bool:
    """Whether a CT shows an air-filled tube of the size of pharynx and trachea in slices of the size of a neck.

    Args:
        hu: zyx array; NaN where there is no CT.
        grid: its grid along L, P and S, isotropic.
    """
    pixel_cm2 = grid.spacing_mm[0] * grid.spacing_mm[1] / 100.0
    lumen = np.zeros(hu.shape, bool)
    for values, found in zip(hu, lumen, strict=True):
        parts, count = ndimage.label(values > SOFT_TISSUE_MIN_HU)
        if count == 0:
            continue
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        filled = ndimage.binary_fill_holes(parts == sizes.argmax())
        if not NECK_CM2[0] <= np.count_nonzero(filled) * pixel_cm2 <= NECK_CM2[1]:
            continue
        found |= filled & (values < AIR_MAX_HU)
    tubes, _ = ndimage.label(lumen, np.ones((3, 3, 3), bool))
    for number, box in enumerate(ndimage.find_objects(tubes), 1):
        cm2 = (tubes[box] == number).sum(axis=(1, 2)) * pixel_cm2
        wide = (cm2 >= AIRWAY_CM2[0]) & (cm2 <= AIRWAY_CM2[1])
        if np.count_nonzero(wide) * grid.spacing_mm[2] >= AIRWAY_LENGTH_MM:
            return True
    return False


def skull_seen(hu: np.ndarray, grid: Geometry) -> bool:
    """Whether a CT shows slices through the skull above its base; arguments as :func:`airway_seen`."""
    pixel_cm2 = grid.spacing_mm[0] * grid.spacing_mm[1] / 100.0
    cm2 = []
    for values in hu:
        bone = np.pad(values > SKULL_HU, 2)
        bone = ndimage.binary_closing(bone, iterations=2)
        cm2.append(np.count_nonzero(ndimage.binary_fill_holes(bone) & ~bone) * pixel_cm2)
    return np.count_nonzero(np.array(cm2) >= INSIDE_SKULL_CM2) * grid.spacing_mm[2] >= SKULL_HEIGHT_MM


def _unlike_hu(hu: np.ndarray | None, body: np.ndarray) -> str:
    if hu is None:
        return ""
    values = hu[body & np.isfinite(hu)]
    if values.size < FEW_VOXELS:
        return ""
    usual, (low, high) = float(np.median(values)), TISSUE_HU
    if low <= usual <= high:
        return ""
    return (
        f"Where the PET shows the body, half of the CT lies below {usual:.0f} HU; tissue lies between {low:g} and "
        f"{high:g}. Either the CT is not in Hounsfield units or it does not lie where the PET does. Check it, or run "
        "without the CT."
    )
