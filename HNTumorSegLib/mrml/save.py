"""Slicer scene files (``scene.mrb``): of a study and its lesions, or of the scene that the user works in."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from HNTumorSegLib.errors import OutputError
from HNTumorSegLib.exchange.segment_facts import ALGORITHM_NAME
from HNTumorSegLib.lesions.lesion_set import LesionSet
from HNTumorSegLib.measures.table import Measurements
from HNTumorSegLib.mrml import core_app
from HNTumorSegLib.mrml.segmentations import lesion_set_to_segmentation, put_into
from HNTumorSegLib.mrml.tables import measurements_to_table
from HNTumorSegLib.mrml.volumes import LPS_TO_RAS, show_as_ct, show_as_pet, volume_to_node
from HNTumorSegLib.study.study import Study

logger = logging.getLogger(__name__)

PET_NAME, CT_NAME, SEGMENTATION_NAME, TABLE_NAME = "PET SUVbw", "CT", "Lesions", "Lesion table"
SEGMENTATION = "vtkMRMLSegmentationNode"
PET_OPACITY = 0.5
SLICE_VIEWS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}
FIELD_OF_VIEW_MM = 300.0


def save_scene(
    study: Study,
    lesion_set: LesionSet,
    measurements: Measurements | None,
    path: str | Path,
    *,
    algorithm_name: str = ALGORITHM_NAME,
) -> Path:
    """Write PET (SUVbw), CT, lesions and table as a scene that opens in Slicer with the fused display set up.

    The scene is built aside: the scene that the user works in is not touched. It names no patient.

    Args:
        study: the images; without CT the PET is shown alone.
        lesion_set: lesions on the PET's or on the CT's grid.
        measurements: the table, or None to leave it out.
        path: ends in ``.mrb``.

    Raises:
        MissingPackageError: when neither Slicer nor slicer-core is there.
        GeometryError: when the lesions lie neither on the PET's nor on the CT's grid.
        OutputError: when the file cannot be written whole.
    """
    path = Path(path)
    scene = core_app.new_scene()
    try:
        build_scene(scene, study, lesion_set, measurements, algorithm_name)
        _write(scene, path)
    finally:
        scene.Clear(True)
    return path


def save_whole_scene(scene: Any, path: str | Path) -> list[str]:
    """Write a scene as it is into one file; the scene itself, and where its nodes are stored, stay as they were.

    Segmentations without segments are left out (MRML aborts the process on them, see :func:`build_scene`).

    Args:
        scene: a vtkMRMLScene, for instance the user's.
        path: ends in ``.mrb``.

    Returns:
        Names of the nodes that were left out.

    Raises:
        OutputError: when the file cannot be written whole.
    """
    found = [scene.GetNthNodeByClass(n, SEGMENTATION) for n in range(scene.GetNumberOfNodesByClass(SEGMENTATION))]
    empty = [
        node
        for node in found
        if node.GetSaveWithScene() and (node.GetSegmentation() is None or not node.GetSegmentation().GetSegmentIDs())
    ]
    for node in empty:
        node.SetSaveWithScene(False)
    try:
        _write(scene, Path(path))
    finally:
        for node in empty:
            node.SetSaveWithScene(True)
    return [node.GetName() for node in empty]


def build_scene(
    scene: Any,
    study: Study,
    lesion_set: LesionSet,
    measurements: Measurements | None,
    algorithm_name: str = ALGORITHM_NAME,
) -> None:
    """Fill a scene with a study's volumes, lesions, table and views.

    Without lesions there is no segmentation node: MRML aborts the process when it bundles one without segments
    (its storage node has no file extension then; seen with slicer-core 5.11).
    """
    slicer = core_app.require_slicer()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study_item = hierarchy.CreateStudyItem(patient, "PET/CT" if study.ct is not None else "PET")

    pet = volume_to_node(study.pet, PET_NAME, scene)
    show_as_pet(pet, fused=study.ct is not None)
    put_into(hierarchy, study_item, pet)
    ct = None
    if study.ct is not None:
        ct = volume_to_node(study.ct, CT_NAME, scene)
        show_as_ct(ct)
        put_into(hierarchy, study_item, ct)

    on_ct = ct is not None and lesion_set.geometry.distance_mm(study.ct_geometry) < lesion_set.geometry.distance_mm(
        study.pet_geometry
    )
    if len(lesion_set):
        lesion_set_to_segmentation(lesion_set, ct if on_ct else pet, SEGMENTATION_NAME, algorithm_name=algorithm_name)
    if measurements is not None:
        table = measurements_to_table(measurements, TABLE_NAME, scene)
        put_into(hierarchy, study_item, table)
    _set_views(scene, pet, ct, _centre_lps_mm(study, lesion_set))


def _centre_lps_mm(study: Study, lesion_set: LesionSet) -> np.ndarray:
    """Where the views should look: the middle of the largest lesion, else of the PET."""
    volumes = lesion_set.volumes_ml()
    boxes = lesion_set.boxes()
    if not boxes or not volumes:
        return np.mean(study.pet_geometry.bounds_mm(), axis=0)
    largest = max(volumes, key=volumes.get)
    box = boxes[largest]
    zyx = np.argwhere(lesion_set.labels[box] == largest).mean(axis=0) + [axis.start for axis in box]
    return lesion_set.geometry.to_lps(zyx[::-1])


def _set_views(scene: Any, pet: Any, ct: Any, centre_lps_mm: np.ndarray) -> None:
    """Slice views on the lesion: CT behind and PET in front, or the PET alone."""
    slicer = core_app.require_slicer()
    centre_ras_mm = (LPS_TO_RAS @ [*centre_lps_mm, 1.0])[:3]
    background, foreground = (pet, None) if ct is None else (ct, pet)
    for view, orientation in SLICE_VIEWS.items():
        # The layout name as singleton tag: on opening, Slicer's own view of that name takes these settings over.
        composite = slicer.vtkMRMLSliceCompositeNode()
        composite.SetLayoutName(view)
        composite.SetSingletonTag(view)
        composite = scene.AddNode(composite)
        composite.SetBackgroundVolumeID(background.GetID())
        composite.SetLinkedControl(True)
        if foreground is not None:
            composite.SetForegroundVolumeID(foreground.GetID())
            composite.SetForegroundOpacity(PET_OPACITY)
        # Through the scene, so that it knows the scene's orientation presets.
        slice_node = scene.CreateNodeByClass("vtkMRMLSliceNode")
        slice_node.UnRegister(None)
        slice_node.SetLayoutName(view)
        slice_node.SetName(view)
        slice_node.SetSingletonTag(view)
        slice_node = scene.AddNode(slice_node)
        slice_node.SetOrientation(orientation)
        slice_node.SetDimensions(400, 400, 1)
        slice_node.SetFieldOfView(FIELD_OF_VIEW_MM, FIELD_OF_VIEW_MM, 1.0)
        slice_node.JumpSliceByCentering(*centre_ras_mm.tolist())
    selection = slicer.vtkMRMLSelectionNode()
    selection.SetSingletonTag("Singleton")
    selection = scene.AddNode(selection)
    selection.SetActiveVolumeID(background.GetID())
    if foreground is not None:
        selection.SetSecondaryVolumeID(foreground.GetID())


def _write(scene: Any, path: Path) -> None:
    with _capture_vtk_messages() as messages, _quiet_stderr():
        written = scene.WriteToMRB(os.fspath(path.absolute()), None)
    said = messages.GetOutput()
    if written and not _has_error(said) and _is_whole(path):
        return
    free = shutil.disk_usage(path.parent).free if path.parent.is_dir() else 0
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    logger.debug("Writing '%s' failed with %d bytes free: %s", path, free, said)
    raise OutputError(
        f"The scene '{path}' cannot be written ({free / 1e6:.0f} MB are free in its folder). Make room on the disk or "
        "choose another output folder."
    )


def _has_error(messages: str) -> bool:
    return any(line.lstrip().startswith(("ERROR", "Generic Error")) for line in messages.splitlines())


def _is_whole(path: Path) -> bool:
    """Whether every file in the bundle can be unpacked: a full disk cuts archives short."""
    try:
        with zipfile.ZipFile(path) as bundle:
            return bundle.testzip() is None and any(name.endswith(".mrml") for name in bundle.namelist())
    except (OSError, zipfile.BadZipFile, EOFError):
        return False


@contextmanager
def _capture_vtk_messages() -> Iterator[Any]:
    """What VTK has to say inside the block goes into the object yielded; afterwards to where it went before."""
    from vtkmodules.vtkCommonCore import vtkOutputWindow, vtkStringOutputWindow

    before = vtkOutputWindow.GetInstance()
    window = vtkStringOutputWindow()
    vtkOutputWindow.SetInstance(window)
    try:
        yield window
    finally:
        vtkOutputWindow.SetInstance(before)


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Outside Slicer, keep ITK's and VTK's own printing off the terminal: the error we raise says it in one line."""
    try:
        kept = None if core_app.inside_slicer() else os.dup(2)
    except OSError:  # a process without standard error
        kept = None
    if kept is None:
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
