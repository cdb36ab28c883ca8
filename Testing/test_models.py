"""Model folders: written, listed, found, verified; every way of being broken is refused in words."""

from __future__ import annotations

import hashlib
import io
import json

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from HNTumorSegLib.errors import ModelError, OutputError
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.models.card_markdown import card_markdown
from HNTumorSegLib.models.loading import load_networks, write_model
from HNTumorSegLib.models.registry import list_models, resolve_model
from HNTumorSegLib.networks import build_network
from HNTumorSegLib.printout import print_card
from HNTumorSegLib.recipes.recipe import CT, PET, Channel, Recipe

RECIPE = Recipe(
    name="tiny",
    source="a test",
    channels=(Channel(PET, (0, 10)), Channel(CT, (-150, 250), missing=0.0)),
    spacing_mm=4.0,
    patch_zyx=(16, 16, 16),
    network="attention_unet",
    network_options={"channels": [4, 8], "heads": 2},
)
WORDS = {
    "name": "tiny",
    "version": "0.1",
    "intended_use": "tests",
    "limitations": "all",
    "training_data": "none",
    "licence": "CC0-1.0",
}


def tiny_network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_network(RECIPE.network, 2, 3, **RECIPE.network_options)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "tiny"
    write_model(path, RECIPE, [tiny_network(0), tiny_network(1)], **WORDS)
    return path


def edit_card(folder, change) -> None:
    path = folder / "card.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def replace_weights(folder, state) -> None:
    """Other weights with a card that vouches for them."""
    save_file(state, folder / "weights_0.safetensors")
    digest = hashlib.sha256((folder / "weights_0.safetensors").read_bytes()).hexdigest()
    edit_card(folder, lambda card: card["weights"][0].update(sha256=digest))


def test_networks_answer_as_before_saving(folder):
    x = torch.rand(1, 2, 8, 8, 8)
    for seed, loaded in enumerate(load_networks(folder)):
        original = tiny_network(seed).eval()
        assert not loaded.training
        assert not any(p.requires_grad for p in loaded.parameters())
        with torch.no_grad():
            assert torch.equal(loaded(x), original(x))


def test_how_a_model_was_trained_is_told_step_by_step(tmp_path, folder):
    steps = ("Forty patients, 9 steps.", "Ten others, 3 steps.")
    write_model(tmp_path / "told", RECIPE, [tiny_network(0)], training_steps=steps, **WORDS)
    card = ModelCard.load(tmp_path / "told")
    assert card.training_steps == steps
    page = card_markdown(card)
    assert "## How it was trained\n1. Forty patients, 9 steps.\n2. Ten others, 3 steps.\n\n## Where" in page
    console = Console(file=io.StringIO(), width=200)
    print_card(console, card, tmp_path / "told")
    assert "\nTraining: 1. Forty patients, 9 steps. 2. Ten others, 3 steps.\n" in console.file.getvalue()
    assert "How it was trained" not in card_markdown(ModelCard.load(folder))


def test_card_holds_hashes_and_the_recipe(folder):
    card = ModelCard.load(folder)
    assert card.recipe == RECIPE
    for weight in card.weights:
        assert hashlib.sha256((folder / weight.file).read_bytes()).hexdigest() == weight.sha256
    assert sorted(path.name for path in folder.iterdir()) == [
        "card.json",
        "weights_0.safetensors",
        "weights_1.safetensors",
    ]


def test_smaller_ensemble_leaves_no_former_weights(folder):
    write_model(folder, RECIPE, [tiny_network(2)], **WORDS)
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "weights_0.safetensors"]
    assert len(load_networks(folder)) == 1


def test_changed_weights_are_refused_before_anything_is_built(folder, monkeypatch):
    path = folder / "weights_1.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr("HNTumorSegLib.networks.build_network", lambda *_, **__: pytest.fail("a network was built"))
    with pytest.raises(ModelError, match=r"weights_1\.safetensors' was changed or cut short"):
        load_networks(folder)


def test_truncated_weights(folder):
    path = folder / "weights_0.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="changed or cut short"):
        load_networks(folder)


def test_truncated_weights_with_a_matching_hash(folder):
    path = folder / "weights_0.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit_card(folder, lambda card: card["weights"][0].update(sha256=digest))
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_networks(folder)


