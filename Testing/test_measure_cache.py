"""The table after corrections: equal to measuring everything anew, and only what changed is measured."""

from __future__ import annotations

import numpy as np
import pytest
from test_measures import grid, lesions, positions, sphere

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.geometry import image_from_array
from HNTumorSegLib.lesions.codes import NODE, PRIMARY
from HNTumorSegLib.measures.cache import MeasurementCache
from HNTumorSegLib.measures.table import measure

GRID = grid((30, 32, 40))


def middle(z, y, x):
    return positions(GRID)[z, y, x]


@pytest.fixture
def scene():
    """Three lesions and noise as PET."""
    masks = [
        sphere(GRID, middle(8, 8, 8), 9.0),
        sphere(GRID, middle(20, 20, 30), 8.0),
        sphere(GRID, middle(8, 24, 30), 7.0),
    ]
    suv = np.random.default_rng(2).uniform(1, 9, GRID.shape_zyx).astype(np.float32)
    return lesions(GRID, *masks, kinds=[PRIMARY, NODE, NODE]), image_from_array(suv, GRID)


def coarse_pet():
    coarse = grid((18, 18, 24), spacing=(4.0, 5.0, 6.0))
    return image_from_array(np.random.default_rng(3).uniform(1, 9, coarse.shape_zyx), coarse)


def test_every_correction_gives_the_table_of_a_full_measurement(scene):
    lesion_set, pet = scene
    for image in (pet, coarse_pet()):
        cache = MeasurementCache(lesion_set, image)
        assert cache.measurements() == measure(lesion_set, image)
        steps = [
            (lambda: lesion_set.relabel(2, PRIMARY), []),
            (lambda: lesion_set.confirm_all(), []),
            (
                lambda: lesion_set.replace_mask(
                    3, np.zeros((2, 32, 40), bool), (slice(8, 10), slice(0, 32), slice(0, 40))
                ),
                [3],
            ),
            (lambda: lesion_set.remove(1), []),
            (lesion_set.undo, [1]),
            (lambda: lesion_set.merge([1, 3]), [1]),
            (lesion_set.undo, [1, 3]),
            (lesion_set.undo, [3]),
            (lesion_set.redo, [3]),
            (lesion_set.undo, [3]),
            (lesion_set.undo, []),
            (lesion_set.undo, []),
        ]
        for step, measured in steps:
            step()
            assert cache.measurements() == measure(lesion_set, image)
            assert sorted(cache.last_measured) == measured
            cache.measurements()
            assert cache.last_measured == []


def test_voxels_written_directly_are_seen_after_touch(scene):
    lesion_set, pet = scene
    cache = MeasurementCache(lesion_set, pet)
    cache.measurements()
    lesion_set.labels[7, 7, 8] = 0
    lesion_set.labels[lesion_set.labels == 2] = 0
    lesion_set.touch([1, 2])
    table = cache.measurements()
    assert sorted(cache.last_measured) == [1, 2]
    assert table == measure(lesion_set, pet)
    assert next(row for row in table.rows if row.id == 2).suv_max is None


def test_a_lesion_that_cannot_be_measured_is_named_and_measured_once_it_can(scene):
    lesion_set, pet = scene
    pet[8, 8, 8] = float("nan")
    cache = MeasurementCache(lesion_set, pet)
    with pytest.raises(InputError, match="'primary 1'"):
        cache.measurements()
    lesion_set.replace_mask(1, np.zeros((1, 1, 1), bool), (slice(8, 9),) * 3)
    assert cache.measurements() == measure(lesion_set, pet)
