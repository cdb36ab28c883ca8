"""A fitted model in a folder: a card to read, the numbers to compute with, and nothing that runs as code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from HNTumorSegLib.errors import OutputError, SurvivalError
from HNTumorSegLib.survival.cohort_table import numbers, shown
from HNTumorSegLib.survival.contributions import shapley
from HNTumorSegLib.survival.models import estimator_class
from HNTumorSegLib.survival.preparation import Preparation
from HNTumorSegLib.survival.prognosis import BurdenPosition, Contribution, Prognosis

CARD_FILE, NUMBERS_FILE = "card.json", "model.json"
KIND, FORMAT_VERSION = "survival model", 1


@dataclass(frozen=True)
class SurvivalCard:
    """What a survival model is, rests on, and was measured to do; no patient's data.

    Attributes:
        name: of the model.
        model: its kind, one of :data:`models.MODEL_TITLES`.
        time_column, event_column, unit: the outcome it predicts.
        n, n_events, follow_up: the training patients; the median follow-up by reverse Kaplan-Meier.
        covariates: what a new patient's table must have; ``used`` are those that selection kept.
        horizon: the time at which probabilities are given.
        risk_median: above it a patient is in the high group.
        risk_percentiles: 101 quantiles of the training patients' risk.
        curves: Kaplan-Meier of low and high, grouped when they were in a test fold.
        burden: ``column``, ``cutoff_ml``, ``how``, hazard ratio and curves of low and high TTB; or None.
        performance: by scheme; Harrell's C with its interval.
        warnings: what the checks before the fit found.
        numbers_sha256: of the file beside the card.
    """

    name: str
    model: str
    time_column: str
    event_column: str
    unit: str
    n: int
    n_events: int
    follow_up: float | None
    covariates: list[str]
    used: list[str]
    horizon: float
    risk_median: float
    risk_percentiles: list[float]
    curves: list[dict[str, Any]]
    burden: dict[str, Any] | None
    performance: dict[str, dict[str, float | None]]
    warnings: list[str]
    seed: int
    software: dict[str, str]
    intended_use: str = "Research: risk of patients like those it learnt from, measured and treated in the same way."
    limitations: str = (
        "Not for decisions about a patient. Learnt from one cohort; its figures hold for that cohort's centres. The "
        "event is modelled alone: other causes that prevent it count as censoring."
    )
    numbers_sha256: str = ""
    kind: str = KIND
    format_version: int = FORMAT_VERSION


@dataclass
class RiskModel:
    """A card, the preparation and the estimator; :meth:`prognoses` is all that a panel needs."""

    card: SurvivalCard
    preparation: Preparation
    estimator: Any

    def save(self, folder: Path) -> list[str]:
        """Write the two files; raises :class:`OutputError` when it cannot."""
        folder = Path(folder)
        content = {"preparation": self.preparation.to_dict(), "estimator": self.estimator.to_dict()}
        data = json.dumps(content, allow_nan=False).encode()
        fields = asdict(self.card) | {"numbers_sha256": hashlib.sha256(data).hexdigest()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / NUMBERS_FILE).write_bytes(data)
            text = json.dumps(fields, indent=2, ensure_ascii=False, allow_nan=False)
            (folder / CARD_FILE).write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"The model folder '{folder}' cannot be written: {error.strerror}.") from error
        return [CARD_FILE, NUMBERS_FILE]

    @classmethod
    def load(cls, folder: Path) -> RiskModel:
        """Read a model folder; raises :class:`SurvivalError` when it is none, or was changed."""
        folder = Path(folder)
        if not (folder / CARD_FILE).is_file():
            raise SurvivalError(
                f"'{folder}' is not a survival model: it has no {CARD_FILE}. Make one with 'survival fit'."
            )
        try:
            fields = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
            if fields.get("kind") != KIND or fields.get("format_version") != FORMAT_VERSION:
                raise SurvivalError(
                    f"'{folder}' holds another kind of model, or one of a newer version. Give a folder that "
                    "'survival fit' wrote."
                )
            card = SurvivalCard(**fields)
            data = (folder / NUMBERS_FILE).read_bytes()
            if hashlib.sha256(data).hexdigest() != card.numbers_sha256:
                raise SurvivalError(
                    f"'{folder / NUMBERS_FILE}' is not the one its card describes. Copy the model again."
                )
            content = json.loads(data)
            preparation = Preparation.from_dict(content["preparation"])
            estimator = estimator_class(card.model).from_dict(content["estimator"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SurvivalError(f"The survival model '{folder}' cannot be read: {error}. Copy it again.") from error
        return cls(card, preparation, estimator)

    def prognoses(self, frame: pd.DataFrame, times: Sequence[float] | None = None) -> list[Prognosis]:
        """One prognosis a row.

        Args:
            frame: indexed by patient, with the card's covariates as columns (others are ignored).
            times: of the curves; by default 50 from 0 to twice the horizon, within the follow-up of the training.

        Raises:
            SurvivalError: a covariate is missing as a column, or is text where numbers are expected.
        """
        columns = self._covariates(frame)
        z = self.preparation.transform(columns)
        at_mean = float(self.estimator.predict(np.zeros((1, z.shape[1])))[0])
        raw = self.estimator.predict(z)
        grid = self._times() if times is None else np.asarray(times, float)
        survival = self.estimator.predict_survival(z, grid)
        event_free = self.estimator.predict_survival(z, [self.card.horizon])[:, 0]
        percentile = (
            100 * np.searchsorted(self.card.risk_percentiles, raw, side="right") / len(self.card.risk_percentiles)
        )
        parts = self._contributions(columns, z)
        unknown = self.preparation.encoder.unknown(columns)
        return [
            Prognosis(
                patient=str(patient),
                risk=float(raw[k] - at_mean),
                percentile=float(min(percentile[k], 100.0)),
                group="high" if raw[k] > self.card.risk_median else "low",
                horizon=self.card.horizon,
                unit=self.card.unit,
                event_free=float(event_free[k]),
                times=grid,
                survival=survival[k],
                contributions=parts[k],
                burden=self._burden(frame, k),
                notes=_notes(parts[k], unknown),
            )
            for k, patient in enumerate(columns.index)
        ]

    def _times(self) -> NDArray:
        last = 2 * self.card.horizon
        if self.card.curves:
            last = min(last, max(curve["times"][-1] for curve in self.card.curves))
        return np.linspace(0, last, 50)

    def _covariates(self, frame: pd.DataFrame) -> pd.DataFrame:
        lacking = [c for c in self.preparation.encoder.columns if c not in frame.columns]
        if lacking:
            raise SurvivalError(
                f"The table has no column '{lacking[0]}', which the model was fitted with"
                f"{f' (nor {len(lacking) - 1} others)' if len(lacking) > 1 else ''}. Add it; single cells may be empty."
            )
        found = {}
        for name in self.preparation.encoder.columns:
            if name in self.preparation.encoder.categories:
                column = frame[name].astype(object)
                found[name] = column.where(column.notna(), None).map(lambda v: v if v is None else str(v))
            else:
                found[name] = numbers(frame, name, "numbers")
                infinite = np.isinf(found[name])
                if infinite.any():
                    raise SurvivalError(f"'{name}' is infinite for {shown(list(frame.index[infinite]))}.")
        return pd.DataFrame(found, index=frame.index)

    def _contributions(self, columns: pd.DataFrame, z: NDArray) -> list[tuple[Contribution, ...]]:
        preparation, encoder = self.preparation, self.preparation.encoder
        sources = list(dict.fromkeys(preparation.sources))
        groups = [[k for k, s in enumerate(preparation.sources) if s == source] for source in sources]
        values = shapley(self.estimator.predict, z, groups, self.card.seed)
        encoded = encoder.transform(columns)
        complete = preparation.imputer.transform(encoded)
        rows = []
        for k in range(len(columns)):
            parts = []
            for source, amount in zip(sources, values[k], strict=True):
                where = [i for i, s in enumerate(encoder.source) if s == source]
                value = columns[source].iloc[k]
                missing = bool(~np.isfinite(encoded[k, where]).all())
                outside = not missing and bool(
                    np.any(encoded[k, where] < preparation.imputer.low_[where])
                    or np.any(encoded[k, where] > preparation.imputer.high_[where])
                )
                given = None if pd.isna(value) else (str(value) if source in encoder.categories else float(value))
                used = f"(filled in: {_filled(encoder.names, where, complete[k])})" if missing else _value(given)
                parts.append(Contribution(source, given, used, float(amount), missing, outside))
            rows.append(tuple(sorted(parts, key=lambda part: -abs(part.log_hazard))))
        return rows

    def _burden(self, frame: pd.DataFrame, k: int) -> BurdenPosition | None:
        known = self.card.burden
        if known is None or known["column"] not in frame.columns or pd.isna(frame[known["column"]].iloc[k]):
            return None
        value = float(frame[known["column"]].iloc[k])
        return BurdenPosition(known["column"], value, known["cutoff_ml"], known["how"])


def _value(value: float | str | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _filled(names: list[str], where: list[int], complete: NDArray) -> str:
    if len(where) == 1 and "=" not in names[where[0]]:
        return f"{complete[where[0]]:.3g}"
    return "as the others suggest"


def _notes(parts: tuple[Contribution, ...], unknown: dict[str, list[str]]) -> tuple[str, ...]:
    notes = []
    filled = [p.covariate for p in parts if p.filled_in and p.value is None]
    if filled:
        notes.append(f"Missing and filled in with what the other covariates suggest: {', '.join(filled)}.")
    for part in parts:
        if part.filled_in and part.value is not None and part.covariate in unknown:
            notes.append(f"The model does not know {part.covariate} '{part.value}'; it was treated as missing.")
        if part.outside:
            notes.append(f"{part.covariate} {part.used} lies outside what the model has seen: do not rely on this.")
    return tuple(notes)
