"""Radiomics: the numbers of a plain pyradiomics call, whatever is cropped; masks on other grids; settings; tables."""

from __future__ import annotations

import csv
import json
import logging
import sys

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("radiomics", reason="the radiomics extra is not installed")

from radiomics_cases import ball, grid, lesion_set, members, plain, settings, texture

from HNTumorSegLib.errors import Cancelled, InputError, MissingPackageError, OutputError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.measures.radiomics import radiomics_table
from HNTumorSegLib.measures.radiomics_crop import cropped
from HNTumorSegLib.measures.radiomics_csv import write_feature_table, write_radiomics_csv
from HNTumorSegLib.measures.radiomics_mask import mask_on_image, occupancy, voxels_outside
from HNTumorSegLib.measures.radiomics_settings import SETTINGS_FILE, RadiomicsSettings

FILTERS = {"Original": {}, "LoG": {"sigma": [0.7, 1.0]}, "Wavelet": {}, "Gradient": {}}
VARIANTS = {
    "shipped steps": settings(),
    "splines": settings(interpolator="sitkBSpline", resampledPixelSpacing=[1.7, 1.9, 1.7]),
    "in plane only": settings(resampledPixelSpacing=[2.0, 2.0, 0.0]),
    "same spacing": settings(resampledPixelSpacing=[1.2, 1.1, 1.3]),
    "no resampling": settings(drop=["resampledPixelSpacing"]),
    "filters": settings(FILTERS, ["firstorder"], ["resampledPixelSpacing"]),
    "filters after resampling": settings({**FILTERS, "Square": {}, "Exponential": {}}, ["firstorder"]),
    "filters of the whole image": settings({"Logarithm": {}}, ["firstorder"], ["resampledPixelSpacing"]),
    "two levels": settings(
        {"Wavelet": {"start_level": 1, "level": 2, "wavelet": "db3"}}, ["firstorder"], ["resampledPixelSpacing"]
    ),
    "normalised, re-segmented": settings(
        normalize=True, normalizeScale=100, resegmentRange=[-1.0, 2.0], resegmentMode="sigma"
    ),
}


def compare(lesions, images, chosen, ids=None) -> int:
    """Number of values compared with plain calls on the whole images; of the rows with these ids."""
    count = 0
    for row in radiomics_table(lesions, images, chosen, processes=1):
        if ids is not None and row.id not in ids:
            continue
        expected = plain(images[row.image], members(lesions, row.id), chosen.parameters(row.image))
        assert list(row.features) == list(expected)
        for name, value in row.features.items():
            assert value == pytest.approx(expected[name], rel=1e-9, abs=1e-9), (row.name, row.image, name)
            count += 1
    return count


@pytest.fixture(scope="module")
def large():
    """An image much larger than its lesions: one in the middle, one in a corner."""
    geometry = grid((112, 72, 74), (1.2, 1.1, 1.3))
    lesions = lesion_set(geometry, ball(geometry, (56, 36, 37), 5.0), ball(geometry, (1, 70, 72), 6.0))
    return lesions, {"pet": texture(geometry, scale=40, kind=np.float32)}


@pytest.mark.parametrize("variant", VARIANTS)
def test_cropping_changes_no_value(variant, large):
    lesions, images = large
    assert compare(lesions, images, VARIANTS[variant], ids=(1, 2)) >= 2 * 18


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "filters of the whole image"])
def test_pyradiomics_sees_a_small_part_only(variant, large):
    lesions, images = large
    found = mask_on_image(lesions.mask(1), lesions.geometry, lesions.geometry)
    part, mask = cropped(images["pet"], found, VARIANTS[variant].parameters("pet"))
    assert part.GetSize() == mask.GetSize()
    assert np.prod(part.GetSize()) < 0.5 * np.prod(lesions.geometry.size)


def test_all_classes_on_both_images_kinds_and_total():
    geometry = grid()
    masks = [ball(geometry, c, r) for c, r in (((18, 15, 14), 9.0), ((36, 30, 26), 6.0), ((6, 28, 5), 4.5))]
    lesions = lesion_set(geometry, *masks, kinds=["primary", "node", "node"])
    images = {"pet": texture(geometry, scale=40, kind=np.float32), "ct": texture(geometry)}
    shipped = RadiomicsSettings.default()
    assert compare(lesions, images, shipped) == 2 * 6 * 107
    rows = radiomics_table(lesions, images, shipped, processes=1)
    ids = [1, 2, 3, "primary", "node", "total"]
    assert [(row.id, row.image) for row in rows] == [(n, image) for image in ("pet", "ct") for n in ids]
    assert rows[0].features == rows[3].features  # the only primary
    assert {row.note for row in rows} == {""}


