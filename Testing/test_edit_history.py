"""Undo and redo of every correction, and the record of edits in files."""

from __future__ import annotations

import json
from dataclasses import asdict

import lesion_cases
import numpy as np
import pytest
from correction_cases import GRID, block, check_consistent, make_three, same, state

from HNTumorSegLib.errors import LesionError
from HNTumorSegLib.exchange.seg_nrrd import read_seg_nrrd, write_seg_nrrd
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.lesions.history import EditHistory
from HNTumorSegLib.lesions.lesion import Lesion
from HNTumorSegLib.lesions.lesion_set import LesionSet


@pytest.fixture
def three() -> LesionSet:
    return make_three()


# --- undo ---


def random_correction(lesion_set: LesionSet, rng) -> None:
    ids = [x.id for x in lesion_set.lesions]
    number = int(rng.choice(ids)) if ids else 0
    corner = rng.integers(0, 25, 3)
    box = tuple(slice(int(c), int(c) + 5) for c in corner)
    what = rng.integers(7)
    if what == 0 or len(ids) < 3:
        lesion_set.add(rng.random((5, 5, 5)) < 0.4, rng.choice(["primary", "node"]), box=box)
    elif what == 1:
        lesion_set.remove(number)
    elif what == 2:
        lesion_set.merge(rng.choice(ids, 2, replace=False).tolist())
    elif what == 3:
        lesion_set.relabel(number, str(rng.choice(["primary", "node"])))
    elif what == 4:
        lesion_set.confirm(number)
    elif what == 5:
        lesion_set.split(number)
    else:
        lesion_set.replace_mask(number, rng.random((5, 5, 5)) < 0.5, box)


def test_a_hundred_random_corrections_and_all_of_them_taken_back(three):
    rng = np.random.default_rng(17)
    states = [state(three)]
    refused = 0
    while len(states) < 100:
        before, revision = state(three), three.revision
        try:
            random_correction(three, rng)
        except LesionError:
            refused += 1
            assert same(state(three), before)
        check_consistent(three)
        if three.revision != revision:
            states.append(state(three))
    assert refused > 0
    for expected in reversed(states[:-1]):
        three.undo()
        assert same(state(three), expected)
        check_consistent(three)
    assert not three.can_undo
    with pytest.raises(LesionError, match="nothing to undo"):
        three.undo()
    for expected in states[1:]:
        three.redo()
        assert same(state(three), expected)
    assert not three.can_redo
    three.undo()
    three.add(np.ones((3, 3, 3), bool), "node", box=block(26, 30, 30, 3))
    assert not three.can_redo


def test_undo_keeps_boxes_not_volumes():
    geometry = Geometry((256, 256, 200), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel().tolist()))
    labels = np.zeros(geometry.shape_zyx, np.uint16)
    labels[block(50, 50, 50, 10)], labels[block(150, 200, 200, 10)] = 1, 2
    lesion_set = LesionSet(geometry, labels, [Lesion(1, "node", "Node 1"), Lesion(2, "node", "Node 2")])
    lesion_set.remove(1)
    lesion_set.merge([2, lesion_set.add(np.ones((4, 4, 4), bool), "node", box=block(10, 10, 10)).id])
    kept = sum(step.n_bytes for step in lesion_set.edits._done)
    assert kept <= 2 * (10**3 + 4**3 + 4**3)


def test_the_oldest_steps_are_forgotten(three, monkeypatch):
    monkeypatch.setattr("HNTumorSegLib.lesions.history.MOST_STEPS", 3)
    for kind in ("node", "primary", "node", "primary", "node"):
        three.relabel(1, kind)
    for _ in range(3):
        three.undo()
    assert not three.can_undo
    assert (three[1].kind, len(three[1].history)) == ("primary", 2)


def test_changed_ids_since_a_revision(three):
    start = three.revision
    three.relabel(1, "node")
    assert three.changed_ids(start) == set()
    middle = three.revision
    three.remove(5)
    three.replace_mask(2, np.zeros((1, 1, 1), bool), (slice(20, 21),) * 3)
    assert three.changed_ids(middle) == {2}
    three.undo()
    three.undo()
    assert three.changed_ids(middle) == {2, 5}
    assert isinstance(three.edits, EditHistory)


