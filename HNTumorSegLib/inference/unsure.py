"""Structures that the model is not sure of are left out of the labels, and the user is told where they are.

Of a true lesion a network says so throughout, but for its rim; what only resembles one it marks with half a heart. The
mean probability of tumour inside a structure tells the two apart better than its volume does. How sure a model has to
be is its recipe's ``minimum_certainty``, fitted on synthetic patients that it was not trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.inference.not_brain import numbered_pieces
from HNTumorSegLib.lesions.lesion_set import box_of_nonzero

NAMED = 5
"""At most so many structures are named with their place; the rest are counted."""


@dataclass(frozen=True)
class Unsure:
    """One structure that was left out: volume, mean probability of tumour (either kind) in it, LPS position."""

    volume_ml: float
    certainty: float
    center_mm: tuple[float, float, float]


def take_unsure_out(
    labels: sitk.Image,
    primary_probability: sitk.Image,
    node_probability: sitk.Image,
    minimum_certainty: float,
    minimum_lesion_ml: float = 0.0,
) -> tuple[sitk.Image, list[Unsure]]:
    """The labels without the connected structures (of both kinds together) that the model is not sure of.

    Args:
        labels: unsigned 8-bit, 0 background, on any grid.
        primary_probability, node_probability: class probabilities on the same grid.
        minimum_certainty: structures whose mean probability of tumour is below this go; 0 keeps all.
        minimum_lesion_ml: smaller structures stay here, they are too small for a lesion however sure the model is
            (:func:`HNTumorSegLib.lesions.from_labels.lesions_from_labels` says so).

    Returns:
        The same image when nothing was taken out, else a new one; and what was taken out, largest first.
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
    corner = np.array([s.start for s in box])
    centers = np.array(ndimage.center_of_mass(pieces > 0, pieces, gone)) + corner
    places_mm = geometry.to_lps(centers[:, ::-1])
    found = [
        Unsure(float(volumes_ml[number - 1]), float(certainty[number - 1]), tuple(float(x) for x in place))
        for number, place in zip(gone, places_mm, strict=True)
    ]
    return image_from_array(kept, geometry), sorted(found, key=lambda u: -u.volume_ml)


def sentence(found: list[Unsure], minimum_certainty: float) -> str:
    """What was left out and where it is, for the user; empty when nothing was."""
    if not found:
        return ""
    what = "1 structure" if len(found) == 1 else f"{len(found)} structures"
    places = [
        "{:.2f} ml at L {:.0f}, P {:.0f}, S {:.0f} mm ({:.2f})".format(u.volume_ml, *u.center_mm, u.certainty)
        for u in found[:NAMED]
    ]
    more = f", and {len(found) - NAMED} smaller" if len(found) > NAMED else ""
    return (
        f"{what} that the model was not sure of (mean probability of tumour below {minimum_certainty:g}) "
        f"{'was' if len(found) == 1 else 'were'} left out: {'; '.join(places)}{more}. Look there; what is a lesion "
        "after all can be added by one click."
    )
