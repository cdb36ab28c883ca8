"""Cox, Kaplan-Meier, log-rank, concordance and cut-offs against R, lifelines and arithmetic by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("lifelines", reason="the survival extra is not installed")
from survival_cases import LARYNX_COLUMNS, exponential_outcome, larynx

from HNTumorSegLib.errors import SurvivalError
from HNTumorSegLib.survival.concordance import harrell_c, uno_c
from HNTumorSegLib.survival.cox import CoxPH
from HNTumorSegLib.survival.cutoff import lausen_schumacher_p, maximal_cutoff
from HNTumorSegLib.survival.kaplan_meier import kaplan_meier, log_rank, median_follow_up
from HNTumorSegLib.survival.newton import fit_cox
from HNTumorSegLib.survival.outcome import outcome

# R 4.2.2, survival 3.5-3: coxph(Surv(time, death) ~ age + Stage_II + Stage_III + Stage_IV, ties = ...)
R_COX = {
    "breslow": (
        (0.0189018392, 0.1385638975, 0.6383497305, 1.6930564363),
        (0.01425103666, 0.46230554899, 0.35608041226, 0.42220796159),
    ),
    "efron": (
        (0.01903110188, 0.14004015376, 0.64238172748, 1.70597960991),
        (0.01425841809, 0.46248609806, 0.35611055758, 0.42191333072),
    ),
}
R_LOG_LIKELIHOOD = -187.7073649


@pytest.mark.parametrize("ties", R_COX)
def test_larynx_coefficients_and_errors_are_rs(ties):
    frame, y = larynx()
    fitted = CoxPH(ties).fit(frame.to_numpy(), y)
    coef, error = R_COX[ties]
    assert fitted.coef_ == pytest.approx(coef, abs=2e-8)
    assert fitted.standard_error_ == pytest.approx(error, abs=2e-8)


def test_larynx_likelihood_and_baseline_are_rs():
    frame, y = larynx()
    fitted = CoxPH().fit(frame.to_numpy(), y)
    assert fitted.log_likelihood_ == pytest.approx(R_LOG_LIKELIHOOD, abs=1e-7)
    # R's basehaz centres the age and leaves the stages at 0.
    at_stage_i = np.exp(-fitted.coef_[1:] @ fitted.mean_[1:])
    assert fitted.baseline_.cumulative_hazard[-1] * at_stage_i == pytest.approx(0.8089463111, abs=1e-8)


def test_larynx_concordance_and_its_error_are_rs():
    frame, y = larynx()
    found = harrell_c(CoxPH().fit(frame.to_numpy(), y).predict(frame.to_numpy()), y)
    assert found.c_index == pytest.approx(0.6818823, abs=1e-7)
    assert found.standard_error == pytest.approx(0.03911038, abs=1e-8)
    # R: concordance(..., timewt = "n/G2") of age * 0.02 + Stage_IV
    uno = uno_c(frame["age"].to_numpy() * 0.02 + frame["Stage_IV"].to_numpy(), y)
    assert uno.c_index == pytest.approx(0.6262866, abs=1e-7)
    assert uno.standard_error == pytest.approx(0.04455595, abs=1e-8)


def test_many_tied_deaths_agree_with_lifelines():
    from lifelines import CoxPHFitter

    rng = np.random.default_rng(5)
    x = rng.normal(size=(400, 3))
    y = exponential_outcome(x @ [0.5, -0.3, 0.0], rng)
    y["time"] = np.ceil(y["time"] / 250)  # eight or fewer distinct times
    import pandas as pd

    frame = pd.DataFrame(x, columns=list("abc")).assign(t=y["time"], e=y["event"])
    other = CoxPHFitter().fit(frame, "t", "e", fit_options={"precision": 1e-13})
    found = fit_cox(x, y)
    assert found.coef[0] == pytest.approx(other.params_.to_numpy(), abs=5e-8)
    assert np.sqrt(np.diag(found.covariance[0])) == pytest.approx(other.standard_errors_.to_numpy(), abs=1e-7)


def test_a_batch_of_weights_is_a_batch_of_repeated_patients():
    frame, y = larynx()
    x = frame.to_numpy()
    weights = np.random.default_rng(1).multinomial(len(y), np.full(len(y), 1 / len(y)), 6)
    batch = fit_cox(x, y, "breslow", weights=weights)
    for row, coef, covariance in zip(weights, batch.coef, batch.covariance, strict=True):
        rows = np.repeat(np.arange(len(y)), row)
        alone = fit_cox(x[rows], y[rows], "breslow")
        assert coef == pytest.approx(alone.coef[0], abs=1e-8)
        assert covariance == pytest.approx(alone.covariance[0], abs=1e-8)


def test_a_batch_of_subsets_is_a_batch_of_smaller_models():
    frame, y = larynx()
    x = frame.to_numpy()
    subsets = np.array([[1, 0, 0, 0], [1, 0, 0, 1], [0, 1, 1, 1]], bool)
    batch = fit_cox(x, y, subsets=subsets)
    for row, coef in zip(subsets, batch.coef, strict=True):
        assert coef[row] == pytest.approx(fit_cox(x[:, row], y).coef[0], abs=1e-8)
        assert np.all(coef[~row] == 0)


def test_a_repeated_covariate_has_no_fit():
    frame, y = larynx()
    x = frame[["age", "age"]].to_numpy()
    with pytest.raises(SurvivalError, match="repeat"):
        CoxPH().fit(x, y)


def test_ridge_shrinks():
    frame, y = larynx()
    plain, ridge = (CoxPH(l2=l2).fit(frame.to_numpy(), y).coef_ for l2 in (0.0, 10.0))
    assert np.all(np.abs(ridge) < np.abs(plain))


def test_kaplan_meier_by_hand():
    curve = kaplan_meier(outcome([1, 2, 2, 3, 4], [1, 1, 0, 1, 0]))
    assert curve.at([0.5, 1, 2.5, 3, 4]) == pytest.approx([1, 4 / 5, 4 / 5 * 3 / 4, 4 / 5 * 3 / 4 / 2, 0.3])
    assert curve.at_risk([0, 1, 2, 2.5, 4]).tolist() == [5, 5, 4, 2, 1]
    assert curve.median == 3
    assert (curve.n, curve.n_events) == (5, 3)


def test_larynx_kaplan_meier_is_rs():
    _, y = larynx()
    curve = kaplan_meier(y)
    assert curve.at([2, 5, 8]) == pytest.approx([0.733333, 0.531260, 0.296510], abs=1e-6)
    five = np.searchsorted(curve.times, 5.0, side="right") - 1
    assert (curve.lower[five], curve.upper[five]) == pytest.approx((0.418154, 0.632020), abs=1e-6)
    assert curve.at_risk([2, 5, 8]).tolist() == [68, 34, 8]


def test_log_rank_by_hand_and_as_in_r():
    # Two patients a group, all with event: observed 2, expected 1/2 + 1/3 + 1/2, variance 1/4 + 2/9 + 1/4.
    assert log_rank(outcome([1, 3, 2, 4], [1, 1, 1, 1]), np.array(list("aabb")))[0] == pytest.approx(8 / 13)
    frame, y = larynx()
    stage = frame[LARYNX_COLUMNS[1:]].to_numpy() @ [1, 2, 3]
    assert log_rank(y, stage) == pytest.approx((22.7628, 4.525e-5), rel=1e-4)
    assert log_rank(y, frame["Stage_IV"].to_numpy())[0] == pytest.approx(19.8269, abs=1e-4)
    assert np.isnan(log_rank(y, np.zeros(len(y)))[1])


def test_follow_up_by_reverse_kaplan_meier():
    assert median_follow_up(outcome([1, 2, 3, 4], [1, 0, 0, 0])) == 3
    assert median_follow_up(outcome([1, 2], [1, 1])) == np.inf


def test_the_maximal_cutoff_is_maxstats():
    # R: maxstat.test(Surv(time, death) ~ age, smethod = "LogRank", pmethod = "Lau92", minprop = 0.1, maxprop = 0.9)
    frame, y = larynx()
    found = maximal_cutoff(frame["age"].to_numpy(), y)
    assert found.value == 73
    assert found.statistic == pytest.approx(2.2602131, abs=1e-7)
    assert found.p_corrected == pytest.approx(0.3026599, abs=1e-7)


def test_the_correction_holds_where_there_is_no_effect():
    """Of 400 cohorts without effect about 5 % may be below 0.05; uncorrected it would be many times that."""
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    found = [maximal_cutoff(rng.random(120), exponential_outcome(np.zeros(120), rng)) for _ in range(400)]
    assert np.mean([f.p_corrected < 0.05 for f in found]) < 0.075
    assert np.mean([2 * norm.sf(f.statistic) < 0.05 for f in found]) > 0.25


def test_the_correction_falls_with_the_statistic():
    p = [lausen_schumacher_p(b) for b in (0.5, 1.5, 2.5, 3.5, 5.0)]
    assert p == sorted(p, reverse=True)
    assert p[0] == 1
    assert p[-1] < 1e-4


def test_no_cutoff_among_equal_values():
    _, y = larynx()
    with pytest.raises(SurvivalError, match="repeat"):
        maximal_cutoff(np.ones(len(y)), y)


@pytest.mark.parametrize(("time", "event"), [([-1.0, 2], [0, 1]), ([np.nan, 2], [0, 1]), ([1, 2, 3], [0, 1])])
def test_outcomes_that_cannot_be(time, event):
    with pytest.raises(ValueError):
        outcome(time, event)
