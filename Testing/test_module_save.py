"""Saving: the result files and the scene in one folder, all or none, and going on tomorrow."""
# ruff: noqa: F811  the fixture `case` is imported, and named again by each test that takes it

from __future__ import annotations

import os
import sys

import module_cases
import numpy as np
import pytest
from test_module_panel import COLUMNS, case, cell, column, names, select, total  # noqa: F401

from HNTumorSegLib.geometry import image_from_array

pytest.importorskip("slicer", reason="the slicer extra is not installed")


def test_save_into_a_folder(module_widget, case, tmp_path):
    ui = module_widget.ui
    assert ui.saveButton.toolTip == "Choose a folder first."
    ui.folderEdit.setCurrentPath(str(tmp_path / "new"))
    ui.saveButton.click()
    written = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert written == [
        "labels.nii.gz", "lesions.csv", "overview.png", "report.json", "scene.mrb", "segmentation.seg.nrrd",
    ]  # fmt: skip
    assert "nobody has confirmed yet: 3" in ui.saveLabel.text
    from HNTumorSegLib.exchange.seg_nrrd import read_seg_nrrd

    back = read_seg_nrrd(tmp_path / "new" / "segmentation.seg.nrrd")
    assert (back.labels == module_cases.lesion_set().labels).all()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX")
def test_save_where_a_file_is(module_widget, case, tmp_path):
    ui = module_widget.ui
    (tmp_path / "file").write_text("x")
    ui.folderEdit.setCurrentPath(str(tmp_path / "file"))
    ui.saveButton.click()
    assert "cannot be used" in ui.saveLabel.text


@pytest.mark.parametrize("way", ["panel", "Slicer's own Save"])
def test_saved_scene_goes_on(host, module_widget, case, tmp_path, way):
    import slicer

    ui = module_widget.ui
    select(ui, "Node 2")
    ui.deleteButton.click()
    select(ui, "Primary 1")
    ui.confirmButton.click()
    ui.deviceCombo.setCurrentIndex(ui.deviceCombo.findData("cpu"))
    before = [column(ui, name) for name in COLUMNS], [total(ui, row, "volume_ml") for row in range(3)]
    record = [[cell(ui.recordTable, row, number) for number in range(7)] for row in range(ui.recordTable.rowCount)]
    assert len(record) == 2
    path = str(tmp_path / "scene.mrb")
    if way == "panel":
        ui.folderEdit.setCurrentPath(str(tmp_path))
        ui.saveButton.click()
        assert "scene.mrb" in ui.saveLabel.text
    else:
        assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(False)
    host.process_events()
    assert ui.lesionTable.rowCount == 0
    slicer.util.loadScene(path)
    host.process_events()
    assert ([column(ui, name) for name in COLUMNS], [total(ui, row, "volume_ml") for row in range(3)]) == before
    after = [[cell(ui.recordTable, row, number) for number in range(7)] for row in range(ui.recordTable.rowCount)]
    assert sorted(after) == sorted(record)
    assert ui.petSelector.currentNode().GetName() == "PET"
    assert ui.deviceCombo.currentData == "cpu"
    # What was done yesterday is not undone today.
    assert not ui.undoButton.enabled
    assert not ui.redoButton.enabled
    # And the work goes on, in the record of yesterday; the deleted lesion's id is not used again.
    select(ui, "Node 1")
    ui.splitButton.click()
    assert names(ui) == ["Node 1", "Node 2", "Primary 1"]
    lesions = module_widget.logic.lesions(module_widget.session.segmentation)
    assert {x.id for x in lesions.lesions} == {1, 2, 4}
    assert ui.recordTable.rowCount == 4
    ui.undoButton.click()
    assert names(ui) == ["Node 1", "Primary 1"]
    assert ui.recordTable.rowCount == 2
    assert not ui.undoButton.enabled


def test_saving_changes_nothing_in_the_scene(module_widget, case, tmp_path):
    """Neither the nodes nor where they are stored: Slicer's own Save goes on to write where it did before."""
    import slicer

    case.pet.AddDefaultStorageNode(str(tmp_path / "here" / "pet.nrrd"))
    stored = case.pet.GetStorageNode().GetFileName()

    def picture():
        scene = slicer.mrmlScene
        nodes = {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}
        volumes = {n for n in nodes if "Storage" not in n}
        return volumes, case.pet.GetStorageNode().GetFileName(), scene.GetURL(), scene.GetRootDirectory()

    before = picture()
    assert before[1] == stored
    module_widget.ui.folderEdit.setCurrentPath(str(tmp_path / "new"))
    module_widget.ui.saveButton.click()
    assert "Saved" in module_widget.ui.saveLabel.text
    assert picture() == before


def test_saving_again_replaces_the_files(module_widget, case, tmp_path):
    ui = module_widget.ui
    ui.folderEdit.setCurrentPath(str(tmp_path))
    ui.saveButton.click()
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    select(ui, "Node 2")
    ui.deleteButton.click()
    ui.saveButton.click()
    second = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert first.keys() == second.keys()
    assert all(first[name] != second[name] for name in ("lesions.csv", "scene.mrb", "segmentation.seg.nrrd"))


def test_the_last_lesion_deleted_and_saved(host, module_widget, case, tmp_path):
    """MRML cannot bundle a segmentation without segments: it is left out, in words, and stays in the scene."""
    import slicer

    ui = module_widget.ui
    select(ui, *names(ui))
    ui.deleteButton.click()
    assert ui.lesionTable.rowCount == 0
    ui.folderEdit.setCurrentPath(str(tmp_path / "none"))
    ui.saveButton.click()
    assert "not in the scene file: Lesions" in ui.saveLabel.text
    assert (tmp_path / "none" / "scene.mrb").is_file()
    assert slicer.mrmlScene.IsNodePresent(case.segmentation)
    assert case.segmentation.GetSaveWithScene()
    ui.undoButton.click()  # one step for all three
    assert names(ui) == ["Node 1", "Node 2", "Primary 1"]
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "none" / "scene.mrb"))
    host.process_events()
    assert "No lesions yet" in ui.lesionsLabel.text
    assert ui.petSelector.currentNode().GetName() == "PET"


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits")
def test_a_disk_that_fills_up_leaves_the_folder_as_it_was(module_widget, case, tmp_path):
    """The system refuses to let the scene's file grow, as a full disk does: no half of the results is left."""
    import resource

    from HNTumorSegLib.mrml.scene import volume_to_node

    ui = module_widget.ui
    ui.folderEdit.setCurrentPath(str(tmp_path))
    (tmp_path / "lesions.csv").write_text("of last week")
    noise = np.random.default_rng(0).random(module_cases.GRID.shape_zyx, dtype=np.float32)
    volume_to_node(image_from_array(noise, module_cases.GRID), "A volume that no compression makes small")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, hard))
    try:
        ui.saveButton.click()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"The scene '{tmp_path / 'scene.mrb'}' cannot be written" in ui.saveLabel.text
    assert [path.name for path in tmp_path.iterdir()] == ["lesions.csv"]
    assert (tmp_path / "lesions.csv").read_text() == "of last week"
    assert names(ui) == ["Node 1", "Node 2", "Primary 1"]
