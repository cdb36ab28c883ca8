"""Radiomics per lesion, per kind and for the whole burden, on PET and CT, by pyradiomics.

The numbers are those of a plain pyradiomics call on the whole image and the lesion put onto the image's grid
(:mod:`radiomics_mask`); how they are got faster stands in :mod:`radiomics_crop`, what they are computed with in
``radiomics_settings.json``, and what is not defined in :mod:`radiomics_extraction`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.lesions.codes import KINDS
from HNTumorSegLib.lesions.lesion_set import Box, LesionSet
from HNTumorSegLib.measures.radiomics_extraction import Extraction, nothing_defined
from HNTumorSegLib.measures.radiomics_mask import mask_on_image, voxels_outside
from HNTumorSegLib.measures.radiomics_package import require_radiomics
from HNTumorSegLib.measures.radiomics_processes import Job, extract_all, processes_for
from HNTumorSegLib.measures.radiomics_settings import IMAGES, RadiomicsSettings
from HNTumorSegLib.measures.table import TOTAL, TOTAL_NAMES
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent

STAGE = "radiomics"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RadiomicsRow:
    """The features of one lesion, of all lesions of a kind, or of the whole burden, on one image.

    Attributes:
        id: the lesion's id, or ``primary``, ``node``, ``total``.
        name: as in the table of measurements.
        image: ``pet`` or ``ct``; the model and layer for deep features.
        features: by pyradiomics' names; None where not defined.
        settings_hash: equal only where two rows were computed in the same way.
        kind: ``primary`` or ``node``; empty where it does not apply.
        note: why features are not defined, one or more sentences; empty when all are.
    """

    id: int | str
    name: str
    image: str
    features: dict[str, float | None]
    settings_hash: str
    kind: str = ""
    note: str = ""

    @property
    def measured(self) -> bool:
        """Whether any feature is defined; a ``note`` then is about single features (one voxel, a uniform lesion)."""
        return any(value is not None for value in self.features.values())


@dataclass(frozen=True)
class Part:
    """The lesions that make one row."""

    id: int | str
    name: str
    kind: str
    lesion_ids: tuple[int, ...]


def radiomics_table(
    lesion_set: LesionSet,
    images: dict[str, sitk.Image],
    settings: RadiomicsSettings | None = None,
    progress: ProgressCallback = silent,
    processes: int | None = None,
) -> list[RadiomicsRow]:
    """Radiomics of every lesion, both kinds and the whole burden.

    Args:
        lesion_set: lesions on any grid.
        images: ``pet`` (SUVbw, g/ml) and ``ct`` (HU), each on any grid; one of them may be missing or None.
        settings: None: the ones that ship.
        progress: called after each row; what it raises ends the work.
        processes: how many to use beside this one; 1: none; None: as many as are worth starting.

    Returns:
        For each image in turn the lesions in the set's order, then ``primary``, ``node`` and ``total``. Always all of
        them: where something is not defined the features are None and ``note`` names the lesion and the reason (also
        logged as a warning). A sum over lesions is not defined when one of them is partly outside the image.

    Raises:
        InputError: an image is not called ``pet`` or ``ct``, is no scalar volume, or the settings are not right.
        MissingPackageError: pyradiomics is not installed.
    """
    require_radiomics()
    settings = settings or RadiomicsSettings.default()
    given = _checked(images, settings)
    parts = parts_of(lesion_set)
    rows: list[tuple[Part, str, Extraction | None]] = []
    jobs: list[Job] = []
    numbers: dict[tuple[str, tuple[int, ...]], int] = {}  # the same lesions are measured once
    places: list[int | None] = []
    for image_name, image in given.items():
        for part in parts:
            key = (image_name, part.lesion_ids)
            outcome = numbers.get(key)
            ready = None
            if outcome is None:
                prepared = _prepare(lesion_set, part, image_name, image, settings)
                if isinstance(prepared, Job):
                    outcome = numbers[key] = len(jobs)
                    jobs.append(prepared)
                else:
                    ready = prepared
            rows.append((part, image_name, ready))
            places.append(outcome)
    results = _run(jobs, processes, progress)
    hashes = {image_name: settings.hash(image_name) for image_name in given}
    table = []
    for (part, image_name, ready), place in zip(rows, places, strict=True):
        extraction = ready if ready is not None else results[place]
        table.append(
            RadiomicsRow(
                part.id,
                part.name,
                image_name,
                dict(extraction.features),
                hashes[image_name],
                part.kind,
                extraction.note,
            )
        )
    there = {part.id for part in parts if part.lesion_ids}
    for note in dict.fromkeys(row.note for row in table if row.note and row.id in there):
        log.warning(note)
    return table


def parts_of(lesion_set: LesionSet) -> list[Part]:
    """The rows of the table: each lesion, each kind, everything."""
    lesions = lesion_set.lesions
    parts = [Part(lesion.id, lesion.name, lesion.kind, (lesion.id,)) for lesion in lesions]
    for kind in KINDS:
        parts.append(Part(kind, TOTAL_NAMES[kind], kind, tuple(x.id for x in lesions if x.kind == kind)))
    return [*parts, Part(TOTAL, TOTAL_NAMES[TOTAL], "", tuple(x.id for x in lesions))]


def voxels_of(lesion_set: LesionSet, part: Part) -> tuple[np.ndarray, Geometry] | None:
    """The part's voxels, boolean zyx in their box, and the grid of the box; None when it has none."""
    boxes = [box for number, box in lesion_set.boxes().items() if number in part.lesion_ids]
    if not boxes:
        return None
    box: Box = tuple(slice(min(b[a].start for b in boxes), max(b[a].stop for b in boxes)) for a in range(3))
    mask = np.isin(lesion_set.labels[box], part.lesion_ids)
    return mask, lesion_set.geometry.crop(tuple(s.start for s in box[::-1]), mask.shape[::-1])


