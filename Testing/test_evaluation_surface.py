"""Surface figures against brute force, analytic shapes and DeepMind's published values; tolerances by organ."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from HNTumorSegLib.errors import GeometryError, InputError
from HNTumorSegLib.evaluation.surface import surface_figures, surfaces
from HNTumorSegLib.evaluation.tolerances import DEFAULT_TOLERANCE_MM, Tolerances, read_tolerances

SPACINGS = [(1.0, 1.0, 1.0), (3.27, 0.977, 1.3)]


def positions(shape, spacing):
    """Centres of the voxels in mm, shape (..., 3), zyx."""
    return np.stack(np.meshgrid(*[np.arange(n) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij"), -1)


def ball(shape, spacing, centre, radius):
    return np.linalg.norm(positions(shape, spacing) - centre, axis=-1) <= radius


def boundary(mask, spacing):
    """Positions of the voxels with at least one face neighbour outside, one voxel at a time."""
    found = []
    for z, y, x in np.argwhere(mask):
        for step in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)):
            near = (z + step[0], y + step[1], x + step[2])
            outside = any(i < 0 or i >= n for i, n in zip(near, mask.shape, strict=True))
            if outside or not mask[near]:
                found.append((z, y, x))
                break
    return np.array(found) * np.array(spacing)


def brute_force(a, b, spacing):
    """Directed distances of all boundary voxels by comparing each with each."""
    pa, pb = boundary(a, spacing), boundary(b, spacing)
    distances = cdist(pa, pb)
    return distances.min(1), distances.min(0)


def blobs(seed):
    random = np.random.default_rng(seed)
    shared = ndimage.gaussian_filter(random.normal(size=(14, 20, 18)), 2)
    masks = []
    for _ in range(2):
        own = ndimage.gaussian_filter(random.normal(size=shared.shape), 1.5)
        field = shared / shared.std() + 0.5 * own / own.std()
        masks.append(field > 1.0)
    return masks


def shapes():
    for spacing in SPACINGS:
        for seed in (1, 2):
            yield f"blobs {seed} {spacing}", *blobs(seed), spacing
        shape = (20, 40, 30)
        middle = np.array(shape) * spacing / 2
        one, two = ball(shape, spacing, middle, 9.0), ball(shape, spacing, middle + np.array([1.0, 2.0, 0.5]), 7.5)
        yield f"spheres {spacing}", one, two, spacing
        box_a, box_b = np.zeros((2, 12, 16, 14), bool)
        box_a[2:8, 3:12, 0:9] = True  # touches the edge of the image
        box_b[3:12, 5:11, 2:14] = True
        yield f"boxes {spacing}", box_a, box_b, spacing
        point_a, point_b = np.zeros((2, 6, 6, 6), bool)
        point_a[1, 1, 1] = point_b[4, 3, 2] = True
        yield f"single voxels {spacing}", point_a, point_b, spacing


@pytest.mark.parametrize(
    ("name", "a", "b", "spacing"), list(shapes()), ids=lambda value: value if type(value) is str else ""
)
def test_distances_equal_brute_force(name, a, b, spacing):
    tolerance = 1.4
    to_b, to_a = brute_force(a, b, spacing)
    found = surface_figures(a, b, spacing, tolerance)
    both = np.concatenate([to_b, to_a])
    assert found.hd_mm == pytest.approx(both.max(), rel=1e-6)
    assert found.hd95_mm == pytest.approx(max(np.percentile(to_b, 95), np.percentile(to_a, 95)), rel=1e-6)
    assert found.asd_mm == pytest.approx(both.mean(), rel=1e-6)
    assert found.nsd == pytest.approx(np.mean(both <= tolerance), rel=1e-9)


def test_hd95_is_the_larger_of_the_two_directed_percentiles():
    """A small outpost in one mask: far for its own voxels, while the other mask has all of its surface matched."""
    a = np.zeros((6, 30, 60), bool)
    a[1:5, 2:20, 2:20] = True
    b = a.copy()
    b[1:5, 10:18, 45:55] = True
    to_b, to_a = brute_force(a, b, (1.0, 1.0, 1.0))
    directed = np.percentile(to_b, 95), np.percentile(to_a, 95)
    assert directed[0] < 1 < directed[1]
    found = surfaces(a, b, (1.0, 1.0, 1.0))
    assert found.hausdorff_mm(95) == pytest.approx(directed[1], rel=1e-6)
    assert found.hausdorff_mm(95) != pytest.approx(np.percentile(np.concatenate([to_b, to_a]), 95), rel=1e-3)


def test_surface_dsc_of_deepminds_own_examples():
    """Values of the tests in google-deepmind/surface-distance; the cubes reach the edge of the image."""
    gt, pred = np.zeros((2, 100, 100, 100), bool)
    gt[0:50], pred[0:51] = True, True
    assert surfaces(pred, gt, (2, 1, 1)).surface_dsc(1.0) == pytest.approx(0.836145008498, abs=1e-6)
    gt, pred = np.zeros((2, 128, 128, 128), bool)
    gt[50, 60, 70] = pred[50, 60, 72] = True
    found = surfaces(pred, gt, (3, 2, 1))
    assert found.surface_dsc(1.0) == pytest.approx(0.5, abs=1e-6)
    assert found.hausdorff_mm() == pytest.approx(2.0)


def share_within(radius, shift, tolerance):
    """Of a sphere's surface, the share within the tolerance of an equal sphere's that is shifted.

    A point at the angle of cosine c from the shift lies sqrt(R^2 + d^2 - 2 R d c) - R from the other surface.
    """
    low, high = ((radius**2 + shift**2 - (radius + t) ** 2) / (2 * radius * shift) for t in (tolerance, -tolerance))
    return (np.clip(high, -1, 1) - np.clip(low, -1, 1)) / 2


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.5, 0.5), (2.0, 0.8, 1.0)])
@pytest.mark.parametrize(("shift", "tolerance"), [(12.0, 3.0), (12.0, 6.0), (14.0, 9.0)])
def test_surface_dsc_of_two_spheres_is_the_share_of_the_analytic_surface(spacing, shift, tolerance):
    """Surfaces are points at the voxels' corners, and the nearest of several is too near by up to half a diagonal."""
    radius = 20.0
    shape = tuple(int(np.ceil(60 / s)) for s in spacing)
    offset = shift / 2 * np.array([0.0, 0.6, 0.8])
    one, two = (ball(shape, spacing, 30.0 + sign * offset, radius) for sign in (-1, 1))
    found = surfaces(one, two, spacing).surface_dsc(tolerance)
    half_diagonal = np.linalg.norm(spacing) / 2
    assert share_within(radius, shift, tolerance) <= found <= share_within(radius, shift, tolerance + half_diagonal)


