"""From images on disk to lesions, numbers and files: the one code path of command line, batch script and demo."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import MissingPackageError
from HNTumorSegLib.evaluation.agreement import Agreement, agreement
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.inference.delineation import Delineation
from HNTumorSegLib.lesions.from_labels import lesions_from_delineation
from HNTumorSegLib.lesions.lesion_set import LesionSet
from HNTumorSegLib.measures.table import Measurements, measure
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.study.study import Study

SEGMENTATION_FILE = "segmentation.seg.nrrd"
LABELS_FILE = "labels.nii.gz"
TABLE_FILE = "lesions.csv"
SCENE_FILE = "scene.mrb"
OVERVIEW_FILE = "overview.png"
REPORT_FILE = "report.json"
UNCERTAINTY_FILE = "uncertainty.nii.gz"
SPREAD_FILE = "spread.nii.gz"

Truth = Callable[[Geometry], sitk.Image]
"""The true label image 0/1/2 on a given grid."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunOptions:
    """What to delineate and how.

    Attributes:
        pet, ct: DICOM folders or image files; without ``ct`` the CT in the PET's folder is taken, if there is one.
        out: folder for the results.
        model: a name from ``hntumorseg models list`` or a model folder.
        device: ``auto``, ``cpu`` or ``cuda``.
        reference: ``pet`` or ``ct``: whose grid the lesions lie on.
        pet_units: ``suv`` or ``bqml``: what a PET that is not DICOM holds.
        weight_kg, dose_bq, suv_factor: stand in for what the DICOM header lacks.
        pet_series, ct_series: which of several series to take.
        include_identifiers: paths and patient identifiers may stand in the report.
        scene: write a Slicer scene.
        uncertainty: write how unsure each voxel is, and how far the ensemble's networks and flips are apart.
    """

    pet: Path
    out: Path
    ct: Path | None = None
    model: str = "default"
    device: str = "auto"
    reference: str = "pet"
    pet_units: str | None = None
    weight_kg: float | None = None
    dose_bq: float | None = None
    suv_factor: float | None = None
    pet_series: str | None = None
    ct_series: str | None = None
    include_identifiers: bool = False
    scene: bool = True
    uncertainty: bool = False


@dataclass
class RunResult:
    """What a run found and wrote; ``files`` are the final paths by file name.

    ``delineation`` is without the probabilities, which nothing needs once the lesions are made.
    """

    study: Study
    delineation: Delineation
    lesion_set: LesionSet
    measurements: Measurements
    agreement: Agreement | None = None
    files: dict[str, Path] = field(default_factory=dict)
    timings_s: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def run(options: RunOptions, progress: ProgressCallback = silent) -> RunResult:
    """Read, delineate, measure, write.

    All files appear in ``options.out`` together at the end, or none does.

    Raises:
        HNTumorSegError: one sentence group for the user; nothing is left behind.
    """
    from HNTumorSegLib.exchange.output_folder import staged_output

    with staged_output(options.out) as folder:
        result = run_into(folder, options, progress)
    result.files = {path.name: Path(options.out) / path.name for path in result.files.values()}
    for name in (UNCERTAINTY_FILE, SPREAD_FILE):
        if name not in result.files:  # an earlier run's would be taken for this one's
            (Path(options.out) / name).unlink(missing_ok=True)
    return result


def run_into(
    folder: Path,
    options: RunOptions,
    progress: ProgressCallback = silent,
    truth: Truth | None = None,
    remarks: Sequence[str] = (),
) -> RunResult:
    """Like :func:`run`, into an existing folder.

    Args:
        folder: where the files go.
        options: as for :func:`run`; ``options.out`` is not used.
        progress: how far it is.
        truth: the truth, where it is known, for the agreement.
        remarks: sentences for the user that go before all others.
    """
    from HNTumorSegLib.inference.delineator import Delineator

    timings_s: dict[str, float] = {}
    with _stage("load", timings_s, progress):
        # Before anything is read: a wrong model must not be noticed only after minutes.
        delineator = Delineator(options.model, options.device)
    with _stage("read", timings_s, progress):
        study = _read(options, progress)
    with _stage("delineate", timings_s, progress):
        delineation = delineator.delineate(study, options.reference, progress)
    with _stage("measure", timings_s, progress):
        lesion_set = lesions_from_delineation(delineation, delineation.card.recipe.minimum_lesion_ml)
        measurements = measure(lesion_set, study.pet)
    warnings = [*remarks, *study.warnings, *delineation.warnings, *lesion_set.notes]
    if not len(lesion_set):
        warnings.append(nothing_found(study, delineation))
    if options.uncertainty:
        warnings += _write_uncertainty(folder, delineation)
    delineation = delineation.without_probabilities()
    result = RunResult(study, delineation, lesion_set, measurements, timings_s=timings_s, warnings=warnings)
    if truth is not None:
        result.agreement = agreement(_label_image(lesion_set), truth(lesion_set.geometry))
    _write(folder, options, result, progress)
    return result


