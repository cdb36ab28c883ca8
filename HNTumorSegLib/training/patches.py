"""Random patches of cases, where small lesions are seen as often as large ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from HNTumorSegLib.recipes.recipe import CT, PET, Recipe
from HNTumorSegLib.training.phantom_cases import Case


@dataclass
class PatchSampler:
    """Draws augmented patches; the share ``on_lesion`` lies around a voxel of a class that is drawn first.

    Drawing the class before the voxel shows nodes as often as the (larger) primaries.
    """

    recipe: Recipe
    patch_zyx: tuple[int, int, int]
    rng: np.random.Generator
    on_lesion: float = 0.75

    def draw(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (C, z, y, x) float32 and labels (z, y, x) int64 of one patch; beyond the case it is padded with 0."""
        start = self._start(case.labels)
        inputs = self._cut(case.inputs, start).astype(np.float32)
        labels = self._cut(case.labels[None], start)[0].astype(np.int64)
        return self._augment(inputs, labels)

    def _start(self, labels: np.ndarray) -> np.ndarray:
        """First voxel of the patch; negative where it begins before the case."""
        shape, patch = np.array(labels.shape), np.array(self.patch_zyx)
        present = [c for c in (1, 2) if (labels == c).any()]
        if present and self.rng.random() < self.on_lesion:
            voxels = np.flatnonzero(labels == self.rng.choice(present))
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

    def _augment(self, inputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Left-right flip, another SUV scale, another noise level, and the CT now and then left out."""
        rng = self.rng
        if rng.random() < 0.5:
            inputs, labels = inputs[..., ::-1].copy(), labels[..., ::-1].copy()
        for index, channel in enumerate(self.recipe.channels):
            if channel.image == PET:
                inputs[index] *= np.exp(rng.normal(0, 0.12))
            elif channel.image == CT:
                if channel.missing is not None and rng.random() < self.recipe.training.get("ct_dropout", 0.0):
                    inputs[index] = channel.missing
                    continue
                inputs[index] += rng.normal(0, 0.03)
            if rng.random() < 0.3:
                inputs[index] += rng.normal(0, rng.uniform(0, 0.03), inputs[index].shape)
        return np.clip(inputs, 0, 1), labels
