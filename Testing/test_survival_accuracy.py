"""Weighted measures against their definitions written out patient by patient; pooling and the corrected test."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("lifelines", reason="the survival extra is not installed")
from lifelines import KaplanMeierFitter
from scipy.stats import t as student
from survival_cases import exponential_outcome

from HNTumorSegLib.survival.accuracy import (
    brier_scores,
    evaluation_times,
    integrated_brier,
    time_dependent_auc,
)
from HNTumorSegLib.survival.censoring import Censoring
from HNTumorSegLib.survival.compare import corrected_mean, corrected_paired_t_test
from HNTumorSegLib.survival.concordance import harrell_c, uno_c
from HNTumorSegLib.survival.outcome import outcome
from HNTumorSegLib.survival.rubin import pool
from HNTumorSegLib.survival.summaries import random_effects_mean


@pytest.fixture(scope="module")
def judged():
    """Risks that say something, and outcomes with ties; the censoring comes from other patients."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=160)
    y = exponential_outcome(x, rng)
    y["time"] = np.ceil(y["time"] / 20)
    return (x + rng.normal(size=160)).round(1)[:80], y[:80], y[80:]


def uncensored(y, t, just_before=False):
    """G(t) patient by patient; a censoring at an event's time counts after it."""
    g = 1.0
    for u in sorted(set(y["time"])):
        if u > t or (just_before and u >= t):
            break
        censored = sum(1 for p in y if p["time"] == u and not p["event"])
        events = sum(1 for p in y if p["time"] == u and p["event"])
        at_risk = sum(1 for p in y if p["time"] >= u)
        if censored:
            g *= 1 - censored / (at_risk - events)
    return g


def test_censoring_distribution(judged):
    _, y, _ = judged
    found = Censoring.estimate(y)
    for t in (0, 3, 10.5, 40, 100):
        assert found.uncensored_at(t) == pytest.approx(uncensored(y, t))
        assert found.uncensored_before(t) == pytest.approx(uncensored(y, t, just_before=True))


def test_censoring_without_ties_is_lifelines():
    y = exponential_outcome(np.zeros(60), np.random.default_rng(0))
    fitted = KaplanMeierFitter().fit(y["time"], ~y["event"])
    times = np.sort(y["time"])[:-1]
    assert Censoring.estimate(y).uncensored_at(times) == pytest.approx(fitted.predict(times).to_numpy())


def direct_c(risk, y, weight):
    """Pair by pair."""
    good = total = 0.0
    for i in range(len(y)):
        for j in range(len(y)):
            earlier = y["time"][i] < y["time"][j] or (y["time"][i] == y["time"][j] and not y["event"][j])
            if i != j and y["event"][i] and earlier:
                total += weight[i]
                good += weight[i] * (1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0)
    return good / total


def test_harrell_and_uno_pair_by_pair(judged):
    risk, y, train = judged
    assert harrell_c(risk, y).c_index == pytest.approx(direct_c(risk, y, np.ones(len(y))))
    tau = 45.0
    weight = [0.0 if p["time"] >= tau or (g := uncensored(train, p["time"], True)) == 0 else g**-2 for p in y]
    assert uno_c(risk, y, Censoring.estimate(train), tau).c_index == pytest.approx(direct_c(risk, y, weight))


def test_harrell_is_lifelines_and_turns_over(judged):
    from lifelines.utils import concordance_index

    risk, y, _ = judged
    assert harrell_c(risk, y).c_index == pytest.approx(concordance_index(y["time"], -risk, y["event"]))
    assert harrell_c(-risk, y).c_index == pytest.approx(1 - harrell_c(risk, y).c_index)
    assert harrell_c(np.zeros(len(y)), y).c_index == 0.5


def test_no_usable_pair():
    assert np.isnan(harrell_c(np.array([1.0, 2.0]), outcome([1, 2], [0, 0])).c_index)


def test_the_jackknife_error_is_the_bootstraps(judged):
    risk, y, _ = judged
    rng = np.random.default_rng(0)
    draws = [harrell_c(risk[k], y[k]).c_index for k in (rng.integers(0, len(y), len(y)) for _ in range(600))]
    assert harrell_c(risk, y).standard_error == pytest.approx(np.std(draws), rel=0.12)


def test_time_dependent_auc_pair_by_pair(judged):
    risk, y, train = judged
    for t in (10.0, 25.0, 50.0):
        top = bottom = 0.0
        for case in range(len(y)):
            if y["event"][case] and y["time"][case] <= t:
                weight = 1 / uncensored(train, y["time"][case], True)
                for control in np.flatnonzero(y["time"] > t):
                    bottom += weight
                    top += weight * (risk[case] > risk[control]) + 0.5 * weight * (risk[case] == risk[control])
        found = time_dependent_auc(risk, y, [t], Censoring.estimate(train))
        assert found[0] == pytest.approx(top / bottom)


