"""A model on a folder of cases: a label image each and one table, going on where an earlier attempt stopped."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from HNTumorSegLib.errors import Cancelled, HNTumorSegError, InputError, OutputError
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent

if TYPE_CHECKING:
    import SimpleITK as sitk

    from HNTumorSegLib.models.card import ModelCard
    from HNTumorSegLib.predict_models import ClassModel, PetCtModel
    from HNTumorSegLib.training.sources import FileSource

log = logging.getLogger(__name__)
TABLE_FILE = "predictions.csv"
CLASSES_FILE = "classes.csv"
"""Value and meaning of each label, for models of other classes than tumours."""
STATE_FOLDER = ".predictions"
DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class CasePrediction:
    """One row of the table; figures are empty where the case failed, SUV also where there is no lesion or no PET.

    ``volumes_ml`` are those of the classes of a model of other classes than tumours, which has none of the others.
    """

    case: str
    status: str
    primaries: int | None = None
    nodes: int | None = None
    primary_ml: float | None = None
    node_ml: float | None = None
    ttb_ml: float | None = None
    suv_max: float | None = None
    volumes_ml: tuple[float, ...] = ()
    message: str = ""


@dataclass
class FolderPrediction:
    """All rows in the order of the cases; ``reused`` were there already."""

    rows: list[CasePrediction]
    reused: int = 0

    @property
    def failed(self) -> list[CasePrediction]:
        """Those that failed."""
        return [row for row in self.rows if row.status == FAILED]


def predict_folder(
    data: str | Path,
    out: str | Path,
    model: str | Path = "default",
    *,
    device: str = "auto",
    reference: str | None = None,
    uncertainty: str | Path | None = None,
    progress: ProgressCallback = silent,
) -> FolderPrediction:
    """Delineate every case of ``data``; writes ``CASE.nii.gz`` (0, 1 primary, 2 node) and ``predictions.csv``.

    A model of other classes (organs) writes its own class numbers and ``classes.csv``, which says what they mean; its
    table has the volume of each class. A case that an earlier attempt finished with the same model, files and
    reference is not run again. A case that fails has its reason in the table, and the others go on.

    Args:
        data: a data set as :func:`HNTumorSegLib.training.layouts.find_cases` takes it; labels are not needed.
        out: folder for the results.
        model: name or folder of a model.
        device: ``auto``, ``cpu`` or ``cuda``.
        reference: ``pet`` or ``ct``: whose grid the labels lie on; None: the PET's, and for a model that reads none
            that of the first image it reads.
        uncertainty: folder for ``CASE_entropy.nii.gz`` and, where several answers were averaged, ``CASE_spread.nii.gz``
            on the labels' grid (see :class:`HNTumorSegLib.predict_models.CaseAnswer`); None: none are written.
        progress: called per case and tile.

    Raises:
        InputError: no case was found.
        ModelError: the model cannot be used.
        OutputError: results cannot be written.
    """
    from HNTumorSegLib.predict_models import model_for_cases
    from HNTumorSegLib.training.layouts import PHANTOM_PREFIX, find_cases

    if str(data).startswith(PHANTOM_PREFIX):
        raise InputError("Phantom patients are made, not read; see 'hntumorseg demo'. Give a folder or a CSV file.")
    cases = find_cases(data, to_predict=True)
    folders = _Folders(Path(out), None if uncertainty is None else Path(uncertainty))
    folders.make()
    ready = model_for_cases(model, device)
    classes = _written_classes(ready.card)
    if classes:
        _replace(folders.labels / CLASSES_FILE, _csv([("value", "class"), *enumerate(ready.card.classes)]))
    result = FolderPrediction([])
    for number, source in enumerate(cases):
        key = _key(ready, source, reference)
        row = _finished(folders, source.name, key)
        if row is None:
            part = _part(progress, number, len(cases), source.name)
            row = _predict_case(ready, source, folders, key, reference, part)
        else:
            result.reused += 1
        result.rows.append(row)
        _replace(folders.labels / TABLE_FILE, _table(result.rows, classes))
        progress(ProgressEvent("predict", (number + 1) / len(cases), f"{number + 1} of {len(cases)} cases"))
    return result


@dataclass(frozen=True)
class _Folders:
    """Where files go: label images, and if wanted uncertainties."""

    labels: Path
    uncertainty: Path | None

    def make(self) -> None:
        """Make them; raises :class:`InputError` where both are one, :class:`OutputError` where one cannot be made."""
        if self.uncertainty is not None and self.uncertainty.resolve() == self.labels.resolve():
            raise InputError(
                f"'{self.labels}' is the folder of the label images; give another one for the uncertainties, so that "
                "they are not taken for labels."
            )
        for folder in (self.labels / STATE_FOLDER, self.uncertainty):
            try:
                if folder is not None:
                    folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"The folder '{folder}' cannot be made: {error.strerror or error}.") from error

    def state(self, case: str) -> Path:
        """What is known of a finished case."""
        return self.labels / STATE_FOLDER / f"{case}.json"

    def label_image(self, case: str) -> Path:
        """A case's labels."""
        return self.labels / f"{case}.nii.gz"

    def uncertainty_image(self, case: str, what: str) -> Path:
        """A case's ``entropy`` or ``spread``."""
        return self.uncertainty / f"{case}_{what}.nii.gz"


