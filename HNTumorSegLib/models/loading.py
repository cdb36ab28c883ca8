"""Weights from disk to networks and back: hashed, compared and refused before anything wrong is run."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from HNTumorSegLib.errors import ModelError, OutputError
from HNTumorSegLib.models.card import CARD_FILE, OWN_ENGINE, ModelCard, WeightFile
from HNTumorSegLib.recipes.recipe import Recipe

if TYPE_CHECKING:
    import torch

WEIGHT_SUFFIX = ".safetensors"
_COPY_AGAIN = "Copy the model folder again from where it came from."


def load_networks(folder: str | Path, device: str = "cpu") -> list[torch.nn.Module]:
    """The networks of a model folder, ready to run.

    Every weight file is read and its SHA-256 compared with the card before any of them is interpreted; then the
    network is built from the card's recipe and keys, shapes and values are checked. Where the card says ``mean_of``,
    the files are those of the folder of that name beside this one.

    Args:
        folder: a model folder (see :func:`HNTumorSegLib.models.registry.resolve_model`).
        device: torch device the networks are put on.

    Returns:
        One network per weight file, in the card's order, or the one with their mean (``mean_of``); in evaluation
        mode, without gradients.

    Raises:
        ModelError: a file is missing, changed or cut short, is no safetensors file, does not fit the recipe's
            network (the first difference is named), or holds values that are not finite.
    """
    folder = Path(folder)
    card = ModelCard.load(folder)
    _check_card(card, folder)
    place = card.weights_folder(folder)
    contents = [_verified_bytes(place, weight) for weight in card.weights]
    networks = [
        _network_with(card, place / weight.file, content)
        for weight, content in zip(card.weights, contents, strict=True)
    ]
    if card.mean_of:
        from HNTumorSegLib.networks.mean import mean_network

        networks = [mean_network(networks)]
    return [network.to(device) for network in networks]


def write_model(
    folder: str | Path,
    recipe: Recipe,
    networks: Sequence[torch.nn.Module],
    *,
    name: str,
    version: str,
    intended_use: str,
    limitations: str,
    training_data: str,
    training_steps: Sequence[str] = (),
    licence: str,
    performance: dict[str, dict[str, float]] | None = None,
    changelog: Sequence[str] = (),
    engine: str = OWN_ENGINE,
    engine_options: dict[str, Any] | None = None,
) -> ModelCard:
    """Write a model folder: one safetensors file per network, then the card with their hashes.

    The card comes last and each file is renamed into place, so a folder with a card is always complete.

    Raises:
        ModelError: there is no network, or weights are not finite.
        OutputError: the folder cannot be written.
    """
    folder = Path(folder)
    try:
        weights = _write_weights(folder, networks)
        card = ModelCard(
            name=name,
            version=version,
            recipe=recipe,
            weights=weights,
            intended_use=intended_use,
            limitations=limitations,
            training_data=training_data,
            training_steps=tuple(training_steps),
            licence=licence,
            classes=tuple(recipe.classes),
            engine=engine,
            engine_options=dict(engine_options or {}),
            performance=dict(performance or {}),
            changelog=tuple(changelog),
        )
        _write_card(card, folder)
    except OSError as error:
        raise OutputError(f"The model cannot be written to '{folder}': {error.strerror or error}.") from error
    return card


def write_mean(folder: str | Path, of: str | Path, **differing: Any) -> ModelCard:
    """Write the folder of a model that is one network, the mean of those of the model ``of`` beside it.

    It holds a card and no weights: they are read where they are and averaged when the model is loaded.

    Args:
        folder: of the new model.
        of: model folder in the same folder as ``folder``.
        differing: fields of the card that are not those of ``of``.

    Raises:
        ModelError: ``of`` lies elsewhere, is no complete model, or is itself a mean.
        OutputError: the folder cannot be written.
    """
    folder, of = Path(folder).resolve(), Path(of).resolve()
    card = ModelCard.load(of)
    if folder.parent != of.parent or folder == of or card.mean_of:
        raise ModelError(
            f"'{folder}' cannot be the mean of the networks of '{of}'. Give two folders in the same folder, the second "
            "with networks of its own."
        )
    load_networks(of)
    card = replace(card, **differing, mean_of=of.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_card(card, folder)
    except OSError as error:
        raise OutputError(f"The model cannot be written to '{folder}': {error.strerror or error}.") from error
    return card


def write_standing_alone(folder: Path, target: Path) -> ModelCard:
    """Write the model of ``folder`` to ``target`` so that it needs no other folder; returns the card it has there.

    Raises:
        ModelError: the model cannot be loaded (see :func:`load_networks`).
        OutputError: ``target`` cannot be written.
    """
    networks = load_networks(folder)
    card = ModelCard.load(folder)
    try:
        card = replace(card, weights=_write_weights(target, networks), mean_of="")
        _write_card(card, target)
    except OSError as error:
        raise OutputError(f"The model cannot be written to '{target}': {error.strerror or error}.") from error
    return card


def _write_weights(folder: Path, networks: Sequence[torch.nn.Module]) -> tuple[WeightFile, ...]:
    """One safetensors file per network, in ``folder``, which is made."""
    import torch
    from safetensors.torch import save

    if not networks:
        raise ModelError("A model needs at least one network; none was given.")
    weights = []
    folder.mkdir(parents=True, exist_ok=True)
    for number, network in enumerate(networks):
        state = {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}
        for key, value in state.items():
            if not bool(torch.isfinite(value).all()):
                raise ModelError(f"Network {number} has values in '{key}' that are not finite; it was not written.")
        content = save(state)
        file = f"weights_{number}{WEIGHT_SUFFIX}"
        _write_in_place(folder / file, lambda path, content=content: path.write_bytes(content))
        weights.append(WeightFile(file, hashlib.sha256(content).hexdigest()))
    return tuple(weights)


def _write_card(card: ModelCard, folder: Path) -> None:
    """The card, renamed into place; then weights that it does not name go."""
    with tempfile.TemporaryDirectory(dir=folder) as part:
        os.replace(card.save(Path(part)), folder / CARD_FILE)
    _remove_former_weights(folder, set() if card.mean_of else {weight.file for weight in card.weights})


def _write_in_place(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside ``path`` and rename, so that ``path`` is never half a file."""
    part = path.with_name(path.name + ".part")
    try:
        write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _remove_former_weights(folder: Path, current: set[str]) -> None:
    """Delete ``weights_N`` files that an earlier, larger ensemble left and no card names any more."""
    for path in folder.glob(f"weights_*{WEIGHT_SUFFIX}"):
        if path.name not in current and re.fullmatch(rf"weights_\d+{re.escape(WEIGHT_SUFFIX)}", path.name):
            path.unlink()