def test_brier_patient_by_patient(judged):
    _, y, train = judged
    rng = np.random.default_rng(1)
    times = np.array([5.0, 20.0, 45.0])
    survival = np.sort(rng.random((len(y), 3)), axis=1)[:, ::-1]
    direct = []
    for k, t in enumerate(times):
        total = 0.0
        for i, p in enumerate(y):
            if p["event"] and p["time"] <= t:
                total += survival[i, k] ** 2 / uncensored(train, p["time"], True)
            elif p["time"] > t:
                total += (1 - survival[i, k]) ** 2 / uncensored(train, t)
        direct.append(total / len(y))
    censoring = Censoring.estimate(train)
    assert brier_scores(survival, y, times, censoring) == pytest.approx(direct)
    area = (direct[0] + direct[1]) / 2 * 15 + (direct[1] + direct[2]) / 2 * 25
    assert integrated_brier(survival, y, times, censoring) == pytest.approx(area / 40)


def test_measures_know_the_truth():
    """With the true survival function nothing predicts better; weights make up for censoring."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=4000)
    y = exponential_outcome(x, rng)
    times = np.array([300.0, 800.0])
    true = np.exp(-times / 1000 * np.exp(x)[:, None])
    uncensored_expectation = (true * (1 - true)).mean(0)
    assert brier_scores(true, y, times) == pytest.approx(uncensored_expectation, abs=0.01)
    assert np.all(brier_scores(true**1.7, y, times) > brier_scores(true, y, times))


def test_evaluation_times_stay_inside(judged):
    _, y, train = judged
    times = evaluation_times(train, y)
    assert np.all(np.diff(times) > 0)
    assert times[-1] < min(y["time"].max(), train["time"].max())
    assert len(evaluation_times(train, outcome([1, 2, 3], [1, 0, 0]))) == 0


def test_rubins_rules_by_hand():
    # Estimates 1, 2, 3 with variances 0.5: W = 0.5, B = 1, T = 0.5 + 4/3.
    pooled = pool([[1.0], [2.0], [3.0]], [[0.5]] * 3)
    assert pooled.estimate == pytest.approx([2.0])
    assert pooled.standard_error == pytest.approx([np.sqrt(0.5 + 4 / 3)])
    assert pooled.degrees_of_freedom == pytest.approx([2 * (1 + 0.5 / (4 / 3)) ** 2])
    assert pooled.missing_share == pytest.approx([(4 / 3) / (0.5 + 4 / 3)])
    freedom = float(pooled.degrees_of_freedom[0])
    lower, upper = pooled.interval()
    assert upper - lower == pytest.approx([2 * student.ppf(0.975, freedom) * np.sqrt(0.5 + 4 / 3)])


def test_without_missing_values_pooling_changes_nothing():
    pooled = pool([[0.3, -1.0]] * 10, [[0.04, 0.09]] * 10)
    assert pooled.standard_error == pytest.approx([0.2, 0.3])
    assert pooled.p == pytest.approx(2 * student.sf([1.5, 10 / 3], np.inf))
    assert pooled.missing_share == pytest.approx([0, 0])


def test_the_corrected_test_by_hand():
    # Differences 0.1, 0.2, 0.3, 0.0, 0.4: mean 0.2, variance 0.025; n_test / n_train = 1/4.
    first = np.array([0.7, 0.8, 0.9, 0.6, 1.0])
    found = corrected_paired_t_test(first, np.full(5, 0.6), 0.25)
    error = np.sqrt((1 / 5 + 1 / 4) * 0.025)
    assert (found.mean, found.standard_error) == pytest.approx((0.2, error))
    assert found.p == pytest.approx(2 * student.sf(0.2 / error, 4))
    # Ordinary without overlap between training sets.
    plain = corrected_mean(first, 0.0)
    assert plain.standard_error == pytest.approx(first.std(ddof=1) / np.sqrt(5))


def test_the_corrected_test_of_equal_models():
    same = corrected_paired_t_test([0.7, 0.8, np.nan], [0.7, 0.8, 0.9], 0.25)
    assert (same.mean, same.p, same.n) == (0.0, 1.0, 2)
    assert np.isnan(corrected_mean([0.7], 0.25).lower)


def test_random_effects_by_hand():
    # Equal errors of 0.1, values 0.6 and 1.0: Q = 8, spread 100, between = 0.07.
    mean, lower, upper = random_effects_mean(np.array([0.6, 1.0]), np.array([0.1, 0.1]))
    assert mean == pytest.approx(0.8)
    assert upper - lower == pytest.approx(2 * 1.96 * np.sqrt((0.01 + 0.07) / 2))
