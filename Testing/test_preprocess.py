"""What the network sees: positions, smoothing, windows, missing images."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from HNTumorSegLib.errors import InputError, ModelError
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.inference.preprocess import anti_aliased, model_grid, network_input
from HNTumorSegLib.recipes.recipe import CT, PET, Channel, Recipe
from HNTumorSegLib.study.study import Provenance, SeriesInfo, Study

IDENTITY = (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)
FLIPPED = (-1.0, 0, 0, 0, 1.0, 0, 0, 0, -1.0)
PERMUTED = (0.0, 0, 1.0, 1.0, 0, 0, 0, 1.0, 0)
C, S = np.cos(0.35), np.sin(0.35)
OBLIQUE = (C, -S, 0, S * C, C * C, -S, S * S, C * S, C)
DIRECTIONS = pytest.mark.parametrize("direction", [IDENTITY, FLIPPED, PERMUTED, OBLIQUE])


def recipe(*channels: Channel, spacing_mm=2.5) -> Recipe:
    return Recipe("test", "a test", channels, spacing_mm, (8, 8, 8), "none")


def study(pet, ct=None) -> Study:
    info = SeriesInfo("", "PT", "")
    return Study(pet, info, Provenance("file", "SUVbw", "as it is"), ct, None if ct is None else info)


def centred(size, spacing_mm, direction=IDENTITY, center_mm=(0, 0, 0)) -> Geometry:
    """A grid whose middle lies at ``center_mm``."""
    at_zero = Geometry(size, spacing_mm, (0.0, 0.0, 0.0), direction)
    middle = at_zero.to_lps((np.array(size) - 1) / 2)
    return Geometry(size, spacing_mm, tuple(np.array(center_mm) - middle), direction)


def positions(geometry: Geometry) -> np.ndarray:
    """LPS positions of all voxels, (Z, Y, X, 3)."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in geometry.shape_zyx), indexing="ij")
    return geometry.to_lps(np.stack([i, j, k], axis=-1))


def filled(value, size=(20, 20, 20), spacing_mm=(4.0, 4.0, 4.0)) -> sitk.Image:
    geometry = centred(size, spacing_mm)
    return image_from_array(np.full(geometry.shape_zyx, value, np.float32), geometry)


@DIRECTIONS
def test_a_ramp_in_space_stays_the_same_ramp(direction):
    """Linear interpolation, averaging and a symmetric blur all reproduce an affine function of position exactly."""

    def ramp(lps):
        return 50 + lps @ np.array([0.11, -0.07, 0.05])

    pet_geometry = centred((30, 32, 28), (4.0, 3.8, 4.2), direction, (5, -3, 200))
    ct_geometry = centred((130, 128, 60), (0.98, 0.98, 2.0), FLIPPED, (5, -3, 200))
    pet, ct = (image_from_array(ramp(positions(g)).astype(np.float32), g) for g in (pet_geometry, ct_geometry))
    window = (0.0, 100.0)
    grid = model_grid(pet_geometry, 2.5)
    array = network_input(study(pet, ct), recipe(Channel(PET, window), Channel(CT, window)), grid)
    where = positions(grid)
    inner = np.abs(where - np.array([5, -3, 200])).max(axis=-1) < 38  # well inside both images
    assert inner.sum() > 20000
    for channel in array:
        np.testing.assert_allclose(channel[inner] * 100, ramp(where)[inner], atol=2e-3)


def test_model_grid_is_axis_aligned_and_covers_the_pet():
    pet = centred((30, 32, 28), (4.0, 3.8, 4.2), OBLIQUE, (5, -3, 200))
    grid = model_grid(pet, 2.5)
    assert grid.direction == IDENTITY
    assert grid.spacing_mm == (2.5, 2.5, 2.5)
    low, high = grid.bounds_mm()
    assert (low <= pet.bounds_mm()[0] + 1e-6).all()
    assert (high >= pet.bounds_mm()[1] - 1e-6).all()


def test_model_grid_covers_its_box_on_the_lattice_of_the_whole():
    pet = centred((50, 50, 50), (4.0, 4.0, 4.0))
    low, high = (-31.0, -20.0, 10.0), (33.0, 21.0, 60.0)
    whole, part = model_grid(pet, 2.5), model_grid(pet, 2.5, low, high)
    assert (part.bounds_mm()[0] <= low).all()
    assert (part.bounds_mm()[1] >= high).all()
    assert (np.array(part.size) * 2.5 <= np.array(high) - low + 3 * 2.5).all()
    steps = (np.array(part.origin_mm) - whole.origin_mm) / 2.5
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)


def test_model_grid_is_widened_to_the_patch_about_its_centre():
    grid = model_grid(centred((10, 10, 10), (4.0, 4.0, 4.0)), 2.5, at_least_zyx=(32, 16, 20))
    assert grid.shape_zyx == (32, 16, 20)
    np.testing.assert_allclose(np.mean(grid.corners_mm(), axis=0), 0, atol=1.26)


