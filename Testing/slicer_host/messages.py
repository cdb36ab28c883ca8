"""What the module says to the person, and the exceptions that nobody caught."""

from __future__ import annotations

import logging
import sys
import traceback
from dataclasses import dataclass
from typing import Any

_OFFSCREEN_CHATTER = ("This plugin does not support",)
_qt_log = logging.getLogger("slicer_host.qt")


def log_qt_messages() -> None:
    """Send Qt's own messages to ``logging``; the offscreen platform's notes on what it cannot do are dropped."""
    from PySide6.QtCore import QtMsgType, qInstallMessageHandler

    levels = {QtMsgType.QtDebugMsg: logging.DEBUG, QtMsgType.QtInfoMsg: logging.INFO}

    def handle(kind: Any, _context: Any, text: str) -> None:
        if not text.startswith(_OFFSCREEN_CHATTER):
            _qt_log.log(levels.get(kind, logging.WARNING), text)

    qInstallMessageHandler(handle)


@dataclass(frozen=True)
class Message:
    """One call of slicer.util.errorDisplay, warningDisplay, infoDisplay, delayDisplay or showStatusMessage."""

    level: str  # "error", "warning", "info", "status"
    text: str
    detailed_text: str = ""


class Recorder:
    """Listens to ``slicer.util`` and to exceptions that leave a slot or a VTK observer.

    Qt and VTK print such exceptions and go on, so a test would pass over them; here they are kept and
    :meth:`check` raises.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.uncaught: list[BaseException] = []
        self._hook_before: Any = None

    def install(self, util: Any) -> None:
        """Record what ``slicer.util`` displays; it goes on behaving as without a main window."""
        display = util._messageDisplay

        def recorded_display(level: int, text: str, *arguments: Any, **keywords: Any) -> Any:
            name = logging.getLevelName(level).lower()
            self.messages.append(Message(name, str(text), keywords.get("detailedText", "")))
            return display(level, text, *arguments, **keywords)

        def recorded_delay(text: str, *_arguments: Any, **_keywords: Any) -> None:
            self.messages.append(Message("info", str(text)))  # without the pop-up: it would only cost time

        def recorded_status(text: str, _duration: int = 0) -> bool:
            self.messages.append(Message("status", str(text)))
            return False  # as without a main window

        util._messageDisplay = recorded_display
        util.delayDisplay = recorded_delay
        util.showStatusMessage = recorded_status

    def watch(self) -> None:
        """Start to keep uncaught exceptions."""
        self._hook_before = sys.excepthook
        sys.excepthook = self._keep

    def unwatch(self) -> None:
        """Stop to keep uncaught exceptions."""
        sys.excepthook = self._hook_before

    def _keep(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        self.uncaught.append(error)
        traceback.print_exception(kind, error, trace)

    def texts(self, level: str | None = None) -> list[str]:
        """The texts shown so far, of one level or of all."""
        return [message.text for message in self.messages if level in (None, message.level)]

    def take_errors(self) -> list[str]:
        """The errors shown so far; they, and the exceptions they tell of, no longer fail the test."""
        taken = self.texts("error")
        self.messages = [message for message in self.messages if message.level != "error"]
        self.uncaught = [error for error in self.uncaught if not any(str(error) in text for text in taken)]
        return taken

    def check(self) -> None:
        """AssertionError when an error was shown, or an exception left a slot, and the test did not take it."""
        shown = self.texts("error")
        lines = [f"shown to the person: {text}" for text in shown]
        for error in self.uncaught:
            lines.append("left a slot or an observer: " + "".join(traceback.format_exception(error)))
        assert not lines, "Errors that the test did not expect (host.take_errors() takes them):\n" + "\n".join(lines)

    def clear(self) -> None:
        """Forget everything."""
        self.messages.clear()
        self.uncaught.clear()
