"""One click: against spheres with known borders, and against tumours delineated by people in real PET."""

from __future__ import annotations

import re

import numpy as np
import pytest
import SimpleITK as sitk
import uptake_cases as cases
from lesion_cases import DIRECTIONS
from scipy import ndimage

from HNTumorSegLib.errors import LesionError
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.lesions.lesion import Lesion
from HNTumorSegLib.lesions.lesion_set import LesionSet
from HNTumorSegLib.lesions.one_click import delineate_click, threshold_suv

PATIENTS = [f"STS_{n:03d}" for n in (1, 2, 3, 8, 15, 18, 19, 24, 25, 35)]


def empty_set(geometry: Geometry) -> LesionSet:
    return LesionSet(geometry, np.zeros(geometry.shape_zyx, np.uint16))


def clicked(pet: sitk.Image, point, geometry: Geometry | None = None) -> np.ndarray:
    lesion_set = empty_set(Geometry.from_image(pet) if geometry is None else geometry)
    lesion = lesion_set.add_by_click(pet, point)
    return lesion_set.mask(lesion.id)


def test_the_threshold_is_41_percent_of_the_maximum_at_high_and_of_the_excess_at_low_contrast():
    assert threshold_suv(16.0, 0.5) == pytest.approx(0.41 * 16)
    assert threshold_suv(8.0, 1.0) == pytest.approx(0.41 * 8)
    assert threshold_suv(8.0, 0.0) == pytest.approx(0.41 * 8)
    # By hand: 2 + 0.41 * 3; half way between 8:1 and 4:1 the mean of 0.41 and (0.41 * 8 - 1) / 7 = 0.325714.
    assert threshold_suv(5.0, 2.0) == pytest.approx(3.23)
    assert threshold_suv(8.0, 2.0) == pytest.approx(2 + 0.41 * 6)
    assert threshold_suv(6.0, 1.0) == pytest.approx(1 + 0.367857 * 5, abs=1e-5)


def test_the_threshold_rises_with_the_maximum_and_with_the_background():
    highs = np.linspace(1, 30, 300)
    for background in (0.0, 0.5, 1.0, 2.0):
        assert (np.diff([threshold_suv(high, background) for high in highs if high > background]) > 0).all()
    for high in (3.0, 8.0, 15.0):
        assert (np.diff([threshold_suv(high, b) for b in np.linspace(0, high, 200)]) >= -1e-12).all()


@pytest.mark.parametrize("radius", [8.0, 12.0, 18.0])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_one_sphere_from_anywhere_in_it(radius, direction):
    rng = np.random.default_rng(5)
    sphere = cases.Sphere(np.array([7.0, -12.0, 4.0]), radius, 12.0)
    geometry = cases.cube((4.07, 4.07, 3.0), direction=DIRECTIONS[direction].ravel())
    pet = cases.acquire(rng, [sphere], geometry)
    truth = sphere.mask(geometry)
    results = [clicked(pet, cases.click_in(rng, sphere)) for _ in range(3)]
    assert cases.dice(results[0], truth) > 0.85
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_the_result_lies_on_the_lesions_own_grid():
    rng = np.random.default_rng(6)
    sphere = cases.Sphere(np.array([3.0, 5.0, -8.0]), 11.0, 10.0)
    pet = cases.acquire(rng, [sphere], cases.cube((4.07, 4.07, 3.0)))
    fine = cases.cube((1.3, 1.3, 2.0), 40.0, DIRECTIONS["oblique"].ravel())
    assert cases.dice(clicked(pet, (3.0, 5.0, -8.0), fine), sphere.mask(fine)) > 0.85
    very_fine_pet = cases.acquire(rng, [sphere], cases.cube((1.0, 1.0, 1.5), 45.0))
    assert cases.dice(clicked(very_fine_pet, (3.0, 5.0, -8.0)), sphere.mask(Geometry.from_image(very_fine_pet))) > 0.85


