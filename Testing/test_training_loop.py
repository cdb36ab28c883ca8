"""The loop: schedules and sampling against second implementations, early end, and errors that keep the run's state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny_training import TINY, blob_case, with_training

from HNTumorSegLib.errors import ModelError, OutOfMemoryError
from HNTumorSegLib.recipes import RECIPES, get_recipe
from HNTumorSegLib.training.augmentation import Augmentation, draw_displacement, sample
from HNTumorSegLib.training.case import Case
from HNTumorSegLib.training.loop import TrainingRun
from HNTumorSegLib.training.patches import PatchSampler
from HNTumorSegLib.training.plan import network_classes, plan_of
from HNTumorSegLib.training.schedules import build_optimiser, learning_rate

PLAIN = {"augmentation": ["flip"], "ct_dropout": 0.0}


def torch_rates(scheduler_class, steps, **options):
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = scheduler_class(optimiser, **options)
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        optimiser.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("entries", "scheduler_class", "options"),
    [
        ({"schedule": "cosine"}, torch.optim.lr_scheduler.CosineAnnealingLR, {"T_max": 40}),
        ({"schedule": "poly", "power": 0.9}, torch.optim.lr_scheduler.PolynomialLR, {"total_iters": 40, "power": 0.9}),
        (
            {"schedule": "cosine_restarts", "restart_steps": 5, "restart_factor": 2},
            torch.optim.lr_scheduler.CosineAnnealingWarmRestarts,
            {"T_0": 5, "T_mult": 2},
        ),
        (
            {"schedule": "cosine_restarts", "restart_epochs": 2},
            torch.optim.lr_scheduler.CosineAnnealingWarmRestarts,
            {"T_0": 10},
        ),
        ({"schedule": "constant"}, torch.optim.lr_scheduler.ConstantLR, {"factor": 1.0}),
    ],
)
def test_schedules_are_torchs(entries, scheduler_class, options):
    plan = plan_of(with_training(steps=40, learning_rate=0.3, warm_up_steps=0, **entries), n_cases=10)
    assert [learning_rate(plan, step) for step in range(40)] == pytest.approx(
        torch_rates(scheduler_class, 40, **options), abs=1e-9
    )


def test_warm_up_rises_to_the_peak():
    plan = plan_of(with_training(steps=40, learning_rate=0.3, warm_up_steps=4), n_cases=10)
    assert [learning_rate(plan, step) for step in range(5)] == pytest.approx([0.075, 0.15, 0.225, 0.3, 0.3])


@pytest.mark.parametrize("name", ["adam", "adamw", "adadelta", "sgd"])
def test_every_optimiser_lowers_a_bowl(name):
    parameter = torch.nn.Parameter(torch.tensor([3.0]))
    rate = {"adadelta": 30.0, "sgd": 0.05}.get(name, 0.1)
    optimiser = build_optimiser(
        plan_of(with_training(optimiser=name, learning_rate=rate, momentum=0.5), 4), [parameter]
    )
    assert type(optimiser).__name__.lower() == name
    for _ in range(60):
        optimiser.zero_grad()
        (parameter**2).sum().backward()
        optimiser.step()
    assert abs(parameter.item()) < 1.5


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_has_a_plan(name):
    plan = plan_of(get_recipe(name), 40)
    assert plan.steps > 0


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"optimizer": "adam"}, "'optimizer', which nothing reads"),
        ({"optimiser": "lion"}, "optimiser 'lion'; there are"),
        ({"batch": 0}, "'batch'.*give 1 or more"),
        ({"augmentation": {"afine": 1}}, "augmentation 'afine'"),
        ({"augmentation": ["mirror"]}, "augmentation 'mirror'"),
        ({"augmentation": {"affine": 2}}, "out of range"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(entries, message):
    with pytest.raises(ModelError, match=message):
        plan_of(with_training(**entries), 4)


def test_moved_patches_are_those_of_scipy():
    rng = np.random.default_rng(0)
    array = rng.uniform(size=(1, 30, 34, 28)).astype(np.float32)
    rule = Augmentation(affine=1, elastic=1)
    offsets = draw_displacement(rule, (12, 16, 14), 2.5, rng).shared
    start = np.array([6, 9, 5])
    at = (
        np.stack(np.meshgrid(*(np.arange(n) for n in (12, 16, 14)), indexing="ij"))
        + start[:, None, None, None]
        + offsets
    )
    inside = np.all((at > 1) & (at < np.array([28, 32, 26])[:, None, None, None]), axis=0)
    expected = ndimage.map_coordinates(array[0], at, order=1)
    found = sample(array, start, offsets)[0]
    assert np.abs(offsets).max() > 1
    assert np.abs(found - expected)[inside].max() < 1e-3


def test_misregistration_moves_the_ct_alone():
    """A ball that is the same in PET, CT and labels: PET and labels stay together, the CT goes astray."""
    z, y, x = np.mgrid[:24, :32, :32]
    ball = ((z - 12) ** 2 + (y - 16) ** 2 + (x - 16) ** 2 < 36).astype(np.float16)
    case = Case("ball", np.stack([ball, ball]), ball.astype(np.uint8))
    rule = Augmentation(0, 0, 0, 0, misregistration=1, misregistration_mm=5, misregistration_deg=0)
    distances = []
    for seed in range(40):
        sampler = PatchSampler(TINY, (24, 32, 32), np.random.default_rng(seed), augmentation=rule)
        inputs, labels = sampler.draw(case)
        pet, ct, truth = (np.array(ndimage.center_of_mass(a)) for a in (inputs[0], inputs[1], labels))
        assert np.abs(pet - truth).max() < 0.05
        distances.append(2.5 * (ct - truth))
    assert 3.5 < np.std(distances) < 6.5


def test_dropout_takes_one_image_and_never_both():
    case = Case("full", np.full((2, 8, 16, 16), 0.5, np.float16), np.ones((8, 16, 16), np.uint8))
    rule = Augmentation(0, 0, 0, 0, ct_dropout=0.4, pet_dropout=0.4)
    empty = []
    for seed in range(300):
        sampler = PatchSampler(TINY, (8, 16, 16), np.random.default_rng(seed), augmentation=rule)
        empty.append([not channel.any() for channel in sampler.draw(case)[0]])
    pet, ct = np.mean(empty, axis=0)
    assert 0.32 < ct < 0.48
    assert 0.16 < pet < 0.32  # 0.4 of those that kept their CT
    assert not np.all(empty, axis=1).any()


def test_classes_are_merged_as_the_recipe_says():
    recipe = replace(TINY, classes=("background", "tumour"), class_of_label=(0, 1, 1))
    assert network_classes(recipe, np.array([0, 1, 2, 2])).tolist() == [0, 1, 1, 1]


def test_deep_supervision_trains_every_head(tmp_path):
    base = get_recipe("yang2023_quick")
    recipe = replace(
        TINY,
        network=base.network,
        network_options={**base.network_options},
        patch_zyx=(32, 32, 32),
        training={
            **TINY.training,
            **PLAIN,
            "steps": 1,
            "batch": 1,
            "deep_supervision": base.training["deep_supervision"],
        },
    )
    recipe.training.pop("lesion_share")
    run = TrainingRun(recipe, blob_case, 1, tmp_path / "c.pt")
    before = {name: value.detach().clone() for name, value in run.network.named_parameters()}
    run.run()
    assert all(not torch.equal(value, before[name]) for name, value in run.network.named_parameters())


def test_training_ends_early_and_keeps_the_best(tmp_path):
    """Six scores that rise and fall; patience of two epochs (four steps) ends the run before its last step."""
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.2, 0.1])
    seen = []

    def validate(network):
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return {"score": next(scores)}

    recipe = with_training(**PLAIN, steps=12, validate_every=2, early_stopping_epochs=2, batch=2)
    run = TrainingRun(recipe, blob_case, 4, tmp_path / "c.pt", validate=validate, logs=tmp_path / "logs")
    best = run.run()
    assert run.step == 8
    assert run.stopped_early
    assert all(torch.equal(value, seen[1][name]) for name, value in best.state_dict().items())
    again = TrainingRun(recipe, blob_case, 4, tmp_path / "c.pt", validate=validate)
    again.run()
    assert again.step == 8
    assert (tmp_path / "logs" / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert again.losses == run.losses


def test_tensorboard_holds_what_the_run_did(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra 'train' is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = with_training(**PLAIN, steps=3)
    run = TrainingRun(recipe, blob_case, 4, tmp_path / "c.pt", logs=tmp_path / "logs")
    run.run()
    events = EventAccumulator(str(tmp_path / "logs" / "tensorboard"))
    events.Reload()
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(run.losses)


def test_a_loss_that_is_no_number_names_its_cases_and_keeps_the_state(tmp_path):
    recipe = with_training(**PLAIN, steps=8)

    def poisoned(index):
        case = blob_case(index)
        if index == 2 and poison:
            case.inputs[:] = np.nan
        return case

    poison = False
    TrainingRun(recipe, poisoned, 4, tmp_path / "c.pt", save_every=2, stop_after=2).run()
    poison = True
    with pytest.raises(
        ModelError, match=r"loss of step \d is nan; its batch was drawn from the cases .*blob-2"
    ) as caught:
        TrainingRun(recipe, poisoned, 4, tmp_path / "c.pt", save_every=2).run()
    assert "holds the last good state" in str(caught.value)
    kept = torch.load(tmp_path / "c.pt", weights_only=True)
    assert kept["step"] >= 2
    assert all(bool(torch.isfinite(value.float()).all()) for value in kept["network"].values())


def test_too_little_memory_is_told_with_the_batch(tmp_path):
    recipe = with_training(**PLAIN, steps=2, patch_zyx=[40000, 40000, 40000])
    with pytest.raises(
        OutOfMemoryError, match=r"Step 0 does not fit.*2 patches of 40000 x 40000 x 40000.*smaller batch"
    ):
        TrainingRun(recipe, blob_case, 4, tmp_path / "c.pt").run()


def test_checkpoints_of_other_settings_and_damaged_ones_are_refused(tmp_path):
    path = tmp_path / "c.pt"
    TrainingRun(with_training(**PLAIN, steps=1), blob_case, 4, path).run()
    with pytest.raises(ModelError, match=r"other settings: training\.steps was 1 and is 2"):
        TrainingRun(with_training(**PLAIN, steps=2), blob_case, 4, path)
    with pytest.raises(ModelError, match="belongs to recipe 'tiny', not 'other'"):
        TrainingRun(replace(with_training(**PLAIN, steps=1), name="other"), blob_case, 4, path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ModelError, match="cannot be read"):
        TrainingRun(with_training(**PLAIN, steps=1), blob_case, 4, path)


def test_half_precision_on_a_processor_and_no_cases_are_refused(tmp_path):
    with pytest.raises(ModelError, match="needs a GPU"):
        TrainingRun(with_training(precision="fp16"), blob_case, 4, tmp_path / "c.pt")
    with pytest.raises(ModelError, match="no case to train on"):
        TrainingRun(TINY, blob_case, 0, tmp_path / "c.pt")


def test_bf16_is_not_used_where_a_kernel_is_wider_than_its_grid(tmp_path):
    for patch, precision in (([8, 16, 16], "bf16"), ([4, 16, 16], "fp32")):
        recipe = with_training(patch_zyx=patch, precision="auto")
        run = TrainingRun(recipe, blob_case, 4, tmp_path / "checkpoint.pt", device="cpu")
        assert run._precision(native_bf16=True) == precision
