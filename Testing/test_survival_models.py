"""Penalised Cox, forest, DeepSurv, contributions: against conditions and programs that are not theirs."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("lifelines", reason="the survival extra is not installed")
import torch
from lifelines import CoxPHFitter, NelsonAalenFitter
from lifelines.statistics import logrank_test
from sklearn.base import clone
from survival_cases import exponential_outcome, larynx

from HNTumorSegLib.survival.concordance import harrell_c
from HNTumorSegLib.survival.contributions import shapley
from HNTumorSegLib.survival.cox import CoxPH
from HNTumorSegLib.survival.deepsurv import DeepSurv, negative_log_likelihood
from HNTumorSegLib.survival.forest import RandomSurvivalForest, log_rank_of_splits
from HNTumorSegLib.survival.partial_likelihood import RiskSets
from HNTumorSegLib.survival.penalised_cox import LassoCox, LassoPath, largest_penalty

ESTIMATORS = [CoxPH(), LassoCox(), RandomSurvivalForest(n_trees=20), DeepSurv(max_epochs=30)]


def linear_cohort(n=200, p=12, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    return x, exponential_outcome(0.8 * x[:, 0] - 0.6 * x[:, 1], rng)


def breslow_loss(beta, z, y):
    """The negative log partial likelihood an event, event by event."""
    eta = z @ beta
    total = 0.0
    for k in np.flatnonzero(y["event"]):
        total = total - eta[k] + torch.logsumexp(eta[torch.from_numpy(y["time"] >= y["time"][k])], 0)
    return total / int(y["event"].sum())


def test_deepsurvs_loss_is_lifelines_partial_likelihood():
    frame, y = larynx()
    table = frame.assign(t=y["time"], e=y["event"])
    fitted = CoxPHFitter().fit(table, "t", "e")
    score = torch.tensor(frame.to_numpy() @ fitted.params_.to_numpy())
    loss = negative_log_likelihood(score, RiskSets(y))
    assert float(loss) * y["event"].sum() == pytest.approx(-fitted.log_likelihood_, abs=1e-9)


def test_the_loss_has_the_right_gradient():
    _, y = larynx()
    score = torch.randn(len(y), dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: negative_log_likelihood(s, RiskSets(y)), score)


def test_the_losss_minimum_is_coxs_estimate():
    frame, y = larynx()
    z = torch.tensor(frame.to_numpy())
    beta = torch.tensor(CoxPH().fit(frame.to_numpy(), y).coef_, requires_grad=True)
    negative_log_likelihood(z @ beta, RiskSets(y)).backward()
    assert beta.grad.numpy() == pytest.approx(np.zeros(4), abs=1e-9)


@pytest.mark.parametrize("share", [0.9, 0.4, 0.1])
def test_lasso_meets_its_optimality_conditions(share):
    """At a minimum the loss's slope is the penalty where a coefficient is not 0, and at most that where it is."""
    x, y = linear_cohort()
    z = (x - x.mean(0)) / x.std(0)
    penalty = share * largest_penalty(z, y)
    coef = LassoPath(z, y).solve(penalty, tolerance=1e-9)[0]
    beta = torch.tensor(coef, requires_grad=True)
    breslow_loss(beta, torch.tensor(z), y).backward()
    slope, active = -beta.grad.numpy(), coef != 0
    assert active.any()
    assert slope[active] == pytest.approx(penalty * np.sign(coef[active]), abs=1e-6)
    assert np.all(np.abs(slope[~active]) <= penalty + 1e-6)


def test_the_largest_penalty_leaves_nothing():
    x, y = linear_cohort()
    z = (x - x.mean(0)) / x.std(0)
    top = largest_penalty(z, y)
    assert not np.any(LassoPath(z, y).solve(top * 1.0001))
    assert np.count_nonzero(LassoPath(z, y).solve(top * 0.97)) == 1


def test_lasso_by_cross_validation_finds_the_two_that_matter():
    x, y = linear_cohort(300, 40)
    fitted = LassoCox().fit(x, y)
    assert set(np.argsort(-np.abs(fitted.coef_))[:2]) == {0, 1}
    assert fitted.selected_.sum() < 20


def test_lasso_keeps_one_where_there_is_nothing():
    rng = np.random.default_rng(4)
    fitted = LassoCox().fit(rng.normal(size=(100, 5)), exponential_outcome(np.zeros(100), rng))
    assert fitted.selected_.any()


def test_log_rank_of_splits_is_lifelines():
    rng = np.random.default_rng(0)
    y = exponential_outcome(np.zeros(60), rng)
    y["time"] = np.ceil(y["time"] / 100)
    times = np.unique(y["time"][y["event"]])
    at_risk = (y["time"][:, None] >= times).astype(np.float32)
    deaths = ((y["time"][:, None] == times) & y["event"][:, None]).astype(np.float32)
    left = rng.random((5, 60)) < 0.4
    found = log_rank_of_splits(left, at_risk, deaths)
    for row, statistic in zip(left, found, strict=True):
        other = logrank_test(y["time"][row], y["time"][~row], y["event"][row], y["event"][~row])
        assert statistic == pytest.approx(other.test_statistic, rel=1e-4)


