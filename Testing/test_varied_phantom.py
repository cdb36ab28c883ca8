"""The varied families of phantom patients: geometry of the truth, ranges, disjoint families, healthy patients."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.phantom import make_patient
from HNTumorSegLib.phantom.atlas import CODES, build_atlas, find_sources, group_of, load_atlas, split_sources
from HNTumorSegLib.phantom.drawn_atlas import LOW_MM, drawn_atlas
from HNTumorSegLib.phantom.family import FAMILIES, HELD_OUT, NODAL, VARIED
from HNTumorSegLib.phantom.fields import Lattice
from HNTumorSegLib.phantom.placement import FieldCanvas, Placement
from HNTumorSegLib.phantom.scanner import FWHM_TO_SIGMA
from HNTumorSegLib.phantom.shapes import Ellipsoid, Profile
from HNTumorSegLib.phantom.varied_anatomy import VariedAnatomy
from HNTumorSegLib.phantom.varied_patient import OUTLINE, OUTLINE_MARGIN_MM, _place_patient
from HNTumorSegLib.phantom.varied_scanner import VariedScanner, acquire_varied_pet, draw_varied_scanner
from HNTumorSegLib.phantom.varied_tumours import (
    BACKGROUND_SUV,
    LEAST_RECOVERED_SUV,
    VariedTumourDraw,
    radius_of,
    recovered_share,
)

LABEL_SETS = Path(__file__).parents[2] / "shared" / "data" / "oar_labels"
EYE = tuple(np.eye(3).ravel())
SEED = 4  # has a primary and a node in the field of view


def pixels(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


@pytest.fixture(scope="module")
def patient():
    return make_patient(SEED, economy=True, family="varied")


def test_the_same_seed_makes_the_same_patient_and_another_family_another(patient):
    again = make_patient(SEED, economy=True, family="varied")
    for name in ("pet", "ct"):
        assert np.array_equal(pixels(getattr(again.study, name)), pixels(getattr(patient.study, name)))
    assert np.array_equal(pixels(again.truth), pixels(patient.truth))
    other = make_patient(SEED, economy=True, family="held_out")
    assert pixels(other.study.pet).sum() != pixels(patient.study.pet).sum()


def test_images_have_the_units_they_claim(patient):
    pet, ct, truth = pixels(patient.study.pet), pixels(patient.study.ct), pixels(patient.truth)
    assert pet.dtype == np.float32
    assert ct.dtype == np.int16
    assert pet.min() >= 0
    assert np.median(pet[truth == 1]) > 2.5
    assert 0.3 < np.median(pet[pet > 0.2]) < 3  # most of the body is soft tissue
    assert np.mean(ct < -900) > 0.3
    assert 0.05 < np.mean((ct > -20) & (ct < 120)) < 0.6


def test_truth_on_a_finer_grid_has_the_same_volume_and_place(patient):
    geometry = Geometry.from_image(patient.truth)
    fine = geometry.axis_aligned(1.5)
    for label in np.unique(pixels(patient.truth))[1:]:
        coarse_mask, fine_mask = pixels(patient.truth) == label, pixels(patient.truth_on(fine)) == label
        volume = coarse_mask.sum() * geometry.voxel_volume_ml
        assert fine_mask.sum() * fine.voxel_volume_ml == pytest.approx(volume, rel=0.12, abs=0.1)
        centers = [
            grid.to_lps(np.array(ndimage.center_of_mass(mask))[::-1])
            for grid, mask in ((geometry, coarse_mask), (fine, fine_mask))
        ]
        assert centers[0] == pytest.approx(centers[1], abs=1.0)


def test_truth_lies_where_each_lesion_was_put_and_is_hotter_than_what_surrounds_it(patient):
    truth, pet = pixels(patient.truth), pixels(patient.study.pet)
    geometry = Geometry.from_image(patient.truth)
    assert {t.kind for t in patient.tumours} == {"primary", "node"}
    for tumour in patient.tumours:
        at = geometry.to_ijk(patient._placement.find_lps([tumour.shape.center]))[0]
        label = {"primary": 1, "node": 2}[tumour.kind]
        nearest = np.argwhere(truth == label)[:, ::-1] - at
        distance = np.linalg.norm(nearest * np.array(geometry.spacing_mm), axis=1).min()
        assert distance < max(0.6 * radius_of(tumour.volume_ml), geometry.spacing_mm[2])
    ring = ndimage.binary_dilation(truth > 0, iterations=4) & ~ndimage.binary_dilation(truth > 0, iterations=2)
    assert np.median(pet[truth > 0]) > 2 * np.median(pet[ring])


def test_without_tumours_the_patient_is_healthy_and_otherwise_the_same(patient):
    healthy = make_patient(SEED, economy=True, family="varied", with_tumours=False)
    assert healthy.tumours == []
    assert not pixels(healthy.truth).any()
    assert healthy.study.pet.GetSize() == patient.study.pet.GetSize()
    far = ndimage.distance_transform_edt(pixels(patient.truth) == 0, patient.truth.GetSpacing()[::-1]) > 60
    change = np.abs(pixels(healthy.study.pet) - pixels(patient.study.pet))[far]
    assert np.median(change) < 0.05


def test_tonsils_and_parotids_get_no_hotter_than_in_people():
    """112 patients of Nucl Med Commun 2009 (doi:10.1097/MNM.0b013e3283299a52): SUVmax 8 and 4; means of both sides."""
    anatomy = VariedAnatomy(np.random.default_rng(3), HELD_OUT, False, 1.0)
    tonsils, parotids = (
        [np.sqrt(np.prod(anatomy.pair(*of))) for _ in range(3000)] for of in ((3.9, 0.38), (1.9, 0.35))
    )
    assert 6 < max(tonsils) < 8.3
    assert 3 < max(parotids) < 4.1


def test_some_patients_are_drawn_without_lesion_some_without_primary():
    draws = [tumours(seed) for seed in range(250)]
    assert 0.05 < np.mean([len(d) == 0 for d in draws]) < 0.18
    kinds = [{t.kind for t in d} for d in draws]
    assert 0.03 < np.mean([k == {"node"} for k in kinds]) < 0.15
    assert 0.15 < np.mean([k == {"primary"} for k in kinds]) < 0.5


@lru_cache(maxsize=1000)
def tumours(seed: int, blur_mm: float = 6.0, family=VARIED) -> list:
    return VariedTumourDraw(np.random.default_rng(seed), family, blur_mm, tonsil_suv=4.0).draw()


def test_lesions_follow_the_cohorts_of_nikulin_2023():
    """Main/external data: primary median 8.16/8.05 ml, nodes 2.74/0.70 ml; 1.54/2.2 nodes a patient; level II leads."""
    draws = [tumours(seed) for seed in range(250)]
    volumes = {kind: [t.volume_ml for d in draws for t in d if t.kind == kind] for kind in ("primary", "node")}
    assert np.median(volumes["primary"]) == pytest.approx(8.1, rel=0.25)
    assert 0.7 < np.median(volumes["node"]) < 2.9
    assert 1.3 < np.mean([sum(t.kind == "node" for t in d) for d in draws]) < 2.4
    sites = [t.site for d in draws for t in d if t.kind == "primary"]
    assert 0.4 < sites.count("oropharynx") / len(sites) < 0.65
    levels = [t.site[:2] for d in draws for t in d if t.kind == "node"]
    assert max(set(levels), key=levels.count) == "II"


def test_advanced_nodal_disease_shows_what_is_rare_elsewhere():
    """Large nodes that are cool or necrotic: in ``varied`` too few to learn from, in ``nodal`` one or two a patient."""

    def a_patient(family) -> float:
        nodes = [t for seed in range(250) for t in tumours(seed, family=family) if t.kind == "node"]
        large = [t for t in nodes if t.volume_ml > 6]
        return sum(t.suv < 4.5 or t.core is not None for t in large) / 250

    assert a_patient(VARIED) < 0.3
    assert 1.0 < a_patient(NODAL) < 2.0
    nodes = [sum(t.kind == "node" for t in tumours(seed, family=NODAL)) for seed in range(250)]
    assert min(nodes) >= 1


def test_every_lesion_stands_out_after_the_blur_and_has_the_volume_it_says():
    for blur in (3.0, 8.0):
        for tumour in [t for seed in range(25) for t in tumours(seed, blur)]:
            background = BACKGROUND_SUV[tumour.kind]
            share = recovered_share(0.9 * radius_of(tumour.volume_ml), blur)
            assert background + (tumour.suv - background) * share >= LEAST_RECOVERED_SUV - 1e-6
            assert tumour.shape.volume_ml() == pytest.approx(tumour.volume_ml, rel=0.1)


def test_the_recovered_share_is_that_of_a_blurred_ball():
    """Against numbers: a ball of radius 6 mm blurred on a 1 mm grid."""
    z, y, x = np.mgrid[-25:26, -25:26, -25:26]
    ball = (np.sqrt(x**2 + y**2 + z**2) <= 6).astype(float)
    for blur in (4.0, 8.0):
        measured = ndimage.gaussian_filter(ball, blur * FWHM_TO_SIGMA)[25, 25, 25]
        assert recovered_share(6.0, blur) == pytest.approx(measured, abs=0.03)


def still(atlas=None) -> Placement:
    nothing = Profile(np.array([(-300, 1, 1, 0), (-299, 1, 1, 0)], float))
    return Placement(atlas or drawn_atlas(0, 0), np.eye(3), np.zeros(3), (0.0, 0.0), (), 10.0, nothing)


def bent() -> Placement:
    lattice = Lattice(np.random.default_rng(1), 60, components=3)
    turned = np.diag([-1.0, 1.05, 0.95])
    return Placement(
        drawn_atlas(0, 0), turned, np.array([3.0, -4.0, 5.0]), (0.15, 0.1), ((4.0, lattice),), 10.0, still().body
    )


def test_an_undeformed_placement_is_the_drawn_anatomy():
    points = np.array([(0.0, 6, 84), (54, 4, 10), (-31, -20, -22), (0, 20, -120)])
    assert still().to_frame(points) == pytest.approx(points, abs=0.5)


def test_positions_are_found_again_through_all_deformations():
    points = np.array([(18.0, -10, 2), (-36, 2, -10), (5, -20, -60), (0, 6, 84)])
    placement = bent()
    assert placement.to_frame(placement.find_lps(points)) == pytest.approx(points, abs=1.0)


def test_a_shape_drawn_in_its_box_loses_nothing():
    grid = Geometry((90, 80, 70), (2.5, 2.5, 2.5), (-110.0, -100.0, -80.0), EYE)
    canvas = FieldCanvas(grid, bent())
    everywhere = (slice(None),) * 3
    for shape in (
        Ellipsoid((18, -10, 2), (9, 12, 7)),
        Ellipsoid((-30, 5, 30), (25, 8, 30)),
        Ellipsoid((0, 0, 0), (3,) * 3),
    ):
        whole = canvas.coverage(shape, everywhere)
        assert canvas.coverage(shape, canvas.box(shape)).sum() == pytest.approx(whole.sum(), rel=1e-6)
        assert whole.sum() > 0
    assert canvas.box(Ellipsoid((0, 0, 900), (5, 5, 5))) is None


def test_positions_between_the_nodes_are_interpolated_exactly_enough():
    grid = Geometry((41, 37, 45), (2.5, 2.5, 2.5), (-50.0, -50.0, -60.0), EYE)
    canvas = FieldCanvas(grid, bent())
    ijk = np.array([(7, 11, 13), (40, 36, 44), (3, 30, 21)])
    exact = bent().to_frame(grid.to_lps(ijk))
    seen = np.array([[field[k, j, i] for field in (canvas.x, canvas.y, canvas.z)] for i, j, k in ijk])
    assert seen == pytest.approx(exact, abs=0.7)


def test_labels_of_an_undeformed_drawn_anatomy_are_its_own():
    atlas = drawn_atlas(0, 0)
    grid = Geometry((150, 150, 225), (2.0, 2.0, 2.0), tuple(LOW_MM), EYE)
    seen = FieldCanvas(grid, still()).labels()
    assert np.mean(seen[2:] == atlas.labels[2:]) > 0.999


def test_landmarks_of_a_drawn_anatomy_lie_where_it_was_drawn():
    """The fit of label sets is checked on labels whose place in the frame is known."""
    drawn = drawn_atlas(0, 0)
    fitted = build_atlas("copy", drawn.labels, LOW_MM)
    codes = [CODES["Parotid-Lt"], CODES["Submandibular-Rt"], CODES["Orbit-Lt"]]
    for code, expected in zip(codes, ((55, 4, 10), (-31, -20, -22), (31, -70, 58)), strict=True):
        middle = np.argwhere(drawn.labels == code).mean(axis=0)[::-1] * 2.0 + fitted.origin_mm
        assert fitted.to_frame(middle[None])[0] == pytest.approx(expected, abs=5.0)


def test_the_pet_of_a_point_has_the_scanners_width():
    grid = Geometry((41, 41, 41), (1.5, 1.5, 1.5), (-30.0, -30.0, -30.0), EYE)
    scanner = plain_scanner(blur_mm=6.0)
    activity = np.zeros(grid.shape_zyx, np.float32)
    activity[20, 20, 20] = 1000.0
    rng = np.random.default_rng(0)
    pet = pixels(acquire_varied_pet(activity, np.ones(grid.shape_zyx, bool), grid, grid, scanner, rng, []))
    profile = pet[20, 20].astype(float)
    x = np.arange(41) * 1.5
    mean = (x * profile).sum() / profile.sum()
    variance = ((x - mean) ** 2 * profile).sum() / profile.sum()
    assert 2.3548 * np.sqrt(variance) == pytest.approx(6.0, rel=0.03)
    assert pet.sum() == pytest.approx(1000.0, rel=0.01)


def test_ringing_overshoots_at_an_edge_and_keeps_the_plateau():
    grid = Geometry((60, 20, 20), (1.5, 1.5, 1.5), (0.0, 0.0, 0.0), EYE)
    activity = np.zeros(grid.shape_zyx, np.float32)
    activity[:, :, 30:] = 5.0
    rng = np.random.default_rng(0)
    scanner = plain_scanner(blur_mm=5.0, ringing=0.5)
    pet = pixels(acquire_varied_pet(activity, np.ones(grid.shape_zyx, bool), grid, grid, scanner, rng, []))
    line = pet[10, 10]
    assert line[32:40].max() > 5.05
    assert line[55] == pytest.approx(5.0, rel=0.01)


def plain_scanner(**habits) -> VariedScanner:
    values = {"noise": 0.0, "suv_bias": 1.0, "halo": 0.0, "slice_noise": 0.0, "streaky": 0.0, "metal_error": 0.0}
    drawn = draw_varied_scanner(np.random.default_rng(0), VARIED, True, False)
    return VariedScanner(**{**drawn.__dict__, **values, "ringing": 0.0, **habits})


def test_scanners_stay_within_their_family():
    for family in FAMILIES.values():
        for seed in range(40):
            scanner = draw_varied_scanner(np.random.default_rng(seed), family, True, False)
            assert family.blur_mm[0] <= scanner.blur_mm <= family.blur_mm[1]
            assert family.noise[0] <= scanner.noise <= family.noise[1]
            assert abs(scanner.suv_bias - 1) <= family.suv_error
            assert np.linalg.norm(scanner.shift_mm) <= family.shift_mm[1]


def test_families_share_no_source_patient():
    names = [f"p{i:02d}" for i in range(10)] + ["q7a", "q7b", "r1a", "r1b", "s1"]
    train, test = split_sources(names, False), split_sources(names, True)
    assert sorted(train + test) == sorted(names)
    assert not {group_of(n) for n in train} & {group_of(n) for n in test}
    assert 0.15 < len(test) / len(names) < 0.45
    assert VARIED.held_out_sources != HELD_OUT.held_out_sources
    assert VARIED.stream != HELD_OUT.stream


def test_what_cannot_be_made_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="first, varied, held_out, nodal, crossed"):
        make_patient(0, family="other")
    with pytest.raises(InputError, match="Field of view 'knee'"):
        make_patient(0, "knee", family="varied")
    with pytest.raises(InputError, match="'cropped' is unknown to the first family"):
        make_patient(0, "cropped")
    with pytest.raises(InputError, match=r"Brain\.nrrd"):
        make_patient(2, family="held_out", anatomy_folder=tmp_path)
    with pytest.raises(InputError, match=r"Brain\.nrrd"):
        make_patient(0, family="varied", anatomy_folder=tmp_path)  # a patient whose anatomy would have been drawn


def test_no_part_of_the_head_lies_beyond_what_is_simulated():
    atlas = drawn_atlas(0, 0)
    head = np.argwhere(atlas.labels >= CODES["Brain"])[::4000, ::-1] * 2.0 + atlas.origin_mm
    for seed in range(15):
        rng = np.random.default_rng(seed)
        placement = _place_patient(rng, HELD_OUT, atlas, VariedAnatomy(rng, HELD_OUT, False, 1.0))
        outline, y = placement.find_lps(OUTLINE)[:, 1], placement.find_lps(head)[:, 1]
        assert y.min() > outline.min() - OUTLINE_MARGIN_MM
        assert y.max() < outline.max() + OUTLINE_MARGIN_MM


def test_a_cropped_scan_is_shorter_than_the_head_and_neck(patient):
    cropped = make_patient(SEED, "cropped", economy=True, family="varied", with_tumours=False)
    low, high = cropped.study.pet_geometry.bounds_mm()
    assert high[2] - low[2] < 450
    assert not pixels(cropped.truth).any()


@pytest.mark.skipif(not LABEL_SETS.is_dir(), reason="the organ label sets are not beside the project")
def test_a_real_label_set_meets_the_frame(monkeypatch, tmp_path):
    monkeypatch.setenv("HNTUMORSEG_ANATOMY_CACHE", str(tmp_path))
    sources = find_sources(LABEL_SETS)
    assert len(sources) == 19
    name = "0522c0251"  # the shortest scan
    load_atlas.cache_clear()
    atlas = load_atlas(name, sources[name])
    assert len(list(tmp_path.iterdir())) == 1
    misfit = np.linalg.norm(atlas.to_frame(atlas.landmarks) - atlas.frame, axis=1)
    assert misfit.max() < 6.0
    assert 600 < np.count_nonzero(atlas.labels == CODES["Brain"]) * 8 / 1000 < 1700
    assert np.isfinite(atlas.cut_mm)  # this scan begins within the brain
    load_atlas.cache_clear()
    assert np.array_equal(load_atlas(name, sources[name]).labels, atlas.labels)
