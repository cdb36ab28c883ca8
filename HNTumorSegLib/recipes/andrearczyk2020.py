"""Andrearczyk et al., MIDL 2020: V-Net in 2-D and 3-D on CT, PET or both, fused early or late."""

from __future__ import annotations

from dataclasses import replace

from HNTumorSegLib.recipes.recipe import BACKGROUND, CT, PET, TUMOUR, Channel, Recipe

SOURCE = (
    "Andrearczyk V, Oreiller V, Vallières M, et al. Automatic segmentation of head and neck tumors and nodal "
    "metastases in PET-CT scans. Medical Imaging with Deep Learning (MIDL) 2020."
)
INPUTS = ("ct", "pet", "early", "late")
FIGURES = {
    "CT only": {"dsc": 0.487},
    "PET only": {"dsc": 0.582},
    "late fusion, 2-D": {"dsc": 0.606},
    "best, 3-D": {"dsc": 0.597},
}
"""The publication's, from its abstract."""


def andrearczyk2020(dimensions: int = 2, inputs: str = "late") -> Recipe:
    """One row of the publication's table; the default is its best, the 2-D network with late fusion.

    Args:
        dimensions: 2 or 3.
        inputs: ``ct``, ``pet``, or both in ``early`` or ``late`` fusion.
    """
    images = {"ct": (CT,), "pet": (PET,)}.get(inputs, (PET, CT))
    windows = {PET: (0.0, 20.0), CT: (-200.0, 200.0)}
    return Recipe(
        name=f"andrearczyk2020_{dimensions}d_{inputs}",
        source=SOURCE,
        channels=tuple(Channel(image, windows[image]) for image in images),
        spacing_mm=1.0,
        patch_zyx=(16, 144, 144) if dimensions == 2 else (144, 144, 144),
        network="vnet",
        network_options={"dimensions": dimensions, "fusion": "late" if inputs == "late" else "early"},
        overlap=(0.0, 0.5, 0.5) if dimensions == 2 else (0.5, 0.5, 0.5),
        classes=(BACKGROUND, TUMOUR),
        class_of_label=(0, 1, 1),
        training={
            "loss": "dice",
            "optimiser": "adam",
            "learning_rate": 1e-3,
            "batch": 2,
            "epochs": 200,
            "folds": 4,
            "split": "centre",
            "augmentation": {"affine": 0.5},
        },
        deviations=(
            "Only the abstract is at hand: voxels of 1 mm and boxes of 144 voxels are those of the HECKTOR challenge "
            "of the same group, widths and depth those of the first V-Net, Adam at 0.001 with a cosine, 200 epochs "
            "and turned and scaled patches are the field's usual choice.",
            "Windows of SUV 0 to 20 and -200 to 200 HU instead of statistics of each scan.",
            "Late fusion concatenates the logits of one V-Net an image and mixes them by a 1x1x1 convolution, all "
            "trained at once.",
            "In 2-D, 16 neighbouring slices are a patch, each of them a sample of its own.",
        ),
    )


def andrearczyk2020_quick(dimensions: int = 2, inputs: str = "late") -> Recipe:
    """A narrow variant for two processor cores, to show the order of the rows on phantom patients."""
    full = andrearczyk2020(dimensions, inputs)
    return replace(
        full,
        name=f"{full.name}_quick",
        spacing_mm=4.0,
        patch_zyx=(8, 64, 64) if dimensions == 2 else (48, 64, 64),
        network_options={
            **full.network_options,
            "features": 8,
            "down_convolutions": [1, 2],
            "up_convolutions": [1, 1],
            "dropout": 0.1,
        },
        overlap=(0.0, 0.25, 0.25) if dimensions == 2 else (0.25, 0.25, 0.25),
        training={
            "loss": "dice",
            "optimiser": "adam",
            "learning_rate": 1e-2,
            "warm_up_steps": 20,
            "batch": 8 if dimensions == 2 else 4,
            "patch_zyx": [8, 32, 32] if dimensions == 2 else [24, 32, 32],
            "steps": 300,
            "folds": 2,
            "split": "centre",
        },
        deviations=(
            *full.deviations[1:],
            "Voxels of 4 mm, three levels of 8 to 32 features, dropout of 0.1, 300 steps of small patches: with Dice "
            "alone, a lesion that is a thousandth of its patch is hardly ever found.",
        ),
    )


def variants() -> list[tuple[int, str]]:
    """Dimensions and inputs of all rows."""
    return [(dimensions, inputs) for dimensions in (2, 3) for inputs in INPUTS]