def test_a_real_tumour_on_pet_and_ct(shared_data):
    folder = shared_data / "sarcoma_pet_ct" / "nifti" / "STS_002"
    if not folder.is_dir():
        pytest.skip(f"no sarcoma patient in {folder}")
    pet, drawn = (sitk.ReadImage(str(folder / f"PET_{name}.nii.gz")) for name in ("image", "mask"))
    ct = sitk.ReadImage(str(folder / "CT_image.nii.gz"))
    geometry = Geometry.from_image(drawn)
    lesions = lesion_set(geometry, sitk.GetArrayFromImage(drawn) > 0)
    shipped = RadiomicsSettings.default()
    assert compare(lesions, {"pet": pet}, shipped, ids=(1,)) == 107
    row = radiomics_table(lesions, {"ct": ct}, shipped, processes=1)[0]
    on_ct = np.zeros(sitk.GetArrayViewFromImage(ct).shape, bool)
    found = mask_on_image(lesions.mask(1), geometry, Geometry.from_image(ct))
    on_ct[found.box] = found.mask
    assert row.features == pytest.approx(plain(ct, on_ct, shipped.parameters("ct")), rel=1e-9, abs=1e-9)
    # The tumour's volume is the drawn one on either grid, up to the voxels at its surface.
    volume_mm3 = on_ct.sum() * 1000 * Geometry.from_image(ct).voxel_volume_ml
    assert volume_mm3 == pytest.approx(lesions.mask(1).sum() * 1000 * geometry.voxel_volume_ml, rel=0.02)


def test_processes_give_the_same_rows_and_end():
    psutil = pytest.importorskip("psutil", reason="the test extra is not installed")
    geometry = grid()
    lesions = lesion_set(geometry, ball(geometry, (18, 15, 14), 9.0), ball(geometry, (36, 30, 26), 6.0))
    images = {"ct": texture(geometry)}
    chosen = settings(classes=["firstorder"])
    before = set(psutil.Process().children())
    assert radiomics_table(lesions, images, chosen, processes=2) == radiomics_table(lesions, images, chosen)
    assert set(psutil.Process().children()) == before

    def stop(event):
        if event.fraction > 0:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        radiomics_table(lesions, images, chosen, stop, processes=2)
    assert set(psutil.Process().children()) == before


def test_a_process_that_dies_costs_its_lesion_only(monkeypatch):
    from HNTumorSegLib.measures import radiomics_processes

    monkeypatch.setattr(radiomics_processes, "python_executable", lambda: "/bin/false")
    geometry = grid()
    lesions = lesion_set(geometry, ball(geometry, (18, 15, 14), 9.0))
    rows = radiomics_table(lesions, {"ct": texture(geometry)}, settings(classes=["firstorder"]), processes=2)
    assert "'Lesion 1' on the CT: the process that measured it ended" in rows[0].note
    assert set(rows[0].features.values()) == {None}


def test_progress_reaches_one():
    geometry = grid()
    lesions = lesion_set(geometry, ball(geometry, (18, 15, 14), 9.0), ball(geometry, (36, 30, 26), 6.0))
    seen = []
    radiomics_table(lesions, {"ct": texture(geometry)}, settings(classes=["firstorder"]), seen.append)
    fractions = [event.fraction for event in seen]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] == 1


def test_nothing_is_logged_or_printed_and_levels_are_put_back(capfd, caplog):
    geometry = grid()
    lesions = lesion_set(geometry, ball(geometry, (18, 15, 14), 9.0))
    logger = logging.getLogger("radiomics")
    before = (logger.level, logger.propagate, list(logger.handlers))
    with caplog.at_level(logging.DEBUG):
        radiomics_table(lesions, {"ct": texture(geometry)}, settings(classes=["glcm"]), processes=1)
    assert [record for record in caplog.records if record.name.startswith(("radiomics", "pykwalify"))] == []
    assert capfd.readouterr() == ("", "")
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    geometry = grid()
    monkeypatch.setitem(sys.modules, "radiomics", None)
    with pytest.raises(MissingPackageError, match=r"pip install hntumorseg\[radiomics\].*SlicerRadiomics"):
        radiomics_table(lesion_set(geometry), {"ct": texture(geometry)})


# --- masks on other grids ---


def test_a_mask_on_its_own_grid_is_itself():
    geometry = grid()
    mask = np.random.default_rng(3).random(geometry.shape_zyx) < 0.3
    start, share = occupancy(mask, geometry, geometry)
    assert start == (0, 0, 0)
    np.testing.assert_array_equal(share, mask)
    found = mask_on_image(mask, geometry, geometry)
    np.testing.assert_array_equal(found.mask, mask[found.box])


