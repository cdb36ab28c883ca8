"""Who is trained on and who is measured: decided before training starts, by patient, and written down."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from HNTumorSegLib.errors import InputError, OutputError

KFOLD, CENTRE, SINGLE = "kfold", "centre", "single"
SPLITS = (KFOLD, CENTRE, SINGLE)
SPLITS_FILE = "splits.json"
VALIDATION_PART = 5
"""One patient in so many validates the network of a single split: as in the usual five folds."""


@dataclass(frozen=True)
class CaseFacts:
    """What a split has to know of a case: its name, patient, centre ("" where unknown) and classes present."""

    name: str
    patient: str
    centre: str
    classes: tuple[int, ...]


@dataclass(frozen=True)
class Fold:
    """Names of the cases of one fold; ``name`` is its number, or the centre that is left out."""

    name: str
    training: tuple[str, ...]
    validation: tuple[str, ...]


@dataclass(frozen=True)
class Splits:
    """All folds of a run; ``kind`` is one of :data:`SPLITS`."""

    kind: str
    seed: int
    folds: tuple[Fold, ...]

    def save(self, path: Path) -> Path:
        """Write as JSON, whole or not at all."""
        part = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            part.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise OutputError(f"The splits '{path}' cannot be written: {error.strerror or error}.") from error
        return path

    @classmethod
    def load(cls, path: Path) -> Splits:
        """Back from :meth:`save`; raises :class:`InputError` for a file that is none."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            folds = tuple(Fold(f["name"], tuple(f["training"]), tuple(f["validation"])) for f in data["folds"])
            return cls(data["kind"], data["seed"], folds)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"The splits '{path}' cannot be read ({type(error).__name__}: {error}). Use another output folder."
            ) from error

    def require_cases(self, names: Sequence[str], where: Path) -> None:
        """Raise :class:`InputError` unless the folds are about exactly these cases."""
        known = {name for fold in self.folds for name in (*fold.training, *fold.validation)}
        for missing, words in ((known - set(names), "is no longer in the data"), (set(names) - known, "is new")):
            if missing:
                raise InputError(
                    f"The data is not that of '{where}': case '{min(missing)}' {words} ({len(missing)} such cases). "
                    "Give the former data, or use another output folder."
                )


def k_folds(cases: Sequence[CaseFacts], k: int, seed: int) -> Splits:
    """``k`` folds of patients; centres and the classes that patients have are spread evenly over them.

    Patients of one stratum (centre, classes) are shuffled and dealt to the folds in turn; the deal goes on from one
    stratum to the next, so sizes differ by one patient at most.
    """
    patients: dict[str, list[CaseFacts]] = defaultdict(list)
    for case in cases:
        patients[case.patient].append(case)
    if not 2 <= k <= len(patients):
        raise InputError(
            f"{k} folds cannot be made of {len(patients)} patient{'' if len(patients) == 1 else 's'}. Give --k between "
            f"2 and the number of patients{', or --splits single' if k == 1 else ''}."
        )
    strata: dict[tuple, list[str]] = defaultdict(list)
    for patient in sorted(patients):
        theirs = patients[patient]
        strata[(theirs[0].centre, tuple(sorted({c for case in theirs for c in case.classes})))].append(patient)
    rng = np.random.default_rng(seed)
    fold_of: dict[str, int] = {}
    for stratum in sorted(strata):
        for index in rng.permutation(len(strata[stratum])):
            fold_of[strata[stratum][index]] = len(fold_of) % k
    return Splits(KFOLD, seed, tuple(_fold(str(n), cases, {p for p in patients if fold_of[p] == n}) for n in range(k)))


def one_split(cases: Sequence[CaseFacts], seed: int, needed: Collection[int] = ()) -> Splits:
    """A single fold, for systems of one network: a fifth of the patients (of few, one) validate, the others train.

    It is one of the folds that :func:`k_folds` makes with this seed: the first whose two parts hold every label of
    ``needed``, or the first of all where none does.

    Raises :class:`InputError` with fewer than two patients.
    """
    patients = len({case.patient for case in cases})
    if patients < 2:
        raise InputError("A single patient cannot be both trained and measured on. Give at least 2 patients.")
    folds = k_folds(cases, min(VALIDATION_PART, patients), seed).folds
    classes = {case.name: set(case.classes) for case in cases}

    def is_whole(fold: Fold) -> bool:
        parts = (fold.training, fold.validation)
        return all(set(needed) <= set().union(*(classes[name] for name in part)) for part in parts)

    return Splits(SINGLE, seed, (replace(next(filter(is_whole, folds), folds[0]), name="0"),))


def leave_one_centre_out(cases: Sequence[CaseFacts]) -> Splits:
    """A fold a centre, measured on it and trained on all others; raises :class:`InputError` for an unknown centre."""
    for case in cases:
        if not case.centre:
            raise InputError(
                f"The centre of case '{case.name}' is not known, so no centre can be left out. Name it in the CSV's "
                "column 'centre', use HECKTOR's file names (CHUM-001), or split with --splits kfold."
            )
    centres_of: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        centres_of[case.patient].add(case.centre)
    torn = sorted(patient for patient, centres in centres_of.items() if len(centres) > 1)
    if torn:
        raise InputError(
            f"Patient '{torn[0]}' belongs to several centres ({', '.join(sorted(centres_of[torn[0]]))}); give one."
        )
    centres = sorted({case.centre for case in cases})
    if len(centres) < 2:
        raise InputError(f"All cases are from one centre ({centres[0]}); split with --splits kfold.")
    of_centre = {c: {case.patient for case in cases if case.centre == c} for c in centres}
    return Splits(CENTRE, 0, tuple(_fold(c, cases, of_centre[c]) for c in centres))


def require_classes(splits: Splits, cases: Sequence[CaseFacts], names: Mapping[int, str]) -> None:
    """Raise :class:`InputError` where a fold would be trained, or measured, without any example of a class.

    ``names`` are the label values that matter, with what they mean.
    """
    facts = {case.name: case for case in cases}
    for fold in splits.folds:
        for what, members in (("training", fold.training), ("validation", fold.validation)):
            present = Counter(c for name in members for c in set(facts[name].classes))
            for label, words in names.items():
                if not present[label]:
                    raise InputError(
                        f"Fold '{fold.name}' has no {words} (label {label}) in any of its {len(members)} {what} cases, "
                        f"so it cannot be {'learned' if what == 'training' else 'measured'}. Use "
                        f"{'' if splits.kind == SINGLE else 'fewer folds, '}another seed, or more cases."
                    )


def _fold(name: str, cases: Sequence[CaseFacts], measured: set[str]) -> Fold:
    return Fold(
        name,
        tuple(case.name for case in cases if case.patient not in measured),
        tuple(case.name for case in cases if case.patient in measured),
    )
