"""Running imported MONAI bundles with MONAI itself: its transforms, its sliding window, its inversion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import InputError, ModelError
from HNTumorSegLib.geometry import Geometry

if TYPE_CHECKING:
    import torch

TRANSFORMS = (
    "ConcatItemsd",
    "CropForegroundd",
    "EnsureTyped",
    "NormalizeIntensityd",
    "Orientationd",
    "ScaleIntensityd",
    "ScaleIntensityRangePercentilesd",
    "ScaleIntensityRanged",
    "Spacingd",
    "SpatialPadd",
)
"""Preprocessing that is understood: each is undone on the answer where it moves voxels."""

LOADING = ("LoadImaged", "EnsureChannelFirstd")
"""Done here instead: the images come from a study, not from files."""

INFERER_OPTIONS = ("roi_size", "sw_batch_size", "overlap", "mode", "sigma_scale", "padding_mode", "cval")
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def check_options(options: dict[str, Any]) -> None:
    """Raise :class:`ModelError` unless a card's ``engine_options`` name nothing but known transforms and values."""
    try:
        names = [step["name"] for step in options["preprocessing"]]
        unknown = [name for name in names if name not in TRANSFORMS]
        unknown += [name for name in options["inferer"] if name not in INFERER_OPTIONS]
        complete = {"roi_size"} <= set(options["inferer"]) and {"key", "original", "discrete_first", "nearest"} <= set(
            options
        )
    except (KeyError, TypeError) as error:
        raise ModelError(f"The card of this MONAI model is incomplete ({error}). Import the model again.") from error
    if unknown or not complete:
        raise ModelError(f"The card of this MONAI model asks for {unknown or 'too little'}. Import the model again.")


def bundle_probabilities(
    images: dict[str, sitk.Image],
    order: Sequence[str],
    networks: Sequence[torch.nn.Module],
    options: dict[str, Any],
    device: str,
    on_tile: Callable[[float], None] = lambda fraction: None,
) -> np.ndarray:
    """Probability of each class but background, float32 (K - 1, Z, Y, X), on the images' common grid.

    Args:
        images: PET and CT by name, on one grid.
        order: names of the input channels in order.
        networks: their probabilities are averaged.
        options: the card's ``engine_options``.
        device: torch device.
        on_tile: called now and then with the share done; may raise to stop.
    """
    import torch
    from monai import transforms
    from monai.data import MetaTensor
    from monai.inferers import SlidingWindowInferer

    check_options(options)
    key = options["key"]
    affine = _LPS_TO_RAS @ Geometry.from_image(next(iter(images.values()))).ijk_to_lps()
    arrays = {
        name: sitk.GetArrayFromImage(image).astype(np.float32).transpose(2, 1, 0) for name, image in images.items()
    }
    if options.get("stacked", True):
        data: dict[str, Any] = {key: MetaTensor(np.stack([arrays[name] for name in order]), affine=affine)}
    else:
        data = {name: MetaTensor(arrays[name][None], affine=affine) for name in order}
    steps = transforms.Compose([getattr(transforms, s["name"])(**s["arguments"]) for s in options["preprocessing"]])
    data = steps(data)
    if data[key].shape[0] != len(order):
        raise ModelError(f"The bundle's preprocessing makes {data[key].shape[0]} channels of {len(order)} images.")
    inferer = SlidingWindowInferer(**options["inferer"])
    mean = None
    with torch.inference_mode():
        for number, network in enumerate(networks):
            on_tile(number / len(networks))
            answer = inferer(data[key][None].to(device), network)[0].float().softmax(0)
            mean = answer if mean is None else mean + answer
    mean = mean / len(networks)
    if options["discrete_first"]:
        mean = torch.nn.functional.one_hot(mean.argmax(0), len(mean)).movedim(-1, 0).float()
    data["pred"] = MetaTensor(mean.cpu())
    inverse = transforms.Invertd(
        keys="pred", transform=steps, orig_keys=options["original"], nearest_interp=options["nearest"], to_tensor=True
    )
    back = np.asarray(inverse(data)["pred"], np.float32).transpose(0, 3, 2, 1)
    expected = next(iter(images.values())).GetSize()[::-1]
    if back.shape[1:] != expected:
        raise InputError(
            f"The bundle's answer has {back.shape[1:]} voxels, the images {expected}: its Invertd does not undo its "
            "preprocessing, so the answer cannot be placed."
        )
    on_tile(1.0)
    return np.ascontiguousarray(back[1:])
