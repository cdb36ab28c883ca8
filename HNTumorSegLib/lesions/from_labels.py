"""From a label image to lesions: connected structures, the smallest volume, names and scores."""

from __future__ import annotations

import heapq
import logging
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.errors import LesionError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.inference.delineation import Delineation
from HNTumorSegLib.lesions.codes import KIND_OF_LABEL, LABEL_NODE, LABEL_PRIMARY
from HNTumorSegLib.lesions.lesion import Lesion
from HNTumorSegLib.lesions.lesion_set import Box, LesionSet, box_of_nonzero

MINIMUM_LESION_ML = 0.1
"""Structures below this volume are left out (Nikulin et al. 2023, "ROIs with volumes < 0.1 ml were excluded")."""

NEIGHBOURHOOD = np.ones((3, 3, 3), bool)
"""Voxels that share a face, an edge or a corner belong together (26-connectivity)."""

_VOLUME_TOLERANCE_ML = 1e-9
_LARGEST_ID = np.iinfo(np.uint16).max

logger = logging.getLogger(__name__)


@dataclass
class _Structure:
    """One connected piece of one class: its class, its piece numbers and the index of its first voxel."""

    label: int
    pieces: list[int]
    voxels: int
    first: int


def lesions_from_delineation(delineation: Delineation, minimum_lesion_ml: float = MINIMUM_LESION_ML) -> LesionSet:
    """The lesions of a model's answer, on its grid; see :func:`lesions_from_labels`."""
    return lesions_from_labels(
        delineation.labels,
        minimum_lesion_ml,
        delineation.primary_probability,
        delineation.node_probability,
    )


def lesions_from_labels(
    labels: sitk.Image,
    minimum_lesion_ml: float = MINIMUM_LESION_ML,
    primary_probability: sitk.Image | None = None,
    node_probability: sitk.Image | None = None,
) -> LesionSet:
    """Each connected structure (26-connectivity) of a class as a lesion of its own.

    A piece smaller than ``minimum_lesion_ml`` that touches a structure of the *other* class takes that class: a few
    voxels of the other colour on one hot lesion are the model's doubt about the class, not about the tumour, and
    dropping them would lose tumour volume. Pieces are treated from small to large; if two structures touch
    the same piece they become one. Whatever is still smaller than ``minimum_lesion_ml`` is left out;
    ``LesionSet.dropped_ml`` and a sentence in ``LesionSet.notes`` say how much that was.

    Ids count from 1 in the order shown to the user: primaries, then nodes, each from large to small; equal volumes
    in the order in which a scan over z, y, x meets them.

    Args:
        labels: integer image of 0 (background), 1 (primary tumour) and 2 (lymph-node metastasis).
        minimum_lesion_ml: smallest volume kept; a structure of exactly this volume is kept.
        primary_probability: class probability on the same grid, for the scores.
        node_probability: likewise.

    Returns:
        The lesions on the grid of ``labels``. ``Lesion.score`` is the mean probability of the lesion's class inside
        it, None when no probabilities were given.

    Raises:
        LesionError: another value than 0, 1 and 2, or a negative minimum.
        GeometryError: a probability image lies on another grid.
    """
    if not minimum_lesion_ml >= 0:
        raise LesionError(f"The smallest lesion volume must be 0 ml or more, not {minimum_lesion_ml}.")
    geometry = Geometry.from_image(labels)
    probabilities = {LABEL_PRIMARY: primary_probability, LABEL_NODE: node_probability}
    for label, image in probabilities.items():
        if image is not None:
            Geometry.from_image(image).require_same(geometry, f"Label image and {KIND_OF_LABEL[label]} probability")

    array = sitk.GetArrayViewFromImage(labels)
    lesion_set = LesionSet(geometry, np.zeros(geometry.shape_zyx, np.uint16))
    box = box_of_nonzero(array)
    if box is None:
        return lesion_set
    inside = array[box]
    _check_values(inside)
    pieces, structures = _structures(inside)
    smallest_voxels = (minimum_lesion_ml - _VOLUME_TOLERANCE_ML) / geometry.voxel_volume_ml
    structures = _absorb_fragments(pieces, structures, smallest_voxels)
    kept = [s for s in structures if s.voxels >= smallest_voxels]
    _report_dropped(lesion_set, [s for s in structures if s.voxels < smallest_voxels], minimum_lesion_ml)
    _fill(lesion_set, box, pieces, kept, probabilities)
    return lesion_set


def _check_values(inside: np.ndarray) -> None:
    """Only 0, 1 and 2 have a meaning."""
    if (
        inside.min() >= 0
        and inside.max() <= LABEL_NODE
        and (inside.dtype.kind in "iu" or np.isin(inside, [0, 1, 2]).all())
    ):
        return
    strange = [x for x in np.unique(inside).tolist() if x not in (0, LABEL_PRIMARY, LABEL_NODE)]
    raise LesionError(
        f"The label image holds the value {strange[0]:g}; only 0 (background), 1 (primary tumour) and 2 (lymph-node "
        "metastasis) have a meaning. Change the other values first."
    )


