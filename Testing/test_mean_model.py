"""A model that is the mean of the networks of the model beside it: loaded, kept apart, moved, refused in words."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from inference_cases import RECIPE

from HNTumorSegLib.cli import main
from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.models.card_markdown import card_markdown
from HNTumorSegLib.models.importing import export_model, import_model
from HNTumorSegLib.models.loading import load_networks, write_mean, write_model
from HNTumorSegLib.models.registry import list_models
from HNTumorSegLib.networks import build_network

WORDS = dict.fromkeys(("intended_use", "limitations", "training_data", "licence"), "a test")
VALUES = (0.5, 1.0, 4.5)
MEAN = 2.0


def filled(value):
    network = build_network(RECIPE.network, 2, 3, **RECIPE.network_options)
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.fill_(value)
    return network.half()


def values_in(networks):
    return [{float(v) for tensor in network.parameters() for v in tensor.unique()} for network in networks]


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The user's folder of models, with ``three`` and the mean of it."""
    home = tmp_path / "home"
    monkeypatch.setenv("HNTUMORSEG_MODELS", str(home))
    write_model(home / "three", RECIPE, [filled(value) for value in VALUES], name="three", version="2", **WORDS)
    write_mean(home / "one", home / "three", name="one", changelog=("2: a mean.",))
    return home


def test_it_is_one_network_with_the_mean_weights(models):
    assert values_in(load_networks(models / "three")) == [{value} for value in VALUES]
    assert values_in(load_networks(models / "one")) == [{MEAN}]
    assert [path.name for path in (models / "one").iterdir()] == ["card.json"]


def test_its_card_is_its_own(models):
    card = ModelCard.load(models / "one")
    assert (card.name, card.version, card.mean_of, card.changelog) == ("one", "2", "three", ("2: a mean.",))
    assert card.recipe == RECIPE
    assert "the mean of the weights of `three`" in card_markdown(card)
    assert [entry.name for entry in list_models() if not entry.bundled] == ["one", "three"]


def test_its_results_are_not_taken_for_those_of_the_ensemble(models):
    one, three = (ModelCard.load(models / name) for name in ("one", "three"))
    assert one.weights == three.weights
    assert one.weights_key() != three.weights_key()
    assert three.weights_key() == [weight.sha256 for weight in three.weights]


def test_it_is_found_through_a_relative_path_and_a_link(models, monkeypatch, tmp_path):
    monkeypatch.chdir(models / "one")
    assert values_in(load_networks(".")) == [{MEAN}]
    (tmp_path / "link").symlink_to(models / "one", target_is_directory=True)
    assert values_in(load_networks(tmp_path / "link")) == [{MEAN}]


def test_it_travels_without_the_other(models, tmp_path, capsys):
    zip_file = tmp_path / "one.zip"
    assert main(["models", "export", "one", "--out", str(zip_file)]) == 0
    for source, name in ((zip_file, "from_zip"), (models / "one", "from_folder")):
        assert main(["models", "import", str(source), "--name", name]) == 0
    shutil.rmtree(models / "three")
    for name in ("from_zip", "from_folder"):
        assert values_in(load_networks(models / name)) == [{MEAN}]
        card = ModelCard.load(models / name)
        assert (card.mean_of, card.changelog) == ("", ("2: a mean.",))
    capsys.readouterr()
    assert main(["models", "show", "from_zip"]) == 0
    assert "the mean of those of" not in capsys.readouterr().out


def test_the_command_says_what_it_is(models, capsys):
    assert main(["models", "show", "one"]) == 0
    assert "the mean of those of three: weights_0.safetensors" in capsys.readouterr().out


def test_without_the_other_it_is_refused(models, tmp_path):
    shutil.copytree(models / "one", tmp_path / "elsewhere" / "one")
    for act in (load_networks, import_model, lambda folder: export_model(folder, tmp_path / "x.zip")):
        with pytest.raises(ModelError, match=r"mean of the networks of 'three', a model that must lie beside it"):
            act(tmp_path / "elsewhere" / "one")
    assert not (tmp_path / "x.zip").exists()


def test_it_is_refused_when_the_other_changes(models):
    write_model(models / "three", RECIPE, [filled(1.0)] * 3, name="three", version="3", **WORDS)
    with pytest.raises(ModelError, match=r"three.weights_0\.safetensors' was changed or cut short"):
        load_networks(models / "one")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        *((place, "only a folder beside it is read") for place in ("../home/three", "/three", "..", ".")),
        (3, "'mean_of' is 3, not a folder's name"),
    ],
)
def test_only_a_folder_beside_it_is_read(models, place, words):
    path = models / "one" / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "mean_of": place}))
    with pytest.raises(ModelError, match=words):
        load_networks(models / "one")


def test_what_cannot_be_its_networks(models, tmp_path):
    for folder, of in (
        (tmp_path / "one", models / "three"),
        (models / "three", models / "three"),
        (models / "other", models / "one"),
    ):
        with pytest.raises(ModelError, match="cannot be the mean of the networks of"):
            write_mean(folder, of)
    assert not (models / "other").exists()
    broken = replace(ModelCard.load(models / "three"), weights=())
    broken.save(models / "three")
    with pytest.raises(ModelError, match="names no weight file"):
        write_mean(models / "other", models / "three")


def test_weights_it_had_before_are_removed(models):
    write_model(models / "other", RECIPE, [filled(1.0)], name="other", version="1", **WORDS)
    write_mean(models / "other", models / "three", name="other")
    assert [path.name for path in (models / "other").iterdir()] == ["card.json"]
