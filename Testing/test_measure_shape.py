"""Surface, sphericity, asphericity and diameter against geometry worked out by hand, IBSI and two other programs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import SimpleITK as sitk

from HNTumorSegLib.measures.mesh import mesh_area_and_volume
from HNTumorSegLib.measures.shape import Shape, largest_diameter_mm, shape_of

SPACING = (3.0, 2.0, 1.5)


def ball(radii_mm, spacing=(1.0, 1.0, 1.0), shift=0.0) -> np.ndarray:
    half = [int(np.ceil(r / s)) + 1 for r, s in zip(radii_mm, spacing, strict=True)]
    axes = [(np.arange(-n, n + 1) - shift) * s / r for n, s, r in zip(half, spacing, radii_mm, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return z**2 + y**2 + x**2 <= 1


def blob(seed: int, shape=(9, 11, 10)) -> np.ndarray:
    noise = sitk.GetImageFromArray(np.random.default_rng(seed).standard_normal(shape))
    return sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(noise, 1.5)) > 0.05


def box_by_hand(n, s) -> tuple[float, float]:
    """Area and volume of the mesh around a box of voxels: its edges and corners are cut off half a voxel from them."""
    inner = [(k - 1) * t for k, t in zip(n, s, strict=True)]
    half = [t / 2 for t in s]
    area = volume = 0.0
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        area += 2 * inner[a] * inner[b] + 4 * inner[c] * np.hypot(half[a], half[b])
        volume += 2 * inner[a] * inner[b] * half[c] + 4 * inner[c] * half[a] * half[b] / 2
    corner = np.linalg.norm([half[0] * half[1], half[1] * half[2], half[2] * half[0]]) / 2
    return area + 8 * corner, volume + np.prod(inner) + 8 * np.prod(half) / 6


@pytest.mark.parametrize("n", [(1, 1, 1), (1, 1, 6), (4, 1, 3), (5, 7, 6)])
def test_a_box_has_the_area_volume_and_diameter_worked_out_by_hand(n):
    mask = np.pad(np.ones(n, bool), 2)
    assert mesh_area_and_volume(mask, SPACING) == pytest.approx(box_by_hand(n, SPACING))
    edges = np.multiply(n, SPACING)
    inner = np.subtract(edges, SPACING)
    longest = max(np.sqrt(edges[a] ** 2 + (np.delete(inner, a) ** 2).sum()) for a in range(3))
    assert largest_diameter_mm(mask, SPACING) == pytest.approx(longest)


@pytest.mark.parametrize("radius", [14.0, 25.0])
def test_a_ball_of_voxels_is_a_ball_but_for_its_staircase(radius):
    shape = shape_of(ball((radius,) * 3), (1.0, 1.0, 1.0))
    assert shape.mesh_volume_ml == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=0.015)
    # The staircase with its edges cut: 7 % too much area, at any fineness.
    assert shape.surface_mm2 / (4 * np.pi * radius**2) == pytest.approx(1.065, abs=0.02)
    assert shape.asphericity_percent == pytest.approx(7.0, abs=0.7)
    assert shape.largest_diameter_mm == pytest.approx(2 * radius + 1)


def test_an_ellipsoid_has_its_asphericity():
    """Area of a prolate spheroid: 2 pi a^2 (1 + c / (a e) asin e)."""
    a, c = 12.0, 30.0
    shape = shape_of(ball((c, a, a)), (1.0, 1.0, 1.0))
    e = np.sqrt(1 - a**2 / c**2)
    area, volume = 2 * np.pi * a**2 * (1 + c / (a * e) * np.arcsin(e)), 4 / 3 * np.pi * a * a * c
    assert shape.surface_mm2 == pytest.approx(1.065 * area, rel=0.02)
    assert shape.mesh_volume_ml == pytest.approx(volume / 1000, rel=0.01)
    expected = 100 * ((1.065 * area) / (36 * np.pi * volume**2) ** (1 / 3) - 1)
    assert shape.asphericity_percent == pytest.approx(expected, abs=2)
    assert shape.asphericity_percent == pytest.approx(
        100 * (np.cbrt(shape.surface_mm2**3 / (36 * np.pi * (1000 * shape.mesh_volume_ml) ** 2)) - 1)
    )
    assert shape.largest_diameter_mm == pytest.approx(2 * c + 1, abs=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_the_diameter_is_that_of_all_pairs_of_surface_points(seed):
    mask = np.pad(blob(seed), 1)
    points = []
    for axis in range(3):
        ahead = np.roll(mask, -1, axis)
        cut = np.argwhere(mask != ahead).astype(float)
        cut[:, axis] += 0.5
        points.append(cut)
    points = np.concatenate(points) * SPACING
    brute = max(np.linalg.norm(points - p, axis=1).max() for p in points)
    assert largest_diameter_mm(mask, SPACING) == pytest.approx(brute)


@pytest.mark.parametrize("seed", range(3))
def test_mirrored_and_turned_masks_have_the_same_area_and_volume(seed):
    mask = blob(seed)
    expected = mesh_area_and_volume(mask, (2.0, 2.0, 2.0))
    for axes, flips in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)):
        other = mask.transpose(axes)[tuple(slice(None, None, f) for f in flips)]
        assert mesh_area_and_volume(other, (2.0, 2.0, 2.0)) == pytest.approx(expected)


def test_what_is_inside_and_outside_fill_the_box_together():
    """A hole has the surface of the body that fits into it; where voxels touch by an edge only, inside is cut apart."""
    hole = np.pad(ball((6, 5, 4)), 3, constant_values=False)
    body = np.ones(hole.shape, bool) & ~hole
    area, volume = mesh_area_and_volume(body, SPACING)
    hole_area, hole_volume = mesh_area_and_volume(hole, SPACING)
    full_area, full_volume = box_by_hand(hole.shape, SPACING)
    assert area == pytest.approx(full_area + hole_area)
    assert volume == pytest.approx(full_volume - hole_volume)


def test_ibsi_digital_phantom(shared_data):
    """Reference values and tolerances of IBSI 1 (morph_area_mesh, ...)."""
    mask = sitk.ReadImage(str(shared_data / "ibsi" / "digital_phantom" / "mask" / "mask.nii.gz"))
    shape = shape_of(sitk.GetArrayFromImage(mask) > 0, mask.GetSpacing()[::-1])
    reference = {}
    for line in (shared_data / "ibsi" / "ibsi_1_dig_phantom.csv").read_text().splitlines()[1:]:
        value, tolerance, tag = line.split(";")[:3]
        if value:
            reference[tag] = pytest.approx(float(value), abs=float(tolerance))
    assert shape.surface_mm2 == reference["morph_area_mesh"]
    assert 1000 * shape.mesh_volume_ml == reference["morph_volume"]
    assert shape.sphericity == reference["morph_sphericity"]
    assert shape.asphericity_percent / 100 == reference["morph_asphericity"]
    assert shape.largest_diameter_mm == reference["morph_diam"]


def test_pyradiomics_agrees():
    """It triangulates otherwise, and joins voxels that touch by an edge: equal to 2 % in area, closer in volume."""
    c_shape = pytest.importorskip("radiomics", reason="the radiomics extra is not installed").cShape
    masks = [ball((9, 14, 11), SPACING, 0.3), ball((20, 20, 20), SPACING)]
    for mask in masks:
        area, volume, diameters = c_shape.calculate_coefficients(np.pad(mask, 1).astype("b"), np.array(SPACING))
        shape = shape_of(mask, SPACING)
        assert shape.surface_mm2 == pytest.approx(area, rel=0.02)
        assert 1000 * shape.mesh_volume_ml == pytest.approx(volume, rel=0.003)
        assert shape.largest_diameter_mm == pytest.approx(diameters[3])


def test_empty_and_one_voxel_lesions():
    assert shape_of(np.zeros((3, 4, 5), bool), SPACING) == Shape(None, None, None, None, None)
    one = np.zeros((3, 3, 3), bool)
    one[1, 1, 1] = True
    shape = shape_of(one, (2.0, 2.0, 2.0))
    # A regular octahedron with corners 1 mm from its middle: 8 triangles of side sqrt 2, volume 4/3.
    assert shape.surface_mm2 == pytest.approx(4 * np.sqrt(3))
    assert shape.mesh_volume_ml == pytest.approx(4 / 3 / 1000)
    assert shape.sphericity == pytest.approx(np.cbrt(36 * np.pi * 16 / 9) / (4 * np.sqrt(3)))
    assert shape.largest_diameter_mm == pytest.approx(2.0)
