"""What a run leaves to look at: TensorBoard events, where TensorBoard is installed, and the learning curve."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)
CURVE_FILE = "learning_curve.png"
SMOOTHING_POINTS = 100
LOSS_COLOR, SCORE_COLOR = "#1f5f8b", "#c0521b"


@dataclass
class RunLog:
    """Events and picture of one run; without a folder nothing is written."""

    folder: Path | None
    writer: SummaryWriter | None = None

    @classmethod
    @contextmanager
    def opened(cls, folder: Path | None, first_step: int) -> Iterator[RunLog]:
        """A log for the time of the ``with`` block; events of an earlier attempt from ``first_step`` on are hidden."""
        run_log = cls(folder)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            run_log.writer = _writer(folder / "tensorboard", first_step)
        try:
            yield run_log
        finally:
            if run_log.writer is not None:
                run_log.writer.close()

    def add_step(self, step: int, loss: float, learning_rate: float) -> None:
        """One training step."""
        if self.writer is not None:
            self.writer.add_scalar("train/loss", loss, step)
            self.writer.add_scalar("train/learning_rate", learning_rate, step)

    def add_validation(self, step: int, figures: dict[str, float]) -> None:
        """One validation."""
        if self.writer is not None:
            for name, value in figures.items():
                if name != "step":
                    self.writer.add_scalar(f"validation/{name}", value, step)

    def draw(self, losses: Sequence[float], validations: Sequence[dict[str, float]]) -> None:
        """Write the learning curve anew."""
        if self.folder is not None and losses:
            draw_learning_curve(self.folder / CURVE_FILE, losses, validations)


def draw_learning_curve(path: Path, losses: Sequence[float], validations: Sequence[dict[str, float]]) -> Path:
    """A picture of loss by step (faint: each step; bold: running mean) and, on an axis of its own, the DSC measured."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    steps = np.arange(1, len(losses) + 1)
    axes.plot(steps, losses, color=LOSS_COLOR, alpha=0.25, linewidth=0.8)
    axes.plot(steps, running_mean(losses), color=LOSS_COLOR, linewidth=1.8)
    axes.set_xlabel("step")
    axes.set_ylabel("training loss (running mean bold)", color=LOSS_COLOR)
    axes.margins(x=0.01)
    axes.set_title("Learning curve", loc="left")
    if validations:
        _draw_validations(axes.twinx(), validations)
    part = path.with_suffix(".part.png")
    figure.savefig(part)
    part.replace(path)
    return path


def running_mean(values: Sequence[float]) -> np.ndarray:
    """Mean over the last hundredth of the run, fewer at its beginning."""
    width = max(1, len(values) // SMOOTHING_POINTS)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    stop = np.arange(1, len(values) + 1)
    start = np.maximum(0, stop - width)
    return (sums[stop] - sums[start]) / (stop - start)


def _draw_validations(axes: object, validations: Sequence[dict[str, float]]) -> None:
    steps = [v["step"] for v in validations]
    names = sorted({n for v in validations for n in v if n.startswith("dsc_")})
    styles = ("-", "--", ":", "-.")
    for name, style in zip(names, styles * len(names), strict=False):
        values = [v.get(name, float("nan")) for v in validations]
        label = name.removeprefix("dsc_").replace("_", " ")
        axes.plot(steps, values, style, color=SCORE_COLOR, marker="o", markersize=3, linewidth=1.4, label=label)
    best = max(validations, key=lambda v: v["score"])
    axes.axvline(best["step"], color="0.6", linewidth=0.8)
    axes.annotate(
        f"best: step {best['step']:.0f}",
        (best["step"], 0.02),
        xytext=(-4, 0),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color="0.4",
    )
    axes.set_ylim(0, 1)
    axes.set_ylabel("validation DSC", color=SCORE_COLOR)
    if names:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), fontsize=8, ncols=min(4, len(names)), frameon=False)


def _writer(folder: Path, first_step: int) -> SummaryWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("TensorBoard is not installed, so no events are written; install hntumorseg[train] for them")
        return None
    return SummaryWriter(str(folder), purge_step=first_step)
