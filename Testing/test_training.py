"""Training: losses against direct formulas, patches against their case, resuming against going on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_training import blob_case

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.recipes import get_recipe
from HNTumorSegLib.training.augmentation import Augmentation
from HNTumorSegLib.training.case import Case
from HNTumorSegLib.training.loop import TrainingRun
from HNTumorSegLib.training.losses import dice_ce
from HNTumorSegLib.training.patches import PatchSampler
from HNTumorSegLib.training.phantom_cases import make_case, read_case, write_case

RECIPE = get_recipe("nikulin2023_fast")
TINY = replace(
    RECIPE,
    network_options={"channels": [4, 8], "heads": 2, "norm": "batch"},
    training={**RECIPE.training, "patch_zyx": [8, 16, 16], "steps": 6, "batch": 2, "lesion_share": 0.5},
)


def test_dice_ce_equals_monai_and_the_class_means():
    from monai.losses import DiceLoss

    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5, 6), torch.randint(0, 3, (2, 4, 5, 6))
    dice = DiceLoss(include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)
    entropy = -torch.log_softmax(logits, 1).gather(1, labels[:, None])[:, 0].numpy()
    lesions = (entropy[labels.numpy() == 1].mean() + entropy[labels.numpy() == 2].mean()) / 2
    expected = float(dice(logits, labels[:, None])) + 0.5 * entropy.mean() + 0.5 * lesions
    assert float(dice_ce(logits, labels, 0.5)) == pytest.approx(expected, rel=1e-5)
    plain = float(dice(logits, labels[:, None])) + entropy.mean()
    assert float(dice_ce(logits, labels)) == pytest.approx(plain, rel=1e-5)


def test_a_class_that_was_lost_comes_back():
    """Plain Dice plus mean cross-entropy leaves a rare class at probability zero for good."""
    labels = torch.zeros(1, 20, 20, 20, dtype=torch.long)
    labels[0, 3:5, 3:5, 3:5], labels[0, 12:17, 12:17, 12:17] = 2, 1
    bias = torch.tensor([12.0, 0.0, -12.0]).view(1, 3, 1, 1, 1)

    def pull(lesion_share: float) -> float:
        logits = (bias + torch.zeros(1, 3, 20, 20, 20)).requires_grad_()
        dice_ce(logits, labels, lesion_share).backward()
        return -float(logits.grad[0, 2][labels[0] == 2].sum())

    assert pull(0.0) < 0.01
    assert pull(0.5) > 0.1


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_much():
    labels = torch.randint(0, 3, (1, 6, 6, 6))
    perfect = 40.0 * torch.nn.functional.one_hot(labels, 3).permute(0, 4, 1, 2, 3).float()
    assert float(dice_ce(perfect, labels)) < 1e-3
    assert float(dice_ce(-perfect, labels)) > 2


@pytest.mark.parametrize(("alike", "share"), [(True, 0.5), (False, 8 / 1736)])
def test_small_lesions_can_be_shown_as_often_as_large_ones(alike, share):
    """Two lesions of a class, of 2**3 and 12**3 voxels, far enough apart that no patch around one holds the other."""
    labels = np.zeros((32, 32, 96), np.uint8)
    labels[10:12, 10:12, 4:6], labels[8:20, 8:20, 76:88] = 1, 1
    case = Case("two", np.zeros((2, *labels.shape), np.float16), labels)
    plain = Augmentation(**dict.fromkeys(("flip", "suv_scale", "hu_shift", "noise"), 0.0))
    sampler = PatchSampler(TINY, (8, 8, 8), np.random.default_rng(3), 1.0, plain, alike)
    shown = [sampler.draw(case)[1].sum() for _ in range(200)]
    assert np.mean([0 < n <= 8 for n in shown]) == pytest.approx(share, abs=0.12)


def test_patches_are_pieces_of_their_case():
    sampler = PatchSampler(TINY, (8, 16, 16), np.random.default_rng(0))
    case = blob_case(1)
    with_lesion = 0
    for _ in range(40):
        inputs, labels = sampler.draw(case)
        assert inputs.shape == (2, 8, 16, 16)
        assert inputs.min() >= 0
        assert inputs.max() <= 1
        # Augmentation moves values by far less than the step between the classes, so image and label still agree.
        if (labels == 1).any():
            assert inputs[0][labels == 1].mean() > inputs[0][labels == 0].mean() + 0.3
            with_lesion += 1
    assert with_lesion > 5


def test_a_case_smaller_than_the_patch_is_padded():
    case = blob_case(2)
    sampler = PatchSampler(TINY, (32, 48, 40), np.random.default_rng(0))
    _, labels = sampler.draw(case)
    assert labels.shape == (32, 48, 40)
    assert np.count_nonzero(labels) == np.count_nonzero(case.labels)


def test_the_ct_is_left_out_in_the_share_asked_for():
    sampler = PatchSampler(TINY, (8, 16, 16), np.random.default_rng(5))
    empty = [not sampler.draw(blob_case(3))[0][1].any() for _ in range(300)]
    assert 0.15 < np.mean(empty) < 0.35


def run(tmp_path, name, steps, recipe=TINY):
    recipe = replace(recipe, training={**recipe.training, "steps": steps})
    return TrainingRun(recipe, blob_case, 4, tmp_path / name, save_every=3)


def test_a_resumed_run_ends_at_the_same_weights(tmp_path):
    straight = run(tmp_path, "a.pt", 6).run()
    torch.random.manual_seed(123)

    class Stop(Exception):
        pass

    def stop_after_four(event):
        if event.fraction >= 4 / 6:
            raise Stop

    with pytest.raises(Stop):
        run(tmp_path, "b.pt", 6).run(stop_after_four)
    resumed = run(tmp_path, "b.pt", 6)
    assert resumed.step == 3
    for a, b in zip(straight.state_dict().values(), resumed.run().state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_training_learns_two_simple_cases(tmp_path):
    plan = {**TINY.training, "steps": 90, "patch_zyx": [16, 24, 24], "learning_rate": 1e-2}
    training = TrainingRun(replace(TINY, training=plan), blob_case, 2, tmp_path / "c.pt", save_every=1000)
    network = training.run()
    case = blob_case(0)
    with torch.no_grad():
        predicted = network(torch.from_numpy(case.inputs.astype(np.float32))[None])[0].argmax(0).numpy()
    common = np.count_nonzero((predicted > 0) & (case.labels > 0))
    assert 2 * common / (np.count_nonzero(predicted) + np.count_nonzero(case.labels)) > 0.8


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    run(tmp_path, "d.pt", 3).run()
    with pytest.raises(ModelError, match="belongs to recipe"):
        run(tmp_path, "d.pt", 3, replace(TINY, name="other"))


def test_a_loss_that_is_no_number_stops_with_the_step(tmp_path):
    broken = run(tmp_path, "e.pt", 3)
    with torch.no_grad():
        broken.network.head.bias.fill_(float("nan"))
    with pytest.raises(ModelError, match="loss of step 0"):
        broken.run()


def test_a_phantom_case_is_what_inference_sees(tmp_path):
    path = write_case(2, RECIPE, tmp_path)
    kept = read_case(tmp_path, 2)
    assert kept.inputs.shape[1:] == kept.labels.shape
    assert kept.inputs.shape[2:] == (128, 128)
    assert set(np.unique(kept.labels)) == {0, 1, 2}
    assert kept.inputs[0][kept.labels > 0].mean() > 0.15  # SUV over 2 in the window 0 to 15
    stamp = path.stat().st_mtime_ns
    write_case(2, RECIPE, tmp_path)
    assert path.stat().st_mtime_ns == stamp
    assert np.array_equal(make_case(2, RECIPE).labels, kept.labels)
