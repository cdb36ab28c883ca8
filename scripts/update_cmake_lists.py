"""Write the lists of Python files and resources in HNTumorSegLib/CMakeLists.txt anew.

A file that is missing there is missing from the installed extension; a test compares the lists with the tree.

Usage: python scripts/update_cmake_lists.py
"""

from __future__ import annotations

import sys
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[1] / "HNTumorSegLib"
LISTS_FILE = LIBRARY / "CMakeLists.txt"
NOT_INSTALLED = {"CMakeLists.txt"}

TEMPLATE = """\
# Written by scripts/update_cmake_lists.py: run it after adding, moving or removing a file.
set(MODULE_PYTHON_SCRIPTS
{scripts}
  )

set(MODULE_PYTHON_RESOURCES
{resources}
  )

# WITH_SUBDIR: installed as the package folder HNTumorSegLib beside the modules.
slicerMacroBuildScriptedModule(
  NAME HNTumorSegLib
  SCRIPTS ${{MODULE_PYTHON_SCRIPTS}}
  RESOURCES ${{MODULE_PYTHON_RESOURCES}}
  WITH_SUBDIR
  )
"""


def library_files() -> tuple[list[str], list[str]]:
    """Python files and other files of the library, relative to it, sorted; no caches, no hidden files."""
    names = [
        path.relative_to(LIBRARY).as_posix()
        for path in LIBRARY.rglob("*")
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(LIBRARY).parts)
    ]
    scripts = sorted(name for name in names if name.endswith(".py"))
    return scripts, sorted(name for name in names if not name.endswith(".py") and name not in NOT_INSTALLED)


def lists_text() -> str:
    """What HNTumorSegLib/CMakeLists.txt should say."""
    scripts, resources = ("\n".join(f"  {name}" for name in names) for names in library_files())
    return TEMPLATE.format(scripts=scripts, resources=resources)


def main() -> int:
    LISTS_FILE.write_text(lists_text(), encoding="utf-8")
    scripts, resources = library_files()
    print(f"{LISTS_FILE}: {len(scripts)} Python files, {len(resources)} resources")
    return 0


if __name__ == "__main__":
    sys.exit(main())
