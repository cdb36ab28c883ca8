"""One HTML page with everything: no script, no file beside it, nothing fetched."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from HNTumorSegLib.survival.analysis import EndpointReport
from HNTumorSegLib.survival.cohort_table import CohortTable
from HNTumorSegLib.survival.figures import p_words, ratio_cell, ratio_words
from HNTumorSegLib.survival.kaplan_meier import median_follow_up
from HNTumorSegLib.survival.models import MODEL_TITLES
from HNTumorSegLib.survival.nested import APPARENT, LEAKY, NESTED, Plan

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1d2733;max-width:60rem;margin:2rem auto;padding:0 1.2rem}
h1{font-size:1.7rem;margin:0 0 .3rem}h2{margin:2.6rem 0 .4rem;border-bottom:2px solid #0072B2;padding-bottom:.2rem}
h3{margin:1.8rem 0 .4rem}table{border-collapse:collapse;margin:.6rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #dde3ea}th{background:#f2f5f8}
th:first-child,td:first-child{text-align:left}.wide{overflow-x:auto}
img{max-width:100%;height:auto;display:block;margin:.6rem 0}
.note{background:#f2f5f8;border-left:4px solid #0072B2;padding:.5rem .9rem;margin:.6rem 0}
.warn{background:#fff3ea;border-left:4px solid #D55E00;padding:.5rem .9rem;margin:.6rem 0}
.small{color:#5a6775;font-size:.87rem}tr.leak td{color:#b34700}nav a{margin-right:1rem}
"""
SMALL_LEAK = 0.01
MOST_PAIRS = 20
MOST_ROWS = 30
RESEARCH = "For research. No figure here is meant to decide about a patient."


def write_page(
    path: Path, cohort: CohortTable, reports: Sequence[EndpointReport], plan: Plan, software: dict[str, str]
) -> None:
    """Write the page; its figures are the SVG files that lie in ``figures`` beside it."""
    folder = path.parent / "figures"
    parts = [_head(cohort, reports)]
    parts += [_endpoint(cohort, report, folder) for report in reports]
    parts.append(_methods(plan, software, cohort))
    body = "\n".join(parts)
    path.write_text(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Survival analysis</title>'
        f"<style>{STYLE}</style></head><body>\n{body}\n</body></html>\n",
        encoding="utf-8",
    )


def _head(cohort: CohortTable, reports: Sequence[EndpointReport]) -> str:
    links = "".join(f'<a href="#{r.slug}">{escape(r.endpoint.name)}</a>' for r in reports)
    centres = ""
    if cohort.centre is not None:
        names, counts = np.unique(cohort.centre, return_counts=True)
        listed = ", ".join(f"{escape(str(n))} {c}" for n, c in zip(names, counts, strict=True))
        centres = f" Centres: {listed}."
    missing = cohort.covariates.isna().mean()
    gaps = ", ".join(f"{escape(str(n))} {v:.0%}" for n, v in missing[missing > 0].head(12).items())
    notes = "".join(f"<li>{escape(n)}</li>" for n in cohort.notes)
    return (
        f'<h1>Survival analysis</h1><p class="warn">{RESEARCH}</p><nav>{links}<a href="#methods">Methods</a></nav>'
        f"<p>{len(cohort.patients)} patients, {cohort.covariates.shape[1]} covariates.{centres} "
        f"{'Missing: ' + gaps + '.' if gaps else 'Nothing is missing.'}</p>"
        + (f'<ul class="small">{notes}</ul>' if notes else "")
    )


def _endpoint(cohort: CohortTable, report: EndpointReport, folder: Path) -> str:
    y = report.endpoint.y
    follow_up = median_follow_up(y)
    until = f"{follow_up:.0f} {report.unit}" if np.isfinite(follow_up) else "not reached"
    parts = [
        f'<h2 id="{report.slug}">{escape(report.endpoint.name)}</h2>',
        f"<p>{int(y['event'].sum())} events in {len(y)} patients; median follow-up {until} (reverse Kaplan-Meier).</p>",
        _findings(report),
        _evaluation(report, folder),
        _estimates(report, folder),
        _burden(report, folder),
    ]
    return "\n".join(parts)


def _findings(report: EndpointReport) -> str:
    if not report.findings:
        return '<p class="note">The checks before the fit found nothing.</p>'
    items = "".join(f"<li><b>{escape(f.message)}</b> {escape(f.advice)}</li>" for f in report.findings)
    return f'<h3>Before the fit</h3><div class="warn"><ul>{items}</ul></div>'


