"""One click in the PET gives the lesion there: an adaptive threshold against the local background.

The idea is that of the semi-automatic delineation behind the reference contours of Nikulin et al. 2023 (their refs. 93
and 94: Hofheinz et al.): the threshold lies a fraction of the way from the background *around the lesion* to
the lesion's maximum, the background is measured in a shell around the current region, and both are repeated until they
agree. The steps:

1. *Summit.* The PET is parted into hills (:mod:`uptake`); the clicked hill is the start.
2. *Whole lesion.* A touching hill belongs to the lesion when the pass to it is high, as a share of the lower summit
   above background (more is asked of a hill hotter than the lesion), and the clicked place would still be above
   the threshold of the joint maximum. So the second summit of one uneven tumour joins in, a node four times hotter does
   not. Where all that joins is too large for a lesion (a node beside the brain), higher passes are asked for.
3. *Threshold.* 41 % of the maximum M as the EANM guideline has it (Boellaard et al. 2015) at a contrast to the
   background B of 8 : 1 and more; 41 % of what exceeds the background, ``T = B + 0.41 (M - B)``, at 4 : 1 and less;
   between these, the two contrasts of the NEMA NU 2 phantom on which such thresholds are tuned, the share of the excess
   goes over linearly. A fixed percentage would flood low-contrast nodes, and a purely background-corrected one would
   depart from the guideline where the guideline is right.
4. *Neighbours.* What a hotter neighbour spills over is measured as the median uptake at each distance from it, away
   from the click, and subtracted; where less is left than was subtracted, the place is the neighbour's. Lesions that
   are already there are never entered.
5. *Leak.* If a threshold 10 % higher would more than halve the volume, the region has leaked: the threshold is raised.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.errors import LesionError
from HNTumorSegLib.geometry import Geometry, resample
from HNTumorSegLib.lesions.barriers import (
    BRAIN_SUV,
    LARGEST_ML,
    surroundings_suv,
    too_large_ml,
    why_no_lesion,
)
from HNTumorSegLib.lesions.uptake import (
    AIR_SUV,
    CORNERS,
    Hills,
    Patch,
    patch_grid,
    patch_suv,
    sharpened,
)

FRACTION_OF_MAX = 0.41
HIGH_CONTRAST, LOW_CONTRAST = 8.0, 4.0

SAME_LESION_PASS = 0.25
HOTTER_PASS = 0.8
HOTTER = 1.3
"""How high the pass to a touching hill must be, as a share of the lower summit above background, for both to be one
lesion: the second number where that hill is ``HOTTER`` times the lesion (above background)."""

STRICTER_PASSES = (0.0, 0.65, 0.85)
"""Tried in turn until the result is no longer too large for a lesion: a node beside the brain."""

CLIMB_MM = 6.0
"""The summit of what was clicked is looked for no further than this from the click when it lies on a slope."""

LOWEST_CONTRAST = 1.4
"""Maximum over background below which there is nothing to delineate."""

PATCH_HALF_WIDTHS_MM = (45.0, 80.0, 120.0)
SPILL_REACH_MM = 14.0
SPILL_BIN_MM = 2.0
LEAK_RATIO = 2.0
_ROUNDS = 8


def threshold_suv(suv_max: float, background_suv: float) -> float:
    """The adaptive threshold in g/ml; see the module's text."""
    if background_suv <= 0 or suv_max >= HIGH_CONTRAST * background_suv:
        return FRACTION_OF_MAX * suv_max
    of_excess_when_high = (FRACTION_OF_MAX * HIGH_CONTRAST - 1) / (HIGH_CONTRAST - 1)
    low = min(1.0, (HIGH_CONTRAST - suv_max / background_suv) / (HIGH_CONTRAST - LOW_CONTRAST))
    of_excess = of_excess_when_high + low * (FRACTION_OF_MAX - of_excess_when_high)
    return background_suv + of_excess * (suv_max - background_suv)


@dataclass(frozen=True)
class ClickedLesion:
    """What a click found.

    Attributes:
        mask: boolean zyx array on ``geometry``.
        geometry: a part of the PET's grid (coarsened where the PET's voxels are below 2 mm).
        suv_max, background_suv, threshold_suv: g/ml.
        volume_ml: on that grid.
    """

    mask: np.ndarray
    geometry: Geometry
    suv_max: float
    background_suv: float
    threshold_suv: float

    @property
    def volume_ml(self) -> float:
        """Volume of the region."""
        return int(np.count_nonzero(self.mask)) * self.geometry.voxel_volume_ml


