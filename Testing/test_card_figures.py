"""From a model to its card's figures: errors in words, the run on held-out patients, and going on where it stopped."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from HNTumorSegLib.errors import InputError, OutOfMemoryError, OutputError
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.phantom import make_patient
from HNTumorSegLib.training.card_figures import measure_for_card, read_figures
from HNTumorSegLib.training.failures import BOUNDARY, FALSE, MISSED, SWAPPED, find_failures, organ_near
from HNTumorSegLib.training.held_out import DEVELOPMENT_SEED, FalseLesion, HeldOut, false_lesion_figures
from HNTumorSegLib.training.held_out_workers import fill
from HNTumorSegLib.training.phantom_cases import EVALUATION_SEED

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
import evaluate_default

GRID = Geometry((30, 30, 30), (2.0, 2.0, 2.5), (5.0, -7.0, 11.0), tuple(np.eye(3).ravel().tolist()))


class EndsItsProcess(HeldOut):
    """Patients that cost the process that makes them its life, as the kernel does for want of memory."""

    def patient(self, seed):
        os._exit(9)


class NeverRuns(Delineator):
    """A model whose results are all there already."""

    def delineate(self, *args, **options):
        raise AssertionError("delineated again")


def labels(**boxes) -> sitk.Image:
    array = np.zeros(GRID.shape_zyx, np.uint8)
    for label, *box in boxes.values():
        array[tuple(slice(*span) for span in box)] = label
    return image_from_array(array, GRID)


def test_each_kind_of_error_is_named():
    pet = image_from_array(np.full(GRID.shape_zyx, 3.0, np.float32), GRID)
    truth = labels(
        lost=(2, (2, 6), (2, 6), (2, 6)),
        other=(1, (12, 18), (2, 8), (2, 8)),
        short=(1, (2, 12), (20, 26), (20, 26)),
        right=(2, (20, 24), (20, 24), (2, 6)),
    )
    found = labels(
        other=(2, (12, 18), (2, 8), (2, 8)),
        short=(1, (2, 7), (20, 26), (20, 26)),
        right=(2, (20, 24), (20, 24), (2, 6)),
        false=(1, (24, 29), (24, 29), (24, 29)),
    )
    failures = find_failures(truth, found, pet)
    assert [f.what for f in failures] == [SWAPPED, BOUNDARY, FALSE, MISSED]
    by_what = {f.what: f for f in failures}
    assert by_what[MISSED].wrong_ml == pytest.approx(64 * 0.01)
    assert by_what[MISSED].sentence == "Missed node of 0.6 ml, SUVmax 3.0"
    assert "taken for a node" in by_what[SWAPPED].sentence
    assert "only 50 % of it" in by_what[BOUNDARY].sentence
    assert by_what[FALSE].sentence.startswith("False primary tumour")
    inside = np.array(GRID.to_ijk(np.array(by_what[FALSE].center_mm)))
    assert ((inside >= 23.5) & (inside <= 28.5)).all()
    assert find_failures(truth, truth, pet) == []


def test_the_organ_beside_an_error():
    patient = make_patient(1_000_021, economy=True, family="varied")
    placement = patient._placement
    brain = tuple(placement.find_lps([(0, 6, 100)])[0])
    assert organ_near(patient, brain) == "in the brain"
    jaw = tuple(placement.find_lps([(0, -82, -22)])[0])
    assert "mandible" in organ_near(patient, jaw)


@pytest.mark.parametrize("seed", [1_000_021, 1_000_022, 1_000_023])
def test_left_is_the_patients_left_also_in_mirrored_anatomies(seed):
    """In LPS the patient's left has the higher x, whatever the drawn anatomy calls it."""
    patient = make_patient(seed, economy=True, family="varied")
    for side in (-1, 1):
        there, middle = patient._placement.find_lps([(side * 58, 0, 0), (0, 0, 0)])
        words = organ_near(patient, tuple(there))
        assert ("left" in words) == (there[0] > middle[0])
        assert ("right" in words) == (there[0] < middle[0])


