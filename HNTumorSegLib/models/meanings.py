"""What the channels and outputs of imported models mean, from their names or as the user says."""

from __future__ import annotations

import re
from collections.abc import Sequence

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.recipes.recipe import BACKGROUND, CT, NODE, PET, PRIMARY, TUMOUR

_WORDS = {"background": BACKGROUND, "primary": PRIMARY, "node": NODE, "tumour": TUMOUR}
_NODE = re.compile(r"gtv[-_ ]?n|node|lymph", re.IGNORECASE)
_PRIMARY = re.compile(r"gtv[-_ ]?[pt]|primary", re.IGNORECASE)
_TUMOUR = re.compile(r"tumou?r|lesion|gtv|cancer", re.IGNORECASE)


def class_meanings(names: Sequence[str], given: Sequence[str] = ()) -> tuple[str, ...]:
    """Our classes for a network's outputs in order, background first.

    Args:
        names: what the outputs are called.
        given: ``background``, ``primary``, ``node`` or ``tumour`` for each, in place of what their names say.

    Raises :class:`ModelError` where a name does not tell, or two outputs mean the same.
    """
    if given:
        if len(given) != len(names) or set(given) - set(_WORDS):
            raise ModelError(
                f"--classes names {len(given)} outputs and the model has {len(names)} ({', '.join(names)}). Give "
                f"{', '.join(_WORDS)} for each, in order, with commas."
            )
        classes = tuple(_WORDS[word] for word in given)
    else:
        classes = (BACKGROUND, *(_meaning(name, names) for name in names[1:]))
    if classes[0] != BACKGROUND or BACKGROUND in classes[1:]:
        raise ModelError(f"The first output of the model, and no other, must be background ({', '.join(names)}).")
    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise ModelError(
            f"The outputs of the model ({', '.join(names)}) cannot be told apart as primary tumour and node. Say what "
            "they are with --classes."
        )
    return classes


def _meaning(name: str, names: Sequence[str]) -> str:
    for pattern, meaning in ((_NODE, NODE), (_PRIMARY, PRIMARY), (_TUMOUR, TUMOUR)):
        if pattern.search(name):
            return meaning
    raise ModelError(
        f"The output '{name}' of the model ({', '.join(names)}) is neither a primary tumour nor a node by its name. "
        "Say what the outputs are with --classes, for instance background,primary,node."
    )


def channel_images(names: Sequence[str], given: Sequence[str] = ()) -> tuple[str, ...]:
    """``pet`` or ``ct`` for a network's inputs in order; raises :class:`ModelError` where a name does not tell."""
    if given:
        if len(given) != len(names) or set(given) - {PET, CT}:
            raise ModelError(
                f"--channels names {len(given)} inputs and the model has {len(names)} ({', '.join(names)}). Give pet "
                "or ct for each, in order, with commas."
            )
        return tuple(given)
    images = []
    for name in names:
        words = set(re.split(r"[^a-z]+", name.lower()))
        found = [image for image, known in ((PET, {"pet", "pt", "suv", "suvbw"}), (CT, {"ct"})) if known & words]
        if len(found) != 1:
            raise ModelError(
                f"The input '{name}' of the model is neither a PET nor a CT by its name. Say what the inputs are with "
                "--channels, for instance ct,pet."
            )
        images.append(found[0])
    if len(set(images)) != len(images):
        raise ModelError(f"Two inputs of the model are the same image by their names ({', '.join(names)}).")
    return tuple(images)
