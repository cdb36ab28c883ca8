"""The training loop: plain torch and numpy, resumable at any step."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.models.loading import load_networks
from HNTumorSegLib.networks import build_network
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.recipes.recipe import Recipe
from HNTumorSegLib.training.losses import LOSSES
from HNTumorSegLib.training.patches import PatchSampler
from HNTumorSegLib.training.phantom_cases import Case

log = logging.getLogger(__name__)
WARM_UP_STEPS = 50
CLASSES = 3


@dataclass
class TrainingRun:
    """One network in training.

    Args:
        recipe: what to train; its ``training`` holds loss, learning rate, batch, patch and steps.
        cases: function from a number 0..n_cases-1 to a case.
        n_cases: how many cases there are.
        checkpoint: file that is written every ``save_every`` steps and read when it is there.
        device: torch device.
        seed: everything random follows from it.
        save_every: steps between checkpoints.
        stop_after: end at this step of the schedule instead of the last one.
        start_from: model folder whose first network is the start instead of random weights.
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

    def __post_init__(self) -> None:
        plan = self.recipe.training
        torch.manual_seed(self.seed)
        self.network = build_network(
            self.recipe.network, len(self.recipe.channels), CLASSES, **self.recipe.network_options
        ).to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=plan["learning_rate"], weight_decay=plan.get("weight_decay", 0.0)
        )
        self.loss = LOSSES[plan["loss"]]
        self.steps = int(plan["steps"])
        self.step = 0
        self.losses: list[float] = []
        if self.checkpoint.exists():
            self._load()
        elif self.start_from is not None:
            self.network.load_state_dict(load_networks(self.start_from)[0].state_dict())

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to zero."""
        peak = self.recipe.training["learning_rate"]
        if step < WARM_UP_STEPS:
            return peak * (step + 1) / WARM_UP_STEPS
        return peak * 0.5 * (1 + math.cos(math.pi * (step - WARM_UP_STEPS) / max(1, self.steps - WARM_UP_STEPS)))

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The patches of one step; they depend on the seed and the step alone, so a resumed run sees the same ones."""
        rng = np.random.default_rng([self.seed, step])
        sampler = PatchSampler(self.recipe, tuple(self.recipe.training["patch_zyx"]), rng)
        drawn = [
            sampler.draw(self.cases(int(rng.integers(self.n_cases)))) for _ in range(self.recipe.training["batch"])
        ]
        inputs = torch.from_numpy(np.stack([d[0] for d in drawn]))
        labels = torch.from_numpy(np.stack([d[1] for d in drawn]))
        return inputs.to(self.device), labels.to(self.device)

    def run(self, progress: ProgressCallback = silent) -> torch.nn.Module:
        """Train to the last step; raises :class:`ModelError` when the loss is no longer a number."""
        self.network.train()
        last = self.steps if self.stop_after is None else min(self.steps, self.stop_after)
        while self.step < last:
            for group in self.optimiser.param_groups:
                group["lr"] = self.learning_rate(self.step)
            value = self._one_step(*self.batch(self.step))
            self.losses.append(value)
            self.step += 1
            if self.step % self.save_every == 0 or self.step == last:
                self._save()
                log.info("step %d of %d, loss %.4f", self.step, self.steps, np.mean(self.losses[-self.save_every :]))
            progress(ProgressEvent("train", self.step / self.steps, f"loss {value:.3f}"))
        return self.network.eval()

    def _one_step(self, inputs: torch.Tensor, labels: torch.Tensor) -> float:
        with torch.autocast(torch.device(self.device).type, torch.bfloat16):
            logits = self.network(inputs)
        loss = self.loss(logits, labels, self.recipe.training.get("lesion_share", 0.0))
        if not torch.isfinite(loss):
            raise ModelError(
                f"The loss of step {self.step} is {loss.item()}: lower the learning rate and go on from "
                f"'{self.checkpoint}', which holds the last good state."
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        return float(loss.detach())

    def _save(self) -> None:
        state = {
            "recipe": self.recipe.name,
            "step": self.step,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "losses": self.losses,
        }
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self.checkpoint)

    def _load(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if state["recipe"] != self.recipe.name:
            raise ModelError(
                f"'{self.checkpoint}' belongs to recipe '{state['recipe']}', not '{self.recipe.name}'. "
                "Use another output folder."
            )
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.losses = state["step"], list(state["losses"])
