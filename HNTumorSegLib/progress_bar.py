"""Progress on the command line: bars on a terminal, one line a stage elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent

if TYPE_CHECKING:
    from rich.console import Console

TITLES = {
    "phantom": "Making the synthetic patient",
    "write DICOM": "Writing it as DICOM",
    "load": "Loading the model",
    "read": "Reading the images",
    "delineate": "Delineating",
    "measure": "Measuring",
    "write": "Writing the results",
    "prepare": "Preparing the cases",
    "train": "Training",
    "predict": "Delineating the cases",
}


@contextmanager
def shown_progress(console: Console, quiet: bool = False) -> Iterator[ProgressCallback]:
    """A progress callback for the time of the ``with`` block.

    On a terminal each stage has a bar, which stays when it is full. In a log file or a pipe each stage
    is one line, without control characters. ``quiet`` shows nothing.
    """
    if quiet:
        yield silent
    elif console.is_terminal:
        yield from _bars(console)
    else:
        yield _Lines(console)


def _bars(console: Console) -> Iterator[ProgressCallback]:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description:<30}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[message]}", style="dim"),
    )
    tasks: dict[str, int] = {}
    with Progress(*columns, console=console) as progress:

        def show(event: ProgressEvent) -> None:
            if event.stage not in tasks:
                title = TITLES.get(event.stage, event.stage.capitalize())
                tasks[event.stage] = progress.add_task(title, total=1.0, message="")
            message = event.message if event.fraction < 1 else ""
            progress.update(tasks[event.stage], completed=event.fraction, message=message)

        yield show


class _Lines:
    """One line when a stage begins."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: set[str] = set()

    def __call__(self, event: ProgressEvent) -> None:
        if event.stage not in self._seen:
            self._seen.add(event.stage)
            self._console.print(f"{TITLES.get(event.stage, event.stage.capitalize())} ...", highlight=False)
