"""Every layout gives the same cases; what is wrong with a case is said with its name; the cache follows the files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from tiny_training import TINY
from training_folders import hecktor2021, hecktor2022, hecktor2025, nnunet_raw, paths_csv, small_patient, write

from HNTumorSegLib.errors import GeometryError, InputError, ModelError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.recipes.recipe import CT, CT_CONTRAST, Channel
from HNTumorSegLib.training.case_cache import CaseCache, prepare
from HNTumorSegLib.training.layouts import find_cases
from HNTumorSegLib.training.sources import labels_on_grid

PATIENTS = {"CHUM-001": small_patient(0), "MDA-002": small_patient(1)}
LAYOUTS = [hecktor2021, hecktor2022, hecktor2025, nnunet_raw, paths_csv]
SAME_GRID = replace(TINY, spacing_mm=4.0)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_every_layout_gives_the_same_cases(tmp_path, layout):
    sources = find_cases(layout(tmp_path / "data", PATIENTS))
    assert [(s.name, s.patient, s.centre) for s in sources] == [
        ("CHUM-001", "CHUM-001", "CHUM"),
        ("MDA-002", "MDA-002", "MDA"),
    ]
    for source in sources:
        case, centre = source.case(SAME_GRID)
        assert centre == source.centre
        truth = sitk.GetArrayFromImage(PATIENTS[source.name].labels)
        # The grid of the model coincides with that of the images, so nothing is interpolated away.
        for label in (1, 2):
            assert np.count_nonzero(case.labels == label) == np.count_nonzero(truth == label)
        assert case.inputs.shape == (2, *case.labels.shape)
        assert case.inputs[0][case.labels == 1].mean() == pytest.approx(12 / 15, abs=0.01)
        assert case.inputs[0][case.labels == 2].mean() == pytest.approx(7 / 15, abs=0.01)
        assert case.inputs[1][case.labels > 0].mean() == pytest.approx((30 + 150) / 300, abs=0.02)


def test_nnunet_labels_are_taken_by_their_names(tmp_path):
    """A data set that calls nodes 1 and primaries 2 must not train a network to confuse them."""
    folder = nnunet_raw(tmp_path, PATIENTS, {"background": 0, "GTVn": 1, "GTVp": 2})
    case, _ = find_cases(folder)[0].case(SAME_GRID)
    assert case.inputs[0][case.labels == 2].mean() == pytest.approx(12 / 15, abs=0.01)


def test_labels_on_another_grid_follow_a_ball():
    """Volumes and centres of mass of a resampled label agree with the analytic ball."""
    geometry = Geometry((60, 60, 60), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    z, y, x = np.mgrid[:60, :60, :60]
    ball = ((x - 30.3) ** 2 + (y - 28.1) ** 2 + (z - 31.7) ** 2 < 12**2).astype(np.uint8)
    image = sitk.GetImageFromArray(ball)
    grid = geometry.axis_aligned(2.5)
    labels = labels_on_grid(image, grid)
    volume_ml = np.count_nonzero(labels) * grid.voxel_volume_ml
    assert volume_ml == pytest.approx(4 / 3 * np.pi * 12**3 / 1000, rel=0.05)
    center = grid.to_lps(np.argwhere(labels)[:, ::-1]).mean(axis=0)
    assert np.abs(center - (30.3, 28.1, 31.7)).max() < 0.3


def test_a_case_without_pet_is_for_recipes_that_need_none(tmp_path):
    """A CT must never stand in for the PET."""
    path = paths_csv(tmp_path, PATIENTS)
    lines = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join([line[0], *line[2:]]) for line in lines))
    source = find_cases(path)[0]
    ct_only = replace(TINY, channels=TINY.channels[1:], spacing_mm=4.0)
    assert source.case(ct_only)[0].inputs.shape[0] == 1
    with pytest.raises(ModelError, match=r"Case 'CHUM-001'.*needs a PET"):
        source.case(TINY)
    with pytest.raises(InputError, match=r"Case 'CHUM-001': there is no PET"):
        source.study()


def test_a_folder_is_read_by_its_list(tmp_path):
    """The images' names in a folder with a list say nothing: the list does."""
    path = paths_csv(tmp_path, PATIENTS)
    assert find_cases(path.parent) == find_cases(path)


def test_a_second_ct_with_contrast_is_a_channel_of_its_own(tmp_path):
    path = paths_csv(tmp_path, PATIENTS)
    rows = path.read_text().splitlines()
    path.write_text("\n".join([rows[0] + ",ct_contrast", *(f"{row},{row.split(',')[2]}" for row in rows[1:])]))
    two = replace(TINY, channels=(Channel(CT, (-100, 100)), Channel(CT_CONTRAST, (0, 200))), spacing_mm=4.0)
    inputs = find_cases(path)[0].case(two)[0].inputs
    middle = inputs[:, 10:14, 12:16, 12:16].mean(axis=(1, 2, 3))
    assert middle == pytest.approx([0.65, 0.15], abs=0.02)


