"""Prognosis: a cohort's survival model applied to the lesions on show, in a picture and in plain words."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from HNTumorSegLib.errors import HNTumorSegError
from HNTumorSegPanels import packages, prognosis
from HNTumorSegPanels.parameters import PatientFacts
from HNTumorSegPanels.session import Session

TYPED_MS = 300
PICTURE_PX = (400, 340)


class PrognosisPanel:
    """Follows every edit of the lesions and every typed answer; does nothing while its section is closed."""

    def __init__(self, session: Session, ui: Any) -> None:
        self.session, self.ui = session, ui
        self._filling = False
        self._answers: dict[str, Any] = {}
        self._asked: Any = None
        self._drawn: Any = None
        self._form: Any = None
        self._timer = qt.QTimer(ui.prognosisSection)
        self._timer.setSingleShot(True)
        self._timer.setInterval(TYPED_MS)
        self._timer.connect("timeout()", self.refresh)
        font = ui.prognosisModelLabel.font
        font.setPointSizeF(0.9 * font.pointSizeF())
        ui.prognosisModelLabel.setFont(font)
        ui.prognosisPicture.setFixedSize(*PICTURE_PX)
        ui.prognosisFolderEdit.filters = ctk.ctkPathLineEdit.Dirs
        ui.prognosisFolderEdit.connect("currentPathChanged(QString)", self._choose)
        ui.prognosisSection.connect("contentsCollapsed(bool)", lambda _collapsed: self.refresh())
        ui.prognosisInstallButton.connect("clicked(bool)", self._install)
        self._show_nothing()

    def stop(self) -> None:
        """Wait for nothing more."""
        self._timer.stop()

    # What is shown

    def refresh(self) -> None:
        """Follow the lesions on show."""
        ui = self.ui
        if ui.prognosisSection.collapsed:
            return
        self._take_folder()
        words: list[str] = []
        with self.session.guarded(ui.prognosisLabel, _("The prognosis cannot be shown."), wait=self._asked is None):
            try:
                words = self._show()
            except Exception:
                self._show_nothing()
                raise
        if words:
            ui.prognosisLabel.text = "\n".join(words)
        missing = [*prognosis.lacking(prognosis.NEEDED), *prognosis.lacking(prognosis.FOR_PICTURE)]
        ui.prognosisInstallButton.visible = bool(missing)

    def _take_folder(self) -> None:
        """The scene's model, or, in a scene that names none, the one that was chosen before."""
        parameters, edit = self.session.parameters, self.ui.prognosisFolderEdit
        if parameters.prognosis_model and parameters.prognosis_model != edit.currentPath:
            self._filling = True
            edit.currentPath = parameters.prognosis_model
            self._filling = False
        elif edit.currentPath and not parameters.prognosis_model:
            parameters.prognosis_model = edit.currentPath

    def _show(self) -> list[str]:
        """Sentences for below the picture; everything above them is shown."""
        ui, session = self.ui, self.session
        try:
            model = prognosis.load(ui.prognosisFolderEdit.currentPath)
        except HNTumorSegError:
            ui.prognosisModelLabel.text = ""
            self._ask(None)
            raise
        ui.prognosisModelLabel.text = "\n".join(prognosis.model_words(model.card))
        self._ask(model)
        if session.measurements is None:
            self._show_nothing()
            return [session.problem or _("No lesions yet: press Delineate, or choose a segmentation.")]
        found = session.logic.prognosis(
            session.segmentation, session.pet, ui.prognosisFolderEdit.currentPath, self._answered()
        )
        ttb_ml = session.measurements.ttb_ml
        ui.prognosisBurdenLabel.text = prognosis.burden_words(found, ttb_ml)
        ui.prognosisCautionLabel.text = "\n".join([*found.notes, *self._unseen()])
        for label in (ui.prognosisBurdenLabel, ui.prognosisCautionLabel):
            label.visible = bool(label.text)
        # What the labels above the picture and below it say already is not said twice.
        words = [text for text in found.words() if text not in found.notes and not text.startswith("TTB ")]
        return [*words[:-1], *prognosis.cohort_words(model.card), *self._draw(found, model.card), words[-1]]

    def _show_nothing(self) -> None:
        """No number stays on show that does not belong to what is chosen now."""
        self._drawn = None
        for label in (self.ui.prognosisBurdenLabel, self.ui.prognosisCautionLabel):
            label.text = ""
            label.visible = False
        self.ui.prognosisPicture.visible = False
        self.ui.prognosisInstallButton.visible = False

    def _unseen(self) -> list[str]:
        lesions = self.session.lesions.lesions
        unseen = sum(lesion.status == "proposed" for lesion in lesions)
        if not unseen:
            return []
        return [_("Not confirmed by a person yet: {n} of {all} lesions.").format(n=unseen, all=len(lesions))]

    def _draw(self, found: Any, card: Any) -> list[str]:
        """The picture; a sentence instead where it cannot be drawn."""
        missing = prognosis.lacking(prognosis.FOR_PICTURE)
        if missing:
            self.ui.prognosisPicture.visible = False
            return [_("The curve needs {names}, which Slicer does not bring.").format(names=", ".join(missing))]
        shown = (id(card), found.burden, tuple(found.survival))
        if shown != self._drawn:
            from HNTumorSegLib.survival.prognosis_figure import save_prognosis_figure

            with tempfile.TemporaryDirectory(prefix="hntumorseg-prognosis-") as folder:
                path = Path(folder) / "prognosis.png"
                save_prognosis_figure(path, found, card, PICTURE_PX)
                self.ui.prognosisPicture.setPixmap(qt.QPixmap(str(path)))
            self._drawn = shown
        self.ui.prognosisPicture.visible = True
        return []

    # What the lesions do not answer

    def _ask(self, model: Any) -> None:
        """A field for each question of the model, filled with what was typed for this PET before."""
        if model is not self._asked:
            self._asked = model
            self._new_form(self._questions(model))
            if model is not None:
                self.ui.prognosisFolderEdit.addCurrentPathToHistory()
        pet = self.session.pet
        known = PatientFacts(pet).values if pet is not None else {}
        self._filling = True
        for name, field in self._answers.items():
            field.enabled = pet is not None
            _put(field, known.get(name, ""))
        self._filling = False

    def _questions(self, model: Any) -> list[Any]:
        if model is None:
            return []
        from HNTumorSegLib.measures.table import with_totals
        from HNTumorSegLib.survival.one_patient import from_lesions, questions

        return questions(model, from_lesions(model, with_totals([])))

    def _new_form(self, questions: list[Any]) -> None:
        holder = self.ui.prognosisFields
        if self._form is not None:
            holder.layout().removeWidget(self._form)
            self._form.hide()
            self._form.setParent(None)
            self._form.deleteLater()
        self._form, self._answers = qt.QWidget(), {}
        form = qt.QFormLayout(self._form)
        form.setContentsMargins(0, 0, 0, 0)
        form.setRowWrapPolicy(qt.QFormLayout.WrapLongRows)
        for question in questions:
            field = self._field(question)
            field.objectName = f"prognosis_{question.covariate}"
            form.addRow(f"{question.covariate}:", field)
            self._answers[question.covariate] = field
        holder.layout().addWidget(self._form)
        holder.visible = bool(questions)

    def _field(self, question: Any) -> Any:
        if question.categories:
            field = qt.QComboBox()
            field.addItem(_("not known"), "")
            for category in question.categories:
                field.addItem(category, category)
            field.connect("currentIndexChanged(int)", lambda _index: self._typed(question.covariate))
            field.toolTip = _("As the column of that name in the cohort's table")
            return field
        field = qt.QLineEdit()
        low, high = f"{question.low:.4g}", f"{question.high:.4g}"
        field.placeholderText = _("not known; the cohort had {low} to {high}").format(low=low, high=high)
        field.toolTip = _("In the unit of the cohort's table, where it ran from {low} to {high}").format(
            low=low, high=high
        )
        field.connect("textChanged(QString)", lambda _text: self._typed(question.covariate))
        return field

    def _typed(self, covariate: str) -> None:
        pet = self.session.pet
        if self._filling or pet is None:
            return
        PatientFacts(pet).set(covariate, _text(self._answers[covariate]))
        self._timer.start()

    def _answered(self) -> dict[str, str]:
        return {name: _text(field) for name, field in self._answers.items()}

    # What a person does

    def _choose(self, path: str) -> None:
        if self._filling:
            return
        self.session.parameters.prognosis_model = path
        self._timer.start()

    def _install(self, _checked: bool = False) -> None:
        names = [*prognosis.lacking(prognosis.NEEDED), *prognosis.lacking(prognosis.FOR_PICTURE)]
        problem = ""
        with self.session.guarded(self.ui.prognosisLabel, _("The packages are not installed."), wait=True):
            packages.install(names, self._show_log)
        problem = self.ui.prognosisLabel.text
        self.refresh()
        if problem:
            self.ui.prognosisLabel.text = problem

    def _show_log(self, text: str) -> None:
        lines = text.strip().splitlines()
        self.ui.prognosisLabel.text = lines[-1] if lines else ""
        slicer.app.processEvents()


def _text(field: Any) -> str:
    return str(field.currentData or "") if isinstance(field, qt.QComboBox) else field.text


def _put(field: Any, text: str) -> None:
    """Show an answer without moving the cursor of one who types it."""
    if _text(field) == text:
        return
    if isinstance(field, qt.QComboBox):
        field.setCurrentIndex(max(0, field.findData(text)))
    else:
        field.setText(text)
