"""The head and neck in a scan of any length, so that heart, kidneys and bladder are never candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.geometry import Geometry, resample
from HNTumorSegLib.inference.shoulders import find_shoulders

COARSE_MM = 5.0
"""Everything here is measured on a grid of this spacing; the region is good to about one such voxel."""

LONG_FIELD_MM = 450.0
"""A scan no longer than this from head to foot is taken as a head-and-neck scan and searched whole."""

BRAIN_SUV = (4.0, 3.0)
"""Thresholds tried in turn. Grey matter usually has SUV 5 to 12 in FDG-PET, liver and marrow stay below 3."""

WHOLE_BRAIN_ML = 400.0
CUT_BRAIN_ML = 15.0
BRAIN_SHARE_OF_SLICE = 0.3
"""The brain fills about half of its slice of the body; the heart fills a tenth, a full bladder less."""

HEAD_SLICE_MIN_CM2 = 100.0
"""An adult's head measures 200 to 300 cm2 in an axial slice, a raised arm or hand up to 90."""

TOP_MARGIN_MM = 40.0
BRAIN_HEIGHT_MM = 130.0
BELOW_BRAIN_MM = 210.0
"""From the base of the cerebellum to just below the clavicles in a large adult."""

BELOW_BRAIN_TOP_MM = 360.0
BELOW_SHOULDERS_MM = 100.0
BELOW_TOP_MM = 230.0
"""Where no brain is seen, up to 2 cm of it (less than 15 ml) may be in the scan above the neck."""

TOUCHES_TOP_MM = 15.0
BODY_SUV = 0.3
BODY_MARGIN_MM = 20.0

WHOLE_SCAN, BRAIN, CUT_BRAIN, NO_BRAIN = "whole", "brain", "cut brain", "no brain"
SHOULDERS = "shoulders"


@dataclass(frozen=True)
class HeadNeckRegion:
    """The box that is searched for lesions.

    Attributes:
        low_mm, high_mm: its LPS bounds (outer faces).
        found: ``whole`` (short scan), ``brain``, ``cut brain`` (the scan begins at the skull base or within the
            brain), ``shoulders`` (it begins below the brain, at a head or neck above shoulders) or ``no brain`` (long
            scan in which neither was seen: all of it is searched).
        brain_mm: lowest and highest S coordinate of the brain, or None.
        field_mm: length of the scan from head to foot.
        seen: what was seen of the brain, however long the scan is: ``brain``, ``cut brain`` or ``no brain``.
        seen_share: share of the body's slice that it fills, all hot parts at the top together where it is cut; 0 to 1.
    """

    low_mm: tuple[float, float, float]
    high_mm: tuple[float, float, float]
    found: str
    brain_mm: tuple[float, float] | None
    field_mm: float
    seen: str = NO_BRAIN
    seen_share: float = 0.0

    @property
    def length_mm(self) -> float:
        """Extent along S."""
        return self.high_mm[2] - self.low_mm[2]

    def sentence(self, searched_all: bool = False) -> str:
        """What was searched, for the user; empty for a short scan, which is searched whole.

        ``searched_all``: the model does not keep to the region.
        """
        if self.found == WHOLE_SCAN:
            return ""
        if self.found == NO_BRAIN or searched_all:
            no_brain = "no brain was recognised in it, so all of it was searched"
            why = "this model searches all of it" if searched_all else no_brain
            return (
                f"The scan is {self.field_mm / 10:.0f} cm long and {why}: uptake of heart, kidneys or bladder may be "
                "taken for lesions. Crop the PET to the head and neck, or remove such lesions."
            )
        how = {
            BRAIN: "the brain.",
            CUT_BRAIN: "the part of the brain at the top of the scan.",
            SHOULDERS: "the shoulders below the neck with which the scan begins; no brain was recognised. If the head "
            "and neck are elsewhere in this scan, crop the PET to them.",
        }[self.found]
        return (
            f"Only the head and neck were searched: S {self.low_mm[2]:.0f} to {self.high_mm[2]:.0f} mm "
            f"({self.length_mm / 10:.0f} of {self.field_mm / 10:.0f} cm), found from {how}"
        )


def find_head_neck(pet: sitk.Image) -> HeadNeckRegion:
    """The head-and-neck box of an FDG-PET.

    In a scan longer than 45 cm the brain is looked for: the hot part (SUV > 4, then > 3) of at least 400 ml in the
    upper half of the scan that fills much of its slice of the body; failing that, a hot part of a head-sized slice
    cut by the top of the scan (eyes-to-thigh acquisitions). Searched is from 4 cm above it to 36 cm below the brain's
    top or 21 cm below its base, whichever is higher: just below the clavicles. Without a brain, and where the scan
    begins with a neck, it is from the top to 10 cm below the shoulders' top, 23 cm at least. Left to right and front
    to back, the box is that of the body.

    Args:
        pet: SUVbw, any orientation; S is read from its geometry.
    """
    grid = Geometry.from_image(pet).axis_aligned(COARSE_MM)
    if pet.GetPixelID() != sitk.sitkFloat32:
        pet = sitk.Cast(pet, sitk.sitkFloat32)
    suv = sitk.GetArrayFromImage(resample(pet, grid))
    bounds_low, bounds_high = Geometry.from_image(pet).bounds_mm()
    field_mm = float(bounds_high[2] - bounds_low[2])
    low, high = bounds_low.copy(), bounds_high.copy()
    brain, seen, share = _find_brain(suv, grid)
    found = seen
    if field_mm <= LONG_FIELD_MM:
        brain, found = None, WHOLE_SCAN
    if brain is not None:
        base = min(brain[0], brain[1] - BRAIN_HEIGHT_MM) if found == BRAIN else brain[0]
        low[2] = max(low[2], brain[1] - BELOW_BRAIN_TOP_MM, base - BELOW_BRAIN_MM)
        high[2] = min(high[2], brain[1] + TOP_MARGIN_MM)
    elif found == NO_BRAIN:
        below_top = find_shoulders(_body(suv), COARSE_MM)
        if below_top is not None:
            found = SHOULDERS
            low[2] = max(low[2], high[2] - max(below_top + BELOW_SHOULDERS_MM, BELOW_TOP_MM))
    _crop_to_body(suv, grid, low, high)
    bounds = tuple(float(x) for x in low), tuple(float(x) for x in high)
    return HeadNeckRegion(*bounds, found, brain, field_mm, seen, share)


