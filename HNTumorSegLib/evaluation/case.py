"""One patient (or one organ of a patient): every figure of a delineation beside its reference."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.evaluation.classification import VoxelClassification, classify_voxels
from HNTumorSegLib.evaluation.detection import Detection, detect, without_small_structures
from HNTumorSegLib.evaluation.overlap import OverlapCounts
from HNTumorSegLib.evaluation.surface import SurfaceFigures, surface_figures
from HNTumorSegLib.evaluation.tolerances import Tolerances
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.lesions.codes import LABEL_NODE, LABEL_PRIMARY, NODE, PRIMARY
from HNTumorSegLib.lesions.from_labels import MINIMUM_LESION_ML
from HNTumorSegLib.lesions.lesion_set import Box, box_of_nonzero

UNION = "union"
LABELS, MASK = (0, LABEL_PRIMARY, LABEL_NODE), (0, 1)
MEANINGS = {LABELS: "0, 1 (primary tumour) and 2 (lymph-node metastasis)", MASK: "0 and 1 (the structure)"}
TARGETS = (PRIMARY, NODE, UNION)
"""Target volumes in the order of Nikulin's tables."""


@dataclass(frozen=True)
class EvaluationSettings:
    """What the figures depend on besides the delineations.

    ``minimum_lesion_ml``: connected structures below it are left out on both sides (Nikulin et al. 2023); 0 keeps all.
    """

    minimum_lesion_ml: float = MINIMUM_LESION_ML
    tolerances: Tolerances = field(default_factory=Tolerances)


@dataclass(frozen=True)
class EvaluationCase:
    """Two label images (0 background, 1 primary tumour, 2 lymph-node metastasis) of one patient on the same grid.

    The sources (paths, usually) and the notes (sentences about how the images were read) are only shown.
    """

    name: str
    truth: sitk.Image
    predicted: sitk.Image
    truth_source: str = ""
    predicted_source: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StructureCase:
    """Two masks (0 and 1) of one organ of one patient on the same grid."""

    name: str
    structure: str
    truth: sitk.Image
    predicted: sitk.Image
    truth_source: str = ""
    predicted_source: str = ""


@dataclass(frozen=True)
class TargetEvaluation:
    """One target volume of one patient; ``detection`` of the union is the sum over both classes."""

    overlap: OverlapCounts
    surface: SurfaceFigures
    detection: Detection

    @property
    def dsc(self) -> float | None:
        """Individual DSC; None when both delineations are empty."""
        return self.overlap.dsc


@dataclass(frozen=True)
class CaseEvaluation:
    """One patient in numbers; no image is kept."""

    name: str
    primary: TargetEvaluation
    node: TargetEvaluation
    union: TargetEvaluation
    classification: VoxelClassification
    voxel_ml: float
    left_out_true_ml: float
    left_out_predicted_ml: float
    truth_source: str = ""
    predicted_source: str = ""
    notes: tuple[str, ...] = ()

    def target(self, name: str) -> TargetEvaluation:
        """By the name in :data:`TARGETS`."""
        return {PRIMARY: self.primary, NODE: self.node, UNION: self.union}[name]

    @property
    def ttb_true_ml(self) -> float:
        """Total tumour burden of the reference."""
        return self.union.overlap.true_ml

    @property
    def ttb_predicted_ml(self) -> float:
        """Total tumour burden of the delineation."""
        return self.union.overlap.predicted_ml


@dataclass(frozen=True)
class StructureEvaluation:
    """One organ of one patient in numbers."""

    name: str
    structure: str
    overlap: OverlapCounts
    surface: SurfaceFigures
    truth_source: str = ""
    predicted_source: str = ""

    @property
    def dsc(self) -> float | None:
        """Individual DSC; None when both masks are empty."""
        return self.overlap.dsc


