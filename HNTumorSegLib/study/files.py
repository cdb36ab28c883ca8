"""NIfTI, NRRD and MetaImage files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.study.nifti_check import require_whole_nifti

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_UNIT_KEYS = re.compile(r"unit|quantity|intent_name|descrip|suv|0054[|,_ ]?1001", re.IGNORECASE)
_SUVBW = re.compile(
    r"suv[ _-]*\(?bw|suvbw|^g[/ ]*ml$|^\[?gml\]?$|standardi[sz]ed uptake value body weight", re.IGNORECASE
)
_OTHER_SUV = re.compile(r"suv[ _-]*\(?(lbm|bsa|ibw|lean)", re.IGNORECASE)


def is_image_file(path: Path) -> bool:
    """Whether the name is one of :data:`SUFFIXES`."""
    return path.name.lower().endswith(SUFFIXES)


def read_image_file(path: Path, what: str) -> sitk.Image:
    """A 3-D scalar image from a file; a fourth axis of length 1 is dropped.

    Args:
        path: NIfTI, NRRD or MetaImage.
        what: "PET" or "CT", for messages.

    Raises:
        InputError: unreadable, damaged, unknown format, not 3-D, or not one real number a voxel.
    """
    if not is_image_file(path):
        raise InputError(
            f"The format of the {what} '{path}' is not known. Give a DICOM folder or a file that ends in "
            f"{', '.join(SUFFIXES)}."
        )
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                raise InputError(f"The {what} '{path}' is empty. Copy it again.")
        if path.name.lower().endswith((".nii", ".nii.gz")):
            require_whole_nifti(path, what)
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        if reader.GetPixelIDValue() == sitk.sitkFloat64:
            reader.SetOutputPixelType(sitk.sitkFloat32)  # a double whole-body CT would be a gigabyte
        image = reader.Execute()
    except OSError as error:
        raise InputError(f"The {what} '{path}' cannot be read ({error.strerror or error}).") from error
    except RuntimeError as error:
        raise InputError(
            f"The {what} '{path}' is damaged, cut short or not what its name says ({_reason(error)}). Copy "
            "or export it again."
        ) from error
    return _volume(image, path, what)


def as_hounsfield(image: sitk.Image) -> sitk.Image:
    """A CT as 16-bit integers where its values are whole numbers in range, otherwise as 32-bit float."""
    if image.GetPixelID() == sitk.sitkInt16:
        return image
    low, high = np.iinfo(np.int16).min, np.iinfo(np.int16).max
    for part in sitk.GetArrayViewFromImage(image):
        if part.min() < low or part.max() > high or (part.dtype.kind == "f" and (part != np.rint(part)).any()):
            return sitk.Cast(image, sitk.sitkFloat32)
    return sitk.Cast(image, sitk.sitkInt16)


def says_suvbw(image: sitk.Image) -> str:
    """The header entry by which a file says that its values are SUVbw ("key=value"), or an empty string.

    NIfTI's ``intent_name`` and ``descrip``, and NRRD or MetaImage keys that name a unit or quantity, are looked at.
    """
    return _entry(image, _SUVBW)


def says_other_suv(image: sitk.Image) -> str:
    """Like :func:`says_suvbw` for SUV by lean body mass, ideal weight or body surface."""
    return _entry(image, _OTHER_SUV)


def _entry(image: sitk.Image, pattern: re.Pattern[str]) -> str:
    for key in image.GetMetaDataKeys():
        if _UNIT_KEYS.search(key):
            value = image.GetMetaData(key).strip()
            if pattern.search(value):
                return f"{key}={value[:60]}"
    return ""


def _volume(image: sitk.Image, path: Path, what: str) -> sitk.Image:
    size = image.GetSize()
    if len(size) == 4 and size[3] == 1:
        metadata = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
        image = sitk.Extract(image, [*size[:3], 0], [0, 0, 0, 0])
        for key, value in metadata.items():
            image.SetMetaData(key, value)
        size = image.GetSize()
    if len(size) != 3:
        raise InputError(
            f"The {what} '{path}' has {len(size)} dimensions ({'x'.join(map(str, size))}); one 3-D volume is needed. "
            "Take one time frame out of it."
        )
    if image.GetNumberOfComponentsPerPixel() != 1 or "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"The {what} '{path}' has several numbers a voxel ({image.GetPixelIDTypeAsString()}).")
    if min(size) < 2:
        raise InputError(
            f"The {what} '{path}' has one slice only ({'x'.join(map(str, size))} voxels); a volume is needed."
        )
    return image


def _reason(error: RuntimeError) -> str:
    """The telling line of an ITK exception."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r"^.*?ERROR:?\s*|^itk::ERROR:\s*", "", lines[-1])[:160] if lines else type(error).__name__
