"""Delineate one patient and leave a Slicer scene, without a window.

Inside 3D Slicer:
    Slicer --no-main-window --python-script scripts/slicer_batch.py -- --pet PET --ct CT --out FOLDER
With the slicer-core package:
    python scripts/slicer_batch.py --pet PET --ct CT --out FOLDER

The arguments are those of ``hntumorseg run``; so are what it writes (``scene.mrb`` among it) and its exit code: 0 when
done, 2 when the input or the output folder cannot be used.
"""

from __future__ import annotations

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def main(arguments: list[str]) -> int:
    """Run ``hntumorseg run`` with these arguments; its exit code."""
    if str(REPOSITORY) not in sys.path:
        # Slicer's Python knows nothing of this checkout, and of an installed copy this one is the newer.
        sys.path.insert(0, str(REPOSITORY))
    from HNTumorSegLib import cli
    from HNTumorSegLib.errors import HNTumorSegError
    from HNTumorSegLib.mrml import core_app

    try:
        core_app.require_slicer()  # before the long work: without it there would be no scene at its end
        return int(cli.main(["run", *arguments]) or 0)
    except HNTumorSegError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except SystemExit as stop:  # argparse: --help, or an argument it does not know
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        sys.stderr.write(f"{stop.code}\n")
        return 2


def own_arguments(argv: list[str]) -> list[str]:
    """What is meant for us: all after ``--`` where Slicer hands that on, else all after the program and script."""
    if "--" in argv:
        return argv[argv.index("--") + 1 :]
    rest = argv[1:]
    return rest[1:] if rest and Path(rest[0]).name == Path(__file__).name else rest


def leave(code: int) -> None:
    """End the process with this exit code: through Slicer where it runs, so that it shuts down in order."""
    slicer = sys.modules.get("slicer")
    application = getattr(slicer, "app", None)
    if hasattr(application, "commandOptions"):  # Slicer itself, not our stand-in around slicer-core
        slicer.util.exit(code)
    else:
        sys.exit(code)


if __name__ == "__main__":
    # Slicer goes on to its event loop after an exception and would hang without a window, so it must not escape.
    try:
        exit_code = main(own_arguments(sys.argv))
    except BaseException:
        import traceback

        traceback.print_exc()
        exit_code = 1
    leave(exit_code)
