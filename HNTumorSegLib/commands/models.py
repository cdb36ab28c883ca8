"""``hntumorseg models``: which models there are, their cards, and how to bring in others."""

from __future__ import annotations

import argparse
from pathlib import Path

from HNTumorSegLib.commands.arguments import EXIT_OK, add_command


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    models = commands.add_parser("models", help="list the models, show one's card, import or export one")
    actions = models.add_subparsers(title="actions", required=True, metavar="ACTION")
    add_command(actions, "list", _models_list, "names, versions and folders of all models")
    show = add_command(actions, "show", _models_show, "a model's card: use, limits, data, performance")
    show.add_argument("model", nargs="?", default="default", metavar="NAME_OR_FOLDER")
    _add_import(actions)
    export = add_command(actions, "export", _models_export, "write a model as a zip file")
    export.add_argument("model", metavar="NAME_OR_FOLDER")
    export.add_argument("--out", type=Path, required=True, metavar="FILE.zip")


def _add_import(actions: argparse._SubParsersAction) -> None:
    parser = add_command(
        actions, "import", _models_import, "install a model from a folder or zip file: own, nnU-Net v2, MONAI bundle"
    )
    parser.add_argument("source", type=Path, metavar="DIR_OR_ZIP")
    parser.add_argument("--name", help="what it shall be called here")
    parser.add_argument("--licence", metavar="TEXT", help="licence of the weights, for the card")
    parser.add_argument("--checkpoint", default="checkpoint_final.pth", metavar="FILE", help="of each nnU-Net fold")
    parser.add_argument(
        "--classes", type=_words, default=(), metavar="A,B,..", help="what the outputs are: background, primary, node"
    )
    parser.add_argument("--channels", type=_words, default=(), metavar="A,B", help="what the inputs are: pet, ct")
    parser.add_argument("--replace", action="store_true", help="put it in the place of a model of that name")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


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


def _models_import(arguments: argparse.Namespace) -> int:
    from HNTumorSegLib.models.card import ModelCard
    from HNTumorSegLib.models.importing import ImportOptions, import_model
    from HNTumorSegLib.printout import console_for_output, print_card

    names = ("name", "licence", "checkpoint", "classes", "channels", "replace")
    folder = import_model(arguments.source, ImportOptions(**{name: getattr(arguments, name) for name in names}))
    print_card(console_for_output(), ModelCard.load(folder), folder)
    return EXIT_OK


def _models_export(arguments: argparse.Namespace) -> int:
    from HNTumorSegLib.models.importing import export_model
    from HNTumorSegLib.printout import console_for_output

    target = export_model(arguments.model, arguments.out)
    console_for_output().print(f"Exported to {target}", markup=False, soft_wrap=True)
    return EXIT_OK
