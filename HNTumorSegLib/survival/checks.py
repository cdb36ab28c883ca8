"""Checks before a fit: what is wrong with a cohort for a Cox model, and what to do about it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from HNTumorSegLib.survival.cohort_table import shown
from HNTumorSegLib.survival.encoding import Encoder
from HNTumorSegLib.survival.imputation import ChainedImputer
from HNTumorSegLib.survival.newton import fit_cox
from HNTumorSegLib.survival.selection import spearman_matrix

EVENTS_PER_COVARIATE = 10
MOSTLY_MISSING = 0.4
HIGH_CORRELATION = 0.95
HIGH_INFLATION = 10.0
LOW_P = 0.05


@dataclass(frozen=True)
class Finding:
    """One thing to know before believing a fit: ``check`` names the rule, ``columns`` whom it concerns."""

    check: str
    columns: tuple[str, ...]
    message: str
    advice: str


def check_cohort(
    frame: pd.DataFrame, y: NDArray, centre: NDArray | None = None, event_column: str = "event"
) -> list[Finding]:
    """All checks, in the order of what stops a fit first.

    Args:
        frame: covariates, a row a patient.
        y: outcomes.
        centre: (patients,) labels; for what is missing in one centre only.
        event_column: its name, for the messages.
    """
    encoder = Encoder.learn(frame)
    encoded = encoder.transform(frame)
    names = encoder.names
    findings = [*few_events(y, len(names), event_column), *constant_columns(frame), *missing_values(frame)]
    if centre is not None:
        findings += missing_by_centre(frame, centre)
    if not names:
        return findings
    complete = ChainedImputer().fit(encoded).transform(encoded)
    varied = np.ptp(complete, axis=0) > 1e-8
    complete, names = complete[:, varied], [n for n, v in zip(names, varied, strict=True) if v]
    findings += collinear_columns(complete, names)
    findings += separation(encoded[:, varied], y, names)
    unfit = {name for f in findings if f.check in ("collinear", "separation") for name in f.columns}
    sound = [k for k, name in enumerate(names) if name not in unfit]
    if 0 < len(sound) < y["event"].sum() / 2:
        findings += proportional_hazards(complete[:, sound], y, [names[k] for k in sound])
    return findings


def few_events(y: NDArray, n_columns: int, event_column: str = "event") -> list[Finding]:
    """Fewer than ten events for each coded column (Peduzzi et al. 1995)."""
    n_events = int(y["event"].sum())
    if n_events >= EVENTS_PER_COVARIATE * n_columns:
        return []
    return [
        Finding(
            "few events",
            (event_column,),
            f"{n_events} events for {n_columns} covariates ({n_events / max(n_columns, 1):.1f} each; "
            f"{EVENTS_PER_COVARIATE} are wanted).",
            f"Estimates will be unstable and too optimistic: use at most {max(1, n_events // EVENTS_PER_COVARIATE)} "
            "covariates, or rely on the penalised selection and the nested figures only.",
        )
    ]


def constant_columns(frame: pd.DataFrame) -> list[Finding]:
    """Columns with one value."""
    constant = [c for c in frame.columns if frame[c].dropna().nunique() <= 1]
    if not constant:
        return []
    text = f"The same for all patients: {', '.join(constant)}."
    return [Finding("constant", tuple(constant), text, "They say nothing and are left out.")]


def missing_values(frame: pd.DataFrame) -> list[Finding]:
    """Columns that are mostly empty."""
    share = frame.isna().mean()
    found = share[share > MOSTLY_MISSING]
    return [
        Finding(
            "mostly missing",
            (name,),
            f"'{name}' is missing in {value:.0%} of the patients.",
            "What is filled in rests on few patients and on the other columns; leave it out, or report with and "
            "without it.",
        )
        for name, value in found.items()
    ]


def missing_by_centre(frame: pd.DataFrame, centre: NDArray) -> list[Finding]:
    """Columns that a left-out centre lacks though the others know them, or that no other centre knows."""
    findings = []
    for name in frame.columns:
        known = frame[name].notna().to_numpy()
        for left_out in np.unique(centre):
            inside = centre == left_out
            share_in, share_out = known[inside].mean(), known[~inside].mean()
            if share_out == 1 and share_in < 1:
                patients = shown(list(frame.index[inside & ~known]))
                text = f"'{name}' is complete elsewhere, but missing in centre {left_out} ({patients})."
                advice = "A model trained elsewhere never saw it missing; what is filled in there is a guess."
            elif share_out == 0 and share_in > 0:
                text = f"'{name}' is known in centre {left_out} only."
                advice = "When that centre is left out the column is lost; leave the column out of the comparison."
            elif share_in == 0 and share_out > 0:
                text = f"'{name}' is missing for every patient of centre {left_out}."
                advice = "It is filled in there from the other columns alone; report with and without it."
            else:
                continue
            findings.append(Finding("missing in test only", (name,), text, advice))
    return findings


def collinear_columns(x: NDArray, names: list[str]) -> list[Finding]:
    """Pairs that correlate almost perfectly, and columns that the others together explain (variance inflation)."""
    findings = []
    found = np.abs(spearman_matrix(x))
    first, second = np.nonzero(np.triu(found > HIGH_CORRELATION, 1))
    for a, b in zip(first, second, strict=True):
        findings.append(
            Finding(
                "collinear",
                (names[a], names[b]),
                f"'{names[a]}' and '{names[b]}' say the same (rank correlation {found[a, b]:.2f}).",
                "Keep the one that is easier to measure; the filter at 0.80 keeps one of them.",
            )
        )
    if 2 <= x.shape[1] < len(x) / 2:
        inflation = variance_inflation(x)
        high = [
            k for k in np.flatnonzero(inflation > HIGH_INFLATION) if not any(names[k] in f.columns for f in findings)
        ]
        if high:
            text = ", ".join(f"{names[k]} ({min(inflation[k], 999):.0f})" for k in high)
            findings.append(
                Finding(
                    "collinear",
                    tuple(names[k] for k in high),
                    f"The other covariates together explain (variance inflation above {HIGH_INFLATION:.0f}): {text}.",
                    "Their coefficients cannot be told apart; take one of them out.",
                )
            )
    return findings


def variance_inflation(x: NDArray) -> NDArray:
    """1 / (1 - R2) of each column regressed on the others: the diagonal of the inverse correlation matrix."""
    correlation = np.corrcoef(x, rowvar=False)
    return np.clip(np.diag(np.linalg.pinv(correlation + 1e-10 * np.eye(len(correlation)))), 1.0, None)


def separation(encoded: NDArray, y: NDArray, names: list[str]) -> list[Finding]:
    """Columns along which the partial likelihood rises without end: no event on one side."""
    findings = []
    for k, name in enumerate(names):
        known = np.isfinite(encoded[:, k])
        values, outcomes = encoded[known, k], y[known]
        if not outcomes["event"].any() or np.ptp(values) == 0:
            continue
        fit = fit_cox(values[:, None], outcomes)
        if fit.converged[0] and abs(fit.coef[0, 0]) * values.std() < 8 and fit.covariance[0, 0, 0] * values.var() < 100:
            continue
        findings.append(
            Finding(
                "separation",
                (name,),
                f"'{name}' separates: all events lie on one side of it, so its hazard ratio has no finite value.",
                "Merge the category with another one, leave it out, or use the penalised model.",
            )
        )
    return findings


def proportional_hazards(x: NDArray, y: NDArray, names: list[str]) -> list[Finding]:
    """Covariates whose scaled Schoenfeld residuals change with the rank of time (Grambsch and Therneau 1994)."""
    table = schoenfeld_test(x, y, names)
    if table is None:
        return []
    # By chance one in twenty is below 0.05: judged together (Holm).
    ordered = table.sort_values("p")
    steps = np.maximum.accumulate(ordered["p"].to_numpy() * np.arange(len(ordered), 0, -1))
    low = ordered.index[steps < LOW_P]
    return [
        Finding(
            "proportional hazards",
            (name,),
            f"The effect of '{name}' changes with time (Schoenfeld p = {table.loc[name, 'p']:.2g}).",
            "Its hazard ratio is an average over the follow-up: stratify by it, or give it an effect that depends on "
            "time.",
        )
        for name in low
    ]


def schoenfeld_test(x: NDArray, y: NDArray, names: list[str]) -> pd.DataFrame | None:
    """Chi-squared (1) and p for each covariate of the joint Cox model; None where the model cannot be fitted."""
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError
    from lifelines.statistics import proportional_hazard_test

    frame = pd.DataFrame(x, columns=list(names))
    frame["__time"], frame["__event"] = y["time"], y["event"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they say, the checks above say with advice
            fitted = CoxPHFitter().fit(frame, "__time", "__event")
            found = proportional_hazard_test(fitted, frame, time_transform="rank").summary
    except (ConvergenceError, np.linalg.LinAlgError, ValueError):
        return None
    return found[["test_statistic", "p"]].rename(columns={"test_statistic": "chi2"})
