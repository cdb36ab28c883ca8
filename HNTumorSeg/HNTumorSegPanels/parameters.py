"""What of the module is saved with the scene, behind one typed class over its vtkMRMLScriptedModuleNode.

Lesion facts and their history are not here: they stand in the tags of the segments.
"""

from __future__ import annotations

import json
from typing import Any

UNCERTAINTY_ROLE = "HNTumorSeg.Uncertainty"
PET_ROLE = "HNTumorSeg.Pet"
CT_ROLE = "HNTumorSeg.Ct"
NOTES_ATTRIBUTE = "HNTumorSeg.Notes"
MODEL_ATTRIBUTE = "HNTumorSeg.Model"
DEVICE_ATTRIBUTE = "HNTumorSeg.Device"
FACTS_ATTRIBUTE = "HNTumorSeg.PatientFacts"


class Parameters:
    """Choices of the panel: model, device, grid, and the nodes that are worked on.

    Args:
        node: the module's vtkMRMLScriptedModuleNode; everything is read from it and written to it at once.
    """

    def __init__(self, node: Any) -> None:
        self.node = node

    @property
    def model(self) -> str:
        """Name of the model, or its folder."""
        return self.node.GetParameter("Model") or "default"

    @model.setter
    def model(self, name: str) -> None:
        self.node.SetParameter("Model", name)

    @property
    def device(self) -> str:
        """``auto``, ``cpu`` or ``cuda``."""
        return self.node.GetParameter("Device") or "auto"

    @device.setter
    def device(self, name: str) -> None:
        self.node.SetParameter("Device", name)

    @property
    def reference(self) -> str:
        """``pet`` or ``ct``: whose grid the lesions are made on."""
        return self.node.GetParameter("Reference") or "pet"

    @reference.setter
    def reference(self, name: str) -> None:
        self.node.SetParameter("Reference", name)

    @property
    def pet(self) -> Any:
        """The PET's vtkMRMLScalarVolumeNode, or None."""
        return self.node.GetNodeReference("PET")

    @pet.setter
    def pet(self, volume: Any) -> None:
        self._refer("PET", volume)

    @property
    def ct(self) -> Any:
        """The CT's vtkMRMLScalarVolumeNode, or None."""
        return self.node.GetNodeReference("CT")

    @ct.setter
    def ct(self, volume: Any) -> None:
        self._refer("CT", volume)

    @property
    def segmentation(self) -> Any:
        """The vtkMRMLSegmentationNode with the lesions that the panel shows, or None."""
        return self.node.GetNodeReference("Segmentation")

    @segmentation.setter
    def segmentation(self, segmentation: Any) -> None:
        self._refer("Segmentation", segmentation)

    @property
    def prognosis_model(self) -> str:
        """Folder of the survival model; empty when none was chosen."""
        return self.node.GetParameter("PrognosisModel") or ""

    @prognosis_model.setter
    def prognosis_model(self, folder: str) -> None:
        self.node.SetParameter("PrognosisModel", folder)

    def _refer(self, role: str, target: Any) -> None:
        self.node.SetNodeReferenceID(role, target.GetID() if target is not None else None)


class Origin:
    """Where a segmentation came from: kept in its node, so that each of several keeps its own."""

    def __init__(self, segmentation: Any) -> None:
        self.node = segmentation

    def set(self, pet: Any, ct: Any, uncertainty: Any, model: str, device: str, notes: list[str]) -> None:
        """Write everything down after a run."""
        for role, target in ((PET_ROLE, pet), (CT_ROLE, ct), (UNCERTAINTY_ROLE, uncertainty)):
            self.node.SetNodeReferenceID(role, target.GetID() if target is not None else None)
        self.node.SetAttribute(MODEL_ATTRIBUTE, model)
        self.node.SetAttribute(DEVICE_ATTRIBUTE, device)
        self.node.SetAttribute(NOTES_ATTRIBUTE, json.dumps(notes))

    @property
    def pet(self) -> Any:
        """The PET it was made from, or None when that is no longer in the scene."""
        return self.node.GetNodeReference(PET_ROLE)

    @property
    def ct(self) -> Any:
        """The CT it was made from, or None."""
        return self.node.GetNodeReference(CT_ROLE)

    @property
    def uncertainty(self) -> Any:
        """The volume with the model's uncertainty, or None."""
        return self.node.GetNodeReference(UNCERTAINTY_ROLE)

    @property
    def model(self) -> str:
        """Name and version of the model; empty when no model made it."""
        return self.node.GetAttribute(MODEL_ATTRIBUTE) or ""

    @property
    def device(self) -> str:
        """Where the model ran."""
        return self.node.GetAttribute(DEVICE_ATTRIBUTE) or ""

    @property
    def notes(self) -> list[str]:
        """Sentences for the user about how it came about."""
        try:
            return [str(note) for note in json.loads(self.node.GetAttribute(NOTES_ATTRIBUTE) or "[]")]
        except ValueError:
            return []


class PatientFacts:
    """What a person typed about the patient of a PET: kept in its node, so that no other patient gets it."""

    def __init__(self, pet: Any) -> None:
        self.node = pet

    @property
    def values(self) -> dict[str, str]:
        """Text by covariate."""
        try:
            found = json.loads(self.node.GetAttribute(FACTS_ATTRIBUTE) or "{}")
        except ValueError:
            return {}
        return {str(name): str(text) for name, text in found.items()} if isinstance(found, dict) else {}

    def set(self, covariate: str, text: str) -> None:
        """Write one down; empty text forgets it."""
        values = self.values | {covariate: text}
        kept = {name: text for name, text in values.items() if text.strip()}
        self.node.SetAttribute(FACTS_ATTRIBUTE, json.dumps(kept))
