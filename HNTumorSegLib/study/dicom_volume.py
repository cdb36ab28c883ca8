"""The voxels of a DICOM series, slice by slice straight into the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from HNTumorSegLib.errors import DicomError, InputError
from HNTumorSegLib.study.dicom_series import DicomSlice, number_of
from HNTumorSegLib.study.dicom_stack import SliceStack
from HNTumorSegLib.study.pydicom_quiet import quiet_pydicom

_INT16 = np.iinfo(np.int16)
_PLAIN = {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
_PIXEL_TAGS = [
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
    "FloatPixelData",
    "DoubleFloatPixelData",
]


def load_pet(
    stack: SliceStack, suv_factors: Sequence[float], report: Callable[[float], None] = lambda _: None
) -> sitk.Image:
    """SUVbw as 32-bit float: (stored * slope + intercept) * factor, each slice with its own three numbers.

    Raises:
        DicomError: a slice cannot be decoded or has no rescale slope.
    """
    image = _new_image(stack, sitk.sitkFloat32)
    for k, one in enumerate(stack.slices):
        slope, intercept = rescale(one, required=True)
        values = read_pixels(one).astype(np.float64)
        values *= slope
        values += intercept
        values *= suv_factors[k]
        _put(image, k, values.astype(np.float32))
        report((k + 1) / len(stack.slices))
    return image


def load_ct(stack: SliceStack, report: Callable[[float], None] = lambda _: None) -> sitk.Image:
    """Hounsfield units as 16-bit integers where slopes and values allow it, otherwise as 32-bit float.

    Raises:
        DicomError: a slice cannot be decoded.
    """
    scales = [rescale(one, required=False) for one in stack.slices]
    whole = all(float(x).is_integer() for scale in scales for x in scale)
    image = _new_image(stack, sitk.sitkInt16 if whole else sitk.sitkFloat32)
    for k, (one, (slope, intercept)) in enumerate(zip(stack.slices, scales, strict=True)):
        stored = read_pixels(one)
        if whole and stored.dtype.kind in "iu":
            values = stored.astype(np.int32) * int(slope) + int(intercept)
            fits = values.min() >= _INT16.min and values.max() <= _INT16.max
        else:
            values, fits = stored.astype(np.float64) * slope + intercept, False
        if whole and not fits:
            whole, image = False, sitk.Cast(image, sitk.sitkFloat32)
        _put(image, k, values.astype(np.int16 if whole else np.float32))
        report((k + 1) / len(stack.slices))
    return image


def rescale(one: DicomSlice, *, required: bool) -> tuple[float, float]:
    """Rescale slope and intercept of a slice; 1 and 0 when missing and not required (DICOM's default for CT)."""
    if not required and "RescaleSlope" not in one.header and "RescaleIntercept" not in one.header:
        return 1.0, 0.0
    slope, intercept = number_of(one.header, "RescaleSlope"), number_of(one.header, "RescaleIntercept")
    if not slope or (intercept is None and "RescaleIntercept" in one.header):
        raise DicomError(
            f"The slice '{one.path}' has no usable Rescale Slope (0028,1053) or Intercept (0028,1052), "
            "so its values mean nothing. Export the "
            "series again from the scanner or the archive."
        )
    return slope, intercept or 0.0


def read_pixels(one: DicomSlice) -> np.ndarray:
    """Stored values of one slice, shape (rows, columns), before rescaling; compressed ones through pydicom's handlers.

    Raises:
        DicomError: damaged, cut short, or compressed in a way that no installed package can read.
    """
    with quiet_pydicom():
        try:
            dataset = dcmread(one.path, specific_tags=_PIXEL_TAGS, force=True)
        except OSError as error:
            raise InputError(f"The file '{one.path}' cannot be read ({error.strerror or error}).") from error
        except Exception as error:
            raise DicomError(_undecodable(one, error)) from error
        _mend_transfer_syntax(dataset)
        try:
            pixels = dataset.pixel_array
        except Exception as error:  # handlers raise all sorts
            raise DicomError(_undecodable(one, error, dataset)) from error
    shape = (int(one.header.Rows), int(one.header.Columns))
    if pixels.shape != shape:
        raise DicomError(f"The slice '{one.path}' decodes to shape {pixels.shape}, its header says {shape}.")
    return pixels


def _mend_transfer_syntax(dataset: Dataset) -> None:
    """Files without a transfer syntax are read by what their bytes look like; say so to the pixel decoder."""
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit


def _undecodable(one: DicomSlice, error: Exception, dataset: Dataset | None = None) -> str:
    syntax = dataset.file_meta.TransferSyntaxUID if dataset is not None else ImplicitVRLittleEndian
    if syntax in _PLAIN:
        why = " ".join(str(error).split())[:160] or type(error).__name__
        return f"The slice '{one.path}' is damaged or cut short ({why}). Copy or export the series again."
    return (
        f"The slice '{one.path}' is compressed ({getattr(syntax, 'name', syntax)}) and could not be "
        "decompressed; it may be "
        'cut short, or a decoder is missing: install them with pip install "hntumorseg[compressed]", or export the '
        "series uncompressed."
    )


def _new_image(stack: SliceStack, pixel_type: int) -> sitk.Image:
    geometry = stack.geometry
    image = sitk.Image(geometry.size, pixel_type)
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction)
    return image


def _put(image: sitk.Image, k: int, values: np.ndarray) -> None:
    """Write one slice in place; a whole array beside the image would double the memory."""
    image[:, :, k : k + 1] = sitk.GetImageFromArray(values[np.newaxis])
