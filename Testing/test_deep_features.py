"""Deep features: means of feature maps over lesions, against direct convolutions and sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from radiomics_cases import lesion_set

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.inference.preprocess import model_grid, network_input
from HNTumorSegLib.measures.deep_features import deep_feature_table
from HNTumorSegLib.models.loading import load_networks, write_model
from HNTumorSegLib.networks import build_network
from HNTumorSegLib.recipes import get_recipe
from HNTumorSegLib.study.study import Provenance, SeriesInfo, Study

UNIT = tuple(np.eye(3).ravel().tolist())
WORDS = {"intended_use": "tests", "limitations": "none", "training_data": "none", "licence": "Apache-2.0"}
PATCH = (16, 16, 16)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Two small networks with random weights; batch norm, no attention."""
    recipe = get_recipe("nikulin2023_fast")
    options = {"channels": (4, 6), "heads": 0, "norm": "batch"}
    recipe = replace(recipe, patch_zyx=PATCH, network="attention_unet", network_options=options)
    torch.manual_seed(5)
    networks = [build_network("attention_unet", len(recipe.channels), 3, **options) for _ in range(2)]
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, recipe, networks, name="tiny", version="1", **WORDS)
    return folder, recipe


def study_of(recipe, size=(40, 38, 36)):
    """A PET and CT on the model's own kind of grid, so that the network's input is the images themselves."""
    spacing = recipe.spacing_mm
    grid = Geometry(size, (spacing,) * 3, (-30.0, 20.0, 100.0), UNIT)
    random = np.random.default_rng(0)
    pet = image_from_array(random.uniform(0, 8, grid.shape_zyx).astype(np.float32), grid)
    ct = image_from_array(random.integers(-150, 150, grid.shape_zyx).astype(np.int16), grid)
    info = SeriesInfo("/pet", "PT", "ab" * 32, 9, "1.2", "1.2.3", "1.2.9", "X")
    return Study(pet, info, Provenance("nifti", "SUV", "", 1.0, {}), ct, info, []), grid


def box_mask(grid, *slices):
    mask = np.zeros(grid.shape_zyx, bool)
    mask[slices] = True
    return mask


def windowed(recipe, study) -> torch.Tensor:
    """The images as the network's channels: (1, C, z, y, x)."""
    channels = []
    for channel in recipe.channels:
        array = sitk.GetArrayFromImage(study.pet if channel.image == "pet" else study.ct).astype(np.float32)
        low, high = channel.window
        channels.append(np.clip((array - low) / (high - low), 0, 1))
    return torch.from_numpy(np.stack(channels))[None]


