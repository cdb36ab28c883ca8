"""Total tumour burden and survival, as in Nikulin et al. 2023: low against high by a cut-off, and what changes when
the burden is delineated automatically."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from HNTumorSegLib.errors import SurvivalError
from HNTumorSegLib.survival.cutoff import GIVEN, MEDIAN, Cutoff, maximal_cutoff, median_cutoff
from HNTumorSegLib.survival.kaplan_meier import SurvivalCurve, kaplan_meier, log_rank
from HNTumorSegLib.survival.newton import fit_cox

LOW, HIGH = "low", "high"


@dataclass(frozen=True)
class HazardRatio:
    """A hazard ratio with its 95 % (Wald) interval and p."""

    value: float
    lower: float
    upper: float
    p: float

    @classmethod
    def from_coefficient(cls, coef: float, error: float) -> HazardRatio:
        """From a log hazard ratio and its standard error."""
        half = norm.ppf(0.975) * error
        p = 2 * norm.sf(abs(coef) / error)
        return cls(float(np.exp(coef)), float(np.exp(coef - half)), float(np.exp(coef + half)), float(p))


@dataclass(frozen=True)
class BurdenGroups:
    """Low and high burden of one delineation.

    Attributes:
        name: of the burden's column.
        high: (patients,) bool.
        ratio: univariate Cox, high against low; None where a group has no event.
        ratio_per_doubling: univariate Cox of log2 of the burden (of the burden plus the least positive one where
            some patients have none), which needs no cut-off.
        low_curve, high_curve: Kaplan-Meier.
        log_rank_p: of the two curves.
    """

    name: str
    high: NDArray
    ratio: HazardRatio | None
    ratio_per_doubling: HazardRatio | None
    low_curve: SurvivalCurve
    high_curve: SurvivalCurve
    log_rank_p: float


@dataclass(frozen=True)
class GroupChanges:
    """Manual against automatic: who changes group, and which of the two was right about those.

    A group is wrong, as in the paper's 2.6 and 2.7 %, for a patient called high who stayed free of the event, and for
    one called low who had it. Attributes are shares of all patients.
    """

    changed: float
    manual_wrong: float
    automatic_wrong: float
    n: int


@dataclass(frozen=True)
class BurdenAnalysis:
    """The cut-off, the groups of the manual (first) burden, and of the automatic one where there is one."""

    cutoff: Cutoff
    manual: BurdenGroups
    automatic: BurdenGroups | None = None
    changes: GroupChanges | None = None


def analyse_burden(
    burden: NDArray,
    y: NDArray,
    cutoff: str | float = MEDIAN,
    automatic: NDArray | None = None,
    names: tuple[str, str] = ("ttb_ml", "ttb_automatic_ml"),
) -> BurdenAnalysis:
    """The analysis of Nikulin et al. 2023.

    Args:
        burden: (patients,) ml, manual where there are two.
        y: outcomes.
        cutoff: ``median`` (of ``burden``), ``maximal``, or a number in ml. It serves both burdens, as in the paper.
        automatic: (patients,) ml.
        names: of the two columns.

    Raises:
        SurvivalError: the cut-off leaves a group without patients.
    """
    burden = np.asarray(burden, float)
    chosen = choose_cutoff(burden, y, cutoff)
    manual = burden_groups(burden, y, chosen, names[0])
    if automatic is None:
        return BurdenAnalysis(chosen, manual)
    found = burden_groups(np.asarray(automatic, float), y, chosen, names[1])
    return BurdenAnalysis(chosen, manual, found, group_changes(manual.high, found.high, y["event"]))


def choose_cutoff(burden: NDArray, y: NDArray, cutoff: str | float) -> Cutoff:
    """By one of the three ways."""
    if cutoff == MEDIAN:
        return median_cutoff(burden)
    if cutoff == "maximal":
        return maximal_cutoff(burden, y)
    return Cutoff(float(cutoff), GIVEN)


def burden_groups(burden: NDArray, y: NDArray, cutoff: Cutoff, name: str) -> BurdenGroups:
    """Split by the cut-off and compare."""
    high = cutoff.is_high(burden)
    if high.all() or not high.any():
        side = "above" if high.all() else "at or below"
        raise SurvivalError(
            f"The cut-off {cutoff.value:g} leaves all {len(high)} patients {side} it in '{name}' ({burden.min():g} to "
            f"{burden.max():g}). Choose one in between; check the unit (ml)."
        )
    ratio = None
    if y["event"][high].any() and y["event"][~high].any():
        ratio = _ratio(high.astype(float), y)
    positive = burden[burden > 0]
    offset = 0.0 if len(positive) == len(burden) else (positive.min() if len(positive) else 1.0)
    doubling = _ratio(np.log2(burden + offset), y)
    return BurdenGroups(
        name,
        high,
        ratio,
        doubling,
        kaplan_meier(y[~high], f"{LOW} {name}"),
        kaplan_meier(y[high], f"{HIGH} {name}"),
        log_rank(y, high)[1],
    )


def _ratio(values: NDArray, y: NDArray) -> HazardRatio | None:
    if np.ptp(values) == 0:
        return None
    fit = fit_cox(values[:, None], y)
    if not fit.converged[0]:
        return None
    return HazardRatio.from_coefficient(float(fit.coef[0, 0]), float(np.sqrt(fit.covariance[0, 0, 0])))


def group_changes(manual_high: NDArray, automatic_high: NDArray, event: NDArray) -> GroupChanges:
    """Compare two groupings of the same patients."""
    changed = manual_high != automatic_high
    return GroupChanges(
        float(changed.mean()),
        float((changed & (manual_high != event)).mean()),
        float((changed & (automatic_high != event)).mean()),
        len(changed),
    )
