"""A second structure that a model takes for primary tumour is called a node, unless the model is nearly certain.

A network decides voxel by voxel and does not know that a patient has one primary tumour and seldom a second one: 5 % at
first diagnosis, other regions of the body included (Head Neck 2020;42:456, a review of 456,130 patients). Among what it
calls primary the structure with the most of it is the primary; what lies apart from that is more often a node at an
unusual place. From which share of primary in the probability of tumour a further structure stays one is the recipe's
``further_primary_share``, chosen on synthetic patients that were neither trained on nor measured.
The probabilities stay as they are, so such a lesion's score, the mean probability of its kind, is low.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.inference.named_structures import NamedStructure, in_words, named_structures
from HNTumorSegLib.inference.not_brain import numbered_pieces
from HNTumorSegLib.lesions.codes import LABEL_NODE, LABEL_PRIMARY
from HNTumorSegLib.lesions.lesion_set import box_of_nonzero

PART_MM = 5.0
"""A structure that comes as near to the primary is part of it."""


def call_further_primaries_nodes(
    labels: sitk.Image,
    primary_probability: sitk.Image,
    node_probability: sitk.Image,
    minimum_share: float,
    minimum_lesion_ml: float = 0.0,
) -> tuple[sitk.Image, list[NamedStructure]]:
    """The labels with one primary tumour, and with further ones of which the model is nearly certain.

    The primary is the connected structure (26-connectivity) of that class with the highest sum of its probability.

    Args:
        labels: unsigned 8-bit: 0 background, 1 primary tumour, 2 lymph-node metastasis, on any grid.
        primary_probability, node_probability: class probabilities on the same grid.
        minimum_share: a further structure stays primary where the mean of primary / (primary + node) in it is at least
            this; 0 keeps all.
        minimum_lesion_ml: smaller structures are left as they are, they are too small for a lesion.

    Returns:
        The same image when nothing was changed, else a new one; and what became a node, largest first, with
        its share of primary.
    """
    array = sitk.GetArrayViewFromImage(labels)
    box = box_of_nonzero(array) if minimum_share > 0 else None
    if box is None:
        return labels, []
    geometry = Geometry.from_image(labels)
    pieces = numbered_pieces(array[box] == LABEL_PRIMARY)
    numbers = np.arange(1, int(pieces.max()) + 1)
    if numbers.size < 2:
        return labels, []
    primary, node = (sitk.GetArrayViewFromImage(p)[box] for p in (primary_probability, node_probability))
    share = np.asarray(ndimage.mean(primary / np.maximum(primary + node, 1e-6), pieces, numbers))
    main = int(np.argmax(ndimage.sum_labels(primary, pieces, numbers))) + 1
    gap_mm = ndimage.distance_transform_edt(pieces != main, sampling=geometry.spacing_mm[::-1])
    nearest_mm = np.asarray(ndimage.minimum(gap_mm, pieces, numbers))
    volumes_ml = np.bincount(pieces.ravel(), minlength=2)[1:] * geometry.voxel_volume_ml
    apart = (numbers != main) & (nearest_mm > PART_MM) & (volumes_ml >= minimum_lesion_ml)
    changed = numbers[apart & (share < minimum_share)]
    if not changed.size:
        return labels, []
    out = sitk.GetArrayFromImage(labels)
    out[box][np.isin(pieces, changed)] = LABEL_NODE
    return image_from_array(out, geometry), named_structures(pieces, changed, share, box, geometry)


def sentence(found: list[NamedStructure]) -> str:
    """What was called a node and where it is, for the user; empty when nothing was."""
    if not found:
        return ""
    one = len(found) == 1
    return (
        f"{'1 structure' if one else f'{len(found)} structures'} apart from the primary tumour that looked more like a "
        f"primary than like a node (share of primary in brackets) {'is' if one else 'are'} called "
        f"{'a lymph-node metastasis' if one else 'lymph-node metastases'}, as second primaries are rare: "
        f"{in_words(found)}. Look there; relabel what is a second primary."
    )
