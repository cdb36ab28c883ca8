"""The demonstration: a synthetic patient through the whole path, from DICOM on disk to the agreement with the truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.run import RunOptions, RunResult, run_into
from HNTumorSegLib.study.study import SeriesInfo

DICOM_FOLDER = "dicom"
FIRST_HELD_OUT_SEED = 1_000_000
"""Phantom patients from this seed on are never trained on (see :func:`HNTumorSegLib.phantom.make_patient`)."""


def run_demo(
    out: Path | str,
    seed: int = 0,
    *,
    model: str = "default",
    device: str = "auto",
    reference: str = "pet",
    scene: bool = True,
    progress: ProgressCallback = silent,
) -> RunResult:
    """Make a patient, write it as DICOM into ``out/dicom``, read that back, delineate it, compare with the truth.

    Args:
        out: folder for the results; all files appear in it together at the end, or none does.
        seed: which patient, 0 or more; the same seed gives the same patient. None of them was trained on.
        model, device, reference, scene: as in :class:`RunOptions`.
        progress: how far it is.

    Returns:
        The run's result with ``agreement``.
    """
    from HNTumorSegLib.exchange.output_folder import staged_output
    from HNTumorSegLib.phantom import make_patient
    from HNTumorSegLib.phantom.dicom_writer import write_dicom_study

    out = Path(out)
    with staged_output(out) as folder:
        progress(ProgressEvent("phantom", 0.0, f"drawing patient {seed}"))
        patient = make_patient(FIRST_HELD_OUT_SEED + seed)
        progress(ProgressEvent("phantom", 1.0))
        pet, ct = write_dicom_study(
            patient.study, folder / DICOM_FOLDER, patient_id=f"PHANTOM-{seed:04d}", progress=progress
        )
        options = RunOptions(pet=pet, ct=ct, out=out, model=model, device=device, reference=reference, scene=scene)
        remark = f"The patient is synthetic: phantom seed {FIRST_HELD_OUT_SEED + seed}, not used in training."
        result = run_into(folder, options, progress, patient.truth_on, [remark])
        written = {path.relative_to(folder) for path in (folder / DICOM_FOLDER).rglob("*.dcm")}
    _remove_stale(out, written)
    result.files = {path.name: out / path.name for path in result.files.values()}
    result.study.pet_info = _moved(result.study.pet_info, folder, out)
    result.study.ct_info = result.study.ct_info and _moved(result.study.ct_info, folder, out)
    return result


def _remove_stale(out: Path, written: set[Path]) -> None:
    """Remove slices of an earlier demo patient that had more of them: two patients must not lie in one folder."""
    for path in (out / DICOM_FOLDER).glob("*/??_[0-9][0-9][0-9][0-9].dcm"):
        if path.relative_to(out) not in written:
            path.unlink()


def _moved(info: SeriesInfo, staged: Path, out: Path) -> SeriesInfo:
    """The series where it lies in the end, not where it lay while the run lasted."""
    path = Path(info.path)
    return replace(info, path=str(out / path.relative_to(staged))) if path.is_relative_to(staged) else info
