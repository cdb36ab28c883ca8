"""What the panels share: the logic, the saved choices, the lesions on show, one way to say that something failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import slicer

from HNTumorSegLib.errors import HNTumorSegError
from HNTumorSegPanels.parameters import Origin, Parameters


class Session:
    """One a widget.

    Attributes:
        logic: HNTumorSegLogic.
        selected: ids of the lesions whose rows are selected.
        lesions: the LesionSet on show; None when no segmentation is chosen or its segments are no lesions.
        measurements: of the lesions on show; None without any, or when they cannot be measured.
        problem: why they cannot be measured.
    """

    def __init__(self, logic: Any) -> None:
        self.logic = logic
        self.selected: list[int] = []
        self.lesions: Any = None
        self.measurements: Any = None
        self.problem = ""
        self._panels: list[Any] = []

    def add(self, panel: Any) -> Any:
        """Keep a panel up to date from now on."""
        self._panels.append(panel)
        return panel

    @property
    def parameters(self) -> Parameters:
        """The choices that are saved with the scene."""
        return Parameters(self.logic.getParameterNode())

    @property
    def segmentation(self) -> Any:
        """The segmentation node on show, or None."""
        return self.parameters.segmentation

    @property
    def pet(self) -> Any:
        """The PET that the lesions on show are measured in: their own, else the chosen one."""
        segmentation = self.segmentation
        own = Origin(segmentation).pet if segmentation is not None else None
        return own if own is not None else self.parameters.pet

    def measure(self) -> None:
        """Take over what was painted and measure what changed."""
        self.lesions, self.measurements, self.problem = None, None, ""
        segmentation, pet = self.segmentation, self.pet
        if segmentation is None:
            return
        try:
            self.lesions = self.logic.lesions(segmentation)
            if pet is None:
                self.problem = _no_pet()
            else:
                self.measurements = self.logic.measure(segmentation, pet)
        except HNTumorSegError as error:
            self.problem = str(error)

    def refresh(self) -> None:
        """Measure again and bring every panel up to date."""
        self.measure()
        known = {lesion.id for lesion in self.lesions.lesions} if self.lesions is not None else set()
        self.selected = [number for number in self.selected if number in known]
        self.refresh_panels()

    def refresh_panels(self) -> None:
        """Bring every panel up to date without measuring."""
        for panel in self._panels:
            panel.refresh()

    def name_of(self, lesion_id: int) -> str:
        """A lesion's name."""
        return self.lesions[lesion_id].name

    @contextmanager
    def guarded(self, label: Any, what: str, wait: bool = False) -> Iterator[None]:
        """Run a slot's work.

        A sentence for the user goes to ``label``; anything else that fails is shown by Slicer under the title ``what``.
        """
        label.text = ""
        with slicer.util.tryWithErrorDisplay(what, waitCursor=wait):
            try:
                yield
            except HNTumorSegError as error:
                label.text = str(error)


def enable(button: Any, why_not: str, tip: str) -> None:
    """Enable a button, or disable it and let its tooltip say why."""
    button.enabled = not why_not
    button.toolTip = why_not or tip


def _no_pet() -> str:
    from slicer.i18n import tr as _

    return _("The PET of these lesions is not in the scene. Choose it above to see the measurements.")
