"""Random patches of cases, where small lesions are seen as often as large ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from HNTumorSegLib.recipes.recipe import CT, Recipe
from HNTumorSegLib.training.augmentation import Augmentation, Displacement, change_values, draw_displacement, sample
from HNTumorSegLib.training.case import Case


@dataclass
class PatchSampler:
    """Draws augmented patches; the share ``on_lesion`` lies around a voxel of a class that is drawn first.

    Drawing the class before the voxel shows nodes as often as the (larger) primaries; ``lesions_alike`` also draws the
    lesion before the voxel, so that small ones are shown as often as large ones of their class. ``augmentation`` None
    takes the recipe's.
    """

    recipe: Recipe
    patch_zyx: tuple[int, int, int]
    rng: np.random.Generator
    on_lesion: float = 0.75
    augmentation: Augmentation | None = None
    lesions_alike: bool = False

    def __post_init__(self) -> None:
        if self.augmentation is None:
            from HNTumorSegLib.training.plan import plan_of

            self.augmentation = plan_of(self.recipe, 1).augmentation

    def draw(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (C, z, y, x) float32 and labels (z, y, x) int64 of one patch; beyond the case it is padded with 0."""
        start = self._start(case.labels)
        moved = draw_displacement(self.augmentation, self.patch_zyx, self.recipe.spacing_mm, self.rng)
        if moved.any:
            inputs, labels = self._sample(case, start, moved)
        else:
            inputs = self._cut(case.inputs, start).astype(np.float32)
            labels = self._cut(case.labels[None], start)[0].astype(np.int64)
        if self.rng.random() < self.augmentation.flip:
            inputs, labels = inputs[..., ::-1].copy(), labels[..., ::-1].copy()
        return change_values(inputs, self.recipe.channels, self.augmentation, self.rng), labels

    def _start(self, labels: np.ndarray) -> np.ndarray:
        """First voxel of the patch; negative where it begins before the case."""
        shape, patch = np.array(labels.shape), np.array(self.patch_zyx)
        present = [c for c in np.unique(labels).tolist() if c]
        if present and self.rng.random() < self.on_lesion:
            chosen = labels == self.rng.choice(present)
            if self.lesions_alike:
                lesions, count = ndimage.label(chosen)
                chosen = lesions == self.rng.integers(1, count + 1)
            voxels = np.flatnonzero(chosen)
            center = np.array(np.unravel_index(self.rng.choice(voxels), labels.shape))
            start = center - patch // 2 + np.rint(self.rng.normal(0, 0.15, 3) * patch).astype(int)
        else:
            start = np.array([self.rng.integers(0, max(1, n - p + 1)) for n, p in zip(shape, patch, strict=True)])
        return np.clip(start, np.minimum(0, shape - patch), np.maximum(0, shape - patch))

    def _cut(self, array: np.ndarray, start: np.ndarray) -> np.ndarray:
        """(C, z, y, x) patch from ``start``."""
        out = np.zeros((array.shape[0], *self.patch_zyx), array.dtype)
        source = [
            slice(max(0, s), min(n, s + p)) for s, p, n in zip(start, self.patch_zyx, array.shape[1:], strict=True)
        ]
        target = [slice(a.start - s, a.stop - s) for a, s in zip(source, start, strict=True)]
        out[(slice(None), *target)] = array[(slice(None), *source)]
        return out

    def _sample(self, case: Case, start: np.ndarray, moved: Displacement) -> tuple[np.ndarray, np.ndarray]:
        """The patch turned, bent, and with the CT out of register; one interpolation, from beyond the patch's edge."""
        shared = np.zeros((3, *self.patch_zyx), np.float32) if moved.shared is None else moved.shared
        labels = sample(case.labels[None], start, shared, nearest=True)[0]
        inputs = sample(case.inputs, start, shared)
        ct = [i for i, channel in enumerate(self.recipe.channels) if channel.image == CT]
        if moved.ct is not None and ct:
            inputs[ct] = sample(case.inputs[ct], start, shared + moved.ct)
        return inputs, np.rint(labels).astype(np.int64)