def test_corrections_of_several_lesions_are_one_step(three):
    before = state(three)
    with three.one_step("remove"):
        three.remove(1)
        three.remove(5)
        three.relabel(2, "primary")
    after = state(three)
    check_consistent(three)
    assert [x.id for x in three.removed] == [1, 5]
    assert three.undo() == "remove"
    assert same(state(three), before)
    check_consistent(three)
    assert not three.can_undo
    assert three.redo() == "remove"
    assert same(state(three), after)
    check_consistent(three)
    three.undo()
    assert same(state(three), before)


def test_steps_over_the_same_voxels_come_back_in_order(three):
    """Each step keeps what it found, so they must be taken back last first and done again first first."""
    before = state(three)
    box = block(4, 4, 4)
    with three.one_step("paint"):
        three.replace_mask(2, np.ones((4, 4, 4), bool), box)
        three.replace_mask(5, np.ones((4, 4, 4), bool), box)
    after = state(three)
    three.undo()
    assert same(state(three), before)
    three.redo()
    assert same(state(three), after)
    check_consistent(three)


def test_an_error_within_one_step_takes_all_of_it_back(three):
    three.relabel(2, "primary")
    three.undo()
    before = state(three)

    def remove_both():
        with three.one_step("remove"):
            three.remove(1)
            three.remove(99)

    with pytest.raises(LesionError, match="no lesion with id 99"):
        remove_both()
    assert same(state(three), before)
    check_consistent(three)
    assert not three.can_undo
    assert three.can_redo  # what was undone before can still be done again


def test_one_step_in_which_nothing_changes_is_none(three):
    with three.one_step("relabel"):
        three.relabel(1, "primary")
    assert not three.can_undo


# --- kept in files ---


def test_the_record_survives_a_file(three, tmp_path):
    three.relabel(2, "primary", actor="Dr. A|B: 50 %\nsecond")
    three.remove(5, actor="Dr. Ä", note="spurious; 100 % sure")
    three.confirm_all()
    back = read_seg_nrrd(write_seg_nrrd(three, tmp_path / "a.seg.nrrd"))
    assert [asdict(x) for x in back.lesions] == [asdict(x) for x in three.lesions]
    assert [asdict(x) for x in back.removed] == [asdict(x) for x in three.removed]
    assert back.add(np.ones((2, 2, 2), bool), "node", box=block(14, 14, 14, 2)).id == 6


def test_the_record_survives_a_scene(three, no_vtk_errors):
    from HNTumorSegLib.mrml.core_app import new_scene
    from HNTumorSegLib.mrml.segmentations import lesion_set_to_segmentation, segmentation_to_lesion_set
    from HNTumorSegLib.mrml.volumes import volume_to_node

    three.remove(5, actor="Dr. Ä", note='"quoted" & <marked>')
    three.relabel(2, "primary")
    scene = new_scene()
    volume = volume_to_node(image_from_array(np.zeros(GRID.shape_zyx, np.float32), GRID), "PET", scene)
    back = segmentation_to_lesion_set(lesion_set_to_segmentation(three, volume, "Lesions"))
    assert [asdict(x) for x in back.removed] == [asdict(x) for x in three.removed]
    assert [asdict(x) for x in back.lesions] == [asdict(x) for x in three.lesions]
    scene.Clear(True)


def test_a_damaged_record_of_removed_lesions_is_left_out(tmp_path, caplog):
    from HNTumorSegLib.exchange.segment_facts import removed_from_text

    assert removed_from_text(None) == []
    assert removed_from_text("") == []
    for text in ("{", json.dumps([{"id": 1}]), json.dumps([{"id": 1, "kind": "x", "name": "", "history": []}])):
        caplog.clear()
        assert removed_from_text(text) == []
        assert "cannot be read" in caplog.text
    assert read_seg_nrrd(write_seg_nrrd(lesion_cases.lesions(), tmp_path / "old.seg.nrrd")).removed == []