def _checked(images: dict[str, sitk.Image], settings: RadiomicsSettings) -> dict[str, sitk.Image]:
    """The images that are there, normalised where the settings ask for it."""
    unknown = sorted(set(images) - set(IMAGES))
    if unknown:
        raise InputError(f"Radiomics are computed on the images {' and '.join(IMAGES)}, not on '{unknown[0]}'.")
    given = {name: images[name] for name in IMAGES if images.get(name) is not None}
    for name, image in given.items():
        Geometry.from_image(image)
        if image.GetNumberOfComponentsPerPixel() != 1:
            raise InputError(
                f"The image '{name}' has {image.GetNumberOfComponentsPerPixel()} values a voxel; radiomics need one."
            )
        settings.check(name)
        setting = settings.parameters(name).get("setting") or {}
        if setting.get("normalize"):
            # Mean and spread of the whole image: before anything is cropped.
            given[name] = require_radiomics().imageoperations.normalizeImage(image, **setting)
    return given


def _prepare(
    lesion_set: LesionSet, part: Part, image_name: str, image: sitk.Image, settings: RadiomicsSettings
) -> Job | Extraction:
    """The job that measures a part on an image, or why it cannot be."""
    parameters = settings.parameters(image_name)
    what = f"'{part.name}' on the {image_name.upper()}"
    if not part.lesion_ids:
        return nothing_defined(parameters, f"{what}: there is none.")
    found = voxels_of(lesion_set, part)
    if found is None:
        return nothing_defined(parameters, f"{what}: there is no voxel to measure.")
    mask, geometry = found
    image_geometry = Geometry.from_image(image)
    outside = voxels_outside(mask, geometry, image_geometry)
    if outside:
        return nothing_defined(
            parameters,
            f"{what}: {outside} of its {np.count_nonzero(mask)} voxels lie outside the image "
            f"({image_geometry.describe()}){_who(lesion_set, part, image_geometry)}. Cut the lesion back, or use an "
            "image that holds all of it.",
        )
    on_image = mask_on_image(mask, geometry, image_geometry)
    if on_image is None:
        return nothing_defined(
            parameters,
            f"{what}: it vanishes on the image's grid ({image_geometry.describe()}): no voxel there lies in it by half "
            f"or more; it has {np.count_nonzero(mask) * geometry.voxel_volume_ml:.3g} ml.",
        )
    part_values = sitk.GetArrayViewFromImage(image)[on_image.box][on_image.mask]
    unknown = int(part_values.size - np.count_nonzero(np.isfinite(part_values)))
    if unknown:
        return nothing_defined(
            parameters,
            f"{what}: the image has no value (NaN or infinity) at {unknown} of its {part_values.size} voxels. Repair "
            "the image or cut the lesion back.",
        )
    return Job(image, on_image, parameters, what)


def _who(lesion_set: LesionSet, part: Part, image_geometry: Geometry) -> str:
    """Which of the lesions of a sum lie outside, for the message; empty for a single lesion's own row."""
    if isinstance(part.id, int):
        return ""
    names = []
    for number in part.lesion_ids:
        found = voxels_of(lesion_set, Part(number, "", "", (number,)))
        if found is not None and voxels_outside(*found, image_geometry):
            names.append(f"'{lesion_set[number].name}'")
    return f", of {', '.join(names)}"


def _run(jobs: Sequence[Job], processes: int | None, progress: ProgressCallback) -> dict[int, Extraction]:
    results: dict[int, Extraction] = {}
    progress(ProgressEvent(STAGE, 0.0))
    for number, extraction in extract_all(jobs, processes_for(jobs) if processes is None else processes):
        results[number] = extraction
        progress(ProgressEvent(STAGE, len(results) / len(jobs), jobs[number].name))
    if not jobs:
        progress(ProgressEvent(STAGE, 1.0))
    return results
