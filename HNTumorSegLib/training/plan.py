"""A recipe's ``training`` entries, read once, checked, with the defaults in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.recipes.recipe import TRAINING_KEYS, Recipe
from HNTumorSegLib.training.augmentation import Augmentation, named_transforms

OPTIMISERS = ("adamw", "adam", "adadelta", "sgd")
SCHEDULES = ("constant", "cosine", "cosine_restarts", "poly")
PRECISIONS = ("auto", "bf16", "fp16", "fp32")


@dataclass(frozen=True)
class TrainingPlan:
    """How a recipe is trained.

    Attributes:
        learning_rate: the highest one, reached after ``warm_up_steps``.
        optimiser: one of :data:`OPTIMISERS`; ``momentum`` is that of SGD (Nesterov), ``betas`` those of Adam.
        batch: patches a step, over all processes together.
        patch_zyx: voxels of a training patch.
        steps: length of the schedule; in a recipe also ``epochs`` (times ``steps_per_epoch``).
        steps_per_epoch: in a recipe, or so many that an epoch draws as many patches as there are cases.
        weight_average: decay a step of the running average of the weights, which is what is validated and kept (Polyak
            averaging: small noisy batches need it); 0: the weights themselves.
        schedule: one of :data:`SCHEDULES`; ``restart_steps`` (in a recipe ``restart_epochs``) and
            ``restart_factor`` are the first cycle of ``cosine_restarts`` and how much longer each next one is (SGDR,
            Loshchilov and Hutter 2017), ``power`` is the exponent of ``poly``.
        precision: ``auto`` is bf16 where the device computes in it, else fp16 on a GPU and fp32 on a processor.
        clip_norm: gradients are scaled down to this norm; 0 leaves them.
        validate_every: steps between validations; 0: once an epoch, or more seldom in a run of many short epochs.
        patience_steps: training ends when no validation was better for so long; 0: never.
        on_lesion: share of patches that lie around a lesion.
        lesions_alike: each lesion of a class is shown as often as the others, instead of each voxel.
        augmentation: see :class:`HNTumorSegLib.training.augmentation.Augmentation`.
    """

    learning_rate: float
    batch: int
    patch_zyx: tuple[int, int, int]
    steps: int
    steps_per_epoch: int
    optimiser: str = "adamw"
    weight_decay: float = 0.0
    weight_average: float = 0.0
    momentum: float = 0.99
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: str = "cosine"
    warm_up_steps: int = 50
    restart_steps: int = 0
    restart_factor: float = 1.0
    power: float = 0.9
    precision: str = "auto"
    clip_norm: float = 5.0
    validate_every: int = 0
    patience_steps: int = 0
    on_lesion: float = 0.75
    lesions_alike: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)


_OWN = {f.name for f in fields(TrainingPlan)} & set(TRAINING_KEYS) - {"augmentation"}
"""Entries that are fields of the plan as they are."""


def plan_of(recipe: Recipe, n_cases: int) -> TrainingPlan:
    """The training plan of a recipe for so many cases; raises :class:`ModelError` naming the entry that is wrong."""
    entries = dict(recipe.training)
    unknown = sorted(set(entries) - set(TRAINING_KEYS))
    if unknown:
        raise ModelError(
            f"The training plan of recipe '{recipe.name}' has the entry '{unknown[0]}', which nothing reads. "
            f"There are: {', '.join(sorted(TRAINING_KEYS))}."
        )
    for key in ("loss", "learning_rate"):
        if key not in entries:
            raise ModelError(f"The training plan of recipe '{recipe.name}' lacks '{key}'.")
    batch = _whole(recipe, entries.get("batch", 2), "batch")
    per_epoch = _whole(recipe, entries.get("steps_per_epoch", math.ceil(n_cases / batch)), "steps_per_epoch")
    if "steps" not in entries and "epochs" not in entries:
        raise ModelError(f"The training plan of recipe '{recipe.name}' says neither 'steps' nor 'epochs'.")
    steps = entries.get("steps", entries.get("epochs", 0) * per_epoch)
    chosen = {key: value for key, value in entries.items() if key in _OWN}
    if entries.get("optimiser") == "adadelta":  # it sets its own step lengths; the papers that use it name no schedule
        chosen = {"schedule": "constant", "warm_up_steps": 0, **chosen}
    if "restart_epochs" in entries:
        chosen["restart_steps"] = max(1, round(entries["restart_epochs"] * per_epoch))
    chosen |= {
        "batch": batch,
        "steps": _whole(recipe, steps, "steps"),
        "steps_per_epoch": per_epoch,
        "patch_zyx": tuple(int(n) for n in entries.get("patch_zyx", recipe.patch_zyx)),
        "betas": tuple(entries.get("betas", TrainingPlan.betas)),
        "patience_steps": int(entries.get("early_stopping_epochs", 0)) * per_epoch,
        "augmentation": _augmentation(recipe),
    }
    plan = TrainingPlan(**chosen)
    for what, known in (("optimiser", OPTIMISERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
        if getattr(plan, what) not in known:
            raise ModelError(
                f"Recipe '{recipe.name}' asks for the {what} '{getattr(plan, what)}'; there are {', '.join(known)}."
            )
    return plan


def network_classes(recipe: Recipe, labels: np.ndarray) -> np.ndarray:
    """Label values of a case, any shape, as the recipe's class numbers (same type)."""
    if not recipe.class_of_label:
        return labels
    highest = int(labels.max(initial=0))
    return np.array([recipe.network_class(label) for label in range(highest + 1)], labels.dtype)[labels]


def _augmentation(recipe: Recipe) -> Augmentation:
    """The recipe's transforms: the usual ones, those it names, or numbers for each."""
    entries = recipe.training.get("augmentation", {})
    dropouts = {key: recipe.training[key] for key in ("ct_dropout", "pet_dropout") if key in recipe.training}
    if not isinstance(entries, dict):
        entries = named_transforms(entries, recipe.name)
    return Augmentation.from_dict({**entries, **dropouts}, recipe.name)


def _whole(recipe: Recipe, value: Any, name: str) -> int:
    if isinstance(value, bool) or int(value) != value or value < 1:
        raise ModelError(f"'{name}' in the training plan of recipe '{recipe.name}' is {value}; give 1 or more.")
    return int(value)
