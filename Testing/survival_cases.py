"""Cohorts for the tests of survival: the larynx patients, and simulated ones whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from HNTumorSegLib.survival.outcome import outcome

LARYNX_COLUMNS = ["age", "Stage_II", "Stage_III", "Stage_IV"]


def larynx() -> tuple[pd.DataFrame, np.ndarray]:
    """Klein and Moeschberger's 90 patients with larynx cancer: covariates and outcomes."""
    from lifelines.datasets import load_larynx

    frame = load_larynx()
    return frame[LARYNX_COLUMNS].astype(float), outcome(frame["time"], frame["death"])


def exponential_outcome(log_hazard: np.ndarray, rng: np.random.Generator, scale: float = 1000.0) -> np.ndarray:
    """Times with a constant hazard for each patient, censored uniformly up to twice the scale."""
    time = rng.exponential(scale * np.exp(-log_hazard))
    censored = rng.uniform(0, 2 * scale, len(time))
    return outcome(np.minimum(time, censored), time <= censored)


def cohort_frame(n: int = 120, seed: int = 0) -> pd.DataFrame:
    """A table as a user has it: outcome, centre, TTB by hand and by machine, age, sex with gaps."""
    rng = np.random.default_rng(seed)
    ttb = np.exp(rng.normal(2.6, 0.9, n))
    age = rng.normal(62, 9, n).round()
    y = exponential_outcome(0.5 * (np.log(ttb) - 2.6) + 0.04 * (age - 62), rng)
    sex = rng.choice(["male", "female"], n, p=[0.7, 0.3]).astype(object)
    sex[rng.random(n) < 0.1] = None
    return pd.DataFrame(
        {
            "patient": [f"P{k:03d}" for k in range(n)],
            "days": y["time"].round(1),
            "dead": y["event"].astype(int),
            "centre": np.array(["north", "south", "west"])[np.arange(n) % 3],
            "ttb_ml": ttb.round(3),
            "ttb_cnn_ml": (ttb * np.exp(rng.normal(0, 0.15, n))).round(3),
            "age": age,
            "sex": sex,
        }
    )


def write(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False)
    return path
