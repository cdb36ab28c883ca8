"""The label image 0/1/2 that other programs read."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from HNTumorSegLib.exchange.image_file import write_image
from HNTumorSegLib.geometry import image_from_array
from HNTumorSegLib.lesions.lesion_set import LesionSet


def label_image(lesion_set: LesionSet) -> sitk.Image:
    """Unsigned 8-bit image on the set's grid: 0 background, 1 primary tumour, 2 lymph-node metastasis."""
    return image_from_array(lesion_set.kind_labels(), lesion_set.geometry)


def write_labels(lesion_set: LesionSet, path: str | Path) -> Path:
    """Write :func:`label_image`, usually as ``labels.nii.gz``; raises :class:`OutputError` when it cannot be."""
    return write_image(label_image(lesion_set), path)
