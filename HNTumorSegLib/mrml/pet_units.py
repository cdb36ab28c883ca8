"""What the values of a PET volume node are, and how they become SUVbw.

What a person said about a volume (a factor, or that it is SUVbw) is kept as attributes of its node, so it is saved
with the scene and never applied to another volume.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from HNTumorSegLib.errors import SuvError
from HNTumorSegLib.mrml import core_app

FACTOR_ATTRIBUTE = "HNTumorSeg.SuvFactor"
ORIGIN_ATTRIBUTE = "HNTumorSeg.SuvOrigin"
SUVBW_CODE = "{SUVbw}g/ml"
ACTIVITY_CODES = ("Bq/ml", "{counts}")
HIGHEST_SUV = 500.0
"""No voxel of an FDG-PET of head and neck reaches it; values above are Bq/ml or counts."""

BY_VOLUME, BY_PERSON, BY_FACTOR, BY_HEADER = "the volume", "a person", "a factor given by hand", "the DICOM header"


@dataclass(frozen=True)
class PetUnits:
    """How a volume's values become SUVbw.

    Attributes:
        factor: stored value times this is SUVbw in g/ml; None while nobody has said what the values are.
        origin: who says so; empty when nobody does.
        low, high: range of the stored values.
    """

    factor: float | None
    origin: str
    low: float
    high: float

    @property
    def suv_max(self) -> float | None:
        """Highest SUVbw in g/ml, None where it is not known."""
        return None if self.factor is None else self.high * self.factor

    def problem(self) -> str:
        """Why the values cannot be used as SUVbw, in one sentence group; empty when they can."""
        if self.factor is None:
            return (
                f"Nobody has said yet what the values of this PET ({self.low:.3g} to {self.high:.5g}) are. Confirm "
                "that they are SUVbw in g/ml, or give the factor that turns them into it."
            )
        if self.suv_max > HIGHEST_SUV:
            return (
                f"This PET is not in SUVbw: its highest value would be {self.suv_max:.5g} g/ml, and no tissue exceeds "
                f"{HIGHEST_SUV:g}. It is probably in Bq/ml: give the factor to SUVbw (weight in g / dose in Bq at scan "
                "time), or take it from the DICOM header."
            )
        return ""

    def require(self) -> float:
        """The factor; raises :class:`SuvError` with :meth:`problem` where there is one."""
        if self.problem():
            raise SuvError(self.problem())
        return self.factor


def pet_units(node: Any) -> PetUnits:
    """What is known about the values of a PET volume node."""
    low, high = _range(node)
    text = node.GetAttribute(FACTOR_ATTRIBUTE)
    if text:
        return PetUnits(float(text), node.GetAttribute(ORIGIN_ATTRIBUTE) or BY_PERSON, low, high)
    if says_suvbw(node):
        return PetUnits(1.0, BY_VOLUME, low, high)
    return PetUnits(None, "", low, high)


def says_suvbw(node: Any) -> bool:
    """Whether the volume itself states SUVbw, as Slicer's PET modules and this extension write it."""
    units = node.GetVoxelValueUnits()
    return units is not None and units.GetCodeValue() == SUVBW_CODE


def says_activity(node: Any) -> bool:
    """Whether the volume itself states Bq/ml or counts."""
    units = node.GetVoxelValueUnits()
    return units is not None and units.GetCodeValue() in ACTIVITY_CODES


def confirm_suvbw(node: Any, confirmed: bool = True) -> None:
    """Keep with the volume that a person says its values are SUVbw, or take that back.

    Raises :class:`SuvError`, and keeps nothing, when the values are plainly not SUV.
    """
    if not confirmed:
        forget(node)
        return
    low, high = _range(node)
    PetUnits(1.0, BY_PERSON, low, high).require()
    _keep(node, 1.0, BY_PERSON)


def set_factor(node: Any, factor: float, origin: str = BY_FACTOR) -> None:
    """Keep with the volume the factor from its values to SUVbw; raises :class:`SuvError` when it cannot be."""
    if not (math.isfinite(factor) and factor > 0):
        raise SuvError(f"The factor to SUVbw must be a number above 0, not {factor}.")
    low, high = _range(node)
    PetUnits(factor, origin, low, high).require()
    _keep(node, factor, origin)


def forget(node: Any) -> None:
    """Drop what was said about the volume's values."""
    node.RemoveAttribute(FACTOR_ATTRIBUTE)
    node.RemoveAttribute(ORIGIN_ATTRIBUTE)


def factor_from_headers(node: Any, database: Any = None) -> float:
    """Factor to SUVbw from the DICOM files a volume was loaded from.

    Args:
        node: a volume that Slicer's DICOM module loaded.
        database: ``slicer.dicomDatabase`` by default.

    Raises:
        SuvError: the volume does not come from DICOM, its files are gone, the header lacks what is needed, or the
            slices need different factors.
    """
    from HNTumorSegLib.study.dicom_series import scan_dicom
    from HNTumorSegLib.study.suv import suv_scale

    uids = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    if not uids:
        raise SuvError(
            f"The volume '{node.GetName()}' was not loaded from DICOM, so there is no header to compute SUV from. Give "
            "the factor to SUVbw, or load the DICOM series."
        )
    database = core_app.require_slicer().dicomDatabase if database is None else database
    files = [Path(path) for uid in uids if (path := database.fileForInstance(uid))]
    if len(files) < len(uids) or not all(path.is_file() for path in files):
        raise SuvError(
            f"The DICOM files of '{node.GetName()}' are no longer in Slicer's database. Import them again, or give the "
            "factor to SUVbw."
        )
    series = max(scan_dicom(files), key=lambda one: len(one.slices))
    factors = suv_scale([one.header for one in series.slices]).factors
    if max(factors) - min(factors) > 1e-3 * max(factors):
        raise SuvError(
            f"The slices of '{node.GetName()}' need different factors to SUVbw ({min(factors):.4g} to "
            f"{max(factors):.4g}), which one volume cannot have. Read the folder with 'hntumorseg run' instead."
        )
    return float(factors[0])


def _keep(node: Any, factor: float, origin: str) -> None:
    node.SetAttribute(FACTOR_ATTRIBUTE, repr(float(factor)))
    node.SetAttribute(ORIGIN_ATTRIBUTE, origin)


def _range(node: Any) -> tuple[float, float]:
    """Lowest and highest stored value; VTK keeps them until the voxels change."""
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        raise SuvError(f"The volume '{node.GetName()}' holds no voxels. Load it again.")
    low, high = image.GetScalarRange()
    return float(low), float(high)
