"""Which models there are, and where their folders lie."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.models.card import CARD_FILE, ModelCard

DEFAULT_MODEL = "default"
FAST_MODEL = "fast"
"""The bundled ensemble, and the one network beside it."""
MODELS_VARIABLE = "HNTUMORSEG_MODELS"
"""Environment variable that names the user's folder of model folders."""


@dataclass(frozen=True)
class ModelEntry:
    """One line of the list of models.

    Attributes:
        name: what ``--model`` takes: the folder's name.
        folder: the model folder.
        bundled: it came with the package (else it lies in the user's folder).
        version, intended_use: from the card; empty when the card cannot be read.
        problem: why the card cannot be read; empty when it can.
    """

    name: str
    folder: Path
    bundled: bool
    version: str = ""
    intended_use: str = ""
    problem: str = ""


def bundled_folder() -> Path:
    """The folder that holds the models that came with the package."""
    return Path(__file__).resolve().parent


def user_folder() -> Path:
    """The folder that holds the user's models: ``HNTUMORSEG_MODELS``, or ``.hntumorseg/models`` in the home folder."""
    chosen = os.environ.get(MODELS_VARIABLE, "").strip()
    return Path(chosen).expanduser() if chosen else Path.home() / ".hntumorseg" / "models"


def list_models() -> list[ModelEntry]:
    """All models, bundled ones first, then the user's, each by name.

    A bundled name cannot be taken by a user's folder. A card that cannot be read is listed with its ``problem``.
    """
    entries: dict[str, ModelEntry] = {}
    for parent, bundled in ((bundled_folder(), True), (user_folder(), False)):
        for folder in _model_folders(parent):
            entries.setdefault(folder.name, _entry(folder, bundled))
    return list(entries.values())


def resolve_model(name_or_folder: str | Path) -> Path:
    """The folder of a model given by name or by path.

    A name from :func:`list_models` wins over a folder of that name in the working directory (write ``./name`` for
    that one). Raises :class:`ModelError` listing the names when nothing fits.
    """
    text = str(name_or_folder)
    if not text.strip():
        raise ModelError(f"The model's name is empty. {_known_names()}")
    if Path(text).name == text:
        for parent in (bundled_folder(), user_folder()):
            if (parent / text / CARD_FILE).is_file():
                return parent / text
    folder = Path(text).expanduser()
    if (folder / CARD_FILE).is_file():
        return folder
    if folder.exists():
        raise ModelError(f"'{folder}' is not a model folder: it has no {CARD_FILE}. {_known_names()}")
    raise ModelError(f"There is no model '{text}'. {_known_names()}")


def _known_names() -> str:
    names = [entry.name for entry in list_models()]
    known = f"Known models: {', '.join(names)}" if names else "No model is installed"
    return f"{known}; or give the folder that holds a {CARD_FILE} (own models: '{user_folder()}')."


def _model_folders(parent: Path) -> list[Path]:
    try:
        return sorted(folder for folder in parent.iterdir() if (folder / CARD_FILE).is_file())
    except OSError:  # not there, or not ours to read: no models
        return []


def _entry(folder: Path, bundled: bool) -> ModelEntry:
    try:
        card = ModelCard.load(folder)
    except ModelError as error:
        return ModelEntry(folder.name, folder, bundled, problem=str(error))
    return ModelEntry(folder.name, folder, bundled, card.version, card.intended_use)
