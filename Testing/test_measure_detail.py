"""The further columns: SUV statistics, peaks, distances, laterality, totals, and the policy for odd lesions."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import SimpleITK as sitk
from test_measures import HEADER, brute_force_peak, grid, lesions, positions, sphere

from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.lesions.codes import NODE, PRIMARY
from HNTumorSegLib.lesions.from_labels import lesions_from_labels
from HNTumorSegLib.lesions.lesion_set import LesionSet
from HNTumorSegLib.measures.detail import measure_in_detail
from HNTumorSegLib.measures.detail_csv import FURTHER_COLUMNS, FeatureColumns, detailed_csv
from HNTumorSegLib.measures.laterality import find_midline, side_of, side_of_all
from HNTumorSegLib.measures.suv import PEAK_RADIUS_MM, FurtherIndices, further_indices
from HNTumorSegLib.measures.table import measure

AXES = np.eye(3).ravel()


def noise(geometry: Geometry, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, 2.0, geometry.shape_zyx).astype(np.float32)


def test_the_columns_of_the_main_table_come_first_and_are_the_same():
    geometry = grid((24, 24, 24))
    suv = noise(geometry)
    masks = [sphere(geometry, geometry.to_lps([12.0, 12.0, z]), 7.0) for z in (7.0, 16.0)]
    suv[~(masks[0] | masks[1])] = 0.5
    lesion_set, pet = lesions(geometry, *masks, kinds=[PRIMARY, NODE]), image_from_array(suv, geometry)
    measured = measure_in_detail(lesion_set, pet)
    assert measured.table == measure(lesion_set, pet)
    lines = detailed_csv(measured).splitlines()
    assert lines[0] == f"{HEADER},{','.join(FURTHER_COLUMNS)}"
    rows = list(csv.DictReader(lines))
    assert [r["id"] for r in rows] == ["1", "2", "primary", "node", "total"]
    assert all(None not in r and None not in r.values() for r in rows)
    assert rows[0]["tlg_g"] == f"{measured.table.rows[0].tlg_g:.4f}"
    assert [r["n_lesions"] for r in rows] == ["1", "1", "1", "1", "2"]
    assert rows[1]["mtv_suv2.5_ml"] == f"{measured.rows[1].thresholds[0].volume_ml:.4f}"
    features = FeatureColumns(("pet_Mean",), {1: {"pet_Mean": 1 / 3}, "total": {"pet_Mean": "x"}})
    assert [line.rpartition(",")[2] for line in detailed_csv(measured, features).splitlines()] == [
        "pet_Mean",
        repr(1 / 3),
        "",
        "",
        "",
        "x",
    ]


def test_median_and_deviation_are_numpys_of_all_voxels():
    geometry = grid((24, 24, 24))
    suv = noise(geometry, 3)
    masks = [sphere(geometry, geometry.to_lps([12.0, 12.0, z]), 7.0) for z in (7.0, 16.0)]
    measured = measure_in_detail(lesions(geometry, *masks), image_from_array(suv, geometry))
    for details, mask in zip((*measured.rows, measured.total("total")), (*masks, masks[0] | masks[1]), strict=True):
        assert details.further.suv_median == pytest.approx(np.median(suv[mask]))
        assert details.further.suv_std == pytest.approx(np.std(suv[mask].astype(float)))
    assert measured.total("node").further == FurtherIndices()


@pytest.mark.parametrize("spacing", [(4.0, 4.0, 3.0), (5.0, 4.0, 4.5)], ids=str)
def test_both_other_peaks_equal_brute_force(spacing):
    geometry = grid((15, 16, 17), spacing=spacing)
    suv = noise(geometry, 7)
    middle = geometry.to_lps([8.0, 8.0, 7.0])
    mask = sphere(geometry, middle, 13.0)
    found = further_indices(suv, mask, geometry.spacing_zyx_mm)
    hottest = mask & (suv == suv[mask].max())
    assert found.suv_peak_at_max == pytest.approx(brute_force_peak(suv, hottest, geometry), rel=0.01)
    # Centres from which no voxel that the sphere reaches lies outside the lesion: nearest point of each voxel's box.
    k, j, i = np.nonzero(~mask)
    outside = np.column_stack([k, j, i]) * geometry.spacing_zyx_mm
    half = np.array(geometry.spacing_zyx_mm) / 2
    enclosed = np.zeros(mask.shape, bool)
    for centre in np.argwhere(mask):
        gap = np.clip(np.abs(outside - centre * geometry.spacing_zyx_mm) - half, 0, None)
        enclosed[tuple(centre)] = np.linalg.norm(gap, axis=1).min() > PEAK_RADIUS_MM - 0.1
    assert enclosed.any()
    assert found.suv_peak_inside == pytest.approx(brute_force_peak(suv, enclosed, geometry), rel=0.01)


def test_distances_between_centroids():
    """A 3-4-5 triangle, and 12 along the third axis: 3, 4, 5 and 13 cm."""
    geometry = grid((70, 26, 26), spacing=(2.0, 2.0, 2.0), direction=AXES)
    corners = [(4, 4, 4), (19, 4, 4), (4, 24, 4), (4, 4, 64)]
    masks = []
    for x, y, z in corners:
        mask = np.zeros(geometry.shape_zyx, bool)
        mask[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2] = True
        masks.append(mask)
    pet = image_from_array(noise(geometry), geometry)
    measured = measure_in_detail(lesions(geometry, *masks, kinds=[PRIMARY, NODE, NODE, NODE]), pet)
    expected_farthest = [120.0, np.hypot(30, 120), np.hypot(40, 120), np.hypot(40, 120)]
    assert [r.nearest_lesion_mm for r in measured.rows] == pytest.approx([30, 30, 40, 120])
    assert [r.dmax_mm for r in measured.rows] == pytest.approx(expected_farthest)
    assert measured.total("total").dmax_mm == pytest.approx(np.hypot(40, 120))
    assert measured.total("node").nearest_lesion_mm == pytest.approx(50)
    assert measured.total("node").n_lesions == 3
    assert (measured.total("primary").dmax_mm, measured.total("primary").nearest_lesion_mm) == (None, None)


# ------------------------------------------------------------------------------------------------------ laterality


def body(
    geometry: Geometry, centre_x_mm: float | np.ndarray = 0.0, turn_degrees: float = 0.0, half_mm=(75, 95)
) -> np.ndarray:
    """A long elliptic neck of SUV 1 whose midplane passes through x = centre at y = 0, turned about S."""
    x, y = positions(geometry)[..., 0] - centre_x_mm, positions(geometry)[..., 1]
    c, s = np.cos(np.radians(turn_degrees)), np.sin(np.radians(turn_degrees))
    return np.where(((c * x + s * y) / half_mm[0]) ** 2 + ((c * y - s * x) / half_mm[1]) ** 2 < 1, 1.0, 0.0)


NECK = Geometry((66, 60, 30), (4.0, 4.0, 4.0), (-130.0, -118.0, -60.0), tuple(AXES))
MIRRORED = Geometry((66, 60, 30), (4.0, 4.0, 4.0), (130.0, 118.0, -60.0), tuple(np.diag([-1.0, -1.0, 1.0]).ravel()))


@pytest.mark.parametrize("geometry", [NECK, MIRRORED], ids=["L P S", "R A S"])
@pytest.mark.parametrize(("centre", "tilt"), [(0.0, 0.0), (17.0, 0.0), (-9.0, 12.0)])
def test_the_midline_follows_the_patient_and_not_the_scanner(geometry, centre, tilt):
    slope = np.tan(np.radians(tilt))
    suv = body(geometry, centre + slope * positions(geometry)[..., 2])
    suv[sphere(geometry, np.array([centre + 80, 0, 0]), 20)] = 8  # a lesion that bulges out of the skin
    midline = find_midline(image_from_array(suv.astype(np.float32), geometry), -20, 20)
    for u, y, z in ((40, 0, 0), (-30, 20, 15), (2, -30, -15), (-12, 60, 5)):
        point = np.array([centre + slope * z + u, y, z])
        assert midline.offset_mm(point) == pytest.approx(u * np.cos(np.radians(tilt)), abs=1.5)
    assert [side_of(o) for o in (9.0, -9.0, 4.0, -4.0, None)] == ["left", "right", "midline", "midline", "unknown"]


def test_lesions_of_synthetic_patients_are_on_their_side():
    """Left is +x in the phantom's own frame; its head is tilted, turned and bent in the scanner."""
    from HNTumorSegLib.phantom import make_patient

    patient = make_patient(2, economy=True)
    measured = measure_in_detail(lesions_from_labels(patient.truth), patient.study.pet)
    sides = set()
    for row, details in zip(measured.table.rows, measured.rows, strict=True):
        lps = np.array([row.x_mm, row.y_mm, row.z_mm])
        true_x = float((patient._pose.matrix @ (lps - patient._pose.position_mm))[0])
        assert details.midline_offset_mm == pytest.approx(true_x, abs=5)
        if abs(true_x) > 10:
            sides.add(details.laterality)
            assert details.laterality == ("left" if true_x > 0 else "right")
    assert sides == {"left", "right"}
    assert measured.total("total").laterality == "bilateral"


