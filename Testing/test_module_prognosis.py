"""The prognosis panel of the unmodified module: a model fitted here, the real widgets, lesions of known volume."""
# ruff: noqa: F811  imported fixtures are named again by each test that takes them

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import module_cases
import numpy as np
import pandas as pd
import pytest

pytest.importorskip("slicer", reason="the slicer extra is not installed")
pytest.importorskip("lifelines", reason="the survival extra is not installed")
from survival_cases import cohort_frame, write
from test_module_panel import DEBOUNCED_S, ROOT, case, select  # noqa: F401
from test_module_screenshots import PANEL_PX, folder, is_cut, patient, phantom  # noqa: F401

from HNTumorSegLib import cli
from HNTumorSegLib.survival.prognosis import FOR_RESEARCH
from HNTumorSegLib.survival.risk_model import RiskModel

TYPED_S = 3.0
VOXEL_ML = 0.027
NOT_THERE = {"no_such_package_of_anybody": "no-such-package"}


def ml(*balls) -> float:
    return np.count_nonzero(np.any([ball.mask() for ball in balls], axis=0)) * VOXEL_ML


@pytest.fixture(scope="module")
def fit(tmp_path_factory):
    """Makes a model folder from a simulated cohort whose hazard grows with TTB and age."""
    place = tmp_path_factory.mktemp("prognosis")
    table = write(cohort_frame(), place / "cohort.csv")

    def make(name: str, *more: str) -> Path:
        arguments = ["survival", "fit", "--table", str(table), "--time", "days", "--event", "dead", "--name", name]
        quick = ["--folds", "2", "--repeats", "1", "--no-lasso", "--quiet", "--out", str(place / name)]
        assert cli.main([*arguments, *quick, *more]) == 0
        return place / name

    return make


@pytest.fixture(scope="module")
def model(fit) -> Path:
    return fit("overall survival", "--covariates", "age", "sex", "ttb_ml")


@pytest.fixture
def ui(host, module_widget, case, model):
    """The panel, open, with the model chosen."""
    ui = module_widget.ui
    ui.prognosisSection.collapsed = False
    ui.prognosisFolderEdit.setCurrentPath(str(model))
    host.wait_until(lambda: field(ui, "age") is not None, TYPED_S)
    return ui


def field(ui, covariate: str):
    import qt

    found = [w for w in ui.prognosisFields.findChildren(qt.QWidget) if w.objectName == f"prognosis_{covariate}"]
    return found[0] if found else None


def answer(host, ui, *, age: str, sex: str = "") -> None:
    """Type, and wait until the panel has said something new."""
    before = said(ui)
    field(ui, "age").setText(age)
    field(ui, "sex").setCurrentIndex(max(0, field(ui, "sex").findData(sex)))
    host.wait_until(lambda: said(ui) != before, TYPED_S)


def said(ui) -> tuple[str, str, str]:
    return ui.prognosisBurdenLabel.text, ui.prognosisCautionLabel.text, ui.prognosisLabel.text


def picture(ui) -> np.ndarray:
    from slicer_host.pictures import to_array

    return to_array(ui.prognosisPicture.pixmap.toImage()).astype(int)


def shows_nothing(ui) -> bool:
    parts = (ui.prognosisBurdenLabel, ui.prognosisCautionLabel, ui.prognosisPicture)
    return all(part.isHidden() for part in parts) and FOR_RESEARCH not in ui.prognosisLabel.text


# --- what is said ---


def test_it_says_what_the_model_says_about_these_lesions(host, ui, model):
    """The same sentences as for a table with the voxels of the balls counted by hand."""
    answer(host, ui, age="71", sex="female")
    total = ml(module_cases.PRIMARY, module_cases.NODE_A, module_cases.NODE_B, module_cases.SPURIOUS)
    frame = pd.DataFrame({"age": [71], "sex": ["female"], "ttb_ml": [total]}, index=["X"])
    loaded = RiskModel.load(model)
    expected = loaded.prognoses(frame)[0]
    lines = ui.prognosisLabel.text.split("\n")
    assert lines[0] == expected.words()[0]
    assert lines[1] == expected.words()[1]
    assert ui.prognosisLabel.text.count("TTB") == 0
    assert lines[-1] == FOR_RESEARCH
    cutoff = float(np.median(cohort_frame()["ttb_ml"]))
    assert (
        ui.prognosisBurdenLabel.text
        == f"TTB {total:.1f} ml is high: above the cohort's cut-off of {cutoff:.1f} ml (median)."
    )
    assert "Not confirmed by a person yet: 3 of 3 lesions." in ui.prognosisCautionLabel.text
    assert "patients above the cut-off had" in ui.prognosisLabel.text
    told = ui.prognosisModelLabel.text
    events = int(cohort_frame()["dead"].sum())
    assert f"learnt from 120 patients, {events} of them with the event 'dead'" in told
    assert f"{loaded.card.performance['nested']['harrell']:.2f}" in told
    assert "Not for decisions about a patient" in told


