"""A small lesion set for the tests of corrections, and what they compare."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.lesions.lesion import Lesion
from HNTumorSegLib.lesions.lesion_set import LesionSet, box_of_nonzero

GRID = Geometry((40, 36, 30), (2.0, 2.0, 2.5), (-10.0, 4.0, 7.0), tuple(np.eye(3).ravel().tolist()))
VOXEL_ML = 0.01


def block(z, y, x, n=4):
    return (slice(z, z + n), slice(y, y + n), slice(x, x + n))


def make_three() -> LesionSet:
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
