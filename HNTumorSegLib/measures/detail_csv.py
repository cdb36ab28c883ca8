"""All measures as one CSV: the columns of ``lesions.csv`` first, the further ones after them, features at the end."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from HNTumorSegLib.measures.detail import DetailedMeasurements, LesionDetails
from HNTumorSegLib.measures.shape import Shape
from HNTumorSegLib.measures.suv import FurtherIndices
from HNTumorSegLib.measures.table import COLUMNS, cell
from HNTumorSegLib.measures.thresholds import RULES

_DECIMALS = {
    "surface_mm2": 2,
    "sphericity": 5,
    "asphericity_percent": 3,
    "largest_diameter_mm": 3,
    "nearest_lesion_mm": 3,
    "dmax_mm": 3,
    "midline_offset_mm": 1,
}
_OTHER_DECIMALS = 4

_INDICES = tuple(f.name for f in fields(FurtherIndices))
_SHAPE = tuple(f.name for f in fields(Shape))
_PLACE = ("nearest_lesion_mm", "dmax_mm", "midline_offset_mm", "laterality")
_THRESHOLDS = tuple(name for rule in RULES for name in (f"threshold_{rule}_suv", f"mtv_{rule}_ml", f"tlg_{rule}_g"))
FURTHER_COLUMNS = ("n_lesions", *_INDICES, *_SHAPE, *_PLACE, *_THRESHOLDS, "remarks")
"""Column names after those of ``lesions.csv``, in order."""


@dataclass(frozen=True)
class FeatureColumns:
    """Columns from elsewhere (radiomics): names in order, and each row's values by the row's id and the name."""

    names: Sequence[str] = ()
    values: Mapping[int | str, Mapping[str, float | str]] = field(default_factory=dict)


def detailed_csv(measured: DetailedMeasurements, features: FeatureColumns | None = None) -> str:
    """The table as text: comma, decimal point whatever the locale, empty cells where nothing is defined.

    Decimals as in ``lesions.csv`` for its columns and for every volume, SUV and TLG; features with all their digits.
    """
    features = features or FeatureColumns()
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *FURTHER_COLUMNS, *features.names])
    for row, details in zip(
        (*measured.table.rows, *measured.table.totals), (*measured.rows, *measured.totals), strict=True
    ):
        own = features.values.get(row.id, {})
        writer.writerow(
            [
                *(cell(row, name) for name in COLUMNS),
                *_further_cells(details),
                *(_feature(own.get(name)) for name in features.names),
            ]
        )
    return text.getvalue()


def _further_cells(details: LesionDetails) -> list[str]:
    cells = [str(details.n_lesions)]
    for part, names in ((details.further, _INDICES), (details.shape, _SHAPE), (details, _PLACE)):
        cells += [_number(name, getattr(part, name)) for name in names]
    for volume in details.thresholds:
        cells += [_number("", x) for x in (volume.threshold_suv, volume.volume_ml, volume.tlg_g)]
    return [*cells, "; ".join(details.remarks)]


def _number(name: str, value: float | str | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.{_DECIMALS.get(name, _OTHER_DECIMALS)}f}"


def _feature(value: float | str | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else repr(float(value))
