"""The ensemble's spread crosses the worker, and `hntumorseg run` writes it on the grid of the labels."""
# ruff: noqa: F811  the fixtures are imported, and named again by each test that takes them

from __future__ import annotations

import sys

import numpy as np
import pytest
import SimpleITK as sitk
from cli_cases import _threshold_network, arguments, changed, images, model  # noqa: F401
from inference_cases import OBLIQUE, RECIPE, make_study
from threshold_net import ThresholdNet, write_threshold_model
from worker_cases import array, folder, random_network, worker  # noqa: F401

from HNTumorSegLib.cli import main
from HNTumorSegLib.exchange.label_pairs import scan_folder
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.models.loading import write_model
from HNTumorSegLib.recipes.recipe import CT

WORDS = {"intended_use": "tests", "limitations": "all", "training_data": "none", "licence": "CC0-1.0"}


@pytest.mark.skipif(sys.platform == "win32", reason="looks at processes as POSIX shows them")
def test_the_spread_crosses_the_worker(worker, tmp_path):
    write_model(tmp_path / "one", RECIPE, [random_network()], name="one", version="1", **WORDS)
    study = make_study(OBLIQUE)
    assert worker.delineate(study, tmp_path / "one", "cpu").spread is None
    found = worker.delineate(study, tmp_path / "one", "cpu", CT, flip_left_right=True)
    expected = Delineator(tmp_path / "one", "cpu", flip_left_right=True).delineate(study, CT)
    assert Geometry.from_image(found.spread) == Geometry.from_image(expected.spread) == study.ct_geometry
    assert found.spread.GetPixelID() == sitk.sitkFloat32
    assert array(expected.spread).max() > 0.01
    np.testing.assert_allclose(array(found.spread), array(expected.spread), atol=2e-2)


def test_a_run_writes_both_and_a_later_one_leaves_none_of_the_former(arguments, model, tmp_path, capsys):
    """Two members that disagree about SUV 5: between their thresholds they are one half apart."""
    card = ModelCard.load(write_threshold_model(tmp_path / "two", spacing_mm=4.0))
    members = [ThresholdNet(2, 3, 0.4), ThresholdNet(2, 3, 0.9)]
    write_model(tmp_path / "two", card.recipe, members, name="two", version="1", **WORDS)
    out = tmp_path / "out"
    assert main([*changed(arguments, model=tmp_path / "two"), "--uncertainty"]) == 0
    labels, uncertainty, spread = (
        sitk.ReadImage(str(out / f"{name}.nii.gz")) for name in ("labels", "uncertainty", "spread")
    )
    grid = Geometry.from_image(labels)
    for image in (uncertainty, spread):
        assert image.GetPixelID() == sitk.sitkFloat32
        assert Geometry.from_image(image).distance_mm(grid) < 1e-4
    assert sitk.GetArrayViewFromImage(spread).max() == pytest.approx(0.5, abs=0.02)
    assert sitk.GetArrayViewFromImage(spread).min() >= 0
    assert 0.5 < sitk.GetArrayViewFromImage(uncertainty).max() <= 1
    assert {"uncertainty.nii.gz", "spread.nii.gz"} <= set(
        capsys.readouterr().out.split("Results in")[1].replace(",", " ").split()
    )
    # Of all these images, the label map is what is evaluated.
    assert set(scan_folder(tmp_path, "prediction").cases["out"]) == {"labels"}

    assert main([*arguments, "--uncertainty"]) == 0
    assert "No spread.nii.gz was written: model 'threshold' gives a single answer" in " ".join(
        capsys.readouterr().out.split()
    )
    assert (out / "uncertainty.nii.gz").exists()
    assert not (out / "spread.nii.gz").exists()
    assert main(arguments) == 0
    assert not (out / "uncertainty.nii.gz").exists()
