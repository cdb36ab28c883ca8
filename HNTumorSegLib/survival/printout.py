"""What the command line shows of an analysis, a model, and prognoses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from HNTumorSegLib.survival.analysis import EndpointReport
from HNTumorSegLib.survival.cohort_table import CohortTable
from HNTumorSegLib.survival.figures import ratio_words
from HNTumorSegLib.survival.models import MODEL_TITLES
from HNTumorSegLib.survival.prognosis import FOR_RESEARCH, Prognosis
from HNTumorSegLib.survival.risk_model import SurvivalCard

if TYPE_CHECKING:
    from rich.console import Console

MOST_PATIENTS = 20


def print_analysis(console: Console, cohort: CohortTable, reports: Sequence[EndpointReport]) -> None:
    """Notes, then for each outcome: what the checks found, the C-indices, and the burden."""
    for note in cohort.notes:
        console.print(f"Note: {note}", markup=False)
    for report in reports:
        y = report.endpoint.y
        console.print(f"\n{report.endpoint.name}: {int(y['event'].sum())} events in {len(y)} patients", style="bold")
        for finding in report.findings:
            console.print(f"Check: {finding.message} {finding.advice}", markup=False)
        console.print(_scores(report))
        console.print("Leaky and apparent are warnings: both have seen the patients they are judged on.", style="dim")
        if report.burden is not None:
            found = report.burden
            console.print(f"TTB cut-off {found.cutoff.value:.2f} ml ({found.cutoff.how})", markup=False)
            for group in (found.manual, found.automatic):
                if group is not None:
                    console.print(f"  {group.name}: {ratio_words(group.ratio)}", markup=False)
            if found.changes is not None:
                console.print(f"  {found.changes.changed:.1%} of {found.changes.n} patients change group", markup=False)


def _scores(report: EndpointReport) -> object:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for header in ("Model", "Covariates", "Judged by"):
        table.add_column(header)
    for header in ("Harrell's C (95 %)", "Uno's C", "Brier"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in report.tables["summary"].to_dict("records"):
        interval = ""
        if np.isfinite(row["harrell_lower"]):
            interval = f" ({row['harrell_lower']:.3f} to {min(row['harrell_upper'], 1):.3f})"
        cells = (MODEL_TITLES[row["model"]], row["features"], row["scheme"], f"{row['harrell']:.3f}{interval}")
        style = "dim" if row["scheme"] in ("leaky", "apparent") else None
        table.add_row(*cells, f"{row['uno']:.3f}", f"{row['integrated_brier']:.3f}", style=style)
    return table


def print_survival_card(console: Console, card: SurvivalCard) -> None:
    """A model's card in words."""
    console.print(
        f"{card.name}: {MODEL_TITLES[card.model]} for '{card.event_column}', {card.n_events} events in "
        f"{card.n} patients",
        markup=False,
    )
    console.print(f"Rests on: {', '.join(card.used)}", markup=False)
    for scheme, figures in card.performance.items():
        interval = ""
        if figures["harrell_lower"] is not None:
            interval = f" ({figures['harrell_lower']:.3f} to {min(figures['harrell_upper'], 1):.3f})"
        console.print(f"Harrell's C, {scheme}: {figures['harrell']:.3f}{interval}", markup=False)
    for warning in card.warnings:
        console.print(f"Check: {warning}", markup=False)
    console.print(card.limitations, markup=False)


def print_prognoses(console: Console, prognoses: Sequence[Prognosis]) -> None:
    """Each patient in words, up to 20."""
    for prognosis in prognoses[:MOST_PATIENTS]:
        console.print(f"{prognosis.patient}: {' '.join(prognosis.words()[:-1])}", markup=False)
    if len(prognoses) > MOST_PATIENTS:
        console.print(f"... and {len(prognoses) - MOST_PATIENTS} more in risk.csv")
    console.print(FOR_RESEARCH)
