"""One patient's delineation beside the truth, in the numbers that a report shows."""

from __future__ import annotations

from dataclasses import dataclass

import SimpleITK as sitk

from HNTumorSegLib.evaluation.overlap import overlap


@dataclass(frozen=True)
class Agreement:
    """Dice similarity coefficients (None where both are empty) and total tumour burden, delineated and true."""

    dsc_union: float | None
    dsc_primary: float | None
    dsc_node: float | None
    ttb_ml: float
    ttb_true_ml: float


def agreement(delineated: sitk.Image, truth: sitk.Image) -> Agreement:
    """Compare two label images 0/1/2 on the same grid; raises :class:`GeometryError` where the grids differ."""
    found = overlap(delineated, truth)
    return Agreement(
        dsc_union=found.union.dsc,
        dsc_primary=found.primary.dsc,
        dsc_node=found.node.dsc,
        ttb_ml=found.union.predicted_ml,
        ttb_true_ml=found.union.true_ml,
    )
