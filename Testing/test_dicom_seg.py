"""DICOM SEG written with highdicom and read back: voxels, place, kinds."""

from __future__ import annotations

import dicom_sets
import numpy as np
import pytest

from HNTumorSegLib.errors import DicomError, LesionError
from HNTumorSegLib.exchange.dicom_seg import read_dicom_seg
from HNTumorSegLib.exchange.segments import KindRule, lesions_from_segments
from HNTumorSegLib.geometry import Geometry

highdicom = pytest.importorskip("highdicom", reason="the dicom extra is not installed")

SHAPE = (9, 12, 10)
OBLIQUE = ([0.8, 0.6, 0.0], [-0.36, 0.48, 0.8])
CODES = {
    "primary": ("86049000", "SCT", "Neoplasm, Primary"),
    "old node": ("M-80006", "SRT", "Neoplasm, Secondary"),
    "other": ("4147007", "SCT", "Mass"),
}


def image_slices(orientation=([1, 0, 0], [0, 1, 0])):
    """A CT series of 9 slices 3 mm apart, in the planes asked for."""
    slices = dicom_sets.ct_series(pixels=np.zeros(SHAPE, np.int16))
    normal = np.cross(*orientation)
    for k, ds in enumerate(slices):
        ds.ImageOrientationPatient = [*orientation[0], *orientation[1]]
        ds.ImagePositionPatient = [float(x) for x in np.array([-50.0, -60.0, -100.0]) + 3.0 * k * normal]
        ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "Nobody^", "", ""
        ds.SliceThickness = 3
        ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "", "", ""
        ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    return slices


def grid_of(slices) -> Geometry:
    row, column = (np.array(slices[0].ImageOrientationPatient[n : n + 3], float) for n in (0, 3))
    matrix = np.column_stack([row, column, np.cross(row, column)])
    spacing = (float(slices[0].PixelSpacing[1]), float(slices[0].PixelSpacing[0]), 3.0)
    origin = tuple(float(x) for x in slices[0].ImagePositionPatient)
    return Geometry((SHAPE[2], SHAPE[1], SHAPE[0]), spacing, origin, tuple(matrix.ravel().tolist()))


def write(path, slices, masks, names, codes, kind="BINARY", **options):
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=n,
            segment_label=name,
            segmented_property_category=highdicom.sr.CodedConcept(
                "49755003", "SCT", "Morphologically Altered Structure"
            ),
            segmented_property_type=highdicom.sr.CodedConcept(*CODES[code]),
            algorithm_type="MANUAL",
        )
        for n, (name, code) in enumerate(zip(names, codes, strict=True), start=1)
    ]
    seg = highdicom.seg.Segmentation(
        slices, np.stack(masks, axis=-1), kind, descriptions,
        series_instance_uid=highdicom.UID(), series_number=7, sop_instance_uid=highdicom.UID(), instance_number=1,
        manufacturer="test", manufacturer_model_name="test", software_versions="1", device_serial_number="1", **options,
    )  # fmt: skip
    seg.save_as(path)
    return path


def two_masks(dtype=np.uint8):
    """Two bodies in different slices, with an empty slice between them and at both ends."""
    rng = np.random.default_rng(1)
    masks = [np.zeros(SHAPE, dtype), np.zeros(SHAPE, dtype)]
    masks[0][2:4, 3:8, 2:7] = rng.random((2, 5, 5)) > 0.3
    masks[1][5:7, 6:11, 1:9] = rng.random((2, 5, 8)) > 0.3
    return masks


def positions(geometry: Geometry, mask: np.ndarray) -> np.ndarray:
    return geometry.to_lps(np.argwhere(mask)[:, ::-1])


@pytest.mark.parametrize("orientation", [([1, 0, 0], [0, 1, 0]), OBLIQUE], ids=["axial", "oblique"])
@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_what_highdicom_wrote_reads_back_voxel_for_voxel(tmp_path, orientation, kind):
    slices = image_slices(orientation)
    masks = two_masks(np.uint8 if kind == "BINARY" else float)
    path = write(tmp_path / "seg.dcm", slices, masks, ("GTVp", "GTVn"), ("primary", "old node"), kind)
    found = read_dicom_seg(path)
    assert found.geometry.size[2] == 5  # the empty frames are not stored: its own grid is a part of the image's
    full = grid_of(slices)
    for segment, mask in zip(found.segments, masks, strict=True):
        whole = np.zeros(found.geometry.shape_zyx, bool)
        whole[segment.box] = segment.mask
        expected = positions(full, mask > 0)
        got = positions(found.geometry, whole)
        assert len(got) == len(expected) > 10
        order = [np.lexsort(np.round(p, 3).T) for p in (got, expected)]
        np.testing.assert_allclose(got[order[0]], expected[order[1]], atol=1e-3)


def test_kinds_come_from_new_and_retired_codes_then_from_names(tmp_path):
    slices, masks = image_slices(), two_masks()
    path = write(tmp_path / "a.dcm", slices, masks, ("lump A", "lump B"), ("primary", "old node"))
    found = read_dicom_seg(path)
    lesion_set = lesions_from_segments(found.geometry, found.segments, path.name)
    assert [(x.name, x.kind, x.status) for x in lesion_set.lesions] == [
        ("lump A", "primary", "added"),
        ("lump B", "node", "added"),
    ]
    path = write(tmp_path / "b.dcm", slices, masks, ("GTVnd left", "thing"), ("other", "other"))
    found = read_dicom_seg(path)
    with pytest.raises(LesionError, match=r"'b.dcm'.*'thing' is .*--kind 'thing=primary'"):
        lesions_from_segments(found.geometry, found.segments, path.name)
    rules = [KindRule.parse("TH*=primary")]
    lesion_set = lesions_from_segments(found.geometry, found.segments, path.name, rules)
    assert [x.kind for x in lesion_set.lesions] == ["node", "primary"]
    rules = [KindRule.parse("thing=ignore")]
    lesion_set = lesions_from_segments(found.geometry, found.segments, path.name, rules)
    assert [x.kind for x in lesion_set.lesions] == ["node"]
    assert lesion_set.notes == ["Left out of 'b.dcm': thing."]


def test_overlapping_segments_and_repeated_names_are_said(tmp_path):
    slices, (first, _) = image_slices(), two_masks()
    second = first.copy()
    second[4, 3:8, 2:7] = 1
    path = write(tmp_path / "o.dcm", slices, (first, second), ("GTVn", "GTVn"), ("other", "other"))
    found = read_dicom_seg(path)
    lesion_set = lesions_from_segments(found.geometry, found.segments, path.name)
    assert [x.name for x in lesion_set.lesions] == ["GTVn", "GTVn (2)"]
    assert np.count_nonzero(lesion_set.labels == 1) == first.sum()
    assert np.count_nonzero(lesion_set.labels == 2) == 25
    assert any("more than once" in note for note in lesion_set.notes)
    assert any(f"their {first.sum()} common voxels" in note for note in lesion_set.notes)


def test_files_that_are_no_volume(tmp_path):
    (tmp_path / "text.dcm").write_text("no DICOM at all" * 50)
    with pytest.raises(DicomError, match=r"text.dcm"):
        read_dicom_seg(tmp_path / "text.dcm")
    path = write(tmp_path / "s.dcm", image_slices(), two_masks(), ("a", "b"), ("other", "other"))
    (tmp_path / "cut.dcm").write_bytes(path.read_bytes()[:900])
    with pytest.raises(DicomError, match=r"cut.dcm"):
        read_dicom_seg(tmp_path / "cut.dcm")
