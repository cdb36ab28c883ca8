"""`hntumorseg predict` with models of organs, of CTs alone, of two CTs; uncertainties beside the labels."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from known_classes import NETWORK, write_density_model
from training_folders import write

from HNTumorSegLib import networks
from HNTumorSegLib.cli import main
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.recipes.recipe import BACKGROUND, CT, CT_CONTRAST, NODE, PET, PRIMARY, Channel

HU = (-1000.0, 1000.0)
CT_GRID = Geometry((44, 40, 36), (2.0, 2.0, 2.0), (-43.0, -39.0, 10.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
PET_GRID = Geometry((22, 20, 18), (4.0, 4.0, 4.0), (-42.0, -38.0, 11.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
BALLS = {1: ((-12.0, 0.0, 46.0), 13.0), 2: ((22.0, 8.0, 46.0), 9.0)}
"""Class, centre (LPS) and radius in mm."""

ORGANS = (BACKGROUND, "Parotid-Lt", "Mandible")
TUMOURS = (BACKGROUND, PRIMARY, NODE)


@pytest.fixture(autouse=True)
def _density_network(monkeypatch):
    monkeypatch.setitem(networks.NETWORKS, *NETWORK)


def classes_on(geometry: Geometry) -> np.ndarray:
    k, j, i = np.meshgrid(*(np.arange(n) for n in geometry.shape_zyx), indexing="ij")
    at = geometry.to_lps(np.stack([i, j, k], axis=-1))
    found = np.zeros(geometry.shape_zyx, np.uint8)
    for number, (center, radius) in BALLS.items():
        found[np.linalg.norm(at - np.array(center), axis=-1) < radius] = number
    return found


def image_of(values: tuple[float, float, float], geometry: Geometry) -> sitk.Image:
    """A value for the background and each class."""
    return image_from_array(np.array(values, np.float32)[classes_on(geometry)], geometry)


def data_set(folder: Path, **more: sitk.Image) -> Path:
    """One case with a CT of -1000, 0 and 1000 HU, and more images by CSV column."""
    images = {"ct": image_of((-1000, 0, 1000), CT_GRID), **more}
    for name, image in images.items():
        write(image, folder / f"{name}.nii.gz")
    with (folder / "cases.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("case", *images), ("P1", *(f"{name}.nii.gz" for name in images))])
    return folder / "cases.csv"


def predict(model: Path, data: Path, out: Path, *more: str) -> int:
    command = ["predict", "--model", str(model), "--in", str(data), "--out", str(out), "--device", "cpu", "--quiet"]
    return main([*command, *more])


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read(path: Path) -> tuple[np.ndarray, Geometry]:
    image = sitk.ReadImage(str(path))
    return sitk.GetArrayFromImage(image), Geometry.from_image(image)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


# --- organs ---


def test_organs_on_a_ct_alone(tmp_path):
    """Labels are the model's own numbers on the CT's grid, the table has its volumes, and a file says what is what."""
    write_density_model(tmp_path / "model", [Channel(CT, HU)], ORGANS)
    assert predict(tmp_path / "model", data_set(tmp_path), tmp_path / "out") == 0
    labels, geometry = read(tmp_path / "out" / "P1.nii.gz")
    assert geometry.distance_mm(CT_GRID) < 1e-4
    (row,) = read_csv(tmp_path / "out" / "predictions.csv")
    assert list(row) == ["case", "status", "Parotid-Lt_ml", "Mandible_ml", "message"]
    assert (row["case"], row["status"]) == ("P1", "done")
    for number, (_, radius) in BALLS.items():
        assert overlap(labels == number, classes_on(CT_GRID) == number) > 0.9
        volume_ml = float(row[f"{ORGANS[number]}_ml"])
        assert volume_ml == pytest.approx(np.count_nonzero(labels == number) * 0.008, abs=1e-3)
        assert volume_ml == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=0.15)
    meanings = read_csv(tmp_path / "out" / "classes.csv")
    assert [(m["value"], m["class"]) for m in meanings] == [("0", BACKGROUND), ("1", "Parotid-Lt"), ("2", "Mandible")]


def test_organs_on_the_pets_grid_and_again(tmp_path, capsys):
    write_density_model(tmp_path / "model", [Channel(CT, HU)], ORGANS)
    data = data_set(tmp_path, pet=image_of((1, 5, 5), PET_GRID))
    assert predict(tmp_path / "model", data, tmp_path / "out", "--reference", "pet") == 0
    labels, geometry = read(tmp_path / "out" / "P1.nii.gz")
    assert geometry.distance_mm(PET_GRID) < 1e-4
    assert overlap(labels > 0, classes_on(PET_GRID) > 0) > 0.85
    stamp = (tmp_path / "out" / "P1.nii.gz").stat().st_mtime_ns
    former = read_csv(tmp_path / "out" / "predictions.csv")
    assert predict(tmp_path / "model", data, tmp_path / "out", "--reference", "pet") == 0
    assert (tmp_path / "out" / "P1.nii.gz").stat().st_mtime_ns == stamp
    assert read_csv(tmp_path / "out" / "predictions.csv") == former
    assert predict(tmp_path / "model", data, tmp_path / "out") == 0  # another grid: the CT's
    assert read(tmp_path / "out" / "P1.nii.gz")[1].distance_mm(CT_GRID) < 1e-4


# --- tumours on CTs ---


def test_tumours_on_a_ct_alone(tmp_path, capsys):
    """Lesions and volumes without a PET; with one the same lesions and their SUV."""
    write_density_model(tmp_path / "model", [Channel(CT, HU)], TUMOURS)
    alone = data_set(tmp_path / "alone")
    assert predict(tmp_path / "model", alone, tmp_path / "out") == 0
    (row,) = read_csv(tmp_path / "out" / "predictions.csv")
    assert (row["primaries"], row["nodes"], row["suv_max"]) == ("1", "1", "")
    assert not (tmp_path / "out" / "classes.csv").exists()
    labels, geometry = read(tmp_path / "out" / "P1.nii.gz")
    assert geometry.distance_mm(CT_GRID) < 1e-4
    assert float(row["node_ml"]) == pytest.approx(np.count_nonzero(labels == 2) * 0.008, abs=1e-3)
    assert overlap(labels == 1, classes_on(CT_GRID) == 1) > 0.9

    with_pet = data_set(tmp_path / "both", pet=image_of((1, 6, 3), PET_GRID))
    assert predict(tmp_path / "model", with_pet, tmp_path / "out2") == 0
    (other,) = read_csv(tmp_path / "out2" / "predictions.csv")
    np.testing.assert_array_equal(read(tmp_path / "out2" / "P1.nii.gz")[0], labels)
    assert float(other["suv_max"]) == pytest.approx(6.0)
    assert other["ttb_ml"] == row["ttb_ml"]
    assert "No head and neck was recognised" in other["message"]

    assert predict(tmp_path / "model", alone, tmp_path / "out3", "--reference", "pet") == 2
    assert (
        "The grid of the image 'pet' was asked for as reference, and there is none; use 'ct'" in capsys.readouterr().err
    )


def test_classes_in_another_order_keep_their_meaning(tmp_path):
    write_density_model(tmp_path / "model", [Channel(CT, HU)], (BACKGROUND, NODE, PRIMARY))
    assert predict(tmp_path / "model", data_set(tmp_path), tmp_path / "out") == 0
    labels, _ = read(tmp_path / "out" / "P1.nii.gz")
    assert overlap(labels == 2, classes_on(CT_GRID) == 1) > 0.9


def test_the_second_ct_is_read_and_missed_in_words(tmp_path, capsys):
    """The network looks at the contrast-enhanced CT alone; the plain one shows nothing."""
    write_density_model(tmp_path / "model", [Channel(CT, HU), Channel(CT_CONTRAST, HU)], TUMOURS)
    images = {"ct": image_of((-1000, -1000, -1000), CT_GRID), "ct_contrast": image_of((-1000, 0, 1000), CT_GRID)}
    assert predict(tmp_path / "model", data_set(tmp_path / "two", **images), tmp_path / "out") == 0
    labels, _ = read(tmp_path / "out" / "P1.nii.gz")
    assert overlap(labels > 0, classes_on(CT_GRID) > 0) > 0.9
    assert predict(tmp_path / "model", data_set(tmp_path / "one"), tmp_path / "out2") == 2
    said = capsys.readouterr().err
    assert "P1" in said
    assert "needs a contrast-enhanced CT" in said
    assert "column 'ct_contrast'" in said


# --- uncertainty ---


@pytest.mark.parametrize("reads", [PET, CT])
def test_uncertainty_and_spread_of_two_that_disagree(tmp_path, reads):
    """One member sees both balls, the other only the second: spread one half in the first, none in the second."""
    channel = {PET: Channel(PET, (0.0, 10.0)), CT: Channel(CT, (-1000.0, 1500.0))}[reads]
    limits = [(0.25, 5.0), (0.65, 5.0)]  # class 1 alone: SUV 2.5 and 6.5, -375 and 625 HU
    write_density_model(tmp_path / "model", [channel], TUMOURS, limits, spacing_mm=4.0 if reads == PET else 2.0)
    data = data_set(tmp_path, pet=image_of((1, 5, 9), PET_GRID))
    maps = tmp_path / "maps"
    assert predict(tmp_path / "model", data, tmp_path / "out", "--uncertainty", str(maps)) == 0
    grid = PET_GRID if reads == PET else CT_GRID
    assert sorted(path.name for path in maps.iterdir()) == ["P1_entropy.nii.gz", "P1_spread.nii.gz"]
    spread, entropy = (read(maps / f"P1_{what}.nii.gz") for what in ("spread", "entropy"))
    for values, geometry in (spread, entropy):
        assert values.dtype == np.float32
        assert geometry.distance_mm(grid) < 1e-4
    middles = [tuple(np.rint(grid.to_ijk(np.array(center))).astype(int)[::-1]) for center in (BALLS[1][0], BALLS[2][0])]
    corner = (0, 0, 0)
    np.testing.assert_allclose([spread[0][at] for at in (*middles, corner)], [0.5, 0, 0], atol=0.01)
    # Half and half of two classes out of three: log 2 / log 3.
    np.testing.assert_allclose([entropy[0][at] for at in (*middles, corner)], [np.log(2) / np.log(3), 0, 0], atol=0.01)


def test_uncertainty_that_is_wanted_later_and_of_a_single_answer(tmp_path, capsys):
    write_density_model(tmp_path / "model", [Channel(CT, HU)], ORGANS)
    data, maps, out = data_set(tmp_path), tmp_path / "maps", tmp_path / "out"
    assert predict(tmp_path / "model", data, out) == 0
    assert predict(tmp_path / "model", data, out, "--uncertainty", str(maps)) == 0
    assert [path.name for path in maps.iterdir()] == ["P1_entropy.nii.gz"]
    stamp = (maps / "P1_entropy.nii.gz").stat().st_mtime_ns
    assert predict(tmp_path / "model", data, out, "--uncertainty", str(maps)) == 0
    assert (maps / "P1_entropy.nii.gz").stat().st_mtime_ns == stamp
    assert predict(tmp_path / "model", data, out, "--uncertainty", str(out)) == 2
    assert "give another one for the uncertainties" in capsys.readouterr().err
