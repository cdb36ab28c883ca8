"""Head and neck tumour delineation and total tumour burden from FDG-PET/CT.

The names below are loaded when they are first used, so that ``import HNTumorSegLib`` stays quick and pulls in
neither torch nor MONAI nor Slicer::

    from HNTumorSegLib import Delineator, lesions_from_delineation, measure, read_study

    study = read_study("patient/PET", "patient/CT")
    lesions = lesions_from_delineation(Delineator().delineate(study))
    print(measure(lesions, study.pet).ttb_ml)
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Delineation": "HNTumorSegLib.inference.delineation",
    "Delineator": "HNTumorSegLib.inference.delineator",
    "HNTumorSegError": "HNTumorSegLib.errors",
    "Lesion": "HNTumorSegLib.lesions.lesion",
    "LesionSet": "HNTumorSegLib.lesions.lesion_set",
    "Measurements": "HNTumorSegLib.measures.table",
    "ModelCard": "HNTumorSegLib.models.card",
    "Study": "HNTumorSegLib.study.study",
    "lesions_from_delineation": "HNTumorSegLib.lesions.from_labels",
    "lesions_from_labels": "HNTumorSegLib.lesions.from_labels",
    "list_models": "HNTumorSegLib.models.registry",
    "make_patient": "HNTumorSegLib.phantom",
    "measure": "HNTumorSegLib.measures.table",
    "read_study": "HNTumorSegLib.study.reader",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
