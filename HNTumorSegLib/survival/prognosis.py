"""What a model says about one patient, with what it rests on; the form that the command line and a panel show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FOR_RESEARCH = "For research only: not to be used for decisions about a patient."


@dataclass(frozen=True)
class Contribution:
    """One covariate's part of the log hazard ratio.

    Attributes:
        covariate: its name in the table.
        value: as given; None where it was missing.
        used: what the model took, in words: the value, or what was filled in.
        log_hazard: above 0 raises the risk; all contributions add up to the risk less that of a patient at the mean.
        filled_in: whether it was missing (or a category that training did not have).
        outside: whether it lies outside what the training patients had.
    """

    covariate: str
    value: float | str | None
    used: str
    log_hazard: float
    filled_in: bool
    outside: bool


@dataclass(frozen=True)
class BurdenPosition:
    """A patient's total tumour burden against the cohort's cut-off, ml."""

    column: str
    value_ml: float
    cutoff_ml: float
    how: str

    @property
    def group(self) -> str:
        """``low`` or ``high``."""
        return "high" if self.value_ml > self.cutoff_ml else "low"


@dataclass(frozen=True)
class Prognosis:
    """One patient.

    Attributes:
        patient: as in the table.
        risk: the model's risk (log hazard ratio) less that of a patient at the training mean.
        percentile: share of training patients with a lower risk, 0 to 100.
        group: ``low`` or ``high``, by the training patients' median.
        horizon, unit: the time of ``event_free``.
        event_free: probability to be free of the event at the horizon.
        times, survival: the patient's curve.
        contributions: largest first.
        burden: against the cut-off, where the model has one and the table the column.
        notes: what to be careful about, in sentences.
    """

    patient: str
    risk: float
    percentile: float
    group: str
    horizon: float
    unit: str
    event_free: float
    times: NDArray
    survival: NDArray
    contributions: tuple[Contribution, ...]
    burden: BurdenPosition | None
    notes: tuple[str, ...]

    def words(self) -> list[str]:
        """Plain sentences: the risk, what it rests on, what was missing, and what it is for."""
        sentences = [
            f"Predicted {self.event_free:.0%} free of the event at {self.horizon:g} {self.unit}: {self.group} risk, "
            f"higher than {self.percentile:.0f} % of the patients the model learnt from."
        ]
        strong = [c for c in self.contributions if abs(c.log_hazard) >= 0.05][:4]
        if strong:
            parts = [
                f"{c.covariate} {c.used} {'raises' if c.log_hazard > 0 else 'lowers'} the hazard "
                f"{np.exp(abs(c.log_hazard)):.2f} times"
                for c in strong
            ]
            sentences.append(f"It rests on: {'; '.join(parts)}.")
        if self.burden is not None:
            above = "above" if self.burden.group == "high" else "not above"
            sentences.append(
                f"TTB {self.burden.value_ml:.1f} ml is {above} the cohort's cut-off of {self.burden.cutoff_ml:.1f} ml "
                f"({self.burden.how})."
            )
        return [*sentences, *self.notes, FOR_RESEARCH]
