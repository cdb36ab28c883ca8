"""The module beside Slicer's own editors and files: painting, segments list, uncertainty, closing the scene."""
# ruff: noqa: F811  the fixture `case` is imported, and named again by each test that takes it

from __future__ import annotations

import module_cases
import numpy as np
import pytest
from test_module_panel import (
    DEBOUNCED_S,
    case,  # noqa: F401
    cell,
    column,
    names,
    segment_names,
    select,
    total,
)

pytest.importorskip("slicer", reason="the slicer extra is not installed")

# --- painting ---


def test_paint_follows_in_table_record_and_undo(host, module_widget, case):
    ui = module_widget.ui
    before = total(ui, 2, "volume_ml")
    select(ui, "Node 2")
    x, y, z = module_cases.SPURIOUS.ras
    host.paint_sphere(ui.editor, (x, y + 8, z), 8.0)
    host.wait_until(lambda: total(ui, 2, "volume_ml") != before, DEBOUNCED_S)
    ball = module_cases.Ball((-x, -(y + 8), z), 8.0, 0)
    painted = (ball.mask() | module_cases.SPURIOUS.mask()).sum() * 0.027
    volume = float(column(ui, "volume_ml")[column(ui, "name").index("Node 2")])
    assert volume == pytest.approx(painted, abs=0.06)
    assert column(ui, "status")[column(ui, "name").index("Node 2")] == "edited"
    record = [cell(ui.recordTable, 0, number) for number in range(7)]
    assert record[1] == "Node 2"
    assert record[3] == "paint"
    assert float(record[5]) == pytest.approx(painted, abs=0.01)
    held = case.segmentation.GetSegmentation().GetSegment("Lesion_3")
    from HNTumorSegLib.mrml.segmentations import segment_tag

    assert segment_tag(held, "DICOM.SegmentAlgorithmType") == "SEMIAUTOMATIC"
    ui.undoButton.click()
    assert total(ui, 2, "volume_ml") == before
    assert ui.recordTable.rowCount == 0


def test_erase_everything_removes_the_lesion(host, module_widget, case):
    ui = module_widget.ui
    select(ui, "Node 2")
    host.paint_sphere(ui.editor, module_cases.SPURIOUS.ras, 12.0, erase=True)
    host.wait_until(lambda: names(ui) == ["Node 1", "Primary 1"], DEBOUNCED_S)
    assert cell(ui.recordTable, 0, 3) == "erase"
    ui.undoButton.click()
    assert names(ui) == ["Node 1", "Node 2", "Primary 1"]


def test_painting_over_another_lesion_takes_from_it(host, module_widget, case):
    ui = module_widget.ui
    select(ui, "Node 2")
    lost_before = float(column(ui, "volume_ml")[column(ui, "name").index("Primary 1")])
    host.paint_sphere(ui.editor, module_cases.PRIMARY.ras, 7.0)
    host.wait_until(lambda: ui.recordTable.rowCount == 2, DEBOUNCED_S)
    hole = module_cases.Ball(module_cases.PRIMARY.centre_mm, 7.0, 0).mask().sum() * 0.027
    row = column(ui, "name").index("Primary 1")
    assert float(column(ui, "volume_ml")[row]) == pytest.approx(lost_before - hole, abs=0.11)
    labels = module_widget.logic.lesions(case.segmentation).labels
    assert np.count_nonzero(labels) == np.count_nonzero(module_cases.lesion_set().labels)


def test_segment_deleted_in_slicers_own_list(host, module_widget, case):
    ui = module_widget.ui
    case.segmentation.GetSegmentation().RemoveSegment("Lesion_3")
    host.wait_until(lambda: names(ui) == ["Node 1", "Primary 1"], DEBOUNCED_S)
    ui.undoButton.click()
    assert segment_names(case) == ["Node 1", "Node 2", "Primary 1"]