def delineate_click(
    pet: sitk.Image, point_lps_mm: tuple[float, float, float], taken: sitk.Image | None = None
) -> ClickedLesion:
    """The lesion at a position.

    Args:
        pet: SUVbw in g/ml, on any grid.
        point_lps_mm: the click, LPS.
        taken: image, non-zero in lesions that are already there, on any grid.

    Raises:
        LesionError: nothing was found there, saying why with the numbers: outside the PET, outside the body, inside a
            lesion, too little uptake against the background, or part of a hot region too large to be a lesion.
    """
    point = np.asarray(point_lps_mm, float)
    whole = Geometry.from_image(pet)
    ijk = whole.to_ijk(point)
    if not np.isfinite(ijk).all() or (ijk < -0.5).any() or (ijk > np.asarray(whole.size) - 0.5).any():
        raise LesionError(
            f"The click at ({', '.join(f'{x:.0f}' for x in point)}) mm lies outside the PET. Click inside it."
        )
    for half_width in PATCH_HALF_WIDTHS_MM:
        grid = patch_grid(whole, point, half_width)
        suv = patch_suv(pet, grid)
        occupied = np.zeros(suv.shape, bool) if taken is None else _array(resample(taken, grid, nearest=True)) != 0
        index = np.clip(np.rint(grid.to_ijk(point)).astype(int), 0, np.asarray(grid.size) - 1)
        patch = Patch(suv, grid, occupied, tuple(index[::-1].tolist()))
        found = _Search(patch).run()
        if not _cut_off(found.mask, grid, whole):
            break
    why_not = why_no_lesion(found.mask, grid, found.threshold_suv, found.background_suv, whole)
    if why_not is not None:
        raise LesionError(f"The region that was clicked {why_not}. Click the lesion itself, or paint it.")
    return found


def _array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


def _cut_off(mask: np.ndarray, grid: Geometry, whole: Geometry) -> bool:
    """Whether a region reaches the edge of its patch where the PET goes on."""
    low = whole.to_ijk(np.asarray(grid.origin_mm)) > 0.5
    high = whole.to_ijk(grid.to_lps(np.asarray(grid.size) - 1.0)) < np.asarray(whole.size) - 2.5
    for axis, (before, after) in enumerate(zip(low[::-1], high[::-1], strict=True)):
        ends = np.take(mask, [0, -1], axis)
        first, last = np.take(ends, 0, axis).any(), np.take(ends, 1, axis).any()
        if (before and first) or (after and last):
            return True
    return False


