"""Pictures of widgets and views: to arrays and to PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtGui import QImage


def to_qimage(pixels: np.ndarray) -> QImage:
    """A QImage of its own memory from an array of shape (height, width, 3), uint8."""
    height, width, _ = pixels.shape
    data = np.ascontiguousarray(pixels)
    return QImage(data.data, width, height, 3 * width, QImage.Format_RGB888).copy()


def to_array(image: QImage) -> np.ndarray:
    """An array of shape (height, width, 3), uint8, first row on top."""
    converted = image.convertToFormat(QImage.Format_RGB888)
    rows = np.frombuffer(converted.constBits(), np.uint8).reshape(converted.height(), converted.bytesPerLine())
    return rows[:, : 3 * converted.width()].reshape(converted.height(), converted.width(), 3).copy()


def save_png(pixels: np.ndarray, path: str | Path) -> None:
    """Write an array of shape (height, width, 3), uint8; OSError when it cannot be written."""
    if not to_qimage(pixels).save(str(path), "PNG"):
        raise OSError(f"The picture could not be written to '{path}'.")


def of_widget(widget: Any, path: str | Path | None = None, size: tuple[int, int] | None = None) -> np.ndarray:
    """What a widget shows, as an array of shape (height, width, 3), uint8; also as PNG when a path is given.

    Args:
        widget: Any widget; it is shown for the picture and hidden again if it was hidden.
        path: Where to write the PNG.
        size: Width and height in pixels; as it is, or as it wants to be, by default.
    """
    from PySide6.QtWidgets import QApplication

    hidden = not widget.isVisible()
    if size is not None:
        widget.resize(*size)
    elif hidden:
        widget.adjustSize()
    widget.show()
    for _ in range(3):  # layouts settle in steps
        QApplication.processEvents()
    pixels = to_array(widget.grab().toImage())
    if hidden:
        widget.hide()
    if path is not None:
        save_png(pixels, path)
    return pixels
