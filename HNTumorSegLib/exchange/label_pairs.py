"""Which files of two folders belong together: truth and delineation of one patient, or of one organ of a patient.

A case is a label file in the folder (its name without suffix is the case's) or a sub-folder (its name is the case's).
A sub-folder holds one label file, or what ``hntumorseg run`` wrote, or one mask an organ, all of them directly or in a
single folder of its own. Cases and organs are paired by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from HNTumorSegLib.errors import InputError, LesionError
from HNTumorSegLib.evaluation.case import EvaluationCase, StructureCase
from HNTumorSegLib.evaluation.cohort import Problem
from HNTumorSegLib.exchange.label_files import on_common_grid, read_label_file, read_mask_file
from HNTumorSegLib.study.files import SUFFIXES, is_image_file

RUN_LABELS, RUN_SEGMENTATION = "labels.nii.gz", "segmentation.seg.nrrd"
"""The two files in which ``hntumorseg run`` leaves the same lesions."""
RUN_OTHERS = (RUN_SEGMENTATION, "uncertainty.nii.gz", "spread.nii.gz")
"""Files of ``hntumorseg run`` that are left aside where its label map is read."""
TRUTH, PREDICTED = "truth", "prediction"


@dataclass
class LabelFolder:
    """The cases of one side: files by case and structure (empty name for a label map), and what is wrong."""

    folder: Path
    side: str
    cases: dict[str, dict[str, Path]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def n_with_several_files(self) -> int:
        """Cases with more than one file."""
        return sum(len(files) > 1 for files in self.cases.values())


@dataclass(frozen=True)
class Pairing:
    """Two folders side by side.

    Attributes:
        pairs: (case, structure, truth file, delineation file); the structure is empty for label maps.
        problems: what is on one side only, double, or of the wrong layout.
        has_structures: organs, not label maps 0/1/2.
    """

    pairs: tuple[tuple[str, str, Path, Path], ...]
    problems: tuple[Problem, ...]
    has_structures: bool

    def cases(self) -> Iterator[EvaluationCase | Problem]:
        """The label maps, read one pair at a time; a pair that cannot be read comes as a problem."""
        for name, _, truth, predicted in self.pairs:
            try:
                files = read_label_file(truth, "true label image"), read_label_file(predicted, "predicted label image")
                notes = tuple(f"{name}: {note}" for file in files for note in file.notes)
                yield EvaluationCase(name, *on_common_grid(*files), str(truth), str(predicted), notes)
                del files
            except (InputError, LesionError) as error:
                yield Problem(name, str(error))

    def structures(self) -> Iterator[StructureCase | Problem]:
        """The organs' masks, one pair at a time."""
        for name, structure, truth, predicted in self.pairs:
            try:
                files = read_mask_file(truth, "true mask"), read_mask_file(predicted, "predicted mask")
                yield StructureCase(name, structure, *on_common_grid(*files), str(truth), str(predicted))
                del files
            except (InputError, LesionError) as error:
                yield Problem(f"{name} {structure}", str(error))


def pair_folders(truth: str | Path, predicted: str | Path, layout: str = "auto") -> Pairing:
    """Pair the cases of two folders.

    Args:
        truth: folder with the references.
        predicted: folder with the delineations.
        layout: ``labels`` (one label map 0/1/2 a case), ``structures`` (one mask an organ) or ``auto``: structures
            when most cases have more than one file.

    Raises:
        InputError: a folder is not there or cannot be read, or holds no label file.
    """
    sides = scan_folder(truth, TRUTH), scan_folder(predicted, PREDICTED)
    if sides[0].folder.samefile(sides[1].folder):
        raise InputError(f"Truth and delineations are the same folder '{sides[0].folder}'. Give two.")
    several, n = (
        sum(numbers) for numbers in zip(*((s.n_with_several_files(), len(s.cases)) for s in sides), strict=True)
    )
    structures = layout == "structures" or (layout == "auto" and 2 * several > n)
    problems = [Problem(case, sentence) for side in sides for case, sentence in side.problems.items()]
    pairs = []
    for name in sorted(set(sides[0].cases) | set(sides[1].cases)):
        found, wrong = _pair_case(name, sides, structures)
        pairs += found
        problems += wrong
    return Pairing(tuple(pairs), tuple(problems), structures)


