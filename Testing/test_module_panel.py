"""The real buttons of the unmodified module: list, corrections, undo, painting, saving the scene."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import module_cases
import numpy as np
import pytest

from HNTumorSegLib.measures.table import measure

pytest.importorskip("slicer", reason="the slicer extra is not installed")

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = {
    "name": 0,
    "kind": 1,
    "status": 2,
    "suv_max": 3,
    "suv_peak": 4,
    "volume_ml": 5,
    "tlg_g": 6,
    "score": 7,
    "sure": 8,
}
DEBOUNCED_S = 2.0


@pytest.fixture
def case(module_widget):
    """A case in the scene, chosen in the panel."""
    case = module_cases.put_case()
    module_widget.ui.petSelector.setCurrentNode(case.pet)
    module_widget.ui.ctSelector.setCurrentNode(case.ct)
    module_widget.ui.segmentationSelector.setCurrentNode(case.segmentation)
    return case


def cell(table, row: int, column: int) -> str:
    return table.item(row, column).text()


def column(ui, name: str) -> list[str]:
    return [cell(ui.lesionTable, row, COLUMNS[name]) for row in range(ui.lesionTable.rowCount)]


def total(ui, row: int, what: str) -> str:
    return cell(ui.totalsTable, row, {"name": 0, "n": 1, "suv_max": 2, "volume_ml": 3, "tlg_g": 4}[what])


def select(ui, *names: str) -> None:
    ui.lesionTable.clearSelection()
    import qt

    ui.lesionTable.setSelectionMode(qt.QAbstractItemView.MultiSelection)
    for name in names:
        ui.lesionTable.selectRow(column(ui, "name").index(name))
    ui.lesionTable.setSelectionMode(qt.QAbstractItemView.ExtendedSelection)


def names(ui) -> list[str]:
    return sorted(column(ui, "name"))


def segment_names(case) -> list[str]:
    held = case.segmentation.GetSegmentation()
    return sorted(held.GetSegment(name).GetName() for name in held.GetSegmentIDs())


# --- the module as such ---


def test_metadata(module):
    parent = module.instance.parent
    assert parent.title == "Head and Neck Tumour Burden"
    assert parent.contributors == ["HNTumorSeg team"]
    assert "For research" in parent.helpText
    assert "Nikulin" in parent.acknowledgementText
    assert module.widget.dicom_support_rule == "Modality == 'PT'"
    assert not parent.icon.isNull()


def test_file_scope_imports_only_what_slicer_bundles():
    """And no library room at all: Slicer's start must not wait for it."""
    code = (
        "import sys; sys.path[:0] = ['Testing', 'HNTumorSeg']\n"
        "from slicer_host import host; host.start()\n"
        "before = set(sys.modules)\n"
        "import HNTumorSeg\n"
        "print(sorted(n.split('.')[0] for n in set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(eval(done.stdout.splitlines()[-1]))
    assert loaded <= {"HNTumorSeg", "HNTumorSegPanels"}


def test_own_test(host, module):
    import slicer

    slicer.selfTests["HNTumorSeg"](msec=0)
    assert host.texts("info")[-1] == "Test passed"


def test_sample_patient_and_codes_are_registered_at_startup(host, module):
    """And the sample is made here: nothing is downloaded."""
    import slicer
    import vtk

    slicer.modules.sampleDataSources.clear()
    host.app.startupCompleted.emit()
    source = slicer.modules.sampleDataSources["HNTumorSeg"][-1]
    assert not source["uris"]
    assert Path(source["thumbnailFileName"]).is_file()
    pet, ct = source["customDownloader"](None)
    assert (pet.GetAttribute("DICOM.Modality"), ct.GetAttribute("DICOM.Modality")) == ("PT", "CT")
    from HNTumorSegLib.mrml.study_nodes import patient_of, study_from_nodes

    assert study_from_nodes(pet, ct).warnings == []
    assert patient_of(pet) == patient_of(ct) != ""
    from HNTumorSegLib.lesions.codes import ANATOMY_CONTEXT, TERMINOLOGY_CONTEXT

    if hasattr(slicer.modules, "terminologies"):
        logic = slicer.modules.terminologies.logic()
        assert logic.IsTerminologyContextLoaded(TERMINOLOGY_CONTEXT)
        names = vtk.vtkStringArray()
        (getattr(logic, "GetLoadedRegionContextNames", None) or logic.GetLoadedAnatomicContextNames)(names)
        assert ANATOMY_CONTEXT in [names.GetValue(index) for index in range(names.GetNumberOfValues())]


def test_installed_codes_are_those_of_the_repository():
    installed = ROOT / "HNTumorSeg" / "Resources" / "Terminologies"
    for path in sorted((ROOT / "Resources").glob("*.term.json")):
        assert (installed / path.name).read_bytes() == path.read_bytes()


def test_an_empty_scene_says_what_to_do(module_widget):
    ui = module_widget.ui
    assert not ui.delineateButton.enabled
    assert ui.delineateButton.toolTip == "Choose a PET first."
    for button in (ui.confirmButton, ui.undoButton, ui.deleteButton, ui.splitButton, ui.addButton, ui.saveButton):
        assert not button.enabled
        assert len(button.toolTip) > 10


def test_every_visible_text_can_be_translated():
    """Strings handed to widgets in the panels' code stand inside _()."""
    import re

    for path in [ROOT / "HNTumorSeg" / "HNTumorSeg.py", *(ROOT / "HNTumorSeg" / "HNTumorSegPanels").glob("*_panel.py")]:
        text = path.read_text(encoding="utf-8")
        bare = re.findall(r'\.(?:text|toolTip) (?:=|\+=) "[^"]*[A-Za-z]{2}[^"]*"|set(?:Text|ToolTip)\("[^"]+"\)', text)
        assert bare == [], path.name


# --- the list ---


def test_table_shows_the_measures(module_widget, case):
    ui = module_widget.ui
    expected = measure(module_cases.lesion_set(), module_cases.images()[0])
    rows = sorted(expected.rows, key=lambda row: -row.suv_peak)
    assert column(ui, "name") == [row.name for row in rows]
    for name in ("suv_max", "suv_peak", "volume_ml", "tlg_g"):
        assert column(ui, name) == [f"{getattr(row, name):.1f}" for row in rows]
    assert dict(zip(column(ui, "name"), column(ui, "score"), strict=True)) == {
        "Primary 1": "0.93", "Node 1": "0.71", "Node 2": "0.52",
    }  # fmt: skip
    assert dict(zip(column(ui, "name"), column(ui, "sure"), strict=True)) == {
        "Primary 1": "0.12", "Node 1": "0.12", "Node 2": "0.75",
    }  # fmt: skip
    tips = [ui.lesionTable.item(row, COLUMNS["sure"]).toolTip() for row in range(3)]
    assert [tip.startswith("The model was not sure") for tip in tips] == [row.name == "Node 2" for row in rows]
    for row, which in enumerate(("primary", "node", "total")):
        assert total(ui, row, "volume_ml") == f"{expected.total(which).volume_ml:.1f}"
        assert total(ui, row, "tlg_g") == f"{expected.total(which).tlg_g:.1f}"
    assert [total(ui, row, "n") for row in range(3)] == ["1", "2", "3"]


def test_header_says_the_units(module_widget):
    table = module_widget.ui.lesionTable
    heads = [table.horizontalHeaderItem(number).text() for number in range(table.columnCount)]
    assert [head.split("\n")[1] for head in heads[3:7]] == ["(g/ml)", "(g/ml)", "(ml)", "(g)"]


def test_row_click_moves_all_views(slice_views, module_widget, case):
    ui = module_widget.ui
    row = column(ui, "name").index("Primary 1")
    ui.lesionTable.cellClicked.emit(row, 0)
    for name in slice_views.sliceViewNames():
        centre = slice_views.sliceWidget(name).view().center_ras()
        assert np.linalg.norm(np.subtract(centre, module_cases.PRIMARY.ras)) < 3.0, name


def test_header_click_sorts(module_widget, case):
    ui = module_widget.ui
    ui.lesionTable.horizontalHeader().sectionClicked.emit(0)
    assert column(ui, "name") == ["Node 1", "Node 2", "Primary 1"]


# --- corrections ---


def test_relabel_and_back(module_widget, case):
    ui = module_widget.ui
    before = total(ui, 0, "volume_ml")
    select(ui, "Node 2")
    assert ui.nodeButton.toolTip == "It is a node already."
    ui.primaryButton.click()
    assert names(ui) == ["Node 1", "Primary 1", "Primary 2"]
    assert segment_names(case) == names(ui)
    assert column(ui, "status")[column(ui, "name").index("Primary 2")] == "edited"
    from HNTumorSegLib.exchange.segment_facts import kind_of_terminology

    held = case.segmentation.GetSegmentation()
    kinds = {
        held.GetSegment(n).GetName(): kind_of_terminology(held.GetSegment(n).GetTerminology())
        for n in held.GetSegmentIDs()
    }
    assert kinds == {"Primary 1": "primary", "Primary 2": "primary", "Node 1": "node"}
    ui.undoButton.click()
    assert names(ui) == ["Node 1", "Node 2", "Primary 1"]
    assert total(ui, 0, "volume_ml") == before
    ui.redoButton.click()
    assert names(ui) == ["Node 1", "Primary 1", "Primary 2"]
    assert not ui.redoButton.enabled


def test_delete(module_widget, case):
    ui = module_widget.ui
    before = float(total(ui, 2, "volume_ml"))
    volume = float(column(ui, "volume_ml")[column(ui, "name").index("Node 2")])
    select(ui, "Node 2")
    ui.deleteButton.click()
    assert segment_names(case) == ["Node 1", "Primary 1"]
    assert float(total(ui, 2, "volume_ml")) == pytest.approx(before - volume, abs=0.11)
    assert not ui.deleteButton.enabled
    ui.undoButton.click()
    assert segment_names(case) == ["Node 1", "Node 2", "Primary 1"]


def test_split_and_merge(module_widget, case):
    ui = module_widget.ui
    select(ui, "Node 1")
    ui.splitButton.click()
    assert names(ui) == ["Node 1", "Node 2", "Node 3", "Primary 1"]
    lesions = module_widget.logic.lesions(case.segmentation)
    parts = [lesions.mask(number) for number in module_widget.session.selected]
    assert len(parts) == 2
    for ball in (module_cases.NODE_A, module_cases.NODE_B):
        dice = max(2 * np.count_nonzero(part & ball.mask()) / (part.sum() + ball.mask().sum()) for part in parts)
        assert dice > 0.9
    assert ui.mergeButton.enabled
    ui.mergeButton.click()
    assert names(ui) == ["Node 1", "Node 2", "Primary 1"]
    select(ui, "Node 1", "Primary 1")
    assert "differ in kind" in ui.mergeButton.toolTip


def test_split_of_one_voxel_says_why(module_widget, case):
    ui = module_widget.ui
    logic = module_widget.logic
    single = np.zeros(module_cases.GRID.shape_zyx, bool)
    single[20, 60, 60] = True
    logic.open(case.segmentation).live.apply(lambda lesions: lesions.add(single, "node"))
    module_widget.refresh()
    select(ui, "Node 3")
    ui.splitButton.click()
    assert "has 1 voxel and cannot be split" in ui.correctLabel.text
    assert names(ui) == ["Node 1", "Node 2", "Node 3", "Primary 1"]


def click_in_views(host, module_widget, ras) -> None:
    """What Slicer does with a click in place mode: a control point where the mouse is."""
    import slicer
    import vtk

    module_widget.ui.addButton.click()
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    node = slicer.mrmlScene.GetNodeByID(slicer.app.applicationLogic().GetSelectionNode().GetActivePlaceNodeID())
    node.AddControlPointWorld(vtk.vtkVector3d(*ras))
    host.process_events()


def test_corrections_of_several_lesions_are_one_undo(host, module_widget, case):
    ui = module_widget.ui
    before = [column(ui, name) for name in COLUMNS]
    select(ui, "Node 1", "Node 2")
    ui.primaryButton.click()
    assert names(ui) == segment_names(case) == ["Primary 1", "Primary 2", "Primary 3"]
    assert ui.recordTable.rowCount == 2
    ui.undoButton.click()
    assert [column(ui, name) for name in COLUMNS] == before
    assert not ui.undoButton.enabled
    select(ui, "Node 1", "Primary 1")
    ui.confirmButton.click()
    ui.undoButton.click()
    assert not ui.undoButton.enabled
    select(ui, "Node 1", "Node 2")
    ui.deleteButton.click()
    assert names(ui) == segment_names(case) == ["Primary 1"]
    ui.undoButton.click()
    assert [column(ui, name) for name in COLUMNS] == before
    assert segment_names(case) == names(ui)
    ui.redoButton.click()
    assert names(ui) == segment_names(case) == ["Primary 1"]
    assert not ui.redoButton.enabled


def test_add_by_one_click(host, module_widget, case):
    import slicer

    ui = module_widget.ui
    click_in_views(host, module_widget, module_cases.MISSED.ras)
    assert names(ui) == ["Node 1", "Node 2", "Node 3", "Primary 1"]
    added = module_widget.session.selected
    assert len(added) == 1
    mask, truth = module_widget.logic.lesions(case.segmentation).mask(added[0]), module_cases.MISSED.mask()
    assert 2 * np.count_nonzero(mask & truth) / (mask.sum() + truth.sum()) > 0.85
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    assert not ui.addButton.checked
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode") == []
    assert "added" in column(ui, "status")


@pytest.mark.parametrize(
    ("where", "ras"),
    [("outside the image", (900.0, 0.0, 0.0)), ("in air", (110.0, 110.0, 0.0)), ("tissue", (-5, -45, -60))],
)
def test_a_click_that_finds_nothing_says_why(host, module_widget, case, where, ras):
    ui = module_widget.ui
    click_in_views(host, module_widget, ras)
    assert names(ui) == ["Node 1", "Node 2", "Primary 1"]
    assert len(ui.correctLabel.text) > 30, where
    assert any(character.isdigit() for character in ui.correctLabel.text)
    assert not ui.undoButton.enabled


def test_place_mode_ends_with_the_button_and_with_esc(host, module_widget, case):
    import slicer

    interaction = slicer.app.applicationLogic().GetInteractionNode()
    ui = module_widget.ui
    ui.addButton.click()
    ui.addButton.click()
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    ui.addButton.click()
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)  # what Esc does
    assert not ui.addButton.checked
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode") == []