def test_the_whole_run_and_going_on(tmp_path):
    delineator = Delineator("default", "cpu")
    plan = HeldOut(patients=1, negatives=0, family="first", economy=True)
    figures = measure_for_card(delineator, plan, tmp_path)
    assert read_figures(tmp_path) == figures
    with_ct, pet_only = (figures[f"first phantoms, {words}"] for words in ("PET and CT", "PET only"))
    assert with_ct["patients"] == 1
    assert with_ct["ttb_true_ml"] == pet_only["ttb_true_ml"]
    assert with_ct["ttb_true_ml"] > 0
    assert all(isinstance(value, float) for data in figures.values() for value in data.values())
    for name in (
        "reliability_pet_ct.png",
        "pet_ct/evaluation.html",
        "pet/evaluation.html",
        "failures/failures.html",
        "failures.jpg",
    ):
        assert (tmp_path / name).stat().st_size > 1000, name
    gallery = json.loads((tmp_path / "failures" / "failures.json").read_text())
    assert len(gallery) == len(list((tmp_path / "failures").glob("*.png"))) == 1
    assert gallery[0]["what"]

    assert measure_for_card(NeverRuns("default", "cpu"), plan, tmp_path) == figures
    other, stricter = Delineator("default", "cpu"), Delineator("default", "cpu")
    other.card = replace(other.card, version="9")
    stricter.card = replace(stricter.card, recipe=replace(other.card.recipe, minimum_certainty=0.95))
    for delineator in (other, stricter, Delineator("default", "cpu", flip_left_right=True)):
        with pytest.raises(OutputError, match="another model"):
            measure_for_card(delineator, plan, tmp_path)


def test_what_workers_leave_is_what_measuring_finds(tmp_path):
    plan = HeldOut(patients=1, negatives=0, family="first", economy=True)
    fill({tmp_path / "a": "default", tmp_path / "b": "default"}, plan, workers=1, device="cpu")
    a, b = (measure_for_card(NeverRuns("default", "cpu"), plan, tmp_path / name) for name in "ab")
    assert a == b
    assert a["first phantoms, PET and CT"]["patients"] == 1
    with pytest.raises(InputError, match=r"at least one process, not 0"):
        fill({tmp_path / "c": "default"}, plan, workers=0, device="cpu")
    with pytest.raises(InputError, match=r"holds no folder with PET_image.nii.gz"):
        measure_for_card(NeverRuns("default", "cpu"), plan, tmp_path / "a", sarcomas=tmp_path)
    with pytest.raises(OutputError, match="another model or of other patients"):
        fill({tmp_path / "a": "default"}, replace(plan, economy=False), device="cpu")


def test_a_lost_measuring_process_is_said_in_a_sentence(tmp_path):
    with pytest.raises(OutOfMemoryError, match=r"One of 1 measuring processes was ended from.* fewer --workers"):
        fill({tmp_path: "fast"}, EndsItsProcess(patients=1, negatives=0, family="first"), device="cpu")


def test_false_lesions_a_patient():
    found = [FalseLesion(1, "whole_body", "node", 0.5, 4.0), FalseLesion(1, "whole_body", "node", 1.5, 4.0)]
    figures = false_lesion_figures(found, HeldOut(negatives=4))
    assert figures["false_lesions_per_patient_whole_body"] == 0.5
    assert figures["patients_with_any_whole_body"] == 1
    assert figures["false_ml_per_patient_whole_body"] == 0.5
    assert figures["false_lesions_per_patient_head_neck"] == 0


def test_patients_to_choose_by_are_none_of_those_to_report():
    plan = HeldOut(patients=100, negatives=20)
    other = replace(plan, first_seed=DEVELOPMENT_SEED)
    seen = [set(p.seeds()) | {seed for seed, _ in p.negative_scans()} for p in (plan, other)]
    assert [len(seeds) for seeds in seen] == [120, 120]
    assert not seen[0] & seen[1]
    assert min(seen[0] | seen[1]) >= EVALUATION_SEED
    assert plan.facts() != other.facts()


def test_the_script_takes_patients_to_choose_by(tmp_path, capsys):
    few = ["--patients", "1", "--negatives", "0", "--family", "first", "--economy", "--development"]
    assert evaluate_default.main(["--model", "fast", "--out", str(tmp_path), *few]) == 0
    assert [place.name for place in (tmp_path / "patients").iterdir()] == [str(DEVELOPMENT_SEED)]
    assert evaluate_default.main(["--model", "fast", "--out", str(tmp_path), *few[:-1]]) == 2
    assert "other patients" in capsys.readouterr().err