def sharper_suv(suv: np.ndarray) -> np.ndarray:
    """SUV on the coarse grid as the brain is looked for in it: the noise taken off."""
    return ndimage.gaussian_filter(suv, 0.6)


def _body(suv: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(suv, 1.0) > BODY_SUV


def _find_brain(suv: np.ndarray, grid: Geometry) -> tuple[tuple[float, float] | None, str, float]:
    """Lowest and highest S coordinate of the brain (None if there is none), how it was found, share of its slice."""
    body = _body(suv)
    sharper = sharper_suv(suv)
    best_cut: _HotPart | None = None
    cut_share = 0.0
    for threshold in BRAIN_SUV:
        parts = [part for part in _hot_parts(sharper > threshold, body, grid) if part.in_upper_half and part.in_head]
        whole = [part for part in parts if part.volume_ml >= WHOLE_BRAIN_ML and part.share >= BRAIN_SHARE_OF_SLICE]
        if whole:
            brain = max(whole, key=lambda part: part.s_mm[1])
            return brain.s_mm, CUT_BRAIN if brain.at_top else BRAIN, brain.share
        at_top = [part for part in parts if part.at_top]
        cut_share = max(cut_share, sum(part.share for part in at_top))
        best_cut = best_cut or max(at_top, key=lambda part: part.volume_ml, default=None)
    # Only now: with arms raised, a hot injection site at the top must not be taken for a brain that is there lower.
    return (best_cut.s_mm, CUT_BRAIN, cut_share) if best_cut else (None, NO_BRAIN, 0.0)


@dataclass(frozen=True)
class _HotPart:
    """A connected hot part: volume, S range, place, and its relation to the slice of the body it lies in."""

    volume_ml: float
    s_mm: tuple[float, float]
    at_top: bool
    in_upper_half: bool
    share: float
    slice_cm2: float

    @property
    def in_head(self) -> bool:
        """The body around it is thicker than a raised arm or hand."""
        return self.slice_cm2 >= HEAD_SLICE_MIN_CM2


def _hot_parts(hot: np.ndarray, body: np.ndarray, grid: Geometry) -> list[_HotPart]:
    """The connected parts of ``hot`` of at least 15 ml."""
    components, _ = ndimage.label(hot)
    volumes_ml = np.bincount(components.ravel()) * grid.voxel_volume_ml
    volumes_ml[0] = 0.0
    boxes = ndimage.find_objects(components)
    parts = []
    for label in np.flatnonzero(volumes_ml >= CUT_BRAIN_ML):
        z = boxes[label - 1][0]
        share, slice_cm2 = _in_slice(components[z] == label, body[z])
        parts.append(
            _HotPart(
                volume_ml=float(volumes_ml[label]),
                s_mm=(_s_mm(grid, z.start - 0.5), _s_mm(grid, z.stop - 0.5)),
                at_top=(len(hot) - z.stop) * COARSE_MM <= TOUCHES_TOP_MM,
                in_upper_half=(z.start + z.stop) / 2 > len(hot) / 2,
                share=share,
                slice_cm2=slice_cm2,
            )
        )
    return parts


def _s_mm(grid: Geometry, k: float) -> float:
    return grid.origin_mm[2] + k * grid.spacing_mm[2]


def _in_slice(component: np.ndarray, body: np.ndarray) -> tuple[float, float]:
    """Largest share of the body's slice that the filled component takes over its slices, and that slice in cm2."""
    best = (0.0, 0.0)
    for inside, around in zip(component, body, strict=True):
        filled = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(inside, 4), iterations=3))[4:-4, 4:-4]
        parts, _ = ndimage.label(around | inside)
        voxels = int((parts == np.bincount(parts[inside]).argmax()).sum())
        best = max(best, (float(filled.sum()) / voxels, voxels * COARSE_MM**2 / 100.0))
    return best


def _crop_to_body(suv: np.ndarray, grid: Geometry, low: np.ndarray, high: np.ndarray) -> None:
    """Narrow ``low`` and ``high`` (LPS mm, changed in place) along L and P to the largest part of the body."""
    z_range = [int(np.clip(round((s - grid.origin_mm[2]) / COARSE_MM), 0, suv.shape[0])) for s in (low[2], high[2])]
    body = _body(suv[z_range[0] : z_range[1] + 1])
    parts, count = ndimage.label(body)
    if count == 0:
        return
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    box = ndimage.find_objects(parts)[sizes.argmax() - 1]
    for axis, span in ((0, box[2]), (1, box[1])):
        ends = grid.origin_mm[axis] + (np.array([span.start, span.stop]) - 0.5) * COARSE_MM
        low[axis] = max(low[axis], ends[0] - BODY_MARGIN_MM)
        high[axis] = min(high[axis], ends[1] + BODY_MARGIN_MM)
