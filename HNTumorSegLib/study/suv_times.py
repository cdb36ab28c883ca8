"""When was the tracer injected, and to which moment are the images decay corrected?

QIBA's vendor-neutral pseudo-code for SUV (FDG-PET/CT profile): the series time is the moment of decay correction
unless it is later than the acquisition (a series made afterwards); then it is GE's private scan time, or follows from
the frame's own numbers, or is the earliest acquisition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydicom import Dataset

from HNTumorSegLib.errors import SuvError
from HNTumorSegLib.study.dicom_series import number_of, private_value, text_of

MAX_DELAY_S = 6 * 3600.0
"""Injection to scan: three half-lives of F-18; beyond it a clock or a date is wrong."""
_DAY = timedelta(days=1)
_ROUNDING_S = 1.0
_SPREAD_S = 5.0
"""Back-computed times of all slices must agree within this, or they are not what they seem."""
_TOLD_APART_S = 60.0
"""A minute of decay is 0.6 percent of SUV; smaller disagreements are not worth a warning."""


@dataclass
class DecayTimes:
    """Seconds from injection to the decay correction's moment, how it was found (tags as text) and warnings."""

    delay_s: float
    reference: str
    tags: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def decay_times(headers: Sequence[Dataset], half_life_s: float) -> DecayTimes:
    """Time between injection and decay correction of a series with DecayCorrection START.

    Raises:
        SuvError: a time is missing, or the delay is negative or above :data:`MAX_DELAY_S`.
    """
    warnings: list[str] = []
    reference, name, tags = _reference_time(headers, half_life_s, warnings)
    delay_s, injection_tags = _delay(headers[0], reference, warnings)
    tags = {**injection_tags, **tags}
    if not 1200 <= delay_s <= 4 * 3600:
        warnings.append(f"The scan began {delay_s / 60:.0f} minutes after the injection; 60 is usual. Check the times.")
    return DecayTimes(delay_s, name, tags, warnings)


def _reference_time(
    headers: Sequence[Dataset], half_life_s: float, warnings: list[str]
) -> tuple[datetime, str, dict[str, str]]:
    series = series_datetime(headers[0])
    acquired = [acquisition_datetime(header, series) for header in headers]
    known = [time for time in acquired if time is not None]
    first = min(known, default=None)
    if first is None:
        if series is None:
            raise SuvError(
                "The PET has neither a series time (0008,0031) nor an acquisition time (0008,0032), so its "
                "decay cannot "
                "be computed. Give the factor from stored units to SUVbw with --suv-factor."
            )
        warnings.append("The PET has no acquisition time (0008,0032): the series time is taken for its start.")
        return series, "series time", {"SeriesTime": _clock(series)}
    tags = {"AcquisitionTime (earliest)": _clock(first)}
    if series is not None:
        tags["SeriesTime"] = _clock(series)
    counted = _from_decay_factor(headers, acquired, half_life_s)
    if series is not None and (series - first).total_seconds() <= _ROUNDING_S:
        if counted is not None and abs((counted - series).total_seconds()) > _TOLD_APART_S:
            off = 2 ** ((counted - series).total_seconds() / half_life_s) - 1
            warnings.append(
                f"The PET's decay factors point to {_clock(counted)} as the moment of decay correction, its "
                "series time "
                f"to {_clock(series)}. The series time was used; if it is wrong, SUV is off by "
                f"{100 * off:+.1f} percent."
            )
        return series, "series time", tags
    candidates = [
        ("GE's private scan time (0009,100D)", _ge_scan_time(headers[0])),
        ("decay factor and frame duration", counted),
        ("frame reference time and frame duration", _from_frame_reference(headers, acquired, half_life_s)),
    ]
    for name, time in candidates:
        if time is None:
            continue
        lead_s = (first - time).total_seconds()
        if -_TOLD_APART_S <= lead_s <= MAX_DELAY_S:
            return time, name, {**tags, f"DecayCorrectionTime ({name})": _clock(time)}
        warnings.append(f"The PET's {name} gives {_clock(time)}, which does not fit its acquisition; it was not used.")
    return first, "earliest acquisition time", tags


