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
from pathlib import Path
from typing import NoReturn

import HNTumorSegLib
from HNTumorSegLib.errors import HNTumorSegError

EXIT_OK, EXIT_DEFECT, EXIT_USER, EXIT_INTERRUPTED = 0, 1, 2, 130
PROGRAM = "hntumorseg"

logger = logging.getLogger(__name__)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like all errors of this program."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USER, f"{PROGRAM}: {message}. See '{self.prog} --help'.\n")


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


def build_parser() -> argparse.ArgumentParser:
    """All commands and options."""
    parser = _Parser(prog=PROGRAM, description=HNTumorSegLib.__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {HNTumorSegLib.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_run_arguments(_command(commands, "run", _run, "delineate a PET/CT study on disk"))
    demo = _command(commands, "demo", _demo, "make a synthetic patient and take it through the whole path")
    demo.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    demo.add_argument("--seed", type=_seed, default=0, metavar="N", help="which patient (default 0)")
    _add_model_arguments(demo)
    _add_models_commands(commands)
    return parser


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``run``, also for the Slicer batch script."""
    images = parser.add_argument_group("images")
    path_help = "DICOM folder, NIfTI, NRRD or MHA"
    images.add_argument("--pet", type=Path, required=True, metavar="PATH", help=f"FDG-PET: {path_help}")
    images.add_argument(
        "--ct",
        type=Path,
        metavar="PATH",
        help=f"CT: {path_help}; when left out, the CT that lies in the PET's folder, if any; 'none' for no CT",
    )
    for image in ("PET", "CT"):
        images.add_argument(
            f"--{image.lower()}-series", metavar="NUMBER_OR_UID", help=f"which {image}, when a folder holds several"
        )
    suv = parser.add_argument_group("SUV", "for what the images do not say themselves")
    suv.add_argument(
        "--pet-units", choices=["suv", "bqml"], help="what a PET that is not DICOM holds (bqml needs --suv-factor)"
    )
    suv.add_argument("--weight-kg", type=_positive, metavar="KG", help="patient's weight")
    suv.add_argument("--dose-bq", type=_positive, metavar="BQ", help="injected activity")
    suv.add_argument("--suv-factor", type=_positive, metavar="F", help="stored values times this are SUVbw")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--include-identifiers", action="store_true", help="keep paths and patient identifiers in report.json"
    )
    _add_model_arguments(parser)


def _add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", default="default", metavar="NAME_OR_FOLDER", help="see 'hntumorseg models list' (default: default)"
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where the network runs")
    parser.add_argument(
        "--reference", choices=["pet", "ct"], default="pet", help="whose grid the lesions lie on (default: pet)"
    )
    parser.add_argument("--no-scene", action="store_true", help="write no Slicer scene")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _add_models_commands(commands: argparse._SubParsersAction) -> None:
    models = commands.add_parser("models", help="list the models, or show one's card")
    actions = models.add_subparsers(title="actions", required=True, metavar="ACTION")
    _command(actions, "list", _models_list, "names, versions and folders of all models")
    show = _command(actions, "show", _models_show, "a model's card: use, limits, data, performance")
    show.add_argument("model", nargs="?", default="default", metavar="NAME_OR_FOLDER")


def _command(commands: argparse._SubParsersAction, name: str, function: object, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument("--debug", action="store_true", help="log what happens, and show where an error came from")
    parser.set_defaults(command=function)
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return value


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 0 or more")
    return int(text)


def run_from_arguments(arguments: argparse.Namespace) -> int:
    """``hntumorseg run`` once its arguments are parsed."""
    from HNTumorSegLib.printout import console_for_output, print_result
    from HNTumorSegLib.progress_bar import shown_progress
    from HNTumorSegLib.run import RunOptions, run

    options = RunOptions(
        pet=arguments.pet,
        ct=arguments.ct,
        out=arguments.out,
        model=arguments.model,
        device=arguments.device,
        reference=arguments.reference,
        pet_units=arguments.pet_units,
        weight_kg=arguments.weight_kg,
        dose_bq=arguments.dose_bq,
        suv_factor=arguments.suv_factor,
        pet_series=arguments.pet_series,
        ct_series=arguments.ct_series,
        include_identifiers=arguments.include_identifiers,
        scene=not arguments.no_scene,
    )
    console = console_for_output()
    with shown_progress(console, arguments.quiet) as progress:
        result = run(options, progress)
    if not arguments.quiet:
        print_result(console, result, options.out)
    return EXIT_OK


def _run(arguments: argparse.Namespace) -> int:
    _prepare_process()
    return run_from_arguments(arguments)


def _demo(arguments: argparse.Namespace) -> int:
    from HNTumorSegLib.demo import run_demo
    from HNTumorSegLib.printout import console_for_output, print_result
    from HNTumorSegLib.progress_bar import shown_progress

    _prepare_process()
    console = console_for_output()
    with shown_progress(console, arguments.quiet) as progress:
        result = run_demo(
            arguments.out,
            arguments.seed,
            model=arguments.model,
            device=arguments.device,
            reference=arguments.reference,
            scene=not arguments.no_scene,
            progress=progress,
        )
    if not arguments.quiet:
        print_result(console, result, arguments.out)
    return EXIT_OK


def _models_list(arguments: argparse.Namespace) -> int:
    from HNTumorSegLib.models.registry import list_models, user_folder
    from HNTumorSegLib.printout import console_for_output, print_models

    print_models(console_for_output(), list_models(), user_folder())
    return EXIT_OK


def _models_show(arguments: argparse.Namespace) -> int:
    from HNTumorSegLib.models.card import ModelCard
    from HNTumorSegLib.models.registry import resolve_model
    from HNTumorSegLib.printout import console_for_output, print_card

    folder = resolve_model(arguments.model)
    print_card(console_for_output(), ModelCard.load(folder), folder)
    return EXIT_OK


def _prepare_process() -> None:
    """Settings that only a process of our own may make, not one that 3D Slicer started and goes on with."""
    from HNTumorSegLib.inference.device import keep_freed_memory

    application = getattr(sys.modules.get("slicer"), "app", None)
    if not hasattr(application, "commandOptions"):
        keep_freed_memory()


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
