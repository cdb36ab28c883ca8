"""Every correction of a lesion set: voxels, names, status, the record, undo."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict

import lesion_cases
import numpy as np
import pytest
import uptake_cases as cases
from scipy import ndimage

from HNTumorSegLib.errors import LesionError
from HNTumorSegLib.exchange.seg_nrrd import read_seg_nrrd, write_seg_nrrd
from HNTumorSegLib.exchange.segment_facts import algorithm_type
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.lesions.history import EditHistory
from HNTumorSegLib.lesions.lesion import Lesion
from HNTumorSegLib.lesions.lesion_set import LesionSet, box_of_nonzero

GRID = Geometry((40, 36, 30), (2.0, 2.0, 2.5), (-10.0, 4.0, 7.0), tuple(np.eye(3).ravel().tolist()))
VOXEL_ML = 0.01


def block(z, y, x, n=4):
    return (slice(z, z + n), slice(y, y + n), slice(x, x + n))


@pytest.fixture
def three() -> LesionSet:
    """Primary 1 (id 1, 64 voxels), Node 1 (id 2, 64 voxels), Node 2 (id 5, 27 voxels); 1 and 5 touch."""
    labels = np.zeros(GRID.shape_zyx, np.uint16)
    labels[block(4, 4, 4)], labels[block(20, 20, 20)], labels[block(4, 4, 8, 3)] = 1, 2, 5
    made = [Lesion(1, "primary", "Primary 1", score=0.9), Lesion(2, "node", "Node 1", score=0.8)]
    return LesionSet(GRID, labels, [*made, Lesion(5, "node", "Node 2", score=0.7)])


def state(lesion_set: LesionSet):
    """All that undo must bring back."""
    return lesion_set.labels.copy(), [asdict(x) for x in lesion_set.lesions], [asdict(x) for x in lesion_set.removed]


def same(a, b) -> bool:
    return np.array_equal(a[0], b[0]) and a[1:] == b[1:]


def check_consistent(lesion_set: LesionSet):
    """What is kept up to date equals what a scan over all voxels finds."""
    ids = set(np.unique(lesion_set.labels).tolist()) - {0}
    assert ids <= {x.id for x in lesion_set.lesions}
    index = lesion_set.voxel_index()
    assert index.voxels == {n: int((lesion_set.labels == n).sum()) for n in ids}
    assert index.boxes == {n: box_of_nonzero(lesion_set.labels == n) for n in ids}
    names = [x.name for x in lesion_set.lesions]
    assert len(set(names)) == len(names)
    for stem, kind in (("Primary", "primary"), ("Node", "node")):
        of_kind = [x for x in lesion_set.lesions if x.kind == kind]
        assert [x.name for x in of_kind] == [f"{stem} {n}" for n in range(1, len(of_kind) + 1)]
        volumes = [index.voxels.get(x.id, 0) for x in of_kind]
        assert volumes == sorted(volumes, reverse=True)


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


# --- split ---


def two_spheres(radii=(10.0, 8.0), overlap=2.0, spacing=(2.0, 2.0, 2.0)):
    """One lesion of two spheres that run into each other, and the truth of both."""
    geometry = cases.cube(spacing, 40.0)
    centres = np.array([-radii[0] + overlap / 2, 0, 0]), np.array([radii[1] - overlap / 2, 0, 0])
    spheres = [cases.Sphere(c, r, s) for c, r, s in zip(centres, radii, (12.0, 6.0), strict=True)]
    truth = [s.mask(geometry) for s in spheres]
    lesion = Lesion(3, "node", "Node 1", score=0.6)
    return LesionSet(geometry, (truth[0] | truth[1]).astype(np.uint16) * 3, [lesion]), spheres, truth


@pytest.mark.parametrize("with_pet", [True, False])
@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (4.07, 4.07, 3.0)])
def test_split_parts_touching_spheres(with_pet, spacing):
    lesion_set, spheres, truth = two_spheres(spacing=spacing)
    pet = (
        cases.acquire(np.random.default_rng(1), spheres, cases.cube((4.07, 4.07, 3.0)), noise=0.03)
        if with_pet
        else None
    )
    whole = lesion_set.labels > 0
    parts = lesion_set.split(3, pet)
    assert [x.id for x in parts] == [3, 4]
    assert [x.name for x in lesion_set.lesions] == ["Node 1", "Node 2"]
    np.testing.assert_array_equal(lesion_set.labels > 0, whole)
    for part, mask in zip(parts, truth, strict=True):
        assert cases.dice(lesion_set.mask(part.id), mask) > 0.85
        assert (part.status, part.score, part.history[-1].tool) == ("edited", 0.6, "split")
        assert part.history[-1].volume_after_ml == pytest.approx(lesion_set.volume_ml(part.id))
        assert algorithm_type(part) == "SEMIAUTOMATIC"
    check_consistent(lesion_set)


def test_split_into_three_and_at_a_gap():
    geometry = cases.cube((2.0, 2.0, 2.0), 40.0)
    spheres = [cases.Sphere(np.array([x, 0, 0.0]), 8.0, 9.0) for x in (-15.0, 0.0, 15.0)]
    truth = [s.mask(geometry) for s in spheres]
    lesion_set = LesionSet(geometry, np.any(truth, axis=0).astype(np.uint16), [Lesion(1, "node", "Node 1")])
    parts = lesion_set.split(1, parts=3)
    overlaps = [max(cases.dice(lesion_set.mask(p.id), t) for t in truth) for p in parts]
    assert len(parts) == 3
    assert min(overlaps) > 0.9
    apart = LesionSet(geometry, (truth[0] | truth[2]).astype(np.uint16), [Lesion(1, "node", "Node 1")])
    made = apart.split(1)
    assert {int(apart.labels[tuple(np.argwhere(t)[0])]) for t in (truth[0], truth[2])} == {x.id for x in made}


def test_what_cannot_be_split_says_why(three):
    three.labels[2, 2, 2] = 9
    three.lesions.append(Lesion(9, "node", "Node 3"))
    three.touch()
    with pytest.raises(LesionError, match="'Node 3' has 1 voxel and cannot be split into 2 parts"):
        three.split(9)
    with pytest.raises(LesionError, match="nothing in its shape parts it"):
        three.split(2)
    with pytest.raises(LesionError, match="2 parts or more"):
        three.split(2, parts=1)
    geometry = cases.cube((2.0, 2.0, 2.0), 30.0)
    ball = cases.Sphere(np.zeros(3), 10.0, 9.0)
    smooth = LesionSet(geometry, ball.mask(geometry).astype(np.uint16), [Lesion(1, "node", "Node 1")])
    pet = cases.acquire(np.random.default_rng(0), [ball], geometry, noise=0.0)
    with pytest.raises(LesionError, match="PET or shape"):
        smooth.split(1, pet)


# --- threshold ---


def test_threshold_equals_region_growing_by_brute_force():
    rng = np.random.default_rng(4)
    spheres = [cases.Sphere(np.zeros(3), 12.0, 10.0), cases.Sphere(np.array([24.0, 0, 0]), 8.0, 9.0)]
    geometry = cases.cube((2.5, 2.5, 2.5), 45.0)
    pet = cases.acquire(rng, spheres, geometry)
    import SimpleITK as sitk

    suv = sitk.GetArrayFromImage(pet)
    labels = np.zeros(geometry.shape_zyx, np.uint16)
    labels[cases.Sphere(np.zeros(3), 5.0, 0).mask(geometry)] = 1
    labels[spheres[1].mask(geometry)] = 2
    lesion_set = LesionSet(geometry, labels.copy(), [Lesion(1, "primary", "Primary 1"), Lesion(2, "node", "Node 1")])
    for threshold in (3.0, 6.0):
        lesion_set.apply_threshold(1, pet, suv_threshold=threshold)
        allowed = (suv >= threshold) & (labels != 2)
        pieces, _ = ndimage.label(allowed, np.ones((3, 3, 3)))
        expected = pieces == pieces[geometry.shape_zyx[0] // 2, geometry.shape_zyx[1] // 2, geometry.shape_zyx[2] // 2]
        np.testing.assert_array_equal(lesion_set.mask(1), expected)
        np.testing.assert_array_equal(lesion_set.mask(2), labels == 2)
    lesion_set.apply_threshold(1, pet, fraction_of_max=0.41)
    assert lesion_set[1].history[-1].note == f"SUV {0.41 * suv[expected].max():.2f}"
    assert suv[lesion_set.mask(1)].min() >= 0.41 * suv[expected].max()
    with pytest.raises(LesionError, match=r"above the maximum of 'Primary 1' \(SUV \d+\.\d\d\)"):
        lesion_set.apply_threshold(1, pet, suv_threshold=50)
    with pytest.raises(LesionError, match=r"would flood its surroundings \(\d{3,} ml"):
        lesion_set.apply_threshold(1, pet, suv_threshold=0.5)
    with pytest.raises(LesionError, match="either"):
        lesion_set.apply_threshold(1, pet)


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
