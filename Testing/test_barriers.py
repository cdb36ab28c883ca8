"""Where neither a click nor a threshold may go: the brain, and beyond the PET."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import uptake_cases as cases
from scipy import ndimage

from HNTumorSegLib.errors import LesionError
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.lesions.barriers import is_cut_off
from HNTumorSegLib.lesions.lesion import Lesion
from HNTumorSegLib.lesions.lesion_set import LesionSet
from HNTumorSegLib.lesions.one_click import delineate_click

BRAIN = r"probably the brain"


def refused(pet: sitk.Image, zyx: np.ndarray) -> list[str]:
    """What clicks at these voxels are refused with; an accepted one fails."""
    geometry, said = Geometry.from_image(pet), []
    for index in zyx:
        with pytest.raises(LesionError) as error:
            delineate_click(pet, tuple(geometry.to_lps(index[::-1])))
        said.append(str(error.value))
    return said


def brain_voxels(pet: sitk.Image, above_suv: float, n: int, lowest_slice: int = 0) -> np.ndarray:
    """Random voxels of the largest piece above an SUV."""
    suv = sitk.GetArrayFromImage(pet)
    suv[:lowest_slice] = 0
    pieces, _ = ndimage.label(suv >= above_suv)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    voxels = np.argwhere(pieces == sizes.argmax())
    return voxels[np.random.default_rng(0).choice(len(voxels), n, replace=False)]


def test_clicks_on_a_phantoms_brain_are_refused():
    from HNTumorSegLib.phantom.patient import make_patient

    pet = make_patient(1_000_002, economy=True, with_tumours=False).study.pet
    n_slices = pet.GetSize()[2]
    said = refused(pet, brain_voxels(pet, 5.0, 12, n_slices // 2))
    assert sum("probably the brain" in sentence for sentence in said) >= 10
    assert all(any(character.isdigit() for character in sentence) for sentence in said)


def test_clicks_on_a_real_brain_that_the_scan_cuts_off_are_refused(shared_data):
    from HNTumorSegLib.study.reader import read_study

    pet = read_study(shared_data / "raw_pet_dicom" / "STS_001_FDG_PET" / "image").pet
    top = pet.GetSize()[2] - round(250 / pet.GetSpacing()[2])
    said = refused(pet, brain_voxels(pet, 4.0, 20, top))
    assert sum("beyond the edge of the PET" in sentence for sentence in said) >= 15


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("center", "cut"), [(0, False), (5, False), (16, True), (19, True)])
def test_a_ball_is_cut_off_where_its_middle_is_not_in_the_pet(axis, center, cut):
    """A ball of 6 voxels' radius in 20: cut 4 voxels beyond its middle, its section is 0.56 of the largest."""
    grid = Geometry((20, 20, 20), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel().tolist()))
    middle = np.full(3, 10.0)
    middle[axis] = center if center else 10.0
    zyx = np.stack(np.indices((20, 20, 20)), -1)
    ball = ((zyx - middle) ** 2).sum(-1) <= 36
    if center == 5:
        assert ball[(slice(None),) * axis + (0,)].any()  # touches the edge, and is whole but for a cap
    assert is_cut_off(ball, grid, grid) == cut


def beside_a_brain():
    """A node 4 mm beside a brain of half a litre, and a set that holds the core of the node."""
    rng = np.random.default_rng(8)
    brain = cases.Sphere(np.array([0.0, 0.0, 22.0]), 50.0, 8.0)
    node = cases.Sphere(np.array([0.0, 22.0, -35.0]), 7.5, 7.0)
    pet = cases.acquire(rng, [brain, node], cases.cube((4.0, 4.0, 3.0)), body_mm=64.0)
    geometry = Geometry.from_image(pet)
    core = cases.Sphere(node.center, 5.0, 0).mask(geometry)
    return pet, brain, LesionSet(geometry, core.astype(np.uint16), [Lesion(1, "node", "Node 1")])


