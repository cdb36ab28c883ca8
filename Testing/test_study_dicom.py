"""DICOM folders: geometry against GDCM, and every kind of bad input."""

from __future__ import annotations

import os
import shutil
import warnings

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_sets import ct_series, mixed, pet_series, put, ramp, save
from pydicom import config
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid

from HNTumorSegLib.errors import Cancelled, DicomError, GeometryError, InputError, SuvError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.study.reader import read_study

ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "flipped rows": (1, 0, 0, 0, -1, 0),
    "flipped both": (-1, 0, 0, 0, -1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "permuted": (0, 1, 0, 1, 0, 0),
    "oblique": (0.8, 0.6, 0, -0.36, 0.48, 0.8),
}


def along_normal(slices, cosines, spacing_mm=3.0):
    """Put the slices in the plane given by ``cosines``, ``spacing_mm`` apart."""
    normal = np.cross(cosines[:3], cosines[3:])
    for k, ds in enumerate(slices):
        ds.ImageOrientationPatient = [float(x) for x in cosines]
        ds.ImagePositionPatient = [round(float(x), 9) for x in np.array([11.0, -22.0, 33.0]) + spacing_mm * k * normal]
    return slices


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_geometry_and_voxels_equal_gdcm(tmp_path, name):
    folder = save(along_normal(ct_series(), ORIENTATIONS[name]), tmp_path / "ct")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    theirs = reader.Execute()
    pet = save(along_normal(pet_series(), ORIENTATIONS[name]), tmp_path / "pet")
    study = read_study(pet, folder)
    assert study.ct_geometry.distance_mm(Geometry.from_image(theirs)) < 1e-6
    np.testing.assert_array_equal(sitk.GetArrayFromImage(study.ct), sitk.GetArrayFromImage(theirs))
    assert study.ct.GetPixelID() == sitk.sitkInt16
    # Known place: column 3, row 2 of the slice written fourth (PixelSpacing is row spacing 2, column spacing 2.5).
    cosines = np.array(ORIENTATIONS[name], float)
    place = np.array([11.0, -22.0, 33.0]) + 3 * 2.5 * cosines[:3] + 2 * 2 * cosines[3:]
    place += 9.0 * np.cross(cosines[:3], cosines[3:])
    i, j, k = np.rint(study.ct_geometry.to_ijk(place)).astype(int)
    assert study.ct[int(i), int(j), int(k)] == ramp(top=2000)[3, 2, 3] - 1024


