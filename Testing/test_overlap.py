"""Dice similarity for one patient and for a cohort."""

from __future__ import annotations

import numpy as np
import pytest
from test_measures import grid

from HNTumorSegLib.errors import GeometryError
from HNTumorSegLib.evaluation.overlap import Overlap, overlap
from HNTumorSegLib.geometry import image_from_array

LINE = grid((1, 1, 10), spacing=(1.0, 1.0, 2.0))


def image(values):
    return image_from_array(np.array(values, np.uint8).reshape(1, 1, -1), LINE)


def test_dsc_counted_by_hand():
    result = overlap(image([1, 1, 1, 1, 0, 0, 2, 2, 0, 0]), image([0, 1, 1, 2, 0, 0, 2, 2, 2, 0]))
    assert result.primary.dsc == pytest.approx(2 * 2 / (4 + 2))
    assert result.node.dsc == pytest.approx(2 * 2 / (2 + 4))
    assert result.union.dsc == pytest.approx(2 * 5 / (6 + 6))
    assert result.union.true_ml == pytest.approx(6 * 0.002)


def test_empty_delineations_follow_the_policy():
    empty, full = image([0] * 10), image([1] * 10)
    assert overlap(empty, empty).union.dsc is None
    assert overlap(empty, full).primary.dsc == 0
    assert overlap(full, empty).union.dsc == 0
    assert overlap(full, full).node.dsc is None


def test_a_cohort_pools_volumes():
    first = overlap(image([1, 1, 0, 0, 0, 0, 0, 0, 0, 0]), image([1, 1, 0, 0, 0, 0, 0, 0, 0, 0]))
    second = overlap(image([0, 0, 1, 1, 1, 1, 1, 1, 0, 0]), image([0] * 10))
    nothing = overlap(image([0] * 10), image([0] * 10))
    cohort = sum((first, second, nothing), Overlap())
    assert cohort.primary.dsc == pytest.approx(2 * 2 / (8 + 2))
    assert cohort.node.dsc is None


def test_different_grids_are_refused():
    with pytest.raises(GeometryError, match="Delineation and truth"):
        overlap(image([0] * 10), image_from_array(np.zeros((1, 1, 9), np.uint8), grid((1, 1, 9))))
