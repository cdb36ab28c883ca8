"""Undo and redo for a lesion set, and where each lesion's voxels lie, kept up to date box by box.

One step keeps the voxels of the changed box and the list of lesions as they were, never a whole volume.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from HNTumorSegLib.errors import LesionError
from HNTumorSegLib.lesions.lesion import Lesion

if TYPE_CHECKING:
    from HNTumorSegLib.lesions.lesion_set import Box, LesionSet

MOST_STEPS = 500
MOST_BYTES = 256 * 2**20
"""Steps beyond either limit are forgotten, the oldest first; the newest is always kept."""


def now_utc() -> str:
    """The time for the record of edits, ISO 8601 to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class _State:
    """Everything but voxels, as it was."""

    lesions: list[Lesion]
    removed: list[Lesion]

    @classmethod
    def of(cls, lesion_set: LesionSet) -> _State:
        return cls(
            *([replace(x, history=list(x.history)) for x in y] for y in (lesion_set.lesions, lesion_set.removed))
        )


@dataclass
class _Step:
    """What an undo (or redo) puts back: boxes with the voxels they had, in the order of the changes, and the rest."""

    tool: str
    parts: list[tuple[Box, np.ndarray]]
    state: _State

    @property
    def n_bytes(self) -> int:
        return sum(voxels.nbytes for _, voxels in self.parts)


class EditHistory:
    """The steps that were done and those that were undone."""

    def __init__(self) -> None:
        self._done: list[_Step] = []
        self._undone: list[_Step] = []
        self._joining = False

    @property
    def undo_tool(self) -> str | None:
        """What an undo would take back."""
        return self._done[-1].tool if self._done else None

    @property
    def redo_tool(self) -> str | None:
        """What a redo would do again."""
        return self._undone[-1].tool if self._undone else None

    @contextmanager
    def step(self, lesion_set: LesionSet, tool: str, box: Box | None = None) -> Iterator[None]:
        """Record what is done inside the block; an error there puts everything back as it was.

        Args:
            lesion_set: the set that is changed.
            tool: what is done, in a word.
            box: where voxels may change; None when none do.
        """
        voxels = None if box is None else lesion_set.labels[box].copy()
        before = _Step(tool, [] if box is None else [(box, voxels)], _State.of(lesion_set))
        lesion_set.voxel_index()  # Known before voxels change, so that only the box needs looking at afterwards.
        try:
            yield
        except BaseException:
            if box is not None:
                lesion_set.labels[box] = voxels
            lesion_set.lesions[:], lesion_set.removed[:] = before.state.lesions, before.state.removed
            raise
        lesion_set.voxels_changed(box, voxels)
        lesion_set.rename()
        self._done.append(before)
        self._undone.clear()
        if not self._joining:
            self._forget_oldest()

    @contextmanager
    def joined(self, lesion_set: LesionSet, tool: str) -> Iterator[None]:
        """Make the steps taken inside the block one; an error there takes all of them back.

        Args:
            lesion_set: the set that is changed.
            tool: the word for the whole.
        """
        if self._joining:  # a part of a larger whole
            yield
            return
        n, undone = len(self._done), list(self._undone)
        self._joining = True
        try:
            yield
        except BaseException:
            while len(self._done) > n:
                self.undo(lesion_set)
            self._undone[:] = undone
            raise
        finally:
            self._joining = False
        steps = self._done[n:]
        if steps:
            parts = [part for step in steps for part in step.parts]
            self._done[n:] = [_Step(tool, parts, steps[0].state)]
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        while len(self._done) > 1 and (len(self._done) > MOST_STEPS or sum(s.n_bytes for s in self._done) > MOST_BYTES):
            del self._done[0]

    def undo(self, lesion_set: LesionSet) -> str:
        """Take the last step back; the word for it."""
        return self._move(lesion_set, self._done, self._undone, "undo")

    def redo(self, lesion_set: LesionSet) -> str:
        """Do the step again that was undone last; the word for it."""
        return self._move(lesion_set, self._undone, self._done, "redo")

    def _move(self, lesion_set: LesionSet, source: list[_Step], target: list[_Step], word: str) -> str:
        if not source:
            raise LesionError(f"There is nothing to {word}.")
        step = source.pop()
        back = _Step(step.tool, [], _State.of(lesion_set))
        for box, voxels in reversed(step.parts):
            now = lesion_set.labels[box].copy()
            back.parts.append((box, now))
            lesion_set.labels[box] = voxels
            lesion_set.voxels_changed(box, now)
        lesion_set.lesions[:], lesion_set.removed[:] = step.state.lesions, step.state.removed
        if not step.parts:
            lesion_set.voxels_changed(None, None)
        target.append(back)
        return step.tool


@dataclass
class VoxelIndex:
    """Box and number of voxels of every lesion, by id; a lesion without voxels has neither."""

    boxes: dict[int, Box]
    voxels: dict[int, int]

    def update(self, labels: np.ndarray, box: Box, before: np.ndarray) -> set[int]:
        """Follow a change of the voxels in ``box``, which were ``before``; the ids that gained or lost voxels."""
        now = labels[box]
        different = now != before
        if not different.any():
            return set()
        lost, gained = np.bincount(before[different]), np.bincount(now[different])
        ids = (set(np.flatnonzero(lost).tolist()) | set(np.flatnonzero(gained).tolist())) - {0}
        for number in ids:
            n_lost = int(lost[number]) if number < len(lost) else 0
            n_gained = int(gained[number]) if number < len(gained) else 0
            n = self.voxels.get(number, 0) - n_lost + n_gained
            old = self.boxes.pop(number, None)
            self.voxels.pop(number, None)
            if n <= 0:
                continue
            self.voxels[number] = n
            search = box if old is None else union(old, box)
            inner = ndimage.find_objects((labels[search] == number).view(np.uint8))[0]
            self.boxes[number] = shifted(inner, search)
        return ids


def union(a: Box, b: Box) -> Box:
    """Smallest box that holds both."""
    return tuple(slice(min(s.start, t.start), max(s.stop, t.stop)) for s, t in zip(a, b, strict=True))


def shifted(inner: Box, outer: Box) -> Box:
    """A box given within ``outer`` as a box of the whole grid."""
    return tuple(slice(s.start + o.start, s.stop + o.start) for s, o in zip(inner, outer, strict=True))


def grown(box: Box, margin: tuple[int, ...], shape: tuple[int, ...]) -> Box:
    """A box with a margin, kept within the grid."""
    return tuple(slice(max(0, s.start - m), min(n, s.stop + m)) for s, m, n in zip(box, margin, shape, strict=True))
