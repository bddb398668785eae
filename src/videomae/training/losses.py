"""Loss functions of training."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def classification_loss(logits: Tensor, targets: Tensor, *, is_multi_label: bool) -> Tensor:
    """The sum over the clips of cross entropy, or of binary cross entropy's mean over the classes; 0-dim.

    Args:
        logits: (B, classes), of any precision.
        targets: (B, classes) float32.
        is_multi_label: whether a clip may have several labels.
    """
    logits = logits.float()
    if is_multi_label:
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / targets.shape[1]
    return F.cross_entropy(logits, targets, reduction="sum")