def _delay(header: Dataset, reference: datetime, warnings: list[str]) -> tuple[float, dict[str, str]]:
    """Seconds from injection to ``reference``."""
    items = header.get("RadiopharmaceuticalInformationSequence") or [Dataset()]
    item = items[0]
    full = parse_datetime(text_of(item, "RadiopharmaceuticalStartDateTime"), text_of(header, "TimezoneOffsetFromUTC"))
    clock = parse_time(text_of(item, "RadiopharmaceuticalStartTime"))
    full_s = None if full is None else (reference - full).total_seconds()
    clock_s = None
    if clock is not None:
        clock_s = (reference - (_midnight(reference) + clock)).total_seconds()
        if clock_s < 0:  # injected before midnight, scanned after it
            clock_s += _DAY.total_seconds()
    if full_s is not None and _plausible(full_s):
        return full_s, {"RadiopharmaceuticalStartDateTime": _clock(full), "InjectionToReference_s": f"{full_s:.0f}"}
    if clock_s is not None and _plausible(clock_s):
        if full_s is not None:
            warnings.append(
                f"The injection's date and time (0018,1078) lie {_hours(full_s)} before the scan; the time alone "
                f"(0018,1072) gives {clock_s / 60:.0f} minutes and was used."
            )
        tags = {"RadiopharmaceuticalStartTime": _clock(_midnight(reference) + clock)}
        return clock_s, tags | {"InjectionToReference_s": f"{clock_s:.0f}"}
    if full_s is None and clock_s is None:
        raise SuvError(
            "The PET has no injection time (0018,1072 or 0018,1078), so the dose's decay until the scan is unknown. "
            "Give the factor from Bq/ml to SUVbw with --suv-factor (weight in g / dose in Bq at scan time)."
        )
    delay = _hours(full_s if full_s is not None else clock_s)
    raise SuvError(
        f"The injection lies {delay} before the scan ({_clock(reference)}): between 0 and "
        f"{MAX_DELAY_S / 3600:.0f} h are "
        "plausible for FDG. A clock or date in the header is wrong; give the factor from Bq/ml to SUVbw "
        "with --suv-factor."
    )


def series_datetime(header: Dataset) -> datetime | None:
    """Series date and time; the study's date where the series has none."""
    date = text_of(header, "SeriesDate") or text_of(header, "StudyDate") or text_of(header, "AcquisitionDate")
    return parse_datetime_parts(date, text_of(header, "SeriesTime"))


def acquisition_datetime(header: Dataset, series: datetime | None) -> datetime | None:
    """Acquisition date and time of one slice; without a date of its own, the series' day or the day after it."""
    date, time = text_of(header, "AcquisitionDate"), text_of(header, "AcquisitionTime")
    if date and time:
        return parse_datetime_parts(date, time)
    full = parse_datetime(text_of(header, "AcquisitionDateTime"), text_of(header, "TimezoneOffsetFromUTC"))
    if full is not None:
        return full
    clock = parse_time(time)
    if clock is None:
        return None
    if series is None:
        return parse_datetime_parts(text_of(header, "StudyDate"), time)
    moment = _midnight(series) + clock
    return moment + _DAY if (series - moment).total_seconds() > 12 * 3600 else moment


def parse_time(text: str) -> timedelta | None:
    """A DICOM TM value (HH[MM[SS[.ffffff]]], also with colons) as time since midnight; None when it is none."""
    digits = text.replace(":", "")
    whole, _, fraction = digits.partition(".")
    if len(whole) < 2 or len(whole) % 2 or not whole.isdigit() or (fraction and not fraction.isdigit()):
        return None
    hours, minutes, seconds = (int(whole[i : i + 2] or 0) for i in (0, 2, 4))
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    return timedelta(hours=hours, minutes=minutes, seconds=seconds + float(f"0.{fraction or 0}"))


