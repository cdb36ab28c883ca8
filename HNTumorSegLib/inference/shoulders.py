"""The shoulders under a neck at the top of a scan: how the head and neck is found when the brain is not in it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

TOP_MM = 15.0
"""The body must reach the top of the scan: where the crown is in it, the brain would have been seen."""

NECK_AT_TOP_CM2 = (60.0, 350.0)
NECK_WIDTH_MAX_MM = 240.0
ARM_SHARE_MAX = 0.7
"""What else there is in the topmost slices is a raised arm (in a large patient up to 170 cm2); two legs are alike."""

NECK_CM2_MAX = 300.0
"""A neck is seen before the shoulders are believed. A collar of 50 cm is 200 cm2, the blurred PET makes it 260."""

SHOULDERS_MIN_MM = 270.0
WIDER_THAN_NECK = 1.6
SHOULDERS_WITHIN_MM = 300.0
"""From the crown to the shoulders of a large adult."""


def find_shoulders(body: np.ndarray, spacing_mm: float) -> float | None:
    """How far below the top of the scan the shoulders begin, mm; None where there is no neck above shoulders.

    The body's largest part is followed from the topmost slice down: it begins as one head or neck, alone or between
    two arms, is as narrow as a neck, and becomes wider than any head. A trunk, thighs, or arms that lie against the
    head at the top are not taken for a neck.

    Args:
        body: zyx, True within the body; axes along S, P, L, the last slice is the topmost.
        spacing_mm: of the isotropic grid.
    """
    slices = body[::-1][: round(SHOULDERS_WITHIN_MM / spacing_mm)]
    narrowest_cm2 = narrowest_mm = np.inf
    for number, inside in enumerate(slices):
        areas_cm2, widths_mm = _parts(inside, spacing_mm)
        if not len(areas_cm2):
            return None
        if number * spacing_mm < TOP_MM and not _neck_at_top(areas_cm2, widths_mm):
            return None
        area_cm2, width_mm = areas_cm2[0], widths_mm[0]
        if width_mm >= max(SHOULDERS_MIN_MM, WIDER_THAN_NECK * narrowest_mm) and narrowest_cm2 <= NECK_CM2_MAX:
            return number * spacing_mm
        narrowest_cm2, narrowest_mm = min(narrowest_cm2, area_cm2), min(narrowest_mm, width_mm)
    return None


def _parts(inside: np.ndarray, spacing_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Areas (cm2) and widths from left to right (mm) of the parts of one slice, the largest first."""
    parts, _ = ndimage.label(inside)
    areas_cm2 = np.bincount(parts.ravel())[1:] * spacing_mm**2 / 100.0
    widths_mm = np.array([(box[1].stop - box[1].start) * spacing_mm for box in ndimage.find_objects(parts)])
    order = np.argsort(-areas_cm2)
    return areas_cm2[order], widths_mm[order] if len(order) else widths_mm


def _neck_at_top(areas_cm2: np.ndarray, widths_mm: np.ndarray) -> bool:
    low, high = NECK_AT_TOP_CM2
    alone = all(area <= ARM_SHARE_MAX * areas_cm2[0] for area in areas_cm2[1:])
    return low <= areas_cm2[0] <= high and widths_mm[0] <= NECK_WIDTH_MAX_MM and alone
