"""Where a drawn lesion comes to lie: as large as drawn, beside bone rather than in it, and whole.

A lesion is drawn at a place in the phantom's frame. What the patient's deformation puts there may be the mandible, a
vertebra or the airway. Nodes displace what they grow against and leave bone alone until late; primaries of the mouth
may destroy bone, but begin in the mucosa. So a lesion gives way until enough of it lies in soft tissue, by the smallest
of some steps; one that finds no place is left out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from HNTumorSegLib.lesions.codes import NODE, PRIMARY
from HNTumorSegLib.phantom.painter import Painting, tumour_share
from HNTumorSegLib.phantom.placement import Placement
from HNTumorSegLib.phantom.structure import Structure
from HNTumorSegLib.phantom.varied_tumours import VariedTumour, radius_of

BONE_HU = 250.0
MOST_IN_BONE = {PRIMARY: 0.3, NODE: 0.1}
MOST_CUT = {PRIMARY: 0.4, NODE: 0.06}
"""Shares of a lesion's volume; airway, skin, brain, cord and eyes cut."""

STEPS_MM = (4.0, 8.0, 12.0, 16.0)


def at_true_size(tumour: VariedTumour, placement: Placement) -> VariedTumour:
    """The lesion in the frame, such that it has its ``volume_ml`` in the patient, whom the frame does not fit."""
    center = np.asarray(tumour.shape.center)
    reach = max(4.0, 0.6 * radius_of(tumour.volume_ml))
    at = placement.find_lps(center[None])[0]
    steps = reach * np.concatenate([np.eye(3), -np.eye(3)])
    ends = placement.to_frame(at + steps)
    stretch = (ends[:3] - ends[3:]) / (2 * reach)
    factor = abs(float(np.linalg.det(stretch))) ** (1 / 3)
    core = None if tumour.core is None else tumour.core.scaled(factor, about=center)
    return replace(tumour, shape=tumour.shape.scaled(factor), core=core)


def settled(tumour: VariedTumour, painting: Painting, airways: list[Structure]) -> VariedTumour | None:
    """The lesion where it is, or moved by the smallest of :data:`STEPS_MM` that suffices, or None where none does.

    ``painting`` is the patient without lesions: its density (HU) tells bone, ``airways`` and its labels what cuts.
    """
    if _fits(tumour, painting, airways)[0]:
        return tumour
    sides = (-1.0, 0.0, 1.0)
    ways = np.array([(x, y, z) for x in sides for y in sides for z in sides if x or y or z])
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    for step in STEPS_MM:
        moved = [_moved(tumour, step * way) for way in ways]
        judged = [_fits(candidate, painting, airways) for candidate in moved]
        fitting = [number for number, (fits, _) in enumerate(judged) if fits]
        if fitting:
            return moved[min(fitting, key=lambda number: judged[number][1])]
    return None


def _moved(tumour: VariedTumour, offset_mm: np.ndarray) -> VariedTumour:
    core = None if tumour.core is None else tumour.core.moved(offset_mm)
    return replace(tumour, shape=tumour.shape.moved(offset_mm), core=core)


def _fits(tumour: VariedTumour, painting: Painting, airways: list[Structure]) -> tuple[bool, float]:
    """Whether enough of the lesion lies in soft tissue, and the share that does not; beyond the scan all fits."""
    canvas = painting.canvas
    box = canvas.box(tumour.shape)
    if box is None:
        return True, 0.0
    whole = float(canvas.coverage(tumour.shape, box).sum())
    if whole == 0:
        return True, 0.0
    share = tumour_share(canvas, tumour, painting.body, painting.labels, airways, box, active=False)
    cut = 1 - float(share.sum()) / whole
    in_bone = float(share[painting.hu[box] > BONE_HU].sum()) / whole
    return cut <= MOST_CUT[tumour.kind] and in_bone <= MOST_IN_BONE[tumour.kind], cut + in_bone
