"""Images in and out of Slicer's scene: the only place where LPS (SimpleITK, DICOM) meets RAS (Slicer)."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import GeometryError, InputError
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.mrml import core_app

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Reverses the first two axes; it is its own inverse."""

# Quantity and units as Slicer's PET modules and DICOM (CID 84, CID 85) code them, in vtkCodedEntry's text form.
SUV_QUANTITY = "CodeValue:126400|CodingSchemeDesignator:DCM|CodeMeaning:Standardized Uptake Value"
SUVBW_UNITS = "CodeValue:{SUVbw}g/ml|CodingSchemeDesignator:UCUM|CodeMeaning:Standardized Uptake Value body weight"
CT_QUANTITY = "CodeValue:112031|CodingSchemeDesignator:DCM|CodeMeaning:Attenuation Coefficient"
CT_UNITS = "CodeValue:[hnsf'U]|CodingSchemeDesignator:UCUM|CodeMeaning:Hounsfield unit"

PET_COLORS_FUSED = "vtkMRMLPETProceduralColorNodePET-DICOM"
PET_COLORS_ALONE = "vtkMRMLColorTableNodeInvertedGrey"
CT_COLORS = "vtkMRMLColorTableNodeGrey"
UNCERTAINTY_COLORS = "vtkMRMLPETProceduralColorNodePET-Heat"
PET_RANGE_SUV = (0.0, 10.0)
UNCERTAINTY_SHOWN = 0.1
"""Below it the model was sure, and the images beneath show through."""
CT_WINDOW_HU, CT_LEVEL_HU = 350.0, 40.0


def matrix_to_vtk(matrix: np.ndarray) -> Any:
    """A 4x4 array as vtkMatrix4x4."""
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    result = vtkMatrix4x4()
    result.DeepCopy(np.asarray(matrix, float).ravel().tolist())
    return result