def test_a_threshold_does_not_grow_into_the_brain():
    pet, brain, lesion_set = beside_a_brain()
    before = lesion_set.labels.copy()
    with pytest.raises(LesionError, match=r"flood its surroundings \(\d{3} ml"):
        lesion_set.apply_threshold(1, pet, suv_threshold=2.0)
    np.testing.assert_array_equal(lesion_set.labels, before)
    assert not lesion_set.can_undo
    lesion_set.apply_threshold(1, pet, suv_threshold=4.5)
    inside = lesion_set.mask(1) & brain.mask(lesion_set.geometry)
    assert np.count_nonzero(inside) * lesion_set.geometry.voxel_volume_ml < 0.2
    assert lesion_set.volume_ml(1) > 0.5


def test_a_threshold_within_the_brain_is_refused_and_shrinking_never_is():
    pet, brain, _ = beside_a_brain()
    geometry = Geometry.from_image(pet)
    part = cases.Sphere(brain.center, 12.0, 0).mask(geometry)
    lesion_set = LesionSet(geometry, part.astype(np.uint16), [Lesion(1, "node", "Node 1")])
    with pytest.raises(LesionError, match="brain"):
        lesion_set.apply_threshold(1, pet, fraction_of_max=0.5)
    suv = sitk.GetArrayFromImage(pet)
    lesion_set.apply_threshold(1, pet, suv_threshold=float(np.median(suv[part])))
    assert lesion_set.volume_ml(1) > 0


def test_a_threshold_does_not_grow_out_of_the_pet():
    """A ball whose middle lies in the PET's last slice: what is seen of it is not its volume."""
    grid = Geometry((40, 40, 30), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel().tolist()))
    zyx = np.stack(np.indices(grid.shape_zyx), -1)
    suv = np.where(((zyx - [29, 20, 20]) ** 2).sum(-1) <= 25, 8.0, 1.0).astype(np.float32)
    labels = (((zyx - [29, 20, 20]) ** 2).sum(-1) <= 9).astype(np.uint16)
    lesion_set = LesionSet(grid, labels, [Lesion(1, "node", "Node 1")])
    with pytest.raises(LesionError, match="'Node 1' goes on beyond the edge of the PET"):
        lesion_set.apply_threshold(1, image_from_array(suv, grid), fraction_of_max=0.5)
    with pytest.raises(LesionError, match="clicked goes on beyond the edge of the PET"):
        delineate_click(image_from_array(suv, grid), tuple(grid.to_lps(np.array([20, 20, 29]))))


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (4.07, 4.07, 3.0)])
@pytest.mark.parametrize("seed", range(3))
def test_touching_nodes_of_equal_uptake_come_as_one_and_are_parted_by_split(spacing, seed):
    """No threshold can part them; the click takes what belongs together by uptake, and split finds the waist."""
    rng = np.random.default_rng(700 + seed)
    radii = rng.uniform(8, 11, 2)
    along = cases.direction(rng) * (radii.sum() + 0.5)
    spheres = [cases.Sphere(np.zeros(3) - along / 2, radii[0], 8.0), cases.Sphere(along / 2, radii[1], 8.0)]
    geometry = cases.cube(spacing, 50.0)
    pet = cases.acquire(rng, spheres, geometry, noise=0.05)
    lesion_set = LesionSet(geometry, np.zeros(geometry.shape_zyx, np.uint16))
    first = lesion_set.add_by_click(pet, tuple(spheres[0].center))
    truths = [sphere.mask(geometry) for sphere in spheres]
    if cases.dice(lesion_set.mask(first.id), truths[0] | truths[1]) > 0.8:
        parts = lesion_set.split(first.id, pet)
    else:  # the click told them apart by itself
        parts = [first, lesion_set.add_by_click(pet, tuple(spheres[1].center))]
    assert len(parts) == 2
    for truth in truths:
        assert max(cases.dice(lesion_set.mask(part.id), truth) for part in parts) > 0.8
