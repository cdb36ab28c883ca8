"""Splits keep patients together and centres apart, and are refused where a class would be missing."""

from __future__ import annotations

from collections import Counter

import pytest

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.training.splits import CaseFacts, Splits, k_folds, leave_one_centre_out, require_classes

NAMES = {1: "primary tumour", 2: "lymph-node metastasis"}


def cohort() -> list[CaseFacts]:
    """40 patients of 3 centres, every third without a node; patient 0 was scanned twice."""
    cases = [
        CaseFacts(f"case{n}", f"patient{n}", ("A", "B", "C")[n % 5 % 3], (1,) if n % 3 == 0 else (1, 2))
        for n in range(40)
    ]
    return [*cases, CaseFacts("case0-again", "patient0", "A", (1,))]


def test_folds_are_disjoint_by_patient_and_balanced():
    cases = cohort()
    splits = k_folds(cases, 5, seed=3)
    facts = {case.name: case for case in cases}
    measured = Counter(name for fold in splits.folds for name in fold.validation)
    assert set(measured) == set(facts)
    assert set(measured.values()) == {1}
    for fold in splits.folds:
        trained = {facts[name].patient for name in fold.training}
        tested = {facts[name].patient for name in fold.validation}
        assert not trained & tested
        assert len(fold.training) + len(fold.validation) == len(cases)
        assert 7 <= len(tested) <= 9
        # Strata are dealt in turn: no fold lacks a centre, and patients with nodes are spread.
        assert {facts[name].centre for name in fold.validation} == {"A", "B", "C"}
        assert 4 <= sum(2 in facts[name].classes for name in fold.validation) <= 7


def test_splits_follow_from_the_seed_and_survive_the_file(tmp_path):
    splits = k_folds(cohort(), 5, seed=3)
    assert splits == k_folds(cohort(), 5, seed=3)
    assert splits != k_folds(cohort(), 5, seed=4)
    assert Splits.load(splits.save(tmp_path / "splits.json")) == splits
    (tmp_path / "splits.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be read"):
        Splits.load(tmp_path / "splits.json")


def test_other_data_than_the_splits_were_made_for_are_refused(tmp_path):
    splits = k_folds(cohort(), 5, seed=0)
    names = [case.name for case in cohort()]
    splits.require_cases(names, tmp_path)
    with pytest.raises(InputError, match="'case0' is no longer in the data"):
        splits.require_cases(names[1:], tmp_path)
    with pytest.raises(InputError, match="'other' is new"):
        splits.require_cases([*names, "other"], tmp_path)


def test_leave_one_centre_out_measures_each_centre_on_its_own():
    splits = leave_one_centre_out(cohort())
    facts = {case.name: case for case in cohort()}
    assert [fold.name for fold in splits.folds] == ["A", "B", "C"]
    for fold in splits.folds:
        assert {facts[name].centre for name in fold.validation} == {fold.name}
        assert fold.name not in {facts[name].centre for name in fold.training}


def test_an_unknown_centre_is_refused_with_the_case():
    with pytest.raises(InputError, match="centre of case 'x' is not known"):
        leave_one_centre_out([*cohort(), CaseFacts("x", "x", "", (1, 2))])
    with pytest.raises(InputError, match="All cases are from one centre"):
        leave_one_centre_out([CaseFacts("x", "x", "A", (1, 2)), CaseFacts("y", "y", "A", (1, 2))])
    with pytest.raises(InputError, match="'p' belongs to several centres"):
        leave_one_centre_out([CaseFacts("x", "p", "A", (1,)), CaseFacts("y", "p", "B", (1,))])


def test_a_class_absent_from_a_fold_is_refused():
    cases = [CaseFacts(f"c{n}", f"p{n}", "A", (1, 2) if n == 0 else (1,)) for n in range(6)]
    splits = k_folds(cases, 3, seed=0)
    require_classes(splits, cases, {1: "primary tumour"})
    with pytest.raises(
        InputError, match=r"has no lymph-node metastasis \(label 2\) in any of its \d (training|validation)"
    ):
        require_classes(splits, cases, NAMES)


@pytest.mark.parametrize("k", [1, 7])
def test_impossible_numbers_of_folds_are_refused(k):
    cases = [CaseFacts(f"c{n}", f"p{n}", "A", (1, 2)) for n in range(6)]
    with pytest.raises(InputError, match=f"{k} folds cannot be made of 6 patients"):
        k_folds(cases, k, seed=0)
