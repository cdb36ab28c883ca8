"""A cohort from CSV tables: one row a patient, outcomes, covariates, centre; refused in words where it cannot be."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from HNTumorSegLib.errors import SurvivalError
from HNTumorSegLib.survival.encoding import is_number
from HNTumorSegLib.survival.outcome import outcome

ID_NAMES = ("id", "patient", "patient_id", "patientid", "case", "subject")
MOST_CATEGORIES = 10
OUTCOME_WORDS = re.compile(
    r"(^|[_\W])(ev|event|death|dead|died|status|vital|os|pfs|dfs|lrc|relapse|recurrence|progression|days|months|time|"
    r"followup|follow|survival|censor\w*)([_\W]|$)",
    re.IGNORECASE,
)
"""Names that sound like an outcome: such a column is a covariate only when it is asked for."""
SHOWN_PATIENTS = 5


@dataclass(frozen=True)
class Endpoint:
    """One outcome of a cohort: its columns' names and ``y`` (patients,) of :func:`outcome`."""

    time_column: str
    event_column: str
    y: NDArray

    @property
    def name(self) -> str:
        """The event's column."""
        return self.event_column


@dataclass(frozen=True)
class CohortTable:
    """Patients in the table's order.

    Attributes:
        patients: identifiers as in the table.
        covariates: a row a patient; numbers, or words.
        feature_columns: those of ``covariates`` that came from the feature tables, by table.
        endpoints: the outcomes.
        centre: (patients,) labels of the group column, or None.
        columns: the table as read, for columns that are no covariates.
        notes: what was left out, in sentences.
    """

    patients: list[str]
    covariates: pd.DataFrame
    feature_columns: dict[str, list[str]]
    endpoints: list[Endpoint]
    centre: NDArray | None
    columns: pd.DataFrame
    notes: list[str] = field(default_factory=list)


def read_cohort(
    table: Path,
    times: Sequence[str],
    events: Sequence[str],
    features: Sequence[Path] = (),
    covariates: Sequence[str] | None = None,
    group: str | None = None,
    id_column: str | None = None,
    leave_out: Sequence[str] = (),
) -> CohortTable:
    """Read a cohort.

    Args:
        table: CSV, one row a patient.
        times, events: columns of one or several outcomes, in pairs; the event is 0 or 1.
        features: further CSV tables (radiomics, deep features) with the same patients.
        covariates: columns to use; by default all that can be used and do not sound like an outcome.
        group: the centre's column.
        id_column: the patients' identifiers; by default a column called id, patient, ...
        leave_out: columns that are never covariates.

    Raises:
        SurvivalError: a sentence that names the column and the patients.
    """
    if len(times) != len(events):
        raise SurvivalError(f"{len(times)} --time but {len(events)} --event columns: give them in pairs.")
    frame, patients = read_patients(table, id_column)
    needed = [*times, *events, *([group] if group else []), *(covariates or [])]
    tables = {Path(path).stem: read_patients(Path(path), id_column)[0] for path in features}
    _require_columns([c for c in needed if c not in {n for t in tables.values() for n in t}], frame, table)
    endpoints = [_endpoint(frame, t, e) for t, e in zip(times, events, strict=True)]
    centre = None if group is None else _centre(frame, group)
    notes: list[str] = []
    taken = {*times, *events, *leave_out, *([group] if group else [])}
    used = _clinical(frame, taken, covariates, notes)
    feature_columns = {}
    for name, features_frame in tables.items():
        joined = _joined(features_frame, patients, name, used)
        if covariates is not None:
            joined = joined[[c for c in joined.columns if c in covariates]]
        joined = joined[[c for c in joined.columns if c not in taken]]
        joined = _usable(joined, notes, covariates is not None)
        feature_columns[name] = list(joined.columns)
        used = pd.concat([used, joined], axis=1)
    columns = pd.concat([frame, used[[c for c in used.columns if c not in frame.columns]]], axis=1)
    return CohortTable(patients, used, feature_columns, endpoints, centre, columns, notes)


