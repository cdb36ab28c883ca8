"""SUVbw: real data with a known answer, and every rule against the decay law worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_sets import pet_series, put, ramp, save
from pydicom import DataElement
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from HNTumorSegLib.errors import SuvError
from HNTumorSegLib.study.reader import read_study

WEIGHT_G, DOSE_BQ, HALF_LIFE_S = 70e3, 350e6, 6586.2


def factor_after(minutes: float, weight_g: float = WEIGHT_G, dose_bq: float = DOSE_BQ) -> float:
    """Bq/ml to SUVbw when the dose has decayed for so many minutes."""
    return weight_g / (dose_bq * 0.5 ** (minutes * 60 / HALF_LIFE_S))


def check(tmp_path, slices, factor, **options):
    """Read the slices; every voxel must be the stored ramp times ``factor``."""
    study = read_study(save(slices, tmp_path / "pet"), **options)
    np.testing.assert_allclose(sitk.GetArrayFromImage(study.pet), ramp() * factor, rtol=2e-6, atol=1e-9)
    return study


def test_raw_bqml_equals_the_ready_suv_volume(shared_data):
    study = read_study(shared_data / "raw_pet_dicom" / "STS_001_FDG_PET" / "image")
    ready = sitk.GetArrayFromImage(sitk.ReadImage(shared_data / "sarcoma_pet_ct/nifti/STS_001/PET_image.nii.gz"))
    nz, ny, nx = ready.shape
    ours = sitk.GetArrayFromImage(study.pet)[:nz, 45 : 45 + ny, 59 : 59 + nx]
    assert ready.max() > 20
    assert np.abs(ours - ready).max() < 1e-3
    assert study.provenance.suv_factor == pytest.approx(2.42903e-4, rel=1e-5)
    assert study.provenance.units == "BQML"


def test_gml_is_not_scaled_twice(shared_data):
    study = read_study(shared_data / "sarcoma_pet_ct/dicom/STS_008/PET", "none")
    ready = sitk.GetArrayFromImage(sitk.ReadImage(shared_data / "sarcoma_pet_ct/nifti/STS_008/PET_image.nii.gz"))
    assert study.provenance.suv_factor == 1
    assert np.abs(sitk.GetArrayFromImage(study.pet) - ready).max() < 1e-3


def test_bqml_start(tmp_path):
    study = check(tmp_path, pet_series(), factor_after(60))
    assert study.warnings == []
    assert study.provenance.tags["InjectionToReference_s"] == "3600"
    assert study.provenance.tags["RadiopharmaceuticalStartTime"] == "09:00:00"


def test_every_slice_has_its_own_slope_and_bed_time(tmp_path):
    slices = pet_series()
    for k, ds in enumerate(slices):
        ds.RescaleSlope, ds.AcquisitionTime = 1 + k, f"10{3 * (5 - k):02d}00"  # scanned from the head down
    study = read_study(save(slices, tmp_path / "pet"))
    expected = ramp() * (1 + np.arange(6))[:, None, None] * factor_after(60)
    np.testing.assert_allclose(sitk.GetArrayFromImage(study.pet), expected, rtol=2e-6)


def test_admin_needs_no_decay_and_no_times(tmp_path):
    gone = {"RadiopharmaceuticalStartTime": None, "SeriesTime": None, "AcquisitionTime": None}
    check(tmp_path, pet_series(DecayCorrection="ADMIN", **gone), WEIGHT_G / DOSE_BQ)


def test_scan_past_midnight(tmp_path):
    slices = pet_series(
        SeriesDate="20200302", AcquisitionDate="20200302", SeriesTime="001500", AcquisitionTime="001500",
        RadiopharmaceuticalStartTime="233000",
    )  # fmt: skip
    check(tmp_path, slices, factor_after(45))


def test_later_beds_past_midnight_without_a_date(tmp_path):
    slices = pet_series(SeriesTime="235500", RadiopharmaceuticalStartTime="225500", AcquisitionDate=None)
    for k, ds in enumerate(slices):
        ds.AcquisitionTime = "235500" if k < 3 else "000000.5"
    check(tmp_path, slices, factor_after(60))


def test_start_datetime_goes_before_start_time(tmp_path):
    slices = pet_series(RadiopharmaceuticalStartDateTime="20200301091000.000000", RadiopharmaceuticalStartTime="080000")
    check(tmp_path, slices, factor_after(50))


def test_start_datetime_in_another_time_zone(tmp_path):
    slices = pet_series(RadiopharmaceuticalStartDateTime="20200301081000+0000", TimezoneOffsetFromUTC="+0100")
    check(tmp_path, slices, factor_after(50))


def test_shifted_start_date_falls_back_to_the_time(tmp_path):
    study = check(tmp_path, pet_series(RadiopharmaceuticalStartDateTime="20190817091000"), factor_after(60))
    assert any("0018,1078" in sentence for sentence in study.warnings)


def late_series(**attributes):
    """A series made two hours after the scan; beds at 10:00 and 10:05."""
    slices = pet_series(SeriesTime="120000", **attributes)
    for k, ds in enumerate(slices):
        ds.AcquisitionTime = "100500" if k < 3 else "100000"
    return slices


def test_series_made_later_uses_the_earliest_acquisition(tmp_path):
    study = check(tmp_path, late_series(), factor_after(60))
    assert study.provenance.tags["DecayReference"] == "earliest acquisition time"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("block", [0x10, 0x11])
def test_series_made_later_uses_ge_private_scan_time(tmp_path, syntax, block):
    slices = late_series()
    for ds in slices:
        ds.file_meta.TransferSyntaxUID = syntax
        if block == 0x11:
            ds.add(DataElement((0x0009, 0x0010), "LO", "SOMEBODY ELSE"))
        ds.add(DataElement((0x0009, block), "LO", "GEMS_PETD_01"))
        ds.add(DataElement((0x0009, block << 8 | 0x0D), "DT", "20200301095500.00"))
    study = check(tmp_path, slices, factor_after(55))
    assert "0009,100D" in study.provenance.tags["DecayReference"]


def mean_rate_s(duration_s):
    """When a decaying activity equals its mean over a frame, by bisection on the decay law (no closed form)."""
    seconds = np.linspace(0, duration_s, 200001)
    decay = 0.5 ** (seconds / HALF_LIFE_S)
    mean = (decay[:-1] + decay[1:]).sum() / 2 / (len(seconds) - 1)
    return float(np.interp(-mean, -decay, seconds))


def test_series_made_later_from_frame_reference_time(tmp_path):
    # Corrected to 09:50; the frame reference time counts from there to the mean rate of a ten-minute bed.
    slices = late_series(ActualFrameDuration="600000")
    for ds in slices:
        since_s = (900 if ds.AcquisitionTime == "100500" else 600) + mean_rate_s(600)
        ds.FrameReferenceTime = f"{1000 * since_s:.1f}"
    study = check(tmp_path, slices, factor_after(50))
    assert "frame reference" in study.provenance.tags["DecayReference"]


def test_series_made_later_from_decay_factors(tmp_path):
    slices = late_series(ActualFrameDuration="600000", FrameReferenceTime="0")
    for ds in slices:
        since_s = (900 if ds.AcquisitionTime == "100500" else 600) + mean_rate_s(600)
        ds.DecayFactor = f"{2 ** (since_s / HALF_LIFE_S):.12f}"
    study = check(tmp_path, slices, factor_after(50))
    assert "decay factor" in study.provenance.tags["DecayReference"]


def test_frame_numbers_that_disagree_between_beds_are_not_used(tmp_path):
    slices = late_series(ActualFrameDuration="600000", FrameReferenceTime="300000", DecayFactor="1.5")
    study = check(tmp_path, slices, factor_after(60))
    assert study.provenance.tags["DecayReference"] == "earliest acquisition time"


def test_decay_factors_of_a_real_scanner(shared_data):
    """GE writes 1.01268 for a first bed of 240 s: exactly the decay within the frame, so the scan's start is meant."""
    from HNTumorSegLib.study.suv_times import mean_rate_s as ours

    assert 2 ** (ours(240.0, 6588.0) / 6588.0) == pytest.approx(1.01268, abs=5e-6)
    assert ours(600.0, HALF_LIFE_S) == pytest.approx(mean_rate_s(600), abs=1e-3)


