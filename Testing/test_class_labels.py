"""Models of any classes on any images: organs on a CT alone, two CTs, the voxel decision on the image's own grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from inference_cases import CARD, FLIPPED, IDENTITY, OBLIQUE, geometry_about, random_array
from scipy.stats import entropy

from HNTumorSegLib.errors import Cancelled, InputError, ModelError
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.inference.class_labels import ClassLabeller, body_bounds_mm, class_images, labels_on_reference
from HNTumorSegLib.inference.nnunet_engine import NnUNetPlan, Resampling
from HNTumorSegLib.inference.tiling import TiledAnswer
from HNTumorSegLib.models.card import NNUNET_ENGINE
from HNTumorSegLib.recipes.recipe import CT, CT_CONTRAST, PET, Channel

CENTRE_MM, RADIUS_MM = np.array([6.0, -10.0, 118.0]), 30.0
RECIPE = replace(
    CARD.recipe,
    channels=(Channel(CT, (-1000.0, 1000.0)),),
    spacing_mm=3.0,
    patch_zyx=(16, 24, 24),
    overlap=(0.25, 0.25, 0.25),
)
ORGANS = replace(CARD, recipe=RECIPE, classes=("background", "soft", "bone"))


class Densities(torch.nn.Module):
    """Soft tissue above -500 HU, bone above 500 HU."""

    def forward(self, x):
        hu = 2000 * x[:, -1:] - 1000
        return torch.cat([-(hu + 500), torch.minimum(hu + 500, 500 - hu), hu - 500], dim=1) / 10


def head(geometry: Geometry) -> sitk.Image:
    """A ball of water with a core of bone in air."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in geometry.shape_zyx), indexing="ij")
    distance = np.linalg.norm(geometry.to_lps(np.stack([i, j, k], axis=-1)) - CENTRE_MM, axis=-1)
    return image_from_array(
        np.select([distance < 12, distance < RADIUS_MM], [1000, 0], -1000).astype(np.int16), geometry
    )


@pytest.mark.parametrize("direction", [IDENTITY, FLIPPED, OBLIQUE], ids=["plain", "flip", "oblique"])
def test_organs_lie_where_they_are_on_the_cts_own_grid(direction):
    ct = head(geometry_about((60, 58, 50), (2.0, 2.1, 2.6), direction))
    labels = ClassLabeller.from_networks(ORGANS, [Densities()], "cpu").label({CT: ct})
    assert Geometry.from_image(labels).distance_mm(Geometry.from_image(ct)) < 1e-6
    found, values = sitk.GetArrayFromImage(labels), sitk.GetArrayFromImage(ct)
    true = np.select([values > 500, values > -500], [2, 1], 0)
    for organ in (1, 2):
        mine, theirs = found == organ, true == organ
        assert 2 * (mine & theirs).sum() / (mine.sum() + theirs.sum()) > 0.9
        middle = Geometry.from_image(ct).to_lps(np.argwhere(mine)[:, ::-1].astype(float)).mean(axis=0)
        np.testing.assert_allclose(middle, CENTRE_MM, atol=0.7)


def test_the_decision_is_made_after_resampling():
    """Equals resampling all classes, background included, and taking the highest."""
    grid = Geometry((14, 12, 40), (3.0, 3.0, 3.0), (-20.0, -18.0, 60.0), IDENTITY)
    foreground = (random_array(4, *grid.shape_zyx) ** 3 / 3).astype(np.float32)
    target = geometry_about((40, 36, 70), (1.1, 1.2, 1.9), OBLIQUE)
    reference = image_from_array(np.zeros(target.shape_zyx, np.uint8), target)
    every = [
        sitk.GetArrayFromImage(sitk.Resample(image_from_array(p, grid), reference, sitk.Transform(), sitk.sitkLinear))
        for p in foreground
    ]
    expected = np.argmax([1 - sum(every), *every], axis=0)
    found = sitk.GetArrayFromImage(labels_on_reference(foreground, grid, target))
    assert (found != expected).mean() < 1e-4
    assert set(np.unique(found)) == {0, 1, 2, 3, 4}


def test_only_the_box_about_the_body_is_looked_at():
    ct = head(geometry_about((100, 100, 70), (3.0, 3.0, 3.0), FLIPPED))
    low, high = body_bounds_mm(ct)
    np.testing.assert_allclose(low, CENTRE_MM - RADIUS_MM - 10, atol=6)
    np.testing.assert_allclose(high, CENTRE_MM + RADIUS_MM + 10, atol=6)
    assert body_bounds_mm(ct * 0 - 1000) == (None, None)
    voxels = []

    class Counter(Densities):
        def forward(self, x):
            voxels.append(x[0, 0].numel())
            return super().forward(x)

    ClassLabeller.from_networks(ORGANS, [Counter()], "cpu").label({CT: ct})
    assert sum(voxels) < 0.25 * 100 * 100 * 70


