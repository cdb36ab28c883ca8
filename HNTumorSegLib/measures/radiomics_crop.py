"""The part of an image that pyradiomics needs for one lesion, such that no value changes.

pyradiomics looks through whole volumes several times a lesion (it sorts the mask to see which labels it has, counts
labels, finds boxes), filters whole volumes, and for spline interpolation decomposes them: that is what makes it slow on
uncropped images. Here:

- With resampling, image and lesion are put onto the very grid that ``imageoperations.resampleImage`` would choose
  (aligned with the corner of the whole image, ``padDistance`` voxels around the lesion). The image is sampled where it
  is, not cropped first: another origin would shift sampling positions by rounding errors, which flip voxels of integer
  images and bins at their edges. Splines alone are computed on a crop, with a margin at which their memory of the rest
  has faded. Filters then see the same part of the image as in a plain call.
- Without resampling, a plain call filters the whole image. The crop has the margin that each filter reaches; filters
  that depend on the brightest voxel anywhere, and those not known here, get the whole image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.measures.radiomics_mask import MaskOnImage

SPLINE_MARGIN = 40
"""Voxels. The slowest pole among splines of order 2 to 5 is 0.431 (order 5; cubic 0.268): 0.431 ** 40 = 2e-15."""
LOG_MARGIN_SIGMAS = 24
"""ITK's recursive Gaussian fades by exp(-1.72 d / sigma): 1e-18 at 24 sigma."""
_SPACING = "resampledPixelSpacing"


def resamples(setting: dict[str, Any]) -> bool:
    """Whether these pyradiomics settings resample the image (as in ``RadiomicsFeatureExtractor.loadImage``)."""
    return setting.get(_SPACING) is not None and setting.get("interpolator", "sitkBSpline") is not None


def cropped(image: sitk.Image, lesion: MaskOnImage, parameters: dict[str, Any]) -> tuple[sitk.Image, sitk.Image]:
    """Image and mask (1 in the lesion, unsigned 8-bit) to hand to pyradiomics with :func:`remaining_parameters`.

    Args:
        image: the whole image.
        lesion: its voxels on the image's grid.
        parameters: pyradiomics parameter dictionary; ``normalize`` must have been applied to the image already.
    """
    setting = parameters.get("setting") or {}
    start, size = np.array(lesion.start_ijk), np.array(lesion.mask.shape[::-1])
    if resamples(setting):
        return _resampled(image, lesion, start, size, setting)
    if setting.get("preCrop", False):
        margins = np.full((3, 2), setting.get("padDistance", 5))
    else:
        margins = _filter_margins(image, start, size, parameters)
    return _parts(image, lesion, start, size, margins)


def remaining_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters without what :func:`cropped` has done."""
    done = {_SPACING, "interpolator", "normalize", "normalizeScale", "removeOutliers", "preCrop"}
    setting = {key: value for key, value in (parameters.get("setting") or {}).items() if key not in done}
    return {**parameters, "setting": {**setting, "additionalInfo": False}}


def _parts(
    image: sitk.Image, lesion: MaskOnImage, start: np.ndarray, size: np.ndarray, margins: np.ndarray
) -> tuple[sitk.Image, sitk.Image]:
    """Image and mask in the lesion's box with margins (3 axes, low and high), cut at the image's border."""
    low = np.maximum(start - margins[:, 0], 0)
    high = np.minimum(start + size + margins[:, 1], image.GetSize())
    part = sitk.RegionOfInterest(image, (high - low).tolist(), low.tolist())
    array = np.zeros((high - low)[::-1], np.uint8)
    offset = (start - low)[::-1]
    array[tuple(slice(o, o + n) for o, n in zip(offset, lesion.mask.shape, strict=True))] = lesion.mask
    mask = sitk.GetImageFromArray(array)
    mask.CopyInformation(part)
    return part, mask


def _whole_mask(image: sitk.Image, lesion: MaskOnImage) -> sitk.Image:
    """The lesion on all of the image's grid: sampled positions then are the same to the last bit as in a plain call."""
    whole = sitk.Image(image.GetSize(), sitk.sitkUInt8)
    whole.CopyInformation(image)
    part = sitk.GetImageFromArray(lesion.mask.astype(np.uint8))
    return sitk.Paste(whole, part, part.GetSize(), destinationIndex=lesion.start_ijk)


