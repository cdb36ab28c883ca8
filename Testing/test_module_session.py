"""A clinician's day with a synthetic patient: delineate, put every kind of error right, save, open again, the true TTB.

The errors are those of Nikulin et al. 2023, Figure 4: a node called a primary tumour, a spurious node on physiologic
uptake, a missed primary tumour, a missed node. They are planted through a model that says what is drawn into the CT;
everything else is the module's own way, and only its buttons correct them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import SimpleITK as sitk
from marked_net import NODE_HU, PRIMARY_HU, TISSUE_HU, write_marked_model
from scipy import ndimage
from test_module_panel import cell, click_in_views, column, names, select, total
from test_module_run import ENVIRONMENT

from HNTumorSegLib.geometry import Geometry, image_from_array, resample
from HNTumorSegLib.lesions.from_labels import lesions_from_labels
from HNTumorSegLib.lesions.lesion_set import LesionSet
from HNTumorSegLib.phantom.patient import PhantomPatient, make_patient

pytest.importorskip("slicer", reason="the slicer extra is not installed")

HELD_OUT = 1_000_000
PATIENCE_S = 600  # a busy machine; nothing here waits longer than it must


@dataclass
class Planted:
    """A patient, what is true, and what the model will say.

    Attributes:
        patient: PET, CT, truth.
        truth: the true lesions on the PET's grid.
        primary_id, called_primary_id, missed_id: the primary (missed), the largest node (called a primary), and the
            second largest (missed).
        spurious: physiologic uptake that the model calls a node, boolean zyx array on the PET's grid.
    """

    patient: PhantomPatient
    truth: LesionSet
    primary_id: int
    called_primary_id: int
    missed_id: int
    spurious: np.ndarray

    def ras(self, lesion_id: int) -> tuple[float, float, float]:
        """Where a person would click: the hottest voxel of a lesion."""
        return self._ras(self.truth.mask(lesion_id))

    def _ras(self, mask: np.ndarray) -> tuple[float, float, float]:
        suv = sitk.GetArrayFromImage(self.patient.study.pet)
        zyx = np.unravel_index(np.argmax(np.where(mask, suv, -1)), suv.shape)
        x, y, z = self.truth.geometry.to_lps(np.array(zyx[::-1]))
        return -x, -y, z

    def marked_ct(self) -> sitk.Image:
        """The CT with the model's answer in it."""
        ct = self.patient.study.ct
        geometry = Geometry.from_image(ct)
        hounsfield = np.clip(sitk.GetArrayFromImage(ct), -TISSUE_HU, TISSUE_HU).astype(np.int16)
        hounsfield[-4:, :4, :4] = -1000  # no CT is without air; a corner above the crown
        lesions = lesions_from_labels(self.patient.truth_on(geometry))
        for lesion in lesions.lesions:
            mask = lesions.mask(lesion.id)
            x, y, z = geometry.to_lps(np.argwhere(mask).mean(axis=0)[::-1])
            here = self._nearest((x, y, z))
            if here == self.called_primary_id:
                hounsfield[mask] = PRIMARY_HU
            elif here not in (self.primary_id, self.missed_id):
                hounsfield[mask] = NODE_HU
        spurious = resample(image_from_array(self.spurious.astype(np.float32), self.truth.geometry), geometry)
        hounsfield[sitk.GetArrayFromImage(spurious) >= 0.5] = NODE_HU
        return image_from_array(hounsfield, geometry)

    def _nearest(self, point_lps_mm: tuple[float, float, float]) -> int:
        """Id of the true lesion on the PET's grid whose centre is nearest."""
        centres = {
            x.id: self.truth.geometry.to_lps(np.argwhere(self.truth.mask(x.id)).mean(axis=0)[::-1])
            for x in self.truth.lesions
        }
        return min(centres, key=lambda n: np.linalg.norm(centres[n] - point_lps_mm))


@pytest.fixture(scope="module")
def planted() -> Planted:
    """The first held-out patient with one primary tumour, three nodes or more, and hot tissue that is no tumour."""
    for seed in range(HELD_OUT, HELD_OUT + 20):
        patient = make_patient(seed, economy=True)
        truth = lesions_from_labels(patient.truth)
        primaries = [x for x in truth.lesions if x.kind == "primary"]
        nodes = [x for x in truth.lesions if x.kind == "node"]
        spurious = physiologic_uptake(patient)
        if len(primaries) == 1 and len(nodes) >= 3 and spurious is not None:
            return Planted(patient, truth, primaries[0].id, nodes[0].id, nodes[1].id, spurious)
    raise AssertionError("no such patient among twenty")