def _evaluation(report: EndpointReport, folder: Path) -> str:
    summary = report.tables["summary"]
    rows = []
    for row in summary.to_dict("records"):
        css = ' class="leak"' if row["scheme"] in (LEAKY, APPARENT) else ""
        cells = [
            MODEL_TITLES[row["model"]],
            row["features"],
            row["scheme"],
            _interval(row, "harrell"),
            _number(row["uno"]),
            _number(row["auc_mean"]),
            _number(row["integrated_brier"]),
            _number(row["integrated_brier_null"]),
        ]
        rows.append(f"<tr{css}>{''.join(f'<td>{escape(str(c))}</td>' for c in cells)}</tr>")
    heads = (
        "Model",
        "Covariates",
        "Judged by",
        "Harrell's C (95 %)",
        "Uno's C",
        "AUC over time",
        "Brier",
        "Brier, no model",
    )
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    slopes = "; ".join(
        f"{MODEL_TITLES[m]} {s:.2f} ({low:.2f} to {high:.2f})" for m, (s, low, high) in report.slopes.items()
    )
    return (
        "<h3>How well outcome is predicted</h3>"
        f"{_picture(folder, report, 'c_index', 'C-index of all models')}"
        f'<div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div>'
        f"{_leak_words(report)}"
        f"{_tests(report)}"
        "<h3>Risk groups, as predicted for patients who were not in the training</h3>"
        f"{_picture(folder, report, 'risk_groups', 'Kaplan-Meier of predicted low and high risk')}"
        "<h3>Calibration</h3>"
        f"{_picture(folder, report, 'calibration', 'Predicted against observed risk')}"
        f'<p class="small">Slope (1 is right, below 1 overfitted): {escape(slopes)}.</p>'
    )


def _leak_words(report: EndpointReport) -> str:
    table = report.tables["leak"]
    worst = table.loc[table["flattery"].idxmax()]
    apparent, honest = (_by_model(report, scheme) for scheme in (APPARENT, NESTED))
    top = apparent.idxmax()
    who = f"{MODEL_TITLES[worst['model']]} ({escape(worst['features'])})"
    leaky = f"{who}: {worst[LEAKY]:.3f} against {worst[NESTED]:.3f}"
    if worst["flattery"] < SMALL_LEAK:
        said = f"with so few columns to choose from it matters little here (at most {leaky}); with hundreds it would."
    else:
        said = f"it flatters most for {leaky}."
    return (
        '<p class="warn"><b>Orange rows are warnings, not results.</b> <i>Leaky</i>: imputation, filter and selection '
        f"had seen the test patients; {said} <i>Apparent</i>: judged on the patients it learnt from; "
        f"{MODEL_TITLES[top[1]]} ({escape(top[0])}) seems to have {apparent[top]:.3f}, but has {honest[top]:.3f}.</p>"
    )


def _by_model(report: EndpointReport, scheme: str) -> pd.Series:
    summary = report.tables["summary"]
    return summary[summary["scheme"] == scheme].set_index(["features", "model"])["harrell"]


def _tests(report: EndpointReport) -> str:
    rows = []
    for r in report.tables["model_tests"].to_dict("records"):
        against = r["other_model"]
        if r["other_features"]:
            against = f"{MODEL_TITLES[against]} ({r['other_features']})"
        difference = f"{r['difference']:+.3f} ({r['lower']:+.3f} to {r['upper']:+.3f})"
        rows.append((f"{MODEL_TITLES[r['model']]} ({r['features']})", against, difference, p_words(r["p"])))
    hidden = len(rows) - MOST_PAIRS
    more = f'<p class="small">{hidden} further pairs are in the table file.</p>' if hidden > 0 else ""
    return (
        "<h3>Differences between models</h3>"
        f"{_table(('', 'against', 'Difference in C (95 %)', 'p'), rows[:MOST_PAIRS])}{more}"
        '<p class="small">Corrected paired t-test on the same folds, two-sided; not corrected for the number of '
        "pairs.</p>"
    )


def _estimates(report: EndpointReport, folder: Path) -> str:
    parts = ["<h3>Hazard ratios</h3>", _picture(folder, report, "hazard_ratios", "Hazard ratios")]
    for name, title in (("univariate", "Each covariate alone"), ("multivariable", "All clinical covariates together")):
        table = report.tables[name]
        if len(table) > MOST_ROWS:
            table, title = table.sort_values("p").head(MOST_ROWS), f"{title}: the {MOST_ROWS} with the smallest p"
        rows = [_ratio_row(r) for r in table.to_dict("records")]
        if rows:
            parts.append(f"<p><b>{title}</b></p>" + _table(("Covariate", "Patients", "HR (95 %)", "p"), rows))
    parts.append(
        '<p class="small">Per unit, or against the most frequent category. Alone: patients who have the value. '
        "Together: ten imputations that know the outcome, pooled by Rubin's rules. These figures describe this cohort; "
        "nothing was selected for them.</p>"
    )
    if "schoenfeld" in report.tables:
        rows = [
            (r["covariate"], f"{r['chi2']:.2f}", p_words(r["p"]))
            for r in report.tables["schoenfeld"].to_dict("records")
        ]
        parts.append(
            "<p><b>Proportional hazards (Schoenfeld residuals)</b></p>"
            + _table(("Covariate", "Chi-squared", "p"), rows)
        )
    return "".join(parts)