@contextmanager
def _stage(name: str, timings_s: dict[str, float], progress: ProgressCallback) -> Iterator[None]:
    """Report a stage's begin and end and keep its time."""
    began = time.perf_counter()
    progress(ProgressEvent(name, 0.0))
    yield
    timings_s[name] = time.perf_counter() - began
    progress(ProgressEvent(name, 1.0))
    logger.info("%s: %.2f s", name, timings_s[name])


def _read(options: RunOptions, progress: ProgressCallback) -> Study:
    from HNTumorSegLib.study.reader import read_study

    return read_study(
        options.pet,
        options.ct,
        pet_units=options.pet_units,
        weight_kg=options.weight_kg,
        dose_bq=options.dose_bq,
        suv_factor=options.suv_factor,
        pet_series=options.pet_series,
        ct_series=options.ct_series,
        progress=progress,
    )


def nothing_found(study: Study, delineation: Delineation) -> str:
    """Why there is no lesion, with the numbers to judge it by."""
    images = (delineation.primary_probability, delineation.node_probability)
    highest = max(float(sitk.GetArrayViewFromImage(image).max()) for image in images)
    suv_max = float(np.nanmax(sitk.GetArrayViewFromImage(study.pet)))
    return (
        f"No lesion found: the highest tumour probability of any voxel is {highest:.3f} and the PET's SUVmax is "
        f"{suv_max:.2f}. Look at the images before you take this as an answer."
    )


def _label_image(lesion_set: LesionSet) -> sitk.Image:
    from HNTumorSegLib.exchange.labels import label_image

    return label_image(lesion_set)


def _write(folder: Path, options: RunOptions, result: RunResult, progress: ProgressCallback) -> None:
    """All output files; the report comes last and knows how long the others took."""
    from HNTumorSegLib.exchange.labels import write_labels
    from HNTumorSegLib.exchange.overview import write_overview
    from HNTumorSegLib.exchange.report import build_report, write_report
    from HNTumorSegLib.exchange.seg_nrrd import write_seg_nrrd

    study, lesion_set, measurements = result.study, result.lesion_set, result.measurements
    algorithm = f"{result.delineation.card.name} {result.delineation.card.version}"
    with _stage("write", result.timings_s, progress):
        jobs: list[tuple[str, Callable[[Path], object]]] = [
            (SEGMENTATION_FILE, lambda path: write_seg_nrrd(lesion_set, path, algorithm_name=algorithm)),
            (LABELS_FILE, lambda path: write_labels(lesion_set, path)),
            (TABLE_FILE, measurements.to_csv),
            (OVERVIEW_FILE, lambda path: write_overview(study, lesion_set, measurements, path)),
        ]
        if options.scene:
            jobs.append((SCENE_FILE, lambda path: _write_scene(result, path, algorithm)))
        for number, (name, job) in enumerate(jobs):
            progress(ProgressEvent("write", number / (len(jobs) + 1), name))
            job(folder / name)
    report = build_report(
        study,
        lesion_set,
        measurements,
        result.delineation,
        timings_s=result.timings_s,
        warnings=result.warnings,
        agreement=None if result.agreement is None else asdict(result.agreement),
        include_identifiers=options.include_identifiers,
    )
    write_report(report, folder / REPORT_FILE)
    result.files = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}


def _write_uncertainty(folder: Path, delineation: Delineation) -> list[str]:
    """Both images on the reference grid; a sentence where there is no spread."""
    from HNTumorSegLib.exchange.image_file import write_image

    write_image(delineation.uncertainty, folder / UNCERTAINTY_FILE)
    if delineation.spread is not None:
        write_image(delineation.spread, folder / SPREAD_FILE)
        return []
    return [
        f"No {SPREAD_FILE} was written: model '{delineation.card.name}' gives a single answer, neither of several "
        "networks nor of flips."
    ]


def _write_scene(result: RunResult, path: Path, algorithm: str) -> None:
    """The scene, or a sentence about what it would take."""
    from HNTumorSegLib.mrml.save import save_scene

    try:
        save_scene(result.study, result.lesion_set, result.measurements, path, algorithm_name=algorithm)
    except MissingPackageError as error:
        result.warnings.append(f"No {path.name} was written. {error}")
