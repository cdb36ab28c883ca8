"""From a PET and somebody's segmentation to the table of all measures: the one code path of ``hntumorseg measure``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from HNTumorSegLib.errors import GeometryError, OutputError
from HNTumorSegLib.exchange.lesion_file import ReadLesions, read_lesions
from HNTumorSegLib.exchange.segments import KindRule
from HNTumorSegLib.geometry import overlap_fraction
from HNTumorSegLib.lesions.lesion_set import LesionSet
from HNTumorSegLib.measures.detail import DetailedMeasurements, measure_in_detail
from HNTumorSegLib.measures.detail_csv import FeatureColumns, detailed_csv
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.study.study import Study


@dataclass(frozen=True)
class MeasureOptions:
    """What to measure.

    Attributes:
        segmentation: see :func:`lesion_file.read_lesions`.
        out: the CSV file.
        rules: what the user says about the kinds of segments.
        split: make each connected structure of a segment a lesion of its own.
        radiomics: radiomic features on PET and CT as further columns.
        radiomics_settings: file of their settings; None for those that ship.
    """

    segmentation: Path
    out: Path
    rules: Sequence[KindRule] = ()
    split: bool = False
    radiomics: bool = False
    radiomics_settings: Path | None = None


@dataclass
class MeasureResult:
    """What was measured; ``problems`` are what is wrong with the input, ``notes`` what was decided."""

    lesion_set: LesionSet
    measured: DetailedMeasurements
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def measure_study(study: Study, options: MeasureOptions, progress: ProgressCallback = silent) -> MeasureResult:
    """Read the segmentation, measure all of it, write the table.

    A lesion that cannot be measured is named in ``problems``; its row has no SUV and the rest goes on. The table is
    written whole or not at all.

    Raises:
        HNTumorSegError: one sentence group for the user; nothing was written.
    """
    _require_writable(options.out)
    read = read_lesions(options.segmentation, study, options.rules, split=options.split)
    _require_overlap(read.lesion_set, study, options.segmentation)
    progress(ProgressEvent("measure", 0.0))
    measured = measure_in_detail(read.lesion_set, study.pet)
    progress(ProgressEvent("measure", 1.0))
    result = MeasureResult(read.lesion_set, measured)
    features = _radiomics(read.lesion_set, study, options, result, progress) if options.radiomics else None
    result.notes[:0] = [*study.warnings, *read.lesion_set.notes, *_own_notes(read, measured, options)]
    result.problems += [*measured.problems, *_repeated(read, options)]
    _write(options.out, detailed_csv(measured, features))
    return result


def _require_overlap(lesion_set: LesionSet, study: Study, path: Path) -> None:
    """Refuse lesions that all lie outside the PET."""
    parts = [
        lesion_set.geometry.crop(tuple(s.start for s in box[::-1]), tuple(s.stop - s.start for s in box[::-1]))
        for box in lesion_set.boxes().values()
    ]
    if parts and all(overlap_fraction(part, study.pet_geometry) == 0 for part in parts):
        low, high = study.pet_geometry.bounds_mm()
        centre = parts[0].to_lps([(n - 1) / 2 for n in parts[0].size])
        raise GeometryError(
            f"No lesion of '{path.name}' lies in the PET: '{lesion_set.lesions[0].name}' is at "
            f"({', '.join(f'{x:.0f}' for x in centre)}) mm, the PET reaches from "
            f"({', '.join(f'{x:.0f}' for x in low)}) to ({', '.join(f'{x:.0f}' for x in high)}) mm (LPS). Give the "
            "segmentation of this scan."
        )


def _own_notes(read: ReadLesions, measured: DetailedMeasurements, options: MeasureOptions) -> list[str]:
    """What the user should know about the numbers."""
    notes = []
    if not any(row.n_lesions for row in measured.rows):
        notes.append(f"There is no lesion in '{options.segmentation.name}': all volumes are 0.")
    elif measured.midline.reason:
        notes.append(f"The side of the lesions is unknown: {measured.midline.reason}.")
    leaking = [row.name for row, d in zip(measured.table.rows, measured.rows, strict=True) if _leaks(d.remarks)]
    if leaking:
        notes.append(
            f"Thresholds that run into the surroundings of {', '.join(leaking)} have no volume (empty cells; see "
            "remarks)."
        )
    return notes


def _leaks(remarks: Sequence[str]) -> bool:
    return any(remark.startswith("leaks") for remark in remarks)


def _repeated(read: ReadLesions, options: MeasureOptions) -> list[str]:
    return [
        f"The name '{name}' stands more than once in '{options.segmentation.name}'; the others have a number behind it "
        "in the table. Give each segment a name of its own."
        for name in read.repeated_names
    ]


def _radiomics(
    lesion_set: LesionSet, study: Study, options: MeasureOptions, result: MeasureResult, progress: ProgressCallback
) -> FeatureColumns:
    """Radiomic features as columns: ``pet_...`` and ``ct_...``, the hash of the settings behind each image's."""
    from HNTumorSegLib.measures.radiomics import radiomics_table
    from HNTumorSegLib.measures.radiomics_settings import RadiomicsSettings

    given = options.radiomics_settings
    settings = RadiomicsSettings.default() if given is None else RadiomicsSettings.load(given)
    images = {"pet": study.pet} | ({} if study.ct is None else {"ct": study.ct})
    names: dict[str, None] = {}
    values: dict[int | str, dict[str, float | str]] = {}
    for row in radiomics_table(lesion_set, images, settings, progress):
        own = values.setdefault(row.id, {})
        found = {f"{row.image}_{name}": value for name, value in row.features.items()}
        found[f"{row.image}_settings_hash"] = row.settings_hash
        names.update(dict.fromkeys(found))
        own.update({name: value for name, value in found.items() if value is not None})
        if row.note and isinstance(row.id, int):
            result.problems.append(f"Radiomics: {row.note}")
    return FeatureColumns(sorted(names, key=lambda n: (n.partition("_")[0] != "pet", n.endswith("_hash"))), values)


def _require_writable(path: Path) -> None:
    """Notice a missing folder before the work, not after it."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        reason = "it is a folder" if path.is_dir() else f"the folder '{path.absolute().parent}' does not exist"
        raise OutputError(
            f"The table '{path}' cannot be written: {reason}. Give the name of a CSV file in a folder there is."
        )


def _write(path: Path, text: str) -> None:
    """Put the file there whole: beside its place first, then in it."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="")
        part.replace(path)
    except OSError as error:
        raise OutputError(
            f"The table '{path}' cannot be written: {error.strerror}. Choose a folder with free space that you may "
            "write to."
        ) from error
    finally:
        part.unlink(missing_ok=True)
