"""Learning rates as pure functions of the step, which a resumed run finds again, and optimisers by name."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from HNTumorSegLib.training.plan import TrainingPlan

if TYPE_CHECKING:
    import torch


def learning_rate(plan: TrainingPlan, step: int) -> float:
    """The learning rate of step 0, 1, ...: linear warm-up, then the plan's schedule down to zero at the last step."""
    if step < plan.warm_up_steps:
        return plan.learning_rate * (step + 1) / plan.warm_up_steps
    done, length = step - plan.warm_up_steps, max(1, plan.steps - plan.warm_up_steps)
    if plan.schedule == "constant":
        return plan.learning_rate
    if plan.schedule == "poly":
        return plan.learning_rate * max(0.0, 1 - done / length) ** plan.power
    if plan.schedule == "cosine_restarts":
        cycle = plan.restart_steps or plan.steps_per_epoch
        while done >= cycle:
            done, cycle = done - cycle, max(1, round(cycle * plan.restart_factor))
        length = cycle
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * done / length))


def build_optimiser(plan: TrainingPlan, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The plan's optimiser."""
    import torch

    common = {"lr": plan.learning_rate, "weight_decay": plan.weight_decay}
    if plan.optimiser == "sgd":
        return torch.optim.SGD(parameters, momentum=plan.momentum, nesterov=plan.momentum > 0, **common)
    if plan.optimiser == "adadelta":
        return torch.optim.Adadelta(parameters, **common)
    kind = torch.optim.AdamW if plan.optimiser == "adamw" else torch.optim.Adam
    return kind(parameters, betas=plan.betas, **common)
