"""``hntumorseg models``: which models there are, and their cards."""

from __future__ import annotations

import argparse

from HNTumorSegLib.commands.arguments import EXIT_OK, add_command


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    models = commands.add_parser("models", help="list the models, or show one's card")
    actions = models.add_subparsers(title="actions", required=True, metavar="ACTION")
    add_command(actions, "list", _models_list, "names, versions and folders of all models")
    show = add_command(actions, "show", _models_show, "a model's card: use, limits, data, performance")
    show.add_argument("model", nargs="?", default="default", metavar="NAME_OR_FOLDER")


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
