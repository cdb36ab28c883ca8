"""Volume and TLG by threshold: alternatives to the drawn contour.

Each rule gives a threshold for a lesion; its region is what lies at or above it and is connected (26 neighbours) to
voxels of the drawn lesion that do, never in another lesion's voxels (the rule of ``LesionSet.apply_threshold``). The
contour only says where the lesion is: the region may be larger or smaller.

- *Fixed*: SUV 2.5, 3 and 4.
- *Percentage*: 40, 41, 42 and 50 % of the lesion's SUVmax (in the contour); 41 % is the EANM guideline's (Boellaard et
  al. 2015).
- *Background-adapted*: the threshold of a click (:func:`one_click.threshold_suv`), between the lesion's SUVmax and the
  background in the shell around the region (:func:`barriers.surroundings_suv`), both repeated until they agree.

Policy. A lesion whose SUVmax lies below the threshold has volume 0 and TLG 0. A region that *leaks* has no volume
(None, and a remark): when it reaches further than 30 mm from the contour or is larger than 250 ml (or than the
contour, if that is larger), it has run into brain, heart or bladder, and any number would be that of the cut. A total
is the union over its lesions, so that voxels claimed by two neighbours count once; it is None when one of them leaks.
A lesion without voxels has 0 throughout, one of a single voxel is treated like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.lesions.barriers import LARGEST_ML, surroundings_suv
from HNTumorSegLib.lesions.lesion_set import box_of_nonzero
from HNTumorSegLib.lesions.one_click import threshold_suv as adapted_threshold_suv
from HNTumorSegLib.lesions.reshaping import GROW_MM
from HNTumorSegLib.lesions.uptake import region_above

FIXED_SUV = (2.5, 3.0, 4.0)
PERCENT_OF_MAX = (40, 41, 42, 50)
BACKGROUND = "background"
RULES = (*(f"suv{suv:g}" for suv in FIXED_SUV), *(f"{p}pct" for p in PERCENT_OF_MAX), BACKGROUND)
"""Names of the rules, as they stand in column names: ``suv2.5``, ``41pct``, ``background``, ..."""

_ROUNDS = 8


@dataclass(frozen=True)
class ThresholdVolume:
    """What one rule gives for one lesion or for a total; None where the region leaks, or the threshold differs."""

    rule: str
    threshold_suv: float | None
    volume_ml: float | None
    tlg_g: float | None


@dataclass(frozen=True)
class ThresholdRegion:
    """One rule's region of one lesion: numbers of its voxels, the same for all lesions of a set, and their SUV.

    ``voxels`` is None when the region leaks.
    """

    rule: str
    threshold_suv: float | None
    voxels: np.ndarray | None
    suv: np.ndarray | None


def summed(rule: str, regions: Sequence[ThresholdRegion], voxel_ml: float) -> ThresholdVolume:
    """Volume and TLG of the union of one rule's regions (of one lesion, or of several for a total)."""
    thresholds = {r.threshold_suv for r in regions}
    threshold = thresholds.pop() if len(thresholds) == 1 else None
    if any(r.voxels is None for r in regions):
        return ThresholdVolume(rule, threshold, None, None)
    if not regions:
        return ThresholdVolume(rule, None, 0.0, 0.0)
    voxels, first = np.unique(np.concatenate([r.voxels for r in regions]), return_index=True)
    suv = np.concatenate([r.suv for r in regions])[first]
    return ThresholdVolume(rule, threshold, len(voxels) * voxel_ml, float(suv.sum(dtype=float)) * voxel_ml)


def no_regions() -> list[ThresholdRegion]:
    """The regions of a lesion without voxels."""
    return [ThresholdRegion(rule, None, np.zeros(0, int), np.zeros(0)) for rule in RULES]


