"""Lesion by lesion: which were found, which were missed, which are not there (Nikulin et al. 2023, Table 3).

A lesion is one connected structure of one class (voxels that share a face, an edge or a corner). A true lesion is found
when at least half of its voxels lie in the delineation of the *same class*; a delineated one is right when more than
half of its voxels lie in the truth of that class. Both halves are as the paper words them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from HNTumorSegLib.evaluation.classification import share
from HNTumorSegLib.lesions.from_labels import NEIGHBOURHOOD

COVERAGE = 0.5


@dataclass(frozen=True)
class Detection:
    """Numbers of lesions; they add over patients and over classes.

    Attributes:
        tp_true: TP_man, true lesions covered by at least 50 %.
        tp_predicted: TP_cnn, delineated lesions covered by more than 50 %.
        fn: the other true lesions.
        fp: the other delineated lesions.
    """

    tp_true: int = 0
    tp_predicted: int = 0
    fn: int = 0
    fp: int = 0

    def __add__(self, other: Detection) -> Detection:
        return Detection(
            self.tp_true + other.tp_true,
            self.tp_predicted + other.tp_predicted,
            self.fn + other.fn,
            self.fp + other.fp,
        )

    @property
    def tpr(self) -> float | None:
        """TPR_str = TP_man / (TP_man + FN); None without true lesions."""
        return share(self.tp_true, self.tp_true + self.fn)

    @property
    def ppv(self) -> float | None:
        """PPV_str = TP_cnn / (TP_cnn + FP); None without delineated lesions."""
        return share(self.tp_predicted, self.tp_predicted + self.fp)


def detect(predicted: np.ndarray, truth: np.ndarray) -> Detection:
    """Compare the lesions of one class in two boolean zyx masks of the same shape."""
    voxels, covered = _coverage(truth, predicted)
    tp_true = int(np.count_nonzero(covered >= COVERAGE * voxels))
    n_true = voxels.size
    voxels, covered = _coverage(predicted, truth)
    tp_predicted = int(np.count_nonzero(covered > COVERAGE * voxels))
    return Detection(tp_true, tp_predicted, fn=n_true - tp_true, fp=voxels.size - tp_predicted)


def without_small_structures(
    labels: np.ndarray, classes: tuple[int, ...], smallest_voxels: float
) -> tuple[np.ndarray, int]:
    """Labels without the connected structures of less than ``smallest_voxels``, and how many voxels that took away."""
    kept, n_dropped = labels, 0
    for label in classes:
        pieces, n = ndimage.label(labels == label, NEIGHBOURHOOD)
        voxels = np.bincount(pieces.ravel(), minlength=n + 1)
        small = voxels < smallest_voxels - 1e-6
        small[0] = False
        if small.any():
            kept = kept.copy() if kept is labels else kept
            kept[small[pieces]] = 0
            n_dropped += int(voxels[small].sum())
    return kept, n_dropped


def _coverage(lesions: np.ndarray, by: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of each connected structure, and how many of them the other mask covers."""
    pieces, n = ndimage.label(lesions, NEIGHBOURHOOD)
    voxels = np.bincount(pieces.ravel(), minlength=n + 1)[1:]
    covered = np.bincount(pieces[by], minlength=n + 1)[1:]
    return voxels, covered
