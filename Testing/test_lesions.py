"""From label images to lesions."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from test_measures import grid

from HNTumorSegLib.errors import GeometryError, LesionError
from HNTumorSegLib.geometry import image_from_array
from HNTumorSegLib.lesions.codes import NODE, PRIMARY
from HNTumorSegLib.lesions.from_labels import lesions_from_labels
from HNTumorSegLib.lesions.lesion import Lesion
from HNTumorSegLib.lesions.lesion_set import LesionSet, box_of_nonzero

GRID = grid((20, 24, 28), spacing=(2.0, 2.0, 2.5))  # 0.01 ml a voxel: ten voxels are the smallest lesion


def label_image(*blocks) -> sitk.Image:
    """Blocks of (label, z slice, y slice, x slice) painted one after the other."""
    array = np.zeros(GRID.shape_zyx, np.uint8)
    for label, z, y, x in blocks:
        array[z, y, x] = label
    return image_from_array(array, GRID)


def span(start: int, length: int) -> slice:
    return slice(start, start + length)


def flood(mask: np.ndarray) -> list[set[tuple[int, ...]]]:
    """Connected structures by a plain flood fill over 26 neighbours."""
    left = set(map(tuple, np.argwhere(mask).tolist()))
    steps = [(a, b, c) for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1)]
    found = []
    while left:
        front, seen = [left.pop()], set()
        while front:
            voxel = front.pop()
            seen.add(voxel)
            for step in steps:
                near = tuple(v + s for v, s in zip(voxel, step, strict=True))
                if near in left:
                    left.remove(near)
                    front.append(near)
        found.append(seen)
    return found


def test_lesions_are_named_by_kind_and_size():
    labels = label_image(
        (2, span(1, 2), span(1, 2), span(1, 3)),  # 12 voxels
        (2, span(10, 3), span(1, 3), span(1, 3)),  # 27
        (1, span(1, 2), span(10, 3), span(10, 3)),  # 18
        (1, span(10, 4), span(10, 4), span(10, 4)),  # 64
    )
    found = lesions_from_labels(labels)
    assert [(x.id, x.name, x.kind, x.status) for x in found.lesions] == [
        (1, "Primary 1", PRIMARY, "proposed"),
        (2, "Primary 2", PRIMARY, "proposed"),
        (3, "Node 1", NODE, "proposed"),
        (4, "Node 2", NODE, "proposed"),
    ]
    assert found.volumes_ml() == pytest.approx({1: 0.64, 2: 0.18, 3: 0.27, 4: 0.12})
    assert found.box(3) == (span(10, 3), span(1, 3), span(1, 3))
    np.testing.assert_array_equal(found.kind_labels(), sitk.GetArrayFromImage(labels))
    assert found.geometry == GRID
    assert found.dropped_ml == 0
    assert found.notes == []


def test_equal_volumes_are_named_in_scan_order():
    blocks = [(2, span(z, 2), span(y, 2), span(2, 3)) for z, y in [(12, 2), (2, 14), (2, 2)]]
    found = lesions_from_labels(label_image(*blocks))
    assert [found.box(x.id)[:2] for x in found.lesions] == [
        (span(2, 2), span(2, 2)),
        (span(2, 2), span(14, 2)),
        (span(12, 2), span(2, 2)),
    ]


def test_corners_connect_and_gaps_separate():
    corner = label_image((1, span(2, 3), span(2, 2), span(2, 2)), (1, span(5, 3), span(4, 2), span(4, 2)))
    assert len(lesions_from_labels(corner)) == 1
    gap = label_image((1, span(2, 3), span(2, 2), span(2, 2)), (1, span(6, 3), span(4, 2), span(4, 2)))
    assert len(lesions_from_labels(gap)) == 2


def test_components_equal_a_flood_fill_on_random_voxels():
    rng = np.random.default_rng(4)
    array = np.where(rng.random(GRID.shape_zyx) < 0.05, 2, 0).astype(np.uint8)
    found = lesions_from_labels(image_from_array(array, GRID), minimum_lesion_ml=0)
    expected = flood(array == 2)
    assert len(expected) > 20
    assert sorted(map(len, expected), reverse=True) == [int((found.labels == x.id).sum()) for x in found.lesions]
    for structure in expected:
        assert len({int(found.labels[v]) for v in structure}) == 1


def test_only_structures_below_the_minimum_are_dropped_and_that_is_said():
    labels = label_image(
        (1, span(1, 1), span(1, 2), span(1, 5)),  # 10 voxels: exactly 0.1 ml
        (2, span(10, 1), span(10, 3), span(10, 3)),  # 9 voxels
        (2, span(15, 1), span(15, 1), span(15, 1)),
    )
    found = lesions_from_labels(labels)
    assert [x.name for x in found.lesions] == ["Primary 1"]
    assert found.dropped_ml == pytest.approx(0.10)
    assert found.notes[0].startswith("2 structures were below 0.1 ml and left out, together 0.100 ml")
    assert len(lesions_from_labels(labels, minimum_lesion_ml=0.0)) == 3
    assert (found.labels > 0).sum() == 10


def test_a_fragment_of_the_other_class_joins_the_lesion_it_touches():
    labels = label_image(
        (1, span(5, 4), span(5, 4), span(5, 4)),
        (2, span(9, 1), span(5, 2), span(5, 2)),  # 4 voxels on top
        (2, span(6, 1), span(6, 1), span(6, 1)),  # 1 voxel within
    )
    found = lesions_from_labels(labels)
    assert [(x.name, found.volumes_ml()[x.id]) for x in found.lesions] == [("Primary 1", pytest.approx(0.68))]
    assert found.dropped_ml == 0


def test_two_fragments_that_are_a_lesion_only_together_are_kept():
    labels = label_image((1, span(5, 1), span(5, 2), span(5, 4)), (2, span(6, 1), span(5, 2), span(5, 3)))
    found = lesions_from_labels(labels)
    assert [(x.name, found.volumes_ml()[x.id]) for x in found.lesions] == [("Primary 1", pytest.approx(0.14))]
    smaller = label_image((1, span(5, 1), span(5, 1), span(5, 4)), (2, span(6, 1), span(5, 1), span(5, 3)))
    assert lesions_from_labels(smaller).dropped_ml == pytest.approx(0.07)


def test_two_large_neighbours_of_different_class_stay_two_lesions():
    labels = label_image((1, span(5, 3), span(5, 3), span(5, 3)), (2, span(8, 3), span(5, 3), span(5, 3)))
    assert [x.name for x in lesions_from_labels(labels).lesions] == ["Primary 1", "Node 1"]


def test_no_touching_tumour_voxel_is_lost_on_random_mixtures():
    """Whatever is left out belongs to structures (of either class together) that are too small as a whole."""
    rng = np.random.default_rng(9)
    tumour = np.zeros(GRID.shape_zyx, bool)
    for corner in rng.integers(0, 16, (14, 3)):
        tumour[tuple(slice(c, c + n) for c, n in zip(corner, rng.integers(1, 5, 3), strict=True))] = True
    array = np.where(tumour, rng.integers(1, 3, tumour.shape), 0).astype(np.uint8)
    found = lesions_from_labels(image_from_array(array, GRID))
    for structure in flood(tumour):
        inside = np.array([found.labels[v] > 0 for v in structure])
        if len(structure) >= 10:
            assert inside.all()
        else:
            assert not inside.any()
    again = lesions_from_labels(image_from_array(found.kind_labels(), GRID))
    np.testing.assert_array_equal(again.labels, found.labels)


def test_scores_are_the_mean_probability_of_the_lesions_own_class():
    rng = np.random.default_rng(6)
    labels = label_image((1, span(2, 3), span(2, 3), span(2, 3)), (2, span(10, 3), span(10, 3), span(10, 3)))
    primary, node = (rng.random(GRID.shape_zyx).astype(np.float32) for _ in range(2))
    found = lesions_from_labels(labels, 0.1, image_from_array(primary, GRID), image_from_array(node, GRID))
    assert found[1].score == pytest.approx(primary[2:5, 2:5, 2:5].mean(), rel=1e-5)
    assert found[2].score == pytest.approx(node[10:13, 10:13, 10:13].mean(), rel=1e-5)
    assert lesions_from_labels(labels)[1].score is None


def test_an_empty_label_image_gives_an_empty_set():
    found = lesions_from_labels(label_image())
    assert len(found) == 0
    assert found.boxes() == {}
    assert not found.kind_labels().any()


def test_bad_labels_minimum_and_probabilities_are_refused():
    with pytest.raises(LesionError, match="value 3"):
        lesions_from_labels(label_image((3, span(1, 1), span(1, 1), span(1, 1))))
    half = np.zeros(GRID.shape_zyx)
    half[1, 1, 1] = 0.5
    with pytest.raises(LesionError, match=r"value 0\.5"):
        lesions_from_labels(image_from_array(half, GRID))
    with pytest.raises(LesionError, match="-1"):
        lesions_from_labels(label_image(), -1)
    with pytest.raises(GeometryError, match="primary probability"):
        lesions_from_labels(label_image(), 0.1, image_from_array(np.zeros((3, 3, 3)), grid((3, 3, 3))))


def test_renaming_follows_kind_and_size_and_keeps_ids():
    labels = np.zeros(GRID.shape_zyx, np.uint16)
    labels[2:4, 2, 2], labels[5:9, 5, 5], labels[10, 10, 10] = 7, 3, 5
    lesion_set = LesionSet(GRID, labels, [Lesion(7, NODE, "a"), Lesion(5, NODE, "b"), Lesion(3, PRIMARY, "c")])
    lesion_set[7].kind = PRIMARY
    lesion_set.rename()
    assert [(x.id, x.name) for x in lesion_set.lesions] == [(3, "Primary 1"), (7, "Primary 2"), (5, "Node 1")]
    with pytest.raises(LesionError, match="no lesion with id 4"):
        lesion_set.box(4)


def test_the_box_of_nonzero_voxels():
    array = np.zeros((6, 7, 8), np.uint8)
    assert box_of_nonzero(array) is None
    array[1, 3, 7] = array[4, 2, 5] = 1
    assert box_of_nonzero(array) == (slice(1, 5), slice(2, 4), slice(5, 8))
