"""What the command line shows of a result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from HNTumorSegLib.lesions.codes import STYLE

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from HNTumorSegLib.measures.table import LesionMeasures, Measurements
    from HNTumorSegLib.models.card import ModelCard
    from HNTumorSegLib.models.registry import ModelEntry
    from HNTumorSegLib.run import RunResult

LOG_WIDTH = 120
TABLE_WIDTH = 80
TOTAL_TITLES = {"primary": "Primaries", "node": "Nodes", "total": "Total (TTB)"}


def console_for_output() -> Console:
    """The console on standard output; as wide as the table needs where there is no terminal to ask."""
    import sys

    from rich.console import Console

    # Inside Slicer standard output is an object without isatty.
    on_terminal = getattr(sys.stdout, "isatty", bool)()
    console = Console(width=None if on_terminal else LOG_WIDTH, highlight=False)
    console.width = max(console.width, TABLE_WIDTH)  # a broken line is easier to read than cut numbers
    return console


def print_result(console: Console, result: RunResult, out: Path) -> None:
    """Lesion table, total tumour burden, agreement with the truth if there is one, notes, and where the files are."""
    console.print(lesion_table(result.measurements))
    card = result.delineation.card
    number = "1 lesion" if len(result.lesion_set) == 1 else f"{len(result.lesion_set)} lesions"
    console.print(
        f"Total tumour burden (TTB): {result.measurements.ttb_ml:.2f} ml in {number} "
        f"(model {card.name} {card.version}, {result.delineation.device})",
        markup=False,
    )
    if result.agreement is not None:
        _print_agreement(console, result)
    for warning in result.warnings:
        console.print(f"Note: {warning}", markup=False)
    console.print(f"Results in {out}: {', '.join(result.files)}", markup=False, soft_wrap=True)


def lesion_table(measurements: Measurements) -> Table:
    """The measurements as a rich table, totals below a rule; it fits into 80 columns."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("Lesion", no_wrap=True)
    for header in ("Volume (ml)", "SUVmax", "SUVmean", "SUVpeak", "TLG (g)", "Centre L, P, S (mm)"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in measurements.rows:
        table.add_row(*_cells(row.name, row), style=f"rgb({','.join(map(str, STYLE[row.kind].color))})")
    table.add_section()
    for row in measurements.totals:
        table.add_row(*_cells(TOTAL_TITLES[row.id], row), style="bold" if row.kind == "" else None)
    return table


def _cells(title: str, row: LesionMeasures) -> list[str]:
    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    centre = "-" if row.x_mm is None else f"{round(row.x_mm)}, {round(row.y_mm)}, {round(row.z_mm)}"
    numbers = (row.volume_ml, row.suv_max, row.suv_mean, row.suv_peak, row.tlg_g)
    return [title, *map(number, numbers), centre]


def _print_agreement(console: Console, result: RunResult) -> None:
    found = result.agreement

    def share(value: float | None) -> str:
        return "not defined (none there, none found)" if value is None else f"{value:.3f}"

    console.print(
        f"Agreement with the known truth: DSC union {share(found.dsc_union)}, primary {share(found.dsc_primary)}, "
        f"node {share(found.dsc_node)}; TTB {found.ttb_ml:.2f} ml, true {found.ttb_true_ml:.2f} ml",
        markup=False,
    )


def print_models(console: Console, entries: list[ModelEntry], user_folder: Path) -> None:
    """The list of models, with what is wrong where a card cannot be read."""
    from rich.table import Table

    table = Table()
    for header in ("Model", "Version", "Comes from", "Intended use"):
        table.add_column(header)
    for entry in entries:
        origin = "the package" if entry.bundled else str(entry.folder)
        table.add_row(entry.name, entry.version, origin, entry.problem or entry.intended_use)
    if entries:
        console.print(table)
    else:
        console.print("No model is installed.")
    console.print(f"Own models go into {user_folder}, one folder each.", markup=False, soft_wrap=True)


def print_card(console: Console, card: ModelCard, folder: Path) -> None:
    """A model card in words."""
    from HNTumorSegLib.models.card import figures_in_words

    recipe = card.recipe
    channels = ", ".join(f"{c.image} {c.window[0]:g} to {c.window[1]:g}" for c in recipe.channels)
    patch = " x ".join(str(n) for n in reversed(recipe.patch_zyx))
    lines = {
        "Model": f"{card.name} {card.version}",
        "Folder": str(folder),
        "Recipe": f"{recipe.name}; {recipe.source}",
        "Input": f"{channels}; {recipe.spacing_mm:g} mm, patches of {patch} voxels",
        "Classes": ", ".join(card.classes),
        "Intended use": card.intended_use,
        "Limitations": card.limitations,
        "Training data": card.training_data,
        "Training": " ".join(card.numbered_steps()),
        "Licence": card.licence,
        **{
            f"Measured on {data}": ", ".join(f"{name} {words}" for name, words in figures_in_words(figures).items())
            for data, figures in card.performance.items()
        },
        "Deviations from the source": " ".join(recipe.deviations),
        "Weights": (f"the mean of those of {card.mean_of}: " if card.mean_of else "")
        + ", ".join(f"{w.file} (sha256 {w.sha256[:12]}...)" for w in card.weights),
        "Changes": "; ".join(card.changelog),
    }
    for title, text in lines.items():
        if text:
            console.print(f"{title}: {text}", markup=False)
