"""The command ``hntumorseg``: argument parsing, error lines and exit codes; the work is done elsewhere."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import NoReturn

import HNTumorSegLib
from HNTumorSegLib.commands import command_modules
from HNTumorSegLib.commands.arguments import EXIT_DEFECT, EXIT_INTERRUPTED, EXIT_OK, EXIT_USER
from HNTumorSegLib.errors import HNTumorSegError

PROGRAM = "hntumorseg"

logger = logging.getLogger(__name__)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like all errors of this program."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USER, f"{PROGRAM}: {message}. See '{self.prog} --help'.\n")


def build_parser() -> argparse.ArgumentParser:
    """All commands and options."""
    parser = _Parser(prog=PROGRAM, description=HNTumorSegLib.__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {HNTumorSegLib.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in command_modules():
        module.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; ``argv`` without the program's name.

    Returns:
        0 when all went well, 2 for an error that the user can mend (one line on standard error, nothing left behind),
        1 for a defect of the program, 130 after Ctrl-C.
    """
    try:
        arguments = build_parser().parse_args(argv)
    except SystemExit as stop:  # --help, --version and bad arguments
        return int(stop.code or 0)
    with _quiet_libraries(arguments.debug), _termination_as_interrupt():
        try:
            return arguments.command(arguments)
        except HNTumorSegError as error:
            if arguments.debug:
                logger.exception("where the error came from")
            return _complain(str(error), EXIT_USER)
        except KeyboardInterrupt:
            return _complain("interrupted; nothing was written", EXIT_INTERRUPTED)
        except BrokenPipeError:
            sys.stderr.close()  # Whoever read our output has gone, and must not hear about it.
            return EXIT_OK
        except Exception as error:
            if arguments.debug:
                raise
            return _complain(
                f"unexpected {type(error).__name__}: {error}; this is a defect of the program and nothing was written. "
                f"Run the same command with --debug for the details",
                EXIT_DEFECT,
            )


@contextlib.contextmanager
def _quiet_libraries(debug: bool) -> Iterator[None]:
    """Keep what libraries have to say off the screen, unless asked: what matters to the user comes as a note."""
    import SimpleITK as sitk

    root = logging.getLogger()
    handler = logging.StreamHandler() if debug else logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    level, itk_speaks = root.level, sitk.ProcessObject.GetGlobalWarningDisplay()
    root.addHandler(handler)
    root.setLevel(logging.INFO if debug else level)
    sitk.ProcessObject.SetGlobalWarningDisplay(debug)
    try:
        with warnings.catch_warnings():
            if not debug:
                warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        sitk.ProcessObject.SetGlobalWarningDisplay(itk_speaks)


@contextlib.contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """A polite kill (SIGTERM, as batch systems send) ends like Ctrl-C: with everything cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _complain(message: str, code: int) -> int:
    """One line on standard error."""
    print(f"{PROGRAM}: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
