"""A small PET/CT with balls of known place, size and uptake, put into the scene as the module's tests need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.lesions.lesion import Lesion
from HNTumorSegLib.lesions.lesion_set import LesionSet

GRID = Geometry((80, 80, 60), (3.0, 3.0, 3.0), (-118.5, -118.5, -88.5), (1, 0, 0, 0, 1, 0, 0, 0, 1))
BODY_RADIUS_MM = 100.0


@dataclass(frozen=True)
class Ball:
    """Centre in LPS mm, radius in mm, SUV inside."""

    centre_mm: tuple[float, float, float]
    radius_mm: float
    suv: float

    def mask(self) -> np.ndarray:
        return _distance(self.centre_mm) <= self.radius_mm

    @property
    def ras(self) -> tuple[float, float, float]:
        x, y, z = self.centre_mm
        return (-x, -y, z)


PRIMARY = Ball((0.0, -30.0, 20.0), 14.0, 12.0)
NODE_A = Ball((45.0, 10.0, 0.0), 8.0, 9.0)
NODE_B = Ball((45.0, 10.0, -18.0), 9.0, 7.0)
SPURIOUS = Ball((-45.0, -20.0, 30.0), 8.0, 6.0)
MISSED = Ball((-50.0, 15.0, -20.0), 10.0, 3.5)
"""Below the threshold network's SUV 4."""
BALLS = (PRIMARY, NODE_A, NODE_B, SPURIOUS, MISSED)
DENSE = (NODE_A, NODE_B, SPURIOUS)
"""What the threshold network of the tests calls a node."""


def _distance(centre_mm: tuple[float, float, float]) -> np.ndarray:
    zyx = np.indices(GRID.shape_zyx).reshape(3, -1)[::-1].T
    return np.linalg.norm(GRID.to_lps(zyx) - centre_mm, axis=1).reshape(GRID.shape_zyx)


def images() -> tuple[Any, Any]:
    """PET (SUVbw) and CT (HU) as SimpleITK images: a cylinder of SUV 1 and 40 HU in air, with the balls."""
    x = np.linalg.norm(GRID.to_lps(np.indices(GRID.shape_zyx).reshape(3, -1)[::-1].T)[:, :2], axis=1)
    body = (x <= BODY_RADIUS_MM).reshape(GRID.shape_zyx)
    suv = body.astype(np.float32)
    for ball in BALLS:
        suv[ball.mask()] = ball.suv
    suv = ndimage.gaussian_filter(suv, 4.0 / 2.355 / 3.0)
    hounsfield = np.where(body, 40, -1000).astype(np.int16)
    for ball in DENSE:
        hounsfield[ball.mask()] = 120
    return image_from_array(suv, GRID), image_from_array(hounsfield, GRID)


def lesion_set() -> LesionSet:
    """What a model might have said: the primary, two touching nodes as one, and a spurious node; one was missed."""
    labels = np.zeros(GRID.shape_zyx, np.uint16)
    labels[PRIMARY.mask()] = 1
    labels[NODE_A.mask() | NODE_B.mask()] = 2
    labels[SPURIOUS.mask()] = 3
    lesions = LesionSet(
        GRID,
        labels,
        [Lesion(1, "primary", "", score=0.93), Lesion(2, "node", "", score=0.71), Lesion(3, "node", "", score=0.52)],
    )
    lesions.rename()
    return lesions


@dataclass
class Case:
    """The nodes of a case in the scene."""

    pet: Any
    ct: Any
    segmentation: Any = None
    uncertainty: Any = None


def put_images(*, pet_says_suv: bool = True, factor: float = 1.0) -> Case:
    """PET and CT in the scene; the PET's values times ``factor``."""
    from HNTumorSegLib.mrml.scene import show_as_ct, show_as_pet, volume_to_node

    suv, hounsfield = images()
    pet, ct = volume_to_node(suv * factor if factor != 1 else suv, "PET"), volume_to_node(hounsfield, "CT")
    if pet_says_suv:
        show_as_pet(pet, fused=True)
    show_as_ct(ct)
    return Case(pet, ct)


def put_case() -> Case:
    """PET, CT, the lesions and an uncertainty volume in the scene, as after a run of the module."""
    from HNTumorSegLib.mrml.scene import lesion_set_to_segmentation, volume_to_node
    from HNTumorSegPanels.parameters import Origin

    case = put_images()
    case.segmentation = lesion_set_to_segmentation(lesion_set(), case.pet, "Lesions")
    unsure = np.where(SPURIOUS.mask(), 0.75, 0.125).astype(np.float32)
    case.uncertainty = volume_to_node(image_from_array(unsure, GRID), "Uncertainty")
    Origin(case.segmentation).set(case.pet, case.ct, case.uncertainty, "test 1.0", "cpu", ["A note."])
    return case
