"""The head and neck is found in long scans, and only there is searched."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from HNTumorSegLib.inference.region import find_head_neck

SPACING_MM = 5.0
FOOT_MM, CROWN_MM, CHIN_MM, SHOULDER_MM = -700.0, 170.0, -60.0, -120.0
BRAIN_MM, HEART_MM, KIDNEY_MM, BLADDER_MM = (20.0, 150.0), (-300.0, -210.0), (-480.0, -370.0), (-660.0, -600.0)


def body(low=FOOT_MM - 100, high=CROWN_MM + 30, brain_suv=8.0, arms_up=False, injection=False, arm_mm=160):
    """An FDG patient of boxes and ellipsoids in LPS; S = 0 is the skull base. Returns the image in LPS order."""
    z = np.arange(low + SPACING_MM / 2, high, SPACING_MM)
    y = np.arange(-200, 200, SPACING_MM) + SPACING_MM / 2
    x = np.arange(-300, 300, SPACING_MM) + SPACING_MM / 2
    z3, y3, x3 = np.meshgrid(z, y, x, indexing="ij", sparse=True)
    suv = np.zeros((len(z), len(y), len(x)), np.float32)

    def put(value, center, radii):
        inside = sum(((c - m) / r) ** 2 for c, m, r in zip((z3, y3, x3), center, radii, strict=True)) < 1
        suv[inside] = value

    def tube(value, bottom, top, radii, center_x=0.0):
        inside = (z3 >= bottom) & (z3 < top) & ((y3 / radii[0]) ** 2 + ((x3 - center_x) / radii[1]) ** 2 < 1)
        suv[inside] = value

    tube(0.8, FOOT_MM, SHOULDER_MM, (115, 190))
    tube(0.8, SHOULDER_MM, CHIN_MM, (60, 60))
    tube(0.8, CHIN_MM, CROWN_MM, (95, 78))
    if arms_up:
        for side in (-1, 1):
            tube(0.8, SHOULDER_MM, CROWN_MM + 150, (45, 45), side * arm_mm)
    put(brain_suv, (85, 0, 0), (65, 80, 65))
    put(10.0, (-255, -40, 40), (45, 40, 45))  # heart
    for side in (-1, 1):
        put(12.0, (-425, 50, side * 60), (55, 25, 25))
    put(40.0, (-630, 0, 0), (30, 40, 60))  # bladder
    if injection:
        put(60.0, (CROWN_MM + 130, 0, 160), (30, 35, 35))
    image = sitk.GetImageFromArray(suv)
    image.SetSpacing((SPACING_MM,) * 3)
    image.SetOrigin((float(x[0]), float(y[0]), float(z[0])))
    return image


def in_order(image: sitk.Image, order: str) -> sitk.Image:
    return sitk.DICOMOrient(image, order)


@pytest.mark.parametrize("order", ["LPS", "RAI", "SAR", "PIL"])
def test_brain_leads_to_the_neck_in_any_orientation(order):
    region = find_head_neck(in_order(body(), order))
    assert region.found == "brain"
    assert region.brain_mm == pytest.approx(BRAIN_MM, abs=SPACING_MM)
    assert region.high_mm[2] > CROWN_MM
    # All of the neck down to 5 cm below the shoulders' top; nothing of the heart.
    assert HEART_MM[1] - SPACING_MM < region.low_mm[2] < SHOULDER_MM - 50
    assert "Only the head and neck were searched" in region.sentence()


def test_raised_arms_do_not_count_as_head():
    region = find_head_neck(body(high=CROWN_MM + 160, arms_up=True))
    assert region.found == "brain"
    assert region.brain_mm == pytest.approx(BRAIN_MM, abs=SPACING_MM)
    assert region.high_mm[2] < CROWN_MM + 50


def test_hot_injection_site_in_a_raised_hand_is_no_brain():
    region = find_head_neck(body(high=CROWN_MM + 160, arms_up=True, injection=True))
    assert region.brain_mm == pytest.approx(BRAIN_MM, abs=SPACING_MM)
    cold = find_head_neck(body(high=CROWN_MM + 160, arms_up=True, injection=True, brain_suv=2.0))
    assert cold.found == "no brain"


def test_scan_that_begins_within_the_brain():
    region = find_head_neck(body(high=45.0))
    assert region.found == "cut brain"
    assert region.high_mm[2] == pytest.approx(45.0, abs=SPACING_MM)
    assert HEART_MM[1] - SPACING_MM < region.low_mm[2] < SHOULDER_MM - 50


def test_without_a_brain_everything_is_searched_and_said():
    region = find_head_neck(body(brain_suv=2.0))
    assert region.found == "no brain"
    assert region.low_mm[2] == pytest.approx(FOOT_MM - 100)
    assert "no brain was recognised" in region.sentence()


def test_heart_at_the_top_half_of_a_trunk_scan_is_no_brain():
    region = find_head_neck(body(high=-150.0))
    assert region.found == "no brain"


@pytest.mark.parametrize("arms_up", [False, True])
@pytest.mark.parametrize("high", [15.0, -20.0, -70.0])
def test_scan_that_begins_below_the_brain(high, arms_up):
    """From the skull base, the mouth, the neck: searched is to below the clavicles, far above kidneys and bladder."""
    region = find_head_neck(body(high=high, arms_up=arms_up))
    assert region.found == "shoulders"
    assert KIDNEY_MM[1] + 50 < region.low_mm[2] < SHOULDER_MM - 50
    assert region.high_mm[2] == pytest.approx(high, abs=SPACING_MM)
    assert "no brain was recognised" in region.sentence()


@pytest.mark.parametrize("high", [15.0, -20.0])
@pytest.mark.parametrize("arm_mm", [80, 110, 130])
def test_raised_arms_against_the_head_never_cut_off_the_neck(high, arm_mm):
    region = find_head_neck(body(high=high, arms_up=True, arm_mm=arm_mm))
    assert region.low_mm[2] < SHOULDER_MM - 50


@pytest.mark.parametrize("thighs_mm", [(0,), (-90, 90)])
def test_legs_are_no_neck(thighs_mm):
    """One leg that does not widen; two that widen to a trunk, in a scan that shows the patient upside down."""
    image = body(high=-150.0)
    suv = sitk.GetArrayFromImage(image)
    if len(thighs_mm) == 1:
        suv[:] = 0
    y, x = np.ogrid[-200 : 200 : suv.shape[1] * 1j, -300 : 300 : suv.shape[2] * 1j]
    thighs = np.any([np.hypot(y, x - center) < 70 for center in thighs_mm], axis=0)
    upper_half = slice(len(suv) // 2 if len(thighs_mm) == 2 else 0, None)
    suv[upper_half] = 0.8 * thighs
    legs = sitk.GetImageFromArray(suv)
    legs.CopyInformation(image)
    region = find_head_neck(legs)
    assert region.found == "no brain"
    assert region.low_mm[2] == pytest.approx(FOOT_MM - 100)


def test_short_scans_are_searched_whole():
    region = find_head_neck(body(low=-240.0, high=180.0))
    assert (region.found, region.sentence()) == ("whole", "")
    assert (region.low_mm[2], region.high_mm[2]) == pytest.approx((-240.0, 180.0))


def test_box_follows_the_body():
    region = find_head_neck(body(low=-110.0))
    for axis, half in ((0, 78), (1, 95)):  # the head's radii
        assert -half - 40 < region.low_mm[axis] < -half
        assert half < region.high_mm[axis] < half + 40


def test_empty_pet_is_searched_whole():
    image = body(low=-100.0) * 0
    region = find_head_neck(image)
    assert region.low_mm[0] == pytest.approx(-300.0)


def real_scan(shared_data) -> sitk.Image:
    """A soft-tissue sarcoma of the thigh, from the eyes down. Seen by eye: brain cut at S -8, shoulders' skin near
    S -150, heart from S -263."""
    folder = shared_data / "raw_pet_dicom" / "STS_001_FDG_PET" / "image"
    if not folder.is_dir():
        pytest.skip(f"no raw PET at {folder}")
    slices = sorted(
        (pydicom.dcmread(path) for path in folder.iterdir()), key=lambda s: float(s.ImagePositionPatient[2])
    )
    bq_ml = np.stack([s.pixel_array * float(s.RescaleSlope) + float(s.RescaleIntercept) for s in slices])
    pet = sitk.GetImageFromArray((bq_ml * 2.42903e-4).astype(np.float32))  # factor: data/README.md
    first, last = slices[0], slices[-1]
    step_mm = (last.ImagePositionPatient[2] - first.ImagePositionPatient[2]) / (len(slices) - 1)
    pet.SetSpacing([*map(float, first.PixelSpacing), float(step_mm)])
    pet.SetOrigin([float(x) for x in first.ImagePositionPatient])
    return pet


def test_real_eyes_to_thigh_scan(shared_data):
    """The search must end between S -190 (below the clavicles) and -258 (above the heart)."""
    region = find_head_neck(real_scan(shared_data))
    assert region.found == "cut brain"
    assert -258 < region.low_mm[2] < -190


@pytest.mark.parametrize("top_mm", [-40, -60, -90])
def test_real_scan_without_its_brain(shared_data, top_mm):
    pet = real_scan(shared_data)
    _, _, k = pet.TransformPhysicalPointToIndex((0.0, 0.0, float(top_mm)))
    region = find_head_neck(pet[:, :, :k])
    assert region.found == "shoulders"
    assert top_mm - 250 < region.low_mm[2] < -190
