"""One way to run a network over one volume, measured: a process of its own, also in a Python that has only torch.

    python scripts/benchmarks/engine_run.py WAY --model DIR --shape Z Y X --out FOLDER [--device cpu|cuda] [--runs N]

Writes ``result.json`` and ``labels.npy`` into the folder. ``engine.py`` beside this file makes the table.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from HNTumorSegLib.inference.device import choose_device, keep_freed_memory, move_networks
from HNTumorSegLib.inference.engine import Engine
from HNTumorSegLib.inference.tiling import answer_in_tiles
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.models.loading import load_networks

NOT_HERE = 3
"""Exit code of a way whose library is not installed; its name is printed."""

SPACING_MM = 2.5
MEMBERS = 5


@dataclass
class Job:
    """What every way is given; it answers with logits (K, Z, Y, X) or foreground probabilities (K - 1, Z, Y, X)."""

    card: ModelCard
    networks: list[torch.nn.Module]
    array: np.ndarray
    worth: np.ndarray
    device: str

    @property
    def input(self) -> torch.Tensor:
        return torch.from_numpy(self.array)


def volume(card: ModelCard, shape_zyx: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A head, a neck and shoulders of SUV 1 with a brain and six hot balls, as the network sees them, and SUV >= 1."""
    z, y, x = (((np.arange(n) - (n - 1) / 2) * SPACING_MM).astype(np.float32) for n in shape_zyx)
    z, y, x = z[:, None, None], y[:, None], x
    height = z / z.max()  # -1 at the feet's end, 1 at the top
    wide, deep = np.where(height > -0.5, 80.0, 80.0 - 160.0 * (height + 0.5)), np.where(height > -0.5, 95.0, 100.0)
    inside = (x / wide) ** 2 + (y / deep) ** 2 < 1
    suv = inside * np.random.default_rng(1).normal(1.1, 0.15, shape_zyx).astype(np.float32)
    suv[((z - 0.8 * z.max()) / 50) ** 2 + (x / 60) ** 2 + (y / 75) ** 2 < 1] = 8.0
    for number in range(6):
        center = (-20.0 - 20 * number, -10.0 + 12 * (number % 3), (-1) ** number * (20.0 + 6 * number))
        squares = (z - center[0]) ** 2 + (y - center[1]) ** 2 + (x - center[2]) ** 2
        suv[squares < (14.0 - 1.5 * number) ** 2] = 12.0 - number
    images = {"pet": suv, "ct": np.where(inside, 40.0, -1000.0).astype(np.float32)}
    channels = [
        np.clip((images[c.image] - c.window[0]) / (c.window[1] - c.window[0]), 0, 1) for c in card.recipe.channels
    ]
    return np.stack(channels).astype(np.float32), suv >= 1.0


def plain(job: Job, flip_axes: str = "") -> Callable[[], np.ndarray]:
    """The model's patches in 32-bit float, as every label is compared with."""
    device = replace(choose_device(job.device), bf16=False)
    networks, recipe = move_networks(job.networks[:1], device), job.card.recipe
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    options = {"worth": job.worth, "classes": len(job.card.classes), "flip_axes": flip_axes}
    return lambda: answer_in_tiles(job.array, networks, recipe.patch_zyx, recipe.overlap, device, **options).foreground


def ours(job: Job, members: int = 1, flip_axes: str = "", **changes: Any) -> Callable[[], np.ndarray]:
    """As the command line and the worker run it; with more members than the model has, some take part twice."""
    keep_freed_memory()
    networks = [copy.deepcopy(job.networks[number % len(job.networks)]) for number in range(members)]
    options = {"flip_axes": flip_axes, "classes": len(job.card.classes)}
    engine = Engine(replace(job.card.recipe, **changes), networks, choose_device(job.device), **options)
    return lambda: engine.run(job.array, job.worth)[0].foreground


def monai(job: Job) -> Callable[[], np.ndarray]:
    """SlidingWindowInferer at its defaults: overlap 0.25, every tile counts alike."""
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer(roi_size=job.card.recipe.patch_zyx)
    network = move_networks(job.networks[:1], choose_device(job.device))[0]

    def run() -> np.ndarray:
        with torch.no_grad():
            return inferer(job.input[None].to(job.device), network)[0].cpu().numpy()

    return run


def nnunet(job: Job, mirroring: bool = True) -> Callable[[], np.ndarray]:
    """nnU-Net v2's predictor at its defaults (half a patch's step, Gaussian, mirroring), given our network object."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device(job.device), allow_tqdm=False, use_mirroring=mirroring)
    heads = SimpleNamespace(num_segmentation_heads=len(job.card.classes))
    predictor.manual_initialization(
        job.networks[0],
        plans_manager=SimpleNamespace(get_label_manager=lambda dataset_json: heads),
        configuration_manager=SimpleNamespace(patch_size=list(job.card.recipe.patch_zyx)),
        parameters=[job.networks[0].state_dict()],
        dataset_json={},
        trainer_name="",
        inference_allowed_mirroring_axes=(0, 1, 2),
    )
    return lambda: predictor.predict_logits_from_preprocessed_data(job.input).float().numpy()


WAYS: dict[str, Callable[[Job], Callable[[], np.ndarray]]] = {
    "plain": plain,
    "plain_mirrored": lambda job: plain(job, "zyx"),
    "ours": ours,
    "ours_one_pass": lambda job: ours(job, one_pass=True),
    "ours_mirrored": lambda job: ours(job, flip_axes="zyx"),
    "monai": monai,
    "nnunet": nnunet,
    "nnunet_no_mirroring": lambda job: nnunet(job, mirroring=False),
    "ours_five": lambda job: ours(job, MEMBERS, "zyx"),
}


def labels_of(answer: np.ndarray, classes: int) -> np.ndarray:
    """Most probable class; ``answer`` may lack the background, which then is 1 minus the others."""
    if len(answer) < classes:
        answer = np.concatenate([1.0 - answer.sum(axis=0, keepdims=True), answer])
    return answer.argmax(axis=0).astype(np.uint8)


def memory_gb(name: str) -> float:
    """``VmRSS`` or ``VmHWM`` of this process; not a number where there is no /proc."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":")) * 1024 / 1e9


def forget_peak() -> None:
    """Let ``VmHWM`` begin anew, so that imports do not count."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5", encoding="ascii")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("way", choices=sorted(WAYS))
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--shape", type=int, nargs=3, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=2)
    arguments = parser.parse_args()
    card = ModelCard.load(arguments.model)
    job = Job(card, load_networks(arguments.model), *volume(card, tuple(arguments.shape)), arguments.device)
    try:
        run = WAYS[arguments.way](job)
    except ImportError as error:
        print(error.name or error)
        raise SystemExit(NOT_HERE) from error
    gpu = arguments.device.startswith("cuda")
    forget_peak()
    before_gb = memory_gb("VmRSS")
    seconds, cpu_s = [], []
    for _ in range(arguments.runs):
        began, began_cpu = time.perf_counter(), time.process_time()
        answer = run()
        seconds.append(time.perf_counter() - began)
        cpu_s.append(time.process_time() - began_cpu)
    result = {
        "seconds": seconds,
        "cpu_s": cpu_s,
        "peak_gb": memory_gb("VmHWM"),
        "run_gb": memory_gb("VmHWM") - before_gb,
        "members": len(job.networks),
        "gpu_gb": torch.cuda.max_memory_allocated() / 1e9 if gpu else None,
        "device": torch.cuda.get_device_name() if gpu else choose_device("cpu").description,
    }
    np.save(arguments.out / "labels.npy", labels_of(answer, len(card.classes)))
    (arguments.out / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