def _check_card(card: ModelCard, folder: Path) -> None:
    """What ``ModelCard.load`` lets pass and the code below relies on."""
    if not card.weights:
        raise ModelError(f"The card of model '{folder}' names no weight file. {_COPY_AGAIN}")
    for weight in card.weights:
        if Path(weight.file).name != weight.file or not weight.file.endswith(WEIGHT_SUFFIX):
            raise ModelError(
                f"The card of model '{folder}' names the weight file '{weight.file}'; only {WEIGHT_SUFFIX} files "
                f"in the model folder itself are read. {_COPY_AGAIN}"
            )
    if card.mean_of and (Path(card.mean_of).name != card.mean_of or card.mean_of == ".."):
        raise ModelError(
            f"The card of model '{folder}' says it is the mean of '{card.mean_of}'; only a folder beside it is read. "
            f"{_COPY_AGAIN}"
        )
    if card.mean_of and not card.weights_folder(folder).is_dir():
        raise ModelError(
            f"Model '{folder}' is the mean of the networks of '{card.mean_of}', a model that must lie beside it and "
            f"does not. Copy '{card.mean_of}' there too, or take what 'hntumorseg models export' writes, which needs "
            "no second folder."
        )
    if not card.recipe.channels:
        raise ModelError(f"The recipe in the card of model '{folder}' has no input channel. {_COPY_AGAIN}")


def _verified_bytes(folder: Path, weight: WeightFile) -> bytes:
    path = folder / weight.file
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"The weight file '{path}' is missing. {_COPY_AGAIN}") from error
    except OSError as error:
        raise ModelError(f"The weight file '{path}' cannot be read: {error.strerror or error}.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != weight.sha256.lower():
        raise ModelError(
            f"The weight file '{path}' was changed or cut short: its SHA-256 begins {found[:12]}, the card says "
            f"{weight.sha256[:12]}. {_COPY_AGAIN}"
        )
    return content


def _network_with(card: ModelCard, path: Path, content: bytes) -> torch.nn.Module:
    """The recipe's network with the weights in ``content``; ``path`` is for messages."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        state = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelError(f"The weight file '{path}' is not a safetensors file: {error}. {_COPY_AGAIN}") from error
    network = _build(card)
    difference = first_difference(network.state_dict(), state)
    if difference:
        raise ModelError(
            f"The weight file '{path}' does not fit the network '{card.recipe.network}' of its card: {difference}. "
            "The card belongs to other weights, or this version of HNTumorSeg builds the network differently."
        )
    for key, value in state.items():
        if not bool(torch.isfinite(value).all()):
            raise ModelError(f"The weight file '{path}' has values in '{key}' that are not finite. {_COPY_AGAIN}")
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def _build(card: ModelCard) -> torch.nn.Module:
    from HNTumorSegLib.networks import build_network

    recipe = card.recipe
    try:
        return build_network(recipe.network, len(recipe.channels), len(card.classes), **recipe.network_options)
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"The network '{recipe.network}' of model '{card.name}' cannot be built with the options "
            f"{recipe.network_options}: {error}."
        ) from error


def first_difference(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> str:
    """The first key or shape in which two sets of weights differ, in words; empty when they fit."""
    for key, tensor in expected.items():
        if key not in found:
            return f"'{key}' is missing from the file"
        if found[key].shape != tensor.shape:
            return f"'{key}' has shape {tuple(found[key].shape)} in the file and {tuple(tensor.shape)} in the network"
    for key in found:
        if key not in expected:
            return f"the file's '{key}' is not in the network"
    return ""
