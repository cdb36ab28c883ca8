"""What scripts/train_default.py trains on: that the seeds say which patient is which, and that the card says it too."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from inference_cases import RECIPE

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.models.loading import load_networks, write_mean, write_model
from HNTumorSegLib.networks import build_network
from HNTumorSegLib.phantom import make_patient
from HNTumorSegLib.recipes import get_recipe
from HNTumorSegLib.training.phantom_cases import PhantomMix, case_file, case_of_patient, read_case

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
import train_default
import train_default_options

ANATOMY = ("--anatomy", "labels")


def options(tmp_path, *more):
    return train_default_options.parse_options(["--work", str(tmp_path), "--workers", "1", *more], "a test")


def steps(recipe, chosen):
    return " ".join(train_default.training_record(recipe, chosen).steps)


def test_patients_follow_each_other_by_family(tmp_path):
    recipe = get_recipe("subpixel")
    chosen = options(tmp_path, "--patients", "first:1", "nodal:1", "varied:1")
    assert train_default.write_patients(recipe, chosen) == [0, 1, 2]
    nodal = read_case(tmp_path / "cases", 1)
    field = "cropped" if np.random.default_rng([1, 2026]).random(2)[1] < PhantomMix.cropped_share else "head_neck"
    same = case_of_patient(1, make_patient(1, field, economy=True, family="nodal"), recipe)
    np.testing.assert_array_equal(nodal.labels, same.labels)
    np.testing.assert_array_equal(nodal.inputs, same.inputs)
    assert not case_file(tmp_path / "cases", 3).exists()


def test_some_patients_may_be_as_fine_as_those_that_models_are_measured_on(tmp_path):
    recipe = get_recipe("subpixel")
    chosen = options(tmp_path, "--patients", "varied:2@7", "--fine-share", "0.5")
    assert train_default.write_patients(recipe, chosen) == [7, 8]
    draws = [np.random.default_rng([seed, 2026]).random(3) for seed in (7, 8)]
    assert [draw[2] < 0.5 for draw in draws] == [True, False]
    for seed, draw in zip((7, 8), draws, strict=True):
        field = "cropped" if draw[1] < PhantomMix.cropped_share else "head_neck"
        same = case_of_patient(seed, make_patient(seed, field, economy=seed == 8, family="varied"), recipe)
        np.testing.assert_array_equal(read_case(tmp_path / "cases", seed).inputs, same.inputs)
    said = "; 50 % of all but the first family at full detail"
    assert said in steps(recipe, chosen)
    assert "full detail" not in steps(recipe, options(tmp_path))


@pytest.mark.parametrize("wrong", ["1.5", "-0.1", "half", "nan"])
def test_what_is_no_share_is_said(tmp_path, wrong, capsys):
    with pytest.raises(SystemExit):
        options(tmp_path, f"--fine-share={wrong}")
    assert f"'{wrong}' is not a share from 0 to 1" in capsys.readouterr().err


def test_a_family_may_begin_at_a_seed_of_its_own(tmp_path):
    recipe = get_recipe("subpixel")
    chosen = options(tmp_path, "--patients", "first:2", "first:1@40", "first:1")
    assert train_default.write_patients(recipe, chosen) == [0, 1, 40, 41]
    run = train_default.training_run(recipe, chosen, [0, 1, 40, 41], "run", 0, None)
    np.testing.assert_array_equal(
        run.cases(2).labels, case_of_patient(40, make_patient(40, economy=True), recipe).labels
    )
    assert "1 of the family 'first' (seeds from 40)" in steps(recipe, chosen)


@pytest.mark.parametrize(("more", "expected"), [((), 3.0), (("--average-with-start",), 2.0)])
def test_members_may_be_averaged_with_what_they_went_on_from(tmp_path, monkeypatch, more, expected):
    def filled(value):
        network = build_network(RECIPE.network, 2, 3, **RECIPE.network_options)
        with torch.no_grad():
            for tensor in network.parameters():
                tensor.fill_(value)
        return network

    words = dict.fromkeys(("name", "version", "intended_use", "limitations", "training_data", "licence"), "a test")
    write_model(tmp_path / "start", RECIPE, [filled(1.0)], **words)
    monkeypatch.setattr(train_default, "training_run", lambda *_: SimpleNamespace(run=lambda _: filled(3.0)))
    chosen = options(tmp_path, "--members", "2", *more)
    members = train_default.train_members(RECIPE, chosen, tmp_path / "start", [0])
    assert [{float(t) for p in m.parameters() for t in p.detach().unique()} for m in members] == [
        {expected},
        {expected},
    ]
    said = "the mean of its weights and those it went on from"
    assert (said in steps(get_recipe("subpixel"), chosen)) == bool(more)


def folder_of(path, recipe, n_networks):
    words = dict.fromkeys(("intended_use", "limitations", "training_data", "licence"), "a test")
    networks = [
        build_network(recipe.network, len(recipe.channels), len(recipe.classes), **recipe.network_options)
        for _ in range(n_networks)
    ]
    write_model(path, recipe, networks, name="other", version="3.1", **words)
    return path


def test_networks_of_another_model_join_the_members(tmp_path, monkeypatch):
    recipe = get_recipe("subpixel")
    other = folder_of(tmp_path / "other", recipe, 2)
    own = load_networks(folder_of(tmp_path / "own", recipe, 1))
    monkeypatch.setattr(train_default, "write_patients", lambda *_: [0])
    monkeypatch.setattr(train_default, "train_members", lambda *_: list(own))
    figures = {name: {"a test": {"dsc_union": value}} for name, value in (("default", 0.8), ("fast", 0.7))}
    monkeypatch.setattr(train_default, "measure_bundled", lambda *_: figures)
    places = ["--out", str(tmp_path / "a"), "--fast-out", str(tmp_path / "b"), "--start-from", str(other)]
    more = ["--with-networks-of", str(other), "--member-patch", "96", "112", "112"]
    assert train_default.main(["--work", str(tmp_path), *places, *more]) == 0
    members, (fast,) = load_networks(tmp_path / "a"), load_networks(tmp_path / "b")
    key = "fold.0.weight"
    expected = [network.state_dict()[key] for network in own + load_networks(other)]
    assert len(members) == 3
    for member, weights in zip(members, expected, strict=True):
        torch.testing.assert_close(member.state_dict()[key], weights, atol=1e-3, rtol=1e-3)  # stored in half precision
    torch.testing.assert_close(fast.state_dict()[key], sum(expected) / 3, atol=1e-3, rtol=1e-3)
    default, fast = (ModelCard.load(tmp_path / name) for name in "ab")
    assert (default.name, fast.name, fast.mean_of) == ("default", "fast", "a")
    assert (default.performance, fast.performance) == (figures["default"], figures["fast"])
    assert fast.training_data == default.training_data
    assert fast.training_steps == (*default.training_steps, "The mean of these networks' weights.")
    assert "One network instead of the ensemble" in fast.intended_use
    last = default.training_steps[-1]
    assert "patches of 96 x 112 x 112 voxels" in last
    assert last.endswith("Beside them the 2 network(s) of other 3.1.")


@pytest.mark.parametrize("patch", [("96", "112", "100"), ("0", "112", "112")])
def test_a_patch_that_does_not_fit_is_refused_before_training(tmp_path, patch):
    with pytest.raises(ModelError, match=r"--member-patch is .* needs multiples of 16 voxels"):
        train_default.main(["--work", str(tmp_path), "--member-patch", *patch])
    assert not (tmp_path / "cases").exists()


@pytest.mark.parametrize("fast", ["elsewhere/fast", "default"])
def test_the_one_network_must_lie_beside_the_ensemble(tmp_path, fast):
    places = ["--out", str(tmp_path / "default"), "--fast-out", str(tmp_path / fast)]
    with pytest.raises(ModelError, match="give two folders in the same folder"):
        train_default.main(["--work", str(tmp_path), *places])
    assert not (tmp_path / "cases").exists()


@pytest.mark.parametrize("option", ["--start-from", "--with-networks-of"])
@pytest.mark.parametrize("name", ["default", "fast"])
def test_what_is_written_over_is_not_gone_on_from(tmp_path, option, name):
    folder_of(tmp_path / "default", get_recipe("subpixel"), 2)
    write_mean(tmp_path / "fast", tmp_path / "default", name="fast")
    shutil.copytree(tmp_path / "default", tmp_path / "copy" / "default")
    shutil.copytree(tmp_path / "fast", tmp_path / "copy" / "fast")
    places = ["--out", str(tmp_path / "default"), "--fast-out", str(tmp_path / "fast")]
    with pytest.raises(ModelError, match=f"{option} is .* would write over"):
        train_default.main(["--work", str(tmp_path), *places, option, str(tmp_path / name)])
    chosen = options(tmp_path, *places, option, str(tmp_path / "copy" / name))
    train_default.check_members(get_recipe("subpixel"), chosen)
    counted = {"default": "the 2 network(s)", "fast": "the 1 network(s)"}[name]
    said = steps(get_recipe("subpixel"), chosen)
    assert (counted in said) == (option == "--with-networks-of")


@pytest.mark.parametrize("kind", ["another network", "wider"])
def test_networks_of_another_kind_are_refused_before_training(tmp_path, kind):
    recipe = get_recipe("subpixel")
    wider = replace(recipe, network_options={**recipe.network_options, "channels": [32, 64, 88, 128]})
    other = folder_of(tmp_path / "other", wider if kind == "wider" else RECIPE, 1)
    with pytest.raises(ModelError, match=r"are not those of recipe 'subpixel'"):
        train_default.main(["--work", str(tmp_path), "--with-networks-of", str(other)])
    with pytest.raises(ModelError):
        train_default.main(["--work", str(tmp_path), "--with-networks-of", str(tmp_path / "none")])


def test_the_card_names_them_in_their_order(tmp_path):
    recipe = get_recipe("subpixel")
    usual = steps(recipe, options(tmp_path))
    families = [part.partition(":") for part in train_default_options.PATIENTS]
    places = [usual.index(f"{count} of the family '{family}'") for family, _, count in families[:3]]
    assert places == sorted(places)


def test_the_card_goes_on_from_that_of_the_model_it_started_from(tmp_path):
    recipe = get_recipe("subpixel")
    plain, anatomical = (train_default.training_record(recipe, options(tmp_path, *more)) for more in ((), ANATOMY))
    assert "CC BY 4.0" not in plain.data
    assert "CC BY 4.0" in anatomical.data
    before = folder_of(tmp_path / "before", recipe, 1)
    card = replace(ModelCard.load(before), training_data=anatomical.data, training_steps=("One.", "Two."))
    card.save(before)
    again = train_default.training_record(recipe, options(tmp_path, *ANATOMY, "--start-from", str(before)))
    assert again.data == anatomical.data
    assert again.steps[:2] == ("One.", "Two.")
    assert len(again.steps) == 3
    joined = steps(recipe, options(tmp_path, "--with-networks-of", str(before)))
    assert joined.endswith("Beside them the 1 network(s) of other 3.1. The last step of these: Two.")
    other = train_default.training_record(recipe, options(tmp_path, "--start-from", str(before)))
    assert other.data == f"{anatomical.data} Then: {plain.data}"


@pytest.mark.parametrize(
    "wrong", ["held_out:20", "varied", "varied:-1", "varied:0", "varied:many", "varied:3@", "varied:3@x"]
)
def test_families_that_are_not_trained_on(tmp_path, wrong, capsys):
    with pytest.raises(SystemExit) as stopped:
        options(tmp_path, "--patients", wrong)
    assert stopped.value.code == 2
    assert f"'{wrong}' is not FAMILY:COUNT" in capsys.readouterr().err


def test_patients_that_are_kept_for_measuring_are_not_trained_on(tmp_path, capsys):
    with pytest.raises(SystemExit):
        options(tmp_path, "--patients", "varied:3@999998")
    assert "never trained on" in capsys.readouterr().err
    assert options(tmp_path, "--patients", "varied:3@999997").patients == [("varied", 3, 999997)]
