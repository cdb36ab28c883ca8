"""Bourigault et al., HECKTOR 2021: NormResSE-UNet3+ on PET and CT, refined by a dense CRF."""

from __future__ import annotations

from dataclasses import replace

from HNTumorSegLib.recipes.recipe import BACKGROUND, CT, PET, PRIMARY, Channel, Recipe

SOURCE = (
    "Bourigault E, McGowan DR, Mehranian A, Papież BW. Multimodal PET/CT tumour segmentation and prediction of "
    "progression-free survival using a full-scale UNet with attention. HECKTOR challenge, MICCAI 2021."
)
FIGURES = {
    "fold 1": {"dsc": 0.792, "hd95_mm": 3.18, "dsc_crf": 0.822, "hd95_crf_mm": 3.11},
    "fold 2": {"dsc": 0.693, "hd95_mm": 3.43, "dsc_crf": 0.702, "hd95_crf_mm": 3.41},
    "fold 3": {"dsc": 0.728, "hd95_mm": 3.32, "dsc_crf": 0.749, "hd95_crf_mm": 3.29},
    "fold 4": {"dsc": 0.736, "hd95_mm": 3.31, "dsc_crf": 0.738, "hd95_crf_mm": 3.30},
    "fold 5": {"dsc": 0.742, "hd95_mm": 3.29, "dsc_crf": 0.756, "hd95_crf_mm": 3.28},
    "ensemble": {"dsc": 0.738, "hd95_mm": 3.30, "dsc_crf": 0.753, "hd95_crf_mm": 3.28},
}
"""The publication's (Table 1)."""


def bourigault2021() -> Recipe:
    """The system as published: the primary tumour alone, one network a centre left out."""
    return Recipe(
        name="bourigault2021",
        source=SOURCE,
        channels=(Channel(PET, (0.0, 20.0)), Channel(CT, (-1024.0, 1024.0))),
        spacing_mm=1.0,
        patch_zyx=(144, 144, 144),
        network="norm_res_se_unet3plus",
        network_options={
            "channels": [24, 48, 96, 192, 384, 384],
            "factors": [2, 2, 2, 2, 3],
            "skip_channels": 24,
        },
        overlap=(0.5, 0.5, 0.5),
        classes=(BACKGROUND, PRIMARY),
        class_of_label=(0, 1, 0),
        training={
            "loss": "log_cosh_dice_focal",
            "loss_options": {"gamma": 2.0, "smooth": 1.0},
            "optimiser": "adam",
            "learning_rate": 1e-2,
            "betas": [0.9, 0.999],
            "schedule": "cosine_restarts",
            "restart_epochs": 25,
            "warm_up_steps": 0,
            "deep_supervision": [1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125],
            "batch": 2,
            "epochs": 1000,
            "folds": 5,
            "split": "centre",
            "augmentation": {"flip": 0.5, "affine": 0.5, "scaling": 0.0},
        },
        deviations=(
            "PET is mapped from a fixed window of SUV instead of each scan's z-score, and the CT from -1024 to 1024 HU "
            "onto 0 to 1 instead of -1 to 1, so that one patient's values do not depend on what else is in the scan.",
            "Five levels that halve the grid give 384 maps of 9^3 voxels; the published bottom of 3^3 is reached by "
            "one more level whose grid is three times coarser.",
            "Each level gives 24 maps to each node of the decoder; the publication does not say how many.",
            "Two output maps with softmax instead of one with sigmoid.",
            "Deep outputs weigh half of the next finer one's; the CRF's weights are fitted on the validation cases and "
            "it is left out where it does not help. The publication gives neither.",
        ),
    )


def bourigault2021_quick() -> Recipe:
    """A narrow variant for two processor cores."""
    full = bourigault2021()
    return replace(
        full,
        name="bourigault2021_quick",
        spacing_mm=4.0,
        patch_zyx=(48, 48, 48),
        network_options={"channels": [8, 16, 32, 48], "factors": [2, 2, 2], "skip_channels": 6},
        overlap=(0.25, 0.25, 0.25),
        training={
            **{k: v for k, v in full.training.items() if k not in ("epochs", "restart_epochs", "augmentation")},
            "learning_rate": 3e-3,
            "steps": 300,
            "restart_steps": 100,
            "deep_supervision": [1.0, 0.5, 0.25, 0.125],
            "folds": 3,
        },
        deviations=(
            full.deviations[0],
            *full.deviations[3:],
            "Voxels of 4 mm, four levels of 8 to 48 features on 48^3 voxels, three networks of 300 steps with a "
            "restart every 100.",
        ),
    )
