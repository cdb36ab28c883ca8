"""A training small enough to be killed, resumed and run on several processes in a test.

    python tiny_training.py CHECKPOINT [--steps N] [--norm batch|instance] [--batch N]

Prints a line a step. Started by torchrun it trains on all its processes.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from HNTumorSegLib.recipes.recipe import CT, PET, Channel, Recipe
from HNTumorSegLib.training.case import Case

TINY = Recipe(
    name="tiny",
    source="a test",
    channels=(Channel(PET, (0.0, 15.0)), Channel(CT, (-150.0, 150.0), missing=0.0)),
    spacing_mm=2.5,
    patch_zyx=(8, 16, 16),
    network="attention_unet",
    network_options={"channels": [4, 8], "heads": 2, "norm": "batch"},
    training={
        "loss": "dice_ce",
        "optimiser": "adamw",
        "learning_rate": 1e-2,
        "weight_decay": 1e-2,
        "weight_average": 0.9,
        "batch": 2,
        "steps": 12,
        "warm_up_steps": 3,
        "precision": "fp32",
        "augmentation": {"affine": 0.5, "elastic": 0.5, "misregistration": 0.5, "gamma": 0.5, "pet_dropout": 0.1},
        "ct_dropout": 0.2,
        "lesion_share": 0.5,
    },
)


def blob_case(index: int) -> Case:
    """A case whose labels can be read off the PET: a hot primary and a warm node."""
    rng = np.random.default_rng(index)
    inputs = rng.uniform(0, 0.1, (2, 24, 32, 32)).astype(np.float16)
    labels = np.zeros((24, 32, 32), np.uint8)
    for label, value in ((1, 0.9), (2, 0.5)):
        z, y, x = rng.integers(4, 18, 3)
        box = (slice(z, z + 5), slice(y, y + 6), slice(x + 6 * (label - 1), x + 6 * label))
        labels[box], inputs[(0, *box)] = label, value
    return Case(f"blob-{index}", inputs, labels)


def with_training(**changes) -> Recipe:
    return replace(TINY, training={**TINY.training, **changes})


def main() -> None:
    import torch

    from HNTumorSegLib.training.distributed import process_group, ranks
    from HNTumorSegLib.training.loop import TrainingRun

    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--norm", default="batch")
    parser.add_argument("--pause", type=float, default=0.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = with_training(steps=options.steps, batch=options.batch)
    recipe = replace(recipe, network_options={**recipe.network_options, "norm": options.norm})

    def say(event) -> None:
        if ranks().first:
            print(f"step {round(event.fraction * options.steps)} {event.message}", flush=True)
        time.sleep(options.pause)

    with process_group("cpu") as device:
        TrainingRun(recipe, blob_case, 4, options.checkpoint, device=device, save_every=3).run(say)


if __name__ == "__main__":
    main()