def test_threshold(module_widget, case):
    ui = module_widget.ui
    select(ui, "Primary 1")
    ui.thresholdSpinBox.value = 70
    ui.thresholdButton.click()
    lesions = module_widget.logic.lesions(case.segmentation)
    import SimpleITK as sitk

    suv = sitk.GetArrayFromImage(module_cases.images()[0])
    inside = suv[lesions.mask(1)]
    assert inside.min() >= 0.7 * inside.max() - 1e-4
    assert ui.correctLabel.text == ""


def test_fill_holes_without_a_hole(module_widget, case):
    ui = module_widget.ui
    select(ui, "Primary 1")
    ui.holesButton.click()
    assert "has no closed hole" in ui.correctLabel.text


def test_confirm_one_and_all(module_widget, case):
    ui = module_widget.ui
    select(ui, "Primary 1")
    ui.confirmButton.click()
    assert sorted(column(ui, "status")) == ["confirmed", "proposed", "proposed"]
    assert ui.confirmButton.toolTip == "The selected lesion is confirmed."
    ui.confirmAllButton.click()
    assert set(column(ui, "status")) == {"confirmed"}
    assert ui.confirmAllButton.toolTip == "All lesions are confirmed."
    ui.undoButton.click()
    assert sorted(column(ui, "status")) == ["confirmed", "proposed", "proposed"]
