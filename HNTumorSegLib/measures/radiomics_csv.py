"""Radiomics as tables: one row a lesion and image, or one row a patient for survival analysis."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from HNTumorSegLib.errors import InputError, OutputError
from HNTumorSegLib.measures.radiomics import RadiomicsRow
from HNTumorSegLib.measures.table import TOTAL

COLUMNS = ("id", "name", "kind", "image", "settings_hash", "note")
"""Columns before the features."""


def write_radiomics_csv(rows: Sequence[RadiomicsRow], path: Path | str) -> Path:
    """One row per lesion (and ``primary``, ``node``, ``total``) and image; features have a column each.

    UTF-8, comma, decimal point, as many digits as give the same number back, empty cells where a
    feature is not defined or the row's image does not have it; ``note`` says why. Radiomics and deep features may be
    written into one file. For survival analysis see :func:`write_feature_table`.

    Raises:
        OutputError: the file cannot be written.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.features))
    lines = [
        [row.id, row.name, row.kind, row.image, row.settings_hash, row.note, *_cells(row.features, names)]
        for row in rows
    ]
    return _write([*COLUMNS, *names], lines, Path(path))


def write_feature_table(
    patients: Mapping[str, Sequence[RadiomicsRow]], path: Path | str, which: str = TOTAL, id_column: str = "id"
) -> Path:
    """One row a patient: what ``hntumorseg survival --features`` takes.

    The columns are the patient's id and ``<image>_<feature>`` for each image (``pet_original_firstorder_Mean``). The
    hashes are compared here and not written, so that every other column is a covariate.

    Args:
        patients: rows of :func:`radiomics_table` by the patient's id, as in the clinical table.
        path: the file.
        which: ``total`` (whole burden), ``primary`` or ``node``.
        id_column: heading of the first column.

    Raises:
        InputError: two patients were measured with different settings, or one has no such row; named.
        OutputError: the file cannot be written.
    """
    hashes: dict[str, tuple[str, str]] = {}
    table: dict[str, dict[str, float | None]] = {}
    for patient, rows in patients.items():
        chosen = [row for row in rows if row.id == which]
        if not chosen:
            raise InputError(f"Patient '{patient}' has no radiomics row '{which}'.")
        table[patient] = {}
        for row in chosen:
            first, settings_hash = hashes.setdefault(row.image, (patient, row.settings_hash))
            if settings_hash != row.settings_hash:
                raise InputError(
                    f"Patients '{first}' and '{patient}' were measured with different radiomics settings or versions "
                    f"on the image '{row.image}' (hashes {settings_hash[:12]} and {row.settings_hash[:12]}). Their "
                    "features cannot be compared: measure all patients anew with one setting."
                )
            table[patient].update({f"{row.image}_{name}": value for name, value in row.features.items()})
    names = list(dict.fromkeys(name for features in table.values() for name in features))
    lines = [[patient, *_cells(features, names)] for patient, features in table.items()]
    return _write([id_column, *names], lines, Path(path))


def _cells(features: Mapping[str, float | None], names: Sequence[str]) -> list[str]:
    """As many digits as give the same number back; empty where there is none."""
    return ["" if features.get(name) is None else repr(float(features[name])) for name in names]


def _write(header: Sequence[str], lines: Sequence[Sequence[object]], path: Path) -> Path:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(lines)
    except OSError as error:
        raise OutputError(
            f"The radiomics table '{path}' cannot be written: {error.strerror}. "
            "Choose a folder with free space that you may write to."
        ) from error
    return path
