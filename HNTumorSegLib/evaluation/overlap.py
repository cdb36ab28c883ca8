"""Dice similarity of two delineations, for one patient and pooled over a cohort.

Nikulin et al. 2023 report both: the individual DSC of each patient, and the cohort DSC "determined for the union of all
delineations across all patients". Adding :class:`Overlap` objects pools patients; volumes (not voxel counts) are added,
so that patients on different grids weigh by their tumour.

Policy for empty delineations: when both are empty the DSC is not defined (None) and such a patient has no part in
a mean; in a cohort it adds nothing. When only one is empty the DSC is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.lesions.codes import LABEL_NODE, LABEL_PRIMARY


@dataclass(frozen=True)
class OverlapCounts:
    """Volumes of one target in two delineations and in both at once; they add over patients."""

    common_ml: float = 0.0
    predicted_ml: float = 0.0
    true_ml: float = 0.0

    def __add__(self, other: OverlapCounts) -> OverlapCounts:
        return OverlapCounts(
            self.common_ml + other.common_ml,
            self.predicted_ml + other.predicted_ml,
            self.true_ml + other.true_ml,
        )

    @property
    def dsc(self) -> float | None:
        """Dice similarity coefficient, 0 to 1; None when both delineations are empty."""
        both = self.predicted_ml + self.true_ml
        return 2 * self.common_ml / both if both > 0 else None


@dataclass(frozen=True)
class Overlap:
    """Overlap of all tumour (``union``), of the primary tumours and of the lymph-node metastases."""

    union: OverlapCounts = field(default_factory=OverlapCounts)
    primary: OverlapCounts = field(default_factory=OverlapCounts)
    node: OverlapCounts = field(default_factory=OverlapCounts)

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(self.union + other.union, self.primary + other.primary, self.node + other.node)


def overlap(predicted: sitk.Image, truth: sitk.Image) -> Overlap:
    """Compare two label images (0 background, 1 primary tumour, 2 lymph-node metastasis).

    A voxel of the right tumour but the wrong class counts in ``union`` and not in ``primary`` and ``node``.

    Raises:
        GeometryError: they are not on the same grid.
    """
    geometry = Geometry.from_image(predicted)
    geometry.require_same(Geometry.from_image(truth), "Delineation and truth")
    a, b = sitk.GetArrayViewFromImage(predicted), sitk.GetArrayViewFromImage(truth)
    voxel_ml = geometry.voxel_volume_ml
    return Overlap(
        union=_count(a > 0, b > 0, voxel_ml),
        primary=_count(a == LABEL_PRIMARY, b == LABEL_PRIMARY, voxel_ml),
        node=_count(a == LABEL_NODE, b == LABEL_NODE, voxel_ml),
    )


def _count(predicted: np.ndarray, truth: np.ndarray, voxel_ml: float) -> OverlapCounts:
    """Volumes of two masks and of their intersection."""
    numbers = (np.count_nonzero(predicted & truth), np.count_nonzero(predicted), np.count_nonzero(truth))
    return OverlapCounts(*(int(n) * voxel_ml for n in numbers))
