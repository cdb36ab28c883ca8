"""Anatomies between two source anatomies: what moves where, and that the rest of the phantom follows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from HNTumorSegLib.lesions.codes import NODE, PRIMARY
from HNTumorSegLib.phantom import make_patient, varied_patient
from HNTumorSegLib.phantom.atlas import find_sources, load_atlas, split_sources
from HNTumorSegLib.phantom.crossing import crossing
from HNTumorSegLib.phantom.drawn_atlas import drawn_atlas
from HNTumorSegLib.phantom.family import CROSSED, VARIED
from HNTumorSegLib.phantom.varied_patient import _choose_crossing
from HNTumorSegLib.phantom.varied_tumours import VariedTumourDraw, radius_of

LABEL_SETS = Path(__file__).parents[2] / "shared" / "data" / "oar_labels"
with_label_sets = pytest.mark.skipif(not LABEL_SETS.exists(), reason="organ label sets not here")


@pytest.fixture
def source():
    return drawn_atlas(3, 0)


def moved(atlas, offsets_mm):
    return replace(atlas, landmarks=atlas.landmarks + offsets_mm)


@pytest.mark.parametrize("share", [1.0, 0.5, -0.5])
def test_where_all_landmarks_lie_higher_everything_does_in_proportion(source, share):
    other = moved(source, (0, 2, 10))
    points = np.random.default_rng(0).uniform((-100, -100, -400), (100, 100, 200), (50, 3))
    expected = points - share * np.array((0, 2, 10))
    np.testing.assert_allclose(crossing(source, other, share).to_source(points), expected, atol=1e-6)


def test_at_a_landmark_on_the_way_lies_what_the_source_has_there(source):
    rng = np.random.default_rng(1)
    other = moved(source, rng.normal(0, 8, source.landmarks.shape))
    between = 0.7 * other.landmarks + 0.3 * source.landmarks
    missed = np.linalg.norm(crossing(source, other, 0.7).to_source(between) - source.landmarks, axis=1)
    assert missed.max() < 3  # the spline is smoothed
    assert np.median(missed) < 1.5


def test_landmarks_that_one_lacks_do_not_count(source):
    other = moved(source, (0, 0, 10))
    fewer = replace(other, landmarks=other.landmarks[8:] + np.array((0, 0, 5)), frame=other.frame[8:])
    points = np.array([[0.0, 0, 0], [40, 0, -60]])
    np.testing.assert_allclose(crossing(source, fewer, 1.0).to_source(points), points - (0, 0, 15), atol=1e-6)


def test_far_from_all_landmarks_nothing_runs_away(source):
    rng = np.random.default_rng(2)
    way = rng.normal(0, 8, source.landmarks.shape)
    far = 600 * rng.standard_normal((200, 3))
    offsets = crossing(source, moved(source, way), 1.0).to_source(far) - far
    assert np.linalg.norm(offsets, axis=1).max() < 2 * np.linalg.norm(way, axis=1).max()


def test_drawn_anatomy_has_nothing_to_be_crossed_with():
    assert _choose_crossing(np.random.default_rng(0), CROSSED, drawn_atlas(71, 0), None) is None
    patient = make_patient(3, "cropped", economy=True, family="crossed")
    assert patient.family == "crossed"
    assert patient._placement.crossing is None


@with_label_sets
def test_the_partner_is_another_patient_of_the_same_part(monkeypatch):
    """Two scans of one patient among the sources are not crossed with each other, and the parts do not mix."""
    sources = find_sources(LABEL_SETS)
    kept = split_sources(list(sources), held_out=True)
    twins = {name for name in kept if name.startswith("0522c0727")}
    assert len(twins) == 2
    atlas = load_atlas(min(twins), sources[min(twins)])
    chosen = set()

    def noted(name, masks):
        chosen.add(name)
        return load_atlas(name, masks)

    monkeypatch.setattr(varied_patient, "load_atlas", noted)
    family = replace(CROSSED, held_out_sources=True)
    for seed in range(30):
        assert _choose_crossing(np.random.default_rng(seed), family, atlas, LABEL_SETS) is not None
    assert chosen == set(kept) - twins


@with_label_sets
def test_a_crossed_patient_is_whole_and_its_frame_can_be_inverted():
    patient = make_patient(700001, "cropped", economy=True, family="crossed", anatomy_folder=LABEL_SETS)
    placement = patient._placement
    assert np.abs(placement.crossing.offsets).max() > 5
    points = np.random.default_rng(0).uniform((-60, -80, -200), (60, 60, 140), (100, 3))
    np.testing.assert_allclose(placement.to_frame(placement.find_lps(points)), points, atol=0.5)
    without = replace(placement, crossing=None)
    shift = np.linalg.norm(placement.find_lps(points) - without.find_lps(points), axis=1)
    assert shift.max() > 4


def drawn(seed: int, family) -> list:
    return VariedTumourDraw(np.random.default_rng(seed), family, 6.0, tonsil_suv=4.0).draw()


def test_primaries_are_larger_and_more_often_have_a_node_against_them():
    def figures(family) -> tuple[float, float]:
        patients = [drawn(seed, family) for seed in range(150)]
        primaries = [t for p in patients for t in p if t.kind == PRIMARY]
        pairs = [(a, b) for p in patients for a in p for b in p if a.kind == PRIMARY and b.kind == NODE]
        gaps = [
            np.linalg.norm(np.subtract(a.shape.center, b.shape.center))
            - radius_of(a.volume_ml)
            - radius_of(b.volume_ml)
            for a, b in pairs
        ]
        return np.median([t.volume_ml for t in primaries]), sum(g < 3 for g in gaps) / len(primaries)

    (usual, touching), (large, more_touching) = figures(VARIED), figures(CROSSED)
    assert large == pytest.approx(14.0, rel=0.2)
    assert usual == pytest.approx(8.6, rel=0.2)
    assert more_touching > 1.5 * touching
