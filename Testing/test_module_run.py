"""Pressing Delineate: the run in its own process, its progress, Cancel, and everything that can go wrong with it."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import module_cases
import numpy as np
import pytest
import SimpleITK as sitk
from test_module_panel import cell, click_in_views, column, names, select, total
from threshold_net import write_threshold_model

psutil = pytest.importorskip("psutil", reason="the test extra is not installed")
pytest.importorskip("slicer", reason="the slicer extra is not installed")

TESTING = Path(__file__).parent
RUN_S = 300.0  # a busy machine; nothing here waits longer than it must


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_threshold_model(tmp_path_factory.mktemp("models") / "threshold", spacing_mm=3.0)


ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(map(str, (TESTING / "worker_site", TESTING, TESTING.parent)))}


@pytest.fixture(scope="module")
def warm_worker():
    """One worker process for all tests that do not end it, as a person's stays warm between patients."""
    from HNTumorSegLib.worker_client import WorkerClient

    with WorkerClient(environment=ENVIRONMENT) as worker:
        yield worker


@pytest.fixture
def images(module_widget, model, warm_worker):
    """PET and CT in the scene and chosen; the worker is warm and knows the threshold network."""
    case = module_cases.put_images()
    choose(module_widget, case, model)
    module_widget.logic._worker = warm_worker
    yield case
    module_widget.logic._worker = None
    assert not warm_worker.is_busy


@pytest.fixture
def cold(monkeypatch, module_widget, model):
    """PET and CT in the scene and chosen; the worker is started by the module. Afterwards no process is left."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    case = module_cases.put_images()
    choose(module_widget, case, model)
    before = children()
    yield case
    module_widget.logic.close()
    assert children() == before


def choose(module_widget, case, model) -> None:
    ui = module_widget.ui
    ui.petSelector.setCurrentNode(case.pet)
    ui.ctSelector.setCurrentNode(case.ct)
    module_widget.session.parameters.model = str(model)
    module_widget.session.parameters.device = "cpu"
    module_widget.refresh()


def children() -> list[str]:
    """Worker processes below this one that are still alive."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if child.status() != psutil.STATUS_ZOMBIE and "HNTumorSegLib.worker" in child.cmdline():
                found.append(str(child))
        except psutil.NoSuchProcess:
            continue
    return found


def finish(host, module_widget) -> None:
    host.wait_until(lambda: module_widget.delineatePanel.run is None, RUN_S)


def nothing_changed(case) -> None:
    import slicer

    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 2


# --- good ---


def test_delineate_correct_save_reload(host, module_widget, images, tmp_path, monkeypatch):
    """One of each error of Nikulin et al. 2023, Figure 4: after the corrections the burden is the true one."""
    import slicer

    ui = module_widget.ui
    ui.delineateButton.click()
    assert not ui.delineateButton.enabled
    assert ui.cancelButton.enabled
    assert not ui.progressBar.isHidden()
    stages = set()
    seen = ui.runLabel.text
    kind = type(module_widget.delineatePanel.run)
    keep = kind.__setattr__

    def note_stage(run, name, value):
        # Every stage is heard of: one that is over between two looks would be missed by looking.
        if name == "stage":
            stages.add(value)
        keep(run, name, value)

    monkeypatch.setattr(kind, "__setattr__", note_stage)
    while module_widget.delineatePanel.run is not None:
        host.process_events()  # Slicer stays usable: events are served all the time
        time.sleep(0.01)
    assert "delineate" in stages
    assert seen.startswith("Starting")
    assert "3 lesions proposed" in ui.runLabel.text
    assert "on cpu" in ui.runLabel.text
    # The touching nodes are one, a hot spot that is no tumour is called a node, one tumour is missed.
    assert names(ui) == ["Node 1", "Node 2", "Primary 1"]
    assert set(column(ui, "status")) == {"proposed"}
    assert all(float(score) > 0.9 for score in column(ui, "score"))
    segmentation = module_widget.session.segmentation
    assert segmentation.GetNodeReference("referenceImageGeometryRef") is images.pet

    logic = module_widget.logic
    lesions = logic.lesions(segmentation)
    spurious = lesions.lesion_at(module_cases.SPURIOUS.centre_mm)
    select(ui, spurious.name)
    ui.deleteButton.click()
    select(ui, "Node 1")
    ui.primaryButton.click()  # a mistake,
    ui.undoButton.click()  # taken back
    ui.splitButton.click()
    ui.addKindCombo.setCurrentIndex(ui.addKindCombo.findData("primary"))
    click_in_views(host, module_widget, module_cases.MISSED.ras)
    assert names(ui) == ["Node 1", "Node 2", "Primary 1", "Primary 2"]
    for name in ("Primary 1", "Node 1", "Node 2"):
        select(ui, name)
        ui.thresholdSpinBox.value = 50
        ui.thresholdButton.click()
    ui.confirmAllButton.click()

    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(False)
    host.process_events()
    slicer.util.loadScene(path)
    host.process_events()
    truth = sum(4 / 3 * np.pi * ball.radius_mm**3 / 1000 for ball in (module_cases.PRIMARY, module_cases.MISSED))
    nodes = module_cases.NODE_A.mask() | module_cases.NODE_B.mask()
    truth += np.count_nonzero(nodes) * module_cases.GRID.voxel_volume_ml
    assert float(total(ui, 2, "volume_ml")) == pytest.approx(truth, rel=0.05)
    assert set(column(ui, "status")) == {"confirmed"}
    assert any(cell(ui.recordTable, row, 3) == "remove" for row in range(ui.recordTable.rowCount))


