"""The command line with every kind of bad input: one line, exit code 2, nothing left behind."""
# ruff: noqa: F811  the fixtures are imported, and named again by each test that takes them

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import dicom_sets
import numpy as np
import pytest
import SimpleITK as sitk
from ball_study import PET_GRID
from cli_cases import _threshold_network, arguments, assert_refused, changed, images, model  # noqa: F401
from threshold_net import ThresholdNet

from HNTumorSegLib import cli
from HNTumorSegLib.geometry import image_from_array


def dicom(folder: Path, pet: list | None = None, ct: list | None = None) -> Path:
    dicom_sets.save(dicom_sets.pet_series() if pet is None else pet, folder / "pet")
    if ct is not None:
        dicom_sets.save(ct, folder / "ct")
    return folder


def empty_folder(folder):
    folder.mkdir()
    (folder / "letter.txt").write_text("no images here")
    return folder


def only_ct(folder):
    return dicom_sets.save(dicom_sets.ct_series(), folder)


def two_pets(folder):
    return dicom(folder, [*dicom_sets.pet_series("first"), *[]], dicom_sets.pet_series("second"))


def cut_short(folder):
    file = next(iter(sorted(dicom(folder).rglob("*.dcm"))))
    file.write_bytes(file.read_bytes()[:-20])
    return folder


BAD_DICOM = {
    "nothing there": (lambda folder: folder, ["does not exist"]),
    "no DICOM": (empty_folder, ["no DICOM file"]),
    "not a PET": (only_ct, ["no PET"]),
    "two PETs": (two_pets, ["2 PET series", "--pet-series"]),
    "no weight": (lambda f: dicom(f, dicom_sets.pet_series(PatientWeight=None)), ["weight", "--weight-kg"]),
    "no dose": (lambda f: dicom(f, dicom_sets.pet_series(RadionuclideTotalDose=None)), ["dose", "--dose-bq"]),
    "zero dose": (lambda f: dicom(f, dicom_sets.pet_series(RadionuclideTotalDose=0)), ["dose", "--dose-bq"]),
    "unknown units": (lambda f: dicom(f, dicom_sets.pet_series(Units="PROPCPS")), ["PROPCPS", "--suv-factor"]),
    "one slice": (lambda f: dicom(f, dicom_sets.pet_series(pixels=dicom_sets.ramp(1))), ["slice"]),
    "missing slices": (lambda f: dicom(f, [s for k, s in enumerate(dicom_sets.pet_series()) if k != 3]), ["slice"]),
    "cut short": (cut_short, ["Copy"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_DICOM)
def test_a_bad_dicom_folder_is_one_line(case, arguments, capsys, tmp_path):
    make, words = BAD_DICOM[case]
    folder = make(tmp_path / "study")
    assert_refused(capsys, changed(arguments, pet=folder, ct=None, pet_units=None), *words)


def test_pet_and_ct_of_two_patients(arguments, capsys, tmp_path):
    pet, ct = dicom_sets.pet_series(), dicom_sets.ct_series(PatientID="SOMEBODY ELSE")
    folder = dicom(tmp_path / "study", pet, ct)
    assert_refused(
        capsys, changed(arguments, pet=folder / "pet", ct=folder / "ct", pet_units=None), "two different patients"
    )


def test_pet_and_ct_without_overlap(arguments, images, capsys, tmp_path):
    ct = sitk.ReadImage(str(images["CT"]))
    ct.SetOrigin((900.0, 0.0, 0.0))
    sitk.WriteImage(ct, str(tmp_path / "far.nii.gz"))
    assert_refused(capsys, changed(arguments, ct=tmp_path / "far.nii.gz"), "do not lie in the same place")


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha"])
def test_nan_in_the_pet(suffix, arguments, images, capsys, tmp_path):
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(images["PET"])))
    array[3, 4, 5] = np.nan
    sitk.WriteImage(image_from_array(array, PET_GRID), str(tmp_path / f"nan.{suffix}"))
    assert_refused(capsys, changed(arguments, pet=tmp_path / f"nan.{suffix}"), "1 voxels that are NaN")


