"""One patient at a time: what a model asks for, what the lesions answer, and what a person types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from HNTumorSegLib.errors import SurvivalError
from HNTumorSegLib.lesions.codes import NODE, PRIMARY
from HNTumorSegLib.measures.table import TOTAL, Measurements
from HNTumorSegLib.survival.prognosis import Prognosis
from HNTumorSegLib.survival.risk_model import RiskModel


@dataclass(frozen=True)
class Question:
    """A covariate that the lesions do not answer.

    Attributes:
        covariate: its name in the cohort's table.
        categories: the words that the model knows, sorted; empty where it takes a number.
        low, high: the range of the training patients, where it takes a number; in the cohort's own unit.
    """

    covariate: str
    categories: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


def from_lesions(model: RiskModel, measurements: Measurements) -> dict[str, float | None]:
    """Covariates that the lesion table holds, by their names in ``predictions.csv``; volumes in ml, SUV in g/ml.

    The column of the card's burden is the total tumour burden, whatever it is called.
    """
    counts = {kind: sum(row.kind == kind for row in measurements.rows) for kind in (PRIMARY, NODE)}
    values: dict[str, float | None] = {
        "ttb_ml": measurements.ttb_ml,
        "primary_ml": measurements.total(PRIMARY).volume_ml,
        "node_ml": measurements.total(NODE).volume_ml,
        "primaries": float(counts[PRIMARY]),
        "nodes": float(counts[NODE]),
        "suv_max": measurements.total(TOTAL).suv_max,
    }
    if model.card.burden is not None:
        values[model.card.burden["column"]] = measurements.ttb_ml
    return values


def questions(model: RiskModel, answered: Mapping[str, float | None]) -> list[Question]:
    """What the model uses beyond what is answered already, in the order of its card."""
    encoder, imputer = model.preparation.encoder, model.preparation.imputer
    asked = []
    for name in model.card.used:
        if name in answered:
            continue
        if name in encoder.categories:
            asked.append(Question(name, tuple(sorted(encoder.categories[name]))))
        else:
            place = encoder.source.index(name)
            asked.append(Question(name, (), float(imputer.low_[place]), float(imputer.high_[place])))
    return asked


def prognosis_of(
    model: RiskModel, measurements: Measurements, typed: Mapping[str, str | float | None], patient: str = "patient"
) -> Prognosis:
    """What the model says about a patient whose lesions were measured.

    Args:
        model: a survival model.
        measurements: of the patient's lesions.
        typed: answers to :func:`questions`, by covariate; what is left out or empty counts as missing and is filled in.
        patient: a name for the result.

    Raises:
        SurvivalError: there is no lesion, an answer is no number, or nobody asked for it.
    """
    if not measurements.rows or measurements.ttb_ml <= 0:
        raise SurvivalError(
            "There is no lesion, so there is no tumour burden to compare with the cohort. Add the lesions first."
        )
    values: dict[str, float | str | None] = dict(from_lesions(model, measurements))
    asked = {question.covariate: question for question in questions(model, values)}
    strange = [name for name in typed if name not in asked]
    if strange:
        wanted = f"asks for {', '.join(asked)}" if asked else "asks for nothing but the lesions"
        raise SurvivalError(f"'{strange[0]}' is not asked for: this model {wanted}.")
    values |= {name: _answer(asked[name], answer) for name, answer in typed.items()}
    columns = [*dict.fromkeys([*model.card.covariates, *values])]
    frame = pd.DataFrame({name: pd.Series([values.get(name)], dtype=object) for name in columns})
    frame.index = pd.Index([patient], name="patient")
    return model.prognoses(frame)[0]


def _answer(question: Question, answer: str | float | None) -> float | str | None:
    text = "" if answer is None else str(answer).strip()
    if not text:
        return None
    if question.categories:
        return text
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SurvivalError(f"'{question.covariate}' must be a number, but is '{text}'. Type digits only.")
    return value