def evaluate_case(case: EvaluationCase, settings: EvaluationSettings | None = None) -> CaseEvaluation:
    """Compare one patient's delineation with its reference.

    Raises:
        InputError: a label other than 0, 1 and 2, or NaN; the message says on which side.
        GeometryError: the images are not on the same grid.
    """
    settings = settings or EvaluationSettings()
    geometry, predicted, truth = _paired(case, "labels", LABELS)
    smallest = settings.minimum_lesion_ml / geometry.voxel_volume_ml
    truth, n_true = without_small_structures(truth, (LABEL_PRIMARY, LABEL_NODE), smallest)
    predicted, n_predicted = without_small_structures(predicted, (LABEL_PRIMARY, LABEL_NODE), smallest)
    masks = {
        PRIMARY: (predicted == LABEL_PRIMARY, truth == LABEL_PRIMARY),
        NODE: (predicted == LABEL_NODE, truth == LABEL_NODE),
        UNION: (predicted > 0, truth > 0),
    }
    detections = {kind: detect(*masks[kind]) for kind in (PRIMARY, NODE)}
    detections[UNION] = detections[PRIMARY] + detections[NODE]
    targets = {
        name: TargetEvaluation(
            overlap_counts(*pair, geometry.voxel_volume_ml),
            surface_figures(*pair, geometry.spacing_zyx_mm, settings.tolerances.of(name)),
            detections[name],
        )
        for name, pair in masks.items()
    }
    return CaseEvaluation(
        name=case.name,
        primary=targets[PRIMARY],
        node=targets[NODE],
        union=targets[UNION],
        classification=classify_voxels(predicted, truth),
        voxel_ml=geometry.voxel_volume_ml,
        left_out_true_ml=n_true * geometry.voxel_volume_ml,
        left_out_predicted_ml=n_predicted * geometry.voxel_volume_ml,
        truth_source=case.truth_source,
        predicted_source=case.predicted_source,
        notes=case.notes,
    )


def evaluate_structure(case: StructureCase, settings: EvaluationSettings | None = None) -> StructureEvaluation:
    """Compare one organ's mask with its reference; raises like :func:`evaluate_case` (values other than 0 and 1)."""
    settings = settings or EvaluationSettings()
    geometry, predicted, truth = _paired(case, "mask values", MASK)
    pair = (predicted > 0, truth > 0)
    return StructureEvaluation(
        name=case.name,
        structure=case.structure,
        overlap=overlap_counts(*pair, geometry.voxel_volume_ml),
        surface=surface_figures(*pair, geometry.spacing_zyx_mm, settings.tolerances.of(case.structure)),
        truth_source=case.truth_source,
        predicted_source=case.predicted_source,
    )


def overlap_counts(predicted: np.ndarray, truth: np.ndarray, voxel_ml: float) -> OverlapCounts:
    """Volumes of two boolean masks of the same shape and of what they have in common."""
    return OverlapCounts(
        int(np.count_nonzero(predicted & truth)) * voxel_ml,
        int(np.count_nonzero(predicted)) * voxel_ml,
        int(np.count_nonzero(truth)) * voxel_ml,
    )


def _paired(
    case: EvaluationCase | StructureCase, what: str, allowed: tuple[int, ...]
) -> tuple[Geometry, np.ndarray, np.ndarray]:
    """Grid, and both arrays as 8-bit integers cut to the box around everything (predicted, truth)."""
    geometry = Geometry.from_image(case.truth)
    geometry.require_same(Geometry.from_image(case.predicted), f"True and predicted {what}")
    arrays, boxes = [], []
    for image, side in ((case.predicted, "predicted"), (case.truth, "true")):
        array = sitk.GetArrayViewFromImage(image)
        _require_values(array, f"The {side} {what}", allowed)
        arrays.append(array)
        boxes.append(box_of_nonzero(array))
    box = _joint_box(boxes)
    predicted, truth = (array[box].astype(np.uint8) for array in arrays)
    return geometry, predicted, truth


def _joint_box(boxes: list[Box | None]) -> Box:
    """The box around all boxes; a single voxel where there is none."""
    found = [box for box in boxes if box is not None]
    if not found:
        return (slice(0, 1),) * 3
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*found, strict=True))


def _require_values(array: np.ndarray, what: str, allowed: tuple[int, ...]) -> None:
    """Raise :class:`InputError` that names the first value with no meaning; slab by slab, so memory stays flat."""
    for slab in array:
        if slab.dtype.kind in "iub":
            if slab.min() >= 0 and slab.max() <= allowed[-1]:
                continue
        elif np.isin(slab, allowed).all():
            continue
        values = np.unique(slab)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise InputError(f"{what} hold NaN or infinite values. Export them again as whole numbers.")
        strange = next(value for value in values.tolist() if value not in allowed)
        raise InputError(f"{what} hold the value {strange:g}; only {MEANINGS[allowed]} have a meaning.")
