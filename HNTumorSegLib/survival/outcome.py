"""Times and events, as one array that can be indexed by patients."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

OUTCOME = np.dtype([("event", bool), ("time", float)])


def outcome(time: ArrayLike, event: ArrayLike) -> NDArray:
    """One structured array (patients,) with the fields ``event`` (bool) and ``time`` (in any one unit).

    Raises:
        ValueError: the shapes differ, or a time is negative or not finite.
    """
    time, event = np.asarray(time, float), np.asarray(event)
    if time.shape != event.shape or time.ndim != 1:
        raise ValueError(f"time {time.shape} and event {event.shape} must be one value a patient")
    if not np.all(np.isfinite(time)) or np.any(time < 0):
        raise ValueError("times must be finite and not negative")
    y = np.empty(len(time), OUTCOME)
    y["event"], y["time"] = event.astype(bool), time
    return y
