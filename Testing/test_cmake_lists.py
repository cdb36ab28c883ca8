"""Every file of library and module is installed with the Slicer extension, the library with the Python package too."""

from __future__ import annotations

import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY, MODULE = ROOT / "HNTumorSegLib", ROOT / "HNTumorSeg"


def listed(variable: str, folder: Path = LIBRARY) -> list[str]:
    text = (folder / "CMakeLists.txt").read_text(encoding="utf-8")
    return re.search(rf"set\({variable}\s+(.*?)\)", text, re.DOTALL).group(1).split()


def tree(folder: Path = LIBRARY) -> set[str]:
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    return {f for f in files if "__pycache__" not in f and f != "CMakeLists.txt" and not Path(f).name.startswith(".")}


@pytest.mark.parametrize("folder", [LIBRARY, MODULE], ids=lambda folder: folder.name)
def test_the_lists_hold_every_file_once(folder: Path):
    scripts, resources = listed("MODULE_PYTHON_SCRIPTS", folder), listed("MODULE_PYTHON_RESOURCES", folder)
    assert len(scripts) == len(set(scripts))
    hint = "run scripts/update_cmake_lists.py"
    assert set(scripts) == {f for f in tree(folder) if f.endswith(".py")}, hint
    assert set(resources) == {f for f in tree(folder) if not f.endswith(".py")}, hint


def test_the_extension_builds_both_parts():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert re.findall(r"^\s*add_subdirectory\((\w+)\)", text, re.MULTILINE) == ["HNTumorSegLib", "HNTumorSeg"]
    for folder in (LIBRARY, MODULE):
        name = re.search(r"NAME (\w+)", (folder / "CMakeLists.txt").read_text(encoding="utf-8")).group(1)
        assert name == folder.name


def test_every_resource_is_package_data():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["HNTumorSegLib"]
    missing = [f for f in listed("MODULE_PYTHON_RESOURCES") if not any(fnmatch(f, p) for p in patterns)]
    assert missing == []


def test_every_folder_with_python_files_is_a_package():
    folders = {Path(f).parent for f in tree() if f.endswith(".py")}
    assert [str(f) for f in folders if not (LIBRARY / f / "__init__.py").is_file()] == []


def test_the_extension_has_the_metadata_that_slicer_asks_for():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    values = dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]+)"\)', text))
    assert set(values) == {
        "HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS",
    }  # fmt: skip
    assert values["CATEGORY"] == "Segmentation"
    assert values["DEPENDS"].split() == ["PyTorch", "SlicerRadiomics"]


def test_no_python_file_is_kept_out_of_the_repository():
    """What git ignores would be listed here and missing in a fresh clone."""
    done = subprocess.run(
        ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "HNTumorSegLib", "HNTumorSeg"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip("this is not a git checkout")
    assert [f for f in done.stdout.splitlines() if "__pycache__" not in f and "egg-info" not in f] == []
