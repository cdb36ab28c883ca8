"""RTSTRUCT to masks: real files with a known answer, and polygons worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian

from HNTumorSegLib.errors import DicomError, GeometryError, InputError
from HNTumorSegLib.exchange.rtstruct import fill_polygon, read_rtstruct
from HNTumorSegLib.geometry import Geometry

AXIAL = Geometry((12, 10, 4), (2.0, 2.0, 3.0), (100.0, -50.0, 7.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
OBLIQUE = Geometry((12, 10, 4), (2.0, 2.0, 3.0), (100.0, -50.0, 7.0), (0.8, -0.36, 0.48, 0.6, 0.48, -0.64, 0, 0.8, 0.6))


@pytest.mark.parametrize("modality", ["PET", "CT"])
def test_real_structures_equal_the_nifti_masks(shared_data, modality):
    folder = shared_data / "sarcoma_pet_ct"
    mask = sitk.ReadImage(folder / f"nifti/STS_008/{modality}_mask.nii.gz")
    path = folder / f"dicom/STS_008/{modality}/mask/RS.dcm"
    structures = read_rtstruct(path, Geometry.from_image(mask))
    (structure,) = structures.values()
    expected = sitk.GetArrayFromImage(mask) > 0
    assert expected.sum() > 300
    np.testing.assert_array_equal(structure.mask, expected)
    assert structure.name == f"GTV_Mass_{modality}"
    assert structure.color == (255, 0, 0)
    assert structure.interpreted_type == "GTV"


def write(path, geometry, contours, names=("Tumour",), kind="CLOSED_PLANAR", **changes):
    """``contours``: for each name a list of arrays (n, 3) of i, j, k."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.3"
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = meta.MediaStorageSOPClassUID, "1.2.3", "RTSTRUCT"
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    for number, (name, polygons) in enumerate(zip(names, contours, strict=True), 1):
        roi, item = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        item.ReferencedROINumber, item.ROIDisplayColor = number, [0, 128, number]
        item.ContourSequence = []
        for polygon in polygons:
            contour = Dataset()
            points = geometry.to_lps(np.asarray(polygon, float))
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
            contour.ContourData = [f"{x:.6f}" for x in points.ravel()]
            item.ContourSequence.append(contour)
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(item)
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    ds.save_as(path, enforce_file_format=True)
    return path


def box(low_i, high_i, low_j, high_j, k):
    return [(low_i, low_j, k), (high_i, low_j, k), (high_i, high_j, k), (low_i, high_j, k)]


@pytest.mark.parametrize("geometry", [AXIAL, OBLIQUE], ids=["axial", "oblique"])
def test_box_with_a_hole_on_any_orientation(tmp_path, geometry):
    polygons = [box(1.5, 8.5, 0.5, 7.5, 2), box(3.5, 5.5, 2.5, 4.5, 2), box(0.5, 1.5, 0.5, 1.5, 1)]
    mask = read_rtstruct(write(tmp_path / "RS.dcm", geometry, [polygons]), geometry)["Tumour"].mask
    expected = np.zeros(geometry.shape_zyx, bool)
    expected[2, 1:8, 2:9] = True
    expected[2, 3:5, 4:6] = False
    expected[1, 1, 1] = True
    np.testing.assert_array_equal(mask, expected)


def test_circle_area_and_brute_force():
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    points = np.column_stack([40.3 + 25 * np.cos(angle), 38.8 + 25 * np.sin(angle)])
    mask = fill_polygon(points, (80, 80))
    j, i = np.indices((80, 80))
    inside = (i - 40.3) ** 2 + (j - 38.8) ** 2 < 25**2
    assert (mask != inside).sum() <= 3  # the polygon's chords lie within 0.001 of the circle
    assert mask.sum() == pytest.approx(np.pi * 25**2, rel=0.01)


def test_polygon_that_crosses_itself_and_reaches_beyond_the_image():
    bow_tie = [(0.0, 0.2), (6.0, 6.2), (6.0, 0.2), (0.0, 6.2)]
    mask = fill_polygon(np.array(bow_tie), (8, 8))
    assert mask[3, 1]
    assert mask[3, 5]
    assert not mask[1, 3]
    assert not mask[5, 3]
    assert fill_polygon(np.array([(-5.0, -5), (20, -5), (20, 20), (-5, 20)]), (8, 8)).all()


def test_names_colours_points_and_empty_structures(tmp_path):
    square = [box(1, 4, 1, 4, 1)]
    path = write(tmp_path / "RS.dcm", AXIAL, [square, square, []], ("Node", "Node", "Empty"))
    structures = read_rtstruct(path, AXIAL)
    assert list(structures) == ["Node", "Node (2)", "Empty"]
    assert structures["Node (2)"].color == (0, 128, 2)
    assert not structures["Empty"].mask.any()
    path = write(tmp_path / "P.dcm", AXIAL, [[[(3, 3, 1)]]], kind="POINT")
    assert not read_rtstruct(path, AXIAL)["Tumour"].mask.any()


def test_without_or_with_a_wrong_transfer_syntax(tmp_path):
    path = write(tmp_path / "RS.dcm", AXIAL, [[box(1.5, 4.5, 1.5, 4.5, 1)]])
    expected = read_rtstruct(path, AXIAL)["Tumour"].mask
    assert expected.sum() == 9
    content = path.read_bytes()
    # Says explicit VR (the UID is two bytes longer) over implicit bytes.
    right = b"\x02\x00\x10\x00UI\x12\x001.2.840.10008.1.2\0"
    wrong = content.replace(right, b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0", 1)
    assert len(wrong) == len(content) + 2
    at = content.index(b"UL\x04\x00") + 4
    group_length = int.from_bytes(content[at : at + 4], "little") + 2
    wrong = wrong[:at] + group_length.to_bytes(4, "little") + wrong[at + 4 :]
    bare = content[content.index(b"\x08\x00\x16\x00", 132) :]
    for name, data in (("bare", bare), ("preamble only", b"\0" * 128 + b"DICM" + bare), ("wrong", wrong)):
        (tmp_path / name).write_bytes(data)
        np.testing.assert_array_equal(read_rtstruct(tmp_path / name, AXIAL)["Tumour"].mask, expected)


def test_drawn_on_another_image(tmp_path):
    path = write(tmp_path / "RS.dcm", AXIAL, [[box(1, 4, 1, 4, 1.5)]])
    with pytest.raises(GeometryError, match=r"0.50 slices away"):
        read_rtstruct(path, AXIAL)
    path = write(tmp_path / "RS.dcm", AXIAL, [[box(1, 4, 1, 4, 30)]])
    with pytest.raises(GeometryError, match="outside of the image"):
        read_rtstruct(path, AXIAL)


def test_bad_files(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_rtstruct(tmp_path / "nothing.dcm", AXIAL)
    (tmp_path / "text.dcm").write_text("hello " * 100)
    with pytest.raises(DicomError, match=r"text.dcm"):
        read_rtstruct(tmp_path / "text.dcm", AXIAL)
    path = write(tmp_path / "RS.dcm", AXIAL, [[box(1, 4, 1, 4, 1)]])
    path.write_bytes(path.read_bytes()[:-120])
    with pytest.raises(DicomError, match=r"RS.dcm"):
        read_rtstruct(path, AXIAL)
