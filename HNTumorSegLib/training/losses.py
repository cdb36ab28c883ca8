"""Losses, in plain torch so that the loop also runs where only torch and numpy are."""

from __future__ import annotations

import torch


def dice_ce(logits: torch.Tensor, labels: torch.Tensor, lesion_share: float = 0.0) -> torch.Tensor:
    """Soft Dice (over the foreground classes, pooled over the batch) plus cross-entropy (Nikulin et al. 2023).

    Args:
        logits: (N, C, Z, Y, X); class 0 is background.
        labels: (N, Z, Y, X) integers 0..C-1.
        lesion_share: share of the cross-entropy that is averaged over each foreground class's own voxels. Averaged
            over all voxels, lesions (one voxel in a thousand) have no weight in it, Dice has no gradient where a
            class's probability has gone to zero, and a class that was lost early (the nodes, in a run of 2,500 steps)
            never comes back.

    Pooling over the batch keeps a class that one patch lacks from counting as a total failure there.
    """
    logits = logits.float()
    cross_entropy = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    of_class = [cross_entropy[labels == c] for c in range(1, logits.shape[1])]
    of_class = [values.mean() for values in of_class if values.numel()]
    lesions = torch.stack(of_class).mean() if of_class else cross_entropy.mean()
    entropy = (1 - lesion_share) * cross_entropy.mean() + lesion_share * lesions

    probability = torch.softmax(logits, dim=1)[:, 1:]
    truth = torch.stack([labels == c for c in range(1, logits.shape[1])], dim=1).to(probability.dtype)
    axes = (0, 2, 3, 4)
    common = (probability * truth).sum(axes)
    total = probability.sum(axes) + truth.sum(axes)
    dice = (2 * common + 1.0) / (total + 1.0)
    return 1 - dice.mean() + entropy


LOSSES = {"dice_ce": dice_ce}
