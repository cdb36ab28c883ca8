"""The results as files of a folder, as the command line writes them, and the scene to go on with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

from HNTumorSegLib.exchange.labels import write_labels
from HNTumorSegLib.exchange.output_folder import staged_output
from HNTumorSegLib.exchange.report import build_report, write_report
from HNTumorSegLib.exchange.seg_nrrd import write_seg_nrrd
from HNTumorSegLib.mrml.save import save_whole_scene
from HNTumorSegLib.mrml.study_nodes import study_from_nodes
from HNTumorSegLib.run import LABELS_FILE, OVERVIEW_FILE, REPORT_FILE, SCENE_FILE, SEGMENTATION_FILE, TABLE_FILE
from HNTumorSegPanels import packages
from HNTumorSegPanels.parameters import Origin


@dataclass(frozen=True)
class Saved:
    """What was written.

    Attributes:
        files: by name.
        left_out: names of the nodes that the scene file does not hold.
    """

    files: list[Path]
    left_out: list[str]


def save(segmentation: Any, lesion_set: Any, measurements: Any, pet: Any, folder: str) -> Saved:
    """Write segmentation, label image, table, overview picture, report and the whole scene; all of them or none.

    Args:
        segmentation: the vtkMRMLSegmentationNode, which knows the CT and the model.
        lesion_set: its lesions.
        measurements: their table.
        pet: the PET they were measured in.
        folder: made when it is not there.

    Without matplotlib there is no overview picture.

    Raises:
        OutputError: the folder cannot be written.
        InputError: the PET is no longer in the scene, or its values are not SUVbw.
    """
    origin = Origin(segmentation)
    study = study_from_nodes(pet, origin.ct, with_sha256=True)
    algorithm = origin.model or "HNTumorSeg"
    with staged_output(folder) as place:
        write_seg_nrrd(lesion_set, place / SEGMENTATION_FILE, algorithm_name=algorithm)
        write_labels(lesion_set, place / LABELS_FILE)
        measurements.to_csv(place / TABLE_FILE)
        if not packages.missing(("matplotlib",)):
            from HNTumorSegLib.exchange.overview import write_overview

            write_overview(study, lesion_set, measurements, place / OVERVIEW_FILE)
        notes = [*origin.notes, f"Model: {origin.model}, computed on {origin.device}."] if origin.model else []
        write_report(build_report(study, lesion_set, measurements, warnings=notes), place / REPORT_FILE)
        left_out = save_whole_scene(slicer.mrmlScene, place / SCENE_FILE)
        names = sorted(path.name for path in place.iterdir())
    return Saved([Path(folder) / name for name in names], left_out)
