"""A model on a folder of cases: a label image each and one table, going on where an earlier attempt stopped."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from HNTumorSegLib.errors import Cancelled, HNTumorSegError, InputError, OutputError
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent

if TYPE_CHECKING:
    from HNTumorSegLib.inference.delineator import Delineator
    from HNTumorSegLib.training.sources import FileSource

log = logging.getLogger(__name__)
TABLE_FILE = "predictions.csv"
STATE_FOLDER = ".predictions"
DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class CasePrediction:
    """One row of the table; volumes and SUV are empty where the case failed, SUV also where there is no lesion."""

    case: str
    status: str
    primaries: int | None = None
    nodes: int | None = None
    primary_ml: float | None = None
    node_ml: float | None = None
    ttb_ml: float | None = None
    suv_max: float | None = None
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
    reference: str = "pet",
    progress: ProgressCallback = silent,
) -> FolderPrediction:
    """Delineate every case of ``data``; writes ``CASE.nii.gz`` (0, 1 primary, 2 node) and ``predictions.csv``.

    A case that an earlier attempt finished with the same model, files and reference is not run again. A case that
    fails has its reason in the table, and the others go on.

    Args:
        data: a data set as :func:`HNTumorSegLib.training.layouts.find_cases` takes it; labels are not needed.
        out: folder for the results.
        model: name or folder of a model.
        device: ``auto``, ``cpu`` or ``cuda``.
        reference: ``pet`` or ``ct``: whose grid the labels lie on.
        progress: called per case and tile.

    Raises:
        InputError: no case was found.
        ModelError: the model cannot be used.
        OutputError: results cannot be written.
    """
    from HNTumorSegLib.inference.delineator import Delineator
    from HNTumorSegLib.training.layouts import PHANTOM_PREFIX, find_cases

    if str(data).startswith(PHANTOM_PREFIX):
        raise InputError("Phantom patients are made, not read; see 'hntumorseg demo'. Give a folder or a CSV file.")
    cases = find_cases(data, to_predict=True)
    folder = Path(out)
    try:
        (folder / STATE_FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder '{folder}' cannot be made: {error.strerror or error}.") from error
    delineator = Delineator(model, device)
    result = FolderPrediction([])
    for number, source in enumerate(cases):
        state = folder / STATE_FOLDER / f"{source.name}.json"
        key = _key(delineator, source, reference)
        row = _finished(state, folder / f"{source.name}.nii.gz", key)
        if row is None:
            part = _part(progress, number, len(cases), source.name)
            row = _predict_case(delineator, source, folder, state, key, reference, part)
        else:
            result.reused += 1
        result.rows.append(row)
        _write_table(folder / TABLE_FILE, result.rows)
        progress(ProgressEvent("predict", (number + 1) / len(cases), f"{number + 1} of {len(cases)} cases"))
    return result


def _predict_case(
    delineator: Delineator,
    source: FileSource,
    folder: Path,
    state: Path,
    key: str,
    reference: str,
    progress: ProgressCallback,
) -> CasePrediction:
    """One case to its row; label image first, then its state, so that a state speaks for a whole image."""
    state.unlink(missing_ok=True)
    try:
        row = _delineated(delineator, source, folder / f"{source.name}.nii.gz", reference, progress)
    except (Cancelled, OutputError):
        raise
    except HNTumorSegError as error:
        return CasePrediction(source.name, FAILED, message=str(error))
    except Exception as error:
        log.exception("case %s", source.name)
        return CasePrediction(source.name, FAILED, message=f"unexpected {type(error).__name__}: {error}")
    _replace(state, json.dumps({"key": key, "row": asdict(row)}) + "\n")
    return row


def _delineated(
    delineator: Delineator, source: FileSource, target: Path, reference: str, progress: ProgressCallback
) -> CasePrediction:
    from HNTumorSegLib.exchange.labels import write_labels
    from HNTumorSegLib.lesions.from_labels import lesions_from_delineation
    from HNTumorSegLib.measures.table import measure

    study = source.study()
    delineation = delineator.delineate(study, reference, progress)
    lesions = lesions_from_delineation(delineation, delineation.card.recipe.minimum_lesion_ml)
    measured = measure(lesions, study.pet)
    part = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        write_labels(lesions, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    volumes = {kind: sum(row.volume_ml for row in measured.rows if row.kind == kind) for kind in ("primary", "node")}
    counts = {kind: sum(row.kind == kind for row in measured.rows) for kind in ("primary", "node")}
    highest = [row.suv_max for row in measured.rows if row.suv_max is not None]
    return CasePrediction(
        source.name,
        DONE,
        counts["primary"],
        counts["node"],
        round(volumes["primary"], 4),
        round(volumes["node"], 4),
        round(measured.ttb_ml, 4),
        round(max(highest), 4) if highest else None,
        " ".join([*study.warnings, *delineation.warnings, *lesions.notes, *([] if measured.rows else ["No lesion."])]),
    )


def _key(delineator: Delineator, source: FileSource, reference: str) -> str:
    """What a finished case depends on: the weights, the files, the reference."""
    facts = [[weight.sha256 for weight in delineator.card.weights], source.key(), reference]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _finished(state: Path, labels: Path, key: str) -> CasePrediction | None:
    """The row of an earlier attempt with the same key."""
    try:
        data = json.loads(state.read_text(encoding="utf-8"))
        return CasePrediction(**data["row"]) if data["key"] == key and labels.is_file() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_table(path: Path, rows: Iterable[CasePrediction]) -> None:
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(CasePrediction)]
    writer.writerow(names)
    for row in rows:
        writer.writerow(["" if (value := getattr(row, name)) is None else value for name in names])
    _replace(path, text.getvalue())


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
