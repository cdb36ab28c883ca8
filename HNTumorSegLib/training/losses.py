"""Losses, in plain torch so that the loop also runs where only torch and numpy are."""

from __future__ import annotations

import torch


def dice_ce(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Soft Dice (over the foreground classes, pooled over the batch) plus cross-entropy (Nikulin et al. 2023).

    Args:
        logits: (N, C, Z, Y, X); class 0 is background.
        labels: (N, Z, Y, X) integers 0..C-1.

    Pooling over the batch keeps a class that one patch lacks from counting as a total failure there.
    """
    logits = logits.float()
    cross_entropy = torch.nn.functional.cross_entropy(logits, labels)
    probability = torch.softmax(logits, dim=1)[:, 1:]
    truth = torch.stack([labels == c for c in range(1, logits.shape[1])], dim=1).to(probability.dtype)
    axes = (0, 2, 3, 4)
    common = (probability * truth).sum(axes)
    total = probability.sum(axes) + truth.sum(axes)
    dice = (2 * common + 1.0) / (total + 1.0)
    return 1 - dice.mean() + cross_entropy


LOSSES = {"dice_ce": dice_ce}
