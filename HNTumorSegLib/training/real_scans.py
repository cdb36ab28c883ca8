"""What a model trained on synthetic patients does on real scans: the watch that keeps it from learning the phantom.

Two kinds of freely available scans are looked at: soft-tissue sarcomas of the limbs with a contour (a hot mass that
must be found and outlined, whatever it is called), and a whole-body PET whose head and neck are healthy (nothing must
be found there). Neither is head-and-neck cancer: the figures compare models, they do not tell how good one is.

Data: Vallieres et al., Phys Med Biol 2015;60:5471 (Soft-tissue-Sarcoma collection of The Cancer Imaging Archive),
converted to one folder a patient with ``PET_image``, ``CT_image`` and ``PET_mask``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import fmean

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.lesions.from_labels import lesions_from_delineation
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.study.reader import read_study
from HNTumorSegLib.study.study import Study

HOT_SHARE = 0.41
"""The part of a contour above this share of its SUVmax is what PET can show of it (EANM 2015: 41 %)."""


@dataclass(frozen=True)
class SarcomaFinding:
    """One sarcoma: agreement of all that was delineated with the hot part of the contour, and volumes.

    Attributes:
        case: name of the folder.
        with_ct: whether the CT was given.
        suv_max: of the contour, g/ml.
        dsc_hot: Dice with the contour's part above :data:`HOT_SHARE` of its SUVmax.
        hot_ml, delineated_ml, outside_ml: that part, all that was delineated, and what of it lies beyond the contour.
    """

    case: str
    with_ct: bool
    suv_max: float
    dsc_hot: float
    hot_ml: float
    delineated_ml: float
    outside_ml: float


@dataclass(frozen=True)
class RealScans:
    """Findings on the sarcomas, and the lesions (volume_ml, suv_max) found in the healthy head and neck."""

    sarcomas: tuple[SarcomaFinding, ...]
    healthy_lesions: tuple[tuple[float, float], ...]

    def summary(self) -> dict[str, float]:
        """Mean Dice on the sarcomas with and without CT, volume beyond them, and what was found where nothing is."""
        figures = {}
        for name, with_ct in (("pet_ct", True), ("pet", False)):
            found = [f for f in self.sarcomas if f.with_ct == with_ct]
            if found:
                figures[f"sarcoma_dsc_{name}"] = fmean(f.dsc_hot for f in found)
                figures[f"sarcoma_outside_ml_{name}"] = fmean(f.outside_ml for f in found)
        figures["healthy_lesions"] = float(len(self.healthy_lesions))
        figures["healthy_ml"] = sum(volume for volume, _ in self.healthy_lesions)
        return {name: round(value, 3) for name, value in figures.items()}


def look_at_real_scans(
    delineator: Delineator, sarcomas: Path | None, healthy: Path | None, progress: ProgressCallback = silent
) -> RealScans:
    """Delineate them all.

    Args:
        delineator: the model.
        sarcomas: folder of patient folders; None leaves them out.
        healthy: DICOM folder of a whole-body PET; None leaves it out.
        progress: how far it is.

    Raises:
        InputError: a folder holds no such scans.
    """
    findings: list[SarcomaFinding] = []
    if sarcomas is not None:
        folders = _sarcoma_folders(sarcomas)
        for done, folder in enumerate(folders, 1):
            findings += _sarcoma(delineator, folder)
            progress(ProgressEvent("real scans", done / (len(folders) + 1), folder.name))
    lesions = () if healthy is None else tuple(_lesions(delineator, read_study(healthy, "none")))
    progress(ProgressEvent("real scans", 1.0, f"{len(lesions)} lesions where there are none"))
    return RealScans(tuple(findings), lesions)


def check_folders(sarcomas: Path | None, healthy: Path | None) -> None:
    """Raise :class:`InputError` at once for a folder that :func:`look_at_real_scans` would refuse an hour later."""
    if sarcomas is not None:
        _sarcoma_folders(sarcomas)
    if healthy is not None and not Path(healthy).is_dir():
        raise InputError(f"'{healthy}' is no folder. Give the DICOM folder of a whole-body PET.")


def _sarcoma_folders(sarcomas: Path) -> list[Path]:
    folders = sorted(path.parent for path in Path(sarcomas).glob("*/PET_image.nii.gz"))
    if not folders:
        raise InputError(f"'{sarcomas}' holds no folder with PET_image.nii.gz. Give the folder of patient folders.")
    return folders


def _sarcoma(delineator: Delineator, folder: Path) -> Iterator[SarcomaFinding]:
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "PET_mask.nii.gz"))) > 0
    for with_ct in (True, False):
        ct = folder / "CT_image.nii.gz" if with_ct else "none"
        study = read_study(folder / "PET_image.nii.gz", ct, pet_units="suv")
        suv = sitk.GetArrayViewFromImage(study.pet)
        suv_max = float(suv[mask].max())
        hot = mask & (suv > HOT_SHARE * suv_max)
        found = sitk.GetArrayViewFromImage(delineator.delineate(study).labels) > 0
        voxel_ml = study.pet_geometry.voxel_volume_ml
        yield SarcomaFinding(
            case=folder.name,
            with_ct=with_ct,
            suv_max=suv_max,
            dsc_hot=2 * np.count_nonzero(found & hot) / (np.count_nonzero(found) + np.count_nonzero(hot)),
            hot_ml=np.count_nonzero(hot) * voxel_ml,
            delineated_ml=np.count_nonzero(found) * voxel_ml,
            outside_ml=np.count_nonzero(found & ~mask) * voxel_ml,
        )


def _lesions(delineator: Delineator, study: Study) -> Iterator[tuple[float, float]]:
    from HNTumorSegLib.measures.table import measure

    rows = measure(lesions_from_delineation(delineator.delineate(study)), study.pet).rows
    yield from ((row.volume_ml, row.suv_max) for row in rows)


def table_rows(scans: RealScans) -> list[list[str]]:
    """Header and one row a sarcoma and reading, as text."""
    header = [field.name for field in fields(SarcomaFinding)]
    rows = [[getattr(f, name) for name in header] for f in scans.sarcomas]
    return [header, *[[f"{v:.2f}" if isinstance(v, float) else str(v) for v in row] for row in rows]]