def _pair_case(
    name: str, sides: tuple[LabelFolder, LabelFolder], structures: bool
) -> tuple[list[tuple[str, str, Path, Path]], list[Problem]]:
    """The pairs of one case, and what it lacks."""
    for side, other in (sides, sides[::-1]):
        if name not in side.cases:
            if name in side.problems:
                return [], []  # said already
            sentence = f"there is no {side.side} of that name in '{side.folder}' (but one in '{other.folder}')."
            return [], [Problem(name, sentence)]
    files = [side.cases[name] for side in sides]
    if structures:
        problems = [
            Problem(f"{name} {structure}", f"the structure is missing in the {side.side} '{side.folder / name}'.")
            for side, mine, others in zip(sides, files, files[::-1], strict=True)
            for structure in sorted(set(others) - set(mine))
        ]
        common = sorted(set(files[0]) & set(files[1]))
        return [(name, structure, files[0][structure], files[1][structure]) for structure in common], problems
    for side, mine in zip(sides, files, strict=True):
        if len(mine) > 1:
            listed = ", ".join(sorted(path.name for path in mine.values())[:4])
            sentence = f"the {side.side} has {len(mine)} label files ({listed}); one label map 0/1/2 is needed."
            return [], [Problem(name, sentence)]
    return [(name, "", next(iter(files[0].values())), next(iter(files[1].values())))], []


def scan_folder(folder: str | Path, side: str) -> LabelFolder:
    """The cases of one folder; ``side`` is ``truth`` or ``prediction``, for messages.

    Raises:
        InputError: the folder is not there, cannot be read or holds no label file.
    """
    folder = Path(folder).absolute()
    if not folder.is_dir():
        kind = "is a file, not a folder" if folder.exists() else "does not exist"
        raise InputError(f"The {side} folder '{folder}' {kind}. Give a folder with one label file or folder a patient.")
    found = LabelFolder(folder, side)
    candidates: dict[str, list[Path]] = {}
    try:
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            if path.is_dir():
                candidates.setdefault(path.name, []).append(path)
            elif is_image_file(path):
                candidates.setdefault(stem(path), []).append(path)
        for name, paths in candidates.items():
            _add_case(found, name, paths)
    except OSError as error:
        raise InputError(f"The {side} folder '{folder}' cannot be read ({error.strerror}).") from error
    if not found.cases:
        raise InputError(
            f"There is no label file in the {side} folder '{folder}' or its sub-folders; files that end in "
            f"{', '.join(SUFFIXES)} are looked for."
        )
    return found


def _add_case(found: LabelFolder, name: str, paths: list[Path]) -> None:
    """Enter one case, or say what is wrong with it."""
    if len(paths) > 1:
        listed = " and ".join(f"'{path.name}'" for path in paths)
        found.problems[name] = f"the name is there twice in the {found.side} '{found.folder}': {listed}. Keep one."
        return
    path = paths[0]
    if path.is_file():
        found.cases[name] = {name: path}
        return
    files = _label_files(path)
    by_stem: dict[str, list[Path]] = {}
    for file in files:
        by_stem.setdefault(stem(file), []).append(file)
    double = [same for same in by_stem.values() if len(same) > 1]
    if not files:
        found.problems[name] = f"the {found.side} folder '{path}' holds no label file."
    elif double:
        listed = " and ".join(f"'{file.name}'" for file in double[0])
        found.problems[name] = f"a structure is there twice in the {found.side} '{path}': {listed}. Keep one."
    else:
        found.cases[name] = {key: same[0] for key, same in by_stem.items()}


def _label_files(folder: Path) -> list[Path]:
    """The label files of a case's folder, or of the single folder in it; of a run's two the label map."""
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    files = [path for path in entries if path.is_file() and is_image_file(path)]
    folders = [path for path in entries if path.is_dir()]
    if not files and len(folders) == 1:
        files = sorted(p for p in folders[0].iterdir() if p.is_file() and is_image_file(p) and p.name[0] != ".")
    names = {path.name for path in files}
    if {RUN_LABELS, RUN_SEGMENTATION} <= names:
        files = [path for path in files if path.name not in RUN_OTHERS]
    return files


def stem(path: Path) -> str:
    """A file's name without its image suffix: ``P1`` of ``P1.nii.gz`` and of ``P1.seg.nrrd``."""
    name = path.name
    for suffix in sorted((".seg.nrrd", *SUFFIXES), key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name
