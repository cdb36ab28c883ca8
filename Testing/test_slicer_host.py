"""The stand-in Slicer itself: a module of Slicer's template style runs, and what is wrong fails."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from test_slicer_host_strict import run_python

EXAMPLE = Path(__file__).parent / "slicer_host" / "example" / "ThresholdExample.py"


@pytest.fixture
def example(host):
    return host.load_module(EXAMPLE)


@pytest.fixture
def ball(host):
    """A volume of 30 x 40 x 50 voxels (zyx) of 2 mm with a ball of 8 mm, value 9, at RAS (70, 40, 20)."""
    import slicer

    z, y, x = np.indices((30, 40, 50)) * 2.0
    inside = (x - 70) ** 2 + (y - 40) ** 2 + (z - 20) ** 2 <= 8.0**2
    node = slicer.util.addVolumeFromArray(
        np.where(inside, 9.0, 1.0).astype(np.float32), np.diag([2.0, 2, 2, 1]), "Ball"
    )
    node.CreateDefaultDisplayNodes()
    return node


def test_module_runs_unmodified(host, example, ball):
    ui = example.widget.ui
    assert example.instance.parent.title == "Threshold Example"
    assert ui.applyButton.enabled is False
    ui.inputSelector.setCurrentNode(ball)
    assert ui.applyButton.enabled is True
    assert ui.applyButton.toolTip == "Threshold the volume."
    ui.thresholdSlider.value = 4.0
    assert example.logic.getParameterNode().GetParameter("Threshold") == "4.0"
    ui.applyButton.click()
    z, y, x = np.indices((30, 40, 50)) * 2.0
    expected = np.count_nonzero((x - 70) ** 2 + (y - 40) ** 2 + (z - 20) ** 2 <= 64.0)
    assert [ui.table.item(0, column).text() for column in (0, 1)] == ["Ball", str(expected)]


def test_own_test_of_a_module(host, example):
    import slicer

    slicer.selfTests["ThresholdExample"](msec=0)
    assert "Starting the test" in host.texts("info")


def test_error_is_shown_and_taken(host, example, ball):
    ui = example.widget.ui
    ui.inputSelector.setCurrentNode(ball)
    ui.thresholdSlider.value = 20.0
    ui.applyButton.click()
    assert host.take_errors() == ["Thresholding failed.\n\nNo voxel is above 20.0."]
    assert host.app.overrideCursor() is None


def test_edit_and_undo_reach_the_table(host, example, ball):
    ui = example.widget.ui
    ui.inputSelector.setCurrentNode(ball)
    ui.applyButton.click()
    before = int(ui.table.item(0, 1).text())
    ui.editor.setCurrentSegmentID("ball")
    host.paint_sphere(ui.editor, (70, 40, 20), 4.0, erase=True)
    host.wait_until(lambda: int(ui.table.item(0, 1).text()) != before)
    z, y, x = np.indices((30, 40, 50)) * 2.0
    erased = np.count_nonzero((x - 70) ** 2 + (y - 40) ** 2 + (z - 20) ** 2 <= 16.0)
    assert int(ui.table.item(0, 1).text()) == before - erased
    ui.editor.undo()
    host.wait_until(lambda: int(ui.table.item(0, 1).text()) == before)
    ui.editor.redo()
    host.wait_until(lambda: int(ui.table.item(0, 1).text()) == before - erased)


def test_scene_close_and_reload(host, example, ball, tmp_path):
    import slicer

    ui = example.widget.ui
    ui.inputSelector.setCurrentNode(ball)
    ui.thresholdSlider.value = 4.0
    ui.applyButton.click()
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    assert ui.inputSelector.currentNode() is None
    assert ui.applyButton.enabled is False
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    node = example.logic.getParameterNode()
    assert node.GetParameter("Threshold") == "4.0"
    assert node.GetNodeReference("Input").GetName() == "Ball"
    segmentation = slicer.util.getNode("Result")
    assert slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "ball", slicer.util.getNode("Ball")).any()


def test_process(host, example):
    example.widget.run(sys.executable, ["-c", "print('from outside')"])
    host.wait_until(lambda: example.widget.ui.statusLabel.text == "from outside (0)", timeout_s=60)


def test_sample_data_is_registered(host, example):
    import slicer

    host.app.startupCompleted.emit()
    assert slicer.modules.sampleDataSources["ThresholdExample"][0]["sampleName"] == "Ball"


# The node selector


@pytest.fixture
def selector(host):
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(slicer.mrmlScene)
    yield selector
    selector.delete()


def names(selector) -> list[str]:
    return [node.GetName() for node in selector.nodes()]


def add(class_name: str, name: str):
    import slicer

    return slicer.mrmlScene.AddNewNodeByClass(class_name, name)


def test_selector_follows_the_scene(host, selector):
    changes = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: changes.append(node and node.GetName()))
    first = add("vtkMRMLScalarVolumeNode", "first")
    second = add("vtkMRMLScalarVolumeNode", "second")
    add("vtkMRMLModelNode", "model")
    hidden = add("vtkMRMLScalarVolumeNode", "hidden")
    hidden.SetHideFromEditors(True)
    selector.showHidden = True
    selector.showHidden = False
    assert names(selector) == ["first", "second"]
    assert changes == ["first"]  # without None the first node is taken, and stays
    selector.setCurrentNode(second)
    host.scene.RemoveNode(second)
    assert selector.currentNode() is first
    assert changes == ["first", "second", "first"]
    host.scene.Clear(False)
    assert names(selector) == []
    assert selector.currentNode() is None
    assert changes[-1] is None


def test_selector_with_none(host, selector):
    selector.noneEnabled = True
    node = add("vtkMRMLScalarVolumeNode", "PET")
    assert selector.currentNode() is None
    selector.setCurrentNode(node)
    assert selector.currentNodeID == node.GetID()
    host.scene.RemoveNode(node)
    assert selector.currentNode() is None


def test_selector_by_class_and_attribute(host, selector):
    add("vtkMRMLLabelMapVolumeNode", "labels")
    tagged = add("vtkMRMLScalarVolumeNode", "tagged")
    assert names(selector) == ["labels", "tagged"]  # a label map is a scalar volume, too
    selector.showChildNodeTypes = False
    assert names(selector) == ["tagged"]
    selector.addAttribute("vtkMRMLScalarVolumeNode", "Modality", "PT")
    assert names(selector) == []
    tagged.SetAttribute("Modality", "PT")
    assert names(selector) == ["tagged"]


def test_selector_shows_a_new_name(host, selector):
    node = add("vtkMRMLScalarVolumeNode", "old")
    node.SetName("new")
    assert selector._combo_box.itemText(0) == "new"


def test_selector_adds_and_removes(host, selector):
    added = []
    selector.connect("nodeAddedByUserAction(vtkMRMLNode*)", added.append)
    selector.baseName = "Result"
    node = selector.addNode()
    assert (added, selector.currentNode(), node.GetName()) == ([node], node, "Result")
    selector.removeCurrentNode()
    assert names(selector) == []


def test_selector_lets_go_of_the_scene(host):
    import slicer

    observers = host.scene.HasObserver("AnyEvent"), count_observers(host.scene)
    selector = slicer.qMRMLNodeComboBox()
    selector.setMRMLScene(host.scene)
    assert count_observers(host.scene) > observers[1]
    selector.delete()
    assert count_observers(host.scene) == observers[1]


def count_observers(caller) -> int:
    return str(caller).count("vtkObserver (")


# Pictures


def test_panel_picture(host, example, tmp_path):
    pixels = host.grab(example.panel, tmp_path / "panel.png", size=(420, 600))
    assert pixels.shape == (600, 420, 3)
    assert (tmp_path / "panel.png").stat().st_size > 1000
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 30  # text and frames, not one colour
    rows_with_ink = np.count_nonzero(pixels.std(axis=(1, 2)) > 5)
    assert rows_with_ink > 100


def test_collapsed_contents_are_hidden(host, example):
    panel, section = example.panel, example.widget.ui.editingCollapsibleButton
    host.grab(panel, size=(420, 900))
    closed = section.height
    section.collapsed = False
    panel.show()
    host.process_events()
    assert example.widget.ui.editor.isVisible()
    assert section.height > closed + 100
    section.collapsed = True
    host.process_events()
    assert not example.widget.ui.editor.isVisible()
    panel.hide()


def test_slice_views_show_volume_and_outline(host, slice_views, example, ball):
    import slicer

    ui = example.widget.ui
    ui.inputSelector.setCurrentNode(ball)
    slicer.util.setSliceViewerLayers(background=ball, fit=True)
    view = slice_views.sliceWidget("Red").view()
    view.node.JumpSliceByOffsetting(0, 0, 0)
    assert red_pixels(view.image()) == 0
    ui.applyButton.click()
    slicer.util.getNode("Result").GetDisplayNode().SetVisibility2DFill(False)
    ui.table.cellClicked.emit(0, 0)  # a row click moves every view to the ball
    for name, position in (("Red", 2), ("Yellow", 0), ("Green", 1)):
        view = slice_views.sliceWidget(name).view()
        assert view.center_ras()[position] == pytest.approx((70, 40, 20)[position], abs=2.0)
        image = view.image()
        assert image.max() == 255  # the ball
        outline = np.argwhere(is_red(image))
        mm_per_pixel = view.node.GetFieldOfView()[1] / image.shape[0]
        assert np.ptp(outline, axis=0) * mm_per_pixel == pytest.approx([16.0, 16.0], abs=4.0)


def is_red(image: np.ndarray) -> np.ndarray:
    return (image[..., 0] > 150) & (image[..., 1] < 100) & (image[..., 2] < 100)


def red_pixels(image: np.ndarray) -> int:
    return int(np.count_nonzero(is_red(image)))


def test_window_picture(host, slice_views, example, ball, tmp_path):
    import slicer

    slicer.util.setSliceViewerLayers(background=ball, fit=True)
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, 70, 40, 20)
    pixels = host.grab_window(example.panel, tmp_path / "window.png", panel_width=400, height=600)
    assert pixels.shape == (600, 1000, 3)
    assert pixels[:, 400:].max() == 255


def test_no_views_and_no_main_window_at_first(host, example):
    import slicer

    assert slicer.app.layoutManager() is None
    assert slicer.util.mainWindow() is None


# The process


def test_process_ends_cleanly(tmp_path):
    script = f"""
        from slicer_host import host
        running = host.start()
        running.open_views()
        module = running.load_module({str(EXAMPLE)!r})
        import numpy as np
        import slicer
        volume = slicer.util.addVolumeFromArray(np.eye(20, dtype=np.float32)[:, :, None] * np.ones(20, np.float32))
        module.widget.ui.inputSelector.setCurrentNode(volume)
        module.widget.ui.thresholdSlider.value = 0.5
        module.widget.ui.applyButton.click()
        running.grab_window(module.panel)
        print("reached the end", module.widget.ui.table.rowCount)
    """
    done = run_python(["-W", "error", "-c", textwrap.dedent(script)], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "reached the end 1" in done.stdout
    assert "ERR|" not in done.stderr, done.stderr