def philips(slices, factors, syntax=ExplicitVRLittleEndian, creator=True):
    for ds in slices:
        ds.Units = "CNTS"
        ds.file_meta.TransferSyntaxUID = syntax
        if creator:
            ds.add(DataElement((0x7053, 0x0010), "LO", "Philips PET Private Group"))
        for element, value in factors.items():
            ds.add(DataElement((0x7053, element), "DS", value))
    return slices


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("creator", [True, False])
def test_philips_counts_by_suv_factor(tmp_path, syntax, creator):
    slices = philips(pet_series(), {0x1000: "0.000437", 0x1009: "1.7"}, syntax, creator)
    study = check(tmp_path, slices, 0.000437)
    assert study.provenance.units == "CNTS"


def test_philips_counts_by_activity_factor(tmp_path):
    check(tmp_path, philips(pet_series(), {0x1009: "1.7"}), 1.7 * factor_after(60))


def test_philips_zero_suv_factor_falls_back_to_activity(tmp_path):
    check(tmp_path, philips(pet_series(), {0x1000: "0", 0x1009: "1.7"}), 1.7 * factor_after(60))


def test_philips_weight_by_hand_uses_the_activity_factor(tmp_path):
    slices = philips(pet_series(), {0x1000: "0.000437", 0x1009: "1.7"})
    check(tmp_path, slices, 1.7 * factor_after(60, weight_g=90e3), weight_kg=90)


