"""The one place for what a lesion kind is called, coded and coloured.

SNOMED CT codes as 3D Slicer's segmentation terminologies use them.
"""

from __future__ import annotations

from dataclasses import dataclass

PRIMARY = "primary"
NODE = "node"
KINDS = (PRIMARY, NODE)

LABEL_PRIMARY = 1
LABEL_NODE = 2
LABEL_OF_KIND = {PRIMARY: LABEL_PRIMARY, NODE: LABEL_NODE}
KIND_OF_LABEL = {label: kind for kind, label in LABEL_OF_KIND.items()}


@dataclass(frozen=True)
class Code:
    """A coded concept: coding scheme, value, meaning."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class KindStyle:
    """Name stem, codes and colour (RGB, 0 to 255) of a lesion kind."""

    stem: str
    category: Code
    type: Code
    anatomy: Code
    color: tuple[int, int, int]


MORPHOLOGICALLY_ALTERED = Code("SCT", "49755003", "Morphologically Altered Structure")
HEAD_AND_NECK = Code("SCT", "774007", "Head and neck")
LYMPH_NODE = Code("SCT", "59441001", "Lymph node")

STYLE = {
    PRIMARY: KindStyle(
        stem="Primary",
        category=MORPHOLOGICALLY_ALTERED,
        type=Code("SCT", "86049000", "Neoplasm, Primary"),
        anatomy=HEAD_AND_NECK,
        color=(230, 60, 50),
    ),
    NODE: KindStyle(
        stem="Node",
        category=MORPHOLOGICALLY_ALTERED,
        type=Code("SCT", "14799000", "Neoplasm, Secondary"),
        anatomy=LYMPH_NODE,
        color=(60, 150, 240),
    ),
}
TERMINOLOGY_CONTEXT = "Head and neck tumour burden - HNTumorSeg"
ANATOMY_CONTEXT = "Head and neck anatomy - HNTumorSeg"
