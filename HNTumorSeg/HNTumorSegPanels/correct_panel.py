"""Corrections: kind, delete, split, merge, holes, threshold, one click, and the embedded Segment Editor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from HNTumorSegPanels.place_click import PlaceClick
from HNTumorSegPanels.session import Session, enable

EDITOR_TAG = "HNTumorSegEditor"
EFFECTS = ("Paint", "Erase", "Draw", "Scissors", "Smoothing", "Islands")


class CorrectPanel:
    """Buttons for every correction; each says in its tooltip why it cannot be pressed."""

    def __init__(self, session: Session, ui: Any) -> None:
        self.session, self.ui = session, ui
        self._place = PlaceClick(self._clicked, self._placing_over)
        for text, kind in ((_("node"), "node"), (_("primary tumour"), "primary")):
            ui.addKindCombo.addItem(text, kind)
        ui.primaryButton.connect("clicked(bool)", lambda _checked=False: self._relabel("primary"))
        ui.nodeButton.connect("clicked(bool)", lambda _checked=False: self._relabel("node"))
        ui.deleteButton.connect("clicked(bool)", self._delete)
        ui.splitButton.connect("clicked(bool)", self._split)
        ui.mergeButton.connect("clicked(bool)", self._merge)
        ui.holesButton.connect("clicked(bool)", self._fill_holes)
        ui.thresholdButton.connect("clicked(bool)", self._threshold)
        ui.addButton.connect("toggled(bool)", self._start_placing)
        self._set_up_editor()

    # The Segment Editor

    def _set_up_editor(self) -> None:
        editor = self.ui.editor
        editor.setMRMLScene(slicer.mrmlScene)
        editor.segmentationNodeSelectorVisible = False
        editor.sourceVolumeNodeSelectorVisible = False
        editor.switchToSegmentationsButtonVisible = False
        editor.unorderedEffectsVisible = False
        # One undo for everything: the module's own, which keeps the record of edits right.
        editor.undoEnabled = False
        editor.setMaximumNumberOfUndoStates(0)
        editor.setEffectNameOrder(list(EFFECTS))
        self.new_editor_node()

    def new_editor_node(self) -> None:
        """Give the editor its node; it goes when the scene closes."""
        node = slicer.mrmlScene.GetSingletonNode(EDITOR_TAG, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.vtkMRMLSegmentEditorNode()
            node.SetSingletonTag(EDITOR_TAG)
            node.SetHideFromEditors(True)
            node = slicer.mrmlScene.AddNode(node)
        self.ui.editor.setMRMLSegmentEditorNode(node)

    def stop(self) -> None:
        """No tool stays active: neither the brush nor the click."""
        self._place.stop()
        if self.ui.editor.mrmlSegmentEditorNode() is not None:
            self.ui.editor.setActiveEffect(None)

    def _show_in_editor(self) -> None:
        from HNTumorSegLib.exchange.segment_facts import segment_id

        editor, segmentation = self.ui.editor, self.session.segmentation
        if editor.mrmlSegmentEditorNode() is None:
            self.new_editor_node()
        if editor.segmentationNode() is not segmentation:
            editor.setSegmentationNode(segmentation)
        pet = self.session.pet
        if segmentation is not None and pet is not None and editor.sourceVolumeNode() is not pet:
            editor.setSourceVolumeNode(pet)
        if segmentation is not None and len(self.session.selected) == 1:
            name = segment_id(self.session.lesions[self.session.selected[0]])
            if editor.currentSegmentID() != name:
                editor.setCurrentSegmentID(name)

    # What can be done now

    def refresh(self) -> None:
        """Follow the selection."""
        ui, chosen = self.ui, self._chosen()
        one = "" if len(chosen) == 1 else _("Select one lesion in the table.")
        some = "" if chosen else _("Select a lesion in the table.")
        without_pet = "" if self.session.pet is not None else _("Choose the PET first.")
        kinds = {lesion.kind for lesion in chosen}
        enable(
            ui.primaryButton,
            some or (_("It is a primary tumour already.") if kinds == {"primary"} else ""),
            _("The selected lesions are primary tumours"),
        )
        enable(
            ui.nodeButton,
            some or (_("It is a node already.") if kinds == {"node"} else ""),
            _("The selected lesions are lymph-node metastases"),
        )
        enable(ui.deleteButton, some, _("The selected lesions are no tumour"))
        enable(ui.splitButton, one or without_pet, _("Cut lesions that touch apart, along the valley of the uptake"))
        two = "" if len(chosen) > 1 else _("Select two or more lesions in the table (Ctrl-click).")
        mixed = _("They differ in kind: make them the same kind first.") if len(kinds) > 1 else ""
        enable(ui.mergeButton, two or mixed, _("The selected lesions are one"))
        enable(ui.holesButton, one, _("Fill the holes inside the lesion, for instance a cold centre"))
        enable(ui.thresholdButton, one or without_pet, _("Grow or shrink the lesion to this share of its SUVmax"))
        no_lesions = "" if self.session.lesions is not None else _("Delineate, or choose a segmentation, first.")
        enable(ui.addButton, no_lesions or without_pet, _("Then click on the missed lesion in any slice view"))
        ui.addKindCombo.enabled = ui.addButton.enabled
        ui.thresholdSpinBox.enabled = ui.thresholdButton.enabled
        ui.editor.enabled = not no_lesions
        self._show_in_editor()

    def _chosen(self) -> list[Any]:
        lesions = self.session.lesions
        return [] if lesions is None else [lesions[number] for number in self.session.selected]

    # What a person does

    def _act(self, work: Callable[[Any, Any], Any]) -> Any:
        """One correction; what it has to say stands below the buttons; the table follows."""
        result, said = None, ""
        with self.session.guarded(self.ui.correctLabel, _("The correction failed.")):
            result = work(self.session.logic, self.session.segmentation)
        said = self.ui.correctLabel.text
        self.session.refresh()
        self.ui.correctLabel.text = said
        return result

    def _relabel(self, kind: str) -> None:
        numbers = [lesion.id for lesion in self._chosen() if lesion.kind != kind]
        self._act(lambda logic, node: logic.relabel(node, numbers, kind))

    def _delete(self, _checked: bool = False) -> None:
        numbers = list(self.session.selected)
        self._act(lambda logic, node: logic.remove(node, numbers))

    def _split(self, _checked: bool = False) -> None:
        number, pet = self.session.selected[0], self.session.pet
        parts = self._act(lambda logic, node: logic.split(node, number, pet))
        self._select(parts)

    def _merge(self, _checked: bool = False) -> None:
        numbers = list(self.session.selected)
        kept = self._act(lambda logic, node: logic.merge(node, numbers))
        self._select([kept] if kept is not None else None)

    def _fill_holes(self, _checked: bool = False) -> None:
        number = self.session.selected[0]
        self._act(lambda logic, node: logic.fillHoles(node, number))

    def _threshold(self, _checked: bool = False) -> None:
        number, fraction = self.session.selected[0], self.ui.thresholdSpinBox.value / 100
        pet = self.session.pet
        self._act(lambda logic, node: logic.applyThreshold(node, pet, number, fraction))

    def _select(self, numbers: list[int] | None) -> None:
        if numbers:
            self.session.selected = list(numbers)
            self.session.refresh_panels()

    # One click

    def _start_placing(self, on: bool) -> None:
        if on == self._place.active:
            return
        if not on:
            self._place.stop()
            return
        with self.session.guarded(self.ui.correctLabel, _("The click cannot be waited for.")):
            self._place.start()
            self.ui.correctLabel.text = _("Click on the lesion in a slice view; Esc or the button ends it.")

    def _clicked(self, ras: tuple[float, float, float]) -> None:
        kind, pet = self.ui.addKindCombo.currentData, self.session.pet
        added = self._act(lambda logic, node: logic.addLesion(node, pet, ras, kind))
        if added is not None:
            self._select([added])

    def _placing_over(self) -> None:
        self.ui.addButton.checked = False