def test_real_ct_equals_its_nifti(shared_data):
    folder = shared_data / "sarcoma_pet_ct" / "dicom" / "STS_008"
    study = read_study(folder)  # PET, CT and two RTSTRUCTs in one tree
    theirs = sitk.ReadImage(shared_data / "sarcoma_pet_ct/nifti/STS_008/CT_image.nii.gz")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(study.ct), sitk.GetArrayFromImage(theirs))
    assert study.ct_geometry.distance_mm(Geometry.from_image(theirs)) < 1e-4  # NIfTI keeps 32-bit floats
    assert any("same folder" in sentence for sentence in study.warnings)
    assert study.pet_info.n_files == study.ct_info.n_files == 51


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed(tmp_path, syntax):
    slices = ct_series(pixels=ramp(3, 32, 32, top=2000))
    for ds in slices:
        ds.compress(syntax, generate_instance_uid=False)
    study = read_study(save(pet_series(), tmp_path / "pet"), save(slices, tmp_path / "ct"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(study.ct), ramp(3, 32, 32, top=2000) - 1024)


def test_other_encodings(tmp_path):
    implicit = pet_series()
    for ds in implicit:
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    plain = read_study(save(pet_series(), tmp_path / "a"))
    assert read_study(save(implicit, tmp_path / "b")).pet_info.pixel_sha256 == plain.pet_info.pixel_sha256
    bare = tmp_path / "c"
    bare.mkdir()
    for k, ds in enumerate(implicit):  # as before part 10: no preamble, no file meta
        ds.save_as(bare / f"IM{k}", implicit_vr=True, little_endian=True)
        content = (bare / f"IM{k}").read_bytes()
        start = content.index(b"\x08\x00\x16\x00", 132)
        (bare / f"IM{k}").write_bytes(content[start:])
    assert read_study(bare).pet_info.pixel_sha256 == plain.pet_info.pixel_sha256


def test_ct_beyond_16_bits_and_with_fractions_becomes_float(tmp_path):
    pet = save(pet_series(), tmp_path / "pet")
    big = read_study(pet, save(ct_series(RescaleSlope=10), tmp_path / "big"))
    assert big.ct.GetPixelID() == sitk.sitkInt16
    bigger = read_study(pet, save(ct_series(RescaleSlope=20), tmp_path / "bigger"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(bigger.ct), ramp(top=2000) * 20.0 - 1024)
    fine = read_study(pet, save(ct_series(RescaleSlope=0.5), tmp_path / "fine"))
    np.testing.assert_allclose(sitk.GetArrayFromImage(fine.ct), ramp(top=2000) * 0.5 - 1024)


def test_one_file_of_the_series_and_a_path_beyond_ascii(tmp_path):
    folder = save(pet_series(), tmp_path / "Müller 頭頸部")
    (folder / "readme.txt").write_text("not DICOM")
    study = read_study(folder / sorted(p.name for p in folder.glob("*.dcm"))[2])
    assert study.pet_geometry.size == (4, 5, 6)


def test_progress_runs_from_0_to_1_and_can_cancel(tmp_path):
    folder = save(pet_series() + ct_series(), tmp_path / "all", [f"{n}.dcm" for n in range(12)])
    seen = []
    read_study(folder, progress=seen.append)
    shares = [event.fraction for event in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert {event.stage for event in seen} == {"read"}

    def cancel(event):
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        read_study(folder, progress=cancel)


# --- bad series -----------------------------------------------------------------------------------------------------


def refuse(tmp_path, slices, error, message, **options):
    folder = save(slices, tmp_path / "bad")
    with pytest.raises(error, match=message) as caught:
        read_study(folder, **options)
    assert "\n" not in str(caught.value)


def test_no_dicom(tmp_path):
    (tmp_path / "notes.txt").write_text("x" * 500)
    with pytest.raises(DicomError, match=r"no DICOM file in .*1 files"):
        read_study(tmp_path)
    (tmp_path / "IM1.dcm").write_text("x" * 500)
    with pytest.raises(DicomError, match=r"IM1.dcm.*does not begin as"):
        read_study(tmp_path)


def test_missing_slices_are_located(tmp_path):
    slices = pet_series()
    del slices[3]  # at z = -91
    refuse(tmp_path, slices, DicomError, r"1 slice missing between -94.00 and -88.00 mm.*gap 6.00 mm, usual 3.00")


def test_one_slice(tmp_path):
    refuse(tmp_path, pet_series()[:1], DicomError, "one slice only")


def test_duplicate_positions(tmp_path):
    slices = pet_series()
    slices[4].ImagePositionPatient = slices[3].ImagePositionPatient
    refuse(tmp_path, slices, DicomError, r"duplicate slice position.*-91.00 mm")


def test_second_copies_are_passed_over(tmp_path):
    folder = save(pet_series(), tmp_path / "pet")
    shutil.copytree(folder, folder / "copy")
    study = read_study(folder)
    assert study.pet_geometry.size[2] == 6
    assert any("6 files" in sentence for sentence in study.warnings)


def test_one_identity_at_two_positions(tmp_path):
    slices = pet_series()
    slices[4].SOPInstanceUID = slices[3].SOPInstanceUID
    refuse(tmp_path, slices, DicomError, "same SOP Instance UID")


def test_dynamic_and_gated(tmp_path):
    slices = [*pet_series("dynamic"), *pet_series("dynamic", AcquisitionTime="101000")]
    for n, ds in enumerate(slices):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(n)])
    refuse(tmp_path, slices, DicomError, "dynamic or gated: 2 frames at each of 6 positions")


def test_mixed_series(tmp_path):
    odd = pet_series(pixels=ramp(6, 7, 4))[5]
    slices = pet_series()
    refuse(tmp_path / "size", [*slices[:5], odd], DicomError, "mixes image sizes")
    slices = pet_series()
    slices[2].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    refuse(tmp_path / "turn", slices, DicomError, "mixes orientations")
    slices = pet_series()
    slices[2].PixelSpacing = [2, 2.6]
    refuse(tmp_path / "spacing", slices, DicomError, "mixes pixel spacings")


def test_unfit_companion_ct_tells_how_to_leave_it_out(tmp_path):
    slices = ct_series()
    del slices[2]
    folder = mixed(tmp_path / "all", pet_series(), slices)
    with pytest.raises(DicomError, match=r"1 slice missing.*--ct none"):
        read_study(folder)
    assert read_study(folder, "none").ct is None


def test_gantry_tilt(tmp_path):
    slices = pet_series()
    for k, ds in enumerate(slices):
        ds.ImagePositionPatient = [-50, -60 + 3 * k * np.tan(np.radians(15)), -100 + 3 * k]
    refuse(tmp_path, slices, DicomError, r"sheared.*15.0 degrees")


def test_multi_frame(tmp_path):
    refuse(tmp_path, pet_series(NumberOfFrames=40), DicomError, "40 frames in one file")


@pytest.mark.parametrize("keep", [0.0, 0.05, 0.3, 0.6, 0.97])
def test_a_file_cut_short(tmp_path, keep):
    folder = save(pet_series(pixels=ramp(4, 40, 40)), tmp_path / "pet")
    path = sorted(folder.iterdir())[1]
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(DicomError, match="cut short") as caught:
        read_study(folder)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_cut_of_a_file_is_noticed(tmp_path):
    """Also within the identifiers, where the rest would pass for a slice of another series; at either end, too."""
    folder = save(pet_series(pixels=ramp(3, 4, 4)), tmp_path / "pet", ["0.dcm", "1.dcm", "2.dcm"])
    for name, step in (("1.dcm", 23), ("2.dcm", 61)):
        content = (folder / name).read_bytes()
        for length in range(0, len(content) - 1, step):
            (folder / name).write_bytes(content[:length])
            with pytest.raises(InputError):
                read_study(folder)
        (folder / name).write_bytes(content)


def test_flipped_bytes_never_escape_as_another_error(tmp_path):
    folder = save(pet_series(pixels=ramp(3, 4, 4)), tmp_path / "pet", ["0.dcm", "1.dcm", "2.dcm"])
    content = (folder / "1.dcm").read_bytes()
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        for place in rng.integers(132, len(content), 4):
            damaged[place] = rng.integers(256)
        (folder / "1.dcm").write_bytes(damaged)
        try:
            read_study(folder)
        except InputError:
            refused += 1
    assert refused > 50


def test_raw_data_objects_are_no_second_pet(tmp_path):
    raw = pet_series("raw", Rows=None, Columns=None, PixelData=None, SOPClassUID="1.2.840.10008.5.1.4.1.1.66")
    study = read_study(mixed(tmp_path / "all", pet_series(), raw))
    assert study.pet_info.description == "PET AC"


def test_a_compressed_file_cut_short(tmp_path):
    slices = pet_series(pixels=ramp(3, 32, 32))
    for ds in slices:
        ds.compress(RLELossless, generate_instance_uid=False)
    folder = save(slices, tmp_path / "pet")
    path = sorted(folder.iterdir())[0]
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(DicomError, match="cut short"):
        read_study(folder)


def test_no_slope(tmp_path):
    refuse(tmp_path, pet_series(RescaleSlope=None), DicomError, "0028,1053")


def test_constant_pet(tmp_path):
    refuse(tmp_path, pet_series(pixels=np.zeros((4, 5, 5), np.int16)), InputError, "All voxels of the PET are 0")


def test_odd_values_do_not_warn(tmp_path):
    """Warnings are errors in the test run: pydicom's remarks must not come through."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd = {"SeriesDescription": "much longer than the sixty-four characters allowed " * 2, "Units": "bqml or so "}
        slices = pet_series(**odd, PatientWeight="70.000000000000000000")
        folder = save(slices, tmp_path / "pet")
    with pytest.raises(SuvError, match="BQML OR SO"):
        read_study(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save([put(ds, Units="BQML") for ds in slices], folder)
    assert read_study(folder).pet_geometry.size == (4, 5, 6)
    assert config.settings.reading_validation_mode == config.WARN


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    folder = save(pet_series(), tmp_path / "pet")
    path = next(iter(folder.iterdir()))
    path.chmod(0)
    with pytest.raises(InputError, match=path.name):
        read_study(folder)


# --- PET and CT together --------------------------------------------------------------------------------------------


def test_two_patients(tmp_path):
    pet, ct = save(pet_series(), tmp_path / "p"), save(ct_series(PatientID="SOMEONE-ELSE"), tmp_path / "c")
    with pytest.raises(InputError, match="two different patients") as caught:
        read_study(pet, ct)
    assert "SOMEONE-ELSE" not in str(caught.value)


def test_no_overlap(tmp_path):
    ct = ct_series()
    for ds in ct:
        ds.ImagePositionPatient = [-50, -60, ds.ImagePositionPatient[2] + 17.0]
    with pytest.raises(GeometryError, match=r"share 6 percent"):  # 1 of the 18 mm
        read_study(save(pet_series(), tmp_path / "p"), save(ct, tmp_path / "c"))


def test_other_frame_of_reference_is_told(tmp_path):
    ct = ct_series(FrameOfReferenceUID=generate_uid(entropy_srcs=["elsewhere"]))
    study = read_study(save(pet_series(), tmp_path / "p"), save(ct, tmp_path / "c"))
    assert any("frames of reference" in sentence for sentence in study.warnings)


def test_pixel_hash_follows_voxels_and_geometry(tmp_path):
    first = read_study(save(pet_series(), tmp_path / "a")).pet_info.pixel_sha256
    assert read_study(save(pet_series(PatientID="X"), tmp_path / "b")).pet_info.pixel_sha256 == first
    assert read_study(save(pet_series(PixelSpacing=[2, 2.6]), tmp_path / "c")).pet_info.pixel_sha256 != first
    assert read_study(save(pet_series(PatientWeight=71), tmp_path / "d")).pet_info.pixel_sha256 != first


def test_missing_path(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_study(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"CT .*does not exist"):
        read_study(save(pet_series(), tmp_path / "p"), tmp_path / "nowhere")


def test_units_option_is_for_files(tmp_path):
    study = read_study(save(pet_series(), tmp_path / "p"), pet_units="suv")
    assert any("--pet-units was not used" in sentence for sentence in study.warnings)
    with pytest.raises((InputError, SuvError), match="--pet-units is one of"):
        read_study(tmp_path / "p", pet_units="kBq")
