"""The top package is light and complete."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import HNTumorSegLib

HEAVY = ("torch", "monai", "radiomics", "slicer", "vtk", "vtkmodules", "matplotlib", "SimpleITK", "scipy", "pandas")


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_loads_nothing_heavy():
    code = f"import sys, HNTumorSegLib; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert run_python(code).strip() == "[]"


def test_reading_and_measuring_need_no_torch():
    code = (
        "import sys; from HNTumorSegLib import lesions_from_labels, measure, read_study; "
        "print([m for m in ('torch', 'monai', 'slicer', 'vtk', 'matplotlib') if m in sys.modules])"
    )
    assert run_python(code).strip() == "[]"


def test_the_command_line_parses_without_torch():
    code = (
        "import sys\nfrom HNTumorSegLib import cli\n"
        "try:\n    cli.main(['--version'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'monai', 'slicer') if m in sys.modules])"
    )
    assert run_python(code).splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", HNTumorSegLib.__all__)
def test_every_public_name_resolves(name):
    assert getattr(HNTumorSegLib, name) is not None
    assert name in dir(HNTumorSegLib)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = HNTumorSegLib.no_such_name


def test_the_version_is_the_projects():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    assert HNTumorSegLib.__version__ == project["project"]["version"]
