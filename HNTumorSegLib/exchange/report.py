"""``report.json``: where every number came from."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from HNTumorSegLib.errors import OutputError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.inference.delineation import Delineation
from HNTumorSegLib.lesions.lesion import PROPOSED
from HNTumorSegLib.lesions.lesion_set import LesionSet
from HNTumorSegLib.measures.table import Measurements
from HNTumorSegLib.study.study import SeriesInfo, Study

FORMAT_VERSION = 1
PACKAGES = (
    "hntumorseg",
    "numpy",
    "scipy",
    "SimpleITK",
    "pydicom",
    "torch",
    "monai",
    "safetensors",
    "matplotlib",
    "slicer-core",
)
IDENTIFIERS = ("path", "patient_id", "series_uid", "study_uid", "frame_of_reference_uid", "description")
"""Fields of :class:`SeriesInfo` that may point to a person."""


@dataclass(frozen=True)
class Report:
    """The report of one run; every field is made of plain JSON types, without NaN.

    Attributes:
        inputs: ``pet`` and ``ct`` (None without CT): modality, n_files, pixel_sha256, geometry, scanner; identifiers
            and paths only where asked for.
        provenance: source, units, method, suv_factor and the DICOM tags behind the SUV.
        model: name, version, recipe, licence, intended use, limitations and the SHA-256 of each weight file; None
            when no model ran.
        lesions: reference grid, their number, whether a person changed one, and each lesion with its record of edits.
        measurements: rows and totals as in ``lesions.csv``.
        timings_s: seconds by stage.
        agreement: agreement with a known truth, or None.
    """

    created_utc: str
    inputs: dict[str, Any]
    provenance: dict[str, Any]
    model: dict[str, Any] | None
    lesions: dict[str, Any]
    measurements: dict[str, Any] | None
    software: dict[str, str]
    device: str
    timings_s: dict[str, float]
    warnings: list[str]
    agreement: dict[str, Any] | None = None
    format_version: int = FORMAT_VERSION

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; ``agreement`` is left out where there is none."""
        fields = asdict(self)
        if self.agreement is None:
            del fields["agreement"]
        return fields

    def write(self, path: str | Path) -> Path:
        """Write strict JSON (UTF-8, no NaN); raises :class:`OutputError` when it cannot be written."""
        path = Path(path)
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        try:
            path.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"The report '{path}' cannot be written: {error.strerror}. Make room on the disk or choose another "
                "output folder."
            ) from error
        return path


def build_report(
    study: Study,
    lesion_set: LesionSet,
    measurements: Measurements | None = None,
    delineation: Delineation | None = None,
    *,
    timings_s: Mapping[str, float] | None = None,
    warnings: Sequence[str] = (),
    agreement: Mapping[str, float | None] | None = None,
    include_identifiers: bool = False,
) -> Report:
    """Collect what a reader needs to trace and repeat a result.

    Args:
        study: the images as read.
        lesion_set: the lesions, as proposed or corrected.
        measurements: their table.
        delineation: the model's answer; None when no model ran.
        timings_s: seconds by stage of the whole run; the delineation's own stages are added.
        warnings: further sentences; those of study, delineation and lesion set are added.
        agreement: with a known truth: ``dsc_union``, ``dsc_primary``, ``dsc_node``, ``ttb_ml``, ``ttb_true_ml``.
        include_identifiers: also write paths, patient and series identifiers.
    """
    infos = [info for info in (study.pet_info, study.ct_info) if info is not None]
    delineated = [] if delineation is None else delineation.warnings
    sentences = list(dict.fromkeys([*study.warnings, *delineated, *lesion_set.notes, *warnings]))
    if not include_identifiers:
        sentences = [_without_identifiers(sentence, infos) for sentence in sentences]
    return Report(
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        inputs={
            "pet": _input(study.pet_info, study.pet_geometry, include_identifiers),
            "ct": None
            if study.ct is None
            else _input(study.ct_info, Geometry.from_image(study.ct), include_identifiers),
        },
        provenance=_plain(asdict(study.provenance)),
        model=None if delineation is None else _model(delineation),
        lesions=_lesions(lesion_set, delineation),
        measurements=None
        if measurements is None
        else {name: _plain([asdict(row) for row in getattr(measurements, name)]) for name in ("rows", "totals")},
        software=software_versions(),
        device="" if delineation is None else delineation.device,
        timings_s=_plain({**({} if delineation is None else delineation.timings_s), **(timings_s or {})}),
        warnings=sentences,
        agreement=None if agreement is None else _plain(dict(agreement)),
    )


def write_report(report: Report, path: str | Path) -> Path:
    """Write a report; see :meth:`Report.write`."""
    return report.write(path)


def software_versions() -> dict[str, str]:
    """Versions of Python and of the packages a result may depend on, as installed; nothing is imported for it."""
    versions = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _input(info: SeriesInfo | None, geometry: Geometry, include_identifiers: bool) -> dict[str, Any]:
    fields = {} if info is None else asdict(info)
    if not include_identifiers:
        fields = {name: value for name, value in fields.items() if name not in IDENTIFIERS}
    return {**fields, "geometry": _geometry(geometry)}


def _geometry(geometry: Geometry) -> dict[str, Any]:
    return _plain({name: list(value) for name, value in asdict(geometry).items()})


def _model(delineation: Delineation) -> dict[str, Any]:
    card = delineation.card
    return {
        "name": card.name,
        "version": card.version,
        "recipe": card.recipe.name,
        "licence": card.licence,
        "training_data": card.training_data,
        "intended_use": card.intended_use,
        "limitations": card.limitations,
        "weights": [asdict(weights) for weights in card.weights],
        "mean_of": card.mean_of,
    }


def _lesions(lesion_set: LesionSet, delineation: Delineation | None) -> dict[str, Any]:
    volumes = lesion_set.volumes_ml()
    return {
        "reference": None if delineation is None else delineation.reference,
        "geometry": _geometry(lesion_set.geometry),
        "number": len(lesion_set),
        "changed_by_a_person": any(lesion.status != PROPOSED or lesion.history for lesion in lesion_set.lesions),
        "dropped_ml": lesion_set.dropped_ml,
        "list": [_plain({**asdict(lesion), "volume_ml": volumes[lesion.id]}) for lesion in lesion_set.lesions],
    }


def _plain(value: Any) -> Any:
    """As plain JSON types: numpy numbers as Python's, not-a-number and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (str, bool)) or value is None:
        return value
    if hasattr(value, "item"):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int) else str(value)


def _without_identifiers(sentence: str, infos: Sequence[SeriesInfo]) -> str:
    """A sentence with paths and identifiers of the inputs replaced by what they are."""
    for info in infos:
        for name in IDENTIFIERS:
            value = getattr(info, name)
            if len(value) > 2:  # shorter texts occur in ordinary words
                sentence = sentence.replace(value, f"<{info.modality} {name}>")
    return sentence
