"""Yang et al., SegRap 2023: plain 3-D U-Net with deep supervision on plain and contrast-enhanced CT."""

from __future__ import annotations

from dataclasses import replace

from HNTumorSegLib.recipes.recipe import CT, CT_CONTRAST, Channel, Recipe

SOURCE = (
    "Yang K, Fang X, Li X, Li Q, Wang Z. Accurate and efficient segmentation for gross tumor volume in head and neck "
    "CT. SegRap challenge, MICCAI 2023."
)
FIGURES = {
    "Dice + CE, validation": {"dsc_primary": 0.7986, "dsc_node": 0.7737, "nsd_primary": 0.7228, "nsd_node": 0.7312},
    "Dice + focal, validation": {"dsc_primary": 0.8044, "dsc_node": 0.7726, "nsd_primary": 0.7261, "nsd_node": 0.7309},
    "Dice + focal, test": {"dsc_primary": 0.7876, "dsc_node": 0.6741, "nsd_primary": 0.3592, "nsd_node": 0.6308},
}
"""The publication's."""


def yang2023() -> Recipe:
    """The system as published; GTVp is the class primary tumour, GTVnd the class lymph-node metastasis."""
    return Recipe(
        name="yang2023",
        source=SOURCE,
        channels=(Channel(CT, (-160.0, 240.0)), Channel(CT_CONTRAST, (-160.0, 240.0))),
        spacing_mm=1.0,
        patch_zyx=(96, 160, 160),
        network="unet_deep_supervision",
        network_options={"channels": [32, 64, 128, 256, 320, 320], "supervised": 3, "norm": "instance"},
        overlap=(0.5, 0.5, 0.5),
        flip_axes="zyx",
        training={
            "loss": "tversky_focal",
            "loss_options": {"alpha": 0.5, "beta": 0.5, "gamma": 2.0},
            "deep_supervision": [1.0, 0.5, 0.25, 0.125],
            "optimiser": "sgd",
            "learning_rate": 1e-2,
            "momentum": 0.99,
            "weight_decay": 3e-5,
            "schedule": "poly",
            "batch": 2,
            "epochs": 1000,
            "steps_per_epoch": 250,
            "folds": 5,
            "augmentation": {"affine": 0.2, "rotation_deg": 15.0, "scaling": 0.15, "gamma": 0.15},
        },
        deviations=(
            "Widths, patch, SGD with a poly schedule, 1000 epochs of 250 steps and augmentation are nnU-Net's, after "
            "which the publication models its network; it gives none of them.",
            "Voxels of 1 mm along all axes; the challenge's scans have slices of 3 mm.",
            "A window of -160 to 240 HU instead of statistics of the training scans.",
            "Deep outputs weigh half of the next finer one's.",
            "alpha and beta of the Tversky form are 0.5, which is Dice; the publication writes the letters only.",
        ),
    )


def yang2023_one_ct() -> Recipe:
    """The same for patients with one CT, as in PET/CT."""
    return _of_one_ct(yang2023())


def yang2023_one_ct_quick() -> Recipe:
    """Its narrow variant."""
    return _of_one_ct(yang2023_quick())


def _of_one_ct(recipe: Recipe) -> Recipe:
    quick = "_quick" if recipe.name.endswith("_quick") else ""
    return replace(
        recipe,
        name=f"yang2023_one_ct{quick}",
        channels=(recipe.channels[0], Channel(CT, (0.0, 120.0))),
        deviations=(
            "The two channels are two windows of one CT (-160 to 240 and 0 to 120 HU), for patients without a second, "
            "contrast-enhanced one.",
            *recipe.deviations,
        ),
    )


def yang2023_quick() -> Recipe:
    """A narrow variant for two processor cores."""
    full = yang2023()
    return replace(
        full,
        name="yang2023_quick",
        spacing_mm=4.0,
        patch_zyx=(48, 48, 48),
        network_options={"channels": [12, 24, 48, 64], "supervised": 2, "norm": "instance"},
        overlap=(0.25, 0.25, 0.25),
        flip_axes="x",
        training={
            "loss": "tversky_focal",
            "loss_options": {"alpha": 0.5, "beta": 0.5, "gamma": 2.0},
            "deep_supervision": [1.0, 0.5, 0.25],
            "optimiser": "adamw",
            "learning_rate": 2e-3,
            "weight_decay": 1e-2,
            "batch": 2,
            "steps": 500,
            "folds": 2,
        },
        deviations=(
            *full.deviations[2:],
            "Voxels of 4 mm, four levels of 12 to 64 features, AdamW, 500 steps, left-right flips only.",
        ),
    )
