"""The phantom: its shapes against analytic volumes, its patients against what the literature says they look like."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.phantom import WHOLE_BODY, make_patient
from HNTumorSegLib.phantom.anatomy import AnatomyDraw
from HNTumorSegLib.phantom.canvas import Canvas, Pose
from HNTumorSegLib.phantom.fields import Lattice
from HNTumorSegLib.phantom.shapes import Ellipsoid, Shell, Tube
from HNTumorSegLib.phantom.tumours import TumourDraw

EYE = tuple(np.eye(3).ravel())


def still_pose() -> Pose:
    return Pose(np.eye(3), np.zeros(3), 0.0, Lattice(np.random.default_rng(0), 55, components=3))


def volume_mm3(shape, geometry: Geometry) -> float:
    canvas = Canvas(geometry, still_pose())
    everywhere = (slice(None),) * 3
    return float(canvas.coverage(shape, everywhere).sum()) * np.prod(geometry.spacing_mm)


GRID = Geometry((61, 61, 61), (1.0, 1.0, 1.0), (-30.0, -30.0, -30.0), EYE)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (Ellipsoid((0, 0, 0), (20, 15, 10)), 4 / 3 * np.pi * 20 * 15 * 10),
        (Shell(Ellipsoid((0, 0, 0), (20, 20, 20)), 5), 4 / 3 * np.pi * (20**3 - 15**3)),
        (Tube([(-10, 0, 0), (10, 0, 0)], 6), np.pi * 36 * 20 + 4 / 3 * np.pi * 6**3),
    ],
)
def test_shapes_have_their_analytic_volume(shape, expected):
    assert volume_mm3(shape, GRID) == pytest.approx(expected, rel=0.02)


def test_a_turned_ellipsoid_keeps_its_volume_and_lies_along_its_axis():
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], float)  # x axis of the ellipsoid points along y
    shape = Ellipsoid((0, 0, 0), (20, 8, 8), rotation=turn)
    point = [np.full(1, v, float) for v in (0.0, 18.0, 0.0)]
    assert shape.distance(*point) < 0
    assert shape.distance(point[1], point[0], point[2]) > 0
    low, high = shape.bounds()
    assert high == pytest.approx([8, 20, 8])
    assert low == pytest.approx([-8, -20, -8])


def test_a_lattice_gives_the_same_value_at_the_same_place():
    lattice = Lattice(np.random.default_rng(3), 20)
    x = np.linspace(-50, 50, 11)
    assert lattice(x, x, x)[4] == lattice(x[4:5], x[4:5], x[4:5])[0]


@pytest.fixture(scope="module")
def patient():
    return make_patient(2, economy=True)


def test_the_same_seed_makes_the_same_patient(patient):
    again = make_patient(2, economy=True)
    assert np.array_equal(sitk.GetArrayFromImage(again.study.pet), sitk.GetArrayFromImage(patient.study.pet))
    assert np.array_equal(sitk.GetArrayFromImage(again.truth), sitk.GetArrayFromImage(patient.truth))
    other = make_patient(3, economy=True)
    assert other.study.pet.GetSize() != patient.study.pet.GetSize() or not np.array_equal(
        sitk.GetArrayFromImage(other.study.pet), sitk.GetArrayFromImage(patient.study.pet)
    )


def test_images_have_the_units_they_claim(patient):
    pet, ct = (sitk.GetArrayFromImage(i) for i in (patient.study.pet, patient.study.ct))
    truth = sitk.GetArrayFromImage(patient.truth)
    assert pet.dtype == np.float32
    assert ct.dtype == np.int16
    assert np.median(pet[truth > 0]) > 2.5  # FDG-avid
    assert 3 < np.percentile(pet, 99.9) < 60
    assert ct.min() >= -1024
    assert np.mean(ct < -900) > 0.3  # air around the patient
    assert 0.01 < np.mean((ct > -20) & (ct < 120)) < 0.5  # soft tissue


def test_truth_lies_where_the_tumour_was_put(patient):
    truth = sitk.GetArrayFromImage(patient.truth)
    geometry = Geometry.from_image(patient.truth)
    primary = next(t for t in patient.tumours if t.kind == "primary")
    k, j, i = np.nonzero(truth == 1)
    center = geometry.to_lps(np.array([i.mean(), j.mean(), k.mean()]))
    expected = patient._pose.to_lps(np.array([primary.shape.center]))[0]
    radius = float(np.prod(primary.shape.radii)) ** (1 / 3)
    # Clipping by airway or skin moves the centre by part of the radius, the soft bending by a few millimetres.
    assert np.linalg.norm(center - expected) < 0.5 * radius + 3 * patient._pose.warp_mm


def test_truth_on_a_finer_grid_has_the_same_volume(patient):
    coarse = Geometry.from_image(patient.truth)
    fine = coarse.axis_aligned(1.5)
    for label in (1, 2):
        a = np.count_nonzero(sitk.GetArrayFromImage(patient.truth) == label) * coarse.voxel_volume_ml
        b = np.count_nonzero(sitk.GetArrayFromImage(patient.truth_on(fine)) == label) * fine.voxel_volume_ml
        assert a == pytest.approx(b, rel=0.1)


def test_lesion_statistics_follow_the_cohort_of_nikulin_2023():
    """Primary median 8.2 ml, nodes median 2.7 ml, 1.5 nodes a patient, oropharynx in the lead."""
    draws = [TumourDraw(np.random.default_rng(seed)).draw() for seed in range(400)]
    volumes = {
        kind: np.array([4.18879 * np.prod(t.shape.radii) / 1000 for d in draws for t in d if t.kind == kind])
        for kind in ("primary", "node")
    }
    assert np.median(volumes["primary"]) == pytest.approx(8.2, rel=0.25)
    assert np.median(volumes["node"]) == pytest.approx(2.7, rel=0.35)
    counts = [sum(t.kind == "node" for t in d) for d in draws]
    assert np.mean(counts) == pytest.approx(1.54, abs=0.8)
    assert max(counts) <= 8
    sites = [t.site for d in draws for t in d if t.kind == "primary"]
    assert max(set(sites), key=sites.count) == "oropharynx"
    weak = [t for d in draws for t in d if t.kind == "node" and t.suv <= 4]
    assert 0.1 < len(weak) / len(volumes["node"]) < 0.4


def test_without_tumours_the_patient_is_healthy():
    healthy = make_patient(2, economy=True, with_tumours=False)
    assert not sitk.GetArrayFromImage(healthy.truth).any()
    assert healthy.tumours == []


def test_a_whole_body_patient_has_bladder_and_legs_in_the_field_of_view():
    names = {s.name for s in AnatomyDraw(np.random.default_rng(0), whole_body=True).draw()}
    assert {"bladder", "kidney", "liver", "heart wall", "grey matter"} <= names
    patient = make_patient(7, WHOLE_BODY, economy=True, with_tumours=False)
    low, high = patient.study.pet_geometry.bounds_mm()
    assert high[2] - low[2] > 900
