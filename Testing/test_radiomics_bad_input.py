"""Radiomics of what cannot be measured, or not wholly: said by name, the rest goes on."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("radiomics", reason="the radiomics extra is not installed")

from radiomics_cases import ball, grid, lesion_set, plain, settings, texture

from HNTumorSegLib.errors import GeometryError, InputError
from HNTumorSegLib.geometry import image_from_array
from HNTumorSegLib.measures.radiomics import radiomics_table
from HNTumorSegLib.measures.radiomics_settings import RadiomicsSettings

ALL = ("firstorder", "shape", "glcm", "ngtdm")


def table(lesions, images, chosen=None):
    rows = radiomics_table(lesions, images, chosen or settings(classes=ALL), processes=1)
    return {row.id: row for row in rows}


def undefined(row) -> bool:
    assert row.measured == (set(row.features.values()) != {None})
    return bool(row.features) and not row.measured


def test_an_empty_lesion_and_an_empty_set(caplog):
    geometry = grid()
    mask = ball(geometry, (18, 15, 14), 9.0)
    lesions = lesion_set(geometry, mask, np.zeros_like(mask), kinds=["primary", "primary"])
    with caplog.at_level(logging.WARNING):
        rows = table(lesions, {"ct": texture(geometry)})
    assert undefined(rows[2])
    assert rows[2].note == "'Lesion 2' on the CT: there is no voxel to measure."
    assert [record.message for record in caplog.records] == [rows[2].note]  # no nodes: no warning
    assert undefined(rows["node"])
    assert not undefined(rows["total"])
    assert rows["total"].features == rows[1].features
    nothing = table(lesion_set(geometry), {"ct": texture(geometry)})
    assert list(nothing) == ["primary", "node", "total"]
    assert all(undefined(row) for row in nothing.values())
    assert list(nothing["total"].features) == list(rows[1].features)


@pytest.mark.parametrize("chosen", [settings(classes=ALL), settings(classes=ALL, drop=["resampledPixelSpacing"])])
def test_one_voxel_has_what_needs_no_spread(chosen):
    geometry = grid()
    mask = np.zeros(geometry.shape_zyx, bool)
    mask[10, 12, 20] = True
    image = texture(geometry)
    value = float(sitk.GetArrayViewFromImage(image)[10, 12, 20])
    row = table(lesion_set(geometry, mask), {"ct": image}, chosen)[1]
    assert "'Lesion 1' on the CT is a single voxel" in row.note
    defined = {name: x for name, x in row.features.items() if x is not None}
    assert all("firstorder" in name or name == "original_shape_VoxelVolume" for name in defined)
    for name in ("Mean", "Median", "Minimum", "Maximum", "10Percentile"):
        assert defined[f"original_firstorder_{name}"] == value
    assert defined["original_firstorder_Energy"] == value**2
    assert defined["original_firstorder_Range"] == defined["original_firstorder_Variance"] == 0
    assert defined["original_shape_VoxelVolume"] == pytest.approx(1.5 * 1.3 * 3.0)
    assert row.features["original_firstorder_Skewness"] is None
    assert row.features["original_glcm_Contrast"] is None


def test_two_voxels_are_measured():
    geometry = grid()
    mask = np.zeros(geometry.shape_zyx, bool)
    mask[10, 12, 20:22] = True
    image, chosen = texture(geometry), settings(classes=ALL, drop=["resampledPixelSpacing"])
    row = table(lesion_set(geometry, mask), {"ct": image}, chosen)[1]
    expected = plain(image, mask, chosen.parameters("ct"))
    assert row.features["original_shape_VoxelVolume"] == pytest.approx(2 * 5.85)
    assert row.features["original_glcm_Contrast"] == expected["original_glcm_Contrast"]
    assert np.isnan(expected["original_firstorder_RobustMeanAbsoluteDeviation"])
    assert row.features["original_firstorder_RobustMeanAbsoluteDeviation"] is None
    assert "no value for original_firstorder_RobustMeanAbsoluteDeviation" in row.note


def test_a_constant_image_has_no_placeholders():
    geometry = grid()
    image = image_from_array(np.full(geometry.shape_zyx, 7.0, np.float32), geometry)
    mask = ball(geometry, (18, 15, 14), 9.0)
    row = table(lesion_set(geometry, mask), {"pet": image})[1]
    assert "'Lesion 1' on the PET is uniform" in row.note
    expected = plain(image, mask, settings(classes=ALL).parameters("pet"))
    placeholders = {
        "firstorder_Skewness": 0,
        "firstorder_Kurtosis": 0,
        "glcm_Correlation": 1,
        "glcm_MCC": 1,
        "glcm_Imc1": 0,
        "ngtdm_Coarseness": 1e6,
        "ngtdm_Contrast": 0,
        "ngtdm_Busyness": 0,
        "ngtdm_Strength": 0,
    }
    for name, said in placeholders.items():
        assert expected[f"original_{name}"] == said
        assert row.features[f"original_{name}"] is None
    kept = {name: value for name, value in row.features.items() if value is not None}
    assert kept == pytest.approx({name: expected[name] for name in kept}, rel=1e-9)
    assert len(kept) == len(expected) - len(placeholders)
    assert kept["original_firstorder_Mean"] == 7.0


def test_nan_in_one_lesion_leaves_the_others():
    geometry = grid()
    masks = [ball(geometry, (18, 15, 14), 6.0), ball(geometry, (32, 28, 22), 6.0)]
    lesions = lesion_set(geometry, *masks, kinds=["primary", "node"])
    clean = texture(geometry, scale=40, kind=np.float32)
    array = sitk.GetArrayFromImage(clean)
    array[14, 15, 18:20] = np.nan
    rows = table(lesions, {"pet": image_from_array(array, geometry)})
    assert undefined(rows[1])
    assert "'Lesion 1' on the PET: the image has no value (NaN or infinity) at 2 of its" in rows[1].note
    assert rows[2].features == table(lesions, {"pet": clean})[2].features
    assert undefined(rows["total"])
    assert rows[2].note == ""
    # Beside the lesion, where the interpolation needs it.
    array = sitk.GetArrayFromImage(clean)
    array[~masks[0]] = np.nan
    beside = table(lesions, {"pet": image_from_array(array, geometry)})[1]
    assert undefined(beside)
    assert "NaN" in beside.note


def test_a_lesion_partly_outside_the_image_is_named_also_in_the_sums():
    geometry = grid()
    masks = [ball(geometry, (10, 15, 14), 6.0), ball(geometry, (32, 28, 22), 6.0), ball(geometry, (12, 28, 22), 5.0)]
    lesions = lesion_set(geometry, *masks, kinds=["primary", "node", "node"])
    image = texture(geometry.crop((0, 0, 0), (33, 36, 30)))
    rows = table(lesions, {"ct": image})
    outside = int(np.count_nonzero(masks[1][..., 33:]))
    assert outside
    assert f"'Lesion 2' on the CT: {outside} of its {masks[1].sum()} voxels lie outside the image" in rows[2].note
    assert "of 'Lesion 2'" in rows["node"].note
    assert all(undefined(rows[n]) for n in (2, "node", "total"))
    assert not any(undefined(rows[n]) for n in (1, 3, "primary"))
    elsewhere = texture(geometry.crop((500, 0, 0), (30, 30, 30)))
    assert all(undefined(row) for row in table(lesions, {"ct": elsewhere}).values())


def test_a_lesion_too_small_for_the_image_or_for_the_resampling():
    geometry = grid((60, 60, 30), (1.0, 1.0, 2.0), tuple(np.eye(3).ravel().tolist()))
    mask = np.zeros(geometry.shape_zyx, bool)
    mask[10, 12, 20:22] = True
    coarse = texture(geometry.crop((0, 0, 0), (60, 60, 30)).axis_aligned(8.0))
    row = table(lesion_set(geometry, mask), {"ct": coarse})[1]
    assert undefined(row)
    assert "'Lesion 1' on the CT: it vanishes on the image's grid" in row.note
    mask[10, 12:14, 20] = True
    row = table(lesion_set(geometry, mask), {"ct": texture(geometry)}, settings(resampledPixelSpacing=[30.0] * 3))[1]
    assert undefined(row)
    assert "Lesion 1" in row.note


def test_a_pet_in_bq_per_ml_is_not_cut_into_a_million_grey_levels():
    geometry = grid()
    image = texture(geometry, scale=5e5, kind=np.float32)
    row = table(lesion_set(geometry, ball(geometry, (18, 15, 14), 9.0)), {"pet": image})[1]
    assert undefined(row)
    assert "grey levels of 0.5" in row.note
    assert "SUVbw" in row.note


def test_images_that_are_no_scalar_volumes():
    geometry = grid()
    vector = sitk.Compose(texture(geometry), texture(geometry))
    with pytest.raises(InputError, match="'ct' has 2 values a voxel"):
        radiomics_table(lesion_set(geometry), {"ct": vector})
    with pytest.raises(GeometryError, match="2 dimensions"):
        radiomics_table(lesion_set(geometry), {"ct": texture(geometry)[:, :, 3]})


def test_no_ct_is_no_row():
    geometry = grid()
    lesions = lesion_set(geometry, ball(geometry, (18, 15, 14), 9.0))
    images = {"pet": texture(geometry, scale=40, kind=np.float32), "ct": None}
    rows = radiomics_table(lesions, images, settings(classes=["firstorder"]))
    assert {row.image for row in rows} == {"pet"}
    assert {row.settings_hash for row in rows} == {settings(classes=["firstorder"]).hash("pet")}
    assert RadiomicsSettings.default().hash("pet") != rows[0].settings_hash
