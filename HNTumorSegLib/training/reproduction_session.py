"""What every reproduction does: data, trainings, predictions on cases that a network never saw, figures on disk."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from HNTumorSegLib.errors import InputError, OutputError
from HNTumorSegLib.models.loading import load_networks
from HNTumorSegLib.progress import ProgressCallback, silent
from HNTumorSegLib.recipes import get_recipe
from HNTumorSegLib.recipes.recipe import Recipe
from HNTumorSegLib.training.case import Case
from HNTumorSegLib.training.case_cache import CaseCache
from HNTumorSegLib.training.job import MODEL_FOLDER, TrainingJob, run_job, with_settings, write_json
from HNTumorSegLib.training.layouts import PHANTOM_PREFIX, find_cases
from HNTumorSegLib.training.phantom_cases import EVALUATION_SEED
from HNTumorSegLib.training.phantom_files import ORGANS, write_phantom_set
from HNTumorSegLib.training.plan import network_classes
from HNTumorSegLib.training.sources import Source, require_organ_labels
from HNTumorSegLib.training.splits import SPLITS_FILE, Fold, Splits
from HNTumorSegLib.training.validation import predict_foreground

if TYPE_CHECKING:
    import torch

ROWS_FOLDER, RUN_FILE, TEST_FILE = "rows", "reproduction.json", "test_cases.json"
TEST_SHARE = 0.2
"""Of real data without a test set of its own, this share of the patients is set aside before anything is trained."""
LEAST_TEST = 4


@dataclass(frozen=True)
class Reproduction:
    """What to reproduce on what.

    Attributes:
        paper: name of the publication, see :data:`HNTumorSegLib.training.reproduction.PAPERS`.
        data: see :func:`HNTumorSegLib.training.layouts.find_cases`; ``phantom:N`` are N training patients.
        out: folder for data, trainings and the table.
        quick: the narrow recipes.
        test: other data to measure ensembles on; None: a share of ``data``, or other phantom patients.
        steps: length of every training in place of the recipe's, to try a reproduction out.
        device, seed: of the trainings.
    """

    paper: str
    data: str
    out: Path
    quick: bool = False
    test: str | None = None
    steps: int | None = None
    device: str = "auto"
    seed: int = 0

    @property
    def on_phantom(self) -> bool:
        """Whether the data are phantom patients."""
        return self.data.startswith(PHANTOM_PREFIX)


@dataclass(frozen=True)
class Trained:
    """A finished training: the recipe and, fold by fold, the network."""

    recipe: Recipe
    folds: tuple[Fold, ...]
    networks: tuple[torch.nn.Module, ...]


@dataclass(frozen=True)
class Prediction:
    """One case on the model's grid.

    Attributes:
        case: its inputs and labels.
        truth: class numbers of the network (Z, Y, X).
        members: foreground probabilities (K - 1, Z, Y, X) by each network that was asked.
    """

    case: Case
    truth: np.ndarray
    members: tuple[np.ndarray, ...]

    @property
    def ensemble(self) -> np.ndarray:
        """Mean of the members' probabilities."""
        return np.mean(self.members, axis=0)


