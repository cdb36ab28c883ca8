"""A recipe: everything that turns images into a trained network and a network into probabilities."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from HNTumorSegLib.errors import ModelError

PET = "pet"
CT = "ct"
CT_CONTRAST = "ct_contrast"
"""A second, contrast-enhanced CT; data sets may have it, a PET/CT study does not."""

BACKGROUND, PRIMARY, NODE = "background", "primary tumour", "lymph-node metastasis"
TUMOUR = "primary tumour or lymph-node metastasis"
"""The foreground class of networks that do not tell primaries from nodes."""

TUMOUR_CLASSES = (BACKGROUND, PRIMARY, NODE)

TRAINING_KEYS = {
    "loss": "a name in training.losses.LOSSES",
    "loss_options": "its keyword arguments",
    "lesion_share": "of dice_ce: share of the cross-entropy averaged over the lesions' own voxels",
    "deep_supervision": "weights of the network's outputs, finest first; absent for networks with one output",
    "optimiser": "adam, adamw, adadelta or sgd",
    "learning_rate": "at its peak",
    "weight_decay": "of the optimiser; 0 where absent",
    "weight_average": "the network that counts is the running average of the weights, with this decay; 0: the last",
    "momentum": "of sgd",
    "betas": "of adam and adamw",
    "schedule": "constant, cosine (after a warm-up), cosine_restarts or poly; cosine where absent",
    "restart_epochs": "of cosine_restarts: epochs between two restarts",
    "restart_steps": "the same in steps",
    "restart_factor": "of cosine_restarts: how many times longer each next cycle is",
    "power": "of poly: its exponent",
    "warm_up_steps": "steps over which the learning rate rises to its peak",
    "batch": "patches in a step",
    "patch_zyx": "training patch in voxels, where it is not the recipe's",
    "on_lesion": "share of patches that lie around a lesion",
    "lesions_alike": "whether each lesion of a class is shown as often as the others, instead of each voxel",
    "epochs": "passes over the training cases, for runs that have no number of steps",
    "steps_per_epoch": "where an epoch is not as many patches as there are cases",
    "steps": "steps of the whole run",
    "validate_every": "steps between validations; once an epoch where absent",
    "early_stopping_epochs": "end after so many epochs without a better validation",
    "clip_norm": "gradients are scaled down to this norm; 0 leaves them",
    "precision": "auto, bf16, fp16 or fp32",
    "folds": "networks of the cross-validation, all of which the ensemble averages; 1: one split, one network",
    "split": "random (k folds, or one split) or centre (leave one centre out); random where absent",
    "augmentation": "what may happen to a patch, by name and strength; the usual where absent",
    "ct_dropout": "share of training patches that lose their CT",
    "pet_dropout": "share of training patches that lose their PET",
}
"""All entries that ``Recipe.training`` may have and what they mean; a recipe names those it needs. Defaults are in
``training/plan.py``."""


@dataclass(frozen=True)
class Channel:
    """One input channel: which image, and the window that maps linearly to 0..1 (values beyond are clipped).

    ``missing`` is the normalised value that fills the channel when the image is not there (None: it must be there).
    """

    image: str
    window: tuple[float, float]
    missing: float | None = None


_SAID_ONLY = ("name", "source", "training", "deviations")
"""Entries of a recipe that change no answer of a trained network."""


@dataclass(frozen=True)
class Recipe:
    """Preprocessing, network, training and inference of one published system or of a variant of it.

    Attributes:
        name: recipe name, as in ``hntumorseg train --recipe``.
        source: the publication.
        channels: network inputs in order.
        spacing_mm: isotropic voxel size the network works at; images are oriented along L, P, S.
        patch_zyx: patch in voxels. With batch norm another patch gives nearly the same answer; with instance norm the
            patch belongs to the weights.
        network, network_options: name in :data:`HNTumorSegLib.networks.NETWORKS` and its keyword arguments.
        overlap: share of a patch that neighbouring tiles have in common along (z, y, x).
        minimum_lesion_ml: smaller structures are dropped.
        minimum_certainty: structures with a lower mean probability of tumour are left out, and named to the user; to
            be fitted on patients the model was not trained on, see ``inference/unsure.py``; 0: all are kept.
        further_primary_share: a structure called primary that lies apart from the main one stays primary where the
            share of primary in its probability of tumour is at least this, else it is called a node and the user is
            told, see ``inference/further_primaries.py``; 0: all stay.
        touching_kind_share: a part of a structure that was called another kind than what it touches keeps its kind
            where that kind's share in its probability of tumour is at least this, or more for small parts, see
            ``inference/touching_kinds.py``; 0: all stay.
        outline_pet_weight: weight of the PET's own outline beside the network's, below 0.5, see
            ``inference/outline.py``; 0: the network alone.
        training: loss, optimiser and schedule, in words and numbers (read by ``training/plan.py``).
        deviations: where this differs from the publication, one sentence each.
        classes: what the network's output maps mean, background first.
        class_of_label: class index of each label value of a case (0 background, 1 primary, 2 node, ...), for networks
            that merge or leave out labels; empty: the label is the class.
        flip_axes: test-time flips: the answers for all mirrorings along these axes (letters of ``zyx``) are averaged.
        crf: weights of the dense CRF as fields of :class:`HNTumorSegLib.inference.crf.CrfWeights`, fitted on validation
            data; empty: no CRF.
        one_pass: the model is run over all that is worth looking at in one pass, or in as few tiles as memory allows,
            instead of in patches. For networks with fixed statistics (batch norm), and to be set where it was measured:
            it is not the same function, see ``inference/tile_plan.py``.
    """

    name: str
    source: str
    channels: tuple[Channel, ...]
    spacing_mm: float
    patch_zyx: tuple[int, int, int]
    network: str
    network_options: dict[str, Any] = field(default_factory=dict)
    overlap: tuple[float, float, float] = (0.5, 0.5, 0.5)
    minimum_lesion_ml: float = 0.1
    training: dict[str, Any] = field(default_factory=dict)
    deviations: tuple[str, ...] = ()
    classes: tuple[str, ...] = TUMOUR_CLASSES
    class_of_label: tuple[int, ...] = ()
    flip_axes: str = ""
    crf: dict[str, float] = field(default_factory=dict)
    one_pass: bool = False
    minimum_certainty: float = 0.0
    further_primary_share: float = 0.0
    touching_kind_share: float = 0.0
    outline_pet_weight: float = 0.0

    def __post_init__(self) -> None:
        if set(self.flip_axes) - set("zyx") or len(set(self.flip_axes)) != len(self.flip_axes):
            raise ModelError(
                f"Recipe '{self.name}': flip_axes holds letters of 'zyx', once each, not '{self.flip_axes}'."
            )
        if not 0 <= self.minimum_certainty < 1:
            raise ModelError(
                f"Recipe '{self.name}': minimum_certainty is a mean probability from 0 to below 1, not "
                f"{self.minimum_certainty}."
            )
        for share in ("further_primary_share", "touching_kind_share"):
            value = getattr(self, share)
            if not 0 <= value <= 1:
                raise ModelError(f"Recipe '{self.name}': {share} is a share from 0 to 1, not {value}.")
        if not 0 <= self.outline_pet_weight < 0.5:
            raise ModelError(
                f"Recipe '{self.name}': outline_pet_weight is a weight from 0 to below 0.5, not "
                f"{self.outline_pet_weight}."
            )
        if len(self.classes) < 2:
            raise ModelError(f"Recipe '{self.name}' needs the background and at least one class, not {self.classes}.")
        if any(not 0 <= c < len(self.classes) for c in self.class_of_label):
            raise ModelError(f"Recipe '{self.name}': class_of_label {self.class_of_label} names a class it has not.")

    def network_class(self, label: int) -> int:
        """The class index of a label value of a case; raises :class:`ModelError` for a label the recipe has not."""
        classes = self.class_of_label or range(len(self.classes))
        if not 0 <= label < len(classes):
            raise ModelError(
                f"The labels hold the value {label}; recipe '{self.name}' knows 0 to {len(classes) - 1} "
                f"(its classes: {', '.join(self.classes)})."
            )
        return classes[label]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types, for a model card."""
        return asdict(self)

    def answer_dict(self) -> dict[str, Any]:
        """The part of :meth:`to_dict` on which the answer of given weights depends."""
        return {key: value for key, value in self.to_dict().items() if key not in _SAID_ONLY}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Recipe:
        """Back from :meth:`to_dict`; raises :class:`ModelError` naming what is missing or unknown."""
        try:
            fields = dict(data)
            fields["channels"] = tuple(
                Channel(c["image"], tuple(c["window"]), c.get("missing")) for c in fields["channels"]
            )
            for key in ("patch_zyx", "overlap", "deviations", "classes", "class_of_label"):
                if key in fields:
                    fields[key] = tuple(fields[key])
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise ModelError(f"The model card's recipe is incomplete or has an unknown entry: {error}.") from error