def test_scripts_get_the_same(host, ui, module_widget, case, model):
    answer(host, ui, age="71", sex="female")
    found = module_widget.logic.prognosis(case.segmentation, case.pet, model, {"age": 71, "sex": "female"})
    assert found.words()[0] == ui.prognosisLabel.text.split("\n")[0]
    from HNTumorSegLib.errors import SurvivalError

    with pytest.raises(SurvivalError, match=r"'weight' is not asked for: this model asks for age, sex"):
        module_widget.logic.prognosis(case.segmentation, case.pet, model, {"weight": 80})


def test_it_follows_every_edit_across_the_cutoff_and_back(host, ui, case):
    answer(host, ui, age="62", sex="male")
    whole, before = said(ui), picture(ui)
    select(ui, "Primary 1")
    ui.deleteButton.click()
    left = ml(module_cases.NODE_A, module_cases.NODE_B, module_cases.SPURIOUS)
    assert ui.prognosisBurdenLabel.text.startswith(f"TTB {left:.1f} ml is low: not above the cohort's cut-off")
    assert "3 lesions" not in ui.prognosisCautionLabel.text
    assert event_free(ui) > event_free_of(whole)  # less tumour, as simulated
    assert np.abs(picture(ui) - before).max() > 100
    ui.undoButton.click()
    assert said(ui) == whole
    assert np.array_equal(picture(ui), before)
    ui.confirmAllButton.click()
    assert "Not confirmed" not in ui.prognosisCautionLabel.text


def event_free(ui) -> int:
    return event_free_of(said(ui))


def event_free_of(words: tuple[str, str, str]) -> int:
    return int(words[2].removeprefix("Predicted ").partition("%")[0])


def test_it_follows_the_brush(host, ui):
    answer(host, ui, age="62")
    before = ui.prognosisBurdenLabel.text
    select(ui, "Node 2")
    x, y, z = module_cases.SPURIOUS.ras
    host.paint_sphere(ui.editor, (x, y + 8, z), 8.0)
    host.wait_until(lambda: ui.prognosisBurdenLabel.text != before, DEBOUNCED_S)
    ball = module_cases.Ball((-x, -(y + 8), z), 8.0, 0)
    total = ml(module_cases.PRIMARY, module_cases.NODE_A, module_cases.NODE_B, module_cases.SPURIOUS, ball)
    assert float(ui.prognosisBurdenLabel.text.split()[1]) == pytest.approx(total, abs=0.06)


def test_fields_ask_only_for_what_the_lesions_do_not_answer(ui):
    assert field(ui, "ttb_ml") is None
    ages = cohort_frame()["age"]
    assert f"{ages.min():.4g} to {ages.max():.4g}" in field(ui, "age").placeholderText
    sex = field(ui, "sex")
    assert [sex.itemText(k) for k in range(sex.count)] == ["not known", "female", "male"]


def test_another_name_for_the_burden_and_a_cohort_without_one(host, ui, fit, tmp_path):
    ui.prognosisFolderEdit.setCurrentPath(
        str(fit("by machine", "--covariates", "age", "ttb_cnn_ml", "--ttb", "ttb_cnn_ml", "--cutoff", "30"))
    )
    host.wait_until(lambda: "low: not above the cohort's cut-off of 30.0 ml" in said(ui)[0], TYPED_S)
    assert field(ui, "ttb_cnn_ml") is None
    assert field(ui, "sex") is None
    bare = shutil.copytree(fit("age alone", "--covariates", "age"), tmp_path / "bare")
    card = (bare / "card.json").read_text(encoding="utf-8")
    (bare / "card.json").write_text(json.dumps(json.loads(card) | {"burden": None}), encoding="utf-8")
    ui.prognosisFolderEdit.setCurrentPath(str(bare))
    host.wait_until(lambda: "has no cut-off for it" in said(ui)[0], TYPED_S)
    assert ui.prognosisLabel.text.endswith(FOR_RESEARCH)
    assert not ui.prognosisPicture.isHidden()


