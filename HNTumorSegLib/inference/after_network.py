"""What is done with the labels of any tumour model on a PET, ours or imported: the brain rule, and what is told."""

from __future__ import annotations

from collections.abc import Sequence

import SimpleITK as sitk

from HNTumorSegLib.inference.further_primaries import call_further_primaries_nodes
from HNTumorSegLib.inference.further_primaries import sentence as further_primaries_sentence
from HNTumorSegLib.inference.not_brain import sentence as brain_sentence
from HNTumorSegLib.inference.not_brain import take_brain_out
from HNTumorSegLib.inference.outline import place_outlines
from HNTumorSegLib.inference.plausibility import implausible
from HNTumorSegLib.inference.region import HeadNeckRegion
from HNTumorSegLib.inference.to_reference import ReferenceImages
from HNTumorSegLib.inference.touching_kinds import sentence as touching_kinds_sentence
from HNTumorSegLib.inference.touching_kinds import settle_touching_kinds
from HNTumorSegLib.inference.tumour_classes import tumour_sentence
from HNTumorSegLib.inference.unsure import sentence as unsure_sentence
from HNTumorSegLib.inference.unsure import take_unsure_out
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.recipes.recipe import CT, Recipe
from HNTumorSegLib.study.study import Study

UPTAKE_MIN_SUV = 1.0
"""A tile whose highest SUV is below this is background: muscle and blood lie between 0.5 and 2."""


def judged(
    labels: sitk.Image,
    study: Study,
    region: HeadNeckRegion,
    card: ModelCard,
    remarks: Sequence[str] = (),
    *,
    searched_all: bool = False,
    highest_suv: float | None = None,
) -> tuple[sitk.Image, list[str]]:
    """The labels without what is brain, and all sentences for the user.

    Args:
        labels: unsigned 8-bit on any grid: 0 background, 1 primary tumour, 2 lymph-node metastasis.
        study: PET in SUVbw, CT in HU if there is one.
        region: what :func:`HNTumorSegLib.inference.region.find_head_neck` says of its PET.
        card: of a model whose classes are tumours.
        remarks: sentences about the run itself.
        searched_all: the network saw the whole scan, not the region alone, as imported models do.
        highest_suv: the highest value that was seen where tiles below :data:`UPTAKE_MIN_SUV` are skipped.

    Returns:
        The same image when nothing was taken out, else a new one; and the sentences in the order to be shown.
    """
    labels, in_brain = take_brain_out(labels, study.pet, region)
    sentences = [region.sentence(searched_all=searched_all), tumour_sentence(card), brain_sentence(in_brain)]
    if study.ct is None and any(channel.image == CT for channel in card.recipe.channels):
        sentences.append("There is no CT; the model ran on the PET alone, see its card for how well it does so.")
    if highest_suv is not None and highest_suv < UPTAKE_MIN_SUV:
        sentences.append(
            f"The highest SUV is {highest_suv:.2g}, below {UPTAKE_MIN_SUV:g}: nothing was searched. "
            "Check that the PET holds SUV."
        )
    return labels, [sentence for sentence in sentences if sentence] + list(remarks) + implausible(study, region)


def settled(
    labels: sitk.Image, images: ReferenceImages, recipe: Recipe, pet: sitk.Image
) -> tuple[sitk.Image, list[str]]:
    """The labels without what the model is not sure of, with one kind where parts touch, one primary, and outlines
    placed by the PET too, as the recipe says; and what to tell.

    Args:
        labels: unsigned 8-bit: 0 background, 1 primary tumour, 2 lymph-node metastasis.
        images: the probabilities, on the same grid.
        recipe: its ``minimum_certainty``, ``touching_kind_share``, ``further_primary_share``, ``outline_pet_weight``
            and ``minimum_lesion_ml``.
        pet: SUVbw, on any grid.
    """
    probabilities = images.primary, images.node
    smallest_ml = recipe.minimum_lesion_ml
    labels, unsure = take_unsure_out(labels, *probabilities, recipe.minimum_certainty, smallest_ml)
    labels, parts = settle_touching_kinds(labels, *probabilities, recipe.touching_kind_share, smallest_ml)
    labels, nodes = call_further_primaries_nodes(labels, *probabilities, recipe.further_primary_share, smallest_ml)
    labels = place_outlines(labels, *probabilities, pet, recipe.outline_pet_weight, smallest_ml)
    sentences = (
        unsure_sentence(unsure, recipe.minimum_certainty),
        touching_kinds_sentence(parts),
        further_primaries_sentence(nodes),
    )
    return labels, [sentence for sentence in sentences if sentence]