def parse_datetime_parts(date: str, time: str) -> datetime | None:
    """A DICOM DA and a TM value together; None when either is missing or malformed."""
    clock = parse_time(time)
    try:
        day = datetime.strptime(date.replace(".", ""), "%Y%m%d")
    except ValueError:
        return None
    return None if clock is None else day + clock


def parse_datetime(text: str, local_offset: str = "") -> datetime | None:
    """A DICOM DT value as local time; an offset from UTC is followed only when the file's own offset is known."""
    for sign in "+-":
        body, found, offset = text.partition(sign)
        if found:
            moment = parse_datetime_parts(body[:8], body[8:])
            own, local = _offset(found + offset), _offset(local_offset)
            return moment + (local - own) if moment and own is not None and local is not None else moment
    return parse_datetime_parts(text[:8], text[8:])


def _offset(text: str) -> timedelta | None:
    if len(text) != 5 or text[0] not in "+-" or not text[1:].isdigit():
        return None
    size = timedelta(hours=int(text[1:3]), minutes=int(text[3:5]))
    return size if text[0] == "+" else -size


def mean_rate_s(duration_s: float, half_life_s: float) -> float:
    """Seconds after a frame's start at which the activity equals its mean over the frame."""
    decayed = math.log(2) / half_life_s * duration_s
    return half_life_s / math.log(2) * math.log(decayed / -math.expm1(-decayed))


def _ge_scan_time(header: Dataset) -> datetime | None:
    value = private_value(header, 0x0009, "GEMS_PETD_01", 0x0D)
    return None if value is None else parse_datetime(str(value).strip(), text_of(header, "TimezoneOffsetFromUTC"))


def _from_decay_factor(
    headers: Sequence[Dataset], acquired: Sequence[datetime | None], half_life_s: float
) -> datetime | None:
    """The moment that every slice's decay factor (0054,1321) leads back to.

    The factor turns the mean rate over the frame into the rate at the decay correction's moment:
    2^((start + mean_rate_s - moment) / half-life).
    """
    moments = []
    for header, start in zip(headers, acquired, strict=True):
        factor, duration_s = _positive(header, "DecayFactor"), _positive(header, "ActualFrameDuration") / 1000
        if start is None or not factor or not duration_s:
            return None
        lead_s = half_life_s * math.log2(factor) - mean_rate_s(duration_s, half_life_s)
        if lead_s < -_SPREAD_S:  # smaller than the decay within the frame: never filled in
            return None
        moments.append(start - timedelta(seconds=lead_s))
    return _agreed(moments)


def _from_frame_reference(
    headers: Sequence[Dataset], acquired: Sequence[datetime | None], half_life_s: float
) -> datetime | None:
    """QIBA: acquisition start - frame reference time (0054,1300) + time of the mean count rate within the frame."""
    moments = []
    for header, start in zip(headers, acquired, strict=True):
        reference_ms, duration_s = (
            _positive(header, "FrameReferenceTime"),
            _positive(header, "ActualFrameDuration") / 1000,
        )
        if start is None or not reference_ms or not duration_s:
            return None
        moments.append(start - timedelta(seconds=reference_ms / 1000 - mean_rate_s(duration_s, half_life_s)))
    return _agreed(moments)


def _agreed(moments: list[datetime]) -> datetime | None:
    spread_s = (max(moments) - min(moments)).total_seconds()
    return min(moments) + timedelta(seconds=spread_s / 2) if spread_s <= _SPREAD_S else None


def _positive(header: Dataset, keyword: str) -> float:
    return max(0.0, number_of(header, keyword) or 0.0)


def _plausible(delay_s: float) -> bool:
    return 0 <= delay_s <= MAX_DELAY_S


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _clock(moment: datetime) -> str:
    """Time of day only: a date points to a person."""
    return moment.strftime("%H:%M:%S")


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h"
