"""What a Slicer segment says about its lesion: tags and terminology, the same in files and in a live scene.

Slicer keeps free text tags with every segment. Ours begin with ``HNTumorSeg.``; the terminology, the DICOM algorithm
fields and the segmentation status are Slicer's own and shown in its user interface.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from urllib.parse import quote, unquote

from HNTumorSegLib.errors import LesionError
from HNTumorSegLib.lesions.codes import ANATOMY_CONTEXT, KINDS, NODE, PRIMARY, STYLE, TERMINOLOGY_CONTEXT, Code
from HNTumorSegLib.lesions.editing import ADD, CLICK, MERGE, RELABEL, SPLIT
from HNTumorSegLib.lesions.lesion import ADDED, CONFIRMED, EDITED, PROPOSED, STATUSES, Edit, Lesion

logger = logging.getLogger(__name__)

_END = r"(?![a-z+&])"
_NAME_PATTERNS = {
    PRIMARY: re.compile(rf"{STYLE[PRIMARY].stem}|GTV[ _-]?(p|t){_END}", re.IGNORECASE),
    NODE: re.compile(rf"{STYLE[NODE].stem}|GTV[ _-]?nd?{_END}|LN{_END}|lymph", re.IGNORECASE),
}

ALGORITHM_NAME = "HNTumorSeg"
TERMINOLOGY_TAG = "TerminologyEntry"
SLICER_STATUS_TAG = "Segmentation.Status"
ALGORITHM_TYPE_TAG = "DICOM.SegmentAlgorithmType"
ALGORITHM_NAME_TAG = "DICOM.SegmentAlgorithmName"
ID_TAG = "HNTumorSeg.Id"
KIND_TAG = "HNTumorSeg.Kind"
STATUS_TAG = "HNTumorSeg.Status"
SCORE_TAG = "HNTumorSeg.Score"
HISTORY_TAG = "HNTumorSeg.History"
REMOVED_KEY = "HNTumorSeg.Removed"
"""Of the whole segmentation: the lesions that were deleted or merged away, with their histories."""
READ_TAGS = (TERMINOLOGY_TAG, SLICER_STATUS_TAG, ID_TAG, KIND_TAG, STATUS_TAG, SCORE_TAG, HISTORY_TAG)
"""The tags that make a lesion when a segment is read."""

# Values of Slicer's segment status column (vtkSlicerSegmentationsModuleLogic).
SLICER_COMPLETED = "completed"
SLICER_STATUS = {PROPOSED: "notstarted", EDITED: "inprogress", ADDED: "inprogress", CONFIRMED: SLICER_COMPLETED}
# Defined terms of DICOM's Segment Algorithm Type (0062,0008), PS3.3 C.8.20.4.
ALGORITHM_TYPE = {PROPOSED: "AUTOMATIC", CONFIRMED: "AUTOMATIC", EDITED: "SEMIAUTOMATIC", ADDED: "MANUAL"}


def segment_id(lesion: Lesion) -> str:
    """ID of a lesion's segment, unique within its set and unchanged by a new name or kind."""
    return f"Lesion_{lesion.id}"


def algorithm_type(lesion: Lesion) -> str:
    """``AUTOMATIC``, ``SEMIAUTOMATIC`` or ``MANUAL``; confirming changes none of them.

    A lesion found by one click is semi-automatic (a person chose the place, a threshold the voxels), one that was drawn
    is manual; one of the model's becomes semi-automatic with its first change of voxels or kind.
    """
    tools = {edit.tool for edit in lesion.history}
    if CLICK in tools or {ADD, MERGE} <= tools:
        return ALGORITHM_TYPE[EDITED]
    if ADD in tools or (lesion.status == CONFIRMED and lesion.score is None):
        return ALGORITHM_TYPE[ADDED]
    changed = any(edit.volume_before_ml != edit.volume_after_ml for edit in lesion.history)
    if lesion.status == CONFIRMED and (changed or tools & {RELABEL, SPLIT, MERGE}):
        return ALGORITHM_TYPE[EDITED]
    return ALGORITHM_TYPE[lesion.status]


def terminology_entry(kind: str) -> str:
    """Slicer's serialised terminology of a lesion kind.

    Seven parts joined by ``~``: context, category, type, type modifier, anatomic context, region, region modifier;
    each code is ``scheme^value^meaning`` (vtkSlicerTerminologiesModuleLogic::SerializeTerminologyEntry).
    """
    style = STYLE[kind]

    def code(c: Code) -> str:
        return f"{c.scheme}^{c.value}^{c.meaning}"

    parts = (TERMINOLOGY_CONTEXT, code(style.category), code(style.type), "^^")
    return "~".join((*parts, ANATOMY_CONTEXT, code(style.anatomy), "^^"))


