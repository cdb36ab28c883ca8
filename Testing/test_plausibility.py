"""A scan unlike what the model knows is said to be; a head and neck is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.inference.plausibility import airway_seen, implausible, skull_seen
from HNTumorSegLib.inference.region import find_head_neck
from HNTumorSegLib.phantom import CROPPED, WHOLE_BODY, make_patient
from HNTumorSegLib.study.reader import read_study

SEED = 1_000_020


@pytest.fixture(scope="module")
def study():
    return make_patient(SEED, economy=True).study


def said(study) -> list[str]:
    return implausible(study, find_head_neck(study.pet))


def pet_only(study):
    return replace(study, ct=None, ct_info=None)


def test_a_head_and_neck_is_not_remarked_on(study):
    assert said(study) == []
    assert said(pet_only(study)) == []


@pytest.mark.parametrize(("field", "family"), [(CROPPED, "varied"), (CROPPED, "held_out"), (WHOLE_BODY, "held_out")])
def test_nor_are_other_fields_of_view(field, family):
    assert said(make_patient(SEED, field, economy=True, family=family).study) == []


@pytest.mark.parametrize("factor", [1e-3, 0.1, 8.0, 5000.0])
def test_a_wrong_scale_of_suv(study, factor):
    """1000 times too small, kg for lb and the like, and Bq/ml declared as SUV; one sentence, not several."""
    (sentence,) = said(pet_only(replace(study, pet=study.pet * factor)))
    assert "SUV seems to be" in sentence


def test_a_brain_without_uptake_is_missed(study):
    """Half the threshold at which a brain is recognised: tissue stays believable, the CT shows the skull."""
    pet = image_from_array(np.minimum(sitk.GetArrayFromImage(study.pet), 1.5), study.pet_geometry)
    (sentence,) = said(replace(study, pet=pet))
    assert "the inside of a skull" in sentence
    (sentence,) = said(pet_only(replace(study, pet=pet)))
    assert "No head and neck was recognised" in sentence


def test_the_neck_alone_is_known_by_its_airway(study):
    """Cut below the brain: with the CT nothing is said, from the PET alone it cannot be known."""
    region = find_head_neck(study.pet)
    grid = study.pet_geometry
    assert region.seen == "brain"
    suv = sitk.GetArrayFromImage(study.pet)
    hottest = np.flatnonzero((suv > 4).sum(axis=(1, 2)) * grid.spacing_mm[0] ** 2 > 3000)
    top = int(hottest.min() - 45 / grid.spacing_mm[2])
    neck = replace(study, pet=study.pet[:, :, :top])
    assert said(neck) == []
    (sentence,) = said(pet_only(neck))
    assert "No head and neck was recognised" in sentence


def test_thick_slices(study):
    grid = study.pet_geometry
    thick = sitk.Resample(
        study.pet,
        (*grid.size[:2], int(grid.size[2] * grid.spacing_mm[2] / 8)),
        sitk.Transform(),
        sitk.sitkLinear,
        grid.origin_mm,
        (*grid.spacing_mm[:2], 8.0),
        grid.direction,
    )
    assert any("8.0 mm" in sentence for sentence in said(replace(study, pet=thick)))


def test_a_ct_that_is_not_in_hounsfield_units(study):
    (sentence,) = said(replace(study, ct=study.ct + 1024))
    assert "Hounsfield" in sentence


def test_airway_and_skull_of_plain_shapes():
    grid = Geometry((50, 50, 40), (5.0, 5.0, 5.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel().tolist()))
    y, x = np.mgrid[:50, :50] * 5.0 - 122.5
    radius = np.hypot(x, y)

    def ct(outer_mm: float, lumen_mm: float, length: int, ring_hu: float = 40.0) -> np.ndarray:
        hu = np.where(radius < outer_mm, 40.0, -1000.0)[None].repeat(40, axis=0)
        hu[:, (radius < outer_mm) & (radius > outer_mm - 9)] = ring_hu
        hu[:length, radius < lumen_mm] = -1000.0
        return hu

    assert airway_seen(ct(65, 9, 20), grid)
    assert not airway_seen(ct(65, 0, 20), grid)  # a limb
    assert not airway_seen(ct(65, 9, 5), grid)  # a bubble
    assert not airway_seen(ct(65, 40, 20), grid)  # a bag of air
    assert not airway_seen(ct(120, 9, 20), grid)  # bowel in a belly of 450 cm2
    assert skull_seen(ct(80, 0, 0, 900.0), grid)
    assert not skull_seen(ct(30, 0, 0, 900.0), grid)  # a long bone
    assert not skull_seen(ct(80, 0, 0), grid)


def test_limbs_are_remarked_on_and_a_real_whole_body_is_not(shared_data):
    folders = sorted((shared_data / "sarcoma_pet_ct" / "nifti").glob("STS_*"))
    assert len(folders) == 10
    for folder in folders:
        limb = read_study(folder / "PET_image.nii.gz", folder / "CT_image.nii.gz", pet_units="suv")
        for one in (limb, pet_only(limb)):
            assert any("No head and neck was recognised" in sentence for sentence in said(one)), folder.name
    assert said(read_study(shared_data / "raw_pet_dicom" / "STS_001_FDG_PET" / "image", "none")) == []