class _Search:
    """One click on one patch."""

    def __init__(self, patch: Patch):
        self.patch = patch
        self.suv = patch.suv
        self.stricter = 0.0
        self.from_click = patch.distance_to_voxel_mm(patch.click)
        self.here = float(self.suv[patch.click])
        self._refuse_air_and_taken()
        self.background = self._first_background()
        contrast = max(self.here - self.background, 0.1)
        self.sharp = sharpened(self.suv, patch.spacing)
        floor = self.background + 0.1 * contrast
        self.hills = Hills(self.sharp, (self.suv > floor) & ~patch.taken, 0.05 * contrast)
        self.neighbours = self.hills.neighbours()
        self.own = int(self.hills.number[patch.click])
        self.highest = np.full(self.hills.n + 1, -np.inf, np.float32)
        np.maximum.at(self.highest, self.hills.number.ravel(), self.suv.ravel())
        near = (self.from_click <= CLIMB_MM) & (self.hills.number == self.own) & (self.hills.number > 0)
        self.seed = near
        close = near & (self.from_click <= max(3.0, 1.01 * min(patch.spacing)))
        self.level = float(self.suv[close].max()) if close.any() else self.here

    def _refuse_air_and_taken(self) -> None:
        if self.patch.taken[self.patch.click]:
            raise LesionError(
                "The click lies inside a lesion that is already there. Click beside it, or edit that lesion."
            )
        around = self.suv[self.from_click <= 10.0]
        if self.here < AIR_SUV and float(np.median(around)) < AIR_SUV:
            raise LesionError(
                f"The click lies outside the body: SUV {self.here:.2f} here and around. Click on the lesion's uptake."
            )

    def _first_background(self) -> float:
        """Median of the surrounding tissue; improved later by a shell around the lesion."""
        around = self.suv[(self.from_click <= 30.0) & (self.suv > AIR_SUV) & ~self.patch.taken]
        if not around.size:
            return 0.0
        cool = around[around < 0.5 * max(self.here, float(np.median(around)))]
        return float(np.median(cool)) if cool.size >= 20 else float(np.percentile(around, 20))

    def run(self) -> ClickedLesion:
        """The lesion; where all that belongs together is too large for one, only what higher passes join."""
        if not self.own:
            self._nothing()
        first_background = self.background
        for stricter in STRICTER_PASSES:
            self.stricter, self.background = stricter, first_background
            found = self._settle()
            too_large = too_large_ml(found.mask, self.suv, self.patch.taken, found.threshold_suv, self.patch.voxel_ml)
            if too_large is None:
                break
        else:
            if self.here < BRAIN_SUV:
                self._nothing()
            self._refuse_large(too_large, found.threshold_suv)
        return found

    def _settle(self) -> ClickedLesion:
        """Threshold, region and background in turn until they agree."""
        region = None
        for _ in range(_ROUNDS):
            region, peak, threshold = self._region()
            if region is None:
                self._nothing()
            background = self._around(region, threshold)
            settled = abs(background - self.background) < 0.01 * max(self.background, 0.1)
            self.background = background
            if settled:
                break
        if peak < LOWEST_CONTRAST * self.background:
            self._nothing()
        return ClickedLesion(region, self.patch.geometry, peak, self.background, threshold)

    def _nothing(self) -> NoReturn:
        """Say why: the middle of something large and hot, or no contrast."""
        level = 0.7 * self.here
        if self.here >= BRAIN_SUV and not self.patch.taken[self.patch.click]:
            pieces, _ = ndimage.label(self.suv >= level)
            volume = np.count_nonzero(pieces == pieces[self.patch.click]) * self.patch.voxel_ml
            if volume > LARGEST_ML:
                self._refuse_large(volume, level)
        around = self.suv[(self.from_click <= 30.0) & (self.suv > AIR_SUV)]
        background = float(np.median(around)) if around.size else 0.0
        raise LesionError(
            f"No lesion was found: the click was below the threshold (SUV {self.here:.1f} here, background "
            f"{background:.1f}). Click on the hottest part of the lesion, or paint it."
        )

    def _refuse_large(self, volume: float, threshold: float) -> NoReturn:
        raise LesionError(
            f"The click lies in a hot region of {volume:.0f} ml or more (SUV {self.here:.1f} here, threshold "
            f"{threshold:.1f}), too large for a lesion: probably the brain. Click the lesion itself, or paint it."
        )

    # --- the lesion and its neighbours ---

    def _region(self) -> tuple[np.ndarray | None, float, float]:
        """Region, maximum and threshold at the present background; the region is None when the click is not in it."""
        cluster, slope = self._cluster()
        number = self.hills.number
        inside = np.zeros(self.hills.n + 1, bool)
        inside[list(cluster)] = True
        allowed = inside[number]
        peak = max(float(self.highest[hill]) for hill in cluster)
        hot = self._hotter(inside, self.level if slope else peak, slope)
        excess = self.suv
        if hot.any():
            allowed &= ~hot
            # On a slope the hill is the neighbour's own: its flank must be measured, not left out as the lesion.
            spill = self._spill(hot, np.zeros_like(allowed) if slope else allowed)
            excess = self.suv - spill
            # An estimate is no better than itself: where more was taken off than is left, nothing can be told.
            allowed &= excess - self.background >= spill
            where = allowed & self.seed if slope else allowed
            if not where.any():
                return None, peak, 0.0
            peak = float(excess[where].max())
        if slope:
            allowed &= self.from_click <= 4 * CLIMB_MM
        return self._leak_free(excess, allowed, peak)

    def _cluster(self) -> tuple[set[int], bool]:
        """The hills of the lesion, and whether the click lies on the slope of something much hotter."""
        peak = float(self.highest[self.own])
        if threshold_suv(peak, self.background) > self.level:
            return {self.own}, True
        cluster, refused = {self.own}, set()
        top = float(self.hills.summit[self.own])
        waiting = [(-height, other) for other, height in self.neighbours[self.own].items()]
        heapq.heapify(waiting)
        while waiting:
            height, hill = heapq.heappop(waiting)
            if hill in cluster or hill in refused:
                continue
            summit, suv_max = float(self.hills.summit[hill]), float(self.highest[hill])
            joint = max(peak, suv_max)
            # Hotter is a question of uptake: sharpening lifts a small hill more than a wide one.
            hotter = suv_max - self.background > HOTTER * (peak - self.background)
            share = max(HOTTER_PASS if hotter else SAME_LESION_PASS, self.stricter)
            high_pass = -height - self.background >= share * (min(top, summit) - self.background)
            if high_pass and threshold_suv(joint, self.background) <= self.level:
                cluster.add(hill)
                peak, top = joint, max(top, summit)
                for other, other_height in self.neighbours[hill].items():
                    heapq.heappush(waiting, (-other_height, other))
            else:
                refused.add(hill)
        return cluster, False

    def _hotter(self, inside: np.ndarray, peak: float, slope: bool) -> np.ndarray:
        """Cores of what is hotter than the lesion: each hill above its own threshold."""
        levels = np.array([np.inf, *(threshold_suv(float(h), self.background) for h in self.highest[1:])], np.float32)
        cores = ~inside & (self.highest > peak)
        if slope:
            cores |= inside
        levels[~cores] = np.inf
        return self.suv >= levels[self.hills.number]

    def _spill(self, hot: np.ndarray, lesion: np.ndarray) -> np.ndarray:
        """What the hotter neighbours add at each distance from them: zyx array in g/ml."""
        distance = self.patch.distance_mm(hot)
        away = (distance > 0) & (distance < SPILL_REACH_MM) & (self.from_click > 2 * CLIMB_MM) & ~self.patch.taken
        other = away & ~lesion
        away = other if np.count_nonzero(other) > 50 else away
        bins = np.arange(0, SPILL_REACH_MM + SPILL_BIN_MM, SPILL_BIN_MM)
        index = (distance[away] / SPILL_BIN_MM).astype(int)
        values = self.suv[away]
        profile = np.zeros(len(bins))
        for n in range(len(bins) - 1):
            part = values[index == n]
            profile[n] = max(0.0, float(np.median(part)) - self.background) if part.size >= 4 else 0.0
        profile = np.maximum.accumulate(profile[::-1])[::-1]
        return np.interp(distance, bins + SPILL_BIN_MM / 2, profile, right=0.0).astype(np.float32)

    # --- region, background ---

    def _leak_free(
        self, excess: np.ndarray, allowed: np.ndarray, peak: float
    ) -> tuple[np.ndarray | None, float, float]:
        threshold = threshold_suv(peak, self.background)
        highest = self.background + 0.8 * (peak - self.background)
        region = self._connected(allowed & (excess >= threshold), excess)
        while region is not None and threshold * 1.05 < highest:
            tighter = self._connected(allowed & (excess >= 1.1 * threshold), excess)
            if tighter is None or np.count_nonzero(region) <= LEAK_RATIO * np.count_nonzero(tighter):
                break
            threshold *= 1.05
            region = self._connected(allowed & (excess >= threshold), excess)
        return region, peak, threshold

    def _connected(self, mask: np.ndarray, excess: np.ndarray) -> np.ndarray | None:
        """The piece of ``mask`` at the click, or at the highest voxel near it."""
        pieces, _ = ndimage.label(mask, CORNERS)
        piece = int(pieces[self.patch.click])
        if not piece:
            near = self.seed & mask
            if not near.any():
                return None
            piece = int(pieces.flat[np.argmax(np.where(near, excess, -np.inf))])
        return pieces == piece

    def _around(self, region: np.ndarray, threshold: float) -> float:
        """Uptake of the tissue around the region; the present background where there is none to look at."""
        found = surroundings_suv(region, self.suv, self.patch.taken, threshold, self.patch.spacing)
        return self.background if found is None else found
