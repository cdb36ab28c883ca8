"""The corrections of a lesion set: voxels, names, status, the record."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from correction_cases import GRID, VOXEL_ML, block, make_three

from HNTumorSegLib.errors import LesionError
from HNTumorSegLib.exchange.segment_facts import algorithm_type
from HNTumorSegLib.lesions.lesion_set import LesionSet


@pytest.fixture
def three() -> LesionSet:
    return make_three()


def test_relabel_changes_name_order_status_and_record(three):
    three.relabel(2, "primary", actor="Dr. A")
    assert [(x.id, x.name, x.status) for x in three.lesions] == [
        (1, "Primary 1", "proposed"),
        (2, "Primary 2", "edited"),
        (5, "Node 1", "proposed"),
    ]
    edit = three[2].history[-1]
    assert (edit.actor, edit.tool, edit.note) == ("Dr. A", "relabel", "node to primary")
    assert edit.volume_before_ml == edit.volume_after_ml == pytest.approx(0.64)
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(edit.time_utc)
    assert abs(age.total_seconds()) < 60
    assert algorithm_type(three[2]) == "SEMIAUTOMATIC"
    assert algorithm_type(three[1]) == "AUTOMATIC"
    three.relabel(2, "primary")
    assert len(three[2].history) == 1
    with pytest.raises(LesionError, match="not 'metastasis'"):
        three.relabel(2, "metastasis")
    with pytest.raises(LesionError, match="no lesion with id 77"):
        three.relabel(77, "node")


def test_remove_keeps_the_lesion_in_the_record_and_its_id_stays_used(three):
    three.remove(5, actor="Dr. B")
    assert [x.id for x in three.lesions] == [1, 2]
    assert not (three.labels == 5).any()
    gone = three.removed[0]
    assert (gone.id, gone.name, gone.history[-1].tool) == (5, "Node 2", "remove")
    assert (gone.history[-1].volume_before_ml, gone.history[-1].volume_after_ml) == (pytest.approx(0.27), 0)
    mask = np.zeros(GRID.shape_zyx, bool)
    mask[block(12, 12, 12, 2)] = True
    assert three.add(mask, "node").id == 6


def test_merge_goes_into_the_largest(three):
    merged = three.merge([5, 1], actor="Dr. A")
    assert (merged.id, merged.kind, merged.status) == (1, "primary", "edited")
    assert (three.labels == 1).sum() == 64 + 27
    assert merged.history[-1].volume_after_ml == pytest.approx(0.91)
    assert merged.history[-1].note == "with Node 2 (id 5, node)"
    assert three.removed[0].history[-1].note == "merged into Primary 1 (id 1)"
    with pytest.raises(LesionError, match="two lesions"):
        three.merge([1, 1])


def test_add_takes_free_voxels_only(three):
    mask = np.zeros(GRID.shape_zyx, bool)
    mask[block(4, 4, 6, 4)] = True
    before = three.labels.copy()
    lesion = three.add(mask, "node", actor="Dr. A")
    np.testing.assert_array_equal(three.mask(lesion.id), mask & (before == 0))
    assert (lesion.status, algorithm_type(lesion), lesion.score) == ("added", "MANUAL", None)
    assert lesion.history[-1].volume_after_ml == pytest.approx((mask & (before == 0)).sum() * VOXEL_ML)
    three.confirm(lesion.id)
    assert (three[lesion.id].status, algorithm_type(three[lesion.id])) == ("confirmed", "MANUAL")
    three.replace_mask(lesion.id, np.zeros((1, 36, 40), bool), (slice(7, 8), slice(0, 36), slice(0, 40)))
    assert three[lesion.id].status == "added"
    inside = np.zeros(GRID.shape_zyx, bool)
    inside[5, 5, 5] = True
    with pytest.raises(LesionError, match="wholly inside 'Primary 1'"):
        three.add(inside, "node")
    with pytest.raises(LesionError, match="no voxel"):
        three.add(np.zeros(GRID.shape_zyx, bool), "node")
    with pytest.raises(LesionError, match="shape"):
        three.add(np.ones((2, 2, 2), bool), "node")
    with pytest.raises(LesionError, match="box"):
        three.add(np.ones((2, 2, 2), bool), "node", box=block(29, 0, 0, 2))


def test_replace_mask_in_a_box_and_over_another_lesion(three):
    box = block(3, 3, 7, 6)
    mask = three.labels[box] == 1
    mask[1:4, 1:4, 1:3] = True
    three.replace_mask(1, mask, box, actor="Dr. A")
    painted = np.zeros(GRID.shape_zyx, bool)
    painted[4:7, 4:7, 8:10] = True
    assert (three.labels == 1).sum() == 64 + 18
    assert (three.labels == 5).sum() == 9
    assert (three.labels[painted] == 1).all()
    assert three[5].history[-1].note == "painted over by Primary 1 (id 1)"
    assert (three[5].history[-1].volume_before_ml, three[5].history[-1].volume_after_ml) == pytest.approx((0.27, 0.09))
    assert three[5].status == three[1].status == "edited"
    three.replace_mask(1, (three.labels == 1) | (three.labels == 5))
    assert [x.id for x in three.removed] == [5]
    revision = three.revision
    three.replace_mask(1, three.labels == 1)
    assert three.revision == revision


def test_erasing_everything_removes_the_lesion(three):
    three.replace_mask(2, np.zeros(GRID.shape_zyx, bool), tool="erase")
    assert [x.id for x in three.lesions] == [1, 5]
    assert three.removed[0].history[-1].tool == "erase"
    three.undo()
    assert (three.labels == 2).sum() == 64


def test_fill_holes_fills_closed_ones_only(three):
    labels = three.labels
    labels[21:23, 21:23, 21:23] = 0
    three.touch()
    three.fill_holes(2)
    assert (three.labels[block(20, 20, 20)] == 2).all()
    assert (three.labels == 2).sum() == 64
    with pytest.raises(LesionError, match="'Node 1' has no closed hole"):
        three.fill_holes(2)


def test_a_lesion_inside_another_ones_hole_is_not_swallowed(three):
    three.labels[21:23, 21:23, 21:23] = 0
    three.labels[21, 21, 21] = 5
    three.touch()
    three.fill_holes(2)
    assert three.labels[21, 21, 21] == 5
    assert (three.labels == 2).sum() == 63


def test_confirming_and_changing_again(three):
    three.confirm(1, actor="Dr. A")
    assert (three[1].status, algorithm_type(three[1])) == ("confirmed", "AUTOMATIC")
    three.confirm_all(actor="Dr. B")
    assert {x.status for x in three.lesions} == {"confirmed"}
    assert [e.actor for e in three[1].history] == ["Dr. A"]
    three.relabel(1, "node")
    assert three[1].status == "edited"
    three.confirm(1)
    assert algorithm_type(three[1]) == "SEMIAUTOMATIC"
    for _ in range(4):
        three.undo()
    assert {x.status for x in three.lesions} == {"proposed"}
