"""Data sets in the layouts they come in: HECKTOR, nnU-Net raw, a CSV of paths, the phantom."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable
from pathlib import Path

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.study.files import SUFFIXES, is_image_file
from HNTumorSegLib.training.sources import FileSource, PhantomSource, Source

PHANTOM_PREFIX = "phantom:"
CASES_FILE = "cases.csv"
CSV_COLUMNS = ("case", "pet", "ct", "ct_contrast", "labels", "patient", "centre")

_IMAGE = re.compile(r"^(?P<id>.+?)_{1,2}(?P<what>PT|CT|PET)(_gtvt?)?\.nii(\.gz)?$", re.IGNORECASE)
_LABELS = re.compile(r"^(?P<id>.+?)(_ct)?(_gtvt?)?\.nii(\.gz)?$", re.IGNORECASE)
_OTHER = re.compile(r"dosimetry|planning|dose", re.IGNORECASE)
_CENTRE = re.compile(r"^([A-Za-z]{2,6})[-_]?\d+")
_NODE = re.compile(r"gtv-?_?n|node|lymph|gtvnd", re.IGNORECASE)
_PRIMARY = re.compile(r"gtv-?_?[pt]|primary|tumou?r", re.IGNORECASE)


def find_cases(data: str | Path, *, to_predict: bool = False) -> list[Source]:
    """The cases of a data set, by name.

    Args:
        data: ``phantom:N`` (seeds 0 to N - 1); a CSV file, or a folder in which it is called ``cases.csv``; a folder in
            nnU-Net's raw layout (it has ``dataset.json``); or a folder of HECKTOR: 2020 (a folder a patient with
            ``ID_pt``, ``ID_ct``, ``ID_ct_gtvt``), 2021 (``hecktor_nii/ID_pt``, ``_ct``, ``_gtvt``), 2022
            (``imagesTr/ID__PT``, ``ID__CT``, ``labelsTr/ID``), 2025 and 2026 (a folder a patient with ``ID__PT``,
            ``ID__CT`` and ``ID``, in ``Task 1`` or at the top).
        to_predict: of nnU-Net's layout take ``imagesTs`` where there is one.

    Raises:
        InputError: nothing of the kind is there, two cases share a name, or a file that is named does not exist.
    """
    text = str(data)
    if text.startswith(PHANTOM_PREFIX):
        number = text.removeprefix(PHANTOM_PREFIX)
        if not number.isdecimal() or not 1 <= int(number) <= 1_000_000:
            raise InputError(f"'{text}': say how many phantom patients there shall be, for instance phantom:40.")
        return [PhantomSource(seed) for seed in range(int(number))]
    path = Path(text).expanduser()
    if not path.exists():
        raise InputError(f"The data '{path}' do not exist. Give a folder, a CSV file or phantom:N.")
    listed = path / CASES_FILE
    if path.is_file():
        cases = _csv_cases(path)
    elif listed.is_file():
        cases = _csv_cases(listed)
    elif (path / "dataset.json").is_file():
        cases = _nnunet_cases(path, to_predict)
    else:
        cases = _hecktor_cases(path)
    if not cases:
        raise InputError(
            f"No case was found in '{path}'. Known layouts: HECKTOR (names like CHUM-001__PT.nii.gz, or "
            "CHUM001_pt.nii.gz), nnU-Net raw (dataset.json, imagesTr, labelsTr), or a CSV file with the columns "
            f"{', '.join(CSV_COLUMNS)}."
        )
    _require_unique(cases, path)
    return sorted(cases, key=lambda case: case.name)


def centre_of(name: str) -> str:
    """The letters before a number, as HECKTOR names its cases (CHUM-001, CHGJ007); "" where a name is otherwise."""
    found = _CENTRE.match(name)
    return found.group(1).upper() if found else ""


def _hecktor_cases(folder: Path) -> list[FileSource]:
    images: dict[str, dict[str, Path]] = {}
    labels: dict[str, Path] = {}
    top = next((folder / name for name in ("Task 1", "hecktor_nii") if (folder / name).is_dir()), folder)
    for path in sorted(top.rglob("*.nii*")):
        name = path.name
        if not is_image_file(path) or _OTHER.search(name):
            continue
        found = _IMAGE.match(name)
        if found and not re.search(r"_gtvt?\.nii", name, re.IGNORECASE):
            what = "ct" if found["what"].upper() == "CT" else "pet"
            _add(images.setdefault(_same(found["id"]), {"id": found["id"]}), what, path)
        elif other := _LABELS.match(name):
            _add(labels, _same(other["id"]), path)
    return [
        FileSource(
            name=found["id"],
            patient=found["id"],
            centre=centre_of(found["id"]),
            pet=found.get("pet"),
            ct=found.get("ct"),
            labels=labels.get(key),
        )
        for key, found in images.items()
    ]


def _same(name: str) -> str:
    """HECKTOR writes CHUM-001 and CHUM_001 for the same patient."""
    return name.upper().replace("_", "-")


def _add(files: dict, key: str, path: Path) -> None:
    if key in files:
        raise InputError(f"'{files[key]}' and '{path}' are the same image of one case. Give a folder that has it once.")
    files[key] = path


def _nnunet_cases(folder: Path, to_predict: bool) -> list[FileSource]:
    """Layout: https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md."""
    path = folder / "dataset.json"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        channels = {int(number): str(name) for number, name in about["channel_names"].items()}
        labels = {str(name): number for name, number in about["labels"].items()}
        ending = str(about["file_ending"])
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(
            f"'{path}' is not nnU-Net's ({type(error).__name__}: {error}): it needs channel_names, labels, file_ending."
        ) from error
    if ending not in SUFFIXES:
        raise InputError(f"The images of '{folder}' end in '{ending}'; read are {', '.join(SUFFIXES)}.")
    kinds = {number: image_of_channel(name, path) for number, name in channels.items()}
    if len(set(kinds.values())) != len(kinds):
        raise InputError(
            f"Two channels in '{path}' are the same image by their names ({', '.join(channels.values())}). Call them "
            "by what they are: PET, CT, and a second CT 'contrast-enhanced CT'."
        )
    values = label_meaning(labels, path)
    cases = []
    images = folder / ("imagesTs" if to_predict and (folder / "imagesTs").is_dir() else "imagesTr")
    for first in sorted(images.glob(f"*_0000{ending}")):
        name = first.name.removesuffix(f"_0000{ending}")
        files = {kind: first.with_name(f"{name}_{number:04d}{ending}") for number, kind in kinds.items()}
        for file in files.values():
            if not file.is_file():
                raise InputError(f"Case '{name}' lacks the channel '{file}'.")
        truth = folder / "labelsTr" / f"{name}{ending}"
        cases.append(
            FileSource(
                name=name,
                patient=name,
                centre=centre_of(name),
                pet=files.get("pet"),
                ct=files.get("ct"),
                ct_contrast=files.get("ct_contrast"),
                labels=truth if truth.is_file() else None,
                label_values=values,
                one_grid=True,
            )
        )
    return cases


def image_of_channel(name: str, where: Path) -> str:
    """``pet``, ``ct`` or ``ct_contrast`` for an nnU-Net channel name; raises :class:`InputError` for any other."""
    words = set(re.split(r"[^a-z]+", name.lower()))
    if {"pet", "pt", "suv", "suvbw"} & words:
        return "pet"
    if {"ct", "cect", "ncct"} & words:
        plain = {"non", "no", "without", "plain", "native", "noncontrast", "ncct"} & words
        return "ct_contrast" if {"cect", "contrast", "enhanced"} & words and not plain else "ct"
    raise InputError(f"The channel '{name}' in '{where}' is neither a PET nor a CT by its name; rename it there.")


def label_meaning(labels: dict[str, object], where: Path) -> tuple[tuple[int, int], ...]:
    """(value, class) for each label of nnU-Net's ``labels``, where it says primary tumour or node by its name.

    Raises :class:`InputError` for regions (several values a label) and when two labels mean the same.
    """
    pairs: dict[int, int] = {}
    for name, value in labels.items():
        if not isinstance(value, int):
            raise InputError(f"The label '{name}' in '{where}' is a region of several values; plain labels are needed.")
        meaning = 0 if value == 0 else 2 if _NODE.search(name) else 1 if _PRIMARY.search(name) else value
        if meaning and meaning in pairs.values():
            raise InputError(f"Two labels in '{where}' mean the same by their names ('{name}' is one). Rename one.")
        pairs[value] = meaning
    return tuple(pairs.items())


def _csv_cases(path: Path) -> list[FileSource]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = [c.strip().lower() for c in reader.fieldnames or []]
            reader.fieldnames = columns
            rows = [{k: (v or "").strip() for k, v in row.items() if k} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The CSV file '{path}' cannot be read: {error}.") from error
    if "case" not in columns or not {"pet", "ct"} & set(columns):
        raise InputError(
            f"The CSV file '{path}' has the columns {', '.join(columns) or 'none'}; it needs 'case' and 'pet' or 'ct' "
            f"(known: {', '.join(CSV_COLUMNS)})."
        )
    return [_csv_case(row, number, path) for number, row in enumerate(rows, 2)]


def _csv_case(row: dict[str, str], number: int, path: Path) -> FileSource:
    name = row.get("case", "")
    if not name or Path(name).name != name:
        raise InputError(f"Line {number} of '{path}' has the case name '{name}'; give one without slashes.")
    files: dict[str, Path | None] = {}
    for column in ("pet", "ct", "ct_contrast", "labels"):
        text = row.get(column, "")
        files[column] = (path.parent / Path(text).expanduser()) if text else None
        if files[column] is not None and not files[column].exists():
            raise InputError(f"Case '{name}' (line {number} of '{path}'): '{files[column]}' does not exist.")
    centre = row["centre"] if "centre" in row else centre_of(name)
    return FileSource(name, row.get("patient") or name, centre, **files)


def _require_unique(cases: Iterable[FileSource], where: Path) -> None:
    seen: set[str] = set()
    for case in cases:
        if case.name in seen:
            raise InputError(f"The case '{case.name}' is there twice in '{where}'. Give each a name of its own.")
        seen.add(case.name)
