"""The codes of primary tumour and nodal metastasis, made known to Slicer's terminology selector."""

from __future__ import annotations

from pathlib import Path

import slicer

SEGMENTS, ANATOMY = "HNTumorSeg.term.json", "HNTumorSeg-anatomy.term.json"


def load(folder: str) -> list[str]:
    """Load both files of a folder; returns the names of the contexts, none where Slicer has no terminologies."""
    module = getattr(slicer.modules, "terminologies", None)
    if module is None:
        return []
    logic = module.logic()
    # Slicer 5.10 and before call the second one anatomic.
    load_anatomy = getattr(logic, "LoadRegionContextFromFile", None) or logic.LoadAnatomicContextFromFile
    names = [logic.LoadTerminologyFromFile(str(Path(folder) / SEGMENTS)), load_anatomy(str(Path(folder) / ANATOMY))]
    return [name for name in names if name]
