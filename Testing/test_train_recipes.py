"""`hntumorseg train` for every recipe of the registry: its splits, and the quick ones from files to a model folder."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from training_folders import SmallPatient, paths_csv, small_patient, write

from HNTumorSegLib.cli import main
from HNTumorSegLib.errors import InputError
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.models.loading import load_networks
from HNTumorSegLib.recipes import RECIPES, get_recipe
from HNTumorSegLib.recipes.nikolov2018 import ORGANS
from HNTumorSegLib.recipes.recipe import CT, CT_CONTRAST
from HNTumorSegLib.training.job import TrainingJob, plan_splits
from HNTumorSegLib.training.layouts import find_cases
from HNTumorSegLib.training.sources import PhantomSource
from HNTumorSegLib.training.splits import CENTRE, KFOLD, SINGLE, CaseFacts, Splits

QUICK = sorted(name for name in RECIPES if name.endswith("_quick"))
PATIENTS = {f"{centre}-{n:03d}": small_patient(n) for n, centre in enumerate(["CHUM", "MDA"] * 3)}
PUBLISHED_FOLDS = {"nikulin2023": 5, "bourigault2021": "centre", "andrearczyk2020": "centre", "nikolov2018": 1}
"""Five-fold cross-validation (Nikulin), a centre left out (the HECKTOR papers), one fixed split (Nikolov)."""


def cohort(classes: int) -> list[CaseFacts]:
    """23 patients of 4 centres; all have all classes, the last was scanned twice."""
    cases = [CaseFacts(f"case{n}", f"patient{n}", "ABCD"[n % 4], tuple(range(1, classes))) for n in range(23)]
    return [*cases, replace(cases[-1], name="again")]


def job(name: str, **options) -> TrainingJob:
    return TrainingJob(get_recipe(name), "nowhere", Path("nowhere"), **options)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_has_splits_of_its_own(name):
    recipe = get_recipe(name)
    facts = cohort(len(recipe.class_of_label or recipe.classes))
    splits = plan_splits(job(name), facts)
    patient = {fact.name: fact.patient for fact in facts}
    for fold in splits.folds:
        trained, measured = ({patient[name] for name in part} for part in (fold.training, fold.validation))
        assert trained
        assert measured
        assert not trained & measured
        assert set(fold.training) | set(fold.validation) == set(patient)
    if len(splits.folds) > 1:
        assert sorted(name for fold in splits.folds for name in fold.validation) == sorted(patient)
    expected = PUBLISHED_FOLDS.get(name)
    if expected is not None:
        assert len(splits.folds) == (4 if expected == "centre" else expected)
        assert splits.kind == {1: SINGLE, "centre": CENTRE}.get(expected, KFOLD)


def test_a_single_split_holds_a_fifth_of_the_patients_back():
    facts = cohort(22)
    (fold,) = plan_splits(job("nikolov2018", seed=4), facts).folds
    assert len({name for name in fold.validation if name != "again"}) == 5  # of 23, rounded up
    assert ("again" in fold.validation) == ("case22" in fold.validation)
    assert plan_splits(job("nikolov2018", seed=4), facts).folds[0] == fold
    assert plan_splits(job("nikolov2018", seed=5), facts).folds[0] != fold
    # The seed's split into five folds begins with it, so that a run of more networks measures this one on the same.
    assert plan_splits(job("nikolov2018", seed=4, splits=KFOLD), facts).folds[0] == fold
    assert plan_splits(job("nikulin2023", seed=4, k=1), cohort(3)).kind == SINGLE
    two = [CaseFacts("a", "a", "", tuple(range(1, 22))), CaseFacts("b", "b", "", tuple(range(1, 22)))]
    (fold,) = plan_splits(job("nikolov2018"), two).folds
    assert {*fold.training, *fold.validation} == {"a", "b"}


@pytest.mark.parametrize("seed", range(6))
def test_a_single_split_has_rare_classes_on_both_sides(seed):
    """Two of twenty patients have a node: whatever the seed, one of them trains and one validates if that can be."""
    facts = [CaseFacts(f"c{n:02d}", f"c{n:02d}", "", (1, 2) if n in (3, 11) else (1,)) for n in range(20)]
    (fold,) = plan_splits(job("nikulin2023", splits=SINGLE, seed=seed), facts).folds
    assert len({"c03", "c11"} & set(fold.validation)) == 1


def test_splits_that_cannot_be_are_refused():
    alone = [CaseFacts("a", "a", "", (1, 2)), CaseFacts("again", "a", "", (1, 2))]
    with pytest.raises(InputError, match="Give at least 2 patients"):
        plan_splits(job("nikulin2023", splits=SINGLE), alone)
    with pytest.raises(InputError, match="--splits single"):
        plan_splits(job("nikulin2023", splits=KFOLD, k=1), cohort(3))
    without = [replace(fact, classes=(1,)) for fact in cohort(3)]
    with pytest.raises(InputError, match=r"no lymph-node metastasis .*Use another seed, or more cases"):
        plan_splits(job("nikulin2023", splits=SINGLE), without)


# --- from files to a model folder ---


@pytest.fixture(scope="module")
def tumours(tmp_path_factory) -> Path:
    """PET, two CTs and tumours of six patients of two centres."""
    folder = tmp_path_factory.mktemp("tumours")
    for name, patient in PATIENTS.items():
        write(sitk.Cast(patient.ct + 30.0, sitk.sitkFloat32), folder / name / "contrast.nii.gz")
    return paths_csv(folder, PATIENTS, ct_contrast=[f"{name}/contrast.nii.gz" for name in PATIENTS])


@pytest.fixture(scope="module")
def organs(tmp_path_factory) -> Path:
    """CT and a block for each of the 21 organs, four patients."""
    folder = tmp_path_factory.mktemp("organs")
    rows = []
    for number in range(4):
        patient = with_organs(small_patient(number))
        write(patient.ct, folder / f"p{number}" / "ct.nii.gz")
        write(patient.labels, folder / f"p{number}" / "labels.nii.gz")
        rows.append({"case": f"p{number}", "ct": f"p{number}/ct.nii.gz", "labels": f"p{number}/labels.nii.gz"})
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "cases.csv"


def with_organs(patient: SmallPatient) -> SmallPatient:
    labels = np.zeros(sitk.GetArrayFromImage(patient.labels).shape, np.uint8)
    for number in range(1, len(ORGANS) + 1):
        z, y, x = 6 * ((number - 1) // 7) + 2, 5 + 3 * ((number - 1) % 7), 4 + number % 5 * 3
        labels[z : z + 3, y : y + 3, x : x + 3] = number
    image = sitk.GetImageFromArray(labels)
    image.CopyInformation(patient.labels)
    return replace(patient, labels=image)


def train(name: str, data: Path | str, out: Path, *more: str) -> int:
    torch.set_num_threads(1)
    plan = ["--steps", "1", "--batch", "1", "--device", "cpu", "--quiet"]
    return main(["train", "--recipe", name, "--data", str(data), "--out", str(out), *plan, *more])


@pytest.mark.parametrize("name", QUICK)
def test_quick_recipes_train_to_a_model_that_can_be_loaded(name, tumours, organs, tmp_path):
    recipe = get_recipe(name)
    data = organs if "nikolov" in name else tumours
    folds = {"centre": "CHUM"}.get(recipe.training.get("split", ""), "0")
    assert train(name, data, tmp_path / "out", "--folds", folds) == 0
    card = ModelCard.load(tmp_path / "out" / "model")
    assert card.recipe.channels == recipe.channels
    assert len(load_networks(tmp_path / "out" / "model")) == 1
    splits = Splits.load(tmp_path / "out" / "splits.json")
    assert len(splits.folds) == (2 if recipe.training.get("split") == "centre" else recipe.training["folds"])
    if "nikolov" in name:
        (fold,) = splits.folds
        assert splits.kind == SINGLE
        assert (len(fold.training), len(fold.validation)) == (3, 1)
        assert "one split (3 cases trained on, 1 for validation)" in card.training_data
        (figures,) = card.performance.values()
        assert figures["patients"] == 1
        assert "ensemble" not in card.limitations


def test_a_single_split_is_resumed_and_another_kind_is_not(organs, tmp_path, capsys):
    assert train("nikolov2018_quick", organs, tmp_path / "out") == 0
    written = (tmp_path / "out" / "splits.json").read_bytes()
    assert json.loads(written)["kind"] == "single"
    assert train("nikolov2018_quick", organs, tmp_path / "out", "--resume") == 0
    assert (tmp_path / "out" / "splits.json").read_bytes() == written
    assert train("nikolov2018_quick", organs, tmp_path / "out", "--resume", "--splits", "kfold") == 2
    assert "holds a split by 'single'" in capsys.readouterr().err


def test_tumour_labels_are_not_trained_as_organs(tumours, tmp_path, capsys):
    assert train("nikolov2018_quick", tumours, tmp_path / "out") == 2
    assert "'CHUM-000' has a PET: its labels 1 and 2 (tumours) would be taken for brain" in capsys.readouterr().err


# --- two CTs ---


def test_one_ct_is_not_taken_for_two(tmp_path, capsys):
    """The published system reads two images: without the second it says so, and names the recipe for one."""
    data = paths_csv(tmp_path / "data", PATIENTS)
    assert train("yang2023_quick", data, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "Case 'CHUM-000': The model (recipe 'yang2023_quick') needs a contrast-enhanced CT" in said
    assert "column 'ct_contrast'" in said
    assert "'yang2023_one_ct'" in said
    assert train("yang2023_one_ct_quick", data, tmp_path / "one", "--folds", "0") == 0
    for name in ("yang2023", "yang2023_quick"):
        assert [channel.image for channel in get_recipe(name).channels] == [CT, CT_CONTRAST]
        one = get_recipe(name.replace("2023", "2023_one_ct"))
        assert [channel.image for channel in one.channels] == [CT, CT]
        assert "two windows of one CT" in one.deviations[0]
        assert one.training == get_recipe(name).training


def test_phantoms_have_what_a_recipe_reads():
    """The second CT is brighter in the tumours; organs come with a CT alone and the publication's numbers."""
    source = PhantomSource(3)
    case, centre = source.case(get_recipe("yang2023_quick"))
    inside = case.labels > 0
    rise_hu = 400 * (case.inputs[1].astype(float) - case.inputs[0])[inside].mean()
    assert 5 < rise_hu < 60  # tens of HU, see phantom/contrast.py
    assert centre
    recipe = get_recipe("nikolov2018_quick")
    assert source.key(recipe) != source.key(get_recipe("yang2023_quick")) == source.key()
    case, _ = source.case(recipe)
    present = {ORGANS[number - 1] for number in np.unique(case.labels) if number}
    assert {"Brain", "Mandible", "Parotid-Lt", "Parotid-Rt"} <= present
    assert find_cases("phantom:4")[3] == source