def read_patients(path: Path, id_column: str | None = None) -> tuple[pd.DataFrame, list[str]]:
    """A table indexed by patient, without the identifier's column, and the identifiers in order.

    Raises:
        SurvivalError: no table, no identifier, a patient twice, a column twice.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file, delimiter=_delimiter(Path(path))), [])
        named = id_column or next((c for c in header if c.strip().lower() in ID_NAMES), None)
        # An identifier is text: 007 is not 7.
        kinds = {named: "string"} if named in header else None
        frame = pd.read_csv(
            path, sep=_delimiter(Path(path)), dtype=kinds, dtype_backend="numpy_nullable", encoding="utf-8-sig"
        )
    except (OSError, ValueError) as error:
        raise SurvivalError(f"The table '{path}' cannot be read: {error}. Give a CSV file in UTF-8.") from error
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise SurvivalError(f"The table '{path}' has the column '{twice[0]}' more than once. Rename one of them.")
    if named is None or named not in frame.columns:
        raise SurvivalError(
            f"The table '{path}' has no column {id_column or 'called id or patient'} that names the patients; its "
            f"columns are {', '.join(map(str, frame.columns[:12]))}. Give the column with --id."
        )
    if frame[named].isna().any():
        rows = (np.flatnonzero(frame[named].isna()) + 2)[:SHOWN_PATIENTS]
        raise SurvivalError(f"'{named}' of '{path}' is empty in line {', '.join(map(str, rows))}. Name every patient.")
    patients = frame[named].astype(str).tolist()
    doubled = sorted({p for p in patients if patients.count(p) > 1}) if len(set(patients)) < len(patients) else []
    if doubled:
        raise SurvivalError(
            f"'{named}' of '{path}' has {shown(doubled)} more than once. Keep one row a patient: a patient in training "
            "and in test would make every figure too good."
        )
    if len(frame) == 0:
        raise SurvivalError(f"The table '{path}' has no patients.")
    return frame.drop(columns=named).set_index(pd.Index(patients, name="patient")), patients


def shown(patients: Sequence[str]) -> str:
    """A few patients in words."""
    rest = len(patients) - SHOWN_PATIENTS
    names = ", ".join(map(str, patients[:SHOWN_PATIENTS]))
    return f"{'patient' if len(patients) == 1 else 'patients'} {names}" + (f" and {rest} more" if rest > 0 else "")


def _delimiter(path: Path) -> str:
    """Comma, unless the first line has more semicolons or tabs."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            line = file.readline()
    except (OSError, UnicodeDecodeError):
        return ","
    return max(",;\t", key=lambda character: (line.count(character), character == ","))


def _require_columns(names: Sequence[str], frame: pd.DataFrame, path: Path) -> None:
    for name in names:
        if name not in frame.columns:
            raise SurvivalError(
                f"'{path}' has no column '{name}'; its columns are {', '.join(map(str, frame.columns[:20]))}."
            )


def numbers(frame: pd.DataFrame, name: str, what: str) -> NDArray:
    """A column as numbers, NaN where empty; raises :class:`SurvivalError` where it holds text."""
    column = frame[name]
    converted = pd.to_numeric(column, errors="coerce")
    text = converted.isna() & column.notna()
    if text.any():
        example = column[text].iloc[0]
        raise SurvivalError(
            f"'{name}' must hold {what}, but has text such as '{example}' for {shown(list(frame.index[text]))}. "
            "Write numbers only, with a decimal point."
        )
    return converted.to_numpy(float, na_value=np.nan)


def _endpoint(frame: pd.DataFrame, time_column: str, event_column: str) -> Endpoint:
    time = numbers(frame, time_column, "times as numbers")
    event = numbers(frame, event_column, "0 or 1")
    for values, name in ((time, time_column), (event, event_column)):
        if np.isnan(values).any():
            raise SurvivalError(
                f"'{name}' is empty for {shown(list(frame.index[np.isnan(values)]))}. Fill it in or take them out."
            )
    if not np.all(np.isfinite(time)) or np.any(time < 0):
        bad = list(frame.index[~np.isfinite(time) | (time < 0)])
        raise SurvivalError(
            f"'{time_column}' is negative or infinite for {shown(bad)}: times count from the baseline on. "
            "Correct their dates or take them out."
        )
    if not np.all(np.isin(event, (0, 1))):
        raise SurvivalError(
            f"'{event_column}' must be 0 (censored) or 1 (event), but is not for "
            f"{shown(list(frame.index[~np.isin(event, (0, 1))]))}."
        )
    n_events = int(event.sum())
    if n_events == 0:
        raise SurvivalError(
            f"'{event_column}' is 0 for all {len(event)} patients: nobody had the event, so there is nothing to learn. "
            "Check the coding or choose another outcome."
        )
    if n_events == 1:
        raise SurvivalError(
            f"'{event_column}' has one event only ({shown(list(frame.index[event == 1]))}); at least two are needed, "
            "and ten for each covariate are wanted. Choose another outcome or more patients."
        )
    return Endpoint(time_column, event_column, outcome(time, event))


