"""Total tumour burden against a known truth: the hazard ratio, the cut-offs, manual against automatic."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("lifelines", reason="the survival extra is not installed")
from survival_cases import exponential_outcome

from HNTumorSegLib.errors import SurvivalError
from HNTumorSegLib.survival.burden import analyse_burden, group_changes

MEDIAN_ML, SPREAD = 14.0, 0.9
TRUE_RATIO = 1.9
"""As Nikulin et al. 2023 report for high against low TTB."""
REPEATS = 100


def burdens(rng, n=300):
    return MEDIAN_ML * np.exp(rng.normal(0, SPREAD, n))


@pytest.fixture(scope="module")
def repeats():
    """A hundred cohorts whose hazard is 1.9 times as high above 14 ml, and 1.25 times for every doubling."""
    by_group, by_doubling = [], []
    for seed in range(REPEATS):
        rng = np.random.default_rng(seed)
        ttb = burdens(rng)
        y = exponential_outcome(np.log(TRUE_RATIO) * (ttb > MEDIAN_ML), rng)
        by_group.append(analyse_burden(ttb, y, MEDIAN_ML).manual.ratio)
        y = exponential_outcome(np.log(1.25) * np.log2(ttb / MEDIAN_ML), rng)
        by_doubling.append(analyse_burden(ttb, y).manual.ratio_per_doubling)
    return by_group, by_doubling


def test_the_hazard_ratio_is_recovered_within_its_interval(repeats):
    by_group, by_doubling = repeats
    assert sum(r.lower <= TRUE_RATIO <= r.upper for r in by_group) >= 93
    assert sum(r.lower <= 1.25 <= r.upper for r in by_doubling) >= 93
    assert np.exp(np.mean([np.log(r.value) for r in by_group])) == pytest.approx(TRUE_RATIO, rel=0.03)
    # An interval that is always right because it is wide would say nothing.
    assert np.median([r.upper / r.lower for r in by_group]) < 2.0


@pytest.mark.parametrize("noise", [0.05, 0.15, 0.4])
def test_group_changes_as_the_noise_predicts(noise):
    """Manual and automatic are bivariate normal in the logarithm: P(other side of the median) = arccos(rho) / pi."""
    rng = np.random.default_rng(1)
    n = 20000
    ttb = burdens(rng, n)
    automatic = ttb * np.exp(rng.normal(0, noise, n))
    y = exponential_outcome(np.log(TRUE_RATIO) * (ttb > MEDIAN_ML), rng)
    found = analyse_burden(ttb, y, automatic=automatic)
    expected = np.arccos(SPREAD / np.hypot(SPREAD, noise)) / np.pi
    error = np.sqrt(expected * (1 - expected) / n)
    assert found.changes.changed == pytest.approx(expected, abs=4 * error)
    assert found.changes.manual_wrong + found.changes.automatic_wrong == pytest.approx(found.changes.changed)
    # With little noise the automatic ratio is nearly the manual one; noise can only weaken it.
    assert found.automatic.ratio.value < found.manual.ratio.value + 0.02
    if noise == 0.05:
        assert found.automatic.ratio.value == pytest.approx(found.manual.ratio.value, rel=0.05)


def test_changes_by_hand():
    manual = np.array([True, True, False, False, True])
    automatic = np.array([True, False, True, False, False])
    event = np.array([True, True, True, False, False])
    found = group_changes(manual, automatic, event)
    # Patients 2, 3 and 5 change; manual is wrong for 3 (low, event) and 5 (high, none), automatic for 2.
    assert (found.changed, found.manual_wrong, found.automatic_wrong, found.n) == (0.6, 0.4, 0.2, 5)


def test_both_burdens_share_the_manual_medians_cutoff():
    rng = np.random.default_rng(0)
    ttb = burdens(rng, 99)
    found = analyse_burden(ttb, exponential_outcome(np.zeros(99), rng), automatic=ttb * 3)
    assert found.cutoff.value == np.median(ttb)
    assert found.manual.high.sum() == 49
    assert found.automatic.high.sum() == (ttb * 3 > np.median(ttb)).sum()
    assert found.manual.low_curve.n == 50


def test_a_searched_cutoff_finds_the_step_and_says_that_it_searched():
    rng = np.random.default_rng(2)
    ttb = burdens(rng, 600)
    y = exponential_outcome(1.5 * (ttb > 25.0), rng)
    found = analyse_burden(ttb, y, "maximal")
    assert found.cutoff.value == pytest.approx(25.0, rel=0.15)
    assert found.cutoff.p_corrected < 1e-6


def test_patients_without_burden_are_low():
    rng = np.random.default_rng(3)
    ttb = np.where(rng.random(200) < 0.2, 0.0, burdens(rng, 200))
    found = analyse_burden(ttb, exponential_outcome(0.01 * ttb, rng))
    assert not found.manual.high[ttb == 0].any()
    assert np.isfinite(found.manual.ratio_per_doubling.value)


def test_a_group_without_event_has_no_ratio():
    ttb = np.arange(1.0, 21)
    y = exponential_outcome(np.zeros(20), np.random.default_rng(0))
    y["event"] = ttb > 10
    assert analyse_burden(ttb, y, 10.0).manual.ratio is None


@pytest.mark.parametrize(("cutoff", "words"), [(1e6, "at or below"), (0.001, "above")])
def test_a_cutoff_beyond_all_patients(cutoff, words):
    rng = np.random.default_rng(0)
    with pytest.raises(SurvivalError, match=words):
        analyse_burden(burdens(rng, 30), exponential_outcome(np.zeros(30), rng), cutoff)
