"""Nikulin et al., EJNMMI 2023: residual 3-D U-Net with self-attention for metabolic tumour volume on FDG-PET/CT."""

from __future__ import annotations

from dataclasses import replace

from HNTumorSegLib.recipes.recipe import CT, PET, Channel, Recipe

SOURCE = (
    "Nikulin P, Zschaeck S, Maus J, et al. A convolutional neural network with self-attention for fully automated "
    "metabolic tumor volume delineation of head and neck cancer in [18F]FDG PET/CT. Eur J Nucl Med Mol Imaging 2023."
)


FIGURES = {
    "cross-validation": {"dsc_primary": 0.885, "dsc_node": 0.805, "dsc_union": 0.870, "accuracy": 0.980},
    "external": {"dsc_primary": 0.850, "dsc_node": 0.724, "dsc_union": 0.823, "accuracy": 0.979},
}
"""The publication's: cohort DSC (Table 1) and share of voxels given the right kind (Table 2)."""


def nikulin2023() -> Recipe:
    """The system as published; what the paper leaves open is listed in ``deviations``."""
    return Recipe(
        name="nikulin2023",
        source=SOURCE,
        channels=(Channel(PET, (0.0, 20.0)), Channel(CT, (-150.0, 150.0), missing=0.0)),
        spacing_mm=2.5,
        patch_zyx=(32, 128, 128),
        network="attention_unet",
        network_options={"channels": [32, 64, 128, 256], "heads": 8, "norm": "instance"},
        overlap=(0.75, 0.0, 0.0),
        minimum_lesion_ml=0.1,
        training={
            "loss": "dice_ce",
            "optimiser": "adadelta",
            "learning_rate": 1.0,
            "batch": 16,
            "epochs": 200,
            "early_stopping_epochs": 30,
            "folds": 5,
        },
        deviations=(
            "Width, depth and normalisation are in the paper's supplement only; four levels of 32 to 256 features "
            "with instance norm are the field's usual choice.",
            "PET is mapped from a fixed window of SUV instead of each scan's own range, so that a hot bladder "
            "or brain does not change how a tumour looks.",
        ),
    )


def nikulin2023_fast() -> Recipe:
    """A narrow variant for two processor cores; with batch norm the answer does not depend on the tile."""
    return replace(
        nikulin2023(),
        name="nikulin2023_fast",
        channels=(Channel(PET, (0.0, 15.0)), Channel(CT, (-150.0, 150.0), missing=0.0)),
        patch_zyx=(96, 128, 128),
        network_options={"channels": [16, 32, 48, 64, 96], "heads": 4, "norm": "batch"},
        overlap=(0.25, 0.25, 0.25),
        training={
            "loss": "dice_ce",
            "optimiser": "adamw",
            "learning_rate": 6e-4,
            "weight_average": 0.995,
            "weight_decay": 1e-2,
            "batch": 2,
            "patch_zyx": [64, 80, 80],
            "steps": 1600,
            "lesion_share": 0.05,
            "ct_dropout": 0.25,
        },
        deviations=(
            *nikulin2023().deviations[1:],
            "Five levels of 16 to 96 features with batch norm, AdamW, patches of 64 x 80 x 80 voxels in training and "
            "96 x 128 x 128 in use, 25 % overlap.",
            "5 % of the cross-entropy is averaged over the lesions' own voxels, or the nodes can be lost early.",
            "In a quarter of the training patches the CT is left out, so that PET alone can be delineated.",
        ),
    )


def nikulin2023_quick() -> Recipe:
    """A still narrower variant: five folds of it train within half an hour on two processor cores."""
    return replace(
        nikulin2023_fast(),
        name="nikulin2023_quick",
        spacing_mm=4.0,
        patch_zyx=(48, 64, 64),
        network_options={"channels": [12, 24, 48, 64], "heads": 4, "norm": "batch"},
        training={
            **nikulin2023_fast().training,
            "patch_zyx": [48, 48, 48],
            "batch": 2,
            "steps": 400,
            "folds": 5,
        },
        deviations=(
            *nikulin2023().deviations[1:],
            "Voxels of 4 mm, four levels of 12 to 64 features with batch norm, AdamW, 400 steps, 25 % overlap.",
            *nikulin2023_fast().deviations[2:],
        ),
    )
