"""Structures that the model is not sure of are left out of the labels, and the user is told where they are.

Of a true lesion a network says so throughout, but for its rim; what only resembles one it marks with half a heart. The
mean probability of tumour inside a structure tells the two apart better than its volume does. How sure a model has to
be is its recipe's ``minimum_certainty``, fitted on synthetic patients that it was not trained on.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.inference.named_structures import NamedStructure, in_words, named_structures
from HNTumorSegLib.inference.not_brain import numbered_pieces
from HNTumorSegLib.lesions.lesion_set import box_of_nonzero


def take_unsure_out(
    labels: sitk.Image,
    primary_probability: sitk.Image,
    node_probability: sitk.Image,
    minimum_certainty: float,
    minimum_lesion_ml: float = 0.0,
) -> tuple[sitk.Image, list[NamedStructure]]:
    """The labels without the connected structures (of both kinds together) that the model is not sure of.

    Args:
        labels: unsigned 8-bit, 0 background, on any grid.
        primary_probability, node_probability: class probabilities on the same grid.
        minimum_certainty: structures whose mean probability of tumour is below this go; 0 keeps all.
        minimum_lesion_ml: smaller structures stay here, they are too small for a lesion however sure the model is
            (:func:`HNTumorSegLib.lesions.from_labels.lesions_from_labels` says so).

    Returns:
        The same image when nothing was taken out, else a new one; and what was taken out, largest first, with
        its mean probability.
    """
    array = sitk.GetArrayViewFromImage(labels)
    box = box_of_nonzero(array) if minimum_certainty > 0 else None
    if box is None:
        return labels, []
    geometry = Geometry.from_image(labels)
    pieces = numbered_pieces(array[box])
    tumour = sum(sitk.GetArrayViewFromImage(p)[box] for p in (primary_probability, node_probability))
    numbers = np.arange(1, int(pieces.max()) + 1)
    certainty = np.asarray(ndimage.mean(tumour, pieces, numbers))
    volumes_ml = np.bincount(pieces.ravel(), minlength=2)[1:] * geometry.voxel_volume_ml
    gone = numbers[(certainty < minimum_certainty) & (volumes_ml >= minimum_lesion_ml)]
    if not gone.size:
        return labels, []
    kept = sitk.GetArrayFromImage(labels)
    kept[box][np.isin(pieces, gone)] = 0
    return image_from_array(kept, geometry), named_structures(pieces, gone, certainty, box, geometry)


def sentence(found: list[NamedStructure], minimum_certainty: float) -> str:
    """What was left out and where it is, for the user; empty when nothing was."""
    if not found:
        return ""
    what = "1 structure" if len(found) == 1 else f"{len(found)} structures"
    return (
        f"{what} that the model was not sure of (mean probability of tumour below {minimum_certainty:g}) "
        f"{'was' if len(found) == 1 else 'were'} left out: {in_words(found)}. Look there; what is a lesion "
        "after all can be added by one click."
    )
