"""The model's uncertainty as a layer, and the record of what people changed."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from HNTumorSegPanels.parameters import Origin
from HNTumorSegPanels.session import Session


class RecordPanel:
    """Shows who did what to which lesion, newest first."""

    def __init__(self, session: Session, ui: Any) -> None:
        self.session, self.ui = session, ui
        columns = [_("Time (UTC)"), _("Lesion"), _("Who"), _("Tool"), _("Before\n(ml)"), _("After\n(ml)"), _("Note")]
        ui.recordTable.setColumnCount(len(columns))
        ui.recordTable.setHorizontalHeaderLabels(columns)
        ui.recordTable.verticalHeader().hide()
        ui.recordTable.setShowGrid(False)
        ui.recordTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        ui.recordTable.horizontalHeader().setSectionResizeMode(6, qt.QHeaderView.Stretch)
        ui.uncertaintyCheckBox.connect("toggled(bool)", self._show_uncertainty)
        ui.uncertaintySlider.connect("valueChanged(int)", lambda _value: self._show_uncertainty())

    def refresh(self) -> None:
        """Show the record of the lesions on show."""
        edits = self.session.logic.record(self.session.segmentation) if self.session.lesions is not None else []
        table = self.ui.recordTable
        table.setRowCount(len(edits))
        for row, (name, edit) in enumerate(edits):
            texts = [
                edit.time_utc.replace("T", " ")[:19], name, edit.actor, edit.tool,
                f"{edit.volume_before_ml:.2f}", f"{edit.volume_after_ml:.2f}", edit.note,
            ]  # fmt: skip
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                if column in (4, 5):
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                table.setItem(row, column, item)
        self.ui.recordLabel.text = "" if edits else _("Nobody has changed anything yet.")
        self._refresh_uncertainty()

    def _refresh_uncertainty(self) -> None:
        volume = self._volume()
        for widget in (self.ui.uncertaintyCheckBox, self.ui.uncertaintySlider):
            widget.enabled = volume is not None
            widget.toolTip = "" if volume is not None else _("The lesions on show were not delineated by a model.")
        segmentation = self.session.segmentation
        origin = Origin(segmentation) if segmentation is not None else None
        lines = []
        if origin is not None and origin.model:
            lines.append(_("Model: {model}, computed on {device}.").format(model=origin.model, device=origin.device))
            lines += origin.notes
        self.ui.uncertaintyLabel.text = "\n".join(lines)

    def _volume(self) -> Any:
        segmentation = self.session.segmentation
        return Origin(segmentation).uncertainty if segmentation is not None else None

    def _show_uncertainty(self, _on: bool = False) -> None:
        with self.session.guarded(self.ui.recordLabel, _("The uncertainty cannot be shown.")):
            volume = self._volume()
            on = self.ui.uncertaintyCheckBox.checked and volume is not None
            opacity = self.ui.uncertaintySlider.value / 100
            for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
                composite.SetLabelVolumeID(None)
                if on:
                    composite.SetForegroundVolumeID(volume.GetID())
                    composite.SetForegroundOpacity(opacity)
                else:
                    # Over a CT the PET comes back; where the PET itself lies beneath, nothing.
                    pet = self.session.pet
                    over = pet is not None and composite.GetBackgroundVolumeID() != pet.GetID()
                    composite.SetForegroundVolumeID(pet.GetID() if over else None)
                    composite.SetForegroundOpacity(0.5)
