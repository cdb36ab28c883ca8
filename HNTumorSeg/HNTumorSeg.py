"""The Slicer module HNTumorSeg: metadata, the panel, the logic that scripts call, and the module's own test."""

import importlib.util
import os
import sys

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

if importlib.util.find_spec("HNTumorSegLib") is None:  # a checkout, not an installed extension
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from HNTumorSegPanels.lesion_logic import LesionLogic


class HNTumorSeg(ScriptedLoadableModule):
    """What Slicer lists."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Head and Neck Tumour Burden")
        parent.categories = [_("Segmentation")]
        parent.dependencies = ["Segmentations", "SegmentEditor", "Volumes", "Markups", "SubjectHierarchy"]
        parent.contributors = ["HNTumorSeg team"]
        parent.helpText = _(
            "Finds primary tumours and lymph-node metastases of head and neck cancer in FDG-PET/CT, lets you correct "
            "and confirm each of them, and measures total tumour burden. Every lesion must be reviewed by a person. "
            "For research, not for clinical use. Nothing leaves this computer."
        )
        parent.acknowledgementText = _(
            "The default model follows Nikulin et al., Eur J Nucl Med Mol Imaging 2023; the lesions, measures and "
            "exchange are HNTumorSeg's own. Made by the HNTumorSeg team, Apache License 2.0."
        )
        slicer.app.connect("startupCompleted()", self.onStartupCompleted)

    def onStartupCompleted(self):
        """What other modules of Slicer learn from this one: a sample patient, and the codes of its segments."""
        from HNTumorSegPanels import sample_data, terminologies

        sample_data.register(self.resourcePath("Icons/HNTumorSeg.png"))
        terminologies.load(self.resourcePath("Terminologies"))


class HNTumorSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: six parts, one file each in HNTumorSegPanels, that share a session."""

    # What Slicer's DICOM browser may offer to this module.
    dicom_support_rule = "Modality == 'PT'"

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)

        from HNTumorSegPanels.correct_panel import CorrectPanel
        from HNTumorSegPanels.delineate_panel import DelineatePanel
        from HNTumorSegPanels.lesions_panel import LesionsPanel
        from HNTumorSegPanels.prognosis_panel import PrognosisPanel
        from HNTumorSegPanels.record_panel import RecordPanel
        from HNTumorSegPanels.save_panel import SavePanel
        from HNTumorSegPanels.segmentation_watch import SegmentationWatch
        from HNTumorSegPanels.session import Session

        self.logic = HNTumorSegLogic()
        self.session = Session(self.logic)
        self.ui = type("Ui", (), {})()
        panels = (DelineatePanel, LesionsPanel, CorrectPanel, RecordPanel, PrognosisPanel, SavePanel)
        for panel in panels:
            self._load(panel.__name__)
        self.layout.addStretch(1)
        self.panels = [self.session.add(panel(self.session, self.ui)) for panel in panels]
        self.delineatePanel, self.correctPanel, self.prognosisPanel = self.panels[0], self.panels[2], self.panels[4]
        self.watch = self.session.add(SegmentationWatch(self.session, self.parent, self.refresh))
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneChanged)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneChanged)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved)
        self.refresh()

    def _load(self, name):
        """Put one .ui file below the others; its widgets become attributes of self.ui."""
        widget = slicer.util.loadUI(self.resourcePath(f"UI/{name}.ui"))
        self.layout.addWidget(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        for child, value in vars(slicer.util.childWidgetVariables(widget)).items():
            setattr(self.ui, child, value)

    def enter(self):
        self.delineatePanel.fill_models()
        self.refresh()

    def exit(self):
        self.correctPanel.stop()

    def cleanup(self):
        self.removeObservers()
        if self.logic is not None:
            self.watch.timer.stop()
            self.prognosisPanel.stop()
            self.watch.stop()
            self.delineatePanel.cancel("")
            self.correctPanel.stop()
            self.ui.editor.setMRMLSegmentEditorNode(None)
            self.logic.close()

    def refresh(self):
        """Measure what changed and show it."""
        if slicer.mrmlScene.IsClosing() or slicer.mrmlScene.IsImporting():
            return
        with slicer.util.tryWithErrorDisplay(_("The lesion list cannot be brought up to date.")):
            self.session.refresh()

    def onSceneStartClose(self, caller, event):
        self.delineatePanel.cancel(_("The scene was closed during the run, so it was stopped."))
        self.correctPanel.stop()
        self.watch.stop()

    def onSceneChanged(self, caller, event):
        self.logic.forget()
        said = self.ui.runLabel.text
        self.correctPanel.new_editor_node()
        self.refresh()
        self.ui.runLabel.text = said

    def onNodeRemoved(self, caller, event):
        if not slicer.mrmlScene.IsClosing():
            self.watch.timer.start()


class HNTumorSegLogic(ScriptedLoadableModuleLogic, LesionLogic):
    """Everything the panel does, for scripts too. Methods raise HNTumorSegError with a sentence; they never ask.

    Lesions are named by their id (the column of ``measure(...)``), positions are RAS in mm.
    """

    def __init__(self, parent=None):
        ScriptedLoadableModuleLogic.__init__(self, parent)
        LesionLogic.__init__(self)
        self._worker = None

    # Delineating

    def delineate(self, pet, ct=None, model="default", device="auto", reference="pet", wait=True):
        """Delineate in a process of its own.

        Returns the segmentation node; with ``wait=False`` at once a run with poll(), cancel(), running, segmentation.
        """
        from HNTumorSegPanels.run import DelineationRun, start_worker

        if self._worker is None:
            self._worker = start_worker()
        run = DelineationRun(self._worker, pet, ct, model, device, reference)
        return run.wait() if wait else run

    def card(self, model):
        """(model card, "") or (None, why there is none)."""
        from HNTumorSegLib.errors import HNTumorSegError
        from HNTumorSegLib.models.card import ModelCard
        from HNTumorSegLib.models.registry import resolve_model

        try:
            return ModelCard.load(resolve_model(model)), ""
        except HNTumorSegError as error:
            return None, str(error)

    def close(self):
        """End the worker process."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        self.forget()

    # Judging

    def prognosis(self, segmentation, pet, model, covariates=None):
        """What a survival model says about these lesions; for research.

        ``model``: folder of ``hntumorseg survival fit``; ``covariates``: by name, what the lesions do not answer.
        """
        from HNTumorSegPanels.prognosis import load

        risk_model = load(str(model))
        from HNTumorSegLib.survival.one_patient import prognosis_of

        return prognosis_of(risk_model, self.measure(segmentation, pet), covariates or {}, segmentation.GetName())

    # Keeping

    def save(self, segmentation, pet, folder):
        """Write the result files and the scene into a folder; returns their paths, and what the scene leaves out."""
        from HNTumorSegPanels import results

        measurements = self.measure(segmentation, pet)
        return results.save(segmentation, self.lesions(segmentation), measurements, pet, folder)

    def table(self, segmentation, pet):
        """The measurements as a new vtkMRMLTableNode."""
        from HNTumorSegLib.mrml.scene import measurements_to_table

        return measurements_to_table(self.measure(segmentation, pet), f"{segmentation.GetName()} table")


class HNTumorSegTest(ScriptedLoadableModuleTest):
    """Runs in Slicer (Reload and Test) and under pytest, without a model: a phantom lesion is found by a click."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_click_correct_undo()

    def test_click_correct_undo(self):
        from HNTumorSegPanels.module_test import ball_patient, empty_segmentation

        pet, truth_ml, ras = ball_patient()
        logic = HNTumorSegLogic()
        segmentation = empty_segmentation(pet)
        number = logic.addLesion(segmentation, pet, ras, "node")
        total = logic.measure(segmentation, pet).ttb_ml
        self.assertLess(abs(total - truth_ml), 0.1 * truth_ml)
        logic.relabel(segmentation, number, "primary")
        self.assertEqual(logic.measure(segmentation, pet).rows[0].kind, "primary")
        logic.remove(segmentation, number)
        self.assertEqual(logic.measure(segmentation, pet).ttb_ml, 0.0)
        logic.undo(segmentation)
        self.assertAlmostEqual(logic.measure(segmentation, pet).ttb_ml, total)
        self.delayDisplay(_("Test passed"))
