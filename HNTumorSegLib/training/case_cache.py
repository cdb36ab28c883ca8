"""Preprocessed cases on disk: made once, found again by recipe and files, never half written."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from HNTumorSegLib.errors import InputError, OutputError
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.recipes.recipe import Recipe
from HNTumorSegLib.training.case import Case
from HNTumorSegLib.training.sources import Source
from HNTumorSegLib.training.splits import CaseFacts

FORMAT = 1
"""Raised whenever preprocessing changes, so that older cases are made anew."""


@dataclass(frozen=True)
class CaseCache:
    """Cases of one recipe in one folder.

    A file's name holds a hash of what the case depends on: channels, windows, voxel size and patch of the recipe, and
    path, size and time of the case's files. A case whose files changed is thus made anew, and recipes share a folder.
    """

    folder: Path
    recipe: Recipe

    def path(self, source: Source) -> Path:
        """Where the case is kept."""
        recipe = self.recipe
        facts = [FORMAT, [asdict(c) for c in recipe.channels], recipe.spacing_mm, recipe.patch_zyx, source.key(recipe)]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        return self.folder / f"{re.sub(r'[^A-Za-z0-9._-]', '_', source.name)}_{digest}.npz"

    def ensure(self, source: Source) -> CaseFacts:
        """Make the case if it is not there; returns what a split must know of it."""
        path = self.path(source)
        facts = _read_facts(path) if path.exists() else None
        if facts is None:
            case, centre = source.case(self.recipe)
            facts = CaseFacts(source.name, source.patient, centre, tuple(int(c) for c in np.unique(case.labels) if c))
            self._write(path, case, facts)
        return facts

    def load(self, source: Source) -> Case:
        """A case from disk, made if need be."""
        path = self.path(source)
        self.ensure(source)
        with path.open("rb") as file, np.load(file) as data:
            return Case(source.name, data["inputs"], data["labels"])

    def _write(self, path: Path, case: Case, facts: CaseFacts) -> None:
        part = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                np.savez(file, inputs=case.inputs, labels=case.labels, facts=np.array(json.dumps(asdict(facts))))
            part.replace(path)
        except OSError as error:
            raise OutputError(
                f"The prepared case '{path}' cannot be written: {error.strerror or error}. Make room, or choose "
                "another folder."
            ) from error
        finally:
            part.unlink(missing_ok=True)


def prepare(cache: CaseCache, sources: list[Source], progress: ProgressCallback = silent) -> list[CaseFacts]:
    """Make all cases that are not there yet; raises :class:`InputError` listing all cases that cannot be used."""
    facts, problems = [], []
    for done, source in enumerate(sources, 1):
        try:
            facts.append(cache.ensure(source))
        except InputError as error:
            problems.append(error)
        progress(ProgressEvent("prepare", done / len(sources), f"{done} of {len(sources)} cases"))
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise InputError(
            f"{len(problems)} of {len(sources)} cases cannot be used. " + " ".join(str(problem) for problem in problems)
        )
    return facts


def _read_facts(path: Path) -> CaseFacts | None:
    """The facts of a kept case; None where the file is damaged (it is then made anew)."""
    try:
        with path.open("rb") as file, np.load(file) as data:
            facts = json.loads(str(data["facts"]))
            if data["inputs"].shape[1:] != data["labels"].shape:
                return None
        return CaseFacts(facts["name"], facts["patient"], facts["centre"], tuple(facts["classes"]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
        return None
