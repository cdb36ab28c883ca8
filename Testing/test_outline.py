"""The outline of a lesion lies where network and PET agree: against balls of known size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from inference_cases import FLIPPED, IDENTITY, OBLIQUE, RECIPE, geometry_about
from scipy import ndimage

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.inference.outline import REACH_MM, place_outlines

WEIGHT = 0.45
MIDDLE_MM = np.array([4.0, -6.0, 120.0])
TRUE_MM, BLUR_MM = 12.0, 6.0
TRUE_ML = 4 / 3 * np.pi * TRUE_MM**3 / 1000
SUV, SURROUNDINGS_SUV = 9.0, 1.0


def _distance_mm(geometry, middle_mm=MIDDLE_MM) -> np.ndarray:
    k, j, i = np.meshgrid(*(np.arange(n) for n in geometry.shape_zyx), indexing="ij")
    return np.linalg.norm(geometry.to_lps(np.stack([i, j, k], axis=-1)) - middle_mm, axis=-1)


def _pet(direction, *middles_mm) -> sitk.Image:
    """Balls in uniform surroundings, drawn at 1 mm, blurred, sampled at voxels of a PET."""
    fine = geometry_about((90, 90, 90), (1.0, 1.0, 1.0), direction)
    uptake = np.full(fine.shape_zyx, SURROUNDINGS_SUV, np.float32)
    for middle in middles_mm or (MIDDLE_MM,):
        uptake[_distance_mm(fine, middle) < TRUE_MM] = SUV
    blurred = image_from_array(ndimage.gaussian_filter(uptake, BLUR_MM / 2.3548), fine)
    coarse = geometry_about((24, 24, 22), (3.5, 3.5, 4.0), direction)
    return sitk.Resample(blurred, *_like(coarse), sitk.sitkLinear, SURROUNDINGS_SUV)


def _like(geometry: Geometry) -> tuple:
    image = image_from_array(np.zeros(geometry.shape_zyx, np.uint8), geometry)
    return (image, sitk.Transform())


def _network(geometry, radius_mm, middle_mm=MIDDLE_MM, kind=1):
    """Labels and both probabilities of a network that sees a ball of another size, with a soft rim."""
    tumour = 1 / (1 + np.exp((_distance_mm(geometry, middle_mm) - radius_mm) / 2.0))
    none = np.zeros_like(tumour)
    labels = np.where(tumour > 0.5, kind, 0).astype(np.uint8)
    chosen = (tumour, none) if kind == 1 else (none, tumour)
    return [image_from_array(a, geometry) for a in (labels, *(p.astype(np.float32) for p in chosen))]


def _volume_ml(labels: sitk.Image) -> float:
    return np.count_nonzero(sitk.GetArrayViewFromImage(labels)) * Geometry.from_image(labels).voxel_volume_ml


@pytest.mark.parametrize("direction", [IDENTITY, FLIPPED, OBLIQUE], ids=["plain", "flip", "oblique"])
@pytest.mark.parametrize("own_grid", [True, False], ids=["PET grid", "CT grid"])
@pytest.mark.parametrize("radius_mm", [10.0, 14.0])
def test_a_wrong_radius_is_nearer_to_the_true_one_afterwards(direction, own_grid, radius_mm):
    pet = _pet(direction)
    grid = Geometry.from_image(pet) if own_grid else geometry_about((60, 60, 30), (1.3, 1.3, 2.5), direction)
    labels, primary, node = _network(grid, radius_mm)
    placed = place_outlines(labels, primary, node, pet, WEIGHT)
    Geometry.from_image(placed).require_same(grid, "labels")
    before, after = (abs(_volume_ml(image) - TRUE_ML) for image in (labels, placed))
    # Half of a blurred ball's height lies about sigma^2 / r = 0.5 mm within it, so what was small stays a bit small.
    assert after < 0.8 * before
    assert set(np.unique(sitk.GetArrayFromImage(placed))) == {0, 1}


def test_the_ball_as_it_is_stays():
    pet = _pet(IDENTITY)
    labels, primary, node = _network(Geometry.from_image(pet), TRUE_MM)
    assert _volume_ml(place_outlines(labels, primary, node, pet, WEIGHT)) == pytest.approx(_volume_ml(labels), rel=0.12)


def test_nothing_is_added_where_the_network_sees_no_tumour_and_nothing_lost_where_it_is_certain():
    """A lesion against something hotter, half of which the network excludes; and a cold core that it includes."""
    pet = _pet(IDENTITY)
    geometry = Geometry.from_image(pet)
    suv = sitk.GetArrayFromImage(pet)
    suv[:, :, 14:] = 30.0
    _, primary, node = _network(geometry, TRUE_MM)
    certain = _distance_mm(geometry) < 10
    suv[_distance_mm(geometry) < 5] = 0.5
    probability = sitk.GetArrayFromImage(primary)
    probability[:, :, 14:], probability[certain] = 0.05, 0.95
    array = np.where(probability > 0.5, 1, 0).astype(np.uint8)
    images = [image_from_array(a, geometry) for a in (array, probability)]
    placed = place_outlines(*images, node, image_from_array(suv, geometry), WEIGHT)
    after = sitk.GetArrayFromImage(placed) > 0
    assert not after[probability <= 0.05].any()
    assert after[certain].all()


def test_an_outline_moves_outward_by_no_more_than_the_reach():
    pet = _pet(IDENTITY)
    geometry = Geometry.from_image(pet)
    hot = image_from_array(np.full(geometry.shape_zyx, 9.0, np.float32), geometry)
    ramp = np.where(_distance_mm(geometry) < 8, 0.99, 0.49).astype(np.float32)
    labels, node = (ramp > 0.5).astype(np.uint8), np.zeros_like(ramp)
    suv = sitk.GetArrayFromImage(hot)
    suv[_distance_mm(geometry) > 26] = 1.0
    images = [image_from_array(a, geometry) for a in (labels, ramp, node, suv)]
    after = sitk.GetArrayFromImage(place_outlines(*images, WEIGHT)) > 0
    far_mm = ndimage.distance_transform_edt(labels == 0, sampling=geometry.spacing_zyx_mm)
    assert REACH_MM - 2 < far_mm[after].max() <= REACH_MM


def test_neighbours_keep_apart_and_keep_their_kinds():
    """Two balls whose surfaces are 6 mm apart, both outlined too small: a primary and a node."""
    aside = np.array([15.0, 0.0, 0.0])
    middles = MIDDLE_MM - aside, MIDDLE_MM + aside
    pet = _pet(IDENTITY, *middles)
    geometry = geometry_about((70, 60, 40), (1.3, 1.3, 2.0), IDENTITY)
    one, other = (_network(geometry, TRUE_MM - 1, middle, kind) for middle, kind in zip(middles, (1, 2), strict=True))
    images = [a + b for a, b in zip(one, other, strict=True)]
    placed = sitk.GetArrayFromImage(place_outlines(*images, pet, WEIGHT))
    assert ndimage.label(placed > 0, np.ones((3, 3, 3)))[1] == 2
    for middle, kind in zip(middles, (1, 2), strict=True):
        assert set(np.unique(placed[_distance_mm(geometry, middle) < TRUE_MM - 2])) == {kind}
        volume_ml = np.count_nonzero(placed == kind) * geometry.voxel_volume_ml
        assert volume_ml == pytest.approx(TRUE_ML, rel=0.25)


def test_two_kinds_of_one_structure_grow_each_on_its_side():
    pet = _pet(IDENTITY)
    geometry = Geometry.from_image(pet)
    labels, primary, _ = _network(geometry, TRUE_MM - 2)
    array, probability = (sitk.GetArrayFromImage(image) for image in (labels, primary))
    half = np.zeros(array.shape, bool)
    half[: array.shape[0] // 2] = True
    array[half & (array > 0)] = 2
    images = [image_from_array(a, geometry) for a in (array, np.where(half, 0, probability), half * probability)]
    after = sitk.GetArrayFromImage(place_outlines(*images, pet, WEIGHT))
    assert np.count_nonzero(after) > np.count_nonzero(array)
    assert set(np.unique(after[half])) == {0, 2}
    assert set(np.unique(after[~half])) == {0, 1}


def test_nothing_to_do():
    pet = _pet(IDENTITY)
    labels, primary, node = _network(Geometry.from_image(pet), 10.0)
    assert place_outlines(labels, primary, node, pet, 0.0) is labels
    empty = labels * 0
    assert place_outlines(empty, primary, node, pet, WEIGHT) is empty
    unchanged = place_outlines(labels, primary, node, pet, WEIGHT, minimum_lesion_ml=100.0)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(unchanged), sitk.GetArrayFromImage(labels))
    cold = pet * 0
    unchanged = place_outlines(labels, primary, node, cold, WEIGHT)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(unchanged), sitk.GetArrayFromImage(labels))


@pytest.mark.parametrize("wrong", [-0.1, 0.5, float("nan")])
def test_a_weight_that_is_none(wrong):
    with pytest.raises(ModelError, match="outline_pet_weight"):
        replace(RECIPE, outline_pet_weight=wrong)
