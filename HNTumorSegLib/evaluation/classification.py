"""Primary tumour or lymph-node metastasis: how well the voxels found by both are told apart (Nikulin et al. 2023).

Only voxels in both delineations count, whatever their class there: the classes are compared, not the outlines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from HNTumorSegLib.lesions.codes import LABEL_NODE, LABEL_PRIMARY


@dataclass(frozen=True)
class VoxelClassification:
    """Numbers of voxels in both delineations; they add over patients.

    Attributes:
        true_primary: T_PT, true primary voxels delineated as primary tumour.
        false_primary: F_PT, true node voxels delineated as primary tumour.
        true_node: T_LN, true node voxels delineated as node.
        false_node: F_LN, true primary voxels delineated as node.
    """

    true_primary: float = 0
    false_primary: float = 0
    true_node: float = 0
    false_node: float = 0

    def __add__(self, other: VoxelClassification) -> VoxelClassification:
        return VoxelClassification(
            self.true_primary + other.true_primary,
            self.false_primary + other.false_primary,
            self.true_node + other.true_node,
            self.false_node + other.false_node,
        )

    @property
    def n_voxels(self) -> float:
        """Voxels in both delineations."""
        return self.true_primary + self.false_primary + self.true_node + self.false_node

    @property
    def n_errors(self) -> float:
        """Voxels of the wrong class."""
        return self.false_primary + self.false_node

    @property
    def tpr_primary(self) -> float | None:
        """TPR_PT = T_PT / (T_PT + F_LN); None without true primary voxels."""
        return share(self.true_primary, self.true_primary + self.false_node)

    @property
    def tpr_node(self) -> float | None:
        """TPR_LN = T_LN / (T_LN + F_PT); None without true node voxels."""
        return share(self.true_node, self.true_node + self.false_primary)

    @property
    def accuracy(self) -> float | None:
        """ACC = (T_PT + T_LN) / (T_PT + F_PT + T_LN + F_LN); None without common voxels."""
        return share(self.true_primary + self.true_node, self.n_voxels)

    def normalised(self) -> VoxelClassification | None:
        """The contingency table with the sum 1; None without common voxels."""
        n = self.n_voxels
        if not n:
            return None
        return VoxelClassification(
            self.true_primary / n, self.false_primary / n, self.true_node / n, self.false_node / n
        )


def share(part: float, whole: float) -> float | None:
    """``part / whole``; None when the whole is 0."""
    return part / whole if whole else None


def classify_voxels(predicted: np.ndarray, truth: np.ndarray) -> VoxelClassification:
    """Compare the classes of two label arrays (0, 1, 2) of the same shape."""

    def count(predicted_label: int, true_label: int) -> int:
        return int(np.count_nonzero((predicted == predicted_label) & (truth == true_label)))

    return VoxelClassification(
        true_primary=count(LABEL_PRIMARY, LABEL_PRIMARY),
        false_primary=count(LABEL_PRIMARY, LABEL_NODE),
        true_node=count(LABEL_NODE, LABEL_NODE),
        false_node=count(LABEL_NODE, LABEL_PRIMARY),
    )
