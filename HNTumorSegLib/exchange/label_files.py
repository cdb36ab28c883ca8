"""Label images from files that other programs wrote: NIfTI, NRRD, MetaImage, Slicer segmentations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.exchange.labels import label_image
from HNTumorSegLib.exchange.seg_nrrd import is_segmentation_file, read_seg_nrrd, read_segments
from HNTumorSegLib.geometry import SAME_GRID_TOLERANCE_MM, Geometry, image_from_array, resample
from HNTumorSegLib.study.files import read_image_file


@dataclass(frozen=True)
class LabelFile:
    """A label image as read.

    ``may_be_cropped`` where the file's program stores only the box around its segments; ``notes`` are sentences about
    what was decided while reading (overlaps, empty segments).
    """

    image: sitk.Image
    may_be_cropped: bool = False
    notes: tuple[str, ...] = ()


def read_label_file(path: str | Path, what: str = "label image") -> LabelFile:
    """The label image in a file; the values of a Slicer segmentation become 0, 1 and 2 by its segments' kinds.

    A segmentation is known by its header, not by its name: in one that was renamed to ``.nrrd`` the voxels hold
    segment numbers, which must not be taken for classes.

    Raises:
        InputError: unreadable, damaged, not 3-D, NaN, or an unknown format.
        LesionError: a segment that is neither primary tumour nor node.
    """
    path = Path(path)
    if _is_segmentation(path):
        lesion_set = read_seg_nrrd(path)
        return LabelFile(label_image(lesion_set), True, tuple(lesion_set.notes))
    return LabelFile(read_image_file(path, what))


def read_mask_file(path: str | Path, what: str = "mask") -> LabelFile:
    """The mask (0 and 1) of one structure; of a Slicer segmentation its only segment, whatever it stands for.

    Raises:
        InputError: as for :func:`read_label_file`, and for a segmentation with none or several segments.
    """
    path = Path(path)
    if not _is_segmentation(path):
        return LabelFile(read_image_file(path, what))
    found = read_segments(path)
    if len(found.segments) != 1:
        raise InputError(f"The {what} '{path}' holds {len(found.segments)} segments; one structure a file is needed.")
    array = np.zeros(found.geometry.shape_zyx, np.uint8)
    array[found.segments[0].box] = found.segments[0].mask
    return LabelFile(image_from_array(array, found.geometry), True)


def _is_segmentation(path: Path) -> bool:
    return path.name.lower().endswith(".nrrd") and is_segmentation_file(path)


def on_common_grid(a: LabelFile, b: LabelFile) -> tuple[sitk.Image, sitk.Image]:
    """Both images on the smallest grid that holds both, where one is a cropped Slicer segmentation.

    Nothing is interpolated: the voxels of both must coincide. Where they do not, or where no crop explains the
    difference, the images come back as they are, and whoever compares them sees two grids.
    """
    one, two = Geometry.from_image(a.image), Geometry.from_image(b.image)
    if one.distance_mm(two) <= SAME_GRID_TOLERANCE_MM or not (a.may_be_cropped or b.may_be_cropped):
        return a.image, b.image
    offset = np.rint(one.to_ijk(np.asarray(two.origin_mm))).astype(int)
    if two.distance_mm(one.crop(tuple(offset), two.size)) > SAME_GRID_TOLERANCE_MM:
        return a.image, b.image
    start = np.minimum(0, offset)
    stop = np.maximum(one.size, offset + two.size)
    joint = one.crop(tuple(int(n) for n in start), tuple(int(n) for n in stop - start))
    if not (_covers(one, joint) or a.may_be_cropped) or not (_covers(two, joint) or b.may_be_cropped):
        return a.image, b.image
    return resample(a.image, joint, nearest=True), resample(b.image, joint, nearest=True)


def _covers(geometry: Geometry, joint: Geometry) -> bool:
    return geometry.size == joint.size