def test_surface_dsc_of_concentric_spheres_jumps_at_their_distance():
    one, two = (ball((60, 60, 60), (1, 1, 1), np.full(3, 29.5), radius) for radius in (20.0, 25.0))
    found = surfaces(one, two, (1, 1, 1))
    assert found.surface_dsc(3.2) == 0
    assert found.surface_dsc(6.0) == 1


def test_shifted_boxes_have_the_area_counted_by_hand():
    """Cube of 40 mm moved by s = 6 along z, tolerance t = 3: of 6 L^2 each 4 L (L - s + t) + L^2 - (L - 2 t)^2."""
    edge, shift, tolerance = 40.0, 6.0, 3.0
    a, b = np.zeros((2, 30, 60, 60), bool)
    a[2:22, 5:45, 5:45] = True
    b[5:25, 5:45, 5:45] = True
    within = 4 * edge * (edge - shift + tolerance) + edge**2 - (edge - 2 * tolerance) ** 2
    found = surfaces(a, b, (2.0, 1.0, 1.0)).surface_dsc(tolerance)
    assert found == pytest.approx(within / (6 * edge**2), abs=0.03)


def test_a_surface_at_exactly_the_tolerance_lies_within_it():
    a, b = np.zeros((2, 8, 8, 12), bool)
    a[2:6, 2:6, 2:6] = True
    b[2:6, 2:6, 3:7] = True
    for millimetres in (1.01, 0.98, 2.42):
        assert surfaces(a, b, (1.0, 1.0, millimetres)).surface_dsc(millimetres) == 1
        assert surfaces(a, b, (1.0, 1.0, millimetres)).surface_dsc(0.99 * millimetres) < 1


