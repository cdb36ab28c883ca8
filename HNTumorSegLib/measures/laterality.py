"""On which side of the patient a lesion lies.

The midline is found from the outline of the body in the PET, near the lesions: in each row of each axial slice the
point half-way between the body's left and right edge lies on it. A plane ``x = a + b y + c z`` is fitted through these
points, which follows a head that is tilted to one side; rows that an arm, a blanket or a lesion under the skin pulls
aside are outliers to the fit. Of a head that is turned about the long axis only about a third of the turn is seen (the
row middles of an oval lie between): 10 degrees make an error of 2 mm for each 20 mm in front of or behind the middle
of the body. The CT is not asked, so that a study has the same answer with and without it.

Where the plane cannot be trusted there is none, and the side is ``unknown``: the body is cut off at the left or right
edge of the image, the image is narrower than 25 cm (a limb alone looks like a body), too little of it is seen, a slice
holds two bodies of similar size (legs), the points scatter, the plane is tilted by more than 20 degrees, or the body is
turned by about 25 degrees or more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.geometry import Geometry, resample
from HNTumorSegLib.inference.region import BODY_SUV

LEFT, RIGHT, MIDLINE, BILATERAL, UNKNOWN = "left", "right", "midline", "bilateral", "unknown"

MIDLINE_MM = 5.0
"""A lesion whose centre is no further from the midline than this lies on it: about what the plane is good for."""

COARSE_MM = 4.0
NEAR_MM = 40.0
"""Slices up to this far above and below the lesions are looked at."""

NARROWEST_FIELD_MM = 250.0
"""In an image cropped to less than this from left to right the body may be a limb, with the other one outside."""

MOST_SLICES = 30
"""Spread evenly; more would only take time."""

NARROWEST_ROW_MM = 60.0
FEWEST_ROWS = 100
SECOND_BODY = 0.6
"""A second part of a slice this large beside the largest: legs; a raised arm is below half of a head."""

LARGEST_SPREAD_MM = 8.0
LARGEST_TILT = np.tan(np.radians(20.0))
LARGEST_TURN = np.tan(np.radians(9.0))
"""As far as it is seen in the row middles."""

SEEN_SHARE = 0.7
"""At least this part of the slices and of the rows must be usable."""

_ROUNDS = 20
_OUTLIER_SPREADS = 4.7
"""Tukey's biweight with 95 % efficiency for normal errors."""


@dataclass(frozen=True)
class Midline:
    """The patient's midsagittal plane ``x = a + b y + c z`` in LPS mm, and the points' spread around it.

    Without a plane ``coefficients`` is None and ``reason`` says why.
    """

    coefficients: tuple[float, float, float] | None = None
    spread_mm: float | None = None
    reason: str = ""

    def offset_mm(self, lps_mm: np.ndarray) -> float | None:
        """How far a position lies from the midline, positive to the patient's left; None without a plane."""
        if self.coefficients is None:
            return None
        a, b, c = self.coefficients
        x, y, z = (float(v) for v in lps_mm)
        return (x - a - b * y - c * z) / float(np.sqrt(1 + b * b + c * c))


def side_of(offset_mm: float | None) -> str:
    """``left``, ``right``, ``midline`` or ``unknown``."""
    if offset_mm is None:
        return UNKNOWN
    if abs(offset_mm) <= MIDLINE_MM:
        return MIDLINE
    return LEFT if offset_mm > 0 else RIGHT


def side_of_all(sides: list[str]) -> str:
    """The side of several lesions: ``bilateral`` with both, ``unknown`` with one that is, ``""`` without any."""
    if not sides:
        return ""
    if UNKNOWN in sides:
        return UNKNOWN
    found = {s for s in sides if s != MIDLINE}
    return MIDLINE if not found else BILATERAL if len(found) > 1 else found.pop()