def matrix_from_vtk(matrix: Any) -> np.ndarray:
    """A vtkMatrix4x4 as 4x4 array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def ijk_to_ras(geometry: Geometry) -> np.ndarray:
    """4x4 matrix from voxel indices (i, j, k) to RAS millimetres."""
    return LPS_TO_RAS @ geometry.ijk_to_lps()


def geometry_from_ijk_to_ras(matrix: np.ndarray, size: tuple[int, int, int], what: str) -> Geometry:
    """The grid, in LPS, of ``size`` voxels (i, j, k) under a 4x4 matrix to RAS.

    Raises:
        GeometryError: when the axes are not perpendicular (a sheared image), naming ``what``.
    """
    to_lps = LPS_TO_RAS @ matrix
    spacing = np.linalg.norm(to_lps[:3, :3], axis=0)
    if not spacing.all():
        raise GeometryError(f"{what} has a voxel size of 0 mm. Load it again.")
    direction = to_lps[:3, :3] / spacing
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-4):
        raise GeometryError(f"{what} has axes that are not perpendicular. Resample it onto a rectangular grid first.")
    return Geometry(
        tuple(int(n) for n in size),
        tuple(spacing.tolist()),
        tuple(to_lps[:3, 3].tolist()),
        tuple(direction.ravel().tolist()),
    )


def array_to_vtk(array: np.ndarray) -> Any:
    """A copy of a 1-D view of an array (zyx, so that x runs fastest) as VTK data array."""
    from vtkmodules.util.numpy_support import numpy_to_vtk

    return numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True)


def array_from_vtk_image(image: Any) -> np.ndarray:
    """The voxels of a vtkImageData, zyx, as a view; raises InputError when there are none or several a voxel."""
    from vtkmodules.util.numpy_support import vtk_to_numpy

    scalars = None if image is None else image.GetPointData().GetScalars()
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        raise InputError("The volume holds no voxels. Load it again.")
    if scalars.GetNumberOfComponents() != 1:
        raise InputError(f"The volume has {scalars.GetNumberOfComponents()} values a voxel; one is needed.")
    return vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1])


def volume_to_node(image: sitk.Image, name: str, scene: Any = None) -> Any:
    """Put an image into the scene.

    Args:
        image: 3-D, one value a voxel, in LPS; its pixel type is kept.
        name: node name.
        scene: vtkMRMLScene; the user's by default.

    Returns:
        A vtkMRMLScalarVolumeNode on exactly the same grid, with default display nodes.
    """
    from vtkmodules.vtkCommonDataModel import vtkImageData

    geometry = Geometry.from_image(image)
    data = vtkImageData()
    data.SetDimensions(geometry.size)
    data.GetPointData().SetScalars(array_to_vtk(sitk.GetArrayViewFromImage(image)))
    scene = core_app.current_scene() if scene is None else scene
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(matrix_to_vtk(ijk_to_ras(geometry)))
    node.SetAndObserveImageData(data)
    node.CreateDefaultDisplayNodes()
    return node


def node_to_image(node: Any) -> sitk.Image:
    """A copy of a scalar volume node as SimpleITK image in LPS, linear parent transforms applied to its grid.

    Raises:
        InputError: when the node is empty or has several values a voxel.
        GeometryError: when the axes are not perpendicular or the parent transform is not linear.
    """
    array = array_from_vtk_image(node.GetImageData()).copy()
    return image_from_array(array, node_geometry(node))


def node_geometry(node: Any) -> Geometry:
    """The grid of a volume node in LPS, linear parent transforms applied; errors as in :func:`node_to_image`."""
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    matrix = vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    to_ras = matrix_from_vtk(matrix)
    transform = node.GetParentTransformNode()
    if transform is not None:
        if not transform.IsTransformToWorldLinear():
            raise GeometryError(
                f"The volume '{node.GetName()}' lies under a deforming transform. Harden the transform first."
            )
        transform.GetMatrixTransformToWorld(matrix)
        to_ras = matrix_from_vtk(matrix) @ to_ras
    if node.GetImageData() is None:
        raise InputError(f"The volume '{node.GetName()}' holds no voxels. Load it again.")
    extent = node.GetImageData().GetExtent()
    to_ras = to_ras @ _shift(extent[::2])
    return geometry_from_ijk_to_ras(to_ras, node.GetImageData().GetDimensions(), f"The volume '{node.GetName()}'")


def _shift(start_ijk: tuple[int, int, int]) -> np.ndarray:
    """4x4 matrix that moves voxel (0, 0, 0) to ``start_ijk``."""
    matrix = np.eye(4)
    matrix[:3, 3] = start_ijk
    return matrix


def show_as_pet(node: Any, *, fused: bool) -> None:
    """Say that a volume is SUVbw and colour it as PET: over a CT (``fused``) or alone."""
    _set_units(node, SUV_QUANTITY, SUVBW_UNITS)
    node.SetAttribute("DICOM.Modality", "PT")
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(PET_COLORS_FUSED if fused else PET_COLORS_ALONE)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(*PET_RANGE_SUV)
    display.SetInterpolate(True)


def show_as_ct(node: Any) -> None:
    """Say that a volume is in Hounsfield units and give it a soft-tissue window."""
    _set_units(node, CT_QUANTITY, CT_UNITS)
    node.SetAttribute("DICOM.Modality", "CT")
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(CT_COLORS)
    display.AutoWindowLevelOff()
    display.SetWindowLevel(CT_WINDOW_HU, CT_LEVEL_HU)
    display.SetInterpolate(True)


def show_as_uncertainty(node: Any) -> None:
    """Colour a volume of uncertainty, 0 sure to 1, as a layer over images; where the model was sure it is clear."""
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(UNCERTAINTY_COLORS)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.0, 1.0)
    display.AutoThresholdOff()
    display.SetThreshold(UNCERTAINTY_SHOWN, 1.0)
    display.ApplyThresholdOn()
    display.SetInterpolate(True)


def _set_units(node: Any, quantity: str, units: str) -> None:
    slicer = core_app.require_slicer()
    for text, setter in ((quantity, node.SetVoxelValueQuantity), (units, node.SetVoxelValueUnits)):
        entry = slicer.vtkCodedEntry()
        entry.SetFromString(text)
        setter(entry)
