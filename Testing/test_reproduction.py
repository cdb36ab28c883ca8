"""Reproducing a publication's table: a whole tiny run, its resumption, and the table against hand-made numbers."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_training import TINY
from training_folders import hecktor2022, small_patient

from HNTumorSegLib import recipes
from HNTumorSegLib.errors import InputError
from HNTumorSegLib.models.loading import load_networks
from HNTumorSegLib.recipes.recipe import BACKGROUND, PRIMARY
from HNTumorSegLib.training.case_cache import CaseCache
from HNTumorSegLib.training.layouts import find_cases
from HNTumorSegLib.training.reproduction import Reproduction, reproduce
from HNTumorSegLib.training.reproduction_table import Ordering, ReproductionTable, Row

PATIENTS = {f"CHUM-{n:03d}": small_patient(n) for n in range(6)}
QUICK = replace(
    TINY,
    name="nikulin2023_quick",
    spacing_mm=4.0,
    patch_zyx=(16, 16, 16),
    network_options={"channels": [8, 16], "heads": 2, "norm": "batch"},
    training={**TINY.training, "steps": 40, "folds": 2, "augmentation": ["flip"], "ct_dropout": 0.0},
)


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    """A finished reproduction: the job and its table."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("reproduction")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(recipes.RECIPES, "nikulin2023_quick", lambda: QUICK)
        data = hecktor2022(folder / "data", PATIENTS)
        job = Reproduction("nikulin2023", str(data), folder / "out", quick=True, device="cpu")
        yield job, reproduce(job)


def test_the_test_patients_are_set_aside_before_training(reproduced):
    job, _ = reproduced
    aside = json.loads((job.out / "test_cases.json").read_text())
    splits = json.loads((job.out / "trainings" / "nikulin2023_quick" / "splits.json").read_text())
    trained = {name for fold in splits["folds"] for name in (*fold["training"], *fold["validation"])}
    assert len(aside) == 1
    assert trained | set(aside) == set(PATIENTS)
    assert not trained & set(aside)


def test_the_figures_are_those_counted_by_hand_from_the_weights(reproduced):
    job, table = reproduced
    model = job.out / "trainings" / "nikulin2023_quick" / "model"
    networks = load_networks(model)
    sources = {source.name: source for source in find_cases(job.data)}
    folds = json.loads((model.parent / "splits.json").read_text())["folds"]

    def pooled_dsc(asked):
        common = both = 0
        for name, chosen in asked:
            case = CaseCache(job.out / "cases", QUICK).load(sources[name])
            inputs = torch.from_numpy(case.inputs.astype(np.float32))[None]
            # The patients are a little larger than a patch, so the tiles of the room are used, one network at a time.
            found = np.mean([tiled(network, inputs) for network in chosen], axis=0)
            found = np.concatenate([1 - found.sum(0, keepdims=True), found]).argmax(0) > 0
            common += np.count_nonzero(found & (case.labels > 0))
            both += np.count_nonzero(found) + np.count_nonzero(case.labels)
        return 2 * common / both

    row = {row.name: row for row in table.rows}
    unseen = [(name, [network]) for fold, network in zip(folds, networks, strict=True) for name in fold["validation"]]
    aside = json.loads((job.out / "test_cases.json").read_text())
    assert row["cross-validation"].patients == 5
    assert row["cross-validation"].ours["dsc_union"] == pytest.approx(pooled_dsc(unseen), abs=0.03)
    assert row["external"].ours["dsc_union"] == pytest.approx(pooled_dsc([(aside[0], networks)]), abs=0.03)
    assert row["cross-validation"].ours["dsc_union"] > 0.5  # it learned something
    assert row["cross-validation"].published["dsc_union"] == 0.870


def tiled(network, inputs):
    """Foreground probabilities with the device and tiles of the recipe."""
    from HNTumorSegLib.inference.device import choose_device
    from HNTumorSegLib.inference.tiling import foreground_probabilities

    device = choose_device("cpu")
    return foreground_probabilities(inputs[0].numpy(), [network], QUICK.patch_zyx, QUICK.overlap, device, classes=3)


def test_a_killed_reproduction_goes_on_and_gives_the_same_table(reproduced, tmp_path):
    job, table = reproduced

    class Killed(Exception):
        pass

    def kill(event):
        if event.stage == "train" and event.fraction > 0.7:  # in the second of two folds
            raise Killed

    again = replace(job, out=tmp_path / "out")
    with pytest.raises(Killed):
        reproduce(again, kill)
    assert not (again.out / "nikulin2023.md").exists()
    assert reproduce(again).rows == table.rows

    stamp = (again.out / "trainings" / "nikulin2023_quick" / "fold_0" / "checkpoint.pt").stat().st_mtime_ns
    assert reproduce(again).rows == table.rows
    assert (again.out / "trainings" / "nikulin2023_quick" / "fold_0" / "checkpoint.pt").stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match=r"another 'seed' \(0, now 1\)"):
        reproduce(replace(again, seed=1))


