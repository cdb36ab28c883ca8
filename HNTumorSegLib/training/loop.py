"""The training loop: plain torch and numpy, resumable at any step, on one process or several."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from HNTumorSegLib.errors import ModelError, OutOfMemoryError
from HNTumorSegLib.inference.device import (
    choose_device,
    is_main_memory_full,
    is_out_of_memory,
    release_gpu_memory,
)
from HNTumorSegLib.models.loading import load_networks
from HNTumorSegLib.networks import build_network
from HNTumorSegLib.networks.folding import lay_channels_innermost
from HNTumorSegLib.networks.narrow_grids import narrow_grids
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.recipes.recipe import Recipe
from HNTumorSegLib.training.case import Case
from HNTumorSegLib.training.checkpoint import load_checkpoint, save_checkpoint
from HNTumorSegLib.training.distributed import parallel, ranks, wait_for_all, whole_batch
from HNTumorSegLib.training.losses import build_loss
from HNTumorSegLib.training.patches import PatchSampler
from HNTumorSegLib.training.plan import network_classes, plan_of
from HNTumorSegLib.training.run_log import RunLog
from HNTumorSegLib.training.schedules import build_optimiser, learning_rate
from HNTumorSegLib.training.weight_average import WeightAverage

log = logging.getLogger(__name__)
SCORE = "score"
"""The figure of a validation that decides which weights are best; higher is better."""

Validate = Callable[[torch.nn.Module], dict[str, float]]


@dataclass
class TrainingRun:
    """One network in training.

    Args:
        recipe: what to train; its ``training`` is read by :func:`HNTumorSegLib.training.plan.plan_of`.
        cases: function from a number 0..n_cases-1 to a case.
        n_cases: how many cases there are.
        checkpoint: file that is written every ``save_every`` steps and read when it is there.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        seed: everything random follows from it.
        save_every: steps between checkpoints.
        stop_after: end at this step of the schedule instead of the last one.
        start_from: model folder whose first network is the start instead of random weights.
        validate: measures a network in evaluation mode; its ``score`` chooses the best weights, kept beside the
            checkpoint as ``NAME.best.pt``, and ends training early where the plan says so.
        logs: folder for TensorBoard events and the learning curve; None: none.
    """

    recipe: Recipe
    cases: Callable[[int], Case]
    n_cases: int
    checkpoint: Path
    device: str = "cpu"
    seed: int = 0
    save_every: int = 50
    start_from: Path | None = None
    stop_after: int | None = None
    validate: Validate | None = None
    logs: Path | None = None
    step: int = field(default=0, init=False)
    losses: list[float] = field(default_factory=list, init=False)
    validations: list[dict[str, float]] = field(default_factory=list, init=False)
    stopped_early: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.n_cases < 1:
            raise ModelError("There is no case to train on.")
        self.plan = plan_of(self.recipe, self.n_cases)
        self.steps = self.plan.steps
        self.loss = build_loss(self.recipe.training)
        compute = choose_device(self.device)
        self.device = compute.name
        torch.manual_seed(self.seed)
        self.network = build_network(
            self.recipe.network, len(self.recipe.channels), len(self.recipe.classes), **self.recipe.network_options
        ).to(self.device)
        self.precision = self._precision(compute.bf16)
        if self.precision == "bf16" and self.device == "cpu":
            lay_channels_innermost(self.network)
        self.optimiser = build_optimiser(self.plan, self.network.parameters())
        self.scaler = torch.amp.GradScaler(enabled=self.precision == "fp16")
        if self.start_from is not None:
            self.network.load_state_dict(load_networks(self.start_from)[0].state_dict())
        self.average = WeightAverage(self.network, self.plan.weight_average)
        if self.checkpoint.exists():
            self._load()

    @property
    def best_file(self) -> Path:
        """Where the weights of the best validation are kept."""
        return self.checkpoint.with_suffix(".best.pt")

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        last = self.steps if self.stop_after is None else min(self.steps, self.stop_after)
        return self.stopped_early or self.step >= last

    @property
    def validate_every(self) -> int:
        """Steps between validations: as planned, or once an epoch, but not more than 20 times a run without need."""
        if self.plan.validate_every:
            return self.plan.validate_every
        often = 0 if self.plan.patience_steps else -(-self.steps // 20)
        return max(self.plan.steps_per_epoch, often)

    def draws(self, step: int) -> list[tuple[int, np.random.Generator]]:
        """Case number and generator of every patch of a step, over all processes.

        They depend on seed, step and place in the batch alone, so a resumed run, and one on more processes, sees the
        same patches.
        """
        generators = [np.random.default_rng([self.seed, step, place]) for place in range(self.plan.batch)]
        return [(int(rng.integers(self.n_cases)), rng) for rng in generators]

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """This process's patches of one step: inputs (N, C, z, y, x) and labels (N, z, y, x)."""
        place = ranks()
        if self.plan.batch % place.size:
            raise ModelError(
                f"The batch of {self.plan.batch} patches cannot be shared by {place.size} processes; make it a "
                "multiple of them."
            )
        share = self.plan.batch // place.size
        drawn = []
        for number, rng in self.draws(step)[place.rank * share : (place.rank + 1) * share]:
            sampler = PatchSampler(
                self.recipe,
                self.plan.patch_zyx,
                rng,
                self.plan.on_lesion,
                self.plan.augmentation,
                self.plan.lesions_alike,
            )
            drawn.append(sampler.draw(self.cases(number)))
        inputs = torch.from_numpy(np.stack([d[0] for d in drawn]))
        labels = torch.from_numpy(network_classes(self.recipe, np.stack([d[1] for d in drawn])))
        return inputs.to(self.device), labels.to(self.device)

    def run(self, progress: ProgressCallback = silent) -> torch.nn.Module:
        """Train to the end of the plan; returns the best network where there is a validation, else the last average.

        Raises:
            ModelError: the loss is no longer a number; the message names step and cases.
            OutOfMemoryError: a step does not fit. In both cases the last checkpoint is kept.
        """
        with RunLog.opened(self.logs if ranks().first else None, self.step) as run_log:
            module = parallel(self.network, self.device)
            while not self.finished:
                with self._memory_watched():
                    value = self._one_step(module)
                self.average.follow(self.step)
                run_log.add_step(self.step, value, learning_rate(self.plan, self.step))
                self.losses.append(value)
                self.step += 1
                message = f"loss {value:.3f}"
                if self.validate is not None and (self.step % self.validate_every == 0 or self.step == self.steps):
                    figures = self._validated()
                    run_log.add_validation(self.step, figures)
                    message += f", validation {figures[SCORE]:.3f}"
                if self.step % self.save_every == 0 or self.finished:
                    self._save()
                    recent = np.mean(self.losses[-self.save_every :])
                    log.info("step %d of %d, loss %.4f", self.step, self.steps, recent)
                    run_log.draw(self.losses, self.validations)
                progress(ProgressEvent("train", 1.0 if self.stopped_early else self.step / self.steps, message))
            run_log.draw(self.losses, self.validations)
        return self.best_network()

    def best_network(self) -> torch.nn.Module:
        """The network with the weights of the best validation; the present average where there was none."""
        wait_for_all()
        network = self.average.network
        if self.best_file.exists() and self.validate is not None:
            network.load_state_dict(load_checkpoint(self.best_file, self.recipe, self.device)["network"])
        return network.eval()

    def _precision(self, native_bf16: bool) -> str:
        if self.plan.precision == "fp16" and self.device == "cpu":
            raise ModelError("Half precision (fp16) needs a GPU; train with precision 'bf16', 'fp32' or 'auto'.")
        if self.plan.precision != "auto":
            return self.plan.precision
        if native_bf16:
            narrow = self.device == "cpu" and narrow_grids(self.network, len(self.recipe.channels), self.plan.patch_zyx)
            if not narrow:
                return "bf16"
            log.warning("bf16 is wrong where a kernel is wider than its grid (%s); training in fp32", narrow[0])
        return "fp32" if self.device == "cpu" else "fp16"

    def _one_step(self, module: torch.nn.Module) -> float:
        # Dropout follows from the step too, so that nothing of the generators' state has to be kept.
        torch.manual_seed((self.seed * 1_000_003 + self.step) * 1_009 + ranks().rank)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.plan, self.step)
        inputs, labels = self.batch(self.step)
        module.train()
        kind = torch.device(self.device).type
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision, torch.float32)
        with torch.autocast(kind, dtype, enabled=self.precision != "fp32"):
            outputs = module(inputs)
        if isinstance(outputs, torch.Tensor):
            outputs = whole_batch(outputs)
        else:  # deep supervision: one answer a level
            outputs = [whole_batch(output) for output in outputs]
        loss = self.loss(outputs, whole_batch(labels))
        if not torch.isfinite(loss):
            raise ModelError(self._not_a_number(float(loss.detach())))
        self.optimiser.zero_grad(set_to_none=True)
        # Every process has the whole batch's loss and its own share of the gradient; their mean would be too small.
        self.scaler.scale(loss * ranks().size).backward()
        if self.plan.clip_norm:
            self.scaler.unscale_(self.optimiser)
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return float(loss.detach())

    def _not_a_number(self, value: float) -> str:
        names = ", ".join(str(self.cases(number).name) for number, _ in self.draws(self.step))
        kept = f"'{self.checkpoint}' holds the last good state" if self.checkpoint.exists() else "no step was saved yet"
        return (
            f"The loss of step {self.step} is {value}; its batch was drawn from the cases {names}. Look at these "
            f"cases, or lower the learning rate; {kept}."
        )

    @contextlib.contextmanager
    def _memory_watched(self) -> Iterator[None]:
        try:
            yield
            return
        except Exception as error:
            if not (is_out_of_memory(error) or is_main_memory_full(error)):
                raise
            reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        release_gpu_memory(choose_device(self.device))
        patch = " x ".join(map(str, self.plan.patch_zyx))
        raise OutOfMemoryError(
            f"Step {self.step} does not fit into the memory of '{self.device}': a batch of {self.plan.batch} patches "
            f"of {patch} voxels (z, y, x) in {self.precision} ({reason}). Train with a smaller batch or patch, or on "
            "a device with more memory; what was trained so far is kept."
        )

    def _validated(self) -> dict[str, float]:
        """Measure the network, keep it if it is the best so far, and see whether to stop."""
        with self._memory_watched():
            figures = {"step": float(self.step), **self.validate(self.average.network.eval())}
        former = max((v[SCORE] for v in self.validations), default=float("-inf"))
        self.validations.append(figures)
        if figures[SCORE] > former and ranks().first:
            save_checkpoint(
                self.best_file, self.recipe, {"step": self.step, "network": self.average.network.state_dict()}
            )
        best = max(self.validations, key=lambda v: v[SCORE])
        patience = self.plan.patience_steps
        self.stopped_early = bool(patience) and self.step - best["step"] >= patience
        if self.stopped_early:
            log.info("no better validation since step %d; training ends at step %d", best["step"], self.step)
        return figures

    def _save(self) -> None:
        if ranks().first:
            state: dict[str, Any] = {
                "step": self.step,
                "network": self.network.state_dict(),
                "average": self.average.network.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "scaler": self.scaler.state_dict(),
                "losses": self.losses,
                "validations": self.validations,
                "stopped_early": self.stopped_early,
            }
            save_checkpoint(self.checkpoint, self.recipe, state)
        wait_for_all()

    def _load(self) -> None:
        state = load_checkpoint(self.checkpoint, self.recipe, self.device)
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state.get("average", state["network"]))
        self.optimiser.load_state_dict(state["optimiser"])
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        self.step, self.losses = state["step"], list(state["losses"])
        self.validations = list(state.get("validations", []))
        self.stopped_early = bool(state.get("stopped_early", False))