def test_missing_weights(folder):
    (folder / "weights_1.safetensors").unlink()
    with pytest.raises(ModelError, match=r"weights_1\.safetensors' is missing"):
        load_networks(folder)


def test_wrong_folder(tmp_path):
    with pytest.raises(ModelError, match=r"not a model folder: it has no card\.json"):
        load_networks(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda card: card.pop("licence"), "licence"),
        (lambda card: card.update(colour="blue"), "colour"),
        (lambda card: card["recipe"].pop("spacing_mm"), "spacing_mm"),
        (lambda card: card["recipe"].update(flavour=1), "flavour"),
        (lambda card: card.update(weights=[]), "names no weight file"),
        (lambda card: card["recipe"].update(channels=[]), "no input channel"),
        (lambda card: card["weights"][0].update(file="../elsewhere.safetensors"), "only .safetensors files"),
        (lambda card: card["weights"][0].update(file="weights_0.pth"), "only .safetensors files"),
        (lambda card: card["recipe"].update(network="perceptron"), "perceptron"),
        (lambda card: card["recipe"]["network_options"].update(wheels=4), "wheels"),
    ],
)
def test_card_of_another_schema(folder, change, words):
    edit_card(folder, change)
    with pytest.raises(ModelError, match=words):
        load_networks(folder)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", "null"])
def test_card_that_is_no_card(folder, text):
    (folder / "card.json").write_text(text)
    with pytest.raises(ModelError, match="cannot be read"):
        load_networks(folder)


def test_other_recipe_names_the_first_difference(folder):
    edit_card(folder, lambda card: card["recipe"]["network_options"].update(channels=[6, 8]))
    with pytest.raises(ModelError, match=r"shape \(4, 2, 3, 3, 3\) in the file and \(6, 2, 3, 3, 3\) in the network"):
        load_networks(folder)


def test_missing_and_unknown_keys_are_named(folder):
    state = tiny_network(0).state_dict()
    bias = state.pop("head.bias")
    replace_weights(folder, state)
    with pytest.raises(ModelError, match=r"'head\.bias' is missing"):
        load_networks(folder)
    replace_weights(folder, {**state, "head.bias": bias, "tail.bias": bias.clone()})
    with pytest.raises(ModelError, match=r"file's 'tail\.bias' is not in the network"):
        load_networks(folder)


def test_weights_that_are_not_finite(folder, tmp_path):
    network = tiny_network(0)
    with torch.no_grad():
        network.head.bias[1] = float("nan")
    replace_weights(folder, network.state_dict())
    with pytest.raises(ModelError, match=r"'head\.bias' that are not finite"):
        load_networks(folder)
    with pytest.raises(ModelError, match="not finite"):
        write_model(tmp_path / "other", RECIPE, [network], **WORDS)
    assert not (tmp_path / "other" / "card.json").exists()


def test_model_cannot_be_written_where_a_file_is(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="taken"):
        write_model(tmp_path / "taken", RECIPE, [tiny_network(0)], **WORDS)


def test_user_models_are_listed_and_found(folder, monkeypatch):
    monkeypatch.setenv("HNTUMORSEG_MODELS", str(folder.parent))
    (entry,) = (e for e in list_models() if e.name == "tiny")
    assert (entry.folder, entry.bundled, entry.version, entry.problem) == (folder, False, "0.1", "")
    assert resolve_model("tiny") == folder
    assert resolve_model(folder) == folder
    assert resolve_model(str(folder)) == folder


def test_one_broken_card_does_not_hide_the_others(folder, monkeypatch):
    monkeypatch.setenv("HNTUMORSEG_MODELS", str(folder.parent))
    (folder.parent / "broken").mkdir()
    (folder.parent / "broken" / "card.json").write_text("{")
    entries = {e.name: e for e in list_models()}
    assert "cannot be read" in entries["broken"].problem
    assert entries["tiny"].problem == ""


def test_unknown_names_are_answered_with_the_known_ones(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("HNTUMORSEG_MODELS", str(folder.parent))
    with pytest.raises(ModelError, match=r"no model 'tinny'.*tiny"):
        resolve_model("tinny")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"not a model folder"):
        resolve_model(tmp_path / "empty")
    with pytest.raises(ModelError, match="empty"):
        resolve_model("")