def test_a_pet_file_that_does_not_say_its_units(arguments, capsys):
    assert_refused(capsys, changed(arguments, pet_units=None), "--pet-units suv")


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha"])
@pytest.mark.parametrize("keep", [0.99, 0.5, 0.001])
def test_a_pet_file_cut_short(suffix, keep, arguments, images, capsys, tmp_path):
    path = tmp_path / f"cut.{suffix}"
    sitk.WriteImage(sitk.ReadImage(str(images["PET"])), str(path))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    assert_refused(capsys, changed(arguments, pet=path), path.name)


def test_the_cts_grid_without_a_ct(arguments, capsys):
    assert_refused(capsys, changed(arguments, ct="none", reference="ct"), "no CT")


def test_a_wrong_model_folder(arguments, capsys, tmp_path):
    (tmp_path / "nomodel").mkdir()
    assert_refused(capsys, changed(arguments, model=tmp_path / "nomodel"), "not a model folder")
    assert_refused(capsys, changed(arguments, model="nosuchmodel"), "no model 'nosuchmodel'")


def test_changed_weights(arguments, model, capsys, tmp_path):
    copy = tmp_path / "changed"
    copy.mkdir()
    for file in model.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    weights = next(copy.glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert_refused(capsys, changed(arguments, model=copy), weights.name)


def test_an_output_folder_that_cannot_be_made(arguments, capsys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert_refused(capsys, changed(arguments, out=tmp_path / "file" / "out"), "output folder")
    assert_refused(capsys, changed(arguments, out=tmp_path / "file"), "output folder")


@contextlib.contextmanager
def ordinary_user():
    """Root may write everywhere, so for this time it is somebody else."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_no_write_permission(mode, arguments, capsys, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(mode)
    for folder in (tmp_path, *tmp_path.parents[:2]):  # pytest's own folders let nobody else through
        folder.chmod(0o755)
    try:
        with ordinary_user():
            for out in (locked, locked / "out", locked / "deeper" / "out"):
                assert_permission_refused(capsys, changed(arguments, out=out))
    finally:
        locked.chmod(0o755)
    assert list(locked.iterdir()) == []


def assert_permission_refused(capsys, arguments):
    capsys.readouterr()
    assert cli.main(arguments) == cli.EXIT_USER
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no permission" in error.lower()


@contextlib.contextmanager
def file_size_limit(n_bytes: int):
    """Writing beyond this fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk(arguments, capsys, tmp_path):
    assert cli.main(changed(arguments, out=tmp_path / "whole")) == 0
    sizes = sorted(p.stat().st_size for p in (tmp_path / "whole").iterdir())
    # Room for all files but the largest, then only for the smallest.
    for limit in (sizes[-1] - 1, max(sizes[0], 4096) + 1):
        with file_size_limit(limit):
            assert_refused(capsys, arguments)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"weight_kg": "-3"}, "--weight-kg"),
        ({"suv_factor": "nan"}, "--suv-factor"),
        ({"reference": "mr"}, "--reference"),
    ],
)
def test_bad_options(options, word, arguments, capsys):
    assert_refused(capsys, changed(arguments, **options), word)


def test_a_missing_option_is_one_line(capsys):
    assert cli.main(["run", "--out", "somewhere"]) == cli.EXIT_USER
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--pet" in error


def test_a_defect_is_one_line_with_a_hint(arguments, capsys, monkeypatch):
    def broken(self, x):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(ThresholdNet, "forward", broken)
    assert_refused(capsys, arguments, "ZeroDivisionError", "--debug", code=cli.EXIT_DEFECT)
    with pytest.raises(ZeroDivisionError):
        cli.main([*arguments, "--debug"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(number, arguments, model, tmp_path, with_ctrl_c):
    """A real process is stopped while its network waits."""
    code = (
        "import sys, time, torch\nfrom HNTumorSegLib import cli, networks\nimport threshold_net\n"
        "def wait(self, x):\n    print('running', flush=True)\n    time.sleep(60)\n"
        "threshold_net.ThresholdNet.forward = wait\n"
        "networks.NETWORKS['threshold'] = ('threshold_net', 'ThresholdNet')\n"
        f"sys.exit(cli.main({arguments!r}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=with_ctrl_c,
    )
    for line in process.stdout:
        if line.startswith("running"):
            break
    time.sleep(0.2)
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == cli.EXIT_INTERRUPTED
    assert error == "hntumorseg: interrupted; nothing was written\n"
    assert not (tmp_path / "out").exists()
