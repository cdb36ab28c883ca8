"""Losses: MONAI's where it has them, composed as the five publications do; deep supervision around any of them.

Each takes logits (N, C, Z, Y, X), class 0 being background, and labels (N, Z, Y, X) of integers 0..C-1, and gives one
number. Sums run over the whole batch, so that a class that one patch lacks is not a total failure there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from HNTumorSegLib.errors import ModelError

Loss = Callable[..., torch.Tensor]


def dice_ce(
    logits: torch.Tensor, labels: torch.Tensor, lesion_share: float = 0.0, entropy_weight: float = 1.0
) -> torch.Tensor:
    """Soft Dice (over the foreground classes, pooled over the batch) plus cross-entropy (Nikulin et al. 2023).

    In plain torch, because no library has its ``lesion_share``.

    Args:
        logits: (N, C, Z, Y, X); class 0 is background.
        labels: (N, Z, Y, X) integers 0..C-1.
        lesion_share: share of the cross-entropy that is averaged over each foreground class's own voxels. Averaged
            over all voxels, lesions (one voxel in a thousand) have no weight in it, Dice has no gradient where a
            class's probability has gone to zero, and a class that was lost early (the nodes, in a run of 2,500 steps)
            never comes back.
        entropy_weight: factor to the cross-entropy beside Dice. At 1 Dice has nearly all the say, and it asks for
            certainty, not for honesty. At 100 the two weigh about the same and the probabilities mean what they say;
            unlike ``lesion_share`` this leaves cross-entropy's minimum where it is.
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
    return 1 - dice.mean() + entropy_weight * entropy


def dice(logits: torch.Tensor, labels: torch.Tensor, smooth: float = 1.0) -> torch.Tensor:
    """1 - (2 sum(y p) + smooth) / (sum(y) + sum(p) + smooth), mean of the foreground classes.

    V-Net's loss (Andrearczyk et al. 2020), in the form that Bourigault et al. 2021 write out (Eq. 1).
    """
    from monai.losses import DiceLoss

    loss = DiceLoss(
        include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=smooth, smooth_dr=smooth
    )
    return loss(logits.float(), labels[:, None])


def focal(logits: torch.Tensor, labels: torch.Tensor, gamma: float = 2.0) -> torch.Tensor:
    """-1/N sum over voxels of (1 - p)^gamma log p, p being the true class's probability (Lin et al. 2017).

    MONAI's mean would also divide by the number of classes, which the publications do not.
    """
    from monai.losses import FocalLoss

    terms = FocalLoss(to_onehot_y=True, use_softmax=True, gamma=gamma, reduction="none")(
        logits.float(), labels[:, None]
    )
    return terms.sum(dim=1).mean()


def tversky_focal(
    logits: torch.Tensor, labels: torch.Tensor, alpha: float = 0.5, beta: float = 0.5, gamma: float = 2.0
) -> torch.Tensor:
    """Mean over all classes of 1 - TP / (TP + alpha FP + beta FN), plus focal (Yang et al., SegRap 2023).

    With alpha and beta 0.5 the first part is the Dice loss.
    """
    from monai.losses import TverskyLoss

    overlap = TverskyLoss(to_onehot_y=True, softmax=True, batch=True, alpha=alpha, beta=beta)
    return overlap(logits.float(), labels[:, None]) + focal(logits, labels, gamma)


def log_cosh_dice_focal(
    logits: torch.Tensor, labels: torch.Tensor, gamma: float = 2.0, smooth: float = 1.0
) -> torch.Tensor:
    """log(cosh(Dice loss)) + focal (Bourigault et al. 2021, Eq. 3)."""
    return torch.log(torch.cosh(dice(logits, labels, smooth))) + focal(logits, labels, gamma)


LOSSES: dict[str, Loss] = {
    "dice_ce": dice_ce,
    "dice": dice,
    "tversky_focal": tversky_focal,
    "log_cosh_dice_focal": log_cosh_dice_focal,
}


def deep_supervision(loss: Loss, weights: Sequence[float]) -> Loss:
    """``loss`` for networks that answer with several outputs, finest first: the weighted sum of their losses.

    Labels are brought to each output's grid by the nearest voxel (MONAI's ``DeepSupervisionLoss``). One tensor instead
    of a list is that network in evaluation mode: the loss of its one output, unweighted.
    """
    from monai.losses import DeepSupervisionLoss

    weights = list(weights)
    of_all = DeepSupervisionLoss(lambda output, target: loss(output, target[:, 0].long()), weights=weights)

    def of_outputs(outputs: torch.Tensor | Sequence[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        if not isinstance(outputs, torch.Tensor) and len(outputs) != len(weights):
            raise ModelError(f"The network has {len(outputs)} outputs, but the recipe weights {len(weights)}.")
        return of_all(outputs, labels[:, None].float())

    return of_outputs


def build_loss(training: dict[str, Any]) -> Loss:
    """The loss that ``Recipe.training`` describes: a function of outputs and labels.

    Raises :class:`ModelError` for an unknown name or option.
    """
    name = training["loss"]
    if name not in LOSSES:
        raise ModelError(f"There is no loss '{name}'; there are {', '.join(sorted(LOSSES))}.")
    options = dict(training.get("loss_options", {}))
    if "lesion_share" in training:
        options["lesion_share"] = training["lesion_share"]
    known = list(inspect.signature(LOSSES[name]).parameters)[2:]
    if unknown := sorted(set(options) - set(known)):
        raise ModelError(f"The loss '{name}' has no option '{unknown[0]}'; it has {', '.join(known)}.")
    loss = partial(LOSSES[name], **options)
    weights = training.get("deep_supervision")
    return deep_supervision(loss, weights) if weights else loss