def test_counts_without_factors_are_refused(tmp_path):
    with pytest.raises(SuvError, match=r"7053,1000.*--suv-factor"):
        check(tmp_path, pet_series(Units="CNTS"), 1)


def test_gml_with_and_without_type(tmp_path):
    for kind in ("BW", None):
        slices = pet_series(Units="GML", SUVType=kind, RescaleSlope=0.001)
        check(tmp_path, slices, 0.001)


@pytest.mark.parametrize("kind", ["LBM", "BSA", "LBMJAMES128", "IBW"])
def test_other_kinds_of_suv_are_refused(tmp_path, kind):
    with pytest.raises(SuvError, match=f"SUV by {kind}"):
        check(tmp_path, pet_series(Units="GML", SUVType=kind), 1)


def test_suvbw_times_a_factor_is_refused(tmp_path):
    with pytest.raises(SuvError, match="twice"):
        check(tmp_path, pet_series(Units="GML", SUVType="BW"), 1, suv_factor=2e-4)


def test_factor_weight_and_dose_by_hand(tmp_path):
    study = check(tmp_path, pet_series(Units="PROPCNTS"), 2.5e-4, suv_factor=2.5e-4)
    assert study.provenance.suv_factor == 2.5e-4
    gone = {"PatientWeight": None, "RadionuclideTotalDose": 0}
    check(tmp_path, pet_series(**gone), factor_after(60, 80e3, 200e6), weight_kg=80, dose_bq=200e6)


def test_half_life_of_the_header_counts_when_it_is_f18(tmp_path):
    factor = WEIGHT_G / (DOSE_BQ * 0.5 ** (3600 / 6588.0))
    check(tmp_path, pet_series(RadionuclideHalfLife=6588.0), factor)


@pytest.mark.parametrize("half_life", [None, 0])
def test_missing_half_life_is_taken_as_f18_and_told(tmp_path, half_life):
    study = check(tmp_path, pet_series(RadionuclideHalfLife=half_life), factor_after(60))
    assert any("half-life" in sentence for sentence in study.warnings)


