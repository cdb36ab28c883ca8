"""The lesion table, the totals below it, confirming, undo and redo."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from HNTumorSegPanels.session import Session, enable

SCORE, SURE = 7, 8
SUV_PEAK = 4
NOTHING = "–"
UNSURE_FROM = 0.5
"""A lesion whose mean uncertainty reaches it is called unsure: half of the highest entropy that three classes have."""


class LesionsPanel:
    """Shows the session's measurements; a click on a row moves every slice view to the lesion."""

    def __init__(self, session: Session, ui: Any) -> None:
        self.session, self.ui = session, ui
        self._ids: list[int] = []
        self._sort_column, self._filling = SUV_PEAK, False
        self._columns = [
            _("Name"), _("Kind"), _("Status"), _("SUVmax\n(g/ml)"), _("SUVpeak\n(g/ml)"), _("MTV\n(ml)"),
            _("TLG\n(g)"), _("Score"), _("Unsure\n(0-1)"),
        ]  # fmt: skip
        self._set_up_tables()
        ui.segmentationSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._choose)
        ui.lesionTable.connect("cellClicked(int,int)", self._go_to)
        ui.lesionTable.connect("itemSelectionChanged()", self._select)
        ui.lesionTable.horizontalHeader().connect("sectionClicked(int)", self._sort)
        ui.confirmButton.connect("clicked(bool)", self._confirm)
        ui.confirmAllButton.connect("clicked(bool)", self._confirm_all)
        ui.undoButton.connect("clicked(bool)", self._undo)
        ui.redoButton.connect("clicked(bool)", self._redo)

    def _set_up_tables(self) -> None:
        table, totals = self.ui.lesionTable, self.ui.totalsTable
        table.setColumnCount(len(self._columns))
        table.setHorizontalHeaderLabels(self._columns)
        totals.setColumnCount(5)
        totals.setHorizontalHeaderLabels([_("Total"), _("Lesions"), _("SUVmax (g/ml)"), _("MTV (ml)"), _("TLG (g)")])
        totals.setRowCount(3)
        for each in (table, totals):
            each.verticalHeader().hide()
            each.verticalHeader().setDefaultSectionSize(each.fontMetrics().height() + 8)
            each.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
            each.horizontalHeader().setMinimumSectionSize(24)
            each.horizontalHeader().setHighlightSections(False)
            # The name takes what is left: nothing is ever beyond the right edge.
            each.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
            each.setShowGrid(False)
        # Nine columns in a panel's width.
        font = table.font
        font.setPointSizeF(0.9 * font.pointSizeF())
        table.setFont(font)
        table.horizontalHeader().setFont(font)
        totals.setHorizontalScrollBarPolicy(qt.Qt.ScrollBarAlwaysOff)
        totals.setVerticalScrollBarPolicy(qt.Qt.ScrollBarAlwaysOff)
        totals.setFixedHeight(4 * (totals.fontMetrics().height() + 8) + 6)
        table.horizontalHeaderItem(SUV_PEAK).setToolTip(_("Highest mean SUVbw of a 1 ml sphere in the lesion"))
        table.horizontalHeaderItem(5).setToolTip(_("Metabolic tumour volume"))
        table.horizontalHeaderItem(6).setToolTip(_("Total lesion glycolysis: volume times mean SUVbw"))
        table.horizontalHeaderItem(SCORE).setToolTip(_("The model's mean probability of the kind inside the lesion"))
        table.horizontalHeaderItem(SURE).setToolTip(
            _("The model's mean uncertainty inside the lesion: 0 sure to 1 unsure")
        )

    # What is shown

    def refresh(self) -> None:
        """Show the session's measurements."""
        self._filling = True
        self.ui.segmentationSelector.setCurrentNode(self.session.segmentation)
        self._fill_table()
        self._fill_totals()
        self._filling = False
        self._show_selection()
        self._set_label()
        self._set_buttons()

    def _fill_table(self) -> None:
        table, measured = self.ui.lesionTable, self.session.measurements
        rows = self._sorted(measured.rows if measured is not None else [])
        unsure = self.session.logic.uncertainties(self.session.segmentation) if rows else {}
        self._ids = [row.id for row in rows]
        table.setRowCount(len(rows))
        for index, row in enumerate(rows):
            lesion = self.session.lesions[row.id]
            texts = [
                row.name, _kind(row.kind), _status(row.status), _number(row.suv_max), _number(row.suv_peak),
                _number(row.volume_ml), _number(row.tlg_g), _number(lesion.score, 2), _number(unsure.get(row.id), 2),
            ]  # fmt: skip
            for column, text in enumerate(texts):
                table.setItem(index, column, _cell(text, right=column >= 3))
            _show_sureness(table.item(index, SURE), unsure.get(row.id))
            table.item(index, 0).setIcon(_colour_icon(self.session.segmentation, lesion))

    def _sorted(self, rows: list[Any]) -> list[Any]:
        keys = {0: "name", 1: "kind", 2: "status", 3: "suv_max", 4: "suv_peak", 5: "volume_ml", 6: "tlg_g"}
        key = keys.get(self._sort_column, "suv_peak")
        if key in ("name", "kind", "status"):
            return sorted(rows, key=lambda row: getattr(row, key))
        return sorted(rows, key=lambda row: -(getattr(row, key) or 0.0))

    def _fill_totals(self) -> None:
        measured, table = self.session.measurements, self.ui.totalsTable
        names = {"primary": _("Primary tumours"), "node": _("Lymph-node metastases"), "total": _("TTB, all lesions")}
        for index, (which, name) in enumerate(names.items()):
            texts = [name, NOTHING, NOTHING, NOTHING, NOTHING]
            if measured is not None:
                row = measured.total(which)
                count = sum(which in ("total", lesion.kind) for lesion in measured.rows)
                texts = [name, str(count), _number(row.suv_max), _number(row.volume_ml), _number(row.tlg_g)]
            for column, text in enumerate(texts):
                item = _cell(text, right=column > 0)
                if which == "total":
                    font = item.font()
                    font.setBold(True)
                    item.setFont(font)
                table.setItem(index, column, item)

    def _show_selection(self) -> None:
        self._filling = True
        table = self.ui.lesionTable
        table.clearSelection()
        mode = table.selectionMode
        table.setSelectionMode(qt.QAbstractItemView.MultiSelection)
        for index, number in enumerate(self._ids):
            if number in self.session.selected:
                table.selectRow(index)
        table.setSelectionMode(mode)
        self._filling = False

    def _set_label(self) -> None:
        session = self.session
        if session.problem:
            self.ui.lesionsLabel.text = session.problem
        elif session.segmentation is None:
            self.ui.lesionsLabel.text = _("No lesions yet: press Delineate, or choose a segmentation.")
        elif session.lesions is not None and not len(session.lesions):
            self.ui.lesionsLabel.text = _("This segmentation holds no lesion. Add one by a click in the PET.")
        else:
            self.ui.lesionsLabel.text = ""

    def _set_buttons(self) -> None:
        session, ui = self.session, self.ui
        lesions = session.lesions
        none = _("There are no lesions yet.") if lesions is None or not len(lesions) else ""
        chosen = [lesions[number] for number in session.selected] if lesions is not None else []
        is_open = lesions is not None and any(lesion.status != "confirmed" for lesion in lesions.lesions)
        done = "" if any(lesion.status != "confirmed" for lesion in chosen) else _("The selected lesion is confirmed.")
        enable(
            ui.confirmButton,
            none or ("" if chosen else _("Select a lesion in the table.")) or done,
            _("You have looked at the selected lesions and agree"),
        )
        enable(
            ui.confirmAllButton,
            none or ("" if is_open else _("All lesions are confirmed.")),
            _("You have looked at every lesion and agree"),
        )
        enable(
            ui.undoButton,
            "" if lesions is not None and lesions.can_undo else _("There is nothing to undo."),
            _("Take the last correction back"),
        )
        enable(
            ui.redoButton,
            "" if lesions is not None and lesions.can_redo else _("There is nothing to redo."),
            _("Make the correction that was taken back again"),
        )

    # What a person does

    def _choose(self, node: Any) -> None:
        if not self._filling:
            self.session.parameters.segmentation = node
            self.session.selected = []
            self.session.refresh()

    def _sort(self, column: int) -> None:
        self._sort_column = column
        self.refresh()

    def _select(self) -> None:
        if self._filling:
            return
        rows = sorted({index.row() for index in self.ui.lesionTable.selectionModel().selectedRows()})
        self.session.selected = [self._ids[row] for row in rows if row < len(self._ids)]
        self.session.refresh_panels()

    def _go_to(self, row: int, _column: int) -> None:
        with self.session.guarded(self.ui.lesionsLabel, _("The views cannot be moved.")):
            self.session.logic.showLesion(self.session.segmentation, self._ids[row])

    def _confirm(self, _checked: bool = False) -> None:
        self._act(lambda logic, node: logic.confirm(node, list(self.session.selected)))

    def _confirm_all(self, _checked: bool = False) -> None:
        self._act(lambda logic, node: logic.confirm(node))

    def _undo(self, _checked: bool = False) -> None:
        self._act(lambda logic, node: logic.undo(node))

    def _redo(self, _checked: bool = False) -> None:
        self._act(lambda logic, node: logic.redo(node))

    def _act(self, work: Any) -> None:
        said = ""
        with self.session.guarded(self.ui.lesionsLabel, _("The lesion list cannot be changed.")):
            work(self.session.logic, self.session.segmentation)
        said = self.ui.lesionsLabel.text
        self.session.refresh()
        if said:
            self.ui.lesionsLabel.text = said


