"""The command line on real files, with a network whose answer is known: results."""
# ruff: noqa: F811  the fixtures are imported, and named again by each test that takes them

from __future__ import annotations

import csv
import json

import dicom_sets
import numpy as np
import pytest
import SimpleITK as sitk
from ball_study import CT_GRID, NODE_MM, PET_GRID, PRIMARY_MM, RADIUS_MM
from cli_cases import _threshold_network, arguments, changed, images, model  # noqa: F401

from HNTumorSegLib import cli
from HNTumorSegLib.geometry import Geometry

OUTPUTS = {"segmentation.seg.nrrd", "labels.nii.gz", "lesions.csv", "overview.png", "report.json"}


@pytest.mark.parametrize("reference", ["pet", "ct"])
def test_a_run_finds_the_balls_where_they_are(arguments, capsys, tmp_path, reference):
    assert cli.main([*arguments, "--reference", reference]) == 0
    out = tmp_path / "out"
    assert {p.name for p in out.iterdir()} == OUTPUTS
    rows = {r["id"]: r for r in csv.DictReader((out / "lesions.csv").read_text(encoding="utf-8").splitlines())}
    assert [r["name"] for r in rows.values()][:2] == ["Primary 1", "Node 1"]
    for row, centre in ((rows["1"], PRIMARY_MM), (rows["2"], NODE_MM)):
        np.testing.assert_allclose([float(row[f"{a}_mm"]) for a in "xyz"], centre, atol=0.7)
        assert float(row["volume_ml"]) == pytest.approx(4 / 3 * np.pi * (RADIUS_MM[row["name"]] / 10) ** 3, rel=0.12)
        r = np.linspace(0, 6.204, 500)
        profile = 1 + 6 / (1 + np.exp((r - RADIUS_MM[row["name"]]) / 1.5))
        assert float(row["suv_peak"]) == pytest.approx((profile * r**2).sum() / (r**2).sum(), abs=0.05)
    assert float(rows["total"]["volume_ml"]) == pytest.approx(
        float(rows["1"]["volume_ml"]) + float(rows["2"]["volume_ml"]), abs=2e-4
    )
    labels = sitk.ReadImage(str(out / "labels.nii.gz"))
    Geometry.from_image(labels).require_same(PET_GRID if reference == "pet" else CT_GRID, "labels", 1e-5)
    assert np.unique(sitk.GetArrayViewFromImage(labels)).tolist() == [0, 1, 2]
    printed = capsys.readouterr()
    assert "Total tumour burden (TTB)" in printed.out
    assert "Primary 1" in printed.out
    assert str(out) in printed.out
    assert "\x1b" not in printed.out
    assert printed.err == ""


def test_the_report_says_where_the_numbers_come_from(arguments, capsys, tmp_path):
    assert cli.main(arguments) == 0
    text = (tmp_path / "out" / "report.json").read_text(encoding="utf-8")
    report = json.loads(text)
    assert "threshold" in text
    assert "--pet-units" in text
    assert str(tmp_path) not in text
    assert "agreement" not in report or report["agreement"] is None


def test_quiet_prints_nothing(arguments, capsys):
    assert cli.main([*arguments, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_without_ct_the_model_runs_on_the_pet_alone(arguments, capsys, tmp_path):
    assert cli.main(changed(arguments, ct="none")) == 0
    assert "There is no CT" in capsys.readouterr().out
    assert "Node" not in (tmp_path / "out" / "lesions.csv").read_text(encoding="utf-8").splitlines()[1]


def test_no_lesion_is_said_in_words_with_the_numbers(arguments, images, capsys, tmp_path):
    cold = sitk.ReadImage(str(images["PET"])) * 0.5
    sitk.WriteImage(cold, str(tmp_path / "cold.nrrd"))
    assert cli.main(changed(arguments, pet=tmp_path / "cold.nrrd")) == 0
    printed = " ".join(capsys.readouterr().out.split())
    highest = float(sitk.GetArrayViewFromImage(cold).max())
    assert "No lesion found" in printed
    assert f"SUVmax is {highest:.2f}" in printed
    assert {p.name for p in (tmp_path / "out").iterdir()} == OUTPUTS


def test_a_second_run_replaces_the_first_and_leaves_other_files_alone(arguments, tmp_path):
    assert cli.main(arguments) == 0
    (tmp_path / "out" / "mine.txt").write_text("keep")
    (tmp_path / "out" / "lesions.csv").write_text("old")
    assert cli.main(arguments) == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == OUTPUTS | {"mine.txt"}
    assert (tmp_path / "out" / "lesions.csv").read_text().startswith("id,name")


def test_a_dicom_folder_is_found_converted_and_traced(arguments, capsys, tmp_path):
    pixels = np.zeros((30, 40, 40), np.int16)
    pixels[10:20, 15:25, 15:25] = 20000
    study = tmp_path / "study"
    dicom_sets.save(dicom_sets.pet_series(pixels=pixels, RescaleSlope=2.0), study / "a")
    dicom_sets.save(dicom_sets.ct_series(pixels=np.where(pixels > 0, 1000, 900).astype(np.int16)), study / "b")
    assert cli.main(changed(arguments, pet=study, ct=None, pet_units=None)) == 0
    row = next(csv.DictReader((tmp_path / "out" / "lesions.csv").read_text(encoding="utf-8").splitlines()))
    # One hour after 350 MBq in 70 kg: SUV = Bq/ml x weight / decayed dose.
    suv = 40000 * 70000 / (350e6 * 2 ** (-3600 / 6586.2))
    assert float(row["suv_max"]) == pytest.approx(suv, rel=1e-3)
    text = (tmp_path / "out" / "report.json").read_text(encoding="utf-8")
    assert "NOBODY" not in text
    assert "BQML" in text
    assert cli.main([*changed(arguments, pet=study, ct=None, pet_units=None), "--include-identifiers"]) == 0
    assert "NOBODY" in (tmp_path / "out" / "report.json").read_text(encoding="utf-8")


def test_models_are_listed_and_shown(model, capsys, monkeypatch):
    monkeypatch.setenv("HNTUMORSEG_MODELS", str(model.parent))
    assert cli.main(["models", "list"]) == 0
    assert "threshold" in capsys.readouterr().out
    assert cli.main(["models", "show", "threshold"]) == 0
    printed = capsys.readouterr().out
    assert "Intended use: tests" in printed
    assert "Licence: CC0-1.0" in printed
