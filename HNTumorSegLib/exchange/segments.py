"""From named masks, wherever they came from, to lesions: kinds, ids, names, and a sentence for everything decided.

The kind of a segment comes from the user's rules where one fits its name, else from its coded type, else from its name
(:func:`segment_facts.kind_of_name`). A rule is a pattern for names (``*`` and ``?`` as in file names, upper and lower
case alike) and ``primary``, ``node`` or ``ignore``; the first that fits counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np

from HNTumorSegLib.errors import LesionError
from HNTumorSegLib.exchange.segment_facts import free_id, kind_of_segment, lesion_from_segment
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.lesions.codes import KINDS
from HNTumorSegLib.lesions.lesion_set import Box, LesionSet

IGNORE = "ignore"
KIND_CHOICES = (*KINDS, IGNORE)


@dataclass(frozen=True)
class KindRule:
    """Segments whose name fits ``pattern`` are ``kind`` (``primary``, ``node`` or ``ignore``)."""

    pattern: str
    kind: str

    @classmethod
    def parse(cls, text: str) -> KindRule:
        """From ``NAME=primary``; raises :class:`LesionError` for anything else."""
        pattern, _, kind = text.rpartition("=")
        if not pattern or kind not in KIND_CHOICES:
            raise LesionError(
                f"'{text}' does not say which kind a segment is: give NAME=primary, NAME=node or NAME=ignore."
            )
        return cls(pattern, kind)

    def fits(self, name: str) -> bool:
        """Whether a segment of that name is meant."""
        return fnmatchcase(name.casefold(), self.pattern.casefold())


def kind_by_rules(name: str, rules: Iterable[KindRule]) -> str | None:
    """``primary``, ``node`` or ``ignore`` by the first rule that fits; None without one."""
    return next((rule.kind for rule in rules if rule.fits(name)), None)


@dataclass(frozen=True)
class NamedMask:
    """One segment of a file: its name, its voxels (boolean zyx array of ``box``), and its tags as Slicer names them.

    ``may_be_left_out`` is true for what is surely no tumour (an organ): without a kind it is left out, not an error.
    """

    name: str
    mask: np.ndarray
    box: Box
    tags: Mapping[str, str] = field(default_factory=dict)
    may_be_left_out: bool = False


def lesions_from_segments(
    geometry: Geometry, segments: Sequence[NamedMask], where: str, rules: Sequence[KindRule] = ()
) -> LesionSet:
    """One lesion a segment.

    Segments may overlap; the lesion that comes first keeps the common voxels. Empty segments are left out, repeated
    names get " (2)", " (3)", ...; ``LesionSet.notes`` has a sentence for each of these.

    Args:
        geometry: the grid.
        segments: in the order of the file.
        where: the file's name, for messages.
        rules: what the user says about kinds.

    Raises:
        LesionError: segments of which nothing tells whether they are primary tumours or nodes; all are named.
    """
    chosen = _with_kinds(segments, where, rules)
    result = LesionSet(geometry, np.zeros(geometry.shape_zyx, np.uint16))
    left_out = [s.name for s, kind in chosen if kind in (None, IGNORE)]
    if left_out:
        result.notes.append(f"Left out of '{where}': {', '.join(left_out)}.")
    names: set[str] = set()
    for segment, kind in chosen:
        if kind in (None, IGNORE):
            continue
        name = _unused(segment.name, names)
        if name != segment.name:
            result.notes.append(
                f"The name '{segment.name}' stands in '{where}' more than once; '{name}' is one of them."
            )
        if not segment.mask.any():
            result.notes.append(f"The segment '{name}' of '{where}' is empty and is left out.")
            continue
        names.add(name)
        lesion = lesion_from_segment(free_id(segment.tags, result.lesions), name, segment.tags, kind)
        part = result.labels[segment.box]
        n_common = int(np.count_nonzero(part[segment.mask]))
        if n_common:
            result.notes.append(
                f"'{name}' overlaps a lesion that comes before it in '{where}'; their {n_common} common voxels "
                f"({n_common * geometry.voxel_volume_ml:.3f} ml) count for the first one."
            )
        part[segment.mask & (part == 0)] = lesion.id
        result.lesions.append(lesion)
    return result


def _with_kinds(
    segments: Sequence[NamedMask], where: str, rules: Sequence[KindRule]
) -> list[tuple[NamedMask, str | None]]:
    """Each segment with its kind; None for what may be left out."""
    chosen = [(s, kind_by_rules(s.name, rules) or kind_of_segment(s.name, s.tags)) for s in segments]
    unknown = list(
        dict.fromkeys(s.name for s, kind in chosen if kind is None and s.mask.any() and not s.may_be_left_out)
    )
    if unknown:
        names = ", ".join(f"'{name}'" for name in unknown)
        raise LesionError(
            f"Nothing in '{where}' tells whether {names} {'is' if len(unknown) == 1 else 'are'} primary tumour or "
            f"lymph-node metastasis. Say it with --kind '{unknown[0]}=primary' (=node, or =ignore to leave it out; "
            "once for each, * fits any name), or set the terminology in 3D Slicer."
        )
    return chosen


def _unused(name: str, taken: set[str]) -> str:
    """The name, with a number behind it when it is taken."""
    candidate, repeat = name, 1
    while candidate in taken:
        repeat += 1
        candidate = f"{name} ({repeat})"
    return candidate