def _resampled(
    image: sitk.Image, lesion: MaskOnImage, start: np.ndarray, size: np.ndarray, setting: dict[str, Any]
) -> tuple[sitk.Image, sitk.Image]:
    """What ``imageoperations.resampleImage`` gives for the whole image and mask: the same grid, the same order."""
    pad = setting.get("padDistance", 5)
    old = np.array(image.GetSpacing())
    asked = np.array(setting[_SPACING], float)
    new = np.where(asked == 0, old, asked)
    new = np.where(size != 1, new, old)  # a lesion one voxel thick stays as it is in that direction
    if np.allclose(old, new):
        return _parts(image, lesion, start, size, np.full((3, 2), pad))
    ratio = old / new
    low = np.maximum(np.floor((start - 0.5) * ratio - pad), 0)
    last = np.ceil(np.array(image.GetSize()) * ratio) - 1
    high = np.minimum(np.ceil((start + size - 0.5) * ratio + pad), last)
    whole = _whole_mask(image, lesion)
    origin = whole.TransformContinuousIndexToPhysicalPoint(0.5 * (new - old) / old + low / ratio)
    interpolator = setting.get("interpolator", "sitkBSpline")
    interpolator = getattr(sitk, interpolator) if isinstance(interpolator, str) else interpolator
    if interpolator in _SPLINES:
        margins = np.full((3, 2), SPLINE_MARGIN) + np.ceil((pad + 2) / ratio).astype(int)[:, None]
        image, _ = _parts(image, lesion, start, size, margins)

    def sample(what: sitk.Image, how: int) -> sitk.Image:
        sampler = sitk.ResampleImageFilter()
        sampler.SetOutputSpacing(new.tolist())
        sampler.SetOutputDirection(image.GetDirection())
        sampler.SetSize((high - low + 1).astype(int).tolist())
        sampler.SetOutputOrigin(origin)
        sampler.SetOutputPixelType(what.GetPixelID())
        sampler.SetInterpolator(how)
        return sampler.Execute(what)

    return sample(image, interpolator), sample(whole, sitk.sitkNearestNeighbor)


_SPLINES = {
    getattr(sitk, name) for name in dir(sitk) if name.startswith("sitkBSpline") and isinstance(getattr(sitk, name), int)
}


def _filter_margins(image: sitk.Image, start: np.ndarray, size: np.ndarray, parameters: dict[str, Any]) -> np.ndarray:
    """Voxels around the lesion's box (3 axes, low and high) that the filters reach."""
    full = np.stack([start, np.array(image.GetSize()) - start - size], axis=1)
    margins = np.zeros((3, 2), int)
    for name, custom in (parameters.get("imageType") or {"Original": {}}).items():
        setting = {**(parameters.get("setting") or {}), **(custom or {})}
        if name == "Original":
            reach = np.zeros(3, int)
        elif name == "Gradient":
            reach = np.ones(3, int)
        elif name == "LoG":
            sigma_mm = max(setting.get("sigma") or [0.0])
            # pyradiomics skips sigmas that are too wide for the image it is given: never cut it to less than that.
            reach = np.ceil(LOG_MARGIN_SIGMAS * sigma_mm / np.array(image.GetSpacing())).astype(int) + 4
        elif name == "Wavelet":
            reach = np.full(3, _wavelet_reach(setting))
            # The transform goes on at the other side of the image, so an axis that is cut must be whole.
            reach = np.where((full < reach[:, None]).any(axis=1), full.max(axis=1), reach)
        else:
            return full
        margins = np.maximum(margins, reach[:, None])
    return margins


def _wavelet_reach(setting: dict[str, Any]) -> int:
    """Voxels that the undecimated transform reaches to either side, generously."""
    import pywt

    wavelet = pywt.Wavelet(setting.get("wavelet", "coif1"))
    return (wavelet.dec_len + 1) * (setting.get("start_level", 0) + setting.get("level", 1)) + 1
