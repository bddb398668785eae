"""Loss functions of training."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def classification_loss(
    logits: Tensor, targets: Tensor, *, is_multi_label: bool, class_weights: Tensor | None = None
) -> Tensor:
    """The sum over the clips of cross entropy, or of binary cross entropy's mean over the classes; 0-dim.

    Args:
        logits: (B, classes), of any precision.
        targets: (B, classes) float32.
        is_multi_label: whether a clip may have several labels.
        class_weights: (classes,) float32, of the terms of each class, or, of several labels, of their positives; None
            for 1 each.
    """
    logits = logits.float()
    if is_multi_label:
        total = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=class_weights, reduction="sum")
        return total / targets.shape[1]
    return F.cross_entropy(logits, targets, weight=class_weights, reduction="sum")