def plain_region_growing(pet: sitk.Image, point) -> np.ndarray:
    """41 % of the maximum of what can be reached, from the click."""
    suv = sitk.GetArrayFromImage(pet)
    index = tuple(np.rint(Geometry.from_image(pet).to_ijk(point)).astype(int)[::-1])
    level = suv[index]
    for _ in range(20):
        pieces, _ = ndimage.label(suv >= 0.41 * level)
        region = pieces == pieces[index] if pieces[index] else np.zeros(suv.shape, bool)
        highest = suv[region].max(initial=level)
        if highest == level or not region.any():
            break
        level = min(highest, suv[index] / 0.41)
        if level * 0.41 > suv[index] or highest == level:
            break
    return region


@pytest.mark.parametrize(
    ("make", "seed", "n"), [(cases.touching_nodes, 100, 8), (cases.node_beside_hot_tissue, 200, 16)]
)
def test_touching_nodes_and_low_contrast_beside_hot_tissue(make, seed, n):
    overlaps, ratios, plain = [], [], []
    for number in range(n):
        rng = np.random.default_rng(seed + number)
        spheres = make(rng)
        pet = cases.acquire(rng, spheres, background=rng.uniform(0.8, 1.5), **cases.scanner(rng))
        for sphere in spheres if make is cases.touching_nodes else spheres[:1]:
            truth = sphere.mask(Geometry.from_image(pet))
            point = cases.click_in(rng, sphere)
            found = clicked(pet, point)
            overlaps.append(cases.dice(found, truth))
            # Of the sphere itself: on wide voxels the mask of a small one may hold half or twice its volume.
            volume_ml = np.count_nonzero(found) * Geometry.from_image(pet).voxel_volume_ml
            ratios.append(volume_ml / (4 / 3 * np.pi * sphere.radius**3 / 1000))
            plain.append(cases.dice(plain_region_growing(pet, point), truth))
    assert np.median(overlaps) >= 0.75
    assert np.median(overlaps) > np.median(plain)
    assert max(ratios) <= 2


@pytest.fixture(scope="module")
def real_clicks(shared_data) -> dict[str, list[tuple[float, float]]]:
    """Per patient (Dice, ml beyond 10 mm) of ten clicks at random voxels of the hotter half of the tumour."""
    results = {}
    for number, patient in enumerate(PATIENTS):
        folder = shared_data / "sarcoma_pet_ct" / "nifti" / patient
        pet = sitk.ReadImage(str(folder / "PET_image.nii.gz"), sitk.sitkFloat32)
        mask = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "PET_mask.nii.gz"))) > 0
        geometry, suv = Geometry.from_image(pet), sitk.GetArrayFromImage(pet)
        truth = mask & (suv >= 0.41 * suv[mask].max())
        far = ndimage.distance_transform_edt(~mask, geometry.spacing_zyx_mm) > 10
        hotter = np.argwhere(mask & (suv >= np.median(suv[mask])))
        chosen = np.random.default_rng(number).choice(len(hotter), 10, replace=False)
        results[patient] = []
        for zyx in hotter[chosen]:
            try:
                found = clicked(pet, geometry.to_lps(zyx[::-1]))
            except LesionError:  # a cold place in an uneven tumour: said in words, and counted as nothing found
                found = np.zeros_like(mask)
            beyond = np.count_nonzero(found & far) * geometry.voxel_volume_ml
            results[patient].append((cases.dice(found, truth), beyond))
    return results


def test_real_tumours_agree_with_their_part_above_41_percent(real_clicks):
    overlaps = [overlap for clicks in real_clicks.values() for overlap, _ in clicks]
    assert len(overlaps) == 100
    assert np.median(overlaps) >= 0.95


def test_real_tumours_do_not_leak(real_clicks):
    assert max(ml for clicks in real_clicks.values() for _, ml in clicks) < 1.0


def sphere_scene(background=1.1, suv=9.0, radius=10.0):
    sphere = cases.Sphere(np.zeros(3), radius, suv)
    rng = np.random.default_rng(3)
    pet = cases.acquire(rng, [sphere], cases.cube((4.0, 4.0, 3.0)), background=background, noise=0.03)
    return pet, sphere


def test_a_click_on_background_says_so_with_the_numbers():
    pet, _ = sphere_scene()
    lesion_set = empty_set(Geometry.from_image(pet))
    with pytest.raises(LesionError, match="below the threshold") as error:
        lesion_set.add_by_click(pet, (40.0, 0.0, 0.0))
    here, background = (float(x) for x in re.findall(r"\d+\.\d", str(error.value))[:2])
    assert here == pytest.approx(1.1, abs=0.3)
    assert background == pytest.approx(1.1, abs=0.3)
    assert len(lesion_set) == 0
    assert not lesion_set.can_undo


