"""Where a case comes from, and how it becomes one: the images through the preprocessing that inference uses."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import GeometryError, HNTumorSegError, InputError
from HNTumorSegLib.geometry import Geometry, image_from_array, resample
from HNTumorSegLib.inference.preprocess import NAMES, anti_aliased, channels_on_grid, model_grid
from HNTumorSegLib.inference.region import find_head_neck
from HNTumorSegLib.inference.tumour_classes import are_tumours
from HNTumorSegLib.recipes.recipe import CT, CT_CONTRAST, PET, Recipe
from HNTumorSegLib.study.files import as_hounsfield, read_image_file
from HNTumorSegLib.study.reader import read_study
from HNTumorSegLib.study.study import Study
from HNTumorSegLib.training.case import Case

if TYPE_CHECKING:
    from HNTumorSegLib.phantom.patient import PhantomPatient
    from HNTumorSegLib.phantom.varied_patient import VariedPatient

log = logging.getLogger(__name__)

FILE_GRID_TOLERANCE_MM = 0.05
"""Images of one case were often written by different programs, and NIfTI keeps directions as 32-bit quaternions."""


@dataclass(frozen=True)
class FileSource:
    """A case in files.

    Attributes:
        name: what the case is called, unique in its data set.
        patient: whose it is; cases of one patient are never divided over training and validation.
        centre: where it was made; "" where unknown.
        pet, ct: image files or DICOM folders; the PET in SUVbw where it is a file. None where there is none.
        ct_contrast: file of a second, contrast-enhanced CT.
        labels: label image on the grid of the PET or of the CT; None where there is none.
        label_values: class of each label value in the file where it is not the value itself, as (value, class) pairs.
        one_grid: all images of a case must share one grid (nnU-Net's layout).
    """

    name: str
    patient: str
    centre: str
    pet: Path | None
    ct: Path | None = None
    labels: Path | None = None
    ct_contrast: Path | None = None
    label_values: tuple[tuple[int, int], ...] = ()
    one_grid: bool = False

    def key(self, recipe: Recipe | None = None) -> list:
        """What the cached case depends on: paths, sizes and times of the files."""
        return [self.label_values, *(_file_facts(path) for path in (self.pet, self.ct, self.labels, self.ct_contrast))]

    def study(self) -> Study:
        """PET and CT; raises :class:`HNTumorSegLib.errors.InputError` naming the case, also where there is no PET."""
        with _named(self.name):
            if self.pet is None:
                raise InputError("there is no PET.")
            study = read_study(self.pet, self.ct or "none", pet_units=None if self.pet.is_dir() else "suv")
            if self.one_grid and study.ct is not None:
                study.ct_geometry.require_same(study.pet_geometry, "CT and PET", FILE_GRID_TOLERANCE_MM)
        return study

    def images(self, study: Study | None = None) -> dict[str, sitk.Image]:
        """All images by name, PET in SUVbw and CTs in HU; ``study`` is :meth:`study`, where the caller has it.

        Raises :class:`InputError` naming the case.
        """
        images = {}
        if self.pet is not None:
            study = study or self.study()
            images = {PET: study.pet, **({} if study.ct is None else {CT: study.ct})}
        with _named(self.name):
            files = ((CT, self.ct, "CT"), (CT_CONTRAST, self.ct_contrast, "contrast-enhanced CT"))
            for name, path, words in files:
                if path is not None and name not in images:
                    images[name] = as_hounsfield(read_image_file(path, words))
            if not images:
                raise InputError("there is no image.")
            if self.one_grid:
                first = Geometry.from_image(next(iter(images.values())))
                for name, image in images.items():
                    first.require_same(Geometry.from_image(image), f"Image '{name}'", FILE_GRID_TOLERANCE_MM)
        return images

    def case(self, recipe: Recipe) -> tuple[Case, str]:
        """The case on the model's grid, with its labels, and its centre.

        Raises:
            InputError: images or labels are missing or cannot be used.
            GeometryError: the labels lie on neither image's grid, or images that should share one do not.
            ModelError: an image that the recipe needs, or a class that it does not know.
        """
        if self.labels is None:
            raise InputError(f"Case '{self.name}' has no label image, so it cannot be trained on or measured.")
        images = self.images()
        with _named(self.name):
            return _case(self.name, images, self._read_labels(images, recipe), recipe), self.centre

    def _read_labels(self, images: dict[str, sitk.Image], recipe: Recipe) -> sitk.Image:
        image = read_image_file(self.labels, "label image")
        grid = Geometry.from_image(image)
        grids = {name: Geometry.from_image(other) for name, other in images.items()}
        if min(grid.distance_mm(other) for other in grids.values()) > FILE_GRID_TOLERANCE_MM:
            described = ", ".join(f"the {NAMES[name]} {other.describe()}" for name, other in grids.items())
            raise GeometryError(
                f"the label image '{self.labels}' lies on no image's grid (it has {grid.describe()}; {described}). "
                "Resample it, with nearest neighbour, onto one of them."
            )
        values = sitk.GetArrayFromImage(image)
        found = np.unique(values)
        if not np.isin(found, np.arange(256)).all():
            odd = found[~np.isin(found, np.arange(256))][0]
            raise InputError(
                f"the label image '{self.labels}' holds the value {odd:g}; labels are whole numbers from 0."
            )
        values = values.astype(np.uint8)
        for value in found.astype(int).tolist():
            recipe.network_class(dict(self.label_values).get(value, value))
        if self.label_values:
            lookup = np.arange(256, dtype=np.uint8)
            for value, meaning in self.label_values:
                lookup[value] = meaning
            values = lookup[values]
        return image_from_array(values, grid)


@dataclass(frozen=True)
class PhantomSource:
    """The synthetic patient of a seed; its "centre" is the group of PET scanners (by pixel size) it was drawn for.

    A recipe that reads a contrast-enhanced CT gets one; one that learns organs gets a patient with organ labels, who
    has a CT alone.
    """

    seed: int

    @property
    def name(self) -> str:
        """Unique in the data set."""
        return f"phantom-{self.seed:05d}"

    @property
    def patient(self) -> str:
        """Each seed is a patient."""
        return self.name

    def key(self, recipe: Recipe | None = None) -> list:
        """What the cached case depends on."""
        from HNTumorSegLib import __version__

        organs = recipe is not None and not are_tumours(recipe.classes)
        return ["phantom", self.seed, __version__, *(["organs"] if organs else [])]

    def case(self, recipe: Recipe) -> tuple[Case, str]:
        """The case on the model's grid, and its centre."""
        from HNTumorSegLib.phantom import make_patient
        from HNTumorSegLib.phantom.contrast import contrast_ct
        from HNTumorSegLib.training.phantom_cases import case_of_patient
        from HNTumorSegLib.training.phantom_files import ORGANS, phantom_images

        if not are_tumours(recipe.classes):
            images, centre = phantom_images(self.seed, ORGANS)
            truth = images.pop("labels")
            with _named(self.name):
                return _case(self.name, images, truth, recipe), centre
        patient = make_patient(self.seed, economy=True)
        reads_contrast = any(channel.image == CT_CONTRAST for channel in recipe.channels)
        second = {CT_CONTRAST: contrast_ct(patient, self.seed)} if reads_contrast else {}
        return case_of_patient(self.name, patient, recipe, second), phantom_centre(patient)


Source = FileSource | PhantomSource


def require_organ_labels(sources: Iterable[Source]) -> None:
    """Raise :class:`InputError` for a case with a PET: its labels are tumours, and organs shall be learned."""
    for source in sources:
        if isinstance(source, FileSource) and source.pet is not None:
            raise InputError(
                f"Case '{source.name}' has a PET: its labels 1 and 2 (tumours) would be taken for brain and "
                "brainstem. Give CTs with organ labels, numbered as HNTumorSegLib.recipes.nikolov2018.ORGANS, "
                "in a CSV with the columns case, ct and labels."
            )


def phantom_centre(patient: PhantomPatient | VariedPatient) -> str:
    """What stands for the hospital of a phantom patient: the group of PET scanners, by pixel size."""
    pixel = patient.scanner.pet_pixel_mm
    return "fine pixels" if pixel < 3 else "medium pixels" if pixel < 4.05 else "coarse pixels"


def labels_on_grid(labels: sitk.Image, grid: Geometry) -> np.ndarray:
    """Class numbers (Z, Y, X) on ``grid``: the class that fills most of each voxel."""
    values = sitk.GetArrayViewFromImage(labels)
    out = np.zeros(grid.shape_zyx, np.uint8)
    best = np.ones(grid.shape_zyx, np.float32)  # becomes the share of the class in ``out``; background is what is left
    shares = {}
    for value in [v for v in np.unique(values).tolist() if v]:
        mask = image_from_array((values == value).astype(np.float32), Geometry.from_image(labels))
        shares[value] = sitk.GetArrayFromImage(resample(anti_aliased(mask, grid), grid))
        best -= shares[value]
    for value, share in shares.items():
        wins = share > best
        out[wins], best[wins] = value, share[wins]
    return out


def _case(name: str, images: dict[str, sitk.Image], truth: sitk.Image, recipe: Recipe) -> Case:
    """Images and labels on the model's grid."""
    grid = _grid(images, truth, recipe)
    return Case(name, channels_on_grid(images, recipe, grid).astype(np.float16), labels_on_grid(truth, grid))


def _grid(images: dict[str, sitk.Image], truth: sitk.Image, recipe: Recipe) -> Geometry:
    """The grid that inference would choose, widened where the labels reach beyond the region that it searches.

    Without a PET it covers the first image.
    """
    if PET not in images:
        whole = Geometry.from_image(next(iter(images.values())))
        return model_grid(whole, recipe.spacing_mm, at_least_zyx=recipe.patch_zyx)
    region = find_head_neck(images[PET])
    low, high = np.array(region.low_mm), np.array(region.high_mm)
    inside = np.argwhere(sitk.GetArrayViewFromImage(truth) > 0)
    if len(inside):
        at = Geometry.from_image(truth).to_lps(inside[:, ::-1])
        beyond = int(np.count_nonzero(((at < low) | (at > high)).any(axis=1)))
        if beyond:
            log.warning("%d label voxels lie outside the region that is searched in use; training sees them", beyond)
            low, high = np.minimum(low, at.min(axis=0) - 10), np.maximum(high, at.max(axis=0) + 10)
    return model_grid(Geometry.from_image(images[PET]), recipe.spacing_mm, tuple(low), tuple(high), recipe.patch_zyx)


class _named:  # noqa: N801
    """Puts the case's name before the errors that arise in the ``with`` block."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, HNTumorSegError):
            raise type(error)(f"Case '{self.name}': {error}") from error


def _file_facts(path: Path | None) -> list | None:
    """Path, size and time of a file; of all files in a DICOM folder together."""
    if path is None:
        return None
    try:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        stats = [file.stat() for file in files if file.is_file()]
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    return [
        str(path.resolve()),
        len(stats),
        sum(s.st_size for s in stats),
        max((s.st_mtime_ns for s in stats), default=0),
    ]
