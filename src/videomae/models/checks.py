"""Checks of what models are given: a ShapeError of one line states what is wrong."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from videomae.core.errors import ShapeError
from videomae.core.grid import TubeletGrid
from videomae.core.tubelets import TokenSplit, split_mask

# What cross entropy leaves out of the mean, by torch's own default.
_IGNORED_CLASS = -100


def check_clips(pixel_values: Tensor, grid: TubeletGrid, *, allows_uint8: bool = False) -> None:
    """Raise a ShapeError if `pixel_values` are not clips of this grid: floats, or, where allowed, uint8."""
    _check_tensor(pixel_values, "pixel_values")
    names = ("frames", "channels", "height", "width")
    shape = tuple(pixel_values.shape)
    expected = ", ".join(f"{size} {name}" for size, name in zip(grid.clip_shape, names, strict=True))
    if len(shape) != 5 or shape[1:] != grid.clip_shape:
        raise ShapeError(
            f"pixel_values of shape {shape}", expected=f"(batch, {expected})", hint=_shape_hint(shape, grid)
        )
    if not shape[0]:
        raise ShapeError(
            f"pixel_values of shape {shape}", expected="at least one clip", hint="leave empty batches out of the loop"
        )
    if not pixel_values.is_floating_point() and not (allows_uint8 and pixel_values.dtype == torch.uint8):
        raise ShapeError(
            f"pixel_values of type {_type_name(pixel_values)}",
            expected="normalized floats",
            hint="prepare the video with the image processor, which scales to 0–1, subtracts the mean and divides by "
            "the deviation",
        )


def split_tokens(mask: Tensor, name: str, batch_size: int, grid: TubeletGrid, *, pad: bool = False) -> TokenSplit:
    """The token indices of a mask, as `split_mask` gives them; a ShapeError if it does not fit the batch."""
    _check_tensor(mask, name)
    if tuple(mask.shape) != (batch_size, grid.num_tokens):
        raise ShapeError(
            f"{name} of shape {tuple(mask.shape)}",
            expected=f"({batch_size}, {grid.num_tokens}): one truth value for each token",
            hint=f"draw it with tube_mask({batch_size}, {grid.shape}, 0.9)",
        )
    return split_mask(mask.to(torch.bool), name, pad=pad)


def expand_head_mask(head_mask: Tensor | None, num_layers: int, num_heads: int) -> list[Tensor | None]:
    """One mask per layer, each (1, heads, 1, 1), from (heads,) or (layers, heads); 1 keeps a head, 0 silences it.

    Raises:
        ShapeError: for any other shape, and for anything but a tensor.
    """
    if head_mask is None:
        return [None] * num_layers
    _check_tensor(head_mask, "head_mask")
    if head_mask.shape not in ((num_heads,), (num_layers, num_heads)):
        raise ShapeError(
            f"a head_mask of shape {tuple(head_mask.shape)}",
            expected=f"({num_heads},) for all layers or ({num_layers}, {num_heads}) for each",
            hint="1 keeps a head, 0 silences it",
        )
    return [mask.view(1, num_heads, 1, 1) for mask in head_mask.expand(num_layers, num_heads)]


def check_labels(labels: Tensor, batch_size: int) -> None:
    """Raise a ShapeError unless `labels` is a tensor with one entry or row for each clip."""
    _check_tensor(labels, "labels")
    if not labels.ndim or len(labels) != batch_size:
        raise ShapeError(
            f"labels of shape {tuple(labels.shape)}",
            expected=f"one label, or one row of labels, for each of the {batch_size} clips",
            hint="stack the labels in the order of the clips",
        )


def fit_labels(labels: Tensor, logits: Tensor, problem_type: str) -> Tensor:
    """The labels in the shape and type that the loss of `problem_type` takes, still on their own device.

    Args:
        labels: (B,) or (B, 1) classes, -100 where a clip is not to count; (B, num_labels) for several labels or for
            regression; (B,) or (B, 1) for regression to one number.
        logits: (B, num_labels).
        problem_type: one of the configuration's.

    Raises:
        ShapeError: for another shape, or a class that does not exist. Classes are looked at on the CPU only: to look
            at those on a device, it would have to be waited for.
    """
    batch_size, num_labels = logits.shape
    found = f"labels of shape {tuple(labels.shape)}"
    if problem_type == "single_label_classification":
        if labels.numel() != batch_size:
            raise ShapeError(
                found,
                expected=f"one class for each of the {batch_size} clips",
                hint='for several labels of one clip set problem_type="multi_label_classification"',
            )
        classes = labels.reshape(-1).long()
        _check_classes(classes, num_labels)
        return classes
    if problem_type == "regression" and num_labels == 1:
        if labels.numel() != batch_size:
            raise ShapeError(
                found,
                expected=f"one number for each of the {batch_size} clips",
                hint="num_labels is 1; load the model with as many num_labels as there are numbers or classes",
            )
        labels = labels.reshape(logits.shape)
    elif labels.shape != logits.shape:
        kind = "number" if problem_type == "regression" else "0 or 1"
        raise ShapeError(
            found,
            expected=f"({batch_size}, {num_labels}): one {kind} for each output of each clip, for {problem_type}",
            hint='for one class per clip give integers and problem_type="single_label_classification"',
        )
    return labels if labels.is_floating_point() else labels.to(logits.dtype)


def _check_classes(classes: Tensor, num_labels: int) -> None:
    if classes.device.type != "cpu" or torch.compiler.is_compiling():
        return
    wrong = classes[((classes < 0) | (classes >= num_labels)) & (classes != _IGNORED_CLASS)]
    if len(wrong):
        raise ShapeError(
            f"labels with class {int(wrong[0])}",
            expected=f"classes from 0 to {num_labels - 1}",
            hint=f"load the model with num_labels={int(wrong.max()) + 1} or more"
            if int(wrong[0]) >= 0
            else f"number classes from 0; {_IGNORED_CLASS} leaves a clip out",
        )


def _check_tensor(value: Any, name: str) -> None:
    if not isinstance(value, Tensor):
        raise ShapeError(
            f"{name} of type {type(value).__name__}",
            expected="a torch tensor",
            hint='ask the image processor for return_tensors="pt"'
            if name == "pixel_values"
            else f"make it one with torch.as_tensor({name})",
        )


def _shape_hint(shape: tuple[int, ...], grid: TubeletGrid) -> str:
    """What to do about clips of another shape."""
    if len(shape) != 5:
        return (
            "give one more dimension for the batch" if len(shape) == 4 else "prepare the video with the image processor"
        )
    names = ("frames", "channels", "height", "width")
    wrong = [name for name, found, right in zip(names, shape[1:], grid.clip_shape, strict=True) if found != right]
    if sorted(shape[1:3]) == sorted(grid.clip_shape[:2]) and wrong == ["frames", "channels"]:
        return "swap frames and channels: pixel_values.transpose(1, 2)"
    if wrong == ["frames"]:
        return f"sample {grid.clip_shape[0]} frames, or load the model with another num_frames"
    if "channels" not in wrong:
        return "resize the frames, or load the model with another image_size"
    return "convert the frames, or load the model with another num_channels"


def _type_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
