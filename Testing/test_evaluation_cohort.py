"""Classification, detection, agreement, cohort: by hand, from the paper's numbers and from published examples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from test_measures import grid

from HNTumorSegLib.evaluation.burden import (
    bland_altman,
    burden_agreement,
    fit_line,
    intraclass_correlation,
    worst_positions,
)
from HNTumorSegLib.evaluation.case import EvaluationCase, EvaluationSettings, StructureCase, evaluate_case
from HNTumorSegLib.evaluation.classification import VoxelClassification, classify_voxels
from HNTumorSegLib.evaluation.cohort import Problem, evaluate_cases, evaluate_structures
from HNTumorSegLib.evaluation.detection import Detection, detect
from HNTumorSegLib.geometry import image_from_array
from HNTumorSegLib.progress import ProgressEvent

ALL_KEPT = EvaluationSettings(minimum_lesion_ml=0)


def line_image(values, spacing=(10.0, 10.0, 10.0)):
    """A row of voxels of 1 ml each."""
    return image_from_array(np.array(values, np.uint8).reshape(1, 1, -1), grid((1, 1, len(values)), spacing=spacing))


def case(name, truth, predicted):
    return EvaluationCase(name, line_image(truth), line_image(predicted))


# Nikulin et al. 2023, Table 3: TP_man, TP_cnn, FN, FP, TPR_str, PPV_str, in percent.
TABLE_3 = [
    ((578, 592, 65, 44), (89.9, 93.1)),
    ((849, 893, 229, 252), (78.8, 78.0)),
    ((1427, 1485, 294, 296), (82.9, 83.4)),
    ((164, 160, 11, 10), (93.7, 94.1)),
    ((193, 198, 204, 53), (48.6, 78.9)),
    ((357, 358, 215, 63), (62.4, 85.0)),
]


@pytest.mark.parametrize(("counts", "percentages"), TABLE_3)
def test_detection_rates_are_those_of_the_papers_counts(counts, percentages):
    found = Detection(*counts)
    assert (round(100 * found.tpr, 1), round(100 * found.ppv, 1)) == percentages


def test_the_papers_last_row_is_the_sum_of_the_two_classes():
    assert Detection(*TABLE_3[0][0]) + Detection(*TABLE_3[1][0]) == Detection(*TABLE_3[2][0])
    assert Detection(*TABLE_3[3][0]) + Detection(*TABLE_3[4][0]) == Detection(*TABLE_3[5][0])


# Table 2: T_PT, F_PT, T_LN, F_LN in percent, then TPR_PT, TPR_LN, ACC.
@pytest.mark.parametrize(
    ("table", "rates"),
    [((60.8, 1.5, 37.2, 0.5), (99.2, 96.1, 98.0)), ((67.0, 1.2, 30.9, 0.9), (98.7, 96.3, 97.9))],
)
def test_classification_rates_are_those_of_the_papers_contingency_tables(table, rates):
    found = VoxelClassification(*table)
    assert tuple(round(100 * r, 1) for r in (found.tpr_primary, found.tpr_node, found.accuracy)) == rates
    normalised = found.normalised()
    assert normalised.n_voxels == pytest.approx(1)


def test_voxels_classified_by_hand():
    truth = np.array([1, 1, 1, 1, 2, 2, 2, 0, 0, 1])
    predicted = np.array([1, 1, 1, 2, 2, 2, 1, 1, 0, 0])
    found = classify_voxels(predicted, truth)
    assert found == VoxelClassification(true_primary=3, false_primary=1, true_node=2, false_node=1)
    assert (found.tpr_primary, found.tpr_node, found.accuracy) == (3 / 4, 2 / 3, 5 / 7)
    nothing = classify_voxels(truth * 0, truth)
    assert (nothing.tpr_primary, nothing.accuracy, nothing.normalised()) == (None, None, None)


def test_half_covered_is_found_but_half_right_is_not():
    """ "At least 50 %" for a true lesion, "over 50 %" for a delineated one, as the paper words them."""
    truth = np.array([[[1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 1]]], bool)
    predicted = np.array([[[0, 0, 1, 1, 1, 1, 0, 1, 0, 0, 0, 1]]], bool)
    assert detect(predicted, truth) == Detection(tp_true=2, tp_predicted=2, fn=1, fp=1)


def test_one_structure_may_cover_two_and_corners_connect():
    truth, predicted = np.zeros((2, 4, 4, 9), bool)
    truth[0:2, 0:2, 0:3] = truth[0:2, 0:2, 5:8] = True
    predicted[0:2, 0:2, 0:8] = True  # 24 of 32 voxels are right
    predicted[2, 2, 8] = predicted[3, 3, 7] = True  # one by its corner, wholly wrong
    assert detect(predicted, truth) == Detection(tp_true=2, tp_predicted=1, fn=0, fp=0)
    predicted[2, 2, 8] = False
    assert detect(predicted, truth) == Detection(tp_true=2, tp_predicted=1, fn=0, fp=1)


def test_a_lesion_of_the_wrong_class_is_missed_and_false():
    found = evaluate_case(case("P1", [1, 1, 1, 0, 0], [2, 2, 2, 0, 0]), ALL_KEPT)
    assert found.primary.detection == Detection(fn=1)
    assert found.node.detection == Detection(fp=1)
    assert found.union.detection == Detection(fn=1, fp=1)
    assert (found.union.dsc, found.primary.dsc, found.node.dsc) == (1, 0, 0)


def test_structures_below_the_smallest_volume_are_left_out_on_both_sides():
    """Voxels of 0.06 ml: a lone voxel goes, two together (0.12 ml) stay; 5 voxels of 0.02 are exactly 0.1 ml."""
    spacing = (2.0, 5.0, 6.0)
    truth, predicted = [1, 0, 1, 1, 0, 2, 0], [0, 0, 1, 1, 0, 0, 2]
    found = evaluate_case(EvaluationCase("P", line_image(truth, spacing), line_image(predicted, spacing)))
    assert found.union.overlap.true_ml == pytest.approx(0.12)
    assert (found.primary.dsc, found.node.dsc) == (1.0, None)
    assert (found.left_out_true_ml, found.left_out_predicted_ml) == (pytest.approx(0.12), pytest.approx(0.06))
    exact = line_image([1, 1, 1, 1, 1, 0], (2.0, 2.0, 5.0))
    assert evaluate_case(EvaluationCase("P", exact, exact)).primary.dsc == 1


def test_cohort_figures_by_hand():
    cases = [
        case("A", [1, 1, 1, 1, 0, 2, 2, 0], [1, 1, 1, 0, 0, 2, 2, 2]),
        case("B", [0, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 0, 0]),
        case("C", [0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0]),
        case("D", [1, 1, 0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 2]),
    ]
    cohort = evaluate_cases(iter(cases), settings=ALL_KEPT)
    primary = cohort.dsc("primary")
    assert primary.cohort == pytest.approx(2 * (3 + 0 + 2) / (7 + 4 + 4))
    values = [6 / 7, 0.0, 1.0]
    assert primary.individual.mean == pytest.approx(np.mean(values))
    assert (primary.individual.median, primary.individual.q25, primary.individual.q75) == pytest.approx(
        (6 / 7, 3 / 7, (6 / 7 + 1) / 2)
    )
    assert (primary.n_failed, primary.individual.n, primary.n_undefined) == (1, 3, 1)
    node = cohort.dsc("node")
    assert node.cohort == pytest.approx(2 * 2 / (2 + 3 + 1))
    assert (node.n_failed, node.n_undefined) == (1, 2)  # D: a node where there is none
    assert cohort.aggregated_dsc() == pytest.approx((10 / 15 + 4 / 6) / 2)
    assert cohort.n_without_classification_errors() == 4
    assert cohort.surface("node").n_without_distance == 1
    assert cohort.detection("primary") == Detection(tp_true=2, tp_predicted=2, fn=1, fp=1)
    assert [c.name for c in cohort.worst_cases()] == ["B", "D", "A"]
    assert cohort.problems == ()
    assert cohort.notes == ()  # C is the same on both sides, but empty


def test_copies_are_pointed_out():
    """Whoever compares a file with its own copy by mistake should hear of it."""
    cases = [case("A", [1, 1, 0], [1, 1, 0]), case("B", [1, 1, 0], [1, 0, 0]), case("C", [1, 2, 0], [2, 1, 0])]
    assert "In 1 of 3 comparisons" in evaluate_cases(cases, settings=ALL_KEPT).notes[0]


def test_what_cannot_be_compared_is_named_and_the_rest_goes_on():
    nan = image_from_array(np.array([[[0.0, np.nan, 1.0]]], np.float32), grid((1, 1, 3), spacing=(10.0,) * 3))
    half = image_from_array(np.array([[[0.0, 0.5, 1.0]]], np.float32), grid((1, 1, 3), spacing=(10.0,) * 3))
    good = case("good", [1, 1, 0], [1, 0, 0])
    cases = [
        EvaluationCase("nan", nan, good.predicted),
        EvaluationCase("half", good.truth, half),
        case("three", [1, 3, 0], [1, 1, 0]),
        EvaluationCase("moved", good.truth, line_image([1, 1, 0], (9.0, 10.0, 10.0))),
        good,
        case("good", [1, 1, 1], [1, 1, 1]),
        Problem("unread", "the file is damaged."),
    ]
    seen: list[ProgressEvent] = []
    cohort = evaluate_cases(iter(cases), settings=ALL_KEPT, total=len(cases), progress=seen.append)
    assert [c.name for c in cohort.cases] == ["good"]
    assert cohort.dsc("primary").cohort == pytest.approx(2 / 3)
    said = {p.case: p.sentence for p in cohort.problems}
    assert set(said) == {"nan", "half", "three", "moved", "good", "unread"}
    assert "NaN" in said["nan"]
    assert "true labels" in said["nan"]
    assert "0.5" in said["half"]
    assert "predicted" in said["half"]
    assert "value 3" in said["three"]
    assert "grids differ" in said["moved"]
    assert "same name" in said["good"]
    assert seen[-1].fraction == 1


def test_organs_are_compared_at_their_tolerance_and_values_other_than_one_refused():
    def organ(name, truth, predicted):
        return StructureCase("P", name, line_image(truth, (1.0,) * 3), line_image(predicted, (1.0,) * 3))

    cohort = evaluate_structures(
        [
            organ("Parotid-Lt", [0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1]),  # 2 mm apart, tolerance 2.85
            organ("Lens-Lt", [0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1]),  # tolerance 0.98
            organ("Brain", [0, 2, 2, 0, 0, 0], [0, 1, 1, 0, 0, 0]),
        ]
    )
    by_name = {item.structure: item for item in cohort.structures}
    assert by_name["Parotid-Lt"].surface.surface_dsc == 1
    assert by_name["Lens-Lt"].surface.surface_dsc < 1
    assert by_name["Lens-Lt"].dsc == pytest.approx(2 / 6)
    assert [p.case for p in cohort.problems] == ["P Brain"]


# J. M. Bland, D. G. Altman, Lancet 1986, Table 1: first PEFR readings of 17 subjects, l/min.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI_WRIGHT = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def test_bland_altman_gives_the_values_of_the_1986_paper():
    """Mean difference -2.1, SD 38.8 l/min; its confidence interval -22.0 to 17.8; correlation 0.94."""
    found = bland_altman(np.array(WRIGHT), np.array(MINI_WRIGHT))
    assert (round(found.mean, 1), round(found.sd, 1)) == (-2.1, 38.8)
    assert [round(x, 1) for x in found.mean_interval] == pytest.approx([-22.0, 17.8], abs=0.15)
    assert (found.lower, found.upper) == pytest.approx((-2.1 - 1.96 * 38.8, -2.1 + 1.96 * 38.8), abs=0.1)
    assert round(np.sqrt(fit_line(np.array(MINI_WRIGHT, float), np.array(WRIGHT, float)).r_squared), 2) == 0.94


# Shrout and Fleiss 1979, Table 2: 6 targets, 4 judges; Table 4 gives .17, .29, .71. Intervals: R's psych::ICC.
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])


@pytest.mark.parametrize(
    ("form", "value", "low", "high"),
    [("ICC(1,1)", 0.17, -0.133, 0.72), ("ICC(2,1)", 0.29, 0.019, 0.76), ("ICC(3,1)", 0.71, 0.342, 0.95)],
)
def test_icc_gives_the_values_of_shrout_and_fleiss(form, value, low, high):
    found = intraclass_correlation(SHROUT_FLEISS, form)
    assert found.value == pytest.approx(value, abs=0.005)
    assert found.interval == (pytest.approx(low, abs=0.0006), pytest.approx(high, abs=0.006))


def test_a_constant_difference_lowers_agreement_but_not_consistency():
    true = np.array([1.0, 4.0, 2.0, 9.0, 5.0])
    ratings = np.stack([true, true + 3], 1)
    assert intraclass_correlation(ratings, "ICC(3,1)").value == pytest.approx(1)
    assert intraclass_correlation(ratings, "ICC(2,1)").value < 0.9
    assert intraclass_correlation(np.stack([true, true], 1)).value == pytest.approx(1)
    assert intraclass_correlation(np.ones((4, 2))) is None


def test_line_and_r_squared_equal_scipy_and_the_band_its_coverage():
    random = np.random.default_rng(5)
    x = random.uniform(0, 60, 40)
    y = 2 + 0.9 * x + random.normal(0, 3, 40)
    line, other = fit_line(x, y), stats.linregress(x, y)
    assert (line.slope, line.intercept, line.r_squared) == pytest.approx(
        (other.slope, other.intercept, other.rvalue**2)
    )
    # The formula once more, by the hat matrix of (1, x, further point).
    design = np.stack([np.ones(40), x], 1)
    point = np.array([1.0, 45.0])
    residuals = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    spread = np.sqrt(residuals @ residuals / 38 * (1 + point @ np.linalg.inv(design.T @ design) @ point))
    assert line.prediction_half_width(np.array(45.0)) == pytest.approx(stats.t.ppf(0.975, 38) * spread)


def test_the_worst_percent_is_left_out():
    """Seven of 698 and two of 181 lie above the 99th percentile; of few patients none is left out."""
    for n, expected in ((698, 7), (181, 2), (50, 1), (49, 0), (1, 0)):
        differences = np.random.default_rng(n).normal(size=n)
        found = worst_positions(differences)
        assert len(found) == expected
        if n > 100:
            assert set(found) == set(np.flatnonzero(np.abs(differences) > np.quantile(np.abs(differences), 0.99)))
    true = np.linspace(1, 60, 60)
    predicted = true + 1.0
    predicted[10] += 500
    found = burden_agreement(predicted, true)
    assert found.left_out == (10,)
    assert found.mean_absolute_difference_ml == pytest.approx(1)
    assert found.r_squared == pytest.approx(1)
    assert found.bland_altman.mean == pytest.approx(1 + 500 / 60)  # of all patients


def test_too_few_patients_have_no_line():
    found = burden_agreement([3.0], [4.0])
    assert (found.line, found.bland_altman, found.icc, found.r_squared) == (None, None, None, None)
    assert found.mean_absolute_difference_ml == 1
    nobody = burden_agreement([], [])
    assert nobody.mean_absolute_difference_ml is None
