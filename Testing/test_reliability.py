"""Reliability counts and temperature, against brute force and against probabilities that are right by construction."""

from __future__ import annotations

import json

import numpy as np
import pytest

from HNTumorSegLib.evaluation.reliability import Reliability, patient_reliability
from HNTumorSegLib.evaluation.reliability_figure import reliability_diagram


def drawn(n: int, sharper: float = 1.0, seed: int = 3):
    """Probabilities whose true log-odds are ``sharper`` times smaller than they say."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(0, 2, n)
    return 1 / (1 + np.exp(-sharper * log_odds)), rng.random(n) < 1 / (1 + np.exp(-log_odds))


def brute_force_ece(p, truth, bins=10, first=0):
    wrong = total = 0.0
    for b in range(first, bins):
        inside = (p >= b / bins) & ((p < (b + 1) / bins) | (b == bins - 1))
        wrong += abs(p[inside].sum() - truth[inside].sum())
        total += inside.sum()
    return wrong / total


@pytest.mark.parametrize("first", [0, 1, 5])
def test_calibration_error_is_that_of_brute_force(first):
    p, truth = drawn(5000, 1.7)
    counts = Reliability.of(p[:2000], truth[:2000]) + Reliability.of(p[2000:], truth[2000:])
    assert counts.calibration_error(first) == pytest.approx(brute_force_ece(p, truth, first=first), abs=1e-12)


def test_what_is_calibrated_has_no_error_and_needs_no_temperature():
    counts = Reliability.of(*drawn(400_000))
    assert counts.calibration_error() < 0.005
    assert counts.best_temperature() == pytest.approx(1.0, abs=0.02)
    predicted, observed = counts.joined().curve()
    np.testing.assert_allclose(predicted, observed, atol=0.02)


def test_overconfidence_is_seen_and_a_temperature_heals_it():
    counts = Reliability.of(*drawn(400_000, 2.0))
    assert counts.calibration_error() > 0.05
    assert counts.best_temperature() == pytest.approx(2.0, rel=0.05)
    assert counts.at_temperature(2.0).calibration_error() < 0.01


def test_empty_and_ends():
    assert Reliability().calibration_error() is None
    ends = Reliability.of(np.array([0.0, 1.0]), np.array([False, True]))
    assert ends.calibration_error() == 0
    assert ends.voxels[[0, -1]].tolist() == [1, 1]


def test_json_and_back():
    counts = Reliability.of(*drawn(1000))
    again = Reliability.from_json(json.loads(json.dumps(counts.to_json())))
    np.testing.assert_array_equal(again.tumour, counts.tumour)
    assert again.calibration_error() == counts.calibration_error()


def test_cold_tissue_does_not_count_but_a_cold_tumour_does():
    suv = np.array([0.1, 0.1, 5.0, 0.2])
    primary, node = np.array([0.0, 0.0, 0.7, 0.2]), np.array([0.0, 0.0, 0.2, 0.0])
    counts = patient_reliability(primary, node, suv, np.array([0, 2, 1, 0]))
    assert counts["union"].voxels.sum() == 3
    assert counts["union"].tumour.sum() == 2
    assert counts["union"].probability.sum() == pytest.approx(1.1, abs=1e-9)
    assert (counts["primary"].tumour.sum(), counts["node"].tumour.sum()) == (1, 1)


def test_the_diagram_can_be_drawn_of_nothing_and_of_something(tmp_path):
    for counts in (Reliability(), Reliability.of(*drawn(500))):
        figure = reliability_diagram(dict.fromkeys(("primary", "node", "union"), counts), "title")
        figure.savefig(tmp_path / "a.png")
        assert len(figure.axes) == 6
