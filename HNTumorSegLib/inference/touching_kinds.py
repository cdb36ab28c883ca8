"""Parts of one structure that the model called different kinds: each keeps its kind only where the model is sure of it.

A network decides voxel by voxel, so in one tumour it may call a part of it, most often an end, a node. There are nodes
that lie against a primary tumour, too; of these the network is surer. The smaller a part is beside the structure, the
surer it has to be. From which share of its kind in the probability of tumour on a part keeps it is the recipe's
``touching_kind_share``; it and :data:`SURER_WHERE_SMALLER` were chosen on synthetic patients that the model of the time
had not been trained on, other than the measured ones. The probabilities stay as they are.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.inference.named_structures import NamedStructure, in_words
from HNTumorSegLib.inference.not_brain import numbered_pieces
from HNTumorSegLib.lesions.codes import LABEL_NODE, LABEL_PRIMARY
from HNTumorSegLib.lesions.lesion_set import box_of_nonzero

SURER_WHERE_SMALLER = 0.06
"""A part that is e times smaller needs this much more of a share."""


def settle_touching_kinds(
    labels: sitk.Image,
    primary_probability: sitk.Image,
    node_probability: sitk.Image,
    minimum_share: float,
    minimum_lesion_ml: float = 0.0,
) -> tuple[sitk.Image, list[NamedStructure]]:
    """The labels in which touching parts of a structure have one kind, but for those of whose kind the model is sure.

    In each connected structure (26-connectivity, both kinds together) the part that lacks most gets the kind of what it
    touches, then the next one, until none lacks anything.

    Args:
        labels: unsigned 8-bit: 0 background, 1 primary tumour, 2 lymph-node metastasis, on any grid.
        primary_probability, node_probability: class probabilities on the same grid.
        minimum_share: a part as large as the structure would keep its kind where the mean of that kind's share in the
            probability of tumour is at least this; 0 keeps all.
        minimum_lesion_ml: smaller parts change as well, but are not named.

    Returns:
        The same image when nothing was changed, else a new one; and the parts that got another kind, largest first,
        each with the share of the kind that it lost.
    """
    array = sitk.GetArrayFromImage(labels)
    box = box_of_nonzero(array) if minimum_share > 0 else None
    if box is None:
        return labels, []
    geometry = Geometry.from_image(labels)
    primary, node = (sitk.GetArrayViewFromImage(p)[box] for p in (primary_probability, node_probability))
    kinds, share = array[box], primary / np.maximum(primary + node, 1e-6)
    changed: list[NamedStructure] = []
    structures = numbered_pieces(kinds)
    for number, part in enumerate(ndimage.find_objects(structures), 1):
        here, corner = structures[part] == number, [a.start + b.start for a, b in zip(box, part, strict=True)]
        while (least := _least_sure(kinds[part], here, share[part], minimum_share)) is not None:
            mask, of_share = least
            kinds[part][mask] = LABEL_PRIMARY + LABEL_NODE - kinds[part][mask]
            center = geometry.to_lps((np.argwhere(mask).mean(axis=0) + corner)[::-1])
            volume_ml = np.count_nonzero(mask) * geometry.voxel_volume_ml
            changed.append(NamedStructure(volume_ml, of_share, tuple(float(x) for x in center)))
    if not changed:
        return labels, []
    named = [part for part in changed if part.volume_ml >= minimum_lesion_ml]
    return image_from_array(array, geometry), sorted(named, key=lambda part: -part.volume_ml)


def _least_sure(
    kinds: np.ndarray, here: np.ndarray, primary_share: np.ndarray, minimum_share: float
) -> tuple[np.ndarray, float] | None:
    """Mask and share of the part of a structure that lacks most of what its kind asks for; None where none does."""
    whole, most, least = np.count_nonzero(here), 0.0, None
    for kind, share in ((LABEL_PRIMARY, primary_share), (LABEL_NODE, 1 - primary_share)):
        pieces = numbered_pieces(here & (kinds == kind))
        numbers = np.arange(1, int(pieces.max()) + 1)
        if not numbers.size:  # a structure of one kind
            return None
        sure = np.asarray(ndimage.mean(share, pieces, numbers))
        size = np.bincount(pieces.ravel())[1:] / whole
        lacking = minimum_share - SURER_WHERE_SMALLER * np.log(size) - sure
        at = int(np.argmax(lacking))
        if lacking[at] > most:
            most, least = float(lacking[at]), (pieces == at + 1, float(sure[at]))
    return least


def sentence(found: list[NamedStructure]) -> str:
    """Which parts got the kind of what they touch, and where they are, for the user; empty when none did."""
    if not found:
        return ""
    one = len(found) == 1
    return (
        f"{'1 part' if one else f'{len(found)} parts'} of a lesion looked like the other kind (primary or node; share "
        f"of that kind in brackets) than what {'it touches' if one else 'they touch'}. The model was not sure enough, "
        f"so {'it has' if one else 'they have'} the kind of the lesion: {in_words(found)}. Look there; split and "
        "relabel what is a lesion of its own."
    )
