"""`hntumorseg train` and `predict` on small patients on disk: from files to a model folder and back to files."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tiny_training import TINY
from training_folders import hecktor2022, paths_csv, small_patient

from HNTumorSegLib import recipes
from HNTumorSegLib.cli import main
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.models.loading import load_networks
from HNTumorSegLib.training.case_cache import CaseCache
from HNTumorSegLib.training.layouts import find_cases
from HNTumorSegLib.training.validation import predict_case

STEPS = 50
PATIENTS = {f"{centre}-{n:03d}": small_patient(n) for n, centre in enumerate(["CHUM", "MDA", "CHUM", "MDA"])}
RECIPE = replace(
    TINY,
    spacing_mm=4.0,
    patch_zyx=(16, 16, 16),
    network_options={"channels": [8, 16], "heads": 2, "norm": "batch"},
    training={**TINY.training, "steps": STEPS, "augmentation": ["flip"], "ct_dropout": 0.0, "validate_every": 50},
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished two-centre training: its folder and its data."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("job")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(recipes.RECIPES, "tiny", lambda: RECIPE)
        data = hecktor2022(folder / "data", PATIENTS)
        arguments = [
            "train",
            "--recipe",
            "tiny",
            "--data",
            str(data),
            "--splits",
            "centre",
            "--device",
            "cpu",
            "--quiet",
        ]
        assert main([*arguments, "--out", str(folder / "out")]) == 0
        yield folder, data, arguments


def test_the_model_folder_is_an_ensemble_with_measured_figures(trained):
    folder, data, _ = trained
    card = ModelCard.load(folder / "out" / "model")
    assert len(card.weights) == 2
    assert "2 centres (CHUM, MDA)" in card.training_data
    splits = json.loads((folder / "out" / "splits.json").read_text())
    assert [fold["name"] for fold in splits["folds"]] == ["CHUM", "MDA"]

    # The card's figures, counted again by hand from the shipped weights.
    sources = {source.name: source for source in find_cases(data)}
    common = both = 0
    for fold, network in zip(splits["folds"], load_networks(folder / "out" / "model"), strict=True):
        for name in fold["validation"]:
            case = CaseCache(folder / "out" / "cases", RECIPE).load(sources[name])
            found = predict_case(case, [network], RECIPE, "cpu") > 0
            common += np.count_nonzero(found & (case.labels > 0))
            both += np.count_nonzero(found) + np.count_nonzero(case.labels)
    figures = card.performance["leave-one-centre-out, each network on the cases it never saw, model grid"]
    assert figures["patients"] == 4
    assert figures["dsc_union"] == pytest.approx(2 * common / both, abs=1e-3)
    assert figures["dsc_union"] > 0.5  # it learned something


def test_a_finished_run_is_not_trained_again_and_not_overwritten(trained, capsys):
    folder, _, arguments = trained
    checkpoint = folder / "out" / "fold_MDA" / "checkpoint.pt"
    stamp, weights = checkpoint.stat().st_mtime_ns, (folder / "out" / "model" / "weights_1.safetensors").read_bytes()
    assert main([*arguments, "--out", str(folder / "out")]) == 2
    assert "holds a training run already. Give --resume" in capsys.readouterr().err
    assert main([*arguments, "--out", str(folder / "out"), "--resume"]) == 0
    assert checkpoint.stat().st_mtime_ns == stamp
    assert (folder / "out" / "model" / "weights_1.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--resume", "--steps", "9"], "steps was 50 and is 9"),
        (["--resume", "--splits", "kfold"], "holds a split by 'centre'"),
        (["--resume", "--folds", "7"], "no fold '7'; there are CHUM, MDA"),
    ],
)
def test_a_run_is_not_resumed_as_another(trained, capsys, more, message):
    folder, _, arguments = trained
    assert main([*arguments, "--out", str(folder / "out"), *more]) == 2
    assert message in capsys.readouterr().err


def test_a_class_that_is_absent_stops_before_training(trained, tmp_path, capsys):
    _, _, arguments = trained
    folder = hecktor2022(tmp_path / "data", {f"A-{n}": small_patient(n, with_node=n == 0) for n in range(3)})
    arguments = [str(folder) if a == arguments[4] else a for a in arguments]
    arguments[arguments.index("centre")] = "kfold"
    assert main([*arguments, "--k", "3", "--out", str(tmp_path / "out")]) == 2
    assert "has no lymph-node metastasis" in capsys.readouterr().err
    assert not (tmp_path / "out" / "splits.json").exists()


def test_predict_finds_the_tumours_goes_on_after_a_failure_and_resumes(trained, tmp_path, capsys):
    folder, _, _ = trained
    data = paths_csv(tmp_path / "data", PATIENTS)
    broken = tmp_path / "data" / "CHUM-002" / "pet.nii.gz"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:2000])
    command = ["predict", "--model", str(folder / "out" / "model"), "--in", str(data), "--out", str(tmp_path / "out")]
    assert main([*command, "--device", "cpu"]) == 2
    printed = capsys.readouterr()
    assert "Case 'CHUM-002'" in printed.err
    assert "3 of 4 cases delineated" in printed.out
    rows = read_table(tmp_path / "out")
    assert [row["status"] for row in rows] == ["done", "failed", "done", "done"]
    labels = sitk.ReadImage(str(tmp_path / "out" / "MDA-001.nii.gz"))
    patient = PATIENTS["MDA-001"]
    assert labels.GetSize() == patient.pet.GetSize()
    assert labels.GetOrigin() == patient.pet.GetOrigin()
    found, truth = sitk.GetArrayFromImage(labels) > 0, sitk.GetArrayFromImage(patient.labels) > 0
    assert 2 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth)) > 0.5
    volume_ml = np.count_nonzero(found) * 4.0**3 / 1000
    assert float(rows[2]["ttb_ml"]) == pytest.approx(volume_ml, abs=1e-3)

    stamp = (tmp_path / "out" / "MDA-001.nii.gz").stat().st_mtime_ns
    broken.write_bytes(whole)
    assert main([*command, "--device", "cpu"]) == 0
    assert "4 of 4 cases delineated (3 of them before)" in capsys.readouterr().out
    assert (tmp_path / "out" / "MDA-001.nii.gz").stat().st_mtime_ns == stamp
    assert [row["status"] for row in read_table(tmp_path / "out")] == ["done"] * 4


def read_table(folder):
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))
