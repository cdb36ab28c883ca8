"""What lies in the brain is taken out of the labels; a tumour that touches the brain is not."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.inference.not_brain import sentence, take_brain_out
from HNTumorSegLib.inference.region import find_head_neck
from HNTumorSegLib.lesions.from_labels import lesions_from_delineation
from HNTumorSegLib.phantom import CROPPED, make_patient
from HNTumorSegLib.study.reader import read_study

MM = 4.0


def head(*hot: tuple[tuple[float, float, float], float, float], height_mm: float = 320.0, cut_mm: float = 0.0):
    """A head on a neck; its brain is a ball of 65 mm (SUV 8) in tissue of 0.8; further balls: centre, radius, SUV.

    The brain's centre is the origin; ``cut_mm`` takes off that much below the crown. Returns PET and a mask of balls.
    """
    z = np.arange(-240, -240 + height_mm - cut_mm, MM)
    y = x = np.arange(-120, 120, MM)
    z, y, x = np.meshgrid(z, y, x, indexing="ij")
    suv = np.where((np.hypot(x, y) < 85) & (z < 78), 0.8, 0.0).astype(np.float32)
    labels = np.zeros(suv.shape, np.uint8)
    suv[x**2 + y**2 + z**2 < 65**2] = 8.0
    for (cx, cy, cz), radius, value in hot:
        ball = (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2 < radius**2
        suv[ball] = value
        labels[ball] = 2
    image = sitk.GetImageFromArray(suv)
    image.SetSpacing((MM,) * 3)
    image.SetOrigin((-120.0, -120.0, -240.0))
    blurred = sitk.DiscreteGaussian(image, 9.0)
    marked = sitk.GetImageFromArray(labels)
    marked.CopyInformation(image)
    return blurred, marked


def taken(pet: sitk.Image, labels: sitk.Image):
    return take_brain_out(labels, pet, find_head_neck(pet))


@pytest.mark.parametrize("center", [(0, 0, 0), (30, 20, 10), (0, -45, 20)])
def test_a_part_of_the_brain_is_left_out(center):
    pet, labels = head((center, 12.0, 10.0))
    kept, out = taken(pet, labels)
    assert sitk.GetArrayViewFromImage(kept).max() == 0
    assert len(out) == 1
    assert out[0].center_mm == pytest.approx(center, abs=MM)
    assert out[0].volume_ml == pytest.approx(np.count_nonzero(sitk.GetArrayViewFromImage(labels)) * MM**3 / 1000)
    assert "in the brain" in sentence(out)
    assert f"{out[0].volume_ml:.2f} ml" in sentence(out)


@pytest.mark.parametrize("radius", [10.0, 16.0, 24.0])
@pytest.mark.parametrize("gap", [-4.0, 0.0, 6.0])
def test_a_tumour_of_the_skull_base_stays(radius, gap):
    """It touches the brain from below, or has grown 4 mm into it; also with the uptake of brain."""
    for suv in (8.0, 15.0):
        pet, labels = head(((0, 0, -65 - radius - gap), radius, suv))
        kept, out = taken(pet, labels)
        assert out == []
        assert kept is labels


def test_lobes_that_the_end_of_the_scan_cuts():
    """The scan ends 20 mm above the brain's base: two lobes are marked at the top, and a node below."""
    pet, labels = head(((0, 50, -150), 10.0, 9.0), cut_mm=125.0)
    array = sitk.GetArrayFromImage(labels)
    suv = sitk.GetArrayFromImage(pet)
    array[-2:][suv[-2:] > 4] = 2
    marked = image_from_array(array, Geometry.from_image(labels))
    kept, out = taken(pet, marked)
    assert len(out) == 1
    assert "cut off by the end of the scan" in sentence(out)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(kept), sitk.GetArrayFromImage(labels))


def test_what_is_hotter_than_any_brain_stays():
    """A tumour that the top of the scan cuts, as hot as brain or far hotter; it is all that is hot there."""
    for suv, n_taken in ((12.0, 1), (40.0, 0)):
        pet, labels = head(((0, 0, -85), 20.0, suv), cut_mm=155.0)
        region = find_head_neck(pet)
        assert region.seen == "cut brain"
        assert len(take_brain_out(labels, pet, region)[1]) == n_taken


@pytest.mark.parametrize(("seed", "field"), [(1_000_011, CROPPED), (1_000_016, CROPPED), (1_000_013, "head_neck")])
def test_true_lesions_of_phantoms_stay(seed, field):
    patient = make_patient(seed, field, economy=True, family="varied")
    assert taken(patient.study.pet, patient.truth)[1] == []


def test_the_real_brain_that_a_scan_cuts(shared_data):
    """Only there: one small structure in the face remains that the bundled model marks."""
    study = read_study(shared_data / "raw_pet_dicom" / "STS_001_FDG_PET" / "image", "none")
    answer = Delineator(device="cpu").delineate(study)
    top = study.pet_geometry.bounds_mm()[1][2] - 15.0
    lesions = lesions_from_delineation(answer)
    index = np.argwhere(lesions.labels > 0)[:, ::-1]
    heights = study.pet_geometry.to_lps(index)[:, 2] if len(index) else np.zeros(0)
    assert (heights < top).all()
