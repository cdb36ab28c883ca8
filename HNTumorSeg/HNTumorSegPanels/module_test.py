"""What the module's own test works on: a hot ball in warm tissue, made in a moment."""

from __future__ import annotations

from typing import Any

import numpy as np

BALL_RADIUS_MM = 12.0
BALL_CENTRE_MM = (30.0, -20.0, 15.0)
"""LPS."""


def ball_patient() -> tuple[Any, float, tuple[float, float, float]]:
    """A PET node (SUVbw) with one ball of SUV 10 in tissue of SUV 1; its volume in ml and its middle, RAS in mm."""
    from scipy import ndimage

    from HNTumorSegLib.geometry import Geometry, image_from_array
    from HNTumorSegLib.mrml.scene import show_as_pet, volume_to_node

    geometry = Geometry((64, 64, 48), (3.0, 3.0, 3.0), (-94.5, -94.5, -70.5), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    zyx = np.indices(geometry.shape_zyx).reshape(3, -1)[::-1].T
    distance = np.linalg.norm(geometry.to_lps(zyx) - BALL_CENTRE_MM, axis=1).reshape(geometry.shape_zyx)
    # A scanner blurs: 6 mm full width at half maximum, which keeps the half-way contour of a ball in place.
    suv = 1.0 + 9.0 * ndimage.gaussian_filter((distance <= BALL_RADIUS_MM).astype(np.float32), 6.0 / 2.355 / 3.0)
    pet = volume_to_node(image_from_array(suv.astype(np.float32), geometry), "PET")
    show_as_pet(pet, fused=False)
    x, y, z = BALL_CENTRE_MM
    return pet, 4 / 3 * np.pi * BALL_RADIUS_MM**3 / 1000, (-x, -y, z)


def empty_segmentation(volume: Any, name: str = "Lesions") -> Any:
    """A segmentation node on a volume's grid that holds no lesion yet."""
    from HNTumorSegLib.lesions.lesion_set import LesionSet
    from HNTumorSegLib.mrml.scene import lesion_set_to_segmentation, node_geometry

    geometry = node_geometry(volume)
    return lesion_set_to_segmentation(LesionSet(geometry, np.zeros(geometry.shape_zyx, np.uint16)), volume, name)