REFUSED = [
    ({"PatientWeight": None}, r"0010,1030.*--weight-kg.*--suv-factor"),
    ({"PatientWeight": 0}, r"0010,1030.*missing or zero"),
    ({"PatientWeight": 70000}, r"70000 kg"),
    ({"RadionuclideTotalDose": None}, r"0018,1074.*--dose-bq.*--suv-factor"),
    ({"RadionuclideTotalDose": 0}, r"0018,1074.*missing or zero"),
    ({"RadionuclideTotalDose": 350}, r"350, too small.*MBq"),
    ({"RadionuclideTotalDose": 350e3}, r"too small.*kBq"),
    ({"RadiopharmaceuticalInformationSequence": []}, r"0018,1074"),
    ({"RadionuclideHalfLife": 1223.4}, r"1223.4 s"),
    ({"RadiopharmaceuticalStartTime": None}, r"0018,1072.*--suv-factor"),
    ({"RadiopharmaceuticalStartTime": "101000"}, r"23.8 h before"),
    ({"RadiopharmaceuticalStartTime": "035000"}, r"6.2 h before"),
    ({"RadiopharmaceuticalStartTime": None, "RadiopharmaceuticalStartDateTime": "20200301110000"}, r"-1.0 h before"),
    ({"SeriesTime": None, "AcquisitionTime": None}, r"0008,0031"),
    ({"DecayCorrection": "NONE"}, r"not decay corrected.*0054,1102"),
    ({"DecayCorrection": None}, r"0054,1102"),
    ({"Units": None}, r"no Units \(0054,1001\)"),
    ({"Units": "1CM"}, r"'1CM'"),
]  # fmt: skip


@pytest.mark.parametrize(("attributes", "message"), REFUSED)
def test_refused(tmp_path, attributes, message):
    with pytest.raises(SuvError, match=message) as caught:
        check(tmp_path, pet_series(**attributes), 1)
    assert "\n" not in str(caught.value)


def test_other_nuclide_without_half_life_is_refused(tmp_path):
    slices = pet_series(RadionuclideHalfLife=None)
    for ds in slices:
        code = type(ds)("", {}, file_meta=None)
        code.CodeValue, code.CodeMeaning = "C-131A3", "^68^Gallium"
        put(ds, RadionuclideCodeSequence=[code])
    with pytest.raises(SuvError, match="Gallium"):
        check(tmp_path, slices, 1)


def test_mixed_units_are_refused(tmp_path):
    slices = pet_series()
    slices[2].Units = "GML"
    with pytest.raises(SuvError, match="BQML, GML"):
        check(tmp_path, slices, 1)


@pytest.mark.parametrize("options", [{"weight_kg": -3}, {"dose_bq": float("nan")}, {"dose_bq": 370}, {"suv_factor": 0}])
def test_senseless_values_by_hand(tmp_path, options):
    with pytest.raises(SuvError, match="--"):
        check(tmp_path, pet_series(), 1, **options)


def test_implausible_suv_is_told(tmp_path):
    low = read_study(save(pet_series(), tmp_path / "pet"), suv_factor=1e-6)
    assert any("highest SUV is 0.02" in sentence for sentence in low.warnings)
    high = read_study(tmp_path / "pet", suv_factor=0.1)
    assert any("highest SUV is 2000" in sentence for sentence in high.warnings)


def test_provenance_names_no_patient_and_no_date(tmp_path):
    study = read_study(save(pet_series(PatientID="SECRET-77", PatientName="Doe^Jane"), tmp_path / "pet"))
    text = repr(study.provenance) + repr(study.warnings)
    assert not any(word in text for word in ("SECRET-77", "Doe", "20200301", "2020-03-01"))


def test_uncorrected_pet_is_told(tmp_path):
    study = check(tmp_path, pet_series(CorrectedImage=["DECY"]), factor_after(60))
    assert any("attenuation" in sentence for sentence in study.warnings)
