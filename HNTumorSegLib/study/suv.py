"""SUVbw from a DICOM PET series, or a refusal that says what is missing and how to give it by hand.

Rules: QIBA FDG-PET/CT profile, vendor-neutral pseudo-code for SUV. SUVbw (g/ml) = activity concentration (Bq/ml) *
weight (g) / dose (Bq), with the dose decayed to the moment to which the images are decay corrected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydicom import Dataset

from HNTumorSegLib.errors import SuvError
from HNTumorSegLib.study.dicom_series import number_of, private_value, text_of
from HNTumorSegLib.study.study import Provenance
from HNTumorSegLib.study.suv_times import decay_times

F18_HALF_LIFE_S = 6586.2
"""Half-life of fluorine-18 (109.77 min); scanners write 6586 to 6588."""
HALF_LIFE_TOLERANCE = 0.01
_F18_CODES = {"C-111A1", "77004003"}
MIN_DOSE_BQ = 1e6
"""No FDG patient gets less than 1 MBq: such a number is in MBq or kBq."""
WEIGHT_RANGE_KG = (1.0, 500.0)
_BY_FACTOR = "or the factor from the stored units to SUVbw with --suv-factor"


@dataclass(frozen=True)
class SuvByHand:
    """What the user gives in place of header values: weight, injected dose, or the whole factor."""

    weight_kg: float | None = None
    dose_bq: float | None = None
    suv_factor: float | None = None

    def __post_init__(self) -> None:
        for name, value in (
            ("--weight-kg", self.weight_kg),
            ("--dose-bq", self.dose_bq),
            ("--suv-factor", self.suv_factor),
        ):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise SuvError(f"{name} must be a number above 0, not {value}.")
        if self.weight_kg is not None and not WEIGHT_RANGE_KG[0] <= self.weight_kg <= WEIGHT_RANGE_KG[1]:
            raise SuvError(
                f"--weight-kg {self.weight_kg:g} is not a patient's weight in kg; give it between 1 and 500."
            )
        if self.dose_bq is not None and self.dose_bq < MIN_DOSE_BQ:
            raise SuvError(f"--dose-bq {self.dose_bq:g} is too small for a dose in Bq (370 MBq is 370e6).")


@dataclass
class SuvScale:
    """Factor from each slice's rescaled values to SUVbw (in the order of the headers), its origin and warnings."""

    factors: list[float]
    provenance: Provenance
    warnings: list[str] = field(default_factory=list)


def suv_scale(headers: Sequence[Dataset], by_hand: SuvByHand | None = None) -> SuvScale:
    """The factors that turn a PET series' rescaled values into SUVbw.

    Raises:
        SuvError: units that are not SUVbw and cannot be turned into it, or a header value that is missing or not to be
            believed; the message names the tag and the option that replaces it.
    """
    by_hand = by_hand or SuvByHand()
    units = _one_value(headers, "Units")
    warnings = _correction_warnings(headers)
    if by_hand.suv_factor is not None:
        scale = _factor_by_hand(headers, units, by_hand)
    elif units == "GML":
        scale = _already_suv(headers, by_hand)
    elif units == "CNTS":
        scale = _from_counts(headers, by_hand)
    elif units == "BQML":
        scale = _from_activity(headers, by_hand, [1.0] * len(headers), "BQML", {})
    else:
        known = f"has Units (0054,1001) '{units}'" if units else "has no Units (0054,1001)"
        raise SuvError(
            f"The PET {known}; SUVbw can be computed from BQML, CNTS (Philips) and GML. Give the factor from stored "
            "units to SUVbw with --suv-factor."
        )
    scale.warnings = warnings + scale.warnings
    return scale


def _one_value(headers: Sequence[Dataset], keyword: str) -> str:
    values = sorted({text_of(header, keyword).upper() for header in headers})
    if len(values) > 1:
        raise SuvError(
            f"The PET's slices differ in {keyword} ({', '.join(v or 'none' for v in values)}): series are mixed."
        )
    return values[0]


def _correction_warnings(headers: Sequence[Dataset]) -> list[str]:
    corrected = headers[0].get("CorrectedImage")
    if not corrected:
        return []
    done = [corrected] if isinstance(corrected, str) else list(corrected)
    missing = [words for code, words in (("ATTN", "attenuation"), ("DECY", "decay")) if code not in done]
    # Scanners that give SUV themselves do not always list the decay.
    if text_of(headers[0], "Units").upper() == "GML":
        missing = [words for words in missing if words != "decay"]
    if not missing:
        return []
    return [
        f"The PET says that it is not corrected for {' and '.join(missing)} (0028,0051): its SUV is not to be trusted."
    ]