def moved(image: sitk.Image, millimetres: float) -> sitk.Image:
    image = sitk.Image(image)
    image.SetOrigin(tuple(o + millimetres for o in image.GetOrigin()))
    return image


def test_a_label_image_that_lies_elsewhere_is_refused_with_the_case(tmp_path):
    folder = hecktor2022(tmp_path, PATIENTS)
    write(moved(PATIENTS["MDA-002"].labels, 2.0), folder / "labelsTr" / "MDA-002.nii.gz")
    with pytest.raises(GeometryError, match=r"Case 'MDA-002'.*lies on no image's grid"):
        find_cases(folder)[1].case(TINY)


def test_unequal_geometry_in_nnunets_layout_is_refused(tmp_path):
    folder = nnunet_raw(tmp_path, PATIENTS)
    write(moved(PATIENTS["CHUM-001"].ct, 2.0), folder / "imagesTr" / "CHUM-001_0000.nii.gz")
    with pytest.raises(GeometryError, match=r"Case 'CHUM-001'.*grids differ"):
        find_cases(folder)[0].case(TINY)


def test_missing_labels_and_odd_values_are_refused_with_the_case(tmp_path):
    folder = hecktor2022(tmp_path, PATIENTS)
    (folder / "labelsTr" / "CHUM-001.nii.gz").unlink()
    with pytest.raises(InputError, match=r"Case 'CHUM-001' has no label image"):
        find_cases(folder)[0].case(TINY)
    odd = sitk.GetArrayFromImage(PATIENTS["MDA-002"].labels) * 3
    image = sitk.GetImageFromArray(odd)
    image.CopyInformation(PATIENTS["MDA-002"].labels)
    write(image, folder / "labelsTr" / "MDA-002.nii.gz")
    with pytest.raises(ModelError, match=r"Case 'MDA-002'.*value 3"):
        find_cases(folder)[1].case(TINY)


def test_all_unusable_cases_are_told_at_once(tmp_path):
    folder = hecktor2022(tmp_path / "data", PATIENTS)
    for path in (folder / "labelsTr").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"2 of 2 cases cannot be used.*CHUM-001.*MDA-002"):
        prepare(CaseCache(tmp_path / "cache", TINY), find_cases(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.write_text("name,pet\na,b\n"), "needs 'case'"),
        (lambda p: p.write_text("case,pet\na,gone.nii.gz\n"), r"Case 'a' \(line 2.*does not exist"),
        (lambda p: p.write_text("case,pet\n../a,x\n"), "without slashes"),
        (lambda p: p.write_text(p.read_text() + p.read_text().splitlines()[1] + "\n"), "'CHUM-001' is there twice"),
        (lambda p: p.write_bytes(b"\xff\xfe\x00c"), "cannot be read"),
    ],
)
def test_a_csv_that_cannot_be_used_is_refused(tmp_path, change, message):
    path = paths_csv(tmp_path, PATIENTS)
    change(path)
    with pytest.raises(InputError, match=message):
        find_cases(path)


def test_data_of_no_known_layout_are_refused(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(InputError, match="No case was found"):
        find_cases(tmp_path)
    with pytest.raises(InputError, match="do not exist"):
        find_cases(tmp_path / "gone")
    with pytest.raises(InputError, match="phantom:40"):
        find_cases("phantom:many")


def test_the_cache_follows_files_and_recipe(tmp_path):
    folder = hecktor2022(tmp_path / "data", PATIENTS)
    cache = CaseCache(tmp_path / "cache", TINY)
    source = find_cases(folder)[0]
    assert cache.ensure(source).classes == (1, 2)
    path = cache.path(source)
    stamp = path.stat().st_mtime_ns
    first = cache.load(source)
    assert path.stat().st_mtime_ns == stamp
    assert CaseCache(cache.folder, replace(TINY, spacing_mm=3.0)).path(source) != path

    path.write_bytes(path.read_bytes()[:1000])  # as by a full disk
    assert np.array_equal(cache.load(source).inputs, first.inputs)

    write(small_patient(2).labels, folder / "labelsTr" / "CHUM-001.nii.gz")
    assert cache.path(source) != path
    assert not np.array_equal(cache.load(source).labels, first.labels)
    assert not [p for p in cache.folder.iterdir() if p.suffix != ".npz"]