def physiologic_uptake(patient: PhantomPatient) -> np.ndarray | None:
    """The largest hot spot of 0.5 to 15 ml that is 2 cm or more from every tumour; None without one."""
    geometry = Geometry.from_image(patient.study.pet)
    suv, truth = (sitk.GetArrayFromImage(image) for image in (patient.study.pet, patient.truth))
    far = ndimage.distance_transform_edt(truth == 0, geometry.spacing_zyx_mm) > 20
    pieces, _ = ndimage.label(suv >= 2.5)
    volumes = np.bincount(pieces.ravel()) * geometry.voxel_volume_ml
    fit = [
        n
        for n in range(1, len(volumes))
        if 0.5 <= volumes[n] <= 15 and far[pieces == n].all() and np.argwhere(pieces == n)[:, 0].mean() > 2
    ]
    return pieces == max(fit, key=lambda n: volumes[n]) if fit else None


def test_every_error_is_put_right_and_the_burden_is_the_true_one(host, module_widget, planted, tmp_path, monkeypatch):
    import slicer

    from HNTumorSegPanels.sample_data import put_study

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    study = planted.patient.study
    study.ct, plain_ct = planted.marked_ct(), study.ct
    pet, ct = put_study(study, "PET", "CT")
    study.ct = plain_ct
    ui = module_widget.ui
    ui.petSelector.setCurrentNode(pet)
    ui.ctSelector.setCurrentNode(ct)
    module_widget.session.parameters.model = str(write_marked_model(tmp_path / "marked", 3.0))
    module_widget.session.parameters.device = "cpu"
    module_widget.refresh()

    # 1. Delineate: the four errors are there.
    ui.delineateButton.click()
    host.wait_until(lambda: module_widget.delineatePanel.run is None, PATIENCE_S)
    n_nodes = sum(x.kind == "node" for x in planted.truth.lesions)
    assert f"{n_nodes} lesions proposed" in ui.runLabel.text, ui.runLabel.text
    assert column(ui, "kind").count("primary") == 1
    truth_ml = sum(planted.truth.volumes_ml().values())
    assert float(total(ui, 2, "volume_ml")) != pytest.approx(truth_ml, rel=0.3)
    logic, segmentation = module_widget.logic, module_widget.session.segmentation
    lesions = logic.lesions(segmentation)

    # 2. Put them right, by the buttons alone.
    select(ui, "Primary 1")
    ui.nodeButton.click()
    at_spurious = lesions.labels[planted.spurious]
    spurious = int(np.bincount(at_spurious[at_spurious > 0]).argmax())
    select(ui, lesions[spurious].name)
    ui.deleteButton.click()
    for kind, lesion_id in (("primary", planted.primary_id), ("node", planted.missed_id)):
        ui.addKindCombo.setCurrentIndex(ui.addKindCombo.findData(kind))
        click_in_views(host, module_widget, planted.ras(lesion_id))
        assert ui.correctLabel.text == ""
    ui.confirmAllButton.click()
    expected_names = sorted(["Primary 1", *(f"Node {n}" for n in range(1, n_nodes + 1))])
    assert names(ui) == expected_names

    # 3. Save, close, open tomorrow.
    folder = tmp_path / "patient"
    ui.folderEdit.setCurrentPath(str(folder))
    ui.saveButton.click()
    assert "scene.mrb" in ui.saveLabel.text
    before = column(ui, "name"), column(ui, "volume_ml"), [total(ui, row, "volume_ml") for row in range(3)]
    slicer.mrmlScene.Clear(False)
    host.process_events()
    assert ui.lesionTable.rowCount == 0
    slicer.util.loadScene(str(folder / "scene.mrb"))
    host.process_events()

    # 4. It is all there, and it is true.
    assert (column(ui, "name"), column(ui, "volume_ml"), [total(ui, r, "volume_ml") for r in range(3)]) == before
    assert set(column(ui, "status")) == {"confirmed"}
    tools = {cell(ui.recordTable, row, 3) for row in range(ui.recordTable.rowCount)}
    assert tools == {"relabel", "remove", "one click", "confirm"}
    assert float(total(ui, 2, "volume_ml")) == pytest.approx(truth_ml, rel=0.05)
    kinds = {x.id: x.kind for x in planted.truth.lesions}
    found = module_widget.logic.lesions(module_widget.session.segmentation)
    for lesion in planted.truth.lesions:  # each where it belongs, and called what it is
        at_lesion = found.labels[planted.truth.mask(lesion.id)]
        assert found[int(np.bincount(at_lesion[at_lesion > 0]).argmax())].kind == kinds[lesion.id]
