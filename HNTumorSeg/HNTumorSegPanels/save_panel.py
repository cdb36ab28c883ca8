"""Saving: the results and the scene into a folder, and the table into the scene."""

from __future__ import annotations

from typing import Any

import ctk
from slicer.i18n import tr as _

from HNTumorSegPanels.session import Session, enable


class SavePanel:
    """Writes what is on show; all files or none."""

    def __init__(self, session: Session, ui: Any) -> None:
        self.session, self.ui = session, ui
        ui.folderEdit.filters = ctk.ctkPathLineEdit.Dirs
        ui.folderEdit.connect("currentPathChanged(QString)", lambda _path: self.refresh())
        ui.saveButton.connect("clicked(bool)", self._save)
        ui.tableButton.connect("clicked(bool)", self._put_table)

    def refresh(self) -> None:
        """Follow the lesions on show."""
        measured = self.session.measurements
        why_not = "" if measured is not None else (self.session.problem or _("There are no lesions to save yet."))
        folder = "" if self.ui.folderEdit.currentPath.strip() else _("Choose a folder first.")
        enable(
            self.ui.saveButton,
            why_not or folder,
            _(
                "Segmentation, label image, table, overview picture and report, without the patient's name; and the "
                "whole scene, names included: open it tomorrow and go on"
            ),
        )
        enable(self.ui.tableButton, why_not, _("Slicer's Tables module then shows and saves it"))

    def _save(self, _checked: bool = False) -> None:
        with self.session.guarded(self.ui.saveLabel, _("The results cannot be saved."), wait=True):
            saved = self.session.logic.save(self.session.segmentation, self.session.pet, self.ui.folderEdit.currentPath)
            names = ", ".join(path.name for path in saved.files)
            unseen = sum(lesion.status == "proposed" for lesion in self.session.lesions.lesions)
            sentences = [_("Saved: {names}.").format(names=names)]
            if saved.left_out:
                left_out = ", ".join(saved.left_out)
                sentences.append(_("Without segments and so not in the scene file: {names}.").format(names=left_out))
            if unseen:
                sentences.append(_("Lesions that nobody has confirmed yet: {n}.").format(n=unseen))
            self.ui.saveLabel.text = " ".join(sentences)

    def _put_table(self, _checked: bool = False) -> None:
        with self.session.guarded(self.ui.saveLabel, _("The table cannot be made.")):
            node = self.session.logic.table(self.session.segmentation, self.session.pet)
            self.ui.saveLabel.text = _("The table '{name}' is in the scene.").format(name=node.GetName())