def test_outside_the_pet_outside_the_body_and_inside_a_lesion():
    pet, _ = sphere_scene()
    lesion_set = empty_set(Geometry.from_image(pet))
    with pytest.raises(LesionError, match=r"\(500, 0, 0\) mm lies outside the PET"):
        lesion_set.add_by_click(pet, (500.0, 0.0, 0.0))
    with pytest.raises(LesionError, match="outside the PET"):
        lesion_set.add_by_click(pet, (float("nan"), 0.0, 0.0))
    with pytest.raises(LesionError, match=r"outside the body: SUV 0\.\d\d"):
        lesion_set.add_by_click(pet, (62.0, 62.0, 0.0))
    lesion_set.add_by_click(pet, (0.0, 0.0, 0.0))
    with pytest.raises(LesionError, match="inside 'Node 1'"):
        lesion_set.add_by_click(pet, (1.0, 1.0, 0.0))
    assert len(lesion_set) == 1


def brain_scene():
    """A brain of 1 litre with a node 2 mm beside it."""
    rng = np.random.default_rng(8)
    brain = cases.Sphere(np.array([0.0, 0.0, 30.0]), 50.0, 8.0)
    node = cases.Sphere(np.array([0.0, 25.0, -26.0]), 9.0, 7.0)
    return cases.acquire(rng, [brain, node], cases.cube((4.0, 4.0, 3.0)), body_mm=64.0), brain, node


def test_a_click_on_the_brain_is_refused_and_a_node_beside_it_stays_out_of_it():
    pet, brain, node = brain_scene()
    for point in [(0.0, 0.0, 30.0), (25.0, 10.0, 20.0), (0.0, -40.0, 30.0)]:
        with pytest.raises(LesionError, match=r"hot region of \d{3,} ml .* brain"):
            delineate_click(pet, point)
    found = clicked(pet, tuple(node.center))
    geometry = Geometry.from_image(pet)
    assert cases.dice(found, node.mask(geometry)) > 0.75
    assert np.count_nonzero(found & brain.mask(geometry)) * geometry.voxel_volume_ml < 0.2


def test_lesions_that_are_there_are_never_entered():
    rng = np.random.default_rng(12)
    spheres = cases.touching_nodes(rng)
    pet = cases.acquire(rng, spheres, cases.cube((4.07, 4.07, 3.0)))
    geometry = Geometry.from_image(pet)
    first = spheres[0].mask(geometry)
    lesion_set = LesionSet(geometry, first.astype(np.uint16), [Lesion(1, "node", "Node 1")])
    lesion_set.add_by_click(pet, tuple(spheres[1].center), kind="primary")
    np.testing.assert_array_equal(lesion_set.mask(1), first)
    added = lesion_set.lesions[0]
    assert (added.kind, added.name, added.status) == ("primary", "Primary 1", "added")
    assert cases.dice(lesion_set.mask(added.id), spheres[1].mask(geometry)) > 0.75
    assert re.search(r"threshold SUV \d+\.\d\d, background \d\.\d\d", added.history[0].note)


def test_nan_in_the_pet_and_another_pixel_type_do_no_harm():
    pet, sphere = sphere_scene()
    geometry = Geometry.from_image(pet)
    suv = sitk.GetArrayFromImage(pet)
    suv[:2] = np.nan
    expected = clicked(pet, (0.0, 0.0, 0.0))
    np.testing.assert_array_equal(
        clicked(image_from_array(suv.astype(np.float64), geometry), (0.0, 0.0, 0.0)), expected
    )
    assert cases.dice(expected, sphere.mask(geometry)) > 0.85


def test_a_flat_pet_has_no_lesion():
    geometry = cases.cube((4.0, 4.0, 4.0), 40.0)
    for value in (1.0, 0.0):
        with pytest.raises(LesionError):
            delineate_click(image_from_array(np.full(geometry.shape_zyx, value, np.float32), geometry), (0.0, 0.0, 0.0))
