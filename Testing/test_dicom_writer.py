"""Studies written as DICOM: read back by GDCM and by the library's own reader."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread

from HNTumorSegLib.errors import Cancelled, OutputError
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.phantom.dicom_writer import Injection, write_dicom_study
from HNTumorSegLib.study.reader import read_study
from HNTumorSegLib.study.study import Provenance, SeriesInfo, Study

C, S = np.cos(np.radians(25)), np.sin(np.radians(25))
DIRECTIONS = {
    "axial": np.eye(3),
    "flipped": np.diag([1.0, -1.0, -1.0]),
    "left-handed": np.diag([1.0, 1.0, -1.0]),
    "permuted": np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "permuted left-handed": np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]]),
    "oblique": np.array([[C, -S, 0], [S, C, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, C, -S], [0, S, C]]),
}


def make(direction=None, with_ct=True) -> Study:
    """PET and CT of one place on different grids, with values that say where each voxel is."""
    direction = tuple(np.eye(3).ravel() if direction is None else np.asarray(direction).ravel())
    pet = Geometry((9, 8, 7), (4.07, 4.07, 3.27), (-12.3456789, 4.2, -901.5), direction)
    ct = Geometry((18, 16, 10), (1.953125, 1.953125, 2.5), (-12.5, 4.0, -901.0), direction)
    rng = np.random.default_rng(3)
    suv = rng.gamma(1.0, 2.0, pet.shape_zyx).astype(np.float32)
    suv[2] = 0  # a slice without any counts
    suv[3] -= 0.5  # negative noise
    hu = rng.integers(-1024, 3000, ct.shape_zyx).astype(np.int16)
    study = Study(image_from_array(suv, pet), SeriesInfo("", "PT", ""), Provenance("phantom", "SUVbw", "drawn"))
    if with_ct:
        study.ct, study.ct_info = image_from_array(hu, ct), SeriesInfo("", "CT", "")
    return study


def at_same_places(image: sitk.Image, other: sitk.Image) -> np.ndarray:
    """Values of ``other`` at the voxel centres of ``image``, as zyx; both must have the same voxel centres."""
    own, theirs = Geometry.from_image(image), Geometry.from_image(other)
    k, j, i = np.indices(own.shape_zyx)
    ijk = theirs.to_ijk(own.to_lps(np.stack([i, j, k], axis=-1)))
    rounded = np.rint(ijk).astype(int)
    assert np.abs(ijk - rounded).max() * max(theirs.spacing_mm) < 1e-6
    return sitk.GetArrayFromImage(other)[rounded[..., 2], rounded[..., 1], rounded[..., 0]]


@pytest.mark.parametrize("name", DIRECTIONS)
def test_round_trip(tmp_path, name):
    study = make(DIRECTIONS[name])
    pet, ct = write_dicom_study(study, tmp_path)
    back = read_study(pet, ct)
    suv = sitk.GetArrayFromImage(study.pet)
    step = np.abs(suv).max(axis=(1, 2), keepdims=True) / 65534
    assert (np.abs(at_same_places(study.pet, back.pet) - suv) <= 1.001 * step + 1e-7).all()
    np.testing.assert_array_equal(at_same_places(study.ct, back.ct), sitk.GetArrayFromImage(study.ct))
    assert back.ct.GetPixelID() == sitk.sitkInt16
    assert back.provenance.units == "BQML"
    assert back.pet_info.frame_of_reference_uid == back.ct_info.frame_of_reference_uid
    assert [s for s in back.warnings if "SUV" not in s] == []


@pytest.mark.parametrize("name", DIRECTIONS)
def test_gdcm_reads_the_same(tmp_path, name):
    study = make(DIRECTIONS[name])
    _, folder = write_dicom_study(study, tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    np.testing.assert_array_equal(at_same_places(study.ct, reader.Execute()), sitk.GetArrayFromImage(study.ct))


def test_injection_is_undone_by_the_reader(tmp_path):
    """Whatever weight, dose and delay are written, across midnight too, SUV stays."""
    study = make(with_ct=False)
    injection = Injection(weight_kg=52.5, dose_bq=212e6, injected=datetime(2021, 12, 31, 23, 20), delay_s=5400)
    pet, ct = write_dicom_study(study, tmp_path, injection=injection)
    assert ct is None
    header = dcmread(sorted(pet.iterdir())[0])
    # By hand: 212 MBq after 5400 s of F-18 (half-life 6586.2 s), over 52.5 kg.
    assert injection.bqml_per_suv == pytest.approx(212e6 * 0.56650 / 52500, rel=1e-4)
    assert header.SeriesTime == "005000"
    assert header.SeriesDate == "20220101"
    back = read_study(pet)
    np.testing.assert_allclose(sitk.GetArrayFromImage(back.pet), sitk.GetArrayFromImage(study.pet), atol=3e-4)
    assert back.provenance.tags["InjectionToReference_s"] == "5400"


def test_same_seed_same_files(tmp_path):
    first, _ = write_dicom_study(make(), tmp_path / "a", seed=4)
    second, _ = write_dicom_study(make(), tmp_path / "b", seed=4)
    third, _ = write_dicom_study(make(), tmp_path / "c", seed=5)
    names = sorted(p.name for p in first.iterdir())
    assert len(names) == 7
    assert all((first / n).read_bytes() == (second / n).read_bytes() for n in names)
    assert dcmread(first / names[0]).SOPInstanceUID != dcmread(third / names[0]).SOPInstanceUID


def test_written_over_and_not_over_something_else(tmp_path):
    write_dicom_study(make(), tmp_path)
    short = make()
    short.pet = short.pet[:, :, :4]
    pet, _ = write_dicom_study(short, tmp_path)
    assert len(list(pet.iterdir())) == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["CT", "PET"]
    (pet / "thesis.doc").write_text("precious")
    with pytest.raises(OutputError, match="holds other files"):
        write_dicom_study(make(), tmp_path)
    assert (pet / "thesis.doc").read_text() == "precious"


def test_unwritable_place(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        write_dicom_study(make(), tmp_path / "file")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_nothing_half_written_stays(tmp_path):
    write_dicom_study(make(), tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.dcm")}

    def stop_in_the_ct(event):
        if event.fraction > 0.8:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        write_dicom_study(make(), tmp_path, seed=9, progress=stop_in_the_ct)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*.dcm")} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["CT", "PET"]