class ThresholdSearch:
    """The PET around one lesion, on which the rules are tried."""

    def __init__(
        self,
        suv: np.ndarray,
        labels: np.ndarray,
        lesion_id: int,
        start: tuple[int, int, int],
        geometry: Geometry,
    ):
        """The surroundings of a lesion that has voxels.

        Args:
            suv: zyx array in g/ml with :func:`search_margin` voxels around the lesion, also where the grid ends; NaN
                where there is no PET.
            labels: ids of the lesions on the same voxels.
            lesion_id: the lesion.
            start: index on the grid of the first voxel.
            geometry: the lesions' grid.
        """
        self.suv = np.where(np.isfinite(suv), suv, -np.inf)
        self.own = labels == lesion_id
        self.free = (labels == 0) | self.own
        self.start, self.geometry, self.spacing = start, geometry, geometry.spacing_zyx_mm
        self.distance_mm = ndimage.distance_transform_edt(~self.own, self.spacing)
        self.suv_max = float(self.suv[self.own].max())
        self.most_voxels = max(LARGEST_ML / geometry.voxel_volume_ml, np.count_nonzero(self.own))

    def regions(self) -> list[ThresholdRegion]:
        """One region a rule, in the order of :data:`RULES`."""
        thresholds = [*FIXED_SUV, *(p / 100 * self.suv_max for p in PERCENT_OF_MAX)]
        regions: dict[float, np.ndarray | None] = {}
        within = self.free
        for threshold in sorted(set(thresholds)):
            # What a higher threshold leaves lies within what a lower one left.
            within = self._connected(threshold, within)
            regions[threshold] = self._unless_leaking(within, threshold)
        found = [self._described(rule, t, regions[t]) for rule, t in zip(RULES, thresholds, strict=False)]
        return [*found, self._described(BACKGROUND, *self._adapted())]

    def _connected(self, threshold: float, within: np.ndarray) -> np.ndarray:
        """What lies above a threshold in ``within`` and is connected to the lesion; boolean zyx array."""
        region = np.zeros(self.own.shape, bool)
        box = box_of_nonzero(within)
        if box is not None and threshold <= self.suv_max:
            region[box] = region_above(self.suv[box], threshold, self.own[box], within[box])
        return region

    def _unless_leaking(self, region: np.ndarray, threshold: float) -> np.ndarray | None:
        """The region; None when it leaks."""
        too_large = np.count_nonzero(region) > self.most_voxels
        return None if too_large or threshold <= 0 or bool((self.distance_mm[region] > GROW_MM).any()) else region

    def _adapted(self) -> tuple[float | None, np.ndarray | None]:
        """Threshold and region of the background-adapted rule; the threshold is None where there is no background."""
        region, background = self.own, None
        threshold = adapted_threshold_suv(self.suv_max, 0.0)
        for _ in range(_ROUNDS):
            found = surroundings_suv(region, self.suv, ~self.free, threshold, self.spacing)
            if found is None:
                return None, None
            if background is not None and abs(found - background) < 0.01 * max(background, 0.1):
                break
            background = found
            threshold = adapted_threshold_suv(self.suv_max, background)
            region = self._unless_leaking(self._connected(threshold, self.free), threshold)
            if region is None or not region.any():
                break
        return threshold, region

    def _described(self, rule: str, threshold: float | None, region: np.ndarray | None) -> ThresholdRegion:
        if region is None:
            return ThresholdRegion(rule, threshold, None, None)
        inside = np.nonzero(region)
        # Numbered on the grid with the margin all around it: a region may reach beyond a cropped grid.
        margin = search_margin(self.spacing)
        on_grid = tuple(i + s + m for i, s, m in zip(inside, self.start, margin, strict=True))
        wide = tuple(n + 2 * m for n, m in zip(self.geometry.shape_zyx, margin, strict=True))
        return ThresholdRegion(rule, threshold, np.ravel_multi_index(on_grid, wide), self.suv[inside])


def search_margin(spacing_zyx_mm: tuple[float, float, float]) -> tuple[int, ...]:
    """How many voxels around a lesion along z, y, x the search needs: one more than 30 mm, to notice a leak."""
    return tuple(int(np.ceil(GROW_MM / s)) + 1 for s in spacing_zyx_mm)