def _ratio_row(row: dict) -> tuple[object, ...]:
    if not np.isfinite(row["hazard_ratio"]):
        return row["covariate"], row["n"], "no finite value", ""
    ratio = ratio_cell(row["hazard_ratio"], row["lower"], row["upper"])
    return row["covariate"], row["n"], ratio, p_words(row["p"])


def _burden(report: EndpointReport, folder: Path) -> str:
    found = report.burden
    if found is None:
        return ""
    cutoff = found.cutoff
    how = {"given": "given", "median": f"median of {found.manual.name}"}.get(cutoff.how, cutoff.how)
    parts = [
        "<h3>Total tumour burden</h3>",
        f"<p>Cut-off {cutoff.value:.2f} ml ({escape(how)}).</p>",
        _picture(folder, report, "ttb", "Kaplan-Meier of low and high total tumour burden"),
    ]
    if cutoff.p_corrected is not None:
        parts.append(
            f'<p class="warn">The cut-off was searched for: its statistic is {cutoff.statistic:.2f}, '
            f"{p_words(cutoff.p_corrected)} after Lausen and Schumacher's correction. The hazard ratio and log-rank p "
            "beside it are too good; confirm the cut-off in other patients.</p>"
        )
    rows = []
    for group in (found.manual, found.automatic):
        if group is not None:
            doubling = "-" if group.ratio_per_doubling is None else ratio_words(group.ratio_per_doubling)
            rows.append((group.name, f"{group.high_curve.n} of {len(group.high)}", ratio_words(group.ratio), doubling))
    parts.append(_table(("Burden", "High", "High against low", "Per doubling"), rows))
    if found.changes is not None:
        c = found.changes
        parts.append(
            f'<p class="note">{c.changed:.1%} of {c.n} patients change group between {escape(found.manual.name)} and '
            f"{escape(found.automatic.name)}; for {c.manual_wrong:.1%} the first was wrong (high without event, or low "
            f"with it), for {c.automatic_wrong:.1%} the second.</p>"
        )
    parts += [f'<p class="small">{escape(n)}</p>' for n in report.notes]
    return "".join(parts)


def _methods(plan: Plan, software: dict[str, str], cohort: CohortTable) -> str:
    steps = plan.steps
    chosen = "columns chosen by penalised Cox (LASSO, 5-fold)" if steps.lasso else "no selection"
    filtered = "no correlation filter" if steps.spearman is None else f"Spearman filter at {steps.spearman:g}"
    centres = (
        " Leave one centre out: the mean over centres is a random-effects mean." if cohort.centre is not None else ""
    )
    versions = ", ".join(f"{k} {v}" for k, v in software.items())
    models = ", ".join(MODEL_TITLES[m] for m in plan.models)
    return (
        '<h2 id="methods">Methods</h2>'
        f"<p>Dummy coding; chained imputation ({steps.imputation_rounds} rounds); standardisation; {filtered}; "
        f"{chosen}; then {models}. All of it is learnt inside the training part of each split ({plan.folds} folds, "
        f"{plan.repeats} repeats, stratified by event).{centres} Intervals over folds are Nadeau and Bengio's; Uno's "
        "C, the AUC and the Brier score are weighted for censoring as estimated in the training part. The Brier score "
        "is integrated over the middle 80 % of the test events' times. Other events that prevent this one count as "
        f"censoring (cause-specific hazards). Seed {plan.seed}.</p>"
        '<p class="small">Pipeline after Bourigault et al. 2021 (HECKTOR); burden after Nikulin et al. 2023 '
        f"(doi:10.1007/s00259-023-06197-1). {escape(versions)}.</p>"
    )


def _picture(folder: Path, report: EndpointReport, name: str, text: str) -> str:
    path = folder / f"{report.slug}_{name}.svg"
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(text)}" src="data:image/svg+xml;base64,{data}">'


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(c))}</td>" for c in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "-"


def _interval(row: dict, name: str) -> str:
    if not np.isfinite(row[f"{name}_lower"]):
        return _number(row[name])
    return f"{row[name]:.3f} ({row[f'{name}_lower']:.3f} to {min(row[f'{name}_upper'], 1.0):.3f})"
