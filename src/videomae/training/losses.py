"""Loss functions of training."""

from __future__ import annotations

import torch
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


def distillation_loss(logits: Tensor, teacher_logits: Tensor, *, is_multi_label: bool, temperature: float) -> Tensor:
    """How far a student's scores are from its teacher's (Hinton et al. 2015), summed over the clips; 0-dim.

    The Kullback-Leibler divergence, or of several labels its mean over the classes, times the squared temperature,
    which keeps the size of the gradient.

    Args:
        logits: (B, classes), of any precision.
        teacher_logits: (B, classes), without gradient.
        is_multi_label: whether a clip may have several labels.
        temperature: divides both logits.
    """
    student, teacher = logits.float() / temperature, teacher_logits.float() / temperature
    if is_multi_label:  # each class is a choice between two
        student, teacher = (torch.stack([values, torch.zeros_like(values)], dim=-1) for values in (student, teacher))
    divergence = F.kl_div(student.log_softmax(-1), teacher.log_softmax(-1), reduction="sum", log_target=True)
    return divergence * temperature**2 / (logits.shape[1] if is_multi_label else 1)


def regression_loss(outputs: Tensor, targets: Tensor, *, kind: str) -> Tensor:
    """The sum over the clips of the squared error, or of Huber's, which is linear beyond 1; 0-dim.

    Args:
        outputs: (B, 1), of any precision.
        targets: (B, 1) float32.
        kind: "mse" or "huber".
    """
    function = F.huber_loss if kind == "huber" else F.mse_loss
    return function(outputs.float(), targets, reduction="sum")
