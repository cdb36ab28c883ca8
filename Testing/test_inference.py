"""Delineations that lie where the lesion is, and what the user is told."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from constant_net import Always
from inference_cases import (
    CARD,
    CENTER_MM,
    FLIPPED,
    IDENTITY,
    OBLIQUE,
    PERMUTED,
    RADII_MM,
    RECIPE,
    UptakeIsPrimary,
    geometry_about,
    make_study,
)

from HNTumorSegLib.errors import Cancelled, InputError, ModelError
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.inference.device import choose_device, has_native_bf16
from HNTumorSegLib.inference.to_reference import decide, images_on_reference, normalised_entropy
from HNTumorSegLib.models.loading import write_model
from HNTumorSegLib.networks import build_network
from HNTumorSegLib.recipes.recipe import CT, PET

# --- the voxel decision ---


def test_decision_is_the_most_probable_class():
    p = np.random.default_rng(1).dirichlet((1, 1, 1), 500).T
    np.testing.assert_array_equal(decide(*p), p.argmax(axis=0))
    tie = [np.array([0.4, 0.2]), np.array([0.4, 0.4]), np.array([0.2, 0.4])]
    np.testing.assert_array_equal(decide(*tie), [0, 1])


def test_entropy_is_0_when_sure_and_1_when_lost():
    p = np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0]], np.float32).T
    np.testing.assert_allclose(normalised_entropy(*p), [0, 1, np.log(2) / np.log(3)], atol=1e-6)


@pytest.mark.parametrize("direction", [IDENTITY, FLIPPED, OBLIQUE])
def test_box_of_tumour_loses_nothing(direction):
    """The result equals a resampling of everything, background included, decided everywhere."""
    grid = Geometry((24, 20, 70), (2.5, 2.5, 2.5), (-30.0, -25.0, -80.0), IDENTITY)
    rng = np.random.default_rng(2)
    foreground = np.zeros((2, *grid.shape_zyx), np.float32)
    foreground[:, 4:64, 3:12, 5:18] = rng.uniform(0, 0.5, (2, 60, 9, 13))
    target = geometry_about((40, 44, 90), (1.7, 1.5, 1.9), direction, center_mm=(2.0, -4.0, 10.0))
    reference = image_from_array(np.zeros(target.shape_zyx, np.uint8), target)
    images = images_on_reference(foreground, grid, reference)
    all_of_it = [
        sitk.GetArrayFromImage(sitk.Resample(image_from_array(p, grid), reference, sitk.Transform(), sitk.sitkLinear))
        for p in foreground
    ]
    assert all_of_it[0].max() > 0.3
    np.testing.assert_allclose(sitk.GetArrayFromImage(images.primary), all_of_it[0], atol=2e-3)
    np.testing.assert_allclose(sitk.GetArrayFromImage(images.node), all_of_it[1], atol=2e-3)
    expected = np.argmax([1 - all_of_it[0] - all_of_it[1], *all_of_it], axis=0)
    assert (sitk.GetArrayFromImage(images.labels) != expected).mean() < 1e-4


# --- the whole way ---


@pytest.fixture(scope="module")
def uptake_delineator():
    return Delineator.from_networks(CARD, [UptakeIsPrimary()], "cpu")


@pytest.mark.parametrize(
    "direction", [IDENTITY, FLIPPED, PERMUTED, OBLIQUE], ids=["plain", "flip", "permute", "oblique"]
)
@pytest.mark.parametrize("reference", [PET, CT])
def test_label_lies_where_the_lesion_is(uptake_delineator, direction, reference):
    study = make_study(direction, FLIPPED if direction == IDENTITY else direction)
    delineation = uptake_delineator.delineate(study, reference)
    expected = study.pet_geometry if reference == PET else study.ct_geometry
    for image in (
        delineation.labels,
        delineation.primary_probability,
        delineation.node_probability,
        delineation.uncertainty,
    ):
        assert Geometry.from_image(image).distance_mm(expected) < 1e-6
    labels = sitk.GetArrayFromImage(delineation.labels)
    assert set(np.unique(labels)) == {0, 1}
    index = np.argwhere(labels == 1)[:, ::-1]
    center_mm = expected.to_lps(index.astype(float)).mean(axis=0)
    np.testing.assert_allclose(center_mm, CENTER_MM, atol=0.5)
    volume_ml = len(index) * expected.voxel_volume_ml
    assert volume_ml == pytest.approx(4 / 3 * np.pi * np.prod(RADII_MM) / 1000, rel=0.12)
    assert sitk.GetArrayFromImage(delineation.node_probability).max() < 1e-6
    assert set(delineation.timings_s) == {"prepare", "network", "resample"}
    assert (delineation.reference, delineation.card) == (reference, CARD)


def test_ensemble_is_the_mean_of_its_members():
    card_networks = [Always(0.1, 0.8, 0.1), Always(0.3, 0.2, 0.5)]
    delineation = Delineator.from_networks(CARD, card_networks, "cpu").delineate(make_study())
    primary = sitk.GetArrayFromImage(delineation.primary_probability)
    node = sitk.GetArrayFromImage(delineation.node_probability)
    middle = tuple(n // 2 for n in primary.shape)
    assert (primary[middle], node[middle]) == pytest.approx((0.5, 0.3), abs=1e-4)
    entropy = -sum(p * np.log(p) for p in (0.2, 0.5, 0.3)) / np.log(3)
    assert sitk.GetArrayFromImage(delineation.uncertainty)[middle] == pytest.approx(entropy, abs=1e-4)


def test_model_from_a_folder(tmp_path):
    torch.manual_seed(0)
    network = build_network(RECIPE.network, 2, 3, **RECIPE.network_options)
    words = {"intended_use": "tests", "limitations": "all", "training_data": "none", "licence": "CC0-1.0"}
    write_model(tmp_path / "m", RECIPE, [network], name="m", version="1", **words)
    study = make_study()
    from_folder = Delineator(tmp_path / "m", "cpu").delineate(study)
    in_memory = Delineator.from_networks(CARD, [network], "cpu").delineate(study)
    np.testing.assert_array_equal(
        sitk.GetArrayViewFromImage(from_folder.primary_probability),
        sitk.GetArrayViewFromImage(in_memory.primary_probability),
    )
    assert from_folder.device.startswith("cpu (")


def test_progress_rises_to_one_and_may_cancel(uptake_delineator):
    fractions = []
    uptake_delineator.delineate(make_study(), progress=lambda event: fractions.append(event.fraction))
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert len(fractions) > 10

    def stop(event):
        if event.fraction > 0.3:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        uptake_delineator.delineate(make_study(), progress=stop)


def test_what_the_user_is_told(uptake_delineator):
    (warning,) = uptake_delineator.delineate(make_study()).warnings
    assert "No head and neck was recognised" in warning
    assert "There is no CT" in uptake_delineator.delineate(make_study(with_ct=False)).warnings[0]
    cold = make_study()
    cold.pet = cold.pet * 0.05
    delineation = uptake_delineator.delineate(cold)
    assert "highest SUV is 0.5" in delineation.warnings[0]
    assert sitk.GetArrayViewFromImage(delineation.labels).max() == 0


def test_ct_grid_without_ct_and_unknown_grids(uptake_delineator):
    with pytest.raises(InputError, match="the study has no CT"):
        uptake_delineator.delineate(make_study(with_ct=False), CT)
    with pytest.raises(InputError, match="'pet' or 'ct', not 'mr'"):
        uptake_delineator.delineate(make_study(), "mr")


def test_no_networks():
    with pytest.raises(ModelError, match="no network"):
        Delineator.from_networks(CARD, [])


# --- devices ---


def test_full_gpu_memory_falls_back_to_the_processor():
    """Provoked by the error torch raises, as no GPU need be here."""

    class Full(UptakeIsPrimary):
        calls = 0

        def forward(self, x):
            Full.calls += 1
            if Full.calls == 2:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return super().forward(x)

    delineation = Delineator.from_networks(CARD, [Full()], "cpu").delineate(make_study())
    assert "ran out of memory" in delineation.warnings[0]
    assert sitk.GetArrayViewFromImage(delineation.labels).max() == 1


def test_other_failures_of_the_network_are_not_hidden():
    class Broken(torch.nn.Module):
        def forward(self, x):
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        Delineator.from_networks(CARD, [Broken()], "cpu").delineate(make_study())


def test_devices_by_name():
    assert choose_device("cpu").name == "cpu"
    with pytest.raises(ModelError, match="no device 'tpu'"):
        choose_device("tpu")
    if torch.cuda.is_available():
        assert choose_device("auto").name == "cuda:0"
        with pytest.raises(ModelError, match="torch sees"):
            choose_device("cuda:99")
    else:
        assert choose_device("auto").name == "cpu"
        with pytest.raises(ModelError, match=r"sees no CUDA GPU\. Use --device cpu"):
            choose_device("cuda")


def test_bf16_only_where_the_processor_computes_in_it(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    for flags, native in (("fpu avx2 avx512f", False), ("fpu avx512_bf16", True), ("amx_bf16 amx_tile", True)):
        cpuinfo.write_text(f"processor : 0\nflags\t\t: {flags}\nprocessor : 1\nflags\t\t: {flags}\n")
        assert has_native_bf16(cpuinfo) is native
    assert has_native_bf16(tmp_path / "missing") is False
