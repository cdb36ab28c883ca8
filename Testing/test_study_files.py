"""NIfTI, NRRD and MetaImage as input."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import SimpleITK as sitk

from HNTumorSegLib.errors import GeometryError, InputError, SuvError
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.study.reader import read_study

OBLIQUE = Geometry((7, 6, 5), (2.0, 2.5, 3.0), (10.0, -20.0, 30.0), (0.8, -0.36, 0.48, 0.6, 0.48, -0.64, 0.0, 0.8, 0.6))


def pet_image(geometry: Geometry = OBLIQUE, top: float = 12.0) -> sitk.Image:
    n = int(np.prod(geometry.size))
    return image_from_array(np.linspace(0, top, n, dtype=np.float32).reshape(geometry.shape_zyx), geometry)


def ct_image(geometry: Geometry = OBLIQUE) -> sitk.Image:
    n = int(np.prod(geometry.size))
    return image_from_array(np.linspace(-1000, 1500, n).astype(np.int16).reshape(geometry.shape_zyx), geometry)


def write(image, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_formats_keep_voxels_and_grid(tmp_path, suffix):
    folder = tmp_path / "Jürgen 頭"
    study = read_study(
        write(pet_image(), folder / f"pet{suffix}"), write(ct_image(), folder / f"ct{suffix}"), pet_units="suv"
    )
    np.testing.assert_array_equal(sitk.GetArrayFromImage(study.pet), sitk.GetArrayFromImage(pet_image()))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(study.ct), sitk.GetArrayFromImage(ct_image()))
    assert study.pet_geometry.distance_mm(OBLIQUE) < 1e-4  # NIfTI keeps 32-bit floats
    assert study.ct.GetPixelID() == sitk.sitkInt16
    assert study.provenance.units == "SUVbw"
    assert study.provenance.suv_factor == 1


def test_real_pair(shared_data):
    folder = shared_data / "sarcoma_pet_ct" / "nifti" / "STS_001"
    study = read_study(folder / "PET_image.nii.gz", folder / "CT_image.nii.gz", pet_units="suv")
    assert sitk.GetArrayViewFromImage(study.pet).max() == pytest.approx(25.4123, abs=1e-4)
    assert study.warnings == []


def test_units_must_be_said(tmp_path):
    path = write(pet_image(), tmp_path / "pet.nii.gz")
    with pytest.raises(SuvError, match=r"--pet-units suv.*--suv-factor"):
        read_study(path)
    with pytest.raises(SuvError, match=r"Bq/ml.*--suv-factor"):
        read_study(path, pet_units="bqml")
    with pytest.raises(SuvError, match="already"):
        read_study(path, pet_units="suv", suv_factor=2)


def test_factor_by_hand(tmp_path):
    study = read_study(write(pet_image(top=50000), tmp_path / "pet.nrrd"), pet_units="bqml", suv_factor=2.5e-4)
    assert sitk.GetArrayViewFromImage(study.pet).max() == pytest.approx(12.5)
    assert study.provenance.suv_factor == 2.5e-4


@pytest.mark.parametrize(("key", "value"), [("units", "SUVbw"), ("voxel_quantity", "SUV (bw)"), ("Units", "g/ml")])
def test_an_nrrd_may_say_it(tmp_path, key, value):
    image = pet_image()
    image.SetMetaData(key, value)
    study = read_study(write(image, tmp_path / "pet.nrrd"))
    assert study.provenance.suv_factor == 1
    assert value in study.provenance.method


@pytest.mark.parametrize(("offset", "text"), [(148, b"PET SUVbw g/ml"), (328, b"SUVbw")])
def test_a_nifti_may_say_it(tmp_path, offset, text):
    """NIfTI-1: descrip is at byte 148, intent_name at byte 328."""
    content = bytearray(write(pet_image(), tmp_path / "plain.nii").read_bytes())
    content[offset : offset + len(text)] = text
    (tmp_path / "pet.nii.gz").write_bytes(gzip.compress(bytes(content)))
    study = read_study(tmp_path / "pet.nii.gz")
    assert study.provenance.units == "SUVbw"
    assert text.decode() in study.provenance.method


def test_other_suv_is_not_taken(tmp_path):
    image = pet_image()
    image.SetMetaData("units", "SUVlbm")
    with pytest.raises(SuvError, match="not by body weight"):
        read_study(write(image, tmp_path / "pet.nrrd"))


def test_bqml_called_suv_is_refused(tmp_path):
    with pytest.raises(SuvError, match="that is Bq/ml"):
        read_study(write(pet_image(top=30000), tmp_path / "pet.nrrd"), pet_units="suv")


def test_integers_and_doubles_become_float(tmp_path):
    for pixel_type in (sitk.sitkInt16, sitk.sitkFloat64):
        study = read_study(write(sitk.Cast(pet_image(), pixel_type), tmp_path / "pet.nrrd"), pet_units="suv")
        assert study.pet.GetPixelID() == sitk.sitkFloat32


@pytest.mark.parametrize(
    ("factor", "pixel_type"), [(1, sitk.sitkInt16), (0.3, sitk.sitkFloat32), (100, sitk.sitkFloat32)]
)
def test_ct_of_doubles_becomes_the_smallest_fitting_type(tmp_path, factor, pixel_type):
    ct = sitk.Cast(ct_image(), sitk.sitkFloat64) * factor
    study = read_study(write(pet_image(), tmp_path / "p.nrrd"), write(ct, tmp_path / "c.nrrd"), pet_units="suv")
    assert study.ct.GetPixelID() == pixel_type
    np.testing.assert_allclose(sitk.GetArrayFromImage(study.ct), sitk.GetArrayFromImage(ct), rtol=1e-6)


def test_fourth_axis(tmp_path):
    one = sitk.JoinSeries([pet_image()])
    study = read_study(write(one, tmp_path / "one.nii.gz"), pet_units="suv")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(study.pet), sitk.GetArrayFromImage(pet_image()))
    assert study.pet_geometry.distance_mm(OBLIQUE) < 1e-4
    two = sitk.JoinSeries([pet_image(), pet_image()])
    with pytest.raises(InputError, match=r"4 dimensions \(7x6x5x2\)"):
        read_study(write(two, tmp_path / "two.nii.gz"), pet_units="suv")


def test_flat_and_coloured_images(tmp_path):
    with pytest.raises(InputError, match="2 dimensions"):
        read_study(write(sitk.Image(5, 5, sitk.sitkFloat32), tmp_path / "flat.mha"), pet_units="suv")
    with pytest.raises(InputError, match="one slice only"):
        read_study(write(pet_image()[:, :, :1], tmp_path / "slice.mha"), pet_units="suv")
    with pytest.raises(InputError, match="several numbers a voxel"):
        read_study(write(sitk.Compose(pet_image(), pet_image()), tmp_path / "vector.mha"), pet_units="suv")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_that_are_no_numbers(tmp_path, bad):
    image = pet_image()
    image[1, 2, 3] = image[2, 2, 2] = bad
    with pytest.raises(InputError, match=r"PET .* has 2 voxels that are NaN or infinite"):
        read_study(write(image, tmp_path / "pet.nrrd"), pet_units="suv")
    ct = sitk.Cast(ct_image(), sitk.sitkFloat32)
    ct[0, 0, 0] = bad
    with pytest.raises(InputError, match=r"CT .* has 1 voxels that are NaN or infinite"):
        read_study(write(pet_image(), tmp_path / "pet.nrrd"), write(ct, tmp_path / "ct.nrrd"), pet_units="suv")


def test_constant_and_negative(tmp_path):
    with pytest.raises(InputError, match=r"All voxels of the PET .* are 3"):
        read_study(write(pet_image() * 0 + 3, tmp_path / "pet.nrrd"), pet_units="suv")
    study = read_study(write(pet_image() - 5, tmp_path / "pet.nrrd"), pet_units="suv")
    assert any("down to SUV -5" in sentence for sentence in study.warnings)


def test_ct_that_is_no_ct_is_told(tmp_path):
    study = read_study(
        write(pet_image(), tmp_path / "pet.nrrd"), write(pet_image(), tmp_path / "ct.nrrd"), pet_units="suv"
    )
    assert any("Hounsfield" in sentence for sentence in study.warnings)


def test_no_overlap(tmp_path):
    far = Geometry(OBLIQUE.size, OBLIQUE.spacing_mm, (500.0, 0.0, 0.0), OBLIQUE.direction)
    with pytest.raises(GeometryError, match="share 0 percent"):
        read_study(write(pet_image(), tmp_path / "p.nrrd"), write(ct_image(far), tmp_path / "c.nrrd"), pet_units="suv")


def test_damaged_and_unknown_files(tmp_path):
    large = Geometry((40, 40, 40), OBLIQUE.spacing_mm, OBLIQUE.origin_mm, OBLIQUE.direction)
    path = write(pet_image(large), tmp_path / "pet.nrrd")
    content = path.read_bytes()
    for name, part, message in (
        ("short.nrrd", content[: len(content) // 2], "damaged"),
        ("empty.nii.gz", b"", "is empty"),
        ("wrong.nii", b"hello" * 100, "damaged"),
        ("pet.jpg", content, "format .* not known"),
        ("no_suffix", content, "format .* not known"),
    ):
        (tmp_path / name).write_bytes(part)
        with pytest.raises(InputError, match=message) as caught:
            read_study(tmp_path / name, pet_units="suv")
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)
