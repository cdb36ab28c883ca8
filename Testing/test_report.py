"""What the report says and, as important, what it does not."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
from dataclasses import replace

import lesion_cases
import pytest

from HNTumorSegLib.errors import OutputError
from HNTumorSegLib.exchange.report import build_report, write_report
from HNTumorSegLib.geometry import image_from_array
from HNTumorSegLib.inference.delineation import Delineation
from HNTumorSegLib.lesions.lesion import Lesion
from HNTumorSegLib.measures.table import measure
from HNTumorSegLib.models.card import ModelCard, WeightFile
from HNTumorSegLib.recipes.recipe import Channel, Recipe


def strict(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


@pytest.fixture
def delineation():
    lesion_set = lesion_cases.lesions()
    image = image_from_array(lesion_set.kind_labels(), lesion_set.geometry)
    recipe = Recipe("test", "none", (Channel("pet", (0.0, 10.0)),), 2.5, (8, 8, 8), "net")
    card = ModelCard(
        "small", "1.2", recipe, (WeightFile("a.safetensors", "f" * 64),), "research", "few", "phantoms", "MIT"
    )
    return Delineation(image, image, image, image, "pet", card, "cpu (2 threads)", {"network": 1.5}, ["a warning"])


def report_of(tmp_path, **options):
    study, lesion_set = lesion_cases.study(), lesion_cases.lesions()
    report = build_report(study, lesion_set, measure(lesion_set, study.pet), **options)
    return strict(write_report(report, tmp_path / "report.json"))


def test_every_input_and_factor_is_named(tmp_path, delineation):
    report = report_of(tmp_path, delineation=delineation, timings_s={"read": 0.25}, warnings=["another"])
    geometry = lesion_cases.grid()
    assert report["inputs"]["pet"]["pixel_sha256"] == "ab" * 32
    assert report["inputs"]["pet"]["n_files"] == 9
    assert report["inputs"]["pet"]["geometry"]["size"] == list(geometry.size)
    assert report["inputs"]["pet"]["geometry"]["origin_mm"] == list(geometry.origin_mm)
    assert report["inputs"]["ct"]["modality"] == "CT"
    assert report["inputs"]["ct"]["geometry"]["size"] == [2 * n for n in geometry.size]
    assert report["provenance"]["units"] == "BQML"
    assert report["provenance"]["suv_factor"] == 2.5e-4
    assert report["provenance"]["tags"] == {"PatientWeight": "70"}
    assert (report["model"]["name"], report["model"]["version"]) == ("small", "1.2")
    assert report["model"]["weights"] == [{"file": "a.safetensors", "sha256": "f" * 64}]
    assert report["device"] == "cpu (2 threads)"
    assert report["timings_s"] == {"network": 1.5, "read": 0.25}
    assert {"a warning", "another"} <= set(report["warnings"])


def test_numbers_equal_the_table(tmp_path):
    study, lesion_set = lesion_cases.study(), lesion_cases.lesions()
    # 60, 8 and 8 voxels of 2 x 3 x 4 mm.
    report = report_of(tmp_path)
    assert [row["volume_ml"] for row in report["measurements"]["rows"]] == pytest.approx([1.44, 0.192, 0.192])
    assert report["measurements"]["totals"][-1]["volume_ml"] == pytest.approx(1.824)
    assert report["measurements"]["totals"][-1]["suv_max"] == measure(lesion_set, study.pet).totals[-1].suv_max


def test_versions_are_the_installed_ones(tmp_path):
    software = report_of(tmp_path)["software"]
    assert software["python"] == platform.python_version()
    for package in ("hntumorseg", "torch", "SimpleITK", "numpy", "monai"):
        assert software[package] == importlib.metadata.version(package)


def test_no_patient_unless_asked(tmp_path):
    report_of(tmp_path)
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    for secret in ("DOE", "Jane", "/data", "1.2.3", "1.2.9"):
        assert secret not in text
    with_names = report_of(tmp_path, include_identifiers=True)
    assert with_names["inputs"]["pet"]["path"] == "/data/DOE_JANE/pet"
    assert with_names["inputs"]["ct"]["series_uid"] == "1.2.3.5"
    assert "DOE-123" in with_names["warnings"][0]


def test_not_a_number_becomes_null(tmp_path):
    agreement = {"dsc_union": 0.9, "dsc_primary": math.nan, "dsc_node": None, "ttb_ml": 1.0, "ttb_true_ml": math.inf}
    report = report_of(tmp_path, agreement=agreement, timings_s={"read": math.nan})
    assert report["agreement"] == {
        "dsc_union": 0.9,
        "dsc_primary": None,
        "dsc_node": None,
        "ttb_ml": 1.0,
        "ttb_true_ml": None,
    }
    assert report["timings_s"] == {"read": None}
    assert "agreement" not in report_of(tmp_path)


def test_whether_a_person_changed_a_lesion():
    study, lesion_set = lesion_cases.study(), lesion_cases.lesions()
    assert build_report(study, lesion_set).lesions["changed_by_a_person"] is True
    lesion_set.lesions = [Lesion(x.id, x.kind, x.name) for x in lesion_set.lesions]
    assert build_report(study, lesion_set).lesions["changed_by_a_person"] is False
    lesion_set.lesions[0] = replace(lesion_set.lesions[0], status="confirmed")
    assert build_report(study, lesion_set).lesions["changed_by_a_person"] is True


def test_pet_alone_without_model(tmp_path):
    report = build_report(lesion_cases.study(with_ct=False), lesion_cases.lesions())
    written = strict(report.write(tmp_path / "r.json"))
    assert (written["inputs"]["ct"], written["model"], written["measurements"]) == (None, None, None)


def test_no_folder_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match=r"missing.*cannot be written"):
        build_report(lesion_cases.study(), lesion_cases.lesions()).write(tmp_path / "missing" / "report.json")
