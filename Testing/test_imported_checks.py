"""Imported models: what is brain is left out and what is unlike a head and neck is told, as for own models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from inference_cases import CARD
from test_not_brain import MM, head

from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.inference.nnunet_engine import NnUNetPlan, Resampling
from HNTumorSegLib.models.card import NNUNET_ENGINE
from HNTumorSegLib.recipes.recipe import BACKGROUND, PET, PRIMARY, TUMOUR, Channel
from HNTumorSegLib.study.study import Provenance, SeriesInfo, Study

PLAN = NnUNetPlan(
    spacing_mm=(MM,) * 3,
    patch=(80, 64, 64),
    transpose=(0, 1, 2),
    normalisation=("NoNormalization",),
    use_mask=(False,),
    intensities=({},),
    data=Resampling(),
    logits=Resampling(),
)
BRAIN_BALL, NECK_BALL = ((0.0, 0.0, 0.0), 12.0, 14.0), ((20.0, 0.0, -140.0), 12.0, 14.0)


class AboveNine(torch.nn.Module):
    """Primary tumour above SUV 9."""

    def forward(self, x):
        primary = 40 * (x[:, :1] - 9)
        return torch.cat([torch.zeros_like(primary), primary], dim=1)


def imported(classes=(BACKGROUND, PRIMARY)) -> Delineator:
    recipe = replace(CARD.recipe, channels=(Channel(PET, (0.0, 1.0)),), classes=classes)
    card = replace(CARD, recipe=recipe, classes=classes, engine=NNUNET_ENGINE, engine_options=PLAN.to_dict())
    return Delineator.from_networks(card, [AboveNine()], "cpu")


def study_of(pet: sitk.Image) -> Study:
    return Study(pet, SeriesInfo("", "PT", ""), Provenance("file", "SUVbw", "as it is"))


def slices(labels: sitk.Image) -> tuple[float, float] | None:
    """Lowest and highest S coordinate of what is marked."""
    at = np.argwhere(sitk.GetArrayViewFromImage(labels) > 0)
    s_mm = Geometry.from_image(labels).to_lps(at[:, ::-1])[:, 2] if len(at) else ()
    return (float(min(s_mm)), float(max(s_mm))) if len(at) else None


@pytest.mark.parametrize("classes", [(BACKGROUND, PRIMARY), (BACKGROUND, TUMOUR)])
def test_what_it_marks_in_the_brain_is_left_out(classes):
    pet, _ = head(BRAIN_BALL, NECK_BALL)
    found = imported(classes).delineate(study_of(pet))
    low, high = slices(found.labels)
    assert low == pytest.approx(-140 - 12, abs=2 * MM)
    assert high == pytest.approx(-140 + 12, abs=2 * MM)
    (told,) = [sentence for sentence in found.warnings if "marked in the brain" in sentence]
    assert told.startswith("1 structure")
    # What the network said stays visible in its probabilities.
    assert slices(found.primary_probability > 0.5)[1] == pytest.approx(12, abs=2 * MM)


def test_a_head_without_such_a_structure_is_as_nnunet_has_it():
    pet, marked = head(NECK_BALL)
    found = imported().delineate(study_of(pet))
    own, true = (sitk.GetArrayViewFromImage(image) > 0 for image in (found.labels, pet > 9))
    np.testing.assert_array_equal(own, true)
    assert (sitk.GetArrayViewFromImage(marked) > 0)[own].mean() > 0.9
    assert not [sentence for sentence in found.warnings if "brain" in sentence]


def test_an_implausible_scan_is_told_of():
    pet, _ = head(NECK_BALL)
    said = imported().delineate(study_of(pet * 0.01)).warnings
    assert [sentence for sentence in said if "SUV seems to be wrong" in sentence]
    assert not [sentence for sentence in imported().delineate(study_of(pet)).warnings if "SUV seems" in sentence]


def test_a_long_scan_is_searched_whole_and_that_is_told():
    """Own models look at the head and neck alone; an imported one marks the bladder, and the user is warned."""
    pet, _ = head(BRAIN_BALL, ((20.0, 0.0, -140.0), 12.0, 14.0))
    size = pet.GetSize()
    longer = sitk.ConstantPad(pet, (0, 0, 100), (0, 0, 0), 0.0)
    array = sitk.GetArrayFromImage(longer)
    neck = array[100 + 5].copy()
    array[:100] = np.where(neck > 0.4, 0.8, 0.0)
    array[10:16, size[1] // 2 - 3 : size[1] // 2 + 3, size[0] // 2 - 3 : size[0] // 2 + 3] = 20.0
    body = sitk.GetImageFromArray(array)
    body.CopyInformation(longer)
    found = imported().delineate(study_of(body))
    (told,) = [sentence for sentence in found.warnings if "this model searches all of it" in sentence]
    assert "The scan is 72 cm long" in told
    assert not [sentence for sentence in found.warnings if "Only the head and neck were searched" in sentence]
    assert slices(found.labels)[0] < -240 - 300
