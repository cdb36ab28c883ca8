"""The model card: what a model is, may be used for, and was measured to do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.recipes.recipe import Recipe

CARD_FILE = "card.json"
OWN_ENGINE, NNUNET_ENGINE, MONAI_ENGINE = "own", "nnunet", "monai"
LOW, HIGH = "_95_low", "_95_high"
"""After a figure's name: the ends of its 95 % interval over patients."""

ENGINES = (OWN_ENGINE, NNUNET_ENGINE, MONAI_ENGINE)


def figures_in_words(figures: dict[str, float]) -> dict[str, str]:
    """Each figure by its name, with its interval in brackets where there is one: ``0.774 (0.735 to 0.812)``."""
    ends = {name for name in figures if name.endswith((LOW, HIGH))}
    words = {name: f"{value:g}" for name, value in figures.items() if name not in ends}
    for name in words:
        if {name + LOW, name + HIGH} <= ends:
            words[name] += f" ({figures[name + LOW]:.3f} to {figures[name + HIGH]:.3f})"
    return words


@dataclass(frozen=True)
class WeightFile:
    """One member of an ensemble: a safetensors file beside the card and its SHA-256 (64 hex digits)."""

    file: str
    sha256: str


@dataclass(frozen=True)
class ModelCard:
    """A model folder's ``card.json``.

    ``performance`` maps a data set's name to measured figures (names carry units; some are followed by their interval,
    see :data:`LOW`); ``intended_use`` and ``limitations`` are sentences shown to the user before the model is used.
    ``engine`` says whose preprocessing and tiling the weights were trained for: this project's (``own``: the recipe
    holds it), nnU-Net's or a MONAI bundle's; for these ``engine_options`` holds it, and of the recipe only channels,
    classes and network are used. ``mean_of`` names a folder beside this model's: ``weights`` are then files there, and
    the model is one network with their mean. ``training_data`` says in a sentence or two what the networks were shown,
    ``training_steps`` how they were trained, one sentence a step, first to last.
    """

    name: str
    version: str
    recipe: Recipe
    weights: tuple[WeightFile, ...]
    intended_use: str
    limitations: str
    training_data: str
    licence: str
    classes: tuple[str, ...] = ("background", "primary tumour", "lymph-node metastasis")
    performance: dict[str, dict[str, float]] = field(default_factory=dict)
    changelog: tuple[str, ...] = ()
    engine: str = OWN_ENGINE
    engine_options: dict[str, Any] = field(default_factory=dict)
    mean_of: str = ""
    training_steps: tuple[str, ...] = ()

    @property
    def n_networks(self) -> int:
        """How many networks :func:`HNTumorSegLib.models.loading.load_networks` gives."""
        return 1 if self.mean_of else len(self.weights)

    def numbered_steps(self) -> list[str]:
        """:attr:`training_steps` as they are shown to people: ``1. ...``."""
        return [f"{number}. {step}" for number, step in enumerate(self.training_steps, 1)]

    def weights_key(self) -> list[str]:
        """Equal for models whose networks are equal: what results are kept by."""
        return [weight.sha256.lower() for weight in self.weights] + (["mean"] if self.mean_of else [])

    def weights_folder(self, folder: Path) -> Path:
        """Where the files of :attr:`weights` lie, for the card in ``folder``."""
        return folder.resolve().parent / self.mean_of if self.mean_of else folder

    def save(self, folder: Path) -> Path:
        """Write ``card.json`` into ``folder``."""
        path = Path(folder) / CARD_FILE
        path.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, folder: Path) -> ModelCard:
        """Read ``card.json`` of a model folder; raises :class:`ModelError` when it is missing or malformed."""
        path = Path(folder) / CARD_FILE
        if not path.is_file():
            raise ModelError(
                f"'{folder}' is not a model folder: it has no {CARD_FILE}. Give the folder that holds the card and "
                "the weights, or a name from 'hntumorseg models list'."
            )
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls.from_dict(data)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"The model card '{path}' cannot be read: {error}. Copy the model again.") from error

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ModelCard:
        """Back from the JSON of :meth:`save`."""
        fields = dict(data)
        fields["recipe"] = Recipe.from_dict(fields["recipe"])
        fields["weights"] = tuple(WeightFile(w["file"], w["sha256"]) for w in fields["weights"])
        for key in ("classes", "changelog", "training_steps"):
            if key in fields:
                fields[key] = tuple(fields[key])
        if not isinstance(fields.get("mean_of", ""), str):
            raise ValueError(f"'mean_of' is {fields['mean_of']}, not a folder's name")
        if fields.get("engine", OWN_ENGINE) not in ENGINES:
            raise ValueError(f"the engine '{fields['engine']}' is none of {', '.join(ENGINES)}")
        return cls(**fields)