# --- bad input ---


def test_what_is_missing_or_outside_is_said(host, ui):
    assert "Missing and filled in" in ui.prognosisCautionLabel.text
    assert "age" in ui.prognosisCautionLabel.text
    answer(host, ui, age="620", sex="male")
    assert "age 620 lies outside what the model has seen: do not rely on this." in ui.prognosisCautionLabel.text
    answer(host, ui, age="sixty")
    assert ui.prognosisLabel.text == "'age' must be a number, but is 'sixty'. Type digits only."
    assert shows_nothing(ui)
    assert field(ui, "age").text == "sixty"
    answer(host, ui, age="62,5")
    assert "Missing" in ui.prognosisCautionLabel.text  # the sex
    assert "outside" not in ui.prognosisCautionLabel.text
    assert ui.prognosisLabel.text.startswith("Predicted ")


def test_no_model_and_folders_that_hold_none(host, ui, model, tmp_path):
    answer(host, ui, age="71", sex="female")
    right = said(ui)
    other = shutil.copytree(model, tmp_path / "changed")
    numbers = (other / "model.json").read_text(encoding="utf-8")
    (other / "model.json").write_text(numbers.replace("1", "2", 1), encoding="utf-8")
    cases = {
        "": "Choose a model folder that 'hntumorseg survival fit' wrote.",
        str(tmp_path / "nowhere"): "is not there. Choose another.",
        str(tmp_path): "is not a survival model: it has no card.json",
        str(ROOT / "HNTumorSegLib" / "models" / "default"): "holds another kind of model",
        str(other): "is not the one its card describes",
    }
    for path, words in cases.items():
        ui.prognosisFolderEdit.setCurrentPath(path)
        host.wait_until(lambda words=words: words in ui.prognosisLabel.text, TYPED_S)
        assert shows_nothing(ui)
        assert ui.prognosisModelLabel.text == ""
    assert ui.lesionTable.rowCount == 3
    ui.prognosisFolderEdit.setCurrentPath(str(model))
    host.wait_until(lambda: said(ui) == right, TYPED_S)  # nothing that was typed is lost


def test_no_lesion_no_segmentation_no_pet(host, ui, module_widget, case):
    answer(host, ui, age="71")
    right = said(ui)
    select(ui, "Primary 1", "Node 1", "Node 2")
    ui.deleteButton.click()
    assert ui.prognosisLabel.text.startswith("There is no lesion, so there is no tumour burden to compare")
    assert shows_nothing(ui)
    ui.undoButton.click()
    assert said(ui) == right
    ui.segmentationSelector.setCurrentNode(None)
    assert ui.prognosisLabel.text == "No lesions yet: press Delineate, or choose a segmentation."
    assert shows_nothing(ui)
    ui.segmentationSelector.setCurrentNode(case.segmentation)
    assert said(ui) == right
    import slicer

    slicer.mrmlScene.RemoveNode(case.pet)
    host.wait_until(lambda: "The PET of these lesions is not in the scene" in ui.prognosisLabel.text, DEBOUNCED_S)
    assert shows_nothing(ui)
    assert not field(ui, "age").enabled


def test_packages_that_are_missing(host, ui, module_widget, monkeypatch):
    from HNTumorSegPanels import prognosis

    assert ui.prognosisInstallButton.isHidden()
    monkeypatch.setattr(prognosis, "FOR_PICTURE", NOT_THERE)
    module_widget.refresh()
    assert "The curve needs no-such-package, which Slicer does not bring." in ui.prognosisLabel.text
    assert ui.prognosisLabel.text.startswith("Predicted ")
    assert ui.prognosisPicture.isHidden()
    assert not ui.prognosisInstallButton.isHidden()
    monkeypatch.setattr(prognosis, "NEEDED", NOT_THERE)
    module_widget.refresh()
    assert ui.prognosisLabel.text == "The prognosis needs no-such-package, which Slicer does not bring."
    assert shows_nothing(ui)