def test_a_single_voxel_keeps_its_volume_on_a_finer_grid():
    """Linear interpolation of the mask would leave 8 (1 - (1 + ln 2 + ln(2)^2 / 2) / 2) = 27 % of it."""
    coarse = grid((7, 7, 7), (4.0, 4.0, 4.0))
    fine = Geometry((70, 70, 70), (0.4, 0.4, 0.4), tuple(coarse.to_lps(np.full(3, -0.45)).tolist()), coarse.direction)
    mask = np.zeros((7, 7, 7), bool)
    mask[3, 3, 3] = True
    found = mask_on_image(mask, coarse, fine)
    assert found.start_ijk == (30, 30, 30)
    assert found.mask.shape == (10, 10, 10)
    assert found.mask.all()


def test_shares_add_up_to_the_volume_on_a_turned_grid():
    geometry = grid((12, 12, 12), (2.0, 2.0, 3.0))
    mask = np.random.default_rng(4).random(geometry.shape_zyx) < 0.4
    turned = Geometry(
        (60, 60, 60),
        (1.7, 2.9, 3.3),
        tuple(geometry.to_lps(np.full(3, 5.5)) - [50, 86, 98]),
        tuple(np.eye(3).ravel().tolist()),
    )
    start, share = occupancy(mask, geometry, turned)
    assert share.sum() * turned.voxel_volume_ml == pytest.approx(mask.sum() * geometry.voxel_volume_ml, rel=0.01)
    # Brute force: 12 x 12 x 12 points in each voxel, looked up in the mask.
    offsets = (np.arange(12) + 0.5) / 12 - 0.5
    points = np.stack(np.meshgrid(offsets, offsets, offsets, indexing="ij"), -1).reshape(-1, 3)
    padded = np.pad(mask, 1)
    expected = np.empty_like(share)
    for zyx in np.ndindex(share.shape):
        ijk = np.array(zyx[::-1]) + start + points
        index = np.rint(geometry.to_ijk(turned.to_lps(ijk))).astype(int) + 1
        index = np.clip(index, 0, np.array(geometry.size) + 1)
        expected[zyx] = padded[index[:, 2], index[:, 1], index[:, 0]].mean()
    assert np.abs(share - expected).mean() < 0.03
    assert np.abs(share - expected).max() < 0.25


@pytest.mark.parametrize("ratio", [1, 2, 4, 8])
def test_a_face_through_the_voxels_centres_is_cut_straight(ratio):
    """Half of each voxel at two opposite faces lies in the lesion: one face's voxels belong to it, the other's not."""
    geometry = grid((12, 12, 12), (4.0, 4.0, 4.0))
    mask = np.zeros((12, 12, 12), bool)
    mask[3:8, 4:9, 5:9] = True
    start = geometry.to_lps(np.array([0.5, -0.5 + 0.5 / ratio, -0.5 + 0.5 / ratio]))
    other = Geometry((11 * ratio,) * 3, (4.0 / ratio,) * 3, tuple(start.tolist()), geometry.direction)
    found = mask_on_image(mask, geometry, other)
    assert found.mask.all()
    assert found.mask.shape == (5 * ratio, 5 * ratio, 4 * ratio)


@pytest.mark.parametrize("spacing", [(0.9, 0.9, 1.1), (4.0, 4.0, 5.0), (2.0, 3.0, 2.5)], ids=str)
def test_a_ball_keeps_its_volume_and_place_on_a_turned_grid(spacing):
    geometry = grid((60, 60, 40), (1.5, 1.5, 2.0))
    center, radius = (30.3, 29.1, 20.2), 14.0
    unit = tuple(np.eye(3).ravel().tolist())
    centre_mm = geometry.to_lps(np.array(center))
    size = tuple(int(np.ceil(80 / s)) for s in spacing)
    other = Geometry(size, spacing, tuple((centre_mm - (np.array(size) - 1) / 2 * spacing + 0.3).tolist()), unit)
    found = mask_on_image(ball(geometry, center, radius), geometry, other)
    volume = found.mask.sum() * other.voxel_volume_ml
    assert volume == pytest.approx(4 / 3 * np.pi * (radius / 10) ** 3, rel=0.03 if max(spacing) < 4 else 0.08)
    ijk = np.argwhere(found.mask)[:, ::-1] + found.start_ijk
    np.testing.assert_allclose(other.to_lps(ijk).mean(axis=0), centre_mm, atol=0.1 * max(spacing))


def test_voxels_outside_are_counted():
    geometry = grid((10, 10, 10), (2.0, 2.0, 2.0))
    assert voxels_outside(np.ones((10, 10, 10), bool), geometry, geometry) == 0
    assert voxels_outside(np.ones((10, 10, 10), bool), geometry, geometry.crop((3, 0, 0), (7, 10, 10))) == 300