def _kind(kind: str) -> str:
    return {"primary": _("primary"), "node": _("node")}[kind]


def _status(status: str) -> str:
    return {
        "proposed": _("proposed"), "confirmed": _("confirmed"), "edited": _("edited"), "added": _("added"),
    }[status]  # fmt: skip


def _number(value: float | None, decimals: int = 1) -> str:
    return NOTHING if value is None else f"{value:.{decimals}f}"


def _show_sureness(item: Any, mean_uncertainty: float | None) -> None:
    """Bold where the model was not sure, and words for it."""
    if mean_uncertainty is None:
        item.setToolTip(_("No model said anything about this lesion, or its uncertainty is not in the scene."))
    elif mean_uncertainty < UNSURE_FROM:
        item.setToolTip(_("The model was sure."))
    else:
        item.setToolTip(_("The model was not sure: look twice."))
        font = item.font()
        font.setBold(True)
        item.setFont(font)
        item.setForeground(qt.QBrush(qt.QColor(200, 90, 0)))


def _cell(text: str, *, right: bool = False) -> Any:
    item = qt.QTableWidgetItem(text)
    if right:
        item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
    return item


def _colour_icon(segmentation: Any, lesion: Any) -> Any:
    from HNTumorSegLib.exchange.segment_facts import segment_id

    segment = segmentation.GetSegmentation().GetSegment(segment_id(lesion))
    image = qt.QPixmap(10, 10)
    color = (0.5, 0.5, 0.5) if segment is None else segment.GetColor()
    image.fill(qt.QColor(*(round(255 * channel) for channel in color)))
    return qt.QIcon(image)