# --- whose answers they are ---


def test_answers_stay_with_their_patient(host, ui, module_widget, case):
    """Another patient's PET begins with empty fields."""
    from HNTumorSegLib.mrml.scene import lesion_set_to_segmentation

    answer(host, ui, age="71", sex="female")
    other = module_cases.put_images()
    segmentation = lesion_set_to_segmentation(module_cases.lesion_set(), other.pet, "Others")
    ui.petSelector.setCurrentNode(other.pet)
    ui.segmentationSelector.setCurrentNode(segmentation)
    assert (field(ui, "age").text, field(ui, "sex").currentData) == ("", "")
    assert "Missing and filled in" in ui.prognosisCautionLabel.text
    ui.segmentationSelector.setCurrentNode(case.segmentation)
    assert (field(ui, "age").text, field(ui, "sex").currentData) == ("71", "female")


def test_model_and_answers_come_back_with_the_scene(host, ui, module_widget, model, tmp_path):
    import slicer

    answer(host, ui, age="71", sex="female")
    right = said(ui)
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear()
    host.process_events()
    assert shows_nothing(ui)
    slicer.util.loadScene(str(path))
    host.wait_until(lambda: said(ui) == right, DEBOUNCED_S)
    assert field(ui, "age").text == "71"
    assert ui.prognosisFolderEdit.currentPath == str(model)


def test_nothing_heavy_is_imported_before_the_section_is_opened():
    code = (
        "import sys; sys.path[:0] = ['Testing', 'HNTumorSeg']\n"
        "from slicer_host import host\n"
        "module = host.start().load_module('HNTumorSeg/HNTumorSeg.py')\n"
        "import module_cases\n"
        "case = module_cases.put_case()\n"
        "module.widget.ui.segmentationSelector.setCurrentNode(case.segmentation)\n"
        "assert module.widget.ui.lesionTable.rowCount == 3\n"
        "print([n for n in ('pandas', 'sklearn', 'lifelines', 'torch', 'matplotlib') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# --- the picture ---


def test_the_figure_shows_the_curves_and_the_cutoff(model):
    from HNTumorSegLib.survival.prognosis_figure import prognosis_figure

    loaded = RiskModel.load(model)
    found = loaded.prognoses(pd.DataFrame({"age": [71], "sex": ["female"], "ttb_ml": [40.0]}, index=["X"]))[0]
    figure = prognosis_figure(found, loaded.card)
    above, curves = figure.axes
    lines = {line.get_label(): line for line in curves.get_lines()}
    patient = lines["This patient, predicted"]
    assert np.array_equal(patient.get_xdata(), found.times)
    assert np.array_equal(patient.get_ydata(), found.survival)
    for curve in loaded.card.curves:
        drawn = lines[f"{curve['name'].capitalize()}-risk patients, observed (n = {curve['n']})"]
        assert list(drawn.get_ydata()) == curve["survival"]
    assert curves.get_xlabel() == "Time (days)"
    assert above.get_xlabel() == "TTB (ml)"
    places = [line.get_xdata()[0] for line in above.get_lines()]
    assert places == [pytest.approx(cohort_frame()["ttb_ml"].median()), 40.0]


def test_the_panel_is_whole(host, module, module_widget, phantom, model, folder):
    import qt

    ui = module_widget.ui
    ui.prognosisSection.collapsed = False
    ui.prognosisFolderEdit.setCurrentPath(str(model))
    host.wait_until(lambda: field(ui, "age") is not None, TYPED_S)
    answer(host, ui, age="71")
    for section in (ui.delineateSection, ui.lesionsSection):
        section.collapsed = True
    host.grab(module.panel, folder / "panel_prognosis.png", PANEL_PX)
    module.panel.show()
    host.process_events()
    shown = ui.prognosisPicture  # scales what it shows
    cut = [w.objectName for w in ui.prognosisSection.findChildren(qt.QLabel) if w is not shown and is_cut(w)]
    assert cut == []
    assert (shown.width, shown.height) == (400, 340)
    right = shown.mapTo(ui.prognosisSection, qt.QPoint(shown.width, 0)).x()
    assert right <= ui.prognosisSection.width
    module.panel.hide()
