"""Choosing images, model and device; the run with its progress; packages that are missing."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from HNTumorSegLib.errors import HNTumorSegError
from HNTumorSegPanels import packages
from HNTumorSegPanels.session import Session, enable

POLL_MS = 100
OTHER_FOLDER = "*folder"


class DelineatePanel:
    """From the inputs to a running delineation; the run itself is the logic's."""

    def __init__(self, session: Session, ui: Any) -> None:
        self.session, self.ui = session, ui
        self.run: Any = None
        self._filling = False
        self._timer = qt.QTimer(ui.delineateButton)
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.poll)
        for text, name in ((_("GPU, else processor"), "auto"), (_("Processor"), "cpu"), (_("GPU"), "cuda")):
            ui.deviceCombo.addItem(text, name)
        for text, name in ((_("PET"), "pet"), (_("CT"), "ct")):
            ui.referenceCombo.addItem(text, name)
        font = ui.modelLabel.font
        font.setPointSizeF(0.9 * font.pointSizeF())
        ui.modelLabel.setFont(font)
        ui.progressBar.hide()
        ui.packagesLog.hide()
        ui.petSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._inputs_changed)
        ui.ctSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._inputs_changed)
        ui.suvCheckBox.connect("clicked(bool)", self._confirm_suv)
        ui.factorEdit.connect("textChanged(QString)", lambda _text: self._show_units())
        ui.factorButton.connect("clicked(bool)", self._use_factor)
        ui.headerButton.connect("clicked(bool)", self._use_header)
        ui.modelCombo.connect("activated(int)", self._model_chosen)
        ui.deviceCombo.connect("currentIndexChanged(int)", self._options_changed)
        ui.referenceCombo.connect("currentIndexChanged(int)", self._options_changed)
        ui.installButton.connect("clicked(bool)", self._install)
        ui.delineateButton.connect("clicked(bool)", self._start)
        ui.cancelButton.connect(
            "clicked(bool)", lambda _checked=False: self.cancel(_("Cancelled; nothing was changed."))
        )
        self.fill_models()

    # What is shown

    def refresh(self) -> None:
        """Follow the parameters."""
        ui, parameters = self.ui, self.session.parameters
        self._filling = True
        ui.petSelector.setCurrentNode(parameters.pet)
        ui.ctSelector.setCurrentNode(parameters.ct)
        ui.deviceCombo.setCurrentIndex(max(0, ui.deviceCombo.findData(parameters.device)))
        ui.referenceCombo.setCurrentIndex(max(0, ui.referenceCombo.findData(parameters.reference)))
        self._select_model(parameters.model)
        self._filling = False
        self._show_units()
        self._show_model()
        self._show_packages()
        self._show_buttons()

    def _show_units(self) -> None:
        from HNTumorSegLib.mrml.pet_units import BY_PERSON, BY_VOLUME, pet_units

        ui, pet = self.ui, self.session.parameters.pet
        by_hand = (ui.suvCheckBox, ui.factorLabel, ui.factorEdit, ui.factorButton, ui.headerButton)
        for widget in by_hand:
            widget.enabled = self.run is None
            widget.visible = False
        if pet is None:
            ui.unitsLabel.text = _("Units: no PET is chosen.")
            return
        try:
            units = pet_units(pet)
        except HNTumorSegError as error:
            ui.unitsLabel.text = str(error)
            return
        for widget in by_hand:  # only asked for where the volume itself leaves it open
            widget.visible = units.origin != BY_VOLUME or bool(units.problem())
        ui.suvCheckBox.checked = units.factor == 1.0 and units.origin == BY_PERSON
        ui.unitsLabel.text = _units_sentence(units)
        enable(ui.factorButton, "" if _number(ui.factorEdit.text) else _("Type the factor first."),
               _("Use the factor for this PET"))  # fmt: skip
        from_dicom = "" if pet.GetAttribute("DICOM.instanceUIDs") else _("This PET was not loaded from DICOM.")
        enable(ui.headerButton, from_dicom, _("Compute the factor from the DICOM header"))

    def fill_models(self) -> None:
        """List the models that are there now."""
        from HNTumorSegLib.models.registry import list_models

        combo = self.ui.modelCombo
        self._filling = True
        combo.clear()
        for entry in list_models():
            combo.addItem(f"{entry.name} {entry.version}".strip(), entry.name)
        combo.addItem(_("Another model folder..."), OTHER_FOLDER)
        self._select_model(self.session.parameters.model)
        self._filling = False

    def _select_model(self, model: str) -> None:
        combo = self.ui.modelCombo
        index = combo.findData(model)
        if index < 0:
            combo.insertItem(combo.count - 1, model, model)
            index = combo.findData(model)
        combo.setCurrentIndex(index)

    def _show_model(self) -> None:
        card, problem = self.session.logic.card(self.session.parameters.model)
        if card is None:
            self.ui.modelLabel.text = problem
            return
        lines = [card.intended_use, _("Limits: {text}").format(text=card.limitations)]
        self.ui.modelLabel.text = "\n".join(line for line in lines if line.strip())
        self.ui.modelLabel.toolTip = _("Trained on: {data}\nLicence: {licence}").format(
            data=card.training_data, licence=card.licence
        )

    def _show_packages(self) -> None:
        missing = packages.missing()
        words = ""
        if missing:
            words = _("Delineation needs {names}, which Slicer does not bring.").format(names=", ".join(missing))
        self.ui.packagesLabel.text = words
        self.ui.packagesLabel.visible = bool(missing)
        self.ui.installButton.visible = bool(missing)

    def _show_buttons(self) -> None:
        running = self.run is not None
        enable(
            self.ui.delineateButton,
            _("A run is going on.") if running else self.why_not(),
            _("Find primary tumours and lymph-node metastases; Slicer stays usable meanwhile"),
        )
        enable(self.ui.cancelButton, "" if running else _("Nothing is running."), _("Stop the run; nothing is changed"))
        for widget in (self.ui.petSelector, self.ui.ctSelector, self.ui.modelCombo, self.ui.deviceCombo):
            widget.enabled = not running
        self.ui.referenceCombo.enabled = not running

    def why_not(self) -> str:
        """Why nothing can be delineated now; empty when it can."""
        from HNTumorSegLib.mrml.pet_units import pet_units

        parameters = self.session.parameters
        if parameters.pet is None:
            return _("Choose a PET first.")
        if packages.missing():
            return _("Install the missing packages first.")
        if parameters.reference == "ct" and parameters.ct is None:
            return _("The CT's grid is chosen, but no CT. Choose the CT, or the PET's grid.")
        try:
            problem = pet_units(parameters.pet).problem()
        except HNTumorSegError as error:
            problem = str(error)
        return problem or self.session.logic.card(parameters.model)[1]

    # What a person chooses

    def _inputs_changed(self, _node: Any = None) -> None:
        if self._filling:
            return
        parameters = self.session.parameters
        parameters.pet, parameters.ct = self.ui.petSelector.currentNode(), self.ui.ctSelector.currentNode()
        self.session.refresh()

    def _options_changed(self, _index: int = 0) -> None:
        if self._filling:
            return
        self.session.parameters.device = self.ui.deviceCombo.currentData
        self.session.parameters.reference = self.ui.referenceCombo.currentData
        self._show_buttons()

    def _model_chosen(self, _index: int) -> None:
        if self._filling:
            return
        model = self.ui.modelCombo.currentData
        if model == OTHER_FOLDER:
            model = qt.QFileDialog.getExistingDirectory(self.ui.modelCombo, _("Folder with a model card"))
            model = model or self.session.parameters.model
        self.session.parameters.model = str(model)
        self.refresh()

    def _confirm_suv(self, checked: bool) -> None:
        from HNTumorSegLib.mrml.pet_units import confirm_suvbw

        self._about_units(lambda pet: confirm_suvbw(pet, checked))

    def _use_factor(self, _checked: bool = False) -> None:
        from HNTumorSegLib.mrml.pet_units import set_factor

        self._about_units(lambda pet: set_factor(pet, _number(self.ui.factorEdit.text)))

    def _use_header(self, _checked: bool = False) -> None:
        from HNTumorSegLib.mrml.pet_units import BY_HEADER, factor_from_headers, set_factor

        self._about_units(lambda pet: set_factor(pet, factor_from_headers(pet), BY_HEADER))

    def _about_units(self, work: Any) -> None:
        with self.session.guarded(self.ui.runLabel, _("The PET's units cannot be used."), wait=True):
            work(self.session.parameters.pet)
        said = self.ui.runLabel.text
        self.session.refresh()
        self.ui.runLabel.text = said

    def _install(self, _checked: bool = False) -> None:
        log = self.ui.packagesLog
        log.show()
        with self.session.guarded(self.ui.runLabel, _("The packages are not installed."), wait=True):
            packages.install(packages.missing(), self._show_log)
        self.refresh()

    def _show_log(self, text: str) -> None:
        self.ui.packagesLog.setPlainText(text)
        slicer.app.processEvents()

    # The run

    def _start(self, _checked: bool = False) -> None:
        parameters = self.session.parameters
        with self.session.guarded(self.ui.runLabel, _("The delineation cannot be started."), wait=True):
            self.run = self.session.logic.delineate(
                parameters.pet,
                parameters.ct,
                model=parameters.model,
                device=parameters.device,
                reference=parameters.reference,
                wait=False,
            )
            self._timer.start()
            self._show_progress()
        said = self.ui.runLabel.text
        self.refresh()
        self.ui.runLabel.text = said

    def poll(self) -> None:
        """Look how far the run is; called by the timer."""
        run = self.run
        if run is None:
            self._timer.stop()
            return
        words = ""
        try:
            run.poll()
            if run.running:
                self._show_progress()
                return
            words = run.words
        except Exception:
            self._end()
            with slicer.util.tryWithErrorDisplay(_("The delineation failed.")):
                raise
            return
        segmentation = run.segmentation
        self._end()
        if segmentation is not None:
            self.session.parameters.segmentation = segmentation
            self.session.selected = []
            self.session.refresh()
        self.ui.runLabel.text = words

    def cancel(self, words: str) -> None:
        """Stop the run, if there is one, and say so."""
        if self.run is not None:
            self.run.cancel()
            self._end()
            self.ui.runLabel.text = words

    def _end(self) -> None:
        self.run = None
        self._timer.stop()
        self.ui.progressBar.hide()
        self.refresh()

    def _show_progress(self) -> None:
        run, bar = self.run, self.ui.progressBar
        bar.show()
        bar.setValue(round(1000 * run.fraction))
        parts = [_stage(run.stage)]
        if run.message:
            parts.append(run.message)
        text = ": ".join(parts)
        if run.remaining_s is not None:
            text += ", " + _remaining(run.remaining_s)
        self.ui.runLabel.text = text


def _stage(stage: str) -> str:
    return {
        "start": _("Starting"), "load": _("Loading the model"), "read": _("Reading the images"),
        "delineate": _("Delineating"), "measure": _("Measuring"), "write": _("Writing"),
        "hand over": _("Taking over the result"),
    }.get(stage, stage)  # fmt: skip


def _remaining(seconds: float) -> str:
    if seconds < 90:
        return _("about {n} s left").format(n=max(1, round(seconds)))
    return _("about {n} min left").format(n=round(seconds / 60))


def _units_sentence(units: Any) -> str:
    if units.problem():
        return units.problem()
    text = _("Units: SUVbw (g/ml), highest {high:.1f}; says {origin}.").format(high=units.suv_max, origin=units.origin)
    if units.factor != 1.0:
        text += " " + _("Stored values x {factor:.6g}.").format(factor=units.factor)
    return text


def _number(text: str) -> float:
    """A factor above 0 as typed, with point or comma; 0 when it is none."""
    try:
        return max(0.0, float(text.strip().replace(",", ".")))
    except ValueError:
        return 0.0
