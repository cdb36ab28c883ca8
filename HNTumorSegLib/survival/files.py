"""What ``survival analyse`` and ``survival apply`` leave in a folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from HNTumorSegLib.errors import OutputError
from HNTumorSegLib.survival.analysis import EndpointReport
from HNTumorSegLib.survival.cohort_table import CohortTable
from HNTumorSegLib.survival.figures import (
    burden_figure,
    calibration_figure,
    curves_figure,
    p_words,
    ratios_figure,
    save,
    scores_figure,
)
from HNTumorSegLib.survival.fitting import software_versions
from HNTumorSegLib.survival.kaplan_meier import kaplan_meier, log_rank
from HNTumorSegLib.survival.models import MODEL_TITLES
from HNTumorSegLib.survival.nested import Plan
from HNTumorSegLib.survival.page import write_page
from HNTumorSegLib.survival.prognosis import Prognosis

PAGE = "survival.html"
RISK_COLUMNS = ("patient", "risk", "percentile", "group", "horizon", "unit", "event_free", "ttb_group", "notes")


def write_analysis(folder: Path, cohort: CohortTable, reports: Sequence[EndpointReport], plan: Plan) -> list[str]:
    """Tables, figures (PNG and SVG), the page, and what was found before the fit; the files' names."""
    names = []
    for sub in ("tables", "figures"):
        (folder / sub).mkdir()
    for report in reports:
        for name, table in report.tables.items():
            path = folder / "tables" / f"{report.slug}_{name}.csv"
            table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")
            names.append(f"tables/{path.name}")
        names += [f"figures/{name}" for name in _figures(folder / "figures", report)]
    software = software_versions()
    write_page(folder / PAGE, cohort, reports, plan, software)
    findings = {
        report.endpoint.name: [
            {"check": f.check, "columns": list(f.columns), "message": f.message, "advice": f.advice}
            for f in report.findings
        ]
        for report in reports
    }
    content = {"notes": cohort.notes, "findings": findings, "seed": plan.seed, "software": software}
    (folder / "checks.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return [PAGE, "checks.json", *names]


def _figures(folder: Path, report: EndpointReport) -> list[str]:
    y, unit, name = report.endpoint.y, report.unit, report.endpoint.name
    names = save(scores_figure(report.tables["summary"], name), folder, f"{report.slug}_c_index")
    groups = [(~report.high, "low risk"), (report.high, "high risk")]
    groups = [(part, label) for part, label in groups if part.any()]
    curves = [kaplan_meier(y[part], label) for part, label in groups]
    note = f"log-rank {p_words(log_rank(y, report.high)[1])}" if len(curves) == 2 else ""
    title = f"{name}: {MODEL_TITLES[report.shown_model]}, {report.shown_features}"
    figure = curves_figure(curves, unit, [label for _, label in groups], title, note)
    names += save(figure, folder, f"{report.slug}_risk_groups")
    tables = {MODEL_TITLES[model]: table for model, table in report.calibrations.items()}
    figure = calibration_figure(tables, round(report.evaluation.horizon), unit)
    names += save(figure, folder, f"{report.slug}_calibration")
    table = report.tables["univariate"]
    if np.isfinite(table["hazard_ratio"]).any():
        strongest = table.sort_values("p").head(25).sort_index()
        names += save(ratios_figure(strongest, f"{name}: each alone"), folder, f"{report.slug}_hazard_ratios")
    if report.burden is not None:
        names += save(burden_figure(report.burden, unit), folder, f"{report.slug}_ttb")
    return names


def write_prognoses(path: Path, prognoses: Sequence[Prognosis]) -> Path:
    """``risk.csv``: one row a patient; the columns ``contribution_NAME`` add up to ``risk``, empty where not used.

    Raises :class:`OutputError` when it cannot be written.
    """
    covariates = list(dict.fromkeys(c.covariate for p in prognoses for c in p.contributions))
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*RISK_COLUMNS, *(f"contribution_{c}" for c in covariates)])
            for p in prognoses:
                parts = {c.covariate: f"{c.log_hazard:.4f}" for c in p.contributions}
                burden = "" if p.burden is None else p.burden.group
                numbers = (
                    f"{p.risk:.4f}",
                    f"{p.percentile:.0f}",
                    p.group,
                    f"{p.horizon:g}",
                    p.unit,
                    f"{p.event_free:.4f}",
                )
                writer.writerow(
                    [p.patient, *numbers, burden, " ".join(p.notes), *(parts.get(c, "") for c in covariates)]
                )
    except OSError as error:
        raise OutputError(f"The table '{path}' cannot be written: {error.strerror}.") from error
    return path
