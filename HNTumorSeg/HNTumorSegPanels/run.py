"""One delineation: from volume nodes to the worker process and back to a segmentation node, without waiting."""

from __future__ import annotations

import time
from typing import Any

import slicer
from slicer.i18n import tr as _

from HNTumorSegLib.errors import Cancelled, HNTumorSegError, InputError
from HNTumorSegLib.lesions.from_labels import lesions_from_delineation
from HNTumorSegLib.models.registry import resolve_model
from HNTumorSegLib.mrml.scene import lesion_set_to_segmentation, show_as_uncertainty, volume_to_node
from HNTumorSegLib.mrml.segmentations import put_into_study_of
from HNTumorSegLib.mrml.study_nodes import study_from_nodes
from HNTumorSegLib.run import nothing_found
from HNTumorSegLib.worker_client import WorkerClient, WorkerFailed, WorkerProgress, WorkerResult
from HNTumorSegLib.worker_process import python_executable
from HNTumorSegPanels.parameters import Origin

STAGES = {
    "start": (0.0, 0.08),
    "load": (0.08, 0.12),
    "read": (0.12, 0.15),
    "delineate": (0.15, 0.97),
    "hand over": (0.97, 1.0),
}
"""Shares of the progress bar."""
NETWORK_BEGINS = 0.1
"""Share of the stage "delineate" from which on the time left can be told."""
WAIT_S = 0.02


def start_worker() -> WorkerClient:
    """The client of a worker in Slicer's own Python; its process starts with the first run and stays warm."""
    return WorkerClient(python_executable())


class DelineationRun:
    """A run that goes on in another process; call :meth:`poll` from a timer, or :meth:`wait`.

    Args:
        worker: the client; one run at a time.
        pet, ct: volume nodes; ``ct`` may be None.
        model, device, reference: as for ``HNTumorSegLogic.delineate``.

    Attributes:
        running: whether it still goes on.
        stage, fraction, message: how far it is; ``fraction`` (0 to 1) is of the whole.
        remaining_s: seconds it will take, None while that cannot be told.
        segmentation: the node that it made; None before, and when it failed.
        error: why it failed, an HNTumorSegError; None when it did not.
        words: one sentence group for the user about how it ended.

    Raises:
        HNTumorSegError: what was asked for cannot be done; nothing was started.
    """

    def __init__(self, worker: WorkerClient, pet: Any, ct: Any, model: str, device: str, reference: str) -> None:
        resolve_model(model)  # before anything is read: a wrong model must not be noticed only after minutes
        self._study = study_from_nodes(pet, ct)
        self._pet, self._ct, self._reference = pet, ct, ct if reference == "ct" else pet
        self._worker = worker
        self.running, self.stage, self.fraction, self.message = True, "start", 0.0, ""
        self.remaining_s: float | None = None
        self.segmentation: Any = None
        self.error: Exception | None = None
        self.words = ""
        self._began, self._network_began = time.monotonic(), 0.0
        worker.poll()  # what an earlier run left unread is nobody's any more
        self._number = worker.request(self._study, str(model), device, reference)

    def poll(self) -> bool:
        """Take in what the worker said; True while it still goes on."""
        if self.running:
            missing = self._missing_node()
            if missing:
                self.cancel()
                self._fail(InputError(missing))
        for event in self._worker.poll() if self.running else ():
            if getattr(event, "request", None) != self._number:
                continue
            if isinstance(event, WorkerProgress):
                self._progress(event.progress)
            elif isinstance(event, WorkerFailed):
                self._fail(event.error)
            elif isinstance(event, WorkerResult):
                try:
                    self._finish(event.delineation)
                except HNTumorSegError as error:  # a volume was moved meanwhile, for instance
                    self._fail(error)
        return self.running

    def wait(self) -> Any:
        """Wait for the end; the segmentation node. Raises what the run failed with."""
        try:
            while self.poll():
                slicer.app.processEvents()
                time.sleep(WAIT_S)
        except BaseException:
            self.cancel()
            raise
        if self.error is not None:
            raise self.error
        return self.segmentation

    def cancel(self) -> None:
        """End the worker process with all its children; the scene stays as it was."""
        if self.running:
            self._worker.cancel()
            self._fail(Cancelled(_("Cancelled; nothing was changed.")))

    def _missing_node(self) -> str:
        scene = slicer.mrmlScene
        for node, what in ((self._pet, "PET"), (self._ct, "CT")):
            if node is not None and not scene.IsNodePresent(node):
                return _("The {what} was removed from the scene during the run, so it was stopped.").format(what=what)
        return ""

    def _progress(self, event: Any) -> None:
        begin, end = STAGES.get(event.stage, (self.fraction, self.fraction))
        self.stage, self.message = event.stage, event.message
        self.fraction = max(self.fraction, begin + (end - begin) * event.fraction)
        self.remaining_s = None
        if event.stage == "delineate" and event.fraction > NETWORK_BEGINS:
            now = time.monotonic()
            self._network_began = self._network_began or now
            done = event.fraction - NETWORK_BEGINS
            spent = now - self._network_began
            if spent > 1.0:
                self.remaining_s = spent * (1 - event.fraction) / done

    def _fail(self, error: Exception) -> None:
        self.running, self.error, self.words = False, error, str(error)

    def _finish(self, delineation: Any) -> None:
        """Put lesions and uncertainty into the scene; what goes wrong leaves the scene as it was."""
        self.running = False
        lesion_set = lesions_from_delineation(delineation, delineation.card.recipe.minimum_lesion_ml)
        model = f"{delineation.card.name} {delineation.card.version}"
        name = slicer.mrmlScene.GenerateUniqueName(_("Lesions"))
        segmentation = lesion_set_to_segmentation(lesion_set, self._reference, name, algorithm_name=model)
        uncertainty = volume_to_node(delineation.uncertainty, f"{name} {_('uncertainty')}")
        show_as_uncertainty(uncertainty)
        put_into_study_of(uncertainty, self._reference)
        notes = list(dict.fromkeys([*self._study.warnings, *delineation.warnings, *lesion_set.notes]))
        if not len(lesion_set):
            notes.append(nothing_found(self._study, delineation))
        Origin(segmentation).set(self._pet, self._ct, uncertainty, model, delineation.device, notes)
        self.segmentation = segmentation
        seconds = time.monotonic() - self._began
        self.words = " ".join(
            [
                _("{n} lesions proposed in {seconds:.0f} s on {device}; look at each of them.").format(
                    n=len(lesion_set), seconds=seconds, device=delineation.device
                ),
                *notes,
            ]
        )
