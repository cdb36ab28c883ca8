"""Studies, networks and a recipe with known answers, for the tests of inference and the worker."""

from __future__ import annotations

import itertools

import numpy as np
import SimpleITK as sitk
import torch

from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.inference.device import ComputeDevice
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.recipes.recipe import CT, PET, Channel, Recipe
from HNTumorSegLib.study.study import Provenance, SeriesInfo, Study

FP32 = ComputeDevice("cpu", False, "cpu (test, fp32)")
IDENTITY = (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)
FLIPPED = (-1.0, 0, 0, 0, 1.0, 0, 0, 0, -1.0)
PERMUTED = (0.0, 0, 1.0, 1.0, 0, 0, 0, 1.0, 0)
C, S = np.cos(0.35), np.sin(0.35)
OBLIQUE = (C, -S, 0, S * C, C * C, -S, S * S, C * S, C)


class UptakeIsPrimary(torch.nn.Module):
    """Primary tumour where the first channel (PET) is above one half."""

    def forward(self, x):
        primary = 40 * (x[:, :1] - 0.5)
        return torch.cat([-primary, primary, torch.full_like(primary, -40.0)], dim=1)


def convolution_net(seed=0) -> torch.nn.Module:
    """Each voxel sees two voxels around it."""
    torch.manual_seed(seed)
    conv = torch.nn.Conv3d
    return torch.nn.Sequential(conv(2, 4, 3, padding=1), torch.nn.Tanh(), conv(4, 3, 3, padding=1)).eval()


def untiled(net, array) -> np.ndarray:
    with torch.no_grad():
        return net(torch.from_numpy(array)[None]).softmax(1)[0, 1:].numpy()


def random_array(*shape) -> np.ndarray:
    return np.random.default_rng(5).uniform(0, 1, shape).astype(np.float32)


RECIPE = Recipe(
    name="uptake",
    source="a test",
    channels=(Channel(PET, (0.0, 10.0)), Channel(CT, (-150.0, 250.0), missing=0.0)),
    spacing_mm=2.5,
    patch_zyx=(32, 32, 32),
    network="attention_unet",
    network_options={"channels": [4, 4, 4, 8], "heads": 2},
)
CARD = ModelCard("uptake", "1", RECIPE, (), "tests", "all", "none", "CC0-1.0")
CENTER_MM = np.array([21.0, -14.0, 133.0])
RADII_MM = np.array([14.0, 18.0, 22.0])


def geometry_about(size, spacing_mm, direction, center_mm=(4.0, -6.0, 120.0)) -> Geometry:
    at_zero = Geometry(size, spacing_mm, (0.0, 0.0, 0.0), direction)
    middle = at_zero.to_lps((np.array(size) - 1) / 2)
    return Geometry(size, spacing_mm, tuple(np.array(center_mm) - middle), direction)


def hot_ellipsoid(geometry, inside=10.0, outside=1.2) -> sitk.Image:
    """An ellipsoid along L, P, S about ``CENTER_MM``; voxels hold their share of it (3^3 points each)."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in geometry.shape_zyx), indexing="ij")
    index = np.stack([i, j, k], axis=-1)
    offsets = [np.array(o) for o in itertools.product((-1 / 3, 0, 1 / 3), repeat=3)]
    share = sum(((((geometry.to_lps(index + o) - CENTER_MM) / RADII_MM) ** 2).sum(axis=-1) < 1) for o in offsets) / 27
    return image_from_array((outside + share * (inside - outside)).astype(np.float32), geometry)


def make_study(direction=IDENTITY, ct_direction=IDENTITY, with_ct=True) -> Study:
    pet = hot_ellipsoid(geometry_about((36, 38, 34), (4.1, 3.9, 4.4), direction))
    ct = None
    if with_ct:
        geometry = geometry_about((70, 66, 60), (2.1, 2.1, 3.0), ct_direction)
        ct = image_from_array(np.full(geometry.shape_zyx, 40, np.int16), geometry)
    info = SeriesInfo("", "PT", "")
    return Study(pet, info, Provenance("file", "SUVbw", "as it is"), ct, info if with_ct else None)
