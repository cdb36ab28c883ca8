"""The terminology files: the codes of lesions/codes.py, in the form that Slicer's own logic reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from HNTumorSegLib.exchange.segment_facts import kind_of_terminology, terminology_entry
from HNTumorSegLib.lesions.codes import ANATOMY_CONTEXT, STYLE, TERMINOLOGY_CONTEXT

RESOURCES = Path(__file__).resolve().parents[1] / "Resources"
SEGMENTATION = RESOURCES / "HNTumorSeg.term.json"
ANATOMY = RESOURCES / "HNTumorSeg-anatomy.term.json"


def coded(entry):
    return entry["CodingSchemeDesignator"], entry["CodeValue"], entry["CodeMeaning"]


def triple(code):
    return code.scheme, code.value, code.meaning


def test_types_equal_the_codes():
    file = json.loads(SEGMENTATION.read_text(encoding="utf-8"))
    assert file["SegmentationCategoryTypeContextName"] == TERMINOLOGY_CONTEXT
    (category,) = file["SegmentationCodes"]["Category"]
    assert {coded(category)} == {triple(style.category) for style in STYLE.values()}
    assert [coded(t) for t in category["Type"]] == [triple(style.type) for style in STYLE.values()]
    assert [tuple(t["recommendedDisplayRGBValue"]) for t in category["Type"]] == [s.color for s in STYLE.values()]


def test_regions_hold_the_codes():
    file = json.loads(ANATOMY.read_text(encoding="utf-8"))
    assert file["AnatomicContextName"] == ANATOMY_CONTEXT
    regions = [coded(region) for region in file["AnatomicCodes"]["AnatomicRegion"]]
    assert {triple(style.anatomy) for style in STYLE.values()} <= set(regions)
    # SNOMED CT, as listed with Slicer's conventions: pharynx, larynx, tongue.
    assert {"54066008", "4596009", "21974007"} <= {value for _, value, _ in regions}
    assert len(regions) == len(set(regions))


@pytest.fixture
def logic(no_vtk_errors):
    from HNTumorSegLib.mrml import core_app

    logic = core_app.module_logic("Terminologies")
    assert logic.LoadTerminologyFromFile(str(SEGMENTATION)) == TERMINOLOGY_CONTEXT
    load_regions = getattr(logic, "LoadRegionContextFromFile", None) or logic.LoadAnatomicContextFromFile
    assert load_regions(str(ANATOMY)) == ANATOMY_CONTEXT
    return logic


@pytest.mark.parametrize("kind", STYLE)
def test_slicer_finds_what_the_segments_say(logic, kind):
    import slicer

    entry = slicer.vtkSlicerTerminologyEntry()
    assert logic.DeserializeTerminologyEntry(terminology_entry(kind), entry)
    assert entry.GetTerminologyContextName() == TERMINOLOGY_CONTEXT
    assert entry.GetTypeObject().GetCodeValue() == STYLE[kind].type.value
    assert logic.SerializeTerminologyEntry(entry) == terminology_entry(kind)
    category, found = slicer.vtkSlicerTerminologyCategory(), slicer.vtkSlicerTerminologyType()
    assert logic.GetNthCategoryInTerminology(TERMINOLOGY_CONTEXT, 0, category)
    number = list(STYLE).index(kind)
    assert logic.GetNthTypeInTerminologyCategory(TERMINOLOGY_CONTEXT, category, number, found)
    assert found.GetCodeMeaning() == STYLE[kind].type.meaning
    assert tuple(found.GetRecommendedDisplayRGBValue()) == STYLE[kind].color
    assert category.GetShowAnatomy()


def test_kind_is_read_from_any_context():
    other = "Another list~SCT^49755003^x~SCT^14799000^Neoplasm, Secondary~^^~~^^~^^"
    assert kind_of_terminology(other) == "node"
    assert kind_of_terminology("Another list~SCT^1^x~XYZ^14799000^another scheme~^^~~^^~^^") is None
    assert kind_of_terminology("") is None