def test_what_is_trained_on_is_no_test_data(tmp_path):
    with pytest.raises(InputError, match="which networks are trained on"):
        reproduce(Reproduction("nikulin2023", str(data_of(tmp_path)), tmp_path / "out", quick=True, test="phantom:4"))
    data = str(data_of(tmp_path))
    with pytest.raises(InputError, match="'CHUM-000' is in --data and in --test"):
        reproduce(Reproduction("nikulin2023", data, tmp_path / "other", quick=True, test=data))


def test_tumours_are_not_taken_for_organs_and_a_refusal_leaves_no_run(tmp_path):
    data = str(data_of(tmp_path))
    with pytest.raises(InputError, match="would be taken for brain and brainstem"):
        reproduce(Reproduction("nikolov2018", data, tmp_path / "out", quick=True))
    with pytest.raises(InputError, match="do not exist"):
        reproduce(Reproduction("nikulin2023", str(tmp_path / "nowhere"), tmp_path / "out", quick=True))
    assert not (tmp_path / "out").exists()


def data_of(folder):
    return hecktor2022(folder / "data", PATIENTS)


def test_the_crf_of_a_fold_is_fitted_on_the_others_and_may_be_off(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    recipe = replace(
        QUICK,
        name="bourigault2021_quick",
        classes=(BACKGROUND, PRIMARY),
        class_of_label=(0, 1, 0),
        training={**QUICK.training, "steps": 20, "split": "centre"},
    )
    monkeypatch.setitem(recipes.RECIPES, "bourigault2021_quick", lambda: recipe)
    patients = {f"{centre}-{n:03d}": small_patient(n) for n, centre in enumerate(["CHUM", "MDA"] * 3)}
    data = hecktor2022(tmp_path / "data", patients)
    table = reproduce(Reproduction("bourigault2021", str(data), tmp_path / "out", quick=True, device="cpu"))
    names = [row.name for row in table.rows]
    assert names[:3] == ["fold 1 (CHUM)", "fold 2 (MDA)", "mean of the folds"]
    folds, mean = [row.ours for row in table.rows[:2]], table.rows[2].ours
    assert mean["dsc_crf"] == pytest.approx((folds[0]["dsc_crf"] + folds[1]["dsc_crf"]) / 2)
    said = next(note for note in table.notes if note.startswith("CRF: fold 1: "))
    for number, figures in enumerate(folds, 1):
        if f"fold {number}: off" in said:
            assert figures["dsc_crf"] == figures["dsc"]
        else:
            assert f"fold {number}: on (gain +" in said
    assert "not reproduced here: it needs follow-up" in " ".join(table.notes)
    assert "dsc_crf" not in {
        name for row in table.rows if row.name.startswith("mean of the members") for name in row.ours
    }


def test_what_cannot_be_reproduced_is_said(tmp_path):
    with pytest.raises(InputError, match=r"no publication 'smith2020'; there are andrearczyk2020, yang2023"):
        reproduce(Reproduction("smith2020", "phantom:4", tmp_path))
    with pytest.raises(InputError, match="cross-validated; it has no test data"):
        reproduce(Reproduction("andrearczyk2020", "phantom:4", tmp_path, test="phantom:4"))


TABLE = ReproductionTable(
    "paper2020",
    "A publication.",
    (
        Row("CT only", 12, {"dsc": 0.25, "hd95_mm": None}, {"dsc": 0.487}),
        Row("PET only", 12, {"dsc": 0.5, "hd95_mm": 4.0}, {}),
    ),
    (Ordering((("CT only", 0.25), ("PET only", 0.5))), Ordering((("PET only", 0.5), ("fusion", 0.4375)))),
    ("A note.",),
    (("Command", "`make it`"),),
)


def test_the_table_is_written_as_it_is(tmp_path):
    page, sheet = TABLE.write(tmp_path)
    lines = page.read_text(encoding="utf-8").splitlines()
    assert "| row | patients | DSC, here | DSC, paper | HD95 (mm), here | HD95 (mm), paper |" in lines
    assert "| CT only | 12 | 0.250 | 0.487 |  |  |" in lines
    assert "| PET only | 12 | 0.500 |  | 4.000 |  |" in lines
    assert "- Reproduced: CT only < PET only (measured: CT only 0.2500, PET only 0.5000)." in lines
    assert "- NOT reproduced: PET only < fusion (measured: PET only 0.5000, fusion 0.4375)." in lines
    assert "- Command: `make it`" in lines
    with sheet.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["DSC, here"] for row in rows] == ["0.250", "0.500"]
    assert all("NOT reproduced: PET only < fusion" in row["order of the rows"] for row in rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["paper2020.csv", "paper2020.md"]


@pytest.mark.parametrize(
    ("values", "strict", "holds"),
    [
        ((0.1, 0.2, 0.3), True, True),
        ((0.1, 0.3, 0.2), True, False),
        ((0.1, 0.1), True, False),
        ((0.1, 0.1), False, True),
        ((0.2, 0.1), False, False),
        ((0.1, None), False, None),
        ((0.01, 0.02), True, None),
    ],
)
def test_an_order_holds_or_not(values, strict, holds):
    ordering = Ordering(tuple((f"row {n}", value) for n, value in enumerate(values)), strict)
    assert ordering.holds is holds
    verdict = {True: "Reproduced:", False: "NOT reproduced:", None: "Could not be judged:"}[holds]
    assert ordering.sentence().startswith(verdict)
