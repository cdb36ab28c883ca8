"""The evaluation as one HTML page that needs nothing else: pictures are inside, there is no script.

Every table and figure has its definitions right below it.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from urllib.parse import quote

from HNTumorSegLib.evaluation import tables as shapes
from HNTumorSegLib.evaluation.cohort import CohortEvaluation
from HNTumorSegLib.evaluation.definitions import BURDEN_HEADINGS, COUNT, ML, MM, PERCENT, SHARE, Column, column
from HNTumorSegLib.evaluation.figures import CAPTIONS
from HNTumorSegLib.evaluation.tables import Table, Value

MAX_ROWS = 500
"""Rows of the case tables on the page; all are in the CSV file."""
N_WORST = 10
UNDEFINED = "–"

STYLE = """
:root { color: #1d2733; background: #ffffff; font: 15px/1.55 system-ui, "Segoe UI", Roboto, Helvetica, sans-serif; }
body { max-width: 74rem; margin: 2.5rem auto 4rem; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 2.8rem 0 .7rem; }
p.facts { color: #5d6976; margin: .1rem 0; } a { color: #2f6fb3; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: #5d6976; border-bottom: 1px solid #98a3ae; padding: .3rem .9rem .3rem 0;
  vertical-align: bottom; }
td { border-bottom: 1px solid #e6eaee; padding: .3rem .9rem .3rem 0; vertical-align: top; }
td.number, th.number { text-align: right; } td.number { white-space: nowrap; }
td.name { white-space: nowrap; }
dl { font-size: .85rem; color: #5d6976; margin: .7rem 0 0; columns: 2 26rem; column-gap: 2.5rem; }
dl div { break-inside: avoid; margin-bottom: .3rem; } dt { display: inline; font-weight: 600; color: #3c4854; }
dd { display: inline; margin: 0; } dd::before { content: " "; }
figure { margin: 1.2rem 0; } figure img { max-width: 100%; max-height: 34rem; height: auto; }
figcaption, p.note { font-size: .85rem; color: #5d6976; max-width: 60rem; }
.problems { background: #fdf3f1; border-left: 3px solid #c8382e; padding: .8rem 1.2rem; margin: 1.4rem 0; }
.problems h2 { margin: 0 0 .4rem; } .problems ul { margin: 0; padding-left: 1.1rem; }
.notes { background: #f4f6f8; border-left: 3px solid #98a3ae; padding: .6rem 1.2rem; margin: 1.4rem 0; }
details summary { cursor: pointer; color: #5d6976; font-size: .9rem; margin: .4rem 0; }
@media print { details { display: none; } body { max-width: none; } }
"""


def page(
    evaluation: CohortEvaluation, pictures: Mapping[str, bytes], command: str = "", folder: Path | None = None
) -> str:
    """The whole page.

    Args:
        evaluation: the figures.
        pictures: PNG of every figure by its name.
        command: how to make it again; shown when given.
        folder: where the page will lie, so that links to cases are relative to it; without it there are none.
    """
    parts = [_head(evaluation, command), _problems(evaluation, short=True), _notes(evaluation)]
    if evaluation.cases:
        parts += [
            _section(shapes.delineation_table(evaluation), _undefined_note(evaluation)),
            _picture("figure1_dsc_histograms", pictures),
            _section(shapes.classification_table(evaluation)),
            _section(shapes.detection_table(evaluation)),
            _section(rounded_burden(shapes.burden_table(evaluation)), listed=False),
            _picture("figure2_ttb_scatter", pictures),
            _picture("figure3_bland_altman", pictures),
            _section(shapes.surface_table(evaluation)),
            _section(shapes.aggregated_table(evaluation)),
            _worst_cases(evaluation, folder),
            _details(shapes.cases_table(evaluation), folder),
        ]
    if evaluation.structures:
        parts += [
            _section(shapes.structures_table(evaluation)),
            _picture("figure4_surface_dsc", pictures),
            _worst_structures(evaluation, folder),
            _details(shapes.structure_cases_table(evaluation), folder),
        ]
    parts.append(_problems(evaluation, short=False))
    title = escape(evaluation.title or "Evaluation")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body>\n'
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def _head(evaluation: CohortEvaluation, command: str) -> str:
    n = len(evaluation.cases) or len({item.name for item in evaluation.structures})
    facts = [f"{n} {'patient' if n == 1 else 'patients'} compared, {_counted(len(evaluation.problems), 'problem')}."]
    if evaluation.cases:
        smallest = evaluation.settings.minimum_lesion_ml
        left_out = sum(c.left_out_true_ml + c.left_out_predicted_ml for c in evaluation.cases)
        facts.append(
            f"Connected structures below {smallest:g} ml were left out on both sides, together {left_out:.2f} ml."
            if smallest
            else "No structure was left out for being small."
        )
    facts.append(f"Made {datetime.now(UTC):%d %B %Y, %H:%M} UTC with HNTumorSeg {_version()}. Research software.")
    lines = "".join(f'<p class="facts">{escape(fact)}</p>' for fact in facts)
    if command:
        lines += f'<p class="facts"><code>{escape(command)}</code></p>'
    return f"<h1>{escape(evaluation.title or 'Evaluation')}</h1>{lines}"


def _version() -> str:
    import HNTumorSegLib

    return HNTumorSegLib.__version__


def _problems(evaluation: CohortEvaluation, *, short: bool) -> str:
    """At the top how many there are, at the end all of them."""
    problems = evaluation.problems
    if not problems:
        return ""
    if short:
        count = _counted(len(problems), "case or structure", "cases or structures")
        words = f"{count} could not be compared and {'has' if len(problems) == 1 else 'have'} no part in any figure."
        return f'<div class="problems">{escape(words)} <a href="#problems">Which and why</a></div>'
    items = "".join(f"<li><b>{escape(p.case)}</b>: {escape(p.sentence)}</li>" for p in problems)
    return f'<div class="problems" id="problems"><h2>What could not be compared</h2><ul>{items}</ul></div>'


def _notes(evaluation: CohortEvaluation) -> str:
    notes = "".join(f"<p>{escape(note)}</p>" for note in evaluation.notes)
    return f'<div class="notes">{notes}</div>' if notes else ""


def _undefined_note(evaluation: CohortEvaluation) -> str:
    return (
        "Empty delineations: both sides empty, the DSC is not defined and the patient has no part in mean, median and "
        "quartiles; one side empty, DSC = 0, a failure."
    )


def _section(table: Table, note: str = "", *, listed: bool = True) -> str:
    text = f'<p class="note">{escape(note)}</p>' if note else ""
    definitions = _definitions(table.columns) if listed else ""
    return f"<h2>{escape(table.title)}</h2>{_html_table(table.columns, table.rows)}{text}{definitions}"


def _details(table: Table, folder: Path | None) -> str:
    """A long table, folded up; with links to the files."""
    shown = table.rows[:MAX_ROWS]
    rest = "" if len(shown) == len(table.rows) else f" The first {MAX_ROWS} of {len(table.rows)};"
    note = f"{rest} All columns and rows are in {table.name}.csv."
    return (
        f"<h2>{escape(table.title)}</h2><details><summary>{len(table.rows)} rows.{escape(note)}</summary>"
        f"{_html_table(table.columns, shown, _link_cell(folder))}{_definitions(table.columns)}</details>"
    )


def _worst_cases(evaluation: CohortEvaluation, folder: Path | None) -> str:
    names = ("case", "dsc", "volume_true_ml", "volume_predicted_ml", "fn", "fp", "hd95_mm", "truth", "predicted")
    rows = []
    for case in evaluation.worst_cases(N_WORST):
        u = case.union
        figures = (u.dsc, case.ttb_true_ml, case.ttb_predicted_ml, u.detection.fn, u.detection.fp, u.surface.hd95_mm)
        rows.append((case.name, *figures, case.truth_source, case.predicted_source))
    return _worst("Cases to look at first: lowest DSC of the union", names, rows, folder)


def _worst_structures(evaluation: CohortEvaluation, folder: Path | None) -> str:
    names = ("case", "structure", "surface_dsc", "tolerance_mm", "dsc", "hd95_mm", "truth", "predicted")
    rows = []
    for item in evaluation.worst_structures(N_WORST):
        figures = (item.surface.surface_dsc, item.surface.tolerance_mm, item.dsc, item.surface.hd95_mm)
        rows.append((item.name, item.structure, *figures, item.truth_source, item.predicted_source))
    return _worst("Structures to look at first: lowest surface DSC", names, rows, folder)


def _worst(title: str, names: Sequence[str], rows: Sequence[tuple[Value, ...]], folder: Path | None) -> str:
    columns = tuple(column(name) for name in names)
    return f"<h2>{title}</h2>{_html_table(columns, rows, _link_cell(folder))}{_definitions(columns)}"


def _picture(name: str, pictures: Mapping[str, bytes]) -> str:
    if name not in pictures:
        return ""
    data = base64.b64encode(pictures[name]).decode("ascii")
    caption = escape(CAPTIONS[name])
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption} '
        f"Also {name}.png and .svg.</figcaption></figure>"
    )


def _definitions(columns: Sequence[Column]) -> str:
    seen = dict.fromkeys((c.heading.split(", ")[0], c.definition) for c in columns if c.definition)
    entries = "".join(f"<div><dt>{escape(h)}</dt><dd>{escape(d)}</dd></div>" for h, d in seen)
    return f"<dl>{entries}</dl>"


CellWriter = Callable[[Column, Value], str]


def _plain_cell(column: Column, value: Value) -> str:
    return escape(written(value, column.kind))


def _link_cell(folder: Path | None) -> CellWriter:
    """Writes file columns as links relative to the page."""

    def cell(column: Column, value: Value) -> str:
        if column.name not in {"truth", "predicted"} or not value:
            return _plain_cell(column, value)
        path = Path(str(value))
        if folder is None or not path.is_absolute():
            return escape(str(value))
        try:
            target = quote(Path(os.path.relpath(path, folder)).as_posix())
        except ValueError:  # another drive
            target = path.as_uri()
        return f'<a href="{escape(target, quote=True)}">{escape(path.name)}</a>'

    return cell


def _html_table(columns: Sequence[Column], rows: Sequence[tuple[Value, ...]], write: CellWriter = _plain_cell) -> str:
    def css(column: Column) -> str:
        if column.kind in (COUNT, SHARE, PERCENT, ML, MM) or column.name == "value":
            return ' class="number"'
        return ' class="name"' if column.name in {"case", "target", "structure", "figure"} else ""

    head = "".join(f"<th{css(c)}>{escape(c.heading)}</th>" for c in columns)
    body = "".join(
        "<tr>" + "".join(f"<td{css(c)}>{write(c, v)}</td>" for c, v in zip(columns, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def written(value: Value, kind: str) -> str:
    """A value as people read it."""
    if value is None:
        return UNDEFINED
    if isinstance(value, str):
        return value
    if kind == SHARE:
        return f"{value:.3f}"
    if kind == PERCENT:
        return f"{100 * value:.1f} %"
    if kind in (ML, MM):
        return f"{value:.2f}"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def rounded_burden(table: Table) -> Table:
    """Headings of the tall table in words, values with sensible digits."""

    def value(v: Value, unit: Value) -> Value:
        return v if v is None or isinstance(v, int) else f"{v:.2f}" if unit == "ml" else f"{v:.3f}"

    rows = tuple((BURDEN_HEADINGS[str(f)], value(v, unit), unit, text) for f, v, unit, text in table.rows)
    return Table(table.name, table.title, table.columns, rows)


def _counted(n: int, one: str, many: str = "") -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"
