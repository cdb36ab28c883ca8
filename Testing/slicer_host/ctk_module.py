"""The module ``ctk``: stand-ins for the CTK widgets that Slicer modules use.

Each has the properties, slots and signals of the CTK class of the same name as far as listed; what is not listed raises
AttributeError. Not imitated: CTK's looks in detail, histories, completers, icons.
"""

# ruff: noqa: N801, N802, N815  the names are Slicer's

from __future__ import annotations

import sys
import types
from typing import Any

from PySide6.QtCore import Property, QEvent, QRect, QSize, Qt, Signal
from PySide6.QtGui import QColor
from PySide6.QtWidgets import (
    QAbstractButton,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFrame,
    QGroupBox,
    QHBoxLayout,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QSlider,
    QStyle,
    QStyleOptionButton,
    QStylePainter,
    QTextBrowser,
    QWidget,
)

from slicer_host.ctk_paths import ctkDirectoryButton, ctkPathLineEdit  # noqa: F401
from slicer_host.declared import of_child, stored

_SLIDER_STEPS = 10_000


class ctkCollapsibleButton(QAbstractButton):
    """ctkCollapsibleButton: a headline that shows and hides the widgets below it."""

    contentsCollapsed = Signal(bool)
    collapsedHeight = stored(int, 10)
    flat = stored(bool, False)
    contentsFrameShape = stored(int, QFrame.NoFrame.value)
    contentsFrameShadow = stored(int, QFrame.Plain.value)
    contentsLineWidth = stored(int, 1)
    contentsMidLineWidth = stored(int, 0)
    buttonTextAlignment = stored(int, 0x81)
    indicatorAlignment = stored(int, 0x81)

    def __init__(self, text: Any = "", parent: Any = None) -> None:
        if not isinstance(text, str):
            text, parent = "", text
        super().__init__(parent)
        self._hidden_by_user: set[QWidget] = set()
        self.setText(text)
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, self._head_height(), 0, 0)
        self.toggled.connect(self._show_contents)

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = Property(bool, lambda self: not self.isChecked(), setCollapsed)

    def _head_height(self) -> int:
        return self.fontMetrics().height() + 10

    def _show_contents(self, shown: bool) -> None:
        for child in self._contents():
            if shown:
                child.setVisible(child not in self._hidden_by_user)
            else:
                # A child that the module itself had hidden stays hidden when the contents come back.
                if child.isHidden():
                    self._hidden_by_user.add(child)
                else:
                    self._hidden_by_user.discard(child)
                child.hide()
        self.setMaximumHeight(16777215 if shown else self._head_height())
        self.updateGeometry()
        self.contentsCollapsed.emit(not shown)

    def _contents(self) -> list[QWidget]:
        return [child for child in self.children() if isinstance(child, QWidget)]

    def showEvent(self, event: QEvent) -> None:
        if not self.isChecked():
            for child in self._contents():
                child.hide()
            self.setMaximumHeight(self._head_height())
        super().showEvent(event)

    def sizeHint(self) -> QSize:
        head = QSize(self.fontMetrics().horizontalAdvance(self.text) + 40, self._head_height())
        if not self.isChecked() or self.layout() is None:
            return head
        return self.layout().totalSizeHint().expandedTo(head)

    def minimumSizeHint(self) -> QSize:
        if not self.isChecked() or self.layout() is None:
            return QSize(20, self._head_height())
        return self.layout().totalMinimumSize().expandedTo(QSize(20, self._head_height()))

    def hitButton(self, position: Any) -> bool:
        return position.y() < self._head_height()

    def paintEvent(self, _event: QEvent) -> None:
        painter = QStylePainter(self)
        option = QStyleOptionButton()
        option.initFrom(self)
        option.rect = QRect(0, 0, self.width, self._head_height() - 2)
        painter.drawControl(QStyle.CE_PushButtonBevel, option)
        painter.drawText(option.rect.adjusted(24, 0, -6, 0), Qt.AlignLeft | Qt.AlignVCenter, self.text)
        option.rect = QRect(7, (self._head_height() - 12) // 2, 10, 10)
        painter.drawPrimitive(
            QStyle.PE_IndicatorArrowDown if self.isChecked() else QStyle.PE_IndicatorArrowRight, option
        )


class ctkCollapsibleGroupBox(QGroupBox):
    """ctkCollapsibleGroupBox: a group box that folds with its check box."""

    collapsedHeight = stored(int, 14)

    def __init__(self, title: Any = "", parent: Any = None) -> None:
        if not isinstance(title, str):
            title, parent = "", title
        super().__init__(title, parent)
        self.setCheckable(True)
        self.toggled.connect(self._show_contents)

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = Property(bool, lambda self: not self.isChecked(), setCollapsed)

    def _show_contents(self, shown: bool) -> None:
        for child in self.children():
            if isinstance(child, QWidget):
                child.setVisible(shown)


class ctkSliderWidget(QWidget):
    """ctkSliderWidget: a slider and a spin box with one value."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)

    minimum = of_child(float, "_spin_box", "minimum")
    maximum = of_child(float, "_spin_box", "maximum")
    value = of_child(float, "_spin_box", "value")
    singleStep = of_child(float, "_spin_box", "singleStep")
    decimals = of_child(int, "_spin_box", "decimals")
    prefix = of_child(str, "_spin_box", "prefix")
    suffix = of_child(str, "_spin_box", "suffix")
    pageStep = stored(float, 10.0)
    tickInterval = stored(float, 0.0)
    tracking = stored(bool, True)
    spinBoxVisible = stored(bool, True, "_show_spin_box")
    popupSlider = stored(bool, False)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._slider = QSlider(Qt.Horizontal, self)
        self._slider.setRange(0, _SLIDER_STEPS)
        self._spin_box = QDoubleSpinBox(self)
        self._spin_box.setRange(0.0, 99.0)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._spin_box)
        self._spin_box.valueChanged.connect(self._value_changed)
        self._slider.valueChanged.connect(self._slider_moved)

    def setValue(self, value: float) -> None:
        self._spin_box.setValue(value)

    def setMinimum(self, value: float) -> None:
        self._spin_box.setMinimum(value)

    def setMaximum(self, value: float) -> None:
        self._spin_box.setMaximum(value)

    def setRange(self, minimum: float, maximum: float) -> None:
        self._spin_box.setRange(minimum, maximum)

    def setDecimals(self, decimals: int) -> None:
        self._spin_box.setDecimals(decimals)

    def setSingleStep(self, step: float) -> None:
        self._spin_box.setSingleStep(step)

    def reset(self) -> None:
        self.setValue(0.0)

    def _show_spin_box(self) -> None:
        self._spin_box.setVisible(self.spinBoxVisible)

    def _slider_moved(self, position: int) -> None:
        self._spin_box.setValue(self.minimum + position / _SLIDER_STEPS * (self.maximum - self.minimum))

    def _value_changed(self, value: float) -> None:
        span = self.maximum - self.minimum
        blocked = self._slider.blockSignals(True)
        self._slider.setValue(round((value - self.minimum) / span * _SLIDER_STEPS) if span > 0 else 0)
        self._slider.blockSignals(blocked)
        self.valueChanged.emit(value)


class ctkRangeWidget(QWidget):
    """ctkRangeWidget: a lower and an upper value. Not imitated: the slider between them."""

    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)

    minimumValue = of_child(float, "_lower", "value")
    maximumValue = of_child(float, "_upper", "value")
    minimum = of_child(float, "_lower", "minimum")
    maximum = of_child(float, "_upper", "maximum")
    decimals = of_child(int, "_lower", "decimals")
    singleStep = of_child(float, "_lower", "singleStep")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._lower, self._upper = QDoubleSpinBox(self), QDoubleSpinBox(self)
        self._upper.setValue(99.0)
        for spin_box in (self._lower, self._upper):
            layout.addWidget(spin_box)
            spin_box.valueChanged.connect(lambda _value: self.valuesChanged.emit(self.minimumValue, self.maximumValue))
        self._lower.valueChanged.connect(self.minimumValueChanged)
        self._upper.valueChanged.connect(self.maximumValueChanged)

    def setValues(self, lower: float, upper: float) -> None:
        self._lower.setValue(lower)
        self._upper.setValue(upper)

    def setRange(self, minimum: float, maximum: float) -> None:
        self._lower.setRange(minimum, maximum)
        self._upper.setRange(minimum, maximum)


class ctkComboBox(QComboBox):
    """ctkComboBox. Not imitated: eliding; the properties are kept only."""

    defaultText = stored(str, "")
    forceDefault = stored(bool, False)
    elideMode = stored(int, 3)
    scrollWheelEffect = stored(int, 0)


class ctkCheckablePushButton(QPushButton):
    """ctkCheckablePushButton. Not imitated: the check box inside the button."""

    checkBoxControlsButton = stored(bool, True)
    checkBoxControlsButtonToggleState = stored(bool, True)
    checkBoxUserCheckable = stored(bool, True)
    checkState = stored(int, 0)


class ctkColorPickerButton(QPushButton):
    """ctkColorPickerButton. Not imitated: the dialog."""

    colorChanged = Signal(QColor)
    displayColorName = stored(bool, True)
    color = stored(QColor, QColor(0, 0, 0), "_color_changed")

    def _color_changed(self) -> None:
        self.colorChanged.emit(self.color)

    def setColor(self, color: QColor) -> None:
        self.color = color


class ctkDoubleSpinBox(QDoubleSpinBox):
    """ctkDoubleSpinBox, as a plain QDoubleSpinBox (it wraps one in CTK)."""


class ctkCheckBox(QCheckBox):
    """ctkCheckBox, as a plain QCheckBox. Not imitated: the indicator icon."""


class ctkSearchBox(QLineEdit):
    """ctkSearchBox, as a line edit. Not imitated: the icons."""

    showSearchIcon = stored(bool, False)


class ctkMenuButton(QPushButton):
    """ctkMenuButton, as a push button that may have a menu."""


class ctkFittedTextBrowser(QTextBrowser):
    """ctkFittedTextBrowser. Not imitated: fitting the height to the text."""

    collapsed = stored(bool, False)
    collapsibleText = stored(str, "")


class ctkMessageBox(QMessageBox):
    """ctkMessageBox; its ``exec_`` raises like every dialog here (see :mod:`slicer_host.qt_dialogs`)."""

    dontShowAgain = stored(bool, False)
    dontShowAgainSettingsKey = stored(str, "")


def install() -> types.ModuleType:
    """Put the module ``ctk`` into ``sys.modules`` and return it."""
    if "ctk" not in sys.modules:
        module = types.ModuleType("ctk", __doc__)
        for name, value in globals().items():
            if name.startswith("ctk") and isinstance(value, type):
                setattr(module, name, value)
        sys.modules["ctk"] = module
    return sys.modules["ctk"]