def test_an_unsafe_midline_is_unknown():
    wide = Geometry((90, 60, 30), *(getattr(NECK, n) for n in ("spacing_mm", "origin_mm", "direction")))
    cut = wide.crop((26, 0, 0), (64, 60, 30))
    suv = image_from_array(body(cut).astype(np.float32), cut)
    assert "cut off" in find_midline(suv, -20, 20).reason
    narrow = NECK.crop((4, 0, 0), (58, 60, 30))
    assert "232 mm wide" in find_midline(image_from_array(body(narrow).astype(np.float32), narrow), 0, 9).reason
    legs = np.maximum(body(NECK, -60, half_mm=(50, 60)), body(NECK, 60, half_mm=(50, 60)))
    assert "two bodies" in find_midline(image_from_array(legs.astype(np.float32), NECK), -20, 20).reason
    assert "no body" in find_midline(image_from_array(np.zeros(NECK.shape_zyx, np.float32), NECK), 0, 9).reason
    assert "turned" in find_midline(image_from_array(body(NECK, 0, 30).astype(np.float32), NECK), 0, 9).reason
    lump = body(NECK) * 0
    lump[sphere(NECK, np.array([0.0, 0.0, 0.0]), 25)] = 1
    assert find_midline(image_from_array(lump.astype(np.float32), NECK), 0, 0).coefficients is None
    node = sphere(cut, np.array([30.0, 0.0, 0.0]), 8)
    row = measure_in_detail(lesions(cut, node), suv).rows[0]
    assert (row.laterality, row.midline_offset_mm) == ("unknown", None)