@dataclass
class Session:
    """One reproduction under way; everything that is finished is found again in ``job.out``.

    ``kind`` is which phantom data the paper needs, ``test_kind`` the same of its test patients ("": it has none).
    """

    job: Reproduction
    kind: str
    test_kind: str
    progress: ProgressCallback = silent
    data: str = field(default="", init=False)
    test_sources: list[Source] = field(default_factory=list, init=False)
    leave_out: tuple[str, ...] = field(default=(), init=False)

    def prepare(self) -> None:
        """Data and test patients; refuses a folder that holds another reproduction."""
        job = self.job
        sources = find_cases(job.data)  # before anything is written: a mistyped folder leaves no run behind
        self._require_usable(sources)
        try:
            job.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"The folder '{job.out}' cannot be made: {error.strerror or error}.") from error
        self._require_same_run()
        if job.on_phantom:
            seeds = [source.seed for source in sources]
            self.data = self._phantoms("phantoms", seeds, self.kind)
        else:
            self.data = job.data
        if not self.test_kind:
            return
        if job.test:
            self.test_sources = find_cases(job.test)
        elif job.on_phantom:
            seeds = [EVALUATION_SEED + n for n in range(max(LEAST_TEST, len(seeds) // 3))]
            self.test_sources = find_cases(self._phantoms("phantoms_test", seeds, self.test_kind))
        else:
            self._set_aside()

    def recipe(self, name: str) -> Recipe:
        """The recipe, its quick variant where the run is quick.

        Quick trainings keep their last weights: looking for the best ones costs as much as training, and the cases
        that would choose them are those that the figures are measured on.
        """
        recipe = get_recipe(f"{name}_quick" if self.job.quick else name)
        settings: dict[str, Any] = {} if self.job.steps is None else {"steps": self.job.steps}
        if self.job.quick:
            settings["validate_every"] = self.job.steps or recipe.training["steps"]
        return with_settings(recipe, settings)

    def train(
        self, recipe: Recipe, splits: str | None = None, k: int | None = None, folds: Sequence[str] = ()
    ) -> Trained:
        """Train what is not trained yet."""
        out = self.job.out / "trainings" / recipe.name
        job = TrainingJob(
            recipe,
            self.data,
            out,
            splits=splits,
            k=k,
            folds=tuple(folds),
            seed=self.job.seed,
            device=self.job.device,
            resume=True,
            cache=self.job.out / "cases",
            leave_out=self.leave_out,
        )
        run_job(job, self.progress)
        found = Splits.load(out / SPLITS_FILE).folds
        chosen = tuple(fold for fold in found if not folds or fold.name in folds)
        return Trained(recipe, chosen, tuple(self._on_device(load_networks(out / MODEL_FOLDER))))

    def unseen(self, trained: Trained, fold: int, limit: int | None = None) -> Iterator[Prediction]:
        """The validation cases of a fold through the fold's network."""
        sources = {source.name: source for source in find_cases(self.data)}
        names = trained.folds[fold].validation[:limit]
        return self._predicted(trained.recipe, [sources[n] for n in names], (trained.networks[fold],))

    def test(self, trained: Trained) -> Iterator[Prediction]:
        """The test cases, which no network saw, through all of them."""
        return self._predicted(trained.recipe, self.test_sources, trained.networks)

    def kept(self, name: str, recipe: Recipe, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What ``compute`` gives, as plain JSON types; computed once and read from ``rows/NAME.json`` afterwards."""
        path = self.job.out / ROWS_FOLDER / f"{name}.json"
        key = hashlib.sha256(json.dumps(recipe.to_dict(), sort_keys=True).encode()).hexdigest()
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["recipe"] == key:
                return found["figures"]
        path.parent.mkdir(exist_ok=True)
        began = time.monotonic()
        figures = compute()
        write_json(path, {"recipe": key, "seconds": round(time.monotonic() - began, 1), "figures": figures})
        return figures

    def minutes(self) -> float:
        """Time that the rows took, as far as they were not interrupted."""
        files = (self.job.out / ROWS_FOLDER).glob("*.json")
        return sum(json.loads(path.read_text(encoding="utf-8"))["seconds"] for path in files) / 60

    def _predicted(
        self, recipe: Recipe, sources: list[Source], networks: Sequence[torch.nn.Module]
    ) -> Iterator[Prediction]:
        cache = CaseCache(self.job.out / "cases", recipe)
        plain = replace(recipe, crf={})
        for source in sources:
            case = cache.load(source)
            members = tuple(predict_foreground(case, [network], plain, self.job.device) for network in networks)
            yield Prediction(case, network_classes(recipe, case.labels), members)

    def _on_device(self, networks: list[torch.nn.Module]) -> list[torch.nn.Module]:
        from HNTumorSegLib.inference.device import choose_device

        return [network.to(choose_device(self.job.device).name) for network in networks]

    def _phantoms(self, name: str, seeds: list[int], kind: str) -> str:
        return str(write_phantom_set(self.job.out / name, seeds, kind, cores(), self.progress))

    def _require_usable(self, sources: list[Source]) -> None:
        """Refuse test data that are trained on, and tumour labels where organs are learned."""
        if self.kind == ORGANS and not self.job.on_phantom:
            require_organ_labels(sources)
        test = self.job.test
        if test is None:
            return
        if test.startswith(PHANTOM_PREFIX):
            raise InputError(
                f"--test {test} are the patients of --data phantom:N, which networks are trained on. Leave --test out: "
                "phantom patients that are never trained on are drawn by themselves."
            )
        trained_on = {str(source.key()) for source in sources}
        for source in find_cases(test):
            if str(source.key()) in trained_on:
                raise InputError(f"Case '{source.name}' is in --data and in --test; figures of it would flatter.")

    def _set_aside(self) -> None:
        """Choose the test patients of real data, once."""
        sources = find_cases(self.data)
        path = self.job.out / TEST_FILE
        if path.exists():
            self.leave_out = tuple(json.loads(path.read_text(encoding="utf-8")))
        else:
            patients = sorted({source.patient for source in sources})
            count = max(1, round(TEST_SHARE * len(patients)))
            rng = np.random.default_rng([self.job.seed, 5])
            chosen = {patients[n] for n in rng.choice(len(patients), count, replace=False)}
            self.leave_out = tuple(source.name for source in sources if source.patient in chosen)
            write_json(path, list(self.leave_out))
        self.test_sources = [source for source in sources if source.name in self.leave_out]

    def _require_same_run(self) -> None:
        job = self.job
        now = {name: getattr(job, name) for name in ("paper", "data", "quick", "test", "steps", "seed")}
        path = job.out / RUN_FILE
        if not path.exists():
            write_json(path, now)
            return
        former = json.loads(path.read_text(encoding="utf-8"))
        for name, value in now.items():
            if former.get(name) != value:
                raise InputError(
                    f"'{job.out}' holds a reproduction with another '{name}' ({former.get(name)}, now {value}). Use "
                    "another --out, or the former settings."
                )


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