def test_empty_masks_follow_the_policy():
    full, empty = np.ones((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
    nothing = surface_figures(empty, empty, (1, 1, 1), 1.0)
    assert (nothing.surface_dsc, nothing.nsd, nothing.hd_mm, nothing.hd95_mm, nothing.asd_mm) == (None,) * 5
    for pair in ((full, empty), (empty, full)):
        found = surface_figures(*pair, (1, 1, 1), 1.0)
        assert (found.surface_dsc, found.nsd) == (0.0, 0.0)
        assert (found.hd_mm, found.hd95_mm, found.asd_mm) == (None, None, None)
    same = surface_figures(full, full, (1, 1, 1), 0.0)
    assert (same.surface_dsc, same.nsd, same.hd_mm, same.hd95_mm, same.asd_mm) == (1, 1, 0, 0, 0)
    with pytest.raises(GeometryError, match="shape"):
        surfaces(full, empty[1:], (1, 1, 1))


def test_organs_have_the_published_tolerances_whatever_their_side():
    tolerances = Tolerances()
    published = {"Brain": 1.01, "Brainstem": 2.50, "Cochlea-Lt": 1.25, "Lacrimal-Rt": 2.50, "Lens-Lt": 0.98}
    published |= {"Lung-Rt": 2.42, "Mandible": 1.01, "Optic-Nerve-Lt": 2.50, "Orbit-Rt": 1.65, "Parotid-Lt": 2.85}
    published |= {"Spinal-Canal": 1.17, "Spinal-Cord": 2.93, "Submandibular-Rt": 2.02}
    published |= {"left parotid gland": 2.85, "SpinalCord": DEFAULT_TOLERANCE_MM, "optic_nerve_L": 2.50}
    assert {name: tolerances.of(name) for name in published} == published
    assert tolerances.of("primary") == DEFAULT_TOLERANCE_MM


@pytest.mark.parametrize(
    "text",
    ['{"parotid": 1.5, "Lens-Lt": 0.5, "default": 4}', "structure,tolerance_mm\nparotid,1.5\nLens-Lt,0.5\ndefault,4\n"],
)
def test_tolerances_from_a_file(tmp_path, text):
    path = tmp_path / "tolerances"
    path.write_text(text)
    given = read_tolerances(path)
    wanted = {"Parotid-Lt": 1.5, "Parotid-Rt": 1.5, "Lens-Lt": 0.5, "Lens-Rt": 0.98, "Brain": 1.01, "node": 4.0}
    assert {name: given.of(name) for name in wanted} == wanted
    assert given.unused(["Parotid-Rt", "Lens-Rt"]) == ["Lens-Lt"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("parotid,-1", "'parotid'"),
        ("parotid,wide", "'wide'"),
        ("parotid", "'parotid'"),
        ("parotid,1\nparotid,2", "twice"),
        ('{"parotid": 1, "parotid": 2}', "twice"),
        ('{"parotid": NaN}', "'parotid'"),
        ('{"parotid": true}', "'parotid'"),
        ('{"parotid"', "not valid JSON"),
        ("", "no line"),
    ],
)
def test_bad_tolerances_are_named(tmp_path, text, words):
    path = tmp_path / "tolerances"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_tolerances(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_tolerances(tmp_path / "none.csv")
