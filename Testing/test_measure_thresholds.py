"""Volumes by threshold against a region growing of another library, and the cases with a decided answer."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from test_measures import grid, lesions, sphere

from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.lesions.codes import NODE, PRIMARY
from HNTumorSegLib.measures.detail import measure_in_detail
from HNTumorSegLib.measures.thresholds import RULES


def by_rule(details) -> dict:
    return {v.rule: v for v in details.thresholds}


def grown_by_itk(suv, mask, others, threshold) -> np.ndarray:
    """What is connected to the lesion at or above a threshold, by SimpleITK's region growing."""
    allowed = np.where(others, -1.0, suv)
    seeds = [tuple(int(i) for i in zyx[::-1]) for zyx in np.argwhere(mask & (allowed >= threshold))]
    if not seeds:
        return np.zeros(suv.shape, bool)
    found = sitk.ConnectedThreshold(
        sitk.GetImageFromArray(allowed), seeds, lower=float(threshold), upper=1e6,
        connectivity=sitk.ConnectedThresholdImageFilter.FullConnectivity,
    )  # fmt: skip
    return sitk.GetArrayFromImage(found) > 0


@pytest.fixture(scope="module")
def two_lesions():
    """Two lumpy hot spots that touch at low thresholds, in noise."""
    geometry = grid((30, 34, 36))
    rng = np.random.default_rng(4)
    suv = 0.8 + 0.2 * rng.random(geometry.shape_zyx)
    centres = [geometry.to_lps([13.0, 16.0, 14.0]), geometry.to_lps([22.0, 17.0, 15.0])]
    for centre, height, width in ((centres[0], 9.0, 7.0), (centres[1], 6.0, 5.0)):
        suv += height * np.exp(-0.5 * (distance(geometry, centre) / width) ** 2)
    suv = (suv + rng.normal(0, 0.25, suv.shape)).astype(np.float32)
    masks = [sphere(geometry, centres[0], 9.0), sphere(geometry, centres[1], 7.0)]
    masks[1] &= ~masks[0]
    lesion_set = lesions(geometry, *masks, kinds=[PRIMARY, NODE])
    return geometry, suv, masks, measure_in_detail(lesion_set, image_from_array(suv, geometry))


def distance(geometry: Geometry, centre) -> np.ndarray:
    zyx = np.stack(np.meshgrid(*[np.arange(n) for n in geometry.shape_zyx], indexing="ij"), -1)
    return np.linalg.norm(geometry.to_lps(zyx[..., ::-1]) - centre, axis=-1)


def test_fixed_and_percentage_volumes_equal_region_growing(two_lesions):
    _, suv, masks, measured = two_lesions
    assert [v.rule for v in measured.rows[0].thresholds] == list(RULES)
    unions = {}
    for mask, other, details in zip(masks, masks[::-1], measured.rows, strict=True):
        highest = float(suv[mask].max())
        levels = {"suv2.5": 2.5, "suv3": 3.0, "suv4": 4.0}
        levels |= {f"{p}pct": p / 100 * highest for p in (40, 41, 42, 50)}
        for rule, level in levels.items():
            region = grown_by_itk(suv, mask, other, level)
            found = by_rule(details)[rule]
            assert found.threshold_suv == pytest.approx(level)
            assert found.volume_ml == pytest.approx(region.sum() * 0.015), rule
            assert found.tlg_g == pytest.approx(suv[region].sum(dtype=float) * 0.015)
            unions.setdefault(rule, []).append(region)
    shared = {rule: int((a & b).sum()) for rule, (a, b) in unions.items()}
    assert shared["suv2.5"] > 0
    for rule, (a, b) in unions.items():
        total = by_rule(measured.total("total"))[rule]
        assert total.volume_ml == pytest.approx((a | b).sum() * 0.015), rule
        assert total.tlg_g == pytest.approx(suv[a | b].sum(dtype=float) * 0.015)


@pytest.mark.parametrize(("background", "threshold"), [(0.5, 0.41 * 8), (3.0, 3 + 0.41 * 5)])
def test_the_background_adapted_threshold_on_a_plateau(background, threshold):
    """41 % of the maximum at a contrast above 8, background plus 41 % of the excess below 4."""
    geometry = grid((40, 44, 46))
    ball = sphere(geometry, geometry.to_lps([22.0, 21.0, 19.0]), 11.0)
    suv = np.where(ball, 8.0, background).astype(np.float32)
    drawn = sphere(geometry, geometry.to_lps([22.0, 21.0, 19.0]), 7.0)
    found = by_rule(measure_in_detail(lesions(geometry, drawn), image_from_array(suv, geometry)).rows[0])["background"]
    assert found.threshold_suv == pytest.approx(threshold, rel=1e-6)
    assert found.volume_ml == pytest.approx(ball.sum() * 0.015)
    assert found.tlg_g == pytest.approx(8 * ball.sum() * 0.015)


def test_a_region_that_runs_into_the_brain_has_no_volume():
    geometry = grid((60, 60, 60))
    node = sphere(geometry, geometry.to_lps([14.0, 30.0, 30.0]), 8.0)
    brain = sphere(geometry, geometry.to_lps([38.0, 30.0, 30.0]), 42.0)
    suv = np.where(brain, 6.0, 1.0)
    suv[node] = 10.0
    measured = measure_in_detail(lesions(geometry, node, kinds=[NODE]), image_from_array(suv, geometry))
    found = by_rule(measured.rows[0])
    assert brain.sum() * 0.015 > 250
    for rule in ("suv2.5", "suv3", "suv4", "50pct"):
        assert (found[rule].volume_ml, found[rule].tlg_g) == (None, None)
        assert by_rule(measured.total("total"))[rule].volume_ml is None
        assert by_rule(measured.total("primary"))[rule].volume_ml == 0
        assert rule in measured.rows[0].remarks[0]


def test_a_cool_lesion_has_volume_zero_at_a_threshold_above_it():
    geometry = grid((24, 24, 24))
    mask = sphere(geometry, geometry.to_lps([12.0, 12.0, 12.0]), 6.0)
    pet = image_from_array(np.where(mask, 2.7, 0.6).astype(np.float32), geometry)
    found = by_rule(measure_in_detail(lesions(geometry, mask), pet).rows[0])
    assert (found["suv3"].volume_ml, found["suv3"].tlg_g) == (0, 0)
    assert found["suv2.5"].volume_ml == pytest.approx(mask.sum() * 0.015)


def test_a_region_goes_beyond_a_grid_that_was_cropped_to_the_lesion():
    """A segmentation from Slicer may be cropped to its segments: the PET goes on, and so does the region."""
    geometry = grid((40, 40, 40))
    ball = sphere(geometry, geometry.to_lps([20.0, 20.0, 20.0]), 10.0)
    drawn = sphere(geometry, geometry.to_lps([20.0, 20.0, 20.0]), 6.0)
    pet = image_from_array(np.where(ball, 9.0, 1.0).astype(np.float32), geometry)
    z, y, x = (slice(int(a.min()), int(a.max()) + 1) for a in np.nonzero(drawn))
    small = geometry.crop((x.start, y.start, z.start), (x.stop - x.start, y.stop - y.start, z.stop - z.start))
    found = by_rule(measure_in_detail(lesions(small, drawn[z, y, x]), pet).rows[0])
    assert found["suv4"].volume_ml == pytest.approx(ball.sum() * 0.015)
    assert found["suv4"].tlg_g == pytest.approx(9 * ball.sum() * 0.015, rel=1e-5)