@pytest.mark.parametrize(
    ("layer", "slices"),
    [
        ("encoder.0.first", (slice(14, 20), slice(16, 21), slice(17, 24))),
        # Of 1 x 1 x 1 kernels, so that padding at the borders of the tiles does not matter.
        ("encoder.0.shortcut", (slice(2, 33), slice(0, 38), slice(7, 30))),
    ],
    ids=["one tile", "many tiles"],
)
def test_the_mean_is_that_of_a_direct_convolution(model, layer, slices):
    folder, recipe = model
    study, grid = study_of(recipe)
    mask = box_mask(grid, *slices)
    rows = deep_feature_table(study, lesion_set(grid, mask), folder, layer, "cpu")
    assert [row.id for row in rows] == [1, "primary", "node", "total"]
    assert {row.image for row in rows} == {"deep"}
    for number, network in enumerate(load_networks(folder)):
        weights = network.get_submodule(layer).weight
        maps = torch.nn.functional.conv3d(windowed(recipe, study), weights, padding=weights.shape[2] // 2)[0]
        found = [rows[0].features[f"{layer}_n{number}_{channel:03d}"] for channel in range(4)]
        np.testing.assert_allclose(found, maps.numpy()[:, mask].mean(axis=1, dtype=float), rtol=0, atol=2e-6)
    assert rows[-1].features == rows[0].features


def coarse_maps(model, study, mask_geometry) -> tuple[np.ndarray, Geometry]:
    """Output of ``encoder.1`` of both networks around a lesion, and the grid of their input."""
    folder, recipe = model
    grid = model_grid(Geometry.from_image(study.pet), recipe.spacing_mm, *mask_geometry.bounds_mm(), at_least_zyx=PATCH)
    assert grid.shape_zyx == PATCH
    x = torch.from_numpy(network_input(study, recipe, grid))[None]
    with torch.inference_mode():
        maps = [network.encoder[1](network.encoder[0](x))[0].numpy() for network in load_networks(folder)]
    return np.concatenate(maps), grid


def test_a_coarser_layer_counts_by_volume(model):
    """At stride 2, a lesion of one input voxel has the features of the coarse voxel that holds it."""
    folder, recipe = model
    study, whole = study_of(recipe)
    expected = []
    for start, size in (((17, 19, 14), (1, 1, 1)), ((20, 15, 19), (4, 3, 3))):
        box = whole.crop(start, size)
        maps, grid = coarse_maps(model, study, box)
        shift = np.rint(grid.to_ijk(whole.to_lps(np.array(start)))).astype(int)
        voxels = np.array([shift + ijk for ijk in np.ndindex(size)])
        k, j, i = (voxels // 2)[:, ::-1].T
        expected.append(maps[:, k, j, i].mean(axis=1))
    masks = [box_mask(whole, 14, 19, 17), box_mask(whole, slice(19, 22), slice(15, 18), slice(20, 24))]
    rows = deep_feature_table(study, lesion_set(whole, *masks), folder, "encoder.1", "cpu")
    for row, values in zip(rows, expected, strict=False):
        np.testing.assert_allclose(list(row.features.values()), values, rtol=1e-5, atol=1e-6)
    total = (1 * expected[0] + 36 * expected[1]) / 37
    np.testing.assert_allclose(list(rows[-1].features.values()), total, rtol=1e-5, atol=1e-6)


def test_lesions_that_cannot_be_measured_are_named(model):
    folder, recipe = model
    study, grid = study_of(recipe, (16, 16, 16))
    wide = grid.crop((0, 0, 0), (30, 16, 16))
    masks = [box_mask(wide, 5, 5, 5), box_mask(wide, 5, 5, 28), np.zeros(wide.shape_zyx, bool)]
    rows = deep_feature_table(study, lesion_set(wide, *masks), folder, "encoder.0", "cpu")
    assert rows[0].note == ""
    assert None not in rows[0].features.values()
    assert "'Lesion 2': 1 of its 1 voxels lie outside the PET" in rows[1].note
    assert "'Lesion 3': there is no voxel" in rows[2].note
    assert set(rows[-1].features.values()) == {None}
    assert "'Lesion 2'" in rows[-1].note


def test_wrong_layers_and_models_are_named(model, tmp_path):
    folder, recipe = model
    study, grid = study_of(recipe, (16, 16, 16))
    lesions = lesion_set(grid, box_mask(grid, 5, 5, 5))
    with pytest.raises(ModelError, match=r"no layer 'encoder\.9'\. It has: encoder, encoder\.0"):
        deep_feature_table(study, lesions, folder, "encoder.9", "cpu")
    with pytest.raises(ModelError, match=r"'encoder' does not give feature maps"):
        deep_feature_table(study, lesions, folder, "encoder", "cpu")
    with pytest.raises(ModelError, match="There is no model"):
        deep_feature_table(study, lesions, tmp_path / "none", "encoder.0", "cpu")


def test_the_hash_follows_weights_and_layer(model, tmp_path):
    folder, recipe = model
    study, grid = study_of(recipe, (16, 16, 16))
    lesions = lesion_set(grid, box_mask(grid, 5, 5, 5))
    first = deep_feature_table(study, lesions, folder, "encoder.0", "cpu")[0].settings_hash
    assert deep_feature_table(study, lesions, folder, "encoder.1", "cpu")[0].settings_hash != first
    networks = load_networks(folder)
    networks[0].head.bias.data += 1
    write_model(tmp_path, recipe, networks, name="tiny", version="1", **WORDS)
    assert deep_feature_table(study, lesions, tmp_path, "encoder.0", "cpu")[0].settings_hash != first
    assert deep_feature_table(study, lesions, folder, "encoder.0", "cpu")[0].settings_hash == first
