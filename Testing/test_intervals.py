"""Intervals over patients, beside scipy's bootstrap, and how a card shows them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.evaluation.cohort import CohortEvaluation
from HNTumorSegLib.evaluation.intervals import patient_intervals
from HNTumorSegLib.models.card import ModelCard, figures_in_words
from HNTumorSegLib.models.card_markdown import card_markdown
from HNTumorSegLib.models.registry import resolve_model
from HNTumorSegLib.training.card_figures import with_intervals


def mean_of(cohort: CohortEvaluation) -> dict[str, float]:
    return {"mean": float(np.mean(cohort.cases))}


def test_the_interval_is_that_of_scipy():
    values = np.random.default_rng(5).gamma(2.0, 3.0, 60)
    low, high = patient_intervals(CohortEvaluation(cases=tuple(values)), mean_of, n_resamples=4000)["mean"]
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    width = theirs.high - theirs.low
    assert low == pytest.approx(theirs.low, abs=0.06 * width)
    assert high == pytest.approx(theirs.high, abs=0.06 * width)
    assert patient_intervals(CohortEvaluation(cases=tuple(values)), mean_of, n_resamples=4000)["mean"] == (low, high)


def test_what_is_undefined_in_a_draw_is_left_out_of_it():
    cohort = CohortEvaluation(cases=(1.0,) + (0.0,) * 29)
    defined = patient_intervals(cohort, lambda c: {"only": 1.0} if any(c.cases) else {}, n_resamples=50)
    assert defined == {"only": (1.0, 1.0)}
    assert patient_intervals(cohort, lambda c: {}, n_resamples=3) == {}


def test_too_few_patients():
    with pytest.raises(InputError, match="at least 20 of them; there are 19"):
        patient_intervals(CohortEvaluation(cases=(1.0,) * 19), mean_of)
    assert with_intervals(CohortEvaluation(cases=(1.0,) * 19), {"dsc_node": 0.5}) == {"dsc_node": 0.5}


def test_figures_in_words():
    figures = {"patients": 100.0, "dsc_node": 0.7744, "dsc_node_95_low": 0.735, "dsc_node_95_high": 0.8121}
    assert figures_in_words(figures) == {"patients": "100", "dsc_node": "0.7744 (0.735 to 0.812)"}


@pytest.mark.parametrize("model", ["default", "fast"])
def test_the_bundled_cards_have_intervals_around_their_figures(model):
    card = ModelCard.load(resolve_model(model))
    for reading in ("PET and CT", "PET only"):
        figures = card.performance[f"held_out phantoms, {reading}"]
        for name in ("dsc_union", "dsc_node", "tpr_primary", "ppv_node", "classification_accuracy", "ttb_r2"):
            low, high = figures[f"{name}_95_low"], figures[f"{name}_95_high"]
            assert 0 < low < figures[name] < high <= 1, name
    assert "95 % interval" in card_markdown(card)
    all_found = card.performance["first phantoms, PET and CT"]
    assert all_found["tpr_primary"] == 1
    assert "tpr_primary_95_low" not in all_found