def _factor_by_hand(headers: Sequence[Dataset], units: str, by_hand: SuvByHand) -> SuvScale:
    factor = float(by_hand.suv_factor)
    if units == "GML" and _suv_type(headers) == "BW" and factor != 1:
        raise SuvError(
            "The PET is SUVbw already (Units GML), so --suv-factor would scale it twice. Leave the option out."
        )
    provenance = Provenance(
        "dicom",
        units or "unknown",
        f"rescaled values x {factor:g}, given by the user",
        factor,
        {"--suv-factor": f"{factor:g}"},
    )
    return SuvScale([factor] * len(headers), provenance)


def _suv_type(headers: Sequence[Dataset]) -> str:
    """DICOM: SUV Type missing means body weight."""
    return _one_value(headers, "SUVType") or "BW"


def _already_suv(headers: Sequence[Dataset], by_hand: SuvByHand) -> SuvScale:
    kind = _suv_type(headers)
    if kind != "BW":
        raise SuvError(
            f"The PET is SUV by {kind} (SUVType 0054,1006), not by body weight. Export it in Bq/ml or as SUVbw, "
            "or give the factor to SUVbw with --suv-factor."
        )
    warnings = []
    if by_hand.weight_kg is not None or by_hand.dose_bq is not None:
        warnings.append("The PET is SUVbw already (Units GML): the weight and dose given by hand were not used.")
    tags = {"Units": "GML", "SUVType": text_of(headers[0], "SUVType") or "(missing: BW)"}
    return SuvScale(
        [1.0] * len(headers), Provenance("dicom", "GML", "rescaled values are SUVbw already", 1.0, tags), warnings
    )


def _from_counts(headers: Sequence[Dataset], by_hand: SuvByHand) -> SuvScale:
    """Philips: (7053,1000) turns rescaled counts into SUVbw, (7053,1009) into Bq/ml."""
    suv = _philips_factors(headers, 0x00)
    activity = _philips_factors(headers, 0x09)
    given = by_hand.weight_kg is not None or by_hand.dose_bq is not None
    if activity and (given or not suv):
        tags = {"(7053,1009) Philips activity factor": _span(activity)}
        return _from_activity(headers, by_hand, activity, "CNTS", tags)
    if not suv:
        raise SuvError(
            "The PET is in counts (Units CNTS) and has neither Philips' SUV factor (7053,1000) nor its "
            "activity factor "
            "(7053,1009); anonymisation may have removed them. Give the factor from counts to SUVbw with "
            "--suv-factor."
        )
    warnings = (
        ["The weight and dose given by hand were not used: the PET has only Philips' SUV factor."] if given else []
    )
    tags = {"Units": "CNTS", "(7053,1000) Philips SUV factor": _span(suv)}
    method = f"rescaled counts x Philips SUV factor (7053,1000) {_span(suv)}"
    return SuvScale(suv, Provenance("dicom", "CNTS", method, suv[0], tags), warnings)


def _philips_factors(headers: Sequence[Dataset], offset: int) -> list[float]:
    """The private factor of every slice; empty unless all have one above 0."""
    factors = []
    for header in headers:
        value = private_value(header, 0x7053, "Philips PET Private Group", offset)
        try:
            factors.append(float(value))
        except (TypeError, ValueError):
            return []
    return factors if all(math.isfinite(x) and x > 0 for x in factors) else []


def _from_activity(
    headers: Sequence[Dataset], by_hand: SuvByHand, to_bqml: Sequence[float], units: str, tags: dict[str, str]
) -> SuvScale:
    """Bq/ml (after ``to_bqml``) to SUVbw by weight, dose and, where needed, decay."""
    warnings: list[str] = []
    decay = _one_value(headers, "DecayCorrection")
    tags = {"Units": units, **tags, "DecayCorrection": decay or "missing"}
    if decay not in ("START", "ADMIN"):
        what = "is not decay corrected (DecayCorrection NONE)" if decay == "NONE" else f"has DecayCorrection '{decay}'"
        raise SuvError(
            f"The PET {what}; (0054,1102) must be START or ADMIN. Reconstruct it with decay correction, or give the "
            "factor from stored units to SUVbw with --suv-factor."
        )
    weight_kg = _weight_kg(headers[0], by_hand, tags)
    dose_bq = _dose_bq(headers[0], by_hand, tags, warnings)
    if decay == "START":
        half_life_s = _half_life_s(headers[0], tags, warnings)
        times = decay_times(headers, half_life_s)
        warnings += times.warnings
        tags |= times.tags | {"DecayReference": times.reference}
        decayed_bq = dose_bq * 2 ** (-times.delay_s / half_life_s)
        how = f"dose decayed over {times.delay_s:.0f} s to the {times.reference}"
    else:
        decayed_bq, how = dose_bq, "dose at injection (images are decay corrected to it)"
    factor = weight_kg * 1000 / decayed_bq
    counts = "" if units == "BQML" else f" x activity factor {_span(to_bqml)}"
    method = f"Bq/ml{counts} x weight {weight_kg:g} kg / {how} = {decayed_bq:.6g} Bq"
    provenance = Provenance("dicom", units, method, factor * to_bqml[0], tags)
    return SuvScale([factor * x for x in to_bqml], provenance, warnings)