def _structures(inside: np.ndarray) -> tuple[np.ndarray, list[_Structure]]:
    """Number the connected pieces of both classes through: an array of piece numbers, and the pieces in that order."""
    primary, n_primary = ndimage.label(inside == LABEL_PRIMARY, NEIGHBOURHOOD)
    node, n_node = ndimage.label(inside == LABEL_NODE, NEIGHBOURHOOD)
    pieces = primary + np.where(node > 0, node + n_primary, 0)
    voxels = np.bincount(pieces.ravel(), minlength=n_primary + n_node + 1)
    structures = []
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        corner = [s.start for s in box]
        local = np.unravel_index(np.argmax(pieces[box] == number), [s.stop - s.start for s in box])
        first = int(np.ravel_multi_index([c + i for c, i in zip(corner, local, strict=True)], pieces.shape))
        label = LABEL_PRIMARY if number <= n_primary else LABEL_NODE
        structures.append(_Structure(label, [number], int(voxels[number]), first))
    return pieces, structures


def _absorb_fragments(pieces: np.ndarray, structures: list[_Structure], smallest_voxels: float) -> list[_Structure]:
    """Give each too small structure that touches the other class to its neighbours, which thereby become one.

    Pieces of one class never touch each other, so all neighbours of a fragment are of the other class.
    """
    boxes = ndimage.find_objects(pieces)
    owner = {s.pieces[0]: s for s in structures}
    touching: dict[int, set[int]] = {}
    queue = [(s.voxels, s.first, s.pieces[0]) for s in structures if s.voxels < smallest_voxels]
    heapq.heapify(queue)
    while queue:
        voxels, _, number = heapq.heappop(queue)
        fragment = owner[number]
        if fragment.pieces[0] != number or fragment.voxels != voxels:
            continue  # Merged since it was queued.
        neighbours = {}
        for piece in fragment.pieces:
            if piece not in touching:
                touching[piece] = _neighbours(pieces, boxes[piece - 1], piece)
            neighbours.update({owner[n].pieces[0]: owner[n] for n in touching[piece] if owner[n] is not fragment})
        if not neighbours:
            continue
        heir, *others = sorted(neighbours.values(), key=lambda s: (-s.voxels, s.first))
        for merged in (fragment, *others):
            heir.pieces += merged.pieces
            heir.voxels += merged.voxels
            heir.first = min(heir.first, merged.first)
            owner.update(dict.fromkeys(merged.pieces, heir))
        if heir.voxels < smallest_voxels:
            heapq.heappush(queue, (heir.voxels, heir.first, heir.pieces[0]))
    return list({s.pieces[0]: s for s in owner.values()}.values())


def _neighbours(pieces: np.ndarray, box: Box, number: int) -> set[int]:
    """Numbers of the pieces that touch piece ``number``, whose box is given."""
    wider = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in box)
    part = pieces[wider]
    around = ndimage.binary_dilation(part == number, NEIGHBOURHOOD)
    return set(np.unique(part[around]).tolist()) - {0, number}


def _report_dropped(lesion_set: LesionSet, dropped: list[_Structure], minimum_lesion_ml: float) -> None:
    """Say how much was left out."""
    if not dropped:
        return
    lesion_set.dropped_ml = sum(s.voxels for s in dropped) * lesion_set.geometry.voxel_volume_ml
    number = "1 structure was" if len(dropped) == 1 else f"{len(dropped)} structures were"
    note = (
        f"{number} below {minimum_lesion_ml:g} ml and left out, together {lesion_set.dropped_ml:.3f} ml; "
        "lower the smallest lesion volume to keep such structures."
    )
    lesion_set.notes.append(note)
    logger.info(note)


def _fill(
    lesion_set: LesionSet,
    box: Box,
    pieces: np.ndarray,
    kept: list[_Structure],
    probabilities: dict[int, sitk.Image | None],
) -> None:
    """Write ids, lesions, names and scores of the kept structures into the set."""
    if len(kept) > _LARGEST_ID:
        raise LesionError(f"There are {len(kept)} structures; more than {_LARGEST_ID} cannot be lesions. Smooth first.")
    kept = sorted(kept, key=lambda s: (s.label, -s.voxels, s.first))
    lookup = np.zeros(int(pieces.max()) + 1, np.uint16)
    for lesion_id, structure in enumerate(kept, start=1):
        lookup[structure.pieces] = lesion_id
    ids = lookup[pieces]
    lesion_set.labels[box] = ids
    scores = {label: _mean_inside(image, box, ids, len(kept)) for label, image in probabilities.items()}
    for lesion_id, structure in enumerate(kept, start=1):
        mean = scores[structure.label]
        score = None if mean is None else float(mean[lesion_id - 1])
        lesion_set.lesions.append(Lesion(lesion_id, KIND_OF_LABEL[structure.label], name="", score=score))
    lesion_set.rename()


def _mean_inside(image: sitk.Image | None, box: Box, ids: np.ndarray, n: int) -> np.ndarray | None:
    """Mean of an image in each of the lesions 1 to ``n``."""
    if image is None or not n:
        return None
    return np.asarray(ndimage.mean(sitk.GetArrayViewFromImage(image)[box], ids, np.arange(1, n + 1)))
