"""The bridge to Slicer's scene in one place: import what you need from here."""

from HNTumorSegLib.mrml.segmentations import lesion_set_to_segmentation, segmentation_to_lesion_set
from HNTumorSegLib.mrml.tables import measurements_to_table
from HNTumorSegLib.mrml.volumes import (
    geometry_from_ijk_to_ras,
    ijk_to_ras,
    node_geometry,
    node_to_image,
    show_as_ct,
    show_as_pet,
    show_as_uncertainty,
    volume_to_node,
)

__all__ = [
    "geometry_from_ijk_to_ras",
    "ijk_to_ras",
    "lesion_set_to_segmentation",
    "measurements_to_table",
    "node_geometry",
    "node_to_image",
    "segmentation_to_lesion_set",
    "show_as_ct",
    "show_as_pet",
    "show_as_uncertainty",
    "volume_to_node",
]
