"""Cox on many patients, and the nested pipeline on a cohort, beside lifelines."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.common import ProcessCost, print_table, run_process

N_PATIENTS, N_COVARIATES = 100_000, 10
COHORT = Path(__file__).resolve().parents[3] / "shared" / "data" / "survival" / "head_neck_300.csv"
OUTCOMES = ("Death", "Locoregional", "Distant")


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("survival", help="Cox beside lifelines, the nested pipeline on 300 patients")
    command.add_argument("--runs", type=int, default=3)
    command.add_argument("--no-pipeline", action="store_true", help="only Cox")
    command.set_defaults(table=survival)


def survival(arguments: argparse.Namespace) -> None:
    cox_table(arguments.runs)
    bootstrap_table(arguments.runs)
    if not arguments.no_pipeline:
        pipeline_table()


def timed(function: Callable[[], object], runs: int) -> tuple[float, float, object]:
    """Least wall and processor seconds of some runs, and the last result; the first run warms up."""
    result = function()
    costs = []
    for _ in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        result = function()
        costs.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(c[0] for c in costs), min(c[1] for c in costs), result


def cox_table(runs: int) -> None:
    import numpy as np
    import pandas as pd
    from lifelines import CoxPHFitter

    from HNTumorSegLib.survival.cox import CoxPH
    from HNTumorSegLib.survival.newton import fit_cox
    from HNTumorSegLib.survival.outcome import outcome

    rng = np.random.default_rng(0)
    x = rng.normal(size=(N_PATIENTS, N_COVARIATES))
    event_time = rng.exponential(np.exp(-x @ np.linspace(-0.5, 0.5, N_COVARIATES)))
    censored = rng.exponential(2, N_PATIENTS)
    y = outcome(np.minimum(event_time, censored), event_time <= censored)
    frame = pd.DataFrame(x, columns=[f"x{k}" for k in range(N_COVARIATES)]).assign(t=y["time"], e=y["event"])
    other = timed(lambda: CoxPHFitter().fit(frame, "t", "e"), max(1, runs // 3))
    whole = timed(lambda: CoxPH().fit(x, y), runs)
    coefficients = timed(lambda: fit_cox(x, y), runs)
    reference = other[2].params_.to_numpy()
    rows = [["lifelines", f"{other[0]:.2f}", f"{other[1]:.2f}", "", "", ""]]
    for name, cost, coef, promise in (
        ("CoxPH.fit: errors and baseline as well", whole, whole[2].coef_, "no slower"),
        ("fit_cox: coefficients and errors", coefficients, coefficients[2].coef[0], ">= 10 times faster, 5e-10"),
    ):
        difference = f"{np.abs(coef - reference).max():.1e}"
        rows.append([name, f"{cost[0]:.2f}", f"{cost[1]:.2f}", f"{other[1] / cost[1]:.0f}", difference, promise])
    header = ["", "wall s", "processor s", "times faster (processor)", "largest difference", "promised"]
    print_table(f"Cox, {N_PATIENTS} patients x {N_COVARIATES} covariates", header, rows)


def bootstrap_table(runs: int) -> None:
    """200 bootstrap fits of 300 patients: one after another by lifelines (20 of them, times ten), or as one batch."""
    import numpy as np
    import pandas as pd
    from lifelines import CoxPHFitter

    from HNTumorSegLib.survival.newton import fit_cox
    from HNTumorSegLib.survival.outcome import outcome

    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, N_COVARIATES))
    event_time, censored = rng.exponential(np.exp(-x[:, 0])), rng.exponential(1.0, 300)
    y = outcome(np.minimum(event_time, censored), event_time <= censored)
    frame = pd.DataFrame(x).assign(t=y["time"], e=y["event"]).rename(columns=str)
    weights = rng.multinomial(300, np.full(300, 1 / 300), 200)

    def one_by_one() -> None:
        for row in weights[:20]:
            CoxPHFitter().fit(frame.loc[np.repeat(np.arange(300), row)], "t", "e")

    other = timed(one_by_one, 1)
    batch = timed(lambda: fit_cox(x, y, "breslow", weights=weights), runs)
    rows = [
        ["lifelines, one by one", f"{10 * other[0]:.2f}", f"{10 * other[1]:.2f}", ""],
        ["fit_cox, one batch", f"{batch[0]:.2f}", f"{batch[1]:.2f}", f"{10 * other[1] / batch[1]:.0f}"],
    ]
    header = ["", "wall s", "processor s", "times faster (processor)"]
    print_table(f"200 bootstrap fits, 300 patients x {N_COVARIATES}", header, rows)


def pipeline_table() -> None:
    """The command on the real cohort where it is there, or on a simulated one of its size."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        table, outcomes = (COHORT, OUTCOMES) if COHORT.is_file() else (simulated(work / "cohort.csv"), ("Death",))
        rows = []
        for some in (outcomes[:1], outcomes) if len(outcomes) > 1 else (outcomes,):
            cost = run_pipeline(table, some, work / "out")
            rows.append([" + ".join(some), f"{cost.wall_s:.0f}", f"{cost.cpu_s:.0f}", f"{cost.peak_gb:.2f}", "< 300"])
        header = ["outcomes", "wall s", "processor s", "peak GB", "promised s"]
        print_table("survival analyse, 300 patients, 4 centres, 3 models, 5 folds x 3", header, rows)


def run_pipeline(table: Path, outcomes: tuple[str, ...], out: Path) -> ProcessCost:
    command = [sys.executable, "-m", "HNTumorSegLib.cli", "survival", "analyse", "--table", str(table)]
    columns = ["--time", *[f"days_{o}" for o in outcomes], "--event", *[f"ev_{o}" for o in outcomes]]
    return run_process([*command, *columns, "--group", "cohort", "--out", str(out), "--quiet"])


def simulated(path: Path) -> Path:
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(300, 6)), columns=list("abcdef")).mask(rng.random((300, 6)) < 0.1)
    event_time, censored = rng.exponential(3000 * np.exp(-frame["a"].fillna(0))), rng.uniform(300, 2500, 300)
    frame.insert(0, "id", [f"P{k}" for k in range(300)])
    frame = frame.assign(
        cohort=rng.choice(list("ABCD"), 300),
        days_Death=np.minimum(event_time, censored),
        ev_Death=(event_time <= censored).astype(int),
    )
    frame.to_csv(path, index=False)
    return path
