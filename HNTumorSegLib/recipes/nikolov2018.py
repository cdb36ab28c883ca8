"""Nikolov et al. 2018: 3-D U-Net for 21 organs at risk on planning CT."""

from __future__ import annotations

from dataclasses import replace

from HNTumorSegLib.recipes.recipe import BACKGROUND, CT, Channel, Recipe

SOURCE = (
    "Nikolov S, Blackwell S, Mendes R, et al. Deep learning to achieve clinically applicable segmentation of head and "
    "neck anatomy for radiotherapy. arXiv:1809.04430, 2018."
)
ORGANS = (
    "Brain",
    "Brainstem",
    "Cochlea-Lt",
    "Cochlea-Rt",
    "Lacrimal-Lt",
    "Lacrimal-Rt",
    "Lens-Lt",
    "Lens-Rt",
    "Lung-Lt",
    "Lung-Rt",
    "Mandible",
    "Optic-Nerve-Lt",
    "Optic-Nerve-Rt",
    "Orbit-Lt",
    "Orbit-Rt",
    "Parotid-Lt",
    "Parotid-Rt",
    "Spinal-Canal",
    "Spinal-Cord",
    "Submandibular-Lt",
    "Submandibular-Rt",
)
"""Names as in the published label files; the class of an organ is its place in this list, from 1 on."""

WITHIN = {"Lens-Lt": "Orbit-Lt", "Lens-Rt": "Orbit-Rt", "Spinal-Cord": "Spinal-Canal"}
"""Organs inside another one. One voxel has one class, so labels give it to the inner organ, and the outer organ is the
union of both classes when it is scored."""

PHANTOM_ORGANS = (
    "Brain",
    "Brainstem",
    "Mandible",
    "Orbit-Lt",
    "Orbit-Rt",
    "Parotid-Lt",
    "Parotid-Rt",
    "Spinal-Canal",
    "Spinal-Cord",
    "Submandibular-Lt",
    "Submandibular-Rt",
)
"""Those of :data:`ORGANS` that are large enough for voxels of 4 mm and are drawn in the phantom."""


def _phantom_class(organ: str) -> int:
    """Class of an organ among :data:`PHANTOM_ORGANS`; an organ within one of these is a part of it, others are none."""
    organ = organ if organ in PHANTOM_ORGANS else WITHIN.get(organ, "")
    return PHANTOM_ORGANS.index(organ) + 1 if organ in PHANTOM_ORGANS else 0


def nikolov2018() -> Recipe:
    """The system; labels of a case are the numbers of :data:`ORGANS`.

    Left and right are classes of their own, so patches are never mirrored.
    """
    return Recipe(
        name="nikolov2018",
        source=SOURCE,
        channels=(Channel(CT, (-500.0, 800.0)), Channel(CT, (-100.0, 200.0))),
        spacing_mm=1.5,
        patch_zyx=(96, 160, 160),
        network="unet_organs",
        network_options={"channels": [32, 64, 128, 256, 320], "norm": "instance"},
        overlap=(0.5, 0.5, 0.5),
        minimum_lesion_ml=0.0,
        classes=(BACKGROUND, *ORGANS),
        training={
            "loss": "dice_ce",
            "optimiser": "adamw",
            "learning_rate": 1e-3,
            "weight_decay": 1e-2,
            "batch": 2,
            "steps": 100_000,
            "lesion_share": 0.1,
            "folds": 1,
            "augmentation": {"flip": 0.0, "affine": 0.5, "elastic": 0.3, "gamma": 0.15},
        },
        deviations=(
            "The text at hand names the architecture only, so this is a strong modern default: a residual U-Net of "
            "five levels of 32 to 320 features with instance norm, Dice plus cross-entropy, AdamW with a cosine, "
            "100,000 steps.",
            "Voxels of 1.5 mm along all axes, patches of 96 x 160 x 160, so that left and right are both in sight.",
            "Two windows of the CT, wide for bone and lung and narrow for soft tissue.",
            "One class a voxel: a lens or the cord is cut out of the orbit or the canal and added again for scoring.",
            "A tenth of the cross-entropy is averaged over each organ's own voxels, as the cochleae are a "
            "hundred-thousandth of the brain.",
            "One network, as there; a fifth of the patients validates it. The text at hand names the sets that are "
            "trained and tested on and no validation set.",
        ),
    )


def nikolov2018_quick() -> Recipe:
    """A narrow variant for two processor cores and the eleven organs that the phantom draws."""
    full = nikolov2018()
    return replace(
        full,
        name="nikolov2018_quick",
        spacing_mm=4.0,
        patch_zyx=(48, 64, 64),
        network_options={"channels": [12, 24, 48, 64], "norm": "batch"},
        overlap=(0.25, 0.25, 0.25),
        classes=(BACKGROUND, *PHANTOM_ORGANS),
        class_of_label=(0, *(_phantom_class(organ) for organ in ORGANS)),
        training={**full.training, "learning_rate": 1e-3, "weight_average": 0.99, "steps": 1200, "batch": 1},
        deviations=(
            full.deviations[0].split(":")[0] + ".",
            *full.deviations[2:],
            "Voxels of 4 mm, four levels of 12 to 64 features with batch norm, 1200 steps, eleven organs.",
        ),
    )