def kind_of_terminology(entry: str) -> str | None:
    """The lesion kind whose type code stands in a serialised terminology, whatever its context; None if neither."""
    parts = entry.split("~")
    if len(parts) < 3:
        return None
    scheme, _, rest = parts[2].partition("^")
    value = rest.partition("^")[0]
    for kind, style in STYLE.items():
        if (scheme, value) == (style.type.scheme, style.type.value):
            return kind
    return None


def lesion_tags(lesion: Lesion, algorithm_name: str = ALGORITHM_NAME) -> dict[str, str]:
    """Every tag of a lesion's segment except the terminology, tag name to value."""
    tags = {
        SLICER_STATUS_TAG: SLICER_STATUS[lesion.status],
        ALGORITHM_TYPE_TAG: algorithm_type(lesion),
        ALGORITHM_NAME_TAG: algorithm_name.replace("|", " ").replace("\n", " "),
        ID_TAG: str(lesion.id),
        KIND_TAG: lesion.kind,
        STATUS_TAG: lesion.status,
    }
    if lesion.score is not None:
        tags[SCORE_TAG] = repr(float(lesion.score))
    if lesion.history:
        # Percent-encoded, because Slicer separates tags by a bare "|" and NRRD lines by a newline.
        tags[HISTORY_TAG] = quote(json.dumps([asdict(edit) for edit in lesion.history]), safe="")
    return tags


def removed_text(removed: Sequence[Lesion]) -> str:
    """The removed lesions as JSON; empty when there are none."""
    return json.dumps([asdict(lesion) for lesion in removed]) if removed else ""


def removed_from_text(text: str | None) -> list[Lesion]:
    """The lesions of :func:`removed_text`; none where the text is missing or damaged."""
    try:
        entries = json.loads(text or "[]")
        return [Lesion(**{**entry, "history": [Edit(**edit) for edit in entry["history"]]}) for entry in entries]
    except (KeyError, ValueError, TypeError, LesionError):
        logger.warning("The record of removed lesions cannot be read and is left out.")
        return []


def lesion_from_segment(lesion_id: int, name: str, tags: Mapping[str, str], kind: str | None = None) -> Lesion:
    """The lesion that a segment stands for; its ``kind`` is looked for in tags and name unless given.

    What a person sets in Slicer's own user interface wins: the terminology decides the kind, a segment marked
    *completed* there is confirmed. A segment without our tags counts as added by a person.

    Raises:
        LesionError: when neither terminology, tag nor name tells primary tumour from nodal metastasis.
    """
    status = tags.get(STATUS_TAG, ADDED)
    if status not in STATUSES:
        status = ADDED
    if status == PROPOSED and tags.get(SLICER_STATUS_TAG) == SLICER_COMPLETED:
        status = CONFIRMED
    return Lesion(lesion_id, kind or _kind(name, tags), name, status, _score(tags), _history(tags))


def free_id(tags: Mapping[str, str], lesions: Sequence[Lesion]) -> int:
    """The id in the tags where it is a free one, else the next after the highest."""
    taken = {lesion.id for lesion in lesions}
    text = tags.get(ID_TAG, "")
    if text.isdigit() and int(text) > 0 and int(text) not in taken:
        return int(text)
    return max(taken, default=0) + 1


def kind_of_name(name: str) -> str | None:
    """The lesion kind that a segment's name tells; None where it does not.

    Ours (``Primary 1``, ``Node 2``) and those in use for radiotherapy: ``GTVp``, ``GTV-T``, ``GTVn``, ``GTVnd``,
    ``GTV_N2``, ``LN``, ``Lymph node``. A name that could mean both (``GTVp+n``, ``GTV``) tells nothing.
    """
    for kind, pattern in _NAME_PATTERNS.items():
        if pattern.match(name.strip()):
            return kind
    return None


def kind_of_segment(name: str, tags: Mapping[str, str]) -> str | None:
    """The lesion kind by terminology, else by our tag, else by name; None where none of them tells."""
    kind = kind_of_terminology(tags.get(TERMINOLOGY_TAG, "")) or tags.get(KIND_TAG)
    return kind if kind in KINDS else kind_of_name(name)


def _kind(name: str, tags: Mapping[str, str]) -> str:
    kind = kind_of_segment(name, tags)
    if kind is not None:
        return kind
    raise LesionError(
        f"The segment '{name}' is neither a primary tumour nor a nodal metastasis. Set its terminology to "
        f"'{STYLE['primary'].type.meaning}' or '{STYLE['node'].type.meaning}', or delete it."
    )


def _score(tags: Mapping[str, str]) -> float | None:
    try:
        return float(tags[SCORE_TAG])
    except (KeyError, ValueError):
        return None


def _history(tags: Mapping[str, str]) -> list[Edit]:
    try:
        return [Edit(**entry) for entry in json.loads(unquote(tags[HISTORY_TAG]))]
    except (KeyError, ValueError, TypeError):
        return []
