"""Organ masks of phantom patients of the varied families, whose anatomy is drawn from organ labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.phantom.atlas import CODES
from HNTumorSegLib.phantom.placement import FieldCanvas
from HNTumorSegLib.phantom.varied_patient import VariedPatient


def organ_labels(patient: VariedPatient, geometry: Geometry, numbers: Mapping[str, int]) -> sitk.Image:
    """The organs of a patient on any grid near its own, as unsigned 8-bit labels.

    The anatomy's labels are looked up at the voxels' positions in it, as they are when the CT is painted. Where the
    patient is the anatomy's mirror image, left and right change their names.

    Args:
        patient: of a varied family.
        geometry: grid of the answer.
        numbers: value of each organ, by the names of :data:`HNTumorSegLib.phantom.atlas.CODES`; others are background.

    Raises:
        InputError: the patient is of the first family, which has no organ labels.
    """
    if getattr(patient, "_placement", None) is None:
        raise InputError("Organ labels exist for phantom patients of the varied families only.")
    mirrored = np.linalg.det(patient._placement.matrix) < 0
    lookup = np.zeros(max(CODES.values()) + 1, np.uint8)
    for organ, code in CODES.items():
        lookup[code] = numbers.get(other_side(organ) if mirrored else organ, 0)
    return image_from_array(lookup[FieldCanvas(geometry, patient._placement).labels()], geometry)


def other_side(organ: str) -> str:
    """``Parotid-Lt`` for ``Parotid-Rt`` and the other way round; organs without a side are their own."""
    for side, other in (("-Lt", "-Rt"), ("-Rt", "-Lt")):
        if organ.endswith(side):
            return organ.removesuffix(side) + other
    return organ
