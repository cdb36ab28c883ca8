"""A segmentation node and its lesions, kept in step while a person edits either of them.

Corrections go through :class:`LesionSet` and are then shown in the node. What a person paints, deletes or recodes in
Slicer's own editors is taken over from the node into the set, so that it stands in the same record and can be undone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from HNTumorSegLib.exchange.seg_nrrd import BINARY_LABELMAP
from HNTumorSegLib.exchange.segment_facts import (
    ALGORITHM_NAME,
    ALGORITHM_NAME_TAG,
    HISTORY_TAG,
    REMOVED_KEY,
    SCORE_TAG,
    SLICER_COMPLETED,
    SLICER_STATUS_TAG,
    STATUS_TAG,
    TERMINOLOGY_TAG,
    kind_of_terminology,
    lesion_tags,
    removed_text,
    segment_id,
    terminology_entry,
)
from HNTumorSegLib.lesions.codes import NODE
from HNTumorSegLib.lesions.colors import lesion_colors
from HNTumorSegLib.lesions.editing import PAINT
from HNTumorSegLib.lesions.lesion import CONFIRMED
from HNTumorSegLib.lesions.lesion_set import Box, LesionSet
from HNTumorSegLib.mrml import core_app
from HNTumorSegLib.mrml.segmentations import (
    layer_image,
    oriented_geometry,
    segment_tag,
    segmentation_to_lesion_set,
    set_terminology,
)
from HNTumorSegLib.mrml.volumes import array_from_vtk_image

CLOSED_SURFACE = "Closed surface"
ERASE = "erase"
T = TypeVar("T")


class LiveLesions:
    """The lesions of one segmentation node.

    Attributes:
        node: the vtkMRMLSegmentationNode.
        lesions: the set that every correction goes through.
        writing: True while the node is being changed from here: its events then say nothing new.
        actor: who acts, for the record of edits.
    """

    def __init__(self, node: Any, actor: str) -> None:
        self.node = node
        self.actor = actor
        self.writing = False
        self.lesions = segmentation_to_lesion_set(node)
        self._known = {segment_id(lesion): lesion.id for lesion in self.lesions.lesions}
        self._algorithm = self._algorithm_name()
        self._show_if_segments_differ()

    def apply(self, change: Callable[[LesionSet], T]) -> T:
        """Take over what was painted, carry out a correction, show the result; what it raises changes nothing."""
        self.take_over()
        result = change(self.lesions)
        self.show()
        return result

    # From the node into the set

    def take_over(self) -> list[int]:
        """Bring what a person did in Slicer's own editors into the set.

        Returns:
            Ids of the lesions that changed; empty when the node shows just what the set holds.
        """
        segments = set(self.node.GetSegmentation().GetSegmentIDs())
        changed = [number for name, number in self._known.items() if name not in segments]
        for number in changed:
            self.lesions.remove(number, actor=self.actor, note="in the list of segments")
        changed += self._take_over_voxels()
        changed += [self._take_over_new(name) for name in sorted(segments - set(self._known)) if self._has_voxels(name)]
        changed += self._take_over_codes()
        if changed:
            self.show()
        return sorted(set(changed))

    def _take_over_new(self, name: str) -> int:
        """A segment that was added and painted elsewhere: a node, unless its codes say otherwise."""
        segment = self.node.GetSegmentation().GetSegment(name)
        kind = kind_of_terminology(segment_tag(segment, TERMINOLOGY_TAG)) or NODE
        box, mask = self._mask_of(name)
        return self.lesions.add(mask, kind, actor=self.actor, box=box).id

    def _take_over_voxels(self) -> list[int]:
        painted = self._painted()
        if painted is None:
            return []
        box, ids = painted
        before = self.lesions.labels[box]
        differs = before != ids
        if not differs.any():
            return []
        gained = np.setdiff1d(np.unique(ids[differs]), [0])
        lost = np.setdiff1d(np.unique(before[differs]), [0, *gained])
        changed = [int(number) for number in (*gained, *lost)]
        # Those that grew first: what they took from others is then recorded there as painted over.
        for number in changed:
            if any(lesion.id == number for lesion in self.lesions.lesions):
                tool = PAINT if number in gained else ERASE
                self.lesions.replace_mask(number, ids == number, box=box, actor=self.actor, tool=tool)
        return changed

    def _take_over_codes(self) -> list[int]:
        """Kind and status as set in Slicer's segments table."""
        segmentation = self.node.GetSegmentation()
        changed = []
        for lesion in list(self.lesions.lesions):
            segment = segmentation.GetSegment(segment_id(lesion))
            if segment is None:
                continue
            kind = kind_of_terminology(segment_tag(segment, TERMINOLOGY_TAG)) or lesion.kind
            if kind != lesion.kind:
                self.lesions.relabel(lesion.id, kind, actor=self.actor)
                changed.append(lesion.id)
            completed = segment_tag(segment, SLICER_STATUS_TAG) == SLICER_COMPLETED
            if completed and lesion.status != CONFIRMED and segment_tag(segment, STATUS_TAG) == lesion.status:
                self.lesions.confirm(lesion.id, actor=self.actor)
                changed.append(lesion.id)
        return changed

    def _painted(self) -> tuple[Box, np.ndarray] | None:
        """The lesion ids that the node shows, in the smallest box that holds all that is there; None without any."""
        geometry = self.lesions.geometry
        segmentation = self.node.GetSegmentation()
        parts = []
        for layer in range(segmentation.GetNumberOfLayers(BINARY_LABELMAP)):
            image = segmentation.GetLayerDataObject(layer, BINARY_LABELMAP)
            if image.GetPointData().GetScalars() is None or 0 in image.GetDimensions():
                continue
            grid = oriented_geometry(image, f"The segmentation '{self.node.GetName()}'")
            start = np.rint(geometry.to_ijk(np.asarray(grid.origin_mm))).astype(int)
            if geometry.crop(tuple(start.tolist()), grid.size).distance_mm(grid) > 1e-3:
                read = segmentation_to_lesion_set(self.node, geometry)
                return tuple(slice(0, n) for n in read.labels.shape), read.labels
            parts.append((start[::-1], array_from_vtk_image(image), self._lookup(layer)))
        boxes = list(self.lesions.boxes().values())
        low = [start for start, _, _ in parts] + [[s.start for s in box] for box in boxes]
        high = [start + array.shape for start, array, _ in parts] + [[s.stop for s in box] for box in boxes]
        if not low:
            return None
        first = np.maximum(np.min(low, axis=0), 0)
        last = np.minimum(np.max(high, axis=0), geometry.shape_zyx)
        if (last <= first).any():
            return None
        ids = np.zeros(last - first, np.uint16)
        for start, array, lookup in parts:
            begin, end = np.maximum(start, first), np.minimum(start + array.shape, last)
            inner = array[tuple(slice(a, b) for a, b in zip(begin - start, end - start, strict=True))]
            target = ids[tuple(slice(a, b) for a, b in zip(begin - first, end - first, strict=True))]
            values = lookup[np.minimum(inner, len(lookup) - 1)]
            np.copyto(target, values, where=(target == 0) & (values > 0))
        return tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True)), ids

    def _lookup(self, layer: int) -> np.ndarray:
        """Lesion id of each voxel value of a layer; the last entry stands for all values nobody has."""
        segmentation = self.node.GetSegmentation()
        values = {}
        for name in segmentation.GetSegmentIDsForLayer(layer, BINARY_LABELMAP):
            if name in self._known:
                values[segmentation.GetSegment(name).GetLabelValue()] = self._known[name]
        table = np.zeros(max(values, default=0) + 2, np.uint16)
        for value, number in values.items():
            table[value] = number
        return table

    def _has_voxels(self, name: str) -> bool:
        return bool(self._mask_of(name)[1].any())

    def _mask_of(self, name: str) -> tuple[Box, np.ndarray]:
        """A segment's voxels on the lesions' grid: the box and what of it belongs to the segment."""
        nothing = (slice(0, 1),) * 3, np.zeros((1, 1, 1), bool)
        image = core_app.require_slicer().vtkOrientedImageData()
        if not self.node.GetBinaryLabelmapRepresentation(name, image) or image.GetPointData().GetScalars() is None:
            return nothing
        if 0 in image.GetDimensions():
            return nothing
        mask = array_from_vtk_image(image) != 0
        geometry, grid = self.lesions.geometry, oriented_geometry(image, f"The segment '{name}'")
        start = np.rint(geometry.to_ijk(np.asarray(grid.origin_mm))).astype(int)[::-1]
        first, last = np.maximum(start, 0), np.minimum(start + mask.shape, geometry.shape_zyx)
        if (last <= first).any() or geometry.crop(tuple(start[::-1].tolist()), grid.size).distance_mm(grid) > 1e-3:
            return nothing
        box = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
        return box, mask[tuple(slice(a, b) for a, b in zip(first - start, last - start, strict=True))]

    # From the set into the node

    def show(self) -> None:
        """Bring voxels, names, colours, codes and tags of the node in line with the set."""
        segmentation = self.node.GetSegmentation()
        has_surface = segmentation.ContainsRepresentation(CLOSED_SURFACE)
        with self._quietly():
            wanted = {segment_id(lesion): lesion.id for lesion in self.lesions.lesions}
            for name in list(segmentation.GetSegmentIDs()):
                if name not in wanted and (name in self._known or not self._is_waiting(name)):
                    segmentation.RemoveSegment(name)
            if self.lesions.lesions:
                self._show_segments(layer_image(self.lesions))
            self._known = wanted
            self._keep_removed()
            if has_surface:
                self.node.CreateClosedSurfaceRepresentation()

    def _keep_removed(self) -> None:
        text = removed_text(self.lesions.removed) or None
        if text != self.node.GetAttribute(REMOVED_KEY):
            self.node.SetAttribute(REMOVED_KEY, text)

    def _is_waiting(self, name: str) -> bool:
        """Whether a segment was added elsewhere and nothing is painted in it yet."""
        return not self._has_voxels(name)

    def _show_segments(self, layer: Any) -> None:
        segmentation = self.node.GetSegmentation()
        colors = lesion_colors(self.lesions)
        for index, lesion in enumerate(self.lesions.lesions):
            name = segment_id(lesion)
            segment = segmentation.GetSegment(name)
            added = segment is None
            if added:
                segment = core_app.require_slicer().vtkSegment()
                segment.SetNameAutoGenerated(False)
                segment.SetColorAutoGenerated(False)
            # One image object for all segments: that is what makes them share a layer.
            segment.AddRepresentation(BINARY_LABELMAP, layer)
            segment.SetLabelValue(lesion.id)
            segment.SetName(lesion.name)
            segment.SetColor(*(channel / 255 for channel in colors[lesion.id]))
            set_terminology(segment, terminology_entry(lesion.kind))
            tags = lesion_tags(lesion, self._algorithm)
            for tag in {SCORE_TAG, HISTORY_TAG} - set(tags):
                segment.RemoveTag(tag)
            for tag, value in tags.items():
                segment.SetTag(tag, value)
            if added:
                segmentation.AddSegment(segment, name)
            if segmentation.GetSegmentIndex(name) != index:
                segmentation.SetSegmentIndex(name, index)
        layer.Modified()

    def _show_if_segments_differ(self) -> None:
        """Segments that another program named otherwise get our ids, so that each can be found again."""
        if set(self.node.GetSegmentation().GetSegmentIDs()) != set(self._known):
            self.lesions.rename()
            self.show()

    def _algorithm_name(self) -> str:
        segmentation = self.node.GetSegmentation()
        for name in segmentation.GetSegmentIDs():
            if found := segment_tag(segmentation.GetSegment(name), ALGORITHM_NAME_TAG):
                return found
        return self.node.GetAttribute(ALGORITHM_NAME_TAG) or ALGORITHM_NAME

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Events of the node inside the block come from here; the node tells its display once, at the end."""
        was_writing, self.writing = self.writing, True
        was_modifying = self.node.StartModify()
        try:
            yield
        finally:
            self.node.EndModify(was_modifying)
            self.writing = was_writing
