"""Each published network, with its recipe's own loss, learns two phantom patients by heart: DSC above 0.95 in each."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from HNTumorSegLib.inference.preprocess import model_grid, network_input
from HNTumorSegLib.networks import build_network
from HNTumorSegLib.phantom import make_patient
from HNTumorSegLib.recipes import get_recipe
from HNTumorSegLib.training.losses import build_loss

SEEDS = (0, 3)
SIDE = 24
MOST_STEPS, LOOK_EVERY, ENOUGH = 300, 10, 0.95

NARROW_VNET = {"down_convolutions": [1, 1], "up_convolutions": [1, 1], "dropout": 0.0}
SYSTEMS = {
    "nikulin2023": {"channels": [8, 16, 32], "heads": 2, "norm": "instance"},
    "andrearczyk2020_3d_early": {**NARROW_VNET, "dimensions": 3, "features": 4},
    "andrearczyk2020_2d_late": {**NARROW_VNET, "dimensions": 2, "fusion": "late", "features": 4},
    "yang2023_one_ct_quick": {"channels": [8, 16, 32], "supervised": 1},  # phantoms of this family have one CT here
    "nikolov2018": {"channels": [8, 16, 32]},
    "bourigault2021": {"channels": [8, 12, 16], "factors": [2, 2], "skip_channels": 4},
}


@pytest.fixture(scope="module")
def patients():
    return [make_patient(seed, economy=True) for seed in SEEDS]


def crops(patients, recipe) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs (2, C, 24, 24, 24) and classes (2, 24, 24, 24) at 4 mm about the lesions.

    The organs' network is taught the tumours too: the phantom's truth holds nothing else.
    """
    inputs, classes = [], []
    for patient in patients:
        grid = model_grid(patient.study.pet_geometry, 4.0)
        labels = sitk.GetArrayFromImage(patient.truth_on(grid))
        middle = np.argwhere(labels).mean(axis=0)
        start = np.clip((middle - SIDE / 2).astype(int), 0, np.array(labels.shape) - SIDE)
        box = grid.crop(tuple(int(n) for n in start[::-1]), (SIDE,) * 3)
        inputs.append(network_input(patient.study, recipe, box))
        mine = labels[tuple(slice(s, s + SIDE) for s in start)]
        assert set(np.unique(mine)) == {0, 1, 2}
        classes.append(np.array([recipe.network_class(label) for label in range(3)])[mine])
    return torch.from_numpy(np.stack(inputs)), torch.from_numpy(np.stack(classes))


def worst_dsc(network, inputs, classes) -> float:
    """Lowest DSC of any class of any patient, as in use: evaluation mode."""
    with torch.no_grad():
        found = network.eval()(inputs).argmax(1)
    return min(
        float(2 * ((f == c) & (t == c)).sum() / ((f == c).sum() + (t == c).sum()))
        for f, t in zip(found, classes, strict=True)
        for c in torch.unique(t)[1:]
    )


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_two_patients_are_learned_by_heart(patients, name):
    recipe = get_recipe(name)
    inputs, classes = crops(patients, recipe)
    torch.manual_seed(0)
    network = build_network(recipe.network, len(recipe.channels), min(3, len(recipe.classes)), **SYSTEMS[name])
    training = dict(recipe.training)
    if "deep_supervision" in training:  # the narrow variant has fewer levels
        training["deep_supervision"] = training["deep_supervision"][: len(network.train()(inputs))]
    loss = build_loss(training)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    best = worst_dsc(network, inputs, classes)
    assert best < 0.5
    for step in range(1, MOST_STEPS + 1):
        optimiser.zero_grad()
        loss(network.train()(inputs), classes).backward()
        optimiser.step()
        if step % LOOK_EVERY == 0:
            best = max(best, worst_dsc(network, inputs, classes))
            if best > ENOUGH:
                break
    assert best > ENOUGH