def _centre(frame: pd.DataFrame, name: str) -> NDArray:
    if frame[name].isna().any():
        raise SurvivalError(
            f"'{name}' is empty for {shown(list(frame.index[frame[name].isna()]))}. Give every patient a centre or "
            "leave out --group."
        )
    labels = frame[name].astype(str).to_numpy(object)
    if len(set(labels)) < 2:
        raise SurvivalError(f"'{name}' is '{labels[0]}' for all patients: one centre cannot be left out. Omit --group.")
    return labels


def _clinical(frame: pd.DataFrame, taken: set[str], covariates: Sequence[str] | None, notes: list[str]) -> pd.DataFrame:
    if covariates is not None:
        for name in covariates:
            if name in taken:
                raise SurvivalError(f"'{name}' is an outcome or the centre and cannot be a covariate as well.")
        return _usable(frame[[c for c in covariates if c in frame.columns]], notes, True)
    free = [c for c in frame.columns if c not in taken]
    outcomes = [c for c in free if OUTCOME_WORDS.search(str(c))]
    if outcomes:
        notes.append(
            f"Left out because they sound like outcomes, which would tell the answer: {', '.join(outcomes)}. Name them "
            "with --covariates if they are known before treatment."
        )
    return _usable(frame[[c for c in free if c not in outcomes]], notes, False)


def _usable(frame: pd.DataFrame, notes: list[str], asked_for: bool) -> pd.DataFrame:
    """Numbers as float, words as they are; leaves out empty columns and free text, with a note (or an error)."""
    kept = {}
    for name in frame.columns:
        column = frame[name]
        n_categories = 0 if is_number(column) else column.nunique()
        if column.isna().all():
            reason = "is empty"
        elif n_categories > MOST_CATEGORIES:
            reason = f"holds {n_categories} different words (at most {MOST_CATEGORIES} can be coded)"
        else:
            kept[name] = (
                column.astype(float) if is_number(column) else column.astype(object).where(column.notna(), None)
            )
            continue
        if asked_for:
            raise SurvivalError(f"The covariate '{name}' {reason}. Leave it out or recode it.")
        notes.append(f"Left out: '{name}' {reason}.")
    return pd.DataFrame(kept, index=frame.index)


def _joined(features: pd.DataFrame, patients: list[str], name: str, used: pd.DataFrame) -> pd.DataFrame:
    """The rows of a feature table in the cohort's order."""
    lacking = [p for p in patients if p not in features.index]
    if len(lacking) == len(patients):
        raise SurvivalError(
            f"The feature table '{name}' shares no patient with the table: it has {shown(list(features.index))}, the "
            f"table {shown(patients)}. Use the same identifiers in both."
        )
    if lacking:
        raise SurvivalError(
            f"The feature table '{name}' has no row for {shown(lacking)}. Add the rows (empty cells are filled in by "
            "imputation) or take the patients out of the table."
        )
    both = [c for c in features.columns if c in used.columns]
    if both:
        raise SurvivalError(f"The column '{both[0]}' is in the table and in the feature table '{name}'. Rename one.")
    return features.loc[patients]


def read_new_patients(table: Path, features: Sequence[Path] = (), id_column: str | None = None) -> pd.DataFrame:
    """Patients to apply a model to, without outcomes: all columns of all tables, indexed by patient.

    Raises:
        SurvivalError: as :func:`read_cohort`.
    """
    frame, patients = read_patients(table, id_column)
    for path in features:
        joined = _joined(read_patients(Path(path), id_column)[0], patients, Path(path).stem, frame)
        frame = pd.concat([frame, joined], axis=1)
    return frame
