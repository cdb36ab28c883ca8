"""Write the lists of Python files and resources in the CMakeLists.txt of the library and of the module anew.

A file that is missing there is missing from the installed extension; a test compares the lists with the tree.

Usage: python scripts/update_cmake_lists.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOT_INSTALLED = {"CMakeLists.txt"}

LISTS = """\
# Written by scripts/update_cmake_lists.py: run it after adding, moving or removing a file.
set(MODULE_PYTHON_SCRIPTS
{scripts}
  )

set(MODULE_PYTHON_RESOURCES
{resources}
  )

"""

LIBRARY = """\
# WITH_SUBDIR: installed as the package folder HNTumorSegLib beside the modules.
slicerMacroBuildScriptedModule(
  NAME HNTumorSegLib
  SCRIPTS ${MODULE_PYTHON_SCRIPTS}
  RESOURCES ${MODULE_PYTHON_RESOURCES}
  WITH_SUBDIR
  )
"""

MODULE = """\
slicerMacroBuildScriptedModule(
  NAME HNTumorSeg
  SCRIPTS ${MODULE_PYTHON_SCRIPTS}
  RESOURCES ${MODULE_PYTHON_RESOURCES}
  WITH_GENERIC_TESTS
  )

if(BUILD_TESTING)
  # The class HNTumorSegTest in the module's file.
  slicer_add_python_unittest(SCRIPT HNTumorSeg.py)
endif()
"""

FOLDERS = {"HNTumorSegLib": LIBRARY, "HNTumorSeg": MODULE}
"""What Slicer installs, and how it is to."""


def files_of(folder: Path) -> tuple[list[str], list[str]]:
    """Python files and other files, relative to the folder, sorted; no caches, no hidden files."""
    names = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(folder).parts)
    ]
    scripts = sorted(name for name in names if name.endswith(".py"))
    return scripts, sorted(name for name in names if not name.endswith(".py") and name not in NOT_INSTALLED)


def lists_text(name: str) -> str:
    """What the CMakeLists.txt of a folder should say."""
    scripts, resources = ("\n".join(f"  {file}" for file in files) for files in files_of(ROOT / name))
    return LISTS.format(scripts=scripts, resources=resources) + FOLDERS[name]


def main() -> int:
    for name in FOLDERS:
        lists_file = ROOT / name / "CMakeLists.txt"
        lists_file.write_text(lists_text(name), encoding="utf-8")
        scripts, resources = files_of(ROOT / name)
        print(f"{lists_file}: {len(scripts)} Python files, {len(resources)} resources")
    return 0


if __name__ == "__main__":
    sys.exit(main())
