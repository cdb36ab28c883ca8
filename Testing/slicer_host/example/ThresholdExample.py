"""A scripted module as Slicer's template makes them, for the host's own tests: thresholds a volume."""

# ruff: noqa: F403, F405, N802, N806, PT009  written as Slicer modules are

import os

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin


class ThresholdExample(ScriptedLoadableModule):
    """Metadata."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Threshold Example")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Examples")]
        self.parent.dependencies = ["Segmentations"]
        self.parent.contributors = ["Test"]
        self.parent.helpText = _("Everything above the threshold.") + self.getDefaultModuleDocumentationLink()
        slicer.app.connect("startupCompleted()", register_sample_data)


def register_sample_data():
    """Register a sample with Slicer's Sample Data module."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(category="ThresholdExample", sampleName="Ball")


class ThresholdExampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.process = None
        self.parameter_node = None

    def setup(self):
        """Load the .ui file and connect it."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/ThresholdExample.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = ThresholdExampleLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.inputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onInputChanged)
        self.ui.thresholdSlider.connect("valueChanged(double)", self.onThresholdChanged)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.table.connect("cellClicked(int,int)", self.onRow)
        self.timer = qt.QTimer()
        self.timer.setSingleShot(True)
        self.timer.interval = 10
        self.timer.connect("timeout()", self.showTable)
        self.initializeParameterNode()

    def cleanup(self):
        """Slicer is about to unload the module."""
        self.timer.stop()
        self.removeObservers()

    def enter(self):
        """The module was opened."""
        self.initializeParameterNode()

    def onSceneEndClose(self, caller, event):
        """The scene was closed."""
        self.initializeParameterNode()

    def initializeParameterNode(self):
        """Follow the parameter node of this scene."""
        if self.parameter_node is not None:
            self.removeObserver(self.parameter_node, vtk.vtkCommand.ModifiedEvent, self.updateGUI)
        self.parameter_node = self.logic.getParameterNode()
        if not self.parameter_node.GetParameter("Threshold"):
            self.parameter_node.SetParameter("Threshold", "2.5")
        self.addObserver(self.parameter_node, vtk.vtkCommand.ModifiedEvent, self.updateGUI)
        editor_node = slicer.mrmlScene.AddNode(slicer.vtkMRMLSegmentEditorNode())
        self.ui.editor.setMRMLSegmentEditorNode(editor_node)
        self.ui.editor.setMRMLScene(slicer.mrmlScene)
        self.updateGUI()

    def onInputChanged(self, node):
        """The person picked another volume."""
        self.parameter_node.SetNodeReferenceID("Input", node.GetID() if node else None)

    def onThresholdChanged(self, value):
        """The person moved the slider."""
        self.parameter_node.SetParameter("Threshold", str(value))

    def updateGUI(self, caller=None, event=None):
        """Show what the parameter node holds."""
        node = self.parameter_node.GetNodeReference("Input")
        was_blocked = self.ui.inputSelector.blockSignals(True)
        self.ui.inputSelector.setCurrentNode(node)
        self.ui.inputSelector.blockSignals(was_blocked)
        self.ui.thresholdSlider.value = float(self.parameter_node.GetParameter("Threshold") or 2.5)
        self.ui.applyButton.enabled = node is not None
        self.ui.applyButton.toolTip = _("Threshold the volume.") if node else _("Select a volume.")

    def onApplyButton(self):
        """Run."""
        with slicer.util.tryWithErrorDisplay(_("Thresholding failed."), waitCursor=True):
            volume = self.ui.inputSelector.currentNode()
            segmentation = self.logic.process(volume, self.ui.thresholdSlider.value)
            self.ui.editor.setSegmentationNode(segmentation)
            self.ui.editor.setSourceVolumeNode(volume)
            # A stroke changes the representation, undo and redo only the segment.
            for event in (slicer.vtkSegmentation.SourceRepresentationModified, slicer.vtkSegmentation.SegmentModified):
                self.addObserver(segmentation.GetSegmentation(), event, self.onEdit)
            self.showTable()

    def onEdit(self, caller, event):
        """The segments changed; show it a little later, once."""
        self.timer.start()

    def showTable(self):
        """A row for each segment: its name and its voxels."""
        segmentation = self.ui.editor.segmentationNode()
        ids = segmentation.GetSegmentation().GetSegmentIDs()
        self.ui.table.setRowCount(len(ids))
        for row, segment_id in enumerate(ids):
            count = self.logic.voxels(segmentation, segment_id, self.ui.editor.sourceVolumeNode())
            self.ui.table.setItem(
                row, 0, qt.QTableWidgetItem(segmentation.GetSegmentation().GetSegment(segment_id).GetName())
            )
            self.ui.table.setItem(row, 1, qt.QTableWidgetItem(str(count)))

    def onRow(self, row, column):
        """Move the views to the segment of that row."""
        segmentation = self.ui.editor.segmentationNode()
        segment_id = segmentation.GetSegmentation().GetNthSegmentID(row)
        x, y, z = segmentation.GetSegmentCenterRAS(segment_id)
        slicer.modules.markups.logic().JumpSlicesToLocation(x, y, z, True)

    def run(self, program, arguments):
        """Start a program and show what it prints."""
        self.process = qt.QProcess()
        self.process.connect("readyReadStandardOutput()", self.onOutput)
        self.process.connect("finished(int,QProcess::ExitStatus)", self.onFinished)
        self.process.start(program, arguments)

    def onOutput(self):
        """The program printed something."""
        self.ui.statusLabel.text = bytes(self.process.readAllStandardOutput().data()).decode().strip()

    def onFinished(self, code, status):
        """The program ended."""
        self.ui.statusLabel.text += f" ({code})"


class ThresholdExampleLogic(ScriptedLoadableModuleLogic):
    """The work."""

    def process(self, volume, threshold):
        """A segmentation with one segment: the voxels above the threshold."""
        inside = slicer.util.arrayFromVolume(volume) > threshold
        if not inside.any():
            raise ValueError(f"No voxel is above {threshold}.")
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Result")
        segmentation.CreateDefaultDisplayNodes()
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segment_id = segmentation.GetSegmentation().AddEmptySegment("ball", "Ball", (1.0, 0.0, 0.0))
        slicer.util.updateSegmentBinaryLabelmapFromArray(inside.astype(np.uint8), segmentation, segment_id, volume)
        return segmentation

    def voxels(self, segmentation, segment_id, volume):
        """How many voxels a segment has."""
        return int(np.count_nonzero(slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, volume)))


class ThresholdExampleTest(ScriptedLoadableModuleTest):
    """Runs in Slicer's *Reload and Test* as well."""

    def setUp(self):
        """An empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run all."""
        self.setUp()
        self.test_ball()

    def test_ball(self):
        """A cube of 2 x 3 x 4 voxels has 24."""
        self.delayDisplay("Starting the test")
        array = np.zeros((8, 9, 10), np.float32)
        array[2:4, 3:6, 4:8] = 5.0
        volume = slicer.util.addVolumeFromArray(array)
        logic = ThresholdExampleLogic()
        self.assertEqual(logic.voxels(logic.process(volume, 1.0), "ball", volume), 24)
        self.assertTrue(os.path.isfile(slicer.util.modulePath("ThresholdExample")))
