"""``hntumorseg measure`` on every kind of file, and every kind of bad input."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from HNTumorSegLib import cli
from HNTumorSegLib.exchange.labels import write_labels
from HNTumorSegLib.exchange.seg_nrrd import read_seg_nrrd, write_seg_nrrd
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.lesions.lesion import Lesion
from HNTumorSegLib.lesions.lesion_set import LesionSet

GRID = Geometry((66, 36, 30), (4.0, 4.0, 3.0), (-130.0, -70.0, -40.0), tuple(np.eye(3).ravel()))


def ball(center, radius: float, geometry: Geometry = GRID) -> np.ndarray:
    zyx = np.stack(np.meshgrid(*[np.arange(n) for n in geometry.shape_zyx], indexing="ij"), -1)
    return np.linalg.norm(geometry.to_lps(zyx[..., ::-1]) - center, axis=-1) <= radius


PRIMARY, NODE = ball((-20, 0, 0), 14), ball((30, 10, 20), 9)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> dict[str, Path]:
    """A PET of a neck with two hot balls, and their masks in our files."""
    folder = tmp_path_factory.mktemp("measure")
    rng = np.random.default_rng(0)
    suv = 0.05 + 0.95 * ball((0, 0, 0), 62) + 7.0 * (PRIMARY | NODE) + rng.random(GRID.shape_zyx) / 8
    pet = image_from_array(suv.astype(np.float32), GRID)
    sitk.WriteImage(pet, str(folder / "PET.nii.gz"))
    labels = np.zeros(GRID.shape_zyx, np.uint16)
    labels[PRIMARY], labels[NODE] = 1, 2
    lesion_set = LesionSet(GRID, labels, [Lesion(1, "primary", "Primary 1"), Lesion(2, "node", "Node 1")])
    write_labels(lesion_set, folder / "labels.nii.gz")
    write_labels(lesion_set, folder / "labels.nrrd")
    write_seg_nrrd(lesion_set, folder / "ours.seg.nrrd")
    return {"PET": folder / "PET.nii.gz", "folder": folder, "suv": suv.astype(np.float32)}


def measure(images, tmp_path, seg, *options) -> int:
    return cli.main([
        "measure", "--pet", str(images["PET"]), "--pet-units", "suv", "--seg", str(seg), "--out",
        str(tmp_path / "out.csv"), *options,
    ])  # fmt: skip


def table(tmp_path) -> dict[str, dict[str, str]]:
    return {r["id"]: r for r in csv.DictReader((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines())}


def refused(capsys, tmp_path, code, *words) -> None:
    error = capsys.readouterr().err
    assert code == cli.EXIT_USER
    for word in words:
        assert word in error, error
    assert "Traceback" not in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("*.csv*"))


def cropped_two_layers(images, path: Path, names=("T", "N"), tags=("", "")) -> Path:
    """As Slicer saves overlapping segments: cropped to them, two layers, no tags of ours."""
    z, y, x = (slice(int(a.min()) - 1, int(a.max()) + 2) for a in np.nonzero(PRIMARY | NODE))
    part = GRID.crop((x.start, y.start, z.start), (x.stop - x.start, y.stop - y.start, z.stop - z.start))
    layers = [image_from_array(m[z, y, x].astype(np.uint8), part) for m in (PRIMARY, NODE)]
    image = sitk.Compose(layers)
    image.SetMetaData("Segmentation_MasterRepresentation", "Binary labelmap")
    for n, (name, tag) in enumerate(zip(names, tags, strict=True)):
        fields = {"ID": f"S{n}", "Name": name, "LabelValue": "1", "Layer": str(n), "Tags": tag}
        for key, value in fields.items():
            image.SetMetaData(f"Segment{n}_{key}", value)
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


def check_numbers(images, rows) -> None:
    suv = images["suv"].astype(float)
    for row, mask in ((rows["primary"], PRIMARY), (rows["node"], NODE), (rows["total"], PRIMARY | NODE)):
        assert float(row["volume_ml"]) == pytest.approx(mask.sum() * 0.048, abs=1e-4)
        assert float(row["tlg_g"]) == pytest.approx(suv[mask].sum() * 0.048, abs=1e-3)
        assert float(row["suv_max"]) == pytest.approx(suv[mask].max(), abs=1e-4)
        assert float(row["suv_std"]) == pytest.approx(suv[mask].std(), abs=1e-4)
    assert rows["node"]["n_lesions"] == "1"
    assert [rows[k]["laterality"] for k in ("primary", "node", "total")] == ["right", "left", "bilateral"]


@pytest.mark.parametrize("name", ["labels.nii.gz", "labels.nrrd", "ours.seg.nrrd"])
def test_our_own_files(images, tmp_path, name):
    assert measure(images, tmp_path, images["folder"] / name, "--quiet") == 0
    check_numbers(images, table(tmp_path))


def test_a_cropped_slicer_segmentation_with_two_layers(images, tmp_path, capsys):
    seg = cropped_two_layers(images, tmp_path / "slicer.seg.nrrd")
    refused(capsys, tmp_path, measure(images, tmp_path, seg, "--quiet"), "'T', 'N'", "--kind 'T=primary'")
    assert measure(images, tmp_path, seg, "--kind", "t=primary", "--kind", "*=node") == 0
    rows = table(tmp_path)
    check_numbers(images, rows)
    assert [rows[k]["name"] for k in "12"] == ["T", "N"]
    assert measure(images, tmp_path, seg, "--quiet", "--kind", "T=primary", "--kind", "N=ignore") == 0
    assert table(tmp_path)["total"]["n_lesions"] == "1"


def test_a_dicom_seg_and_the_terminology_of_slicer(images, tmp_path):
    pytest.importorskip("highdicom", reason="the dicom extra is not installed")
    import test_dicom_seg

    slices = test_dicom_seg.image_slices()
    geometry = test_dicom_seg.grid_of(slices)
    masks = test_dicom_seg.two_masks()
    suv = np.random.default_rng(2).gamma(2.0, 2.0, geometry.shape_zyx).astype(np.float32)
    sitk.WriteImage(image_from_array(suv, geometry), str(tmp_path / "PET.nii.gz"))
    seg = test_dicom_seg.write(tmp_path / "s.dcm", slices, masks, ("a", "b"), ("primary", "old node"))
    assert measure({"PET": tmp_path / "PET.nii.gz"}, tmp_path, seg, "--quiet") == 0
    rows = table(tmp_path)
    for row, mask in ((rows["1"], masks[0] > 0), (rows["2"], masks[1] > 0)):
        assert float(row["volume_ml"]) == pytest.approx(mask.sum() * 0.015, abs=1e-4)
        assert float(row["suv_mean"]) == pytest.approx(suv[mask].mean(dtype=float), abs=1e-4)


def test_the_rtstruct_of_a_real_patient_gives_what_its_nifti_mask_gives(shared_data, tmp_path, capsys):
    data = shared_data / "sarcoma_pet_ct"
    dicom = data / "dicom" / "STS_008" / "PET"
    arguments = ["measure", "--pet", str(dicom / "image"), "--ct", "none", "--out", str(tmp_path / "out.csv"), "--seg"]
    assert cli.main([*arguments, str(dicom / "mask"), "--kind", "GTV_Mass*=primary", "--quiet"]) == 0
    drawn = table(tmp_path)["1"]
    assert drawn["name"] == "GTV_Mass_PET"
    assert cli.main([*arguments, str(data / "nifti/STS_008/PET_mask.nii.gz"), "--quiet"]) == 0
    masked = table(tmp_path)["total"]
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(data / "nifti/STS_008/PET_mask.nii.gz"))) > 0
    suv = sitk.GetArrayFromImage(sitk.ReadImage(str(data / "nifti/STS_008/PET_image.nii.gz")))
    for row in (drawn, masked):
        assert float(row["suv_max"]) == pytest.approx(suv[mask].max(), abs=1e-3)
        assert float(row["suv_median"]) == pytest.approx(np.median(suv[mask]), abs=1e-3)
    for column in ("volume_ml", "tlg_g", "suv_mean", "mtv_41pct_ml", "tlg_suv2.5_g"):
        assert drawn[column] == masked[column], column
    assert cli.main([*arguments, str(dicom / "mask"), "--quiet"]) == cli.EXIT_USER
    assert "GTV_Mass_PET" in capsys.readouterr().err


def test_splitting_and_lesions_on_another_grid(images, tmp_path):
    """A mask on a grid twice as fine and moved, as from CT: the volumes are its own."""
    fine = Geometry((132, 72, 60), (2.0, 2.0, 1.5), (-130.9, -71.1, -40.6), GRID.direction)
    labels = np.where(ball((-20, 0, 0), 14, fine) | ball((30, 10, 20), 9, fine), 2, 0).astype(np.uint8)
    sitk.WriteImage(image_from_array(labels, fine), str(tmp_path / "fine.nrrd"))
    assert measure(images, tmp_path, tmp_path / "fine.nrrd", "--quiet") == 0
    rows = table(tmp_path)
    assert rows["node"]["n_lesions"] == "2"
    assert float(rows["node"]["volume_ml"]) == pytest.approx((labels > 0).sum() * 0.006, abs=1e-4)
    seg = tmp_path / "one.seg.nrrd"
    write_seg_nrrd(LesionSet(fine, (labels > 0).astype(np.uint16), [Lesion(1, "node", "Node 1")]), seg)
    assert measure(images, tmp_path, seg, "--quiet") == 0
    assert table(tmp_path)["node"]["n_lesions"] == "1"
    assert table(tmp_path)["1"]["remarks"] == "2 separate pieces"
    assert measure(images, tmp_path, seg, "--quiet", "--split") == 0
    assert table(tmp_path)["node"]["n_lesions"] == "2"


def test_radiomics_columns_come_after_all_others(images, tmp_path):
    pytest.importorskip("radiomics", reason="the radiomics extra is not installed")
    assert measure(images, tmp_path, images["folder"] / "labels.nii.gz", "--quiet") == 0
    plain = table(tmp_path)
    assert measure(images, tmp_path, images["folder"] / "labels.nii.gz", "--quiet", "--radiomics") == 0
    rows = table(tmp_path)
    names = list(rows["1"])
    assert names[: len(plain["1"])] == list(plain["1"])
    assert {k: rows["1"][k] for k in plain["1"]} == plain["1"]
    features = names[len(plain["1"]) :]
    assert features[-1] == "pet_settings_hash"
    assert len({rows[k]["pet_settings_hash"] for k in rows}) == 1
    from HNTumorSegLib.measures.radiomics import radiomics_table

    direct = radiomics_table(
        read_seg_nrrd(images["folder"] / "ours.seg.nrrd"), {"pet": sitk.ReadImage(str(images["PET"]))}
    )
    assert [str(row.id) for row in direct] == list(rows)
    for row in direct:
        assert len(row.features) == len(features) - 1
        assert {f"pet_{k}": float(v) for k, v in row.features.items()} == {
            k: float(rows[str(row.id)][k]) for k in features[:-1]
        }


# ------------------------------------------------------------------------------------------------------- bad input


def altered(images, tmp_path, change) -> Path:
    image = sitk.ReadImage(str(images["folder"] / "labels.nii.gz"))
    sitk.WriteImage(change(image), str(tmp_path / "changed.nii.gz"))
    return tmp_path / "changed.nii.gz"


def test_labels_other_than_0_1_2(images, tmp_path, capsys):
    seg = altered(images, tmp_path, lambda im: im + sitk.Cast(im == 2, sitk.sitkUInt8) * 5)
    count = f"7 ({NODE.sum()} voxels)"
    refused(capsys, tmp_path, measure(images, tmp_path, seg, "--quiet"), "changed.nii.gz", count, "--kind 7=primary")
    assert measure(images, tmp_path, seg, "--quiet", "--kind", "7=node") == 0
    check_numbers(images, table(tmp_path))


def test_a_mask_of_the_same_size_elsewhere_and_one_outside_the_pet(images, tmp_path, capsys):
    def moved(image):
        image.SetOrigin((-112.0, -70.0, -40.0))
        return image

    seg = altered(images, tmp_path, moved)
    refused(capsys, tmp_path, measure(images, tmp_path, seg, "--quiet"), "changed.nii.gz", "18 mm apart")
    far = GRID.crop((500, 0, 0), (20, 20, 20))
    mask = np.zeros(far.shape_zyx, np.uint8)
    mask[5:9, 5:9, 5:9] = 1
    sitk.WriteImage(image_from_array(mask, far), str(tmp_path / "far.nii.gz"))
    code = measure(images, tmp_path, tmp_path / "far.nii.gz", "--quiet")
    refused(capsys, tmp_path, code, "far.nii.gz", "'Primary 1'", "Give the segmentation of this scan")


def test_one_lesion_outside_the_pet_is_named_and_the_rest_goes_on(images, tmp_path, capsys):
    wide = GRID.crop((0, 0, 0), (80, 36, 30))
    labels = np.zeros(wide.shape_zyx, np.uint8)
    labels[..., :66][PRIMARY] = 1
    labels[10:14, 10:14, 64:70] = 2
    sitk.WriteImage(image_from_array(labels, wide), str(tmp_path / "wide.nii.gz"))
    assert measure(images, tmp_path, tmp_path / "wide.nii.gz", "--quiet") == cli.EXIT_USER
    assert "Lesion 'Node 1' cannot be measured: the PET has no value at 64 of its 96" in capsys.readouterr().err
    rows = table(tmp_path)
    assert float(rows["1"]["tlg_g"]) == pytest.approx(images["suv"][PRIMARY].sum(dtype=float) * 0.048, abs=1e-3)
    assert (rows["2"]["suv_max"], rows["total"]["tlg_g"]) == ("", "")
    assert float(rows["total"]["volume_ml"]) == pytest.approx((PRIMARY.sum() + 96) * 0.048, abs=1e-4)


def test_another_patient_and_negative_suv(images, tmp_path, capsys, shared_data):
    dicom = shared_data / "sarcoma_pet_ct" / "dicom" / "STS_008" / "PET"
    raw = shared_data / "raw_pet_dicom" / "STS_001_FDG_PET" / "image"
    arguments = ["measure", "--pet", str(raw), "--seg", str(dicom / "mask"), "--out", str(tmp_path / "out.csv")]
    refused(capsys, tmp_path, cli.main([*arguments, "--quiet", "--kind", "*=primary"]), "two different patients")
    suv = images["suv"].copy()
    suv[tuple(np.argwhere(NODE)[0])] = -1.5
    sitk.WriteImage(image_from_array(suv, GRID), str(tmp_path / "PET.nii.gz"))
    labels = images["folder"] / "labels.nii.gz"
    assert measure({"PET": tmp_path / "PET.nii.gz"}, tmp_path, labels, "--quiet") == cli.EXIT_USER
    assert "'Node 1' holds negative SUV at 1 of its" in capsys.readouterr().err
    assert "negative SUV at 1 voxels" in table(tmp_path)["2"]["remarks"]
    suv[0, 0, 0] = np.nan
    sitk.WriteImage(image_from_array(suv, GRID), str(tmp_path / "PET.nii.gz"))
    (tmp_path / "out.csv").unlink()
    refused(capsys, tmp_path, measure({"PET": tmp_path / "PET.nii.gz"}, tmp_path, labels, "--quiet"), "NaN")


def test_repeated_names_and_empty_files(images, tmp_path, capsys):
    seg = cropped_two_layers(images, tmp_path / "same.seg.nrrd", ("GTVn", "GTVn"))
    assert measure(images, tmp_path, seg, "--quiet") == cli.EXIT_USER
    assert "The name 'GTVn' stands more than once in 'same.seg.nrrd'" in capsys.readouterr().err
    assert [table(tmp_path)[k]["name"] for k in "12"] == ["GTVn", "GTVn (2)"]
    empty = altered(images, tmp_path, lambda image: image * 0)
    assert measure(images, tmp_path, empty) == 0
    assert "There is no lesion in 'changed.nii.gz'" in capsys.readouterr().out
    assert table(tmp_path)["total"]["volume_ml"] == "0.0000"


def test_files_that_are_no_segmentation(images, tmp_path, capsys):
    (tmp_path / "two").mkdir()
    for name in "ab":
        (tmp_path / "two" / name).write_text("x")
    (tmp_path / "notes.txt").write_text("not a segmentation " * 20)
    (tmp_path / "broken.nii.gz").write_bytes(b"no")
    cases = {"missing": "does not exist", "two": "holds 2 files", "notes.txt": "notes.txt", "broken.nii.gz": "damaged"}
    for name, words in cases.items():
        refused(capsys, tmp_path, measure(images, tmp_path, tmp_path / name, "--quiet"), words)
    labels = images["folder"] / "labels.nii.gz"
    code = measure(images, tmp_path, images["PET"], "--quiet")
    refused(capsys, tmp_path, code, "PET.nii.gz", "not like labels")
    refused(capsys, tmp_path, measure(images, tmp_path, labels, "--kind", "1=tumour", "--quiet"), "NAME=primary")
    code = measure(images, tmp_path / "no folder", labels, "--quiet")
    refused(capsys, tmp_path, code, "does not exist")
