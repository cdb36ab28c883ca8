"""The demonstration, from the synthetic patient to the agreement with its truth."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from threshold_net import NETWORK, write_threshold_model

from HNTumorSegLib import cli, networks, phantom


@pytest.fixture
def patients(monkeypatch, tmp_path) -> list:
    """The patients that the demo makes (on the phantom's quick setting), and a model of known answer."""
    made = []
    original = phantom.make_patient

    def make_patient(seed):
        made.append((seed, original(seed, economy=True)))
        return made[-1][1]

    monkeypatch.setattr(phantom, "make_patient", make_patient)
    monkeypatch.setitem(networks.NETWORKS, *NETWORK)
    write_threshold_model(tmp_path / "model", spacing_mm=4.0)
    return made


def dice(a: np.ndarray, b: np.ndarray) -> float | None:
    return 2 * (a & b).sum() / (a.sum() + b.sum()) if a.any() or b.any() else None


def test_the_demo_compares_with_the_truth_and_can_be_repeated(patients, tmp_path, capsys):
    out = tmp_path / "demo"
    arguments = ["demo", "--out", str(out), "--model", str(tmp_path / "model"), "--no-scene", "--device", "cpu"]
    assert cli.main([*arguments, "--seed", "4"]) == 0
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    seed, patient = patients[0]
    # Seeds from a million on are kept out of every training.
    assert seed == 1_000_004
    assert "1000004" in " ".join(report["warnings"])
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "labels.nii.gz")))
    truth = sitk.GetArrayFromImage(patient.truth)
    voxel_ml = np.prod(patient.truth.GetSpacing()) / 1000
    expected = {
        "dsc_union": dice(found > 0, truth > 0),
        "dsc_primary": dice(found == 1, truth == 1),
        "dsc_node": dice(found == 2, truth == 2),
        "ttb_ml": (found > 0).sum() * voxel_ml,
        "ttb_true_ml": (truth > 0).sum() * voxel_ml,
    }
    assert set(report["agreement"]) == set(expected)
    for name, value in expected.items():
        assert report["agreement"][name] == pytest.approx(value, rel=1e-5), name
    printed = " ".join(capsys.readouterr().out.split())
    assert f"true {expected['ttb_true_ml']:.2f} ml" in printed
    pet = sitk.GetArrayFromImage(patient.study.pet)
    rows = report["measurements"]["totals"]
    # The SUV went through DICOM in Bq/ml and back; a slice is stored in 32767 steps.
    assert rows[-1]["suv_max"] == pytest.approx(pet[found > 0].max(), rel=1e-3)

    assert cli.main([*arguments, "--seed", "5"]) == 0
    _, other = patients[1]
    for name, image in (("PET", other.study.pet), ("CT", other.study.ct)):
        assert len(list((out / "dicom" / name).iterdir())) == image.GetSize()[2]
    assert not [p for p in out.iterdir() if p.name.startswith(".")]