def test_two_cts_on_different_grids():
    """The second channel (contrast-enhanced, shifted grid) is the one that this network reads."""
    recipe = replace(RECIPE, channels=(Channel(CT, (-1000.0, 1000.0)), Channel(CT_CONTRAST, (-1000.0, 1000.0))))
    labeller = ClassLabeller.from_networks(replace(ORGANS, recipe=recipe), [Densities()], "cpu")
    plain = head(geometry_about((50, 50, 44), (2.4, 2.4, 2.8), IDENTITY))
    contrast = head(geometry_about((64, 60, 50), (2.0, 2.0, 2.5), FLIPPED))
    found = sitk.GetArrayFromImage(labeller.label({CT: plain, CT_CONTRAST: contrast}))
    assert found.shape == sitk.GetArrayFromImage(plain).shape
    true = sitk.GetArrayFromImage(plain) > 500
    assert 2 * ((found == 2) & true).sum() / ((found == 2).sum() + true.sum()) > 0.85
    with pytest.raises(ModelError, match="needs a contrast-enhanced CT"):
        labeller.label({CT: plain})
    with pytest.raises(ModelError, match="reads ct, ct_contrast, and none of them was given"):
        labeller.label({CT: None})


def test_it_can_be_cancelled():
    def stop(event):
        raise Cancelled("stopped")

    labeller = ClassLabeller.from_networks(ORGANS, [Densities()], "cpu")
    ct = head(geometry_about((40, 40, 40), (3.0,) * 3, IDENTITY))
    with pytest.raises(Cancelled):
        labeller.label({CT: ct}, stop)


def test_an_imported_model_of_a_ct_alone():
    """As nnU-Net has it, which has no box about the body: the network's answer on the CT itself."""
    plan = NnUNetPlan(
        (3.0,) * 3, (16, 24, 24), (0, 1, 2), ("NoNormalization",), (False,), ({},), Resampling(), Resampling()
    )
    card = replace(ORGANS, engine=NNUNET_ENGINE, engine_options=plan.to_dict())

    class InHounsfieldUnits(Densities):
        def forward(self, x):
            return super().forward((x + 1000) / 2000)

    ct = head(geometry_about((40, 36, 30), (3.0,) * 3, FLIPPED))
    labeller = ClassLabeller.from_networks(card, [InHounsfieldUnits()], "cpu")
    answer = labeller.answer({CT: ct}, with_uncertainty=True)
    values = sitk.GetArrayFromImage(ct)
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(answer.labels), np.select([values > 500, values > -500], [2, 1])
    )
    assert Geometry.from_image(answer.uncertainty).distance_mm(Geometry.from_image(ct)) < 1e-6
    assert answer.spread is None
    with pytest.raises(ModelError, match="reads ct, and none"):
        labeller.label({PET: ct})


def test_uncertainty_is_the_entropy_of_all_classes_and_the_reference_may_be_another_image():
    """Against scipy, where nothing is resampled; then on a grid that the model does not read."""
    grid = Geometry((14, 12, 40), (3.0, 3.0, 3.0), (-20.0, -18.0, 60.0), IDENTITY)
    foreground = (random_array(4, *grid.shape_zyx) ** 3 / 4).astype(np.float32)
    apart = random_array(*grid.shape_zyx) / 2
    found = class_images(TiledAnswer(foreground, apart), grid, grid, with_uncertainty=True)
    every = np.concatenate([1 - foreground.sum(axis=0, keepdims=True), foreground])
    np.testing.assert_allclose(sitk.GetArrayFromImage(found.uncertainty), entropy(every, base=5, axis=0), atol=1e-5)
    np.testing.assert_allclose(sitk.GetArrayFromImage(found.spread), apart, atol=1e-6)
    assert class_images(TiledAnswer(foreground, apart), grid, grid).uncertainty is None

    labeller = ClassLabeller.from_networks(ORGANS, [Densities()], "cpu")
    ct, pet = (head(geometry_about((40, 36, 30), (3.0,) * 3, direction)) for direction in (IDENTITY, OBLIQUE))
    labels = labeller.label({CT: ct, PET: pet}, reference=PET)
    assert Geometry.from_image(labels).distance_mm(Geometry.from_image(pet)) < 1e-6
    mine, true = sitk.GetArrayFromImage(labels) == 2, sitk.GetArrayFromImage(pet) > 500
    assert 2 * (mine & true).sum() / (mine.sum() + true.sum()) > 0.85
    with pytest.raises(InputError, match="'pet' was asked for as reference, and there is none; use 'ct'"):
        labeller.label({CT: ct, PET: None}, reference=PET)


def test_the_crf_of_the_recipe_is_used():
    """Weights that smooth a lot fill a hole of a single voxel in the soft tissue."""
    ct = head(geometry_about((40, 36, 30), (3.0,) * 3, IDENTITY))
    ct[27, 16, 14] = -1000
    near = {"smoothness": 0.5, "appearance": 0.0}
    plain, refined = (
        sitk.GetArrayFromImage(
            ClassLabeller.from_networks(replace(ORGANS, recipe=recipe), [Densities()], "cpu").label({CT: ct})
        )
        for recipe in (RECIPE, replace(RECIPE, crf=near))
    )
    assert plain[14, 16, 27] == 0
    assert refined[14, 16, 27] == 1