def find_midline(pet: sitk.Image, low_mm: float, high_mm: float) -> Midline:
    """The patient's midline between two S coordinates, :data:`NEAR_MM` added.

    Args:
        pet: SUVbw, any orientation, with a geometry that tells the patient's axes.
        low_mm: lowest S coordinate of the lesions.
        high_mm: highest.
    """
    whole = Geometry.from_image(pet).axis_aligned(COARSE_MM)
    bottom, top = max(whole.origin_mm[2], low_mm - NEAR_MM), min(whole.corners_mm()[:, 2].max(), high_mm + NEAR_MM)
    if whole.size[0] * COARSE_MM < NARROWEST_FIELD_MM:
        return Midline(reason=f"the image is only {whole.size[0] * COARSE_MM:.0f} mm wide, so the body may be cut off")
    if top - bottom < NEAR_MM / 2:
        return Midline(reason="hardly any slice near the lesions")
    n = int(np.clip((top - bottom) / COARSE_MM, 2, MOST_SLICES))
    grid = Geometry(
        (*whole.size[:2], n),
        (COARSE_MM, COARSE_MM, (top - bottom) / (n - 1)),
        (*whole.origin_mm[:2], bottom),
        whole.direction,
    )
    image = pet if pet.GetPixelID() == sitk.sitkFloat32 else sitk.Cast(pet, sitk.sitkFloat32)
    suv = np.nan_to_num(sitk.GetArrayFromImage(resample(image, grid)))
    return _plane(ndimage.gaussian_filter(suv, (0, 1, 1)) > BODY_SUV, grid)


def _plane(body: np.ndarray, grid: Geometry) -> Midline:
    """The plane through the rows' middles."""
    rows, unfit = [], {}
    for k, inside in enumerate(body):
        found = _rows_of_slice(inside)
        if isinstance(found, str):
            unfit[found] = unfit.get(found, 0) + 1
        else:
            rows.append(np.insert(found, 0, k, axis=1))
    if len(rows) < SEEN_SHARE * len(body):
        return Midline(reason=max(unfit, key=unfit.get))
    points = np.concatenate(rows)
    if len(points) < FEWEST_ROWS:
        return Midline(reason="too little of the body is seen")
    lps = grid.to_lps(points[:, ::-1])
    coefficients, spread = _robust_fit(lps)
    if spread > LARGEST_SPREAD_MM:
        return Midline(reason=f"left and right differ too much (spread {spread:.0f} mm)")
    if abs(coefficients[1]) > LARGEST_TURN or abs(coefficients[2]) > LARGEST_TILT:
        return Midline(reason="the body is turned or tilted too much")
    return Midline(tuple(float(x) for x in coefficients), spread)


def _rows_of_slice(inside: np.ndarray) -> np.ndarray | str:
    """Row number and middle column of the usable rows of one slice, shape (n, 2); or why there are none."""
    parts, n = ndimage.label(inside)
    if not n:
        return "no body near the lesions"
    sizes = np.sort(np.bincount(parts.ravel())[1:])
    if n > 1 and sizes[-2] > SECOND_BODY * sizes[-1]:
        return "two bodies of similar size in a slice"
    largest = parts == 1 + int(np.bincount(parts.ravel())[1:].argmax())
    rows = np.flatnonzero(largest.any(axis=1))
    first = largest[rows].argmax(axis=1)
    last = largest.shape[1] - 1 - largest[rows, ::-1].argmax(axis=1)
    cut = (first == 0) | (last == largest.shape[1] - 1)
    wide = (last - first + 1) * COARSE_MM >= NARROWEST_ROW_MM
    if np.count_nonzero(cut) > (1 - SEEN_SHARE) * len(rows):
        return "the body is cut off at the left or right edge of the image"
    if not (wide & ~cut).any():
        return "too little of the body is seen"
    return np.column_stack([rows, (first + last) / 2])[wide & ~cut]


def _robust_fit(lps: np.ndarray) -> tuple[np.ndarray, float]:
    """Coefficients of ``x = a + b y + c z`` (iterated least squares, Tukey's weights), and the residuals' spread."""
    x = lps[:, 0]
    centre = lps[:, 1:].mean(axis=0)
    design = np.column_stack([np.ones(len(x)), lps[:, 1:] - centre])
    solution = np.array([np.median(x), 0.0, 0.0])
    spread = 0.0
    for _ in range(_ROUNDS):
        residuals = x - design @ solution
        spread = 1.4826 * float(np.median(np.abs(residuals)))
        limit = _OUTLIER_SPREADS * max(spread, COARSE_MM / 4)
        weights = np.clip(1 - (residuals / limit) ** 2, 0, None)
        solution = np.linalg.lstsq(design * weights[:, None], x * weights, rcond=None)[0]
    solution[0] -= solution[1:] @ centre
    return solution, spread