def test_console_and_second_run_on_the_ct_grid(module_widget, images, model):
    """The logic without the panel: waits, returns the node; the worker stays warm."""
    logic = module_widget.logic
    first = logic.delineate(images.pet, images.ct, model=model, device="cpu")
    pid = logic._worker.pid
    began = time.monotonic()
    second = logic.delineate(images.pet, images.ct, model=model, device="cpu", reference="ct")
    assert logic._worker.pid == pid
    assert second.GetName() != first.GetName()
    assert second.GetNodeReference("referenceImageGeometryRef") is images.ct
    volumes = [logic.measure(node, images.pet).ttb_ml for node in (first, second)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.02)
    assert time.monotonic() - began < 60
    assert len(logic.uncertainties(first)) == 3


def test_bqml_with_a_factor_by_hand(host, module_widget, images, model):
    import slicer

    ui = module_widget.ui
    slicer.mrmlScene.Clear(False)
    case = module_cases.put_images(pet_says_suv=False, factor=2000.0)
    choose(module_widget, case, model)
    assert "Nobody has said yet" in ui.unitsLabel.text
    assert "Nobody has said yet" in ui.delineateButton.toolTip
    ui.suvCheckBox.click()
    assert "not in SUVbw" in ui.runLabel.text
    assert not ui.suvCheckBox.checked
    assert not ui.delineateButton.enabled
    ui.factorEdit.setText("0,0005")
    ui.factorButton.click()
    assert "SUVbw (g/ml)" in ui.unitsLabel.text
    ui.delineateButton.click()
    finish(host, module_widget)
    assert names(ui) == ["Node 1", "Node 2", "Primary 1"]
    highest = max(float(text) for text in column(ui, "suv_max"))
    assert highest == pytest.approx(sitk.GetArrayFromImage(module_cases.images()[0]).max(), abs=0.06)


# --- cancelled, closed, crashed ---


@pytest.mark.parametrize("stage", ["start", "load", "read", "delineate", "hand over"])
def test_cancel_at_a_stage(host, module_widget, cold, monkeypatch, stage):
    before = children()
    start_and_reach(host, module_widget, monkeypatch, stage)
    ui = module_widget.ui
    ui.cancelButton.click()
    assert ui.runLabel.text == "Cancelled; nothing was changed."
    assert children() == before
    assert ui.delineateButton.enabled
    assert ui.progressBar.isHidden()
    nothing_changed(cold)


def start_and_reach(host, module_widget, monkeypatch, stage: str) -> None:
    """Press Delineate; the worker stops in that stage."""
    monkeypatch.setenv("WORKER_DAWDLES_AT", stage)
    module_widget.ui.delineateButton.click()
    host.wait_until(lambda: module_widget.delineatePanel.run.stage == stage, RUN_S)


