"""Recipes: each is trainable, survives a card, knows its classes, and quotes its publication rightly."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.models.registry import DEFAULT_MODEL, resolve_model
from HNTumorSegLib.recipes import PUBLISHED, RECIPES, Recipe, get_recipe
from HNTumorSegLib.recipes.nikolov2018 import ORGANS, PHANTOM_ORGANS, WITHIN
from HNTumorSegLib.recipes.recipe import CT, NODE, PET, PRIMARY, TRAINING_KEYS, TUMOUR
from HNTumorSegLib.training import plan
from HNTumorSegLib.training.plan import TrainingPlan, plan_of

SHARED = Path(__file__).resolve().parents[2] / "shared"
PAPERS = {
    "andrearczyk2020": "andrearczyk2020_vnet_petct.txt",
    "yang2023": "yang_segrap_gtv.txt",
    "bourigault2021": "bourigault2021_normresse_unet3plus_survival.txt",
    "nikulin2023": "nikulin2023_mtv_attention_unet.txt",
}


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_survives_a_card_and_can_be_planned(name):
    recipe = get_recipe(name)
    assert recipe.name == name
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert plan_of(recipe, 200).steps > 100
    assert all(sentence.endswith(".") for sentence in recipe.deviations)
    assert recipe.deviations


def test_the_entries_of_training_are_explained_in_one_place():
    """Every entry is read somewhere, every recipe's entries are there, and nothing else is a setting of the plan."""
    for name in RECIPES:
        assert set(get_recipe(name).training) <= set(TRAINING_KEYS)
    assert {field.name for field in fields(TrainingPlan)} - set(TRAINING_KEYS) == {"patience_steps"}
    folder = Path(plan.__file__).parent
    readers = "".join((folder / f"{name}.py").read_text(encoding="utf-8") for name in ("plan", "losses", "job"))
    of_the_plan = {field.name for field in fields(TrainingPlan)}
    assert {key for key in TRAINING_KEYS if key not in of_the_plan and f'"{key}"' not in readers} == set()


KNOBS = {
    "warm_up_steps": 7,
    "restart_steps": 9,
    "restart_factor": 2.0,
    "power": 0.5,
    "precision": "bf16",
    "clip_norm": 1.0,
    "validate_every": 3,
    "on_lesion": 0.5,
    "lesions_alike": True,
    "momentum": 0.8,
    "weight_average": 0.5,
}


def test_entries_of_training_reach_the_plan():
    recipe = get_recipe("nikulin2023_quick")
    found = plan_of(replace(recipe, training={**recipe.training, **KNOBS}), 8)
    assert {key: getattr(found, key) for key in KNOBS} == KNOBS


def test_the_bundled_model_still_is_its_recipe():
    """Its card was written before recipes had classes, flips and a CRF; what it lacks are the defaults."""
    card = ModelCard.load(resolve_model(DEFAULT_MODEL))
    assert card.recipe.classes == card.classes
    assert (card.recipe.class_of_label, card.recipe.flip_axes, card.recipe.crf) == ((), "", {})


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_quick_variants_are_the_same_system(name):
    if not name.endswith("_quick"):
        return
    quick, full = get_recipe(name), get_recipe(name.removesuffix("_quick"))
    for field in ("network", "source"):
        assert getattr(quick, field) == getattr(full, field)
    if quick.classes == full.classes:  # the quick organ recipe knows fewer organs
        assert quick.class_of_label == full.class_of_label
    assert quick.training["loss"] == full.training["loss"]
    assert quick.training.get("loss_options") == full.training.get("loss_options")
    assert quick.training.get("split") == full.training.get("split")
    assert bool(quick.flip_axes) == bool(full.flip_axes)


def test_classes_of_label_values():
    union, primary, plain = (get_recipe(n) for n in ("andrearczyk2020_2d_pet", "bourigault2021", "nikulin2023"))
    assert [union.network_class(v) for v in (0, 1, 2)] == [0, 1, 1]
    assert union.classes[1] == TUMOUR
    assert [primary.network_class(v) for v in (0, 1, 2)] == [0, 1, 0]
    assert primary.classes[1:] == (PRIMARY,)
    assert [plain.network_class(v) for v in (0, 1, 2)] == [0, 1, 2]
    assert plain.classes[1:] == (PRIMARY, NODE)
    with pytest.raises(ModelError, match=r"hold the value 3; recipe 'nikulin2023' knows 0 to 2"):
        plain.network_class(3)


def test_inputs_of_andrearczyks_rows():
    channels = {
        key: [c.image for c in get_recipe(f"andrearczyk2020_3d_{key}").channels] for key in ("ct", "pet", "late")
    }
    assert channels == {"ct": [CT], "pet": [PET], "late": [PET, CT]}
    assert get_recipe("andrearczyk2020_2d_late").network_options == {"dimensions": 2, "fusion": "late"}


def test_organs_are_those_of_the_published_labels():
    assert len(ORGANS) == len(set(ORGANS)) == 21
    assert set(PHANTOM_ORGANS) | set(WITHIN) | set(WITHIN.values()) <= set(ORGANS)
    folder = SHARED / "data" / "oar_labels" / "test" / "oncologist" / "0522c0251" / "segmentations"
    if not folder.is_dir():
        pytest.skip(f"the organ labels are not at {folder}")
    assert {path.stem for path in folder.glob("*.nrrd")} == set(ORGANS)
    # Left and right are classes of their own: mirrored patches would teach the wrong side.
    for name in ("nikolov2018", "nikolov2018_quick"):
        assert plan_of(get_recipe(name), 10).augmentation.flip == 0
        assert get_recipe(name).flip_axes == ""


@pytest.mark.parametrize("publication", sorted(PUBLISHED))
def test_published_figures_are_in_the_publication(publication):
    path = SHARED / "papers" / PAPERS[publication]
    if not path.is_file():
        pytest.skip(f"the publication is not at {path}")
    text = path.read_text(encoding="utf-8", errors="replace")
    for row, figures in PUBLISHED[publication].items():
        for name, value in figures.items():
            written = {f"{value:.3f}", f"{value:.2f}", f"{100 * value:.1f}%", f"{100 * value:.2f}"}
            assert any(form in text for form in written), (row, name, value)


def test_impossible_recipes_are_refused():
    recipe = get_recipe("nikulin2023")
    for change, words in (
        ({"flip_axes": "q"}, "flip_axes"),
        ({"flip_axes": "xx"}, "flip_axes"),
        ({"classes": ("background",)}, "at least one class"),
        ({"class_of_label": (0, 3)}, "class_of_label"),
    ):
        with pytest.raises(ModelError, match=words):
            replace(recipe, **change)
    with pytest.raises(ModelError, match="unknown entry"):
        Recipe.from_dict({**recipe.to_dict(), "weather": "fine"})