def test_a_trees_leaves_are_nelson_aalen():
    """One split at most: each side's cumulative hazard is that of its own bootstrap sample."""
    rng = np.random.default_rng(2)
    x = np.repeat([0.0, 1.0], 60)[:, None]
    y = exponential_outcome(1.5 * x[:, 0], rng)
    forest = RandomSurvivalForest(n_trees=1, min_leaf=30, seed=3).fit(x, y)
    rows = np.random.default_rng(3).integers(0, len(x), len(x))
    for value in (0.0, 1.0):
        mine = y[rows][x[rows, 0] == value]
        fitted = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(mine["time"], mine["event"])
        found = forest.cumulative_hazard(np.array([[value]]))[0]
        # lifelines adds up 1/n + 1/(n-1) for tied deaths; bootstrap repeats make ties, so compare at d/n.
        assert found == pytest.approx(fitted.predict(forest.grid_).to_numpy(), rel=0.08, abs=0.02)


def test_the_forest_sees_what_cox_cannot():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, 4))
    y = exponential_outcome(2.0 * (x[:, 0] * x[:, 1] > 0), rng)
    cox, forest = (e.fit(x[:400], y[:400]) for e in (CoxPH(), RandomSurvivalForest(100, max_features=4)))
    assert harrell_c(cox.predict(x[400:]), y[400:]).c_index < 0.58
    assert harrell_c(forest.predict(x[400:]), y[400:]).c_index > 0.63


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_estimators_behave_alike(estimator):
    x, y = linear_cohort(260)
    fitted = clone(estimator).fit(x[:200], y[:200])
    assert harrell_c(fitted.predict(x[200:]), y[200:]).c_index > 0.6
    survival = fitted.predict_survival(x[200:], [0.0, 200.0, 700.0])
    assert survival.shape == (60, 3)
    assert survival[:, 0] == pytest.approx(np.ones(60))
    assert np.all(np.diff(survival, axis=1) <= 0)
    # Higher risk, lower survival.
    order = np.argsort(fitted.predict(x[200:]))
    assert survival[order[:20], 2].mean() > survival[order[-20:], 2].mean() + 0.1
    # The same seed gives the same model, whatever was drawn in between.
    torch.rand(3)
    np.random.default_rng(9).random(5)
    assert clone(estimator).fit(x[:200], y[:200]).predict(x) == pytest.approx(fitted.predict(x), abs=1e-12)
    back = type(estimator).from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)))
    assert back.predict(x) == pytest.approx(fitted.predict(x), abs=1e-5)
    assert back.predict_survival(x, [500.0]) == pytest.approx(fitted.predict_survival(x, [500.0]), abs=1e-5)


def test_fitting_leaves_the_random_state_of_torch_alone():
    x, y = linear_cohort(80)
    torch.manual_seed(11)
    expected = torch.rand(4)
    torch.manual_seed(11)
    DeepSurv(max_epochs=5).fit(x, y)
    assert torch.equal(torch.rand(4), expected)


def test_cox_survival_is_calibrated():
    x, y = linear_cohort(3000, 2, seed=8)
    survival = CoxPH().fit(x, y).predict_survival(x, [500.0])[:, 0]
    assert survival == pytest.approx(np.exp(-0.5 * np.exp(0.8 * x[:, 0] - 0.6 * x[:, 1])), abs=0.05)


def test_contributions_of_a_linear_model():
    rng = np.random.default_rng(0)
    z, coef = rng.normal(size=(7, 5)), np.array([1.0, -2.0, 0.5, 0.0, 3.0])
    groups = [[0], [1, 2], [3], [4]]
    found = shapley(lambda v: v @ coef, z, groups)
    assert found == pytest.approx(np.column_stack([(z * coef)[:, g].sum(1) for g in groups]))


def test_contributions_add_up_and_share_an_interaction():
    z = np.array([[2.0, 3.0, 1.0]])
    found = shapley(lambda v: v[:, 0] * v[:, 1] + v[:, 2], z, [[0], [1], [2]])
    assert found == pytest.approx(np.array([[3.0, 3.0, 1.0]]))
    many = np.random.default_rng(1).normal(size=(4, 9))
    score = lambda v: np.tanh(v).prod(1) + v[:, 0] ** 2  # noqa: E731
    parts = shapley(score, many, [[k] for k in range(9)], seed=5)
    assert parts.sum(1) == pytest.approx(score(many) - score(np.zeros_like(many)))
    assert pd.DataFrame(parts).equals(pd.DataFrame(shapley(score, many, [[k] for k in range(9)], seed=5)))
