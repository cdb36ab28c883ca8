"""Which of a model's classes are primary tumour and node."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.recipes.recipe import NODE, PRIMARY, TUMOUR


def are_tumours(classes: Sequence[str]) -> bool:
    """Whether the classes of a model or recipe, background first, are tumours and nothing else."""
    return len(classes) > 1 and not _others(classes)


def check_tumour_classes(card: ModelCard) -> None:
    """Refuse, with :class:`ModelError`, a model that tells something else apart than primary tumours and nodes."""
    others = _others(card.classes)
    if not are_tumours(card.classes):
        found = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        raise ModelError(
            f"Model '{card.name}' does not delineate tumours: its classes are {found or 'background alone'}. "
            "Choose another model, or label images with it by 'hntumorseg predict'."
        )


def _others(classes: Sequence[str]) -> list[str]:
    return [name for name in classes[1:] if name not in (PRIMARY, NODE, TUMOUR)]


def primary_and_node(foreground: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Probabilities (2, Z, Y, X) of primary tumour and node from those of a model's classes (K - 1, Z, Y, X).

    What a model does not tell apart counts as primary tumour, and a class that it does not have is 0 everywhere.
    """
    if tuple(classes[1:]) == (PRIMARY, NODE):
        return foreground
    both = np.zeros((2, *foreground.shape[1:]), np.float32)
    for name, probability in zip(classes[1:], foreground, strict=True):
        both[1 if name == NODE else 0] += probability
    return both


def tumour_sentence(card: ModelCard) -> str:
    """What the user must know about the kinds of lesions that a model proposes; empty when it tells both apart."""
    if TUMOUR in card.classes:
        return (
            f"Model '{card.name}' does not tell primary tumours from lymph-node metastases: all lesions are called "
            "primary. Relabel the nodes."
        )
    for kind in (PRIMARY, NODE):
        if kind not in card.classes:
            return f"Model '{card.name}' does not look for the class {kind}: none will be proposed."
    return ""
