"""Offscreen slice views made of Slicer's real displayable managers: what a person would see, as pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

# In the order in which Slicer draws them.
SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
)


class SliceView:
    """One slice view: volumes blended by Slicer's slice logic, segments drawn over them.

    Args:
        name: The view's layout name (``Red``).
        orientation: ``Axial``, ``Sagittal`` or ``Coronal``.
        size: Width and height in pixels.

    Not imitated: mouse and keyboard, the corner annotations, lightboxes.
    """

    def __init__(self, name: str, orientation: str, size: tuple[int, int] = (400, 400)) -> None:
        import slicer
        import vtk

        self.name = name
        self.renderer = vtk.vtkRenderer()
        self.renderer.SetBackground(0, 0, 0)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.Initialize()
        self._add_volumes()  # first: what is added later is drawn over it
        application_logic = slicer.app.applicationLogic()
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(application_logic)
        application_logic.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(slicer.app.mrmlScene())
        self.node = self.logic.AddSliceNode(name)
        self._orientation, self._size = orientation, size
        self.managers = self._displayable_managers(application_logic)
        self.managers.SetMRMLDisplayableNode(self.node)
        self.reset()

    def _add_volumes(self) -> None:
        import vtk

        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._volumes = vtk.vtkActor2D()
        self._volumes.SetMapper(self._mapper)
        self._volumes.GetProperty().SetDisplayLocationToBackground()
        self._volumes.SetVisibility(False)
        self.renderer.AddViewProp(self._volumes)

    def _displayable_managers(self, application_logic: Any) -> Any:
        import slicer

        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(application_logic)
        for manager in SLICE_MANAGERS:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        group = slicer.vtkMRMLDisplayableManagerGroup()
        group.SetRenderer(self.renderer)
        group.Initialize(factory, self.renderer)
        return group

    def composite_node(self) -> Any:
        """The vtkMRMLSliceCompositeNode: which volumes lie in this view."""
        return self.logic.GetSliceCompositeNode()

    def center_ras(self) -> tuple[float, float, float]:
        """The position of the view's middle, RAS in mm."""
        matrix = self.node.GetSliceToRAS()
        return tuple(matrix.GetElement(row, 3) for row in range(3))

    def image(self) -> np.ndarray:
        """The picture, shape (height, width, 3), uint8, first row on top."""
        import vtk
        from vtk.util.numpy_support import vtk_to_numpy

        self.logic.UpdatePipeline()
        connection = self.logic.GetImageDataConnection()
        self._mapper.SetInputConnection(connection)
        self._volumes.SetVisibility(connection is not None)
        self.window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self.window)
        grabber.ReadFrontBufferOff()
        grabber.SetInputBufferTypeToRGB()
        grabber.Update()
        width, height, _ = grabber.GetOutput().GetDimensions()
        pixels = vtk_to_numpy(grabber.GetOutput().GetPointData().GetScalars())
        return pixels.reshape(height, width, 3)[::-1].copy()

    def reset(self) -> None:
        """No volumes, the first orientation, the first size, around the origin."""
        composite = self.composite_node()
        for set_volume in (
            composite.SetBackgroundVolumeID,
            composite.SetForegroundVolumeID,
            composite.SetLabelVolumeID,
        ):
            set_volume(None)
        self.node.SetOrientation(self._orientation)
        self.node.JumpSliceByCentering(0, 0, 0)
        self.resize(*self._size)
        self.logic.ResizeSliceNode(*self._size)  # closing the scene resets the node, not the window

    def resize(self, width: int, height: int) -> None:
        """Another size in pixels; the position stays."""
        if self.window.GetSize() != (width, height):
            self.window.SetSize(width, height)
            self.logic.ResizeSliceNode(width, height)

    def save(self, path: str | Path) -> None:
        """Write the picture as PNG."""
        from slicer_host.pictures import save_png

        save_png(self.image(), path)

    def stop(self) -> None:
        """Leave the scene while everything is still there."""
        import slicer

        self.managers.SetMRMLDisplayableNode(None)
        slicer.app.applicationLogic().GetSliceLogics().RemoveItem(self.logic)
        self.logic.SetMRMLScene(None)
        self.window.Finalize()