def _weight_kg(header: Dataset, by_hand: SuvByHand, tags: dict[str, str]) -> float:
    if by_hand.weight_kg is not None:
        tags["PatientWeight"] = f"{by_hand.weight_kg:g} kg (--weight-kg)"
        return by_hand.weight_kg
    weight = number_of(header, "PatientWeight") or 0.0
    low, high = WEIGHT_RANGE_KG
    if not low <= weight <= high:
        what = f"is {weight:g} kg" if weight else "is missing or zero"
        raise SuvError(f"The patient's weight (0010,1030) {what}. Give it with --weight-kg, {_BY_FACTOR}.")
    tags["PatientWeight"] = f"{weight:g} kg"
    return weight


def _dose_bq(header: Dataset, by_hand: SuvByHand, tags: dict[str, str], warnings: list[str]) -> float:
    if by_hand.dose_bq is not None:
        tags["RadionuclideTotalDose"] = f"{by_hand.dose_bq:g} Bq (--dose-bq)"
        return by_hand.dose_bq
    items = header.get("RadiopharmaceuticalInformationSequence") or []
    dose = (number_of(items[0], "RadionuclideTotalDose") or 0.0) if items else 0.0
    if dose <= 0:
        raise SuvError(
            "The injected dose (Radionuclide Total Dose 0018,1074) is missing or zero. Give it with --dose-bq, "
            f"{_BY_FACTOR}."
        )
    if dose < MIN_DOSE_BQ:
        raise SuvError(
            f"The injected dose (Radionuclide Total Dose 0018,1074) is {dose:g}, too small for Bq; it was probably "
            f"written in {'MBq' if dose < 1e4 else 'kBq'}. Give the dose in Bq with --dose-bq, {_BY_FACTOR}."
        )
    if not 1e7 <= dose <= 2e9:
        warnings.append(f"The injected dose is {dose / 1e6:.4g} MBq, unusual for FDG. Check it.")
    if len(items) > 1:
        warnings.append(f"The PET lists {len(items)} radiopharmaceuticals; the first one's dose was used.")
    tags["RadionuclideTotalDose"] = f"{dose:g} Bq"
    return dose


def _half_life_s(header: Dataset, tags: dict[str, str], warnings: list[str]) -> float:
    items = header.get("RadiopharmaceuticalInformationSequence") or [Dataset()]
    half_life_s = number_of(items[0], "RadionuclideHalfLife") or 0.0
    nuclide = _other_nuclide(items[0])
    if half_life_s <= 0:
        if nuclide:
            raise SuvError(
                f"The PET's radionuclide is {nuclide}, not F-18, and its half-life (0018,1075) is missing. "
                "FDG is F-18; "
                "give the factor from stored units to SUVbw with --suv-factor."
            )
        warnings.append(f"The half-life (0018,1075) is missing: F-18 ({F18_HALF_LIFE_S} s) was taken.")
        tags["RadionuclideHalfLife"] = f"{F18_HALF_LIFE_S} s (missing: F-18)"
        return F18_HALF_LIFE_S
    if abs(half_life_s / F18_HALF_LIFE_S - 1) > HALF_LIFE_TOLERANCE:
        raise SuvError(
            f"The half-life (0018,1075) is {half_life_s:g} s{f' ({nuclide})' if nuclide else ''}; F-18 has "
            f"{F18_HALF_LIFE_S} s, so this is not FDG or the header is wrong. Give the factor from stored "
            "units to SUVbw "
            "with --suv-factor."
        )
    tags["RadionuclideHalfLife"] = f"{half_life_s:g} s"
    return half_life_s


def _other_nuclide(item: Dataset) -> str:
    """Name of the radionuclide where it is coded and is not fluorine-18."""
    codes = item.get("RadionuclideCodeSequence") or []
    if not codes:
        return ""
    value, meaning = text_of(codes[0], "CodeValue"), text_of(codes[0], "CodeMeaning")
    is_f18 = value in _F18_CODES or "18" in meaning or not (value or meaning)
    return "" if is_f18 else meaning or value


def _span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.8g}" if math.isclose(low, high, rel_tol=1e-9) else f"{low:.8g} to {high:.8g}"