def test_the_side_of_several_lesions():
    assert side_of_all([]) == ""
    assert side_of_all(["midline", "midline"]) == "midline"
    assert side_of_all(["left", "midline", "left"]) == "left"
    assert side_of_all(["left", "right"]) == "bilateral"
    assert side_of_all(["left", "unknown"]) == "unknown"


# ------------------------------------------------------------------------------------------------------ odd lesions


def test_empty_and_one_voxel_lesions_follow_the_policy():
    geometry = grid((12, 12, 12))
    suv = np.full(geometry.shape_zyx, 2.0, np.float32)
    suv[6, 6, 6] = 9.0
    one, none = np.zeros(suv.shape, bool), np.zeros(suv.shape, bool)
    one[6, 6, 6] = True
    measured = measure_in_detail(lesions(geometry, one, none, kinds=[PRIMARY, NODE]), image_from_array(suv, geometry))
    first, empty = measured.rows
    assert (first.further.suv_median, first.further.suv_std, first.further.suv_peak_inside) == (9.0, 0.0, None)
    assert first.further.suv_peak_at_max == pytest.approx(2.0 + 7.0 * 0.015, abs=0.002)
    assert [(v.volume_ml, v.tlg_g) for v in first.thresholds] == [pytest.approx((0.015, 0.135))] * 8
    assert (first.nearest_lesion_mm, first.dmax_mm) == (None, None)
    assert (empty.n_lesions, empty.laterality, empty.shape.surface_mm2) == (0, "", None)
    assert [(v.volume_ml, v.tlg_g) for v in empty.thresholds] == [(0, 0)] * 8
    assert [measured.total(k).n_lesions for k in ("primary", "node", "total")] == [1, 0, 1]
    assert measured.problems == []
    text = detailed_csv(measured)
    assert "nan" not in text.lower()
    assert "None" not in text
    nothing = measure_in_detail(LesionSet(geometry, np.zeros(suv.shape, np.uint16)), image_from_array(suv, geometry))
    assert nothing.total("total").n_lesions == 0
    assert detailed_csv(nothing).count("\n") == 4


