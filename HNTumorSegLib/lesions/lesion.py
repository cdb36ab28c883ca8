"""What one lesion is, and what was done to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from HNTumorSegLib.errors import LesionError
from HNTumorSegLib.lesions.codes import KINDS

PROPOSED = "proposed"
CONFIRMED = "confirmed"
EDITED = "edited"
ADDED = "added"
STATUSES = (PROPOSED, CONFIRMED, EDITED, ADDED)


@dataclass(frozen=True)
class Edit:
    """One entry of the record of edits: who did what, with which tool, when, and what it did to the volume."""

    actor: str
    tool: str
    time_utc: str
    volume_before_ml: float
    volume_after_ml: float
    note: str = ""


@dataclass
class Lesion:
    """One primary tumour or nodal metastasis.

    ``id`` is the voxel value of the lesion in its set's label array and never changes; ``name`` follows the kind.
    ``score`` is the model's mean probability of the lesion's class inside it (None when a person drew it).
    """

    id: int
    kind: str
    name: str
    status: str = PROPOSED
    score: float | None = None
    history: list[Edit] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise LesionError(f"A lesion's kind is one of {', '.join(KINDS)}, not '{self.kind}'.")
        if self.status not in STATUSES:
            raise LesionError(f"A lesion's status is one of {', '.join(STATUSES)}, not '{self.status}'.")
