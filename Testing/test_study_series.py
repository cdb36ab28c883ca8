"""DICOM folders: which of several series is taken."""

from __future__ import annotations

import pytest
from dicom_sets import ct_series, mixed, pet_series, save
from pydicom.uid import generate_uid

from HNTumorSegLib.errors import DicomError
from HNTumorSegLib.study.reader import read_study


def test_companion_ct_is_used_and_can_be_left_out(tmp_path):
    folder = mixed(tmp_path / "all", pet_series(), ct_series())
    study = read_study(folder)
    assert study.ct is not None
    assert any("--ct none" in sentence for sentence in study.warnings)
    assert read_study(folder, "none").ct is None
    assert read_study(folder, folder).ct is not None
    scout = ct_series("scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert read_study(mixed(tmp_path / "scout", pet_series(), ct_series(), scout)).ct_info.description == "CT"


def test_ambiguous_companion_ct_is_told(tmp_path):
    study = read_study(mixed(tmp_path / "all", pet_series(), ct_series("CT soft"), ct_series("CT bone")))
    assert study.ct is None
    assert any("CT soft" in sentence and "CT bone" in sentence for sentence in study.warnings)
    other = generate_uid(entropy_srcs=["elsewhere"])
    study = read_study(mixed(tmp_path / "far", pet_series(), ct_series(FrameOfReferenceUID=other)))
    assert study.ct is None
    assert any("frame of reference" in sentence for sentence in study.warnings)


def test_two_cts_need_a_choice(tmp_path):
    folder = mixed(tmp_path / "all", pet_series(), ct_series("CT soft"), ct_series("CT bone"))
    with pytest.raises(DicomError, match=r"2 CT series.*CT soft.*CT bone.*--ct-series"):
        read_study(folder, folder)
    assert read_study(folder, folder, ct_series=3).ct_info.description == "CT bone"
    assert read_study(folder, ct_series=2).ct_info.description == "CT soft"
    assert read_study(folder, f"{folder}#3").ct_info.description == "CT bone"


def test_two_pets(tmp_path):
    two = mixed(tmp_path / "two", pet_series("PET early"), pet_series("PET late"))
    with pytest.raises(DicomError, match=r"2 PET series.*#1 PT 'PET early', 6 slices.*PET late.*--pet-series"):
        read_study(two)
    uid = pet_series("PET late")[0].SeriesInstanceUID
    for study in (
        read_study(two, pet_series=2),
        read_study(two, pet_series=uid),
        read_study(f"{two}#2"),
        read_study(f"{two}#{uid}"),
    ):
        assert study.pet_info.description == "PET late"
    with pytest.raises(DicomError, match="no series '9'"):
        read_study(two, pet_series=9)
    corrected = mixed(tmp_path / "nac", pet_series("PET NAC", CorrectedImage=["DECY"]), pet_series("PET AC"))
    study = read_study(corrected)
    assert study.pet_info.description == "PET AC"
    assert any("PET NAC" in sentence for sentence in study.warnings)


def test_wrong_modality(tmp_path):
    folder = save(ct_series("CT thorax"), tmp_path / "ct")
    with pytest.raises(DicomError, match=r"no PET .*#1 CT 'CT thorax', 6 slices"):
        read_study(folder)
    with pytest.raises(DicomError, match="not a PET"):
        read_study(folder, pet_series=1)
    with pytest.raises(DicomError, match="no CT in"):
        read_study(mixed(tmp_path / "p", pet_series()), tmp_path / "p")