def test_a_lesion_the_pet_does_not_know_is_named_and_the_rest_goes_on():
    geometry = grid((16, 16, 40))
    suv = noise(geometry)
    masks = [sphere(geometry, geometry.to_lps([x, 8.0, 8.0]), 7.0) for x in (8.0, 30.0)]
    suv[masks[1].nonzero()[0][0], masks[1].nonzero()[1][0], masks[1].nonzero()[2][0]] = np.nan
    lesion_set = lesions(geometry, *masks, kinds=[PRIMARY, NODE])
    measured = measure_in_detail(lesion_set, image_from_array(suv, geometry))
    assert len(measured.problems) == 1
    assert "'node 2'" in measured.problems[0]
    assert "no value at 1 of its" in measured.problems[0]
    good, bad = measured.table.rows
    assert good.suv_max == pytest.approx(suv[masks[0]].max())
    assert bad.volume_ml == pytest.approx(masks[1].sum() * 0.015)
    assert (bad.suv_max, bad.tlg_g) == (None, None)
    assert measured.table.total("primary").tlg_g == pytest.approx(good.tlg_g)
    total = measured.table.total("total")
    assert total.volume_ml == pytest.approx(good.volume_ml + bad.volume_ml)
    assert (total.suv_max, total.suv_mean, total.tlg_g) == (None, None, None)
    assert measured.rows[1].shape.surface_mm2 > 0
    assert all(v.volume_ml is None for v in measured.total("total").thresholds)
    assert "node 2" in measured.total("total").remarks[0]
    rows = list(csv.DictReader(detailed_csv(measured).splitlines()))
    assert rows[1]["suv_max"] == rows[1]["tlg_g"] == rows[-1]["tlg_g"] == ""


def test_negative_suv_and_separate_pieces_are_said():
    geometry = grid((16, 16, 40))
    suv = noise(geometry)
    mask = sphere(geometry, geometry.to_lps([8.0, 8.0, 8.0]), 6.0) | sphere(
        geometry, geometry.to_lps([30.0, 8.0, 8.0]), 6.0
    )
    suv[tuple(np.argwhere(mask)[0])] = -0.5
    measured = measure_in_detail(lesions(geometry, mask), image_from_array(suv, geometry))
    assert measured.rows[0].remarks[:2] == ("2 separate pieces", "negative SUV at 1 voxels")
    assert "negative SUV at 1 of its" in measured.problems[0]
    assert measured.table.rows[0].suv_mean == pytest.approx(suv[mask].mean(dtype=float))


# ------------------------------------------------------------------------------------------------------ real patients


@pytest.mark.parametrize("number", [1, 2, 3, 8, 15, 18, 19, 24, 25, 35])
def test_volume_and_glycolysis_of_real_tumours_equal_direct_sums(shared_data, number):
    folder = shared_data / "sarcoma_pet_ct" / "nifti" / f"STS_{number:03d}"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    pet = sitk.ReadImage(str(folder / "PET_image.nii.gz"), sitk.sitkFloat32)
    mask = sitk.ReadImage(str(folder / "PET_mask.nii.gz"), sitk.sitkUInt8)
    measured = measure_in_detail(lesions_from_labels(mask, minimum_lesion_ml=0), pet)
    suv = sitk.GetArrayFromImage(pet)[sitk.GetArrayFromImage(mask) > 0].astype(float)
    voxel_ml = np.prod(mask.GetSpacing()) / 1000
    assert measured.table.ttb_ml == pytest.approx(len(suv) * voxel_ml)
    total = measured.table.total("total")
    assert total.tlg_g == pytest.approx(suv.sum() * voxel_ml)
    assert total.suv_max == pytest.approx(suv.max())
    assert measured.total("total").further.suv_median == pytest.approx(np.median(suv))