def test_scene_closed_while_the_images_are_read(host, module_widget, cold, monkeypatch):
    import slicer

    before = children()
    start_and_reach(host, module_widget, monkeypatch, "read")
    slicer.mrmlScene.Clear(False)
    host.process_events()
    ui = module_widget.ui
    assert ui.runLabel.text == "The scene was closed during the run, so it was stopped."
    assert children() == before
    assert not ui.delineateButton.enabled


def test_image_removed_while_the_result_comes(host, module_widget, cold, monkeypatch):
    import slicer

    before = children()
    start_and_reach(host, module_widget, monkeypatch, "hand over")
    slicer.mrmlScene.RemoveNode(cold.ct)
    finish(host, module_widget)
    assert module_widget.ui.runLabel.text == "The CT was removed from the scene during the run, so it was stopped."
    assert children() == before
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []


def test_former_segmentation_deleted_during_a_run(host, module_widget, images):
    """It is not what the run needs: the run goes on and brings its own."""
    import slicer

    ui = module_widget.ui
    former = module_cases.put_case().segmentation
    ui.segmentationSelector.setCurrentNode(former)
    ui.delineateButton.click()
    slicer.mrmlScene.RemoveNode(former)
    finish(host, module_widget)
    assert "3 lesions proposed" in ui.runLabel.text
    assert ui.lesionTable.rowCount == 3


def test_worker_crashes_and_the_next_run_works(host, module_widget, cold, monkeypatch):
    monkeypatch.setenv("WORKER_DIES_AT", "load")
    ui = module_widget.ui
    ui.delineateButton.click()
    finish(host, module_widget)
    assert "crashed" in ui.runLabel.text
    assert "SIGABRT" in ui.runLabel.text
    nothing_changed(cold)
    monkeypatch.delenv("WORKER_DIES_AT")
    ui.delineateButton.click()
    finish(host, module_widget)
    assert "3 lesions proposed" in ui.runLabel.text


def test_model_folder_removed_between_runs(host, module_widget, images, model, tmp_path):
    ui = module_widget.ui
    moved = tmp_path / "model"
    shutil.copytree(model, moved)
    module_widget.session.parameters.model = str(moved)
    module_widget.refresh()
    ui.delineateButton.click()
    finish(host, module_widget)
    assert ui.lesionTable.rowCount == 3
    shutil.rmtree(moved)
    ui.delineateButton.click()
    finish(host, module_widget)
    assert "There is no model" in ui.runLabel.text
    assert ui.lesionTable.rowCount == 3  # nothing lost


# --- refused before anything starts ---


def test_refused_inputs(host, module_widget, images, model):
    ui = module_widget.ui
    ui.ctSelector.setCurrentNode(images.pet)
    ui.delineateButton.click()
    assert "chosen as PET and as CT" in ui.runLabel.text
    assert module_widget.delineatePanel.run is None
    ui.petSelector.setCurrentNode(None)
    assert not ui.delineateButton.enabled
    assert ui.delineateButton.toolTip == "Choose a PET first."
    ui.petSelector.setCurrentNode(images.pet)
    ui.ctSelector.setCurrentNode(None)
    ui.referenceCombo.setCurrentIndex(ui.referenceCombo.findData("ct"))
    assert "CT's grid is chosen, but no CT" in ui.delineateButton.toolTip


def test_the_console_raises_and_never_asks(module_widget, images, model):
    from HNTumorSegLib.errors import InputError, ModelError

    logic = module_widget.logic
    with pytest.raises(InputError, match="No PET"):
        logic.delineate(None, images.ct, model=model)
    with pytest.raises(ModelError, match="There is no model"):
        logic.delineate(images.pet, images.ct, model="nobody")
    with pytest.raises(InputError, match="no longer in the scene"):
        logic.measure(None, images.pet)


def test_nothing_found_is_said_with_numbers(host, module_widget, images):
    import slicer

    image = images.pet.GetImageData()
    slicer.util.arrayFromVolume(images.pet)[:] *= 0.25
    image.Modified()
    ui = module_widget.ui
    ui.delineateButton.click()
    finish(host, module_widget)
    assert "0 lesions proposed" in ui.runLabel.text
    assert "No lesion found" in ui.runLabel.text
    assert "This segmentation holds no lesion" in ui.lesionsLabel.text
    assert ui.addButton.enabled
