"""Corrections that work out new voxels: splitting, and growing or shrinking to a threshold."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import uptake_cases as cases
from correction_cases import check_consistent, make_three
from scipy import ndimage

from HNTumorSegLib.errors import LesionError
from HNTumorSegLib.exchange.segment_facts import algorithm_type
from HNTumorSegLib.lesions.lesion import Lesion
from HNTumorSegLib.lesions.lesion_set import LesionSet


@pytest.fixture
def three() -> LesionSet:
    return make_three()


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
