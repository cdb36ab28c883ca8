"""Pictures of the module as a person sees it: checked by numbers here, and written where a person looks at them.

With the environment variable HNTUMORSEG_SCREENSHOTS the pictures go to the folder that it names.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from test_module_panel import column, select

pytest.importorskip("slicer", reason="the slicer extra is not installed")

PANEL_PX = (500, 1100)


@pytest.fixture
def folder(tmp_path) -> Path:
    named = os.environ.get("HNTUMORSEG_SCREENSHOTS", "").strip()
    place = Path(named) if named else tmp_path
    place.mkdir(parents=True, exist_ok=True)
    return place


@pytest.fixture(scope="module")
def patient():
    from HNTumorSegLib.phantom.patient import make_patient

    return make_patient(3, economy=True)


@pytest.fixture
def phantom(patient, host, slice_views, module_widget):
    """A synthetic patient, its true tumours as the proposed lesions, CT and PET fused."""
    import slicer

    from HNTumorSegLib.geometry import image_from_array
    from HNTumorSegLib.lesions.from_labels import lesions_from_labels
    from HNTumorSegLib.mrml.scene import lesion_set_to_segmentation, show_as_uncertainty, volume_to_node
    from HNTumorSegPanels.parameters import Origin
    from HNTumorSegPanels.sample_data import put_study

    pet, ct = put_study(patient.study, "Phantom PET SUVbw", "Phantom CT")
    lesions = lesions_from_labels(patient.truth)
    for number, lesion in enumerate(lesions.lesions):
        lesion.score = 0.97 - 0.06 * number
    segmentation = lesion_set_to_segmentation(lesions, pet, "Lesions")
    unsure = np.full(lesions.labels.shape, 0.03, np.float32)
    unsure[lesions.labels == lesions.lesions[-1].id] = 0.6
    unsure[:, : unsure.shape[1] // 2][lesions.labels[:, : unsure.shape[1] // 2] == 1] = 0.4
    uncertainty = volume_to_node(image_from_array(unsure, lesions.geometry), "Lesions uncertainty")
    show_as_uncertainty(uncertainty)
    Origin(segmentation).set(pet, ct, uncertainty, "default 1.0", "cpu (2 threads, fp32)", [])
    ui = module_widget.ui
    ui.petSelector.setCurrentNode(pet)
    ui.ctSelector.setCurrentNode(ct)
    ui.segmentationSelector.setCurrentNode(segmentation)
    slicer.util.setSliceViewerLayers(background=ct, foreground=pet, foregroundOpacity=0.45, fit=True)
    for name in slice_views.sliceViewNames():
        node = slice_views.sliceWidget(name).mrmlSliceNode()
        node.SetFieldOfView(240, 240, 1)
    return segmentation


def is_cut(widget) -> bool:
    """Whether a label or button is smaller than its text needs."""
    return widget.isVisible() and (
        widget.width < widget.minimumSizeHint().width() or widget.height < widget.minimumSizeHint().height()
    )


def test_panel_shows_everything_whole(host, module, module_widget, phantom, folder):
    import qt

    ui = module_widget.ui
    select(ui, "Primary 1")
    host.grab(module.panel, folder / "panel.png", PANEL_PX)
    module.panel.show()
    host.process_events()
    cut = [
        w.objectName
        for kind in (qt.QLabel, qt.QPushButton, qt.QCheckBox)
        for w in module.panel.findChildren(kind)
        if is_cut(w)
    ]
    table = ui.lesionTable
    assert cut == []
    assert not table.horizontalScrollBar().visible
    for row in range(table.rowCount):
        needed = table.fontMetrics().horizontalAdvance(table.item(row, 0).text()) + 16  # and the colour before it
        assert table.columnWidth(0) >= needed
    assert ui.totalsTable.viewport().height >= sum(ui.totalsTable.rowHeight(row) for row in range(3))
    module.panel.hide()


def test_panel_while_it_runs(host, module, module_widget, phantom, folder):
    """The progress of a run, drawn without one."""

    class Run:
        running, stage, fraction, message, remaining_s = True, "delineate", 0.46, "running the network", 34.0

        def poll(self):
            return True

        def cancel(self):
            """Nothing to end."""

    module_widget.delineatePanel.run = Run()
    module_widget.delineatePanel.refresh()
    module_widget.delineatePanel.poll()
    assert module_widget.ui.runLabel.text == "Delineating: running the network, about 34 s left"
    host.grab(module.panel, folder / "panel_running.png", PANEL_PX)
    module_widget.delineatePanel.run = None


def test_record_and_paint_sections(host, module, module_widget, phantom, folder):
    ui = module_widget.ui
    for name in column(ui, "name")[:2]:
        select(ui, name)
        ui.confirmButton.click()
    select(ui, column(ui, "name")[-1])
    ui.deleteButton.click()
    for section in (ui.delineateSection, ui.lesionsSection):
        section.collapsed = True
    for section in (ui.paintSection, ui.recordSection, ui.saveSection):
        section.collapsed = False
    host.grab(module.panel, folder / "panel_corrections.png", PANEL_PX)


def test_fused_views_with_outlines(host, slice_views, module, module_widget, phantom, folder):
    ui = module_widget.ui
    ui.lesionTable.cellClicked.emit(column(ui, "name").index("Primary 1"), 0)
    with_outlines = host.grab_views(folder / "views.png").astype(int)
    slice_views.sliceWidget("Red").mrmlSliceNode().SetFieldOfView(150, 150, 1)  # the neck is narrower than the head
    host.grab_window(module.panel, folder / "window.png", panel_width=PANEL_PX[0], height=PANEL_PX[1])
    phantom.GetDisplayNode().SetVisibility(False)
    without = host.grab_views().astype(int)
    # An outline in the red of primaries is in each of the three views, and the images are there.
    red = (with_outlines[..., 0] - with_outlines[..., 2] > 80) & (np.abs(with_outlines - without).sum(axis=2) > 60)
    for view in np.split(red, 3, axis=1):
        assert 20 < np.count_nonzero(view) < 20000
    for view in np.split(without, 3, axis=1):
        assert view.std() > 15
    ui.uncertaintyCheckBox.click()
    ui.uncertaintySlider.setValue(70)
    unsure = host.grab_views(folder / "views_uncertainty.png").astype(int)
    assert np.abs(unsure - without).mean() > 2
    # Where the model was sure the CT shows through undimmed.
    assert np.percentile(unsure, 99) > 150
