"""One case through any model: tumours on PET/CT with all that is known about them, other classes and CTs plainly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.geometry import image_from_array
from HNTumorSegLib.inference.tumour_classes import are_tumours, tumour_sentence
from HNTumorSegLib.lesions.codes import LABEL_NODE, LABEL_PRIMARY
from HNTumorSegLib.lesions.lesion_set import LesionSet
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.models.registry import resolve_model
from HNTumorSegLib.progress import ProgressCallback
from HNTumorSegLib.recipes.recipe import CT, NODE, PET

if TYPE_CHECKING:
    from HNTumorSegLib.inference.class_labels import ClassImages
    from HNTumorSegLib.study.study import Study
    from HNTumorSegLib.training.sources import FileSource


@dataclass(frozen=True)
class TumourFigures:
    """What was found in a case: numbers and volumes of lesions; SUV is None without a lesion, or without a PET."""

    primaries: int
    nodes: int
    primary_ml: float
    node_ml: float
    ttb_ml: float
    suv_max: float | None


@dataclass
class CaseAnswer:
    """A model's answer for one case.

    Attributes:
        labels: unsigned 8-bit; of tumours 0, 1 (primary) and 2 (node), else the model's own class numbers.
        tumours: figures of a model of tumours; None for others.
        volumes_ml: of a model of other classes: volume of each class but the background, in order.
        uncertainty: 32-bit float, 0 to 1, on the labels' grid; None where it was not asked for.
        spread: 32-bit float, 0 to 0.5, likewise; None where there was a single answer.
        notes: sentences for the user.
    """

    labels: sitk.Image
    tumours: TumourFigures | None = None
    volumes_ml: tuple[float, ...] = ()
    uncertainty: sitk.Image | None = None
    spread: sitk.Image | None = None
    notes: list[str] = field(default_factory=list)


class PetCtModel:
    """A model of tumours that reads a PET: :class:`HNTumorSegLib.inference.delineator.Delineator`."""

    usual_reference = PET
    """Whose grid the labels lie on where nobody says."""

    def __init__(self, folder: Path, device: str):
        from HNTumorSegLib.inference.delineator import Delineator

        self._delineator = Delineator(folder, device)
        self.card = self._delineator.card

    def answer(
        self, source: FileSource, reference: str | None, with_uncertainty: bool, progress: ProgressCallback
    ) -> CaseAnswer:
        """The case's answer; ``reference`` is ``pet`` (also None) or ``ct``."""
        from HNTumorSegLib.lesions.from_labels import lesions_from_delineation

        study = source.study()
        found = self._delineator.delineate(study, reference or self.usual_reference, progress)
        lesions = lesions_from_delineation(found, self.card.recipe.minimum_lesion_ml)
        answer = _tumours(lesions, study, [*study.warnings, *found.warnings, *lesions.notes])
        if with_uncertainty:
            answer.uncertainty, answer.spread = found.uncertainty, found.spread
        return answer


class ClassModel:
    """A model of other classes, or one that reads CTs: :class:`HNTumorSegLib.inference.class_labels.ClassLabeller`.

    Of tumours it makes lesions, as for any other model of tumours; where the case has a PET, they are measured on it
    and what is brain by the PET is taken out.
    """

    usual_reference = ""
    """The first image that the model reads."""

    def __init__(self, folder: Path, device: str):
        from HNTumorSegLib.inference.class_labels import ClassLabeller

        self._labeller = ClassLabeller(folder, device)
        self.card = self._labeller.card

    def answer(
        self, source: FileSource, reference: str | None, with_uncertainty: bool, progress: ProgressCallback
    ) -> CaseAnswer:
        """The case's answer; ``reference`` is ``pet``, ``ct``, or None: the first image that the model reads."""
        study = None if source.pet is None else source.study()
        images = source.images(study)
        on = reference or self.usual_reference or None
        found = self._labeller.answer(images, progress, on, with_uncertainty=with_uncertainty)
        answer = self._of_tumours(found, study) if are_tumours(self.card.classes) else self._of_classes(found)
        answer.uncertainty, answer.spread = found.uncertainty, found.spread
        return answer

    def _of_classes(self, found: ClassImages) -> CaseAnswer:
        voxel_ml = float(np.prod(found.labels.GetSpacing())) / 1000.0
        voxels = np.bincount(sitk.GetArrayViewFromImage(found.labels).ravel(), minlength=len(self.card.classes))
        return CaseAnswer(found.labels, volumes_ml=tuple(round(float(n) * voxel_ml, 4) for n in voxels[1:]))

    def _of_tumours(self, found: ClassImages, study: Study | None) -> CaseAnswer:
        from HNTumorSegLib.inference.after_network import judged
        from HNTumorSegLib.inference.region import find_head_neck
        from HNTumorSegLib.lesions.from_labels import lesions_from_labels

        labels = as_primary_and_node(found.labels, self.card.classes)
        if study is None:
            notes = [sentence for sentence in (tumour_sentence(self.card),) if sentence]
        else:
            labels, sentences = judged(labels, study, find_head_neck(study.pet), self.card, searched_all=True)
            notes = [*study.warnings, *sentences]
        lesions = lesions_from_labels(labels, self.card.recipe.minimum_lesion_ml)
        return _tumours(lesions, study, [*notes, *lesions.notes])


def model_for_cases(model: str | Path, device: str = "auto") -> PetCtModel | ClassModel:
    """The model, ready; one of tumours that reads a PET, and a plain CT at most beside it, is a :class:`PetCtModel`.

    Raises :class:`HNTumorSegLib.errors.ModelError` when model or device cannot be used.
    """
    folder = resolve_model(model)
    card = ModelCard.load(folder)
    reads = {channel.image for channel in card.recipe.channels}
    of_pet_ct = are_tumours(card.classes) and PET in reads and reads <= {PET, CT}
    return PetCtModel(folder, device) if of_pet_ct else ClassModel(folder, device)


def as_primary_and_node(labels: sitk.Image, classes: Sequence[str]) -> sitk.Image:
    """Class numbers of a model of tumours as 1 (primary, and what is not told apart) and 2 (node), on the same grid."""
    from HNTumorSegLib.geometry import Geometry

    meaning = np.array([0, *(LABEL_NODE if name == NODE else LABEL_PRIMARY for name in classes[1:])], np.uint8)
    return image_from_array(meaning[sitk.GetArrayViewFromImage(labels)], Geometry.from_image(labels))


def _tumours(lesions: LesionSet, study: Study | None, notes: list[str]) -> CaseAnswer:
    """Lesions with their figures: SUV only where there is a PET that reaches them."""
    from HNTumorSegLib.exchange.labels import label_image
    from HNTumorSegLib.measures.table import measure

    volumes = lesions.volumes_ml()
    suv_max = None
    if study is not None and len(lesions):
        try:
            suv_max = max(row.suv_max for row in measure(lesions, study.pet).rows if row.suv_max is not None)
        except InputError as error:  # on a CT's grid, a lesion may lie where the PET does not reach
            notes = [*notes, f"SUV was not measured: {error}"]
    of_kind = {kind: [volumes[x.id] for x in lesions.lesions if x.kind == kind] for kind in ("primary", "node")}
    figures = TumourFigures(
        len(of_kind["primary"]),
        len(of_kind["node"]),
        round(sum(of_kind["primary"]), 4),
        round(sum(of_kind["node"]), 4),
        round(sum(volumes.values()), 4),
        None if suv_max is None else round(suv_max, 4),
    )
    return CaseAnswer(label_image(lesions), figures, notes=[*notes, *([] if len(lesions) else ["No lesion."])])