def test_segment_added_in_slicers_own_list_becomes_a_lesion(host, module_widget, case):
    ui = module_widget.ui
    held = case.segmentation.GetSegmentation()
    name = held.AddEmptySegment("", "Segment_1")
    host.wait_until(lambda: not module_widget.watch.timer.active, DEBOUNCED_S)
    assert held.GetSegment(name) is not None  # nothing is painted in it yet: it waits
    ui.editor.setCurrentSegmentID(name)
    host.paint_sphere(ui.editor, module_cases.MISSED.ras, 9.0)
    host.wait_until(lambda: len(names(ui)) == 4, DEBOUNCED_S)
    assert segment_names(case) == names(ui) == ["Node 1", "Node 2", "Node 3", "Primary 1"]


def test_recoded_in_slicers_own_list(host, module_widget, case):
    from HNTumorSegLib.exchange.segment_facts import terminology_entry

    case.segmentation.GetSegmentation().GetSegment("Lesion_3").SetTerminology(terminology_entry("primary"))
    host.wait_until(lambda: "Primary 2" in names(module_widget.ui), DEBOUNCED_S)
    assert segment_names(case) == ["Node 1", "Primary 1", "Primary 2"]


# --- uncertainty, table ---


def test_uncertainty_as_a_layer(slice_views, module_widget, case):
    ui = module_widget.ui
    composite = slice_views.sliceWidget("Red").mrmlSliceCompositeNode()
    ui.uncertaintyCheckBox.click()
    assert composite.GetForegroundVolumeID() == case.uncertainty.GetID()
    ui.uncertaintySlider.setValue(30)
    assert composite.GetForegroundOpacity() == pytest.approx(0.3)
    ui.uncertaintyCheckBox.click()
    assert composite.GetForegroundVolumeID() == case.pet.GetID()
    assert "test 1.0" in ui.uncertaintyLabel.text
    assert "A note." in ui.uncertaintyLabel.text


def test_table_into_the_scene(module_widget, case):
    import slicer

    module_widget.ui.tableButton.click()
    node = slicer.util.getNodesByClass("vtkMRMLTableNode")[0]
    assert node.GetTable().GetNumberOfRows() == 6


def test_scene_closed_and_used_again(host, module_widget, case):
    import slicer

    ui = module_widget.ui
    slicer.mrmlScene.Clear(False)
    host.process_events()
    assert ui.lesionTable.rowCount == 0
    assert total(ui, 2, "volume_ml") == "–"
    again = module_cases.put_case()
    ui.petSelector.setCurrentNode(again.pet)
    ui.segmentationSelector.setCurrentNode(again.segmentation)
    assert ui.lesionTable.rowCount == 3
    select(ui, "Node 2")
    host.paint_sphere(ui.editor, module_cases.SPURIOUS.ras, 9.0)
    host.wait_until(lambda: ui.undoButton.enabled, DEBOUNCED_S)


def test_segmentation_deleted(host, module_widget, case):
    import slicer

    ui = module_widget.ui
    slicer.mrmlScene.RemoveNode(case.segmentation)
    host.wait_until(lambda: ui.lesionTable.rowCount == 0, DEBOUNCED_S)
    assert "No lesions yet" in ui.lesionsLabel.text


def test_pet_deleted(host, module_widget, case):
    import slicer

    ui = module_widget.ui
    slicer.mrmlScene.RemoveNode(case.pet)
    host.wait_until(lambda: ui.lesionTable.rowCount == 0, DEBOUNCED_S)
    assert "is not in the scene" in ui.lesionsLabel.text


def test_segmentation_of_something_else(module_widget, case):
    """Somebody's organs: said in words, and left as they are."""
    import slicer

    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
    other.SetReferenceImageGeometryParameterFromVolumeNode(case.pet)
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        module_cases.MISSED.mask().astype(np.uint8),
        other,
        other.GetSegmentation().AddEmptySegment("", "Parotid"),
        case.pet,
    )
    module_widget.ui.segmentationSelector.setCurrentNode(other)
    assert "neither a primary tumour nor a nodal metastasis" in module_widget.ui.lesionsLabel.text
    assert other.GetSegmentation().GetNthSegment(0).GetName() == "Parotid"