@pytest.mark.parametrize(("wavelength_mm", "kept"), [(2.2, (0.0, 0.2)), (3.3, (0.0, 0.6)), (40.0, (0.95, 1.0))])
def test_detail_finer_than_the_model_is_averaged_away(wavelength_mm, kept):
    """The CT's pixel is 0.98 mm: waves that 2.5 mm voxels cannot hold (< 5 mm) would come back as coarse patterns.

    The mean of two pixels alone leaves cos(pi 0.98 / 2.2) = 0.17 of a wave of 2.2 mm; without it all would stay.
    """
    ct_geometry = centred((256, 64, 16), (0.98, 0.98, 3.0))
    wave = 100 * np.sin(2 * np.pi * positions(ct_geometry)[..., 0] / wavelength_mm)
    ct = image_from_array(wave.astype(np.float32), ct_geometry)
    grid = model_grid(centred((40, 10, 8), (4.0, 4.0, 4.0)), 2.5)
    window = (-200.0, 200.0)
    array = network_input(study(filled(0), ct), recipe(Channel(CT, window)), grid)[0] * 400 - 200
    inner = array[2:-2, 2:-2, 4:-4]
    share = np.sqrt(2 * np.mean(inner**2)) / 100
    assert kept[0] <= share <= kept[1]


def test_noise_of_a_fine_ct_falls_as_averaging_demands():
    """A 2.5 mm voxel holds 2.5^3 / (0.98^2 x 1.25) = 13 CT voxels: white noise falls at least 0.75 sqrt(13) times."""
    geometry = centred((128, 128, 64), (0.98, 0.98, 1.25))
    noise = np.random.default_rng(3).normal(0, 50, geometry.shape_zyx)
    ct = image_from_array(noise.astype(np.int16), geometry)
    grid = model_grid(centred((20, 20, 16), (4.0, 4.0, 4.0)), 2.5)
    values = network_input(study(filled(0), ct), recipe(Channel(CT, (-500.0, 500.0))), grid)[0] * 1000 - 500
    assert values.std() < 50 / (0.75 * np.sqrt(13))
    assert abs(values.mean()) < 1.0


def test_coarse_pet_is_not_blurred():
    values = np.random.default_rng(0).uniform(0, 10, (10, 10, 10)).astype(np.float32)
    pet = image_from_array(values, centred((10, 10, 10), (4.0, 4.0, 4.0)))
    same = anti_aliased(pet, model_grid(Geometry.from_image(pet), 2.5))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(same), values)


def test_windows_map_to_0_1_and_clip():
    pet = filled(2.5)
    for hu, expected in ((-400, 0.0), (-150, 0.0), (-50, 0.25), (250, 1.0), (3000, 1.0)):
        array = network_input(
            study(pet, filled(hu)),
            recipe(Channel(PET, (0.0, 10.0)), Channel(CT, (-150.0, 250.0))),
            model_grid(Geometry.from_image(pet), 2.5),
        )
        assert array.dtype == np.float32
        inner = array[:, 3:-3, 3:-3, 3:-3]
        np.testing.assert_allclose(inner[0], 0.25, atol=1e-5)
        np.testing.assert_allclose(inner[1], expected, atol=1e-5)


def test_without_ct_the_channel_holds_its_missing_value():
    pet = filled(1)
    grid = model_grid(Geometry.from_image(pet), 2.5)
    array = network_input(study(pet), recipe(Channel(PET, (0.0, 10.0)), Channel(CT, (-150.0, 250.0), 0.4)), grid)
    np.testing.assert_array_equal(array[1], np.float32(0.4))
    with pytest.raises(ModelError, match="needs a CT and the study has none"):
        network_input(study(pet), recipe(Channel(CT, (-150.0, 250.0))), grid)


@pytest.mark.parametrize(("missing", "expected"), [(0.4, 0.4), (None, 0.0)])
def test_where_the_ct_does_not_reach(missing, expected):
    pet = filled(1)  # 80 mm cube
    ct = image_from_array(np.full((20, 20, 20), 250, np.int16), centred((20, 20, 20), (2.0, 2.0, 2.0)))  # 40 mm cube
    grid = model_grid(Geometry.from_image(pet), 2.5)
    array = network_input(study(pet, ct), recipe(Channel(CT, (-150.0, 250.0), missing)), grid)[0]
    distance = np.abs(positions(grid)).max(axis=-1)
    np.testing.assert_allclose(array[distance < 18], 1.0, atol=1e-5)
    np.testing.assert_allclose(array[distance > 20.1], expected, atol=1e-6)


def test_a_ct_beside_the_pet_is_missing_everywhere():
    pet = filled(1)
    ct = image_from_array(np.full((20, 20, 20), 250, np.int16), centred((20, 20, 20), (2, 2, 2), center_mm=(0, 0, 900)))
    grid = model_grid(Geometry.from_image(pet), 2.5)
    array = network_input(study(pet, ct), recipe(Channel(CT, (-150.0, 250.0), 0.4)), grid)
    np.testing.assert_allclose(array, 0.4, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    values = np.ones((20, 20, 20), np.float32)
    values[10, 10, 10] = bad
    broken = image_from_array(values, centred((20, 20, 20), (4.0, 4.0, 4.0)))
    grid = model_grid(Geometry.from_image(broken), 2.5)
    with pytest.raises(InputError, match="PET holds values that are not finite"):
        network_input(study(broken), recipe(Channel(PET, (0.0, 10.0))), grid)
    with pytest.raises(InputError, match="CT holds values that are not finite"):
        network_input(study(filled(1), broken), recipe(Channel(CT, (-150.0, 250.0))), grid)


def test_unknown_image():
    pet = filled(1)
    with pytest.raises(ModelError, match="asks for the image 'mr'"):
        network_input(study(pet), recipe(Channel("mr", (0.0, 1.0))), model_grid(Geometry.from_image(pet), 2.5))
