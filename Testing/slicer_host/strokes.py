"""Brush strokes in the Segment Editor, made of voxels: what a person's mouse does."""

from __future__ import annotations

from typing import Any

import numpy as np


def paint_sphere(editor: Any, center_ras: Any, radius_mm: float, erase: bool) -> None:
    """See :meth:`slicer_host.host.Host.paint_sphere`."""
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    editor.setActiveEffectByName("Erase" if erase else "Paint")
    effect = editor.activeEffect()
    modifier = effect.defaultModifierLabelmap()
    i0, i1, j0, j1, k0, k1 = modifier.GetExtent()
    image_to_world = vtk.vtkMatrix4x4()
    modifier.GetImageToWorldMatrix(image_to_world)
    matrix = np.array([[image_to_world.GetElement(row, column) for column in range(4)] for row in range(4)])
    k, j, i = np.meshgrid(np.arange(k0, k1 + 1), np.arange(j0, j1 + 1), np.arange(i0, i1 + 1), indexing="ij")
    offset_mm = np.stack([i, j, k], axis=-1) @ matrix[:3, :3].T + matrix[:3, 3] - np.asarray(center_ras, float)
    inside = (offset_mm**2).sum(axis=-1) <= radius_mm**2
    voxels = vtk_to_numpy(modifier.GetPointData().GetScalars()).reshape(inside.shape)
    voxels[inside] = 1
    modifier.Modified()
    logic = slicer.vtkSlicerSegmentEditorLogic
    effect.saveStateForUndo()
    effect.modifySelectedSegmentByLabelmap(
        modifier, logic.ModificationModeRemove if erase else logic.ModificationModeAdd
    )
    editor.setActiveEffectByName("")