# --- settings ---


def test_the_hash_follows_what_changes_the_numbers_and_nothing_else(tmp_path):
    shipped = RadiomicsSettings.default()
    assert shipped.hash("pet") != shipped.hash("ct")
    content = json.loads(SETTINGS_FILE.read_text(encoding="utf-8"))
    content["reasons"], content["name"] = {}, "other"
    content["pet"] = dict(reversed(content["pet"].items()))
    content["pet"]["setting"]["resampledPixelSpacing"] = [2, 2, 2]
    path = tmp_path / "same.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert RadiomicsSettings.load(path).hash("pet") == shipped.hash("pet")
    content["pet"]["setting"]["binWidth"] = 0.25
    path.write_text(json.dumps(content), encoding="utf-8")
    assert RadiomicsSettings.load(path).hash("pet") != shipped.hash("pet")
    assert RadiomicsSettings.load(path).hash("ct") == shipped.hash("ct")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"binwidth": 1.0}, "binwidth"),
        ({"binWidth": -1.0}, "binWidth|-1"),
        ({"label": 2}, "'label', but lesions are chosen from the lesion set"),
        ({"geometryTolerance": 1.0}, "'geometryTolerance', but the lesion always lies on the image's grid"),
        ({"interpolator": "sitkMagic"}, "sitkMagic"),
    ],
    ids=str,
)
def test_wrong_settings_are_named(setting, words, capfd):
    geometry = grid()
    with pytest.raises(InputError, match=words):
        radiomics_table(lesion_set(geometry), {"ct": texture(geometry)}, settings(**setting))
    assert capfd.readouterr() == ("", "")


def test_unknown_features_images_and_files_are_named(tmp_path):
    geometry = grid()
    chosen = RadiomicsSettings({"ct": {"featureClass": {"firstorder": ["Meen"]}}})
    with pytest.raises(InputError, match="Meen"):
        radiomics_table(lesion_set(geometry), {"ct": texture(geometry)}, chosen)
    with pytest.raises(InputError, match="'mr'"):
        radiomics_table(lesion_set(geometry), {"mr": texture(geometry)})
    with pytest.raises(InputError, match="no entry for the image 'pet'"):
        radiomics_table(lesion_set(geometry), {"pet": texture(geometry)}, RadiomicsSettings({"ct": {}}))
    for content, words in (("{", "cannot be read"), ("{}", "no entry for 'pet' or 'ct'"), ('{"ct": 1}', "'ct'.*no")):
        path = tmp_path / "s.json"
        path.write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=words):
            RadiomicsSettings.load(path)
    with pytest.raises(InputError, match="cannot be read"):
        RadiomicsSettings.load(tmp_path / "none.json")


# --- tables ---


@pytest.fixture(scope="module")
def rows():
    geometry = grid()
    lesions = lesion_set(geometry, ball(geometry, (18, 15, 14), 9.0), np.zeros(geometry.shape_zyx, bool))
    images = {"pet": texture(geometry, scale=40, kind=np.float32), "ct": texture(geometry)}
    return radiomics_table(lesions, images, settings(classes=["firstorder"]))


def test_the_csv_holds_every_value_exactly(rows, tmp_path):
    path = write_radiomics_csv(rows, tmp_path / "radiomics.csv")
    read = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert [(r["id"], r["image"]) for r in read] == [(str(r.id), r.image) for r in rows]
    for line, row in zip(read, rows, strict=True):
        assert line["settings_hash"] == row.settings_hash
        assert {k: float(line[k]) if line[k] else None for k in row.features} == row.features
    assert "there is no voxel to measure" in read[1]["note"]


def test_one_row_a_patient_for_survival(rows, tmp_path):
    path = write_feature_table({"A": rows, "B": rows}, tmp_path / "features.csv")
    read = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert [r["id"] for r in read] == ["A", "B"]
    total = next(r for r in rows if r.id == "total" and r.image == "pet")
    assert float(read[1]["pet_original_firstorder_Mean"]) == total.features["original_firstorder_Mean"]
    assert len(read[0]) == 1 + 2 * len(total.features)
    other = [r.__class__(**{**r.__dict__, "settings_hash": "0" * 64}) for r in rows]
    with pytest.raises(InputError, match="'A' and 'B' were measured with different radiomics settings"):
        write_feature_table({"A": rows, "B": other}, tmp_path / "features.csv")
    with pytest.raises(InputError, match="'A' has no radiomics row 'total'"):
        write_feature_table({"A": []}, tmp_path / "features.csv")
    with pytest.raises(OutputError, match=r"no such folder.*cannot be written"):
        write_radiomics_csv(rows, tmp_path / "no such folder" / "r.csv")