def _predict_case(
    model: PetCtModel | ClassModel,
    source: FileSource,
    folders: _Folders,
    key: str,
    reference: str | None,
    progress: ProgressCallback,
) -> CasePrediction:
    """One case to its row; label image first, then its state, so that a state speaks for a whole image."""
    state = folders.state(source.name)
    state.unlink(missing_ok=True)
    try:
        answer = model.answer(source, reference, folders.uncertainty is not None, progress)
        spread = answer.spread is not None
        if folders.uncertainty is not None:
            _write_whole(answer.uncertainty, folders.uncertainty_image(source.name, "entropy"))
            folders.uncertainty_image(source.name, "spread").unlink(missing_ok=True)
            if spread:
                _write_whole(answer.spread, folders.uncertainty_image(source.name, "spread"))
        _write_whole(answer.labels, folders.label_image(source.name))
    except (Cancelled, OutputError):
        raise
    except HNTumorSegError as error:
        return CasePrediction(source.name, FAILED, message=str(error))
    except Exception as error:
        log.exception("case %s", source.name)
        return CasePrediction(source.name, FAILED, message=f"unexpected {type(error).__name__}: {error}")
    figures = {} if answer.tumours is None else asdict(answer.tumours)
    row = CasePrediction(source.name, DONE, **figures, volumes_ml=answer.volumes_ml, message=" ".join(answer.notes))
    _replace(state, json.dumps({"key": key, "spread": spread, "row": asdict(row)}) + "\n")
    return row


def _write_whole(image: sitk.Image, target: Path) -> None:
    """Write beside ``target`` and rename, so that it is never half an image."""
    from HNTumorSegLib.exchange.image_file import write_image

    part = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        write_image(image, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _key(model: PetCtModel | ClassModel, source: FileSource, reference: str | None) -> str:
    """What a finished case depends on: the weights, the files, the reference."""
    facts = [model.card.weights_key(), source.key(), reference or model.usual_reference]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _finished(folders: _Folders, case: str, key: str) -> CasePrediction | None:
    """The row of an earlier attempt with the same key, if all files that are wanted are there."""
    try:
        data = json.loads(folders.state(case).read_text(encoding="utf-8"))
        if data["key"] != key or not folders.label_image(case).is_file():
            return None
        if folders.uncertainty is not None:
            wanted = ("entropy", "spread") if data["spread"] else ("entropy",)
            if not all(folders.uncertainty_image(case, what).is_file() for what in wanted):
                return None
        return CasePrediction(**{**data["row"], "volumes_ml": tuple(data["row"].get("volumes_ml", ()))})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _written_classes(card: ModelCard) -> tuple[str, ...]:
    """The classes that a table needs columns for; none for tumours, which have columns of their own."""
    from HNTumorSegLib.inference.tumour_classes import are_tumours

    return () if are_tumours(card.classes) else card.classes[1:]


def _table(rows: Iterable[CasePrediction], classes: tuple[str, ...]) -> str:
    tumours = ("primaries", "nodes", "primary_ml", "node_ml", "ttb_ml", "suv_max")
    lines: list[Iterable[object]] = [("case", "status", *([f"{c}_ml" for c in classes] or tumours), "message")]
    for row in rows:
        of_classes = row.volumes_ml or (None,) * len(classes)
        figures = of_classes if classes else [getattr(row, name) for name in tumours]
        lines.append((row.case, row.status, *("" if value is None else value for value in figures), row.message))
    return _csv(lines)


def _csv(lines: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"'{path}' cannot be written: {error.strerror or error}.") from error


def _part(progress: ProgressCallback, number: int, count: int, name: str) -> ProgressCallback:
    return lambda event: progress(ProgressEvent("predict", (number + event.fraction) / count, name))
