"""The teacher of a knowledge distillation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from videomae.checkpoint import Checkpoint
from videomae.core.errors import ConfigError
from videomae.evaluation.validate import MULTI_LABEL


class Teacher:
    """A classifier that scores the clips of its student; it is not trained.

    Args:
        source: a checkpoint that knows all classes of the student, perhaps more; it is adapted to the student's clips.
        student: whose clips it scores.
        class_names: of the student, in the order of its outputs.

    Raises:
        CheckpointError: if it cannot be opened, or is no classifier.
        ConfigError: if it lacks a class, or is of another kind of labels.
    """

    def __init__(self, source: str, student: Checkpoint, class_names: Sequence[str]) -> None:
        own = student.model.config
        opened = Checkpoint.open(source, task="classification", num_frames=own.num_frames, image_size=own.image_size)
        config = opened.model.config
        known = {name: index for index, name in config.id2label.items()}
        lacking = [name for name in class_names if name not in known]
        if lacking or (config.problem_type == MULTI_LABEL) != (own.problem_type == MULTI_LABEL):
            raise ConfigError(
                f"teacher={source!r} " + (f"without the class {lacking[0]!r}" if lacking else "of other labels"),
                expected="a classifier of the classes of the data",
                hint="fine-tune the teacher on these data first",
            )
        if config.num_channels != own.num_channels:
            raise ConfigError(
                f"teacher={source!r} of {config.num_channels} channels",
                expected=f"{own.num_channels}, as the student has",
                hint="choose another teacher",
            )
        self._model = opened.model.to(student.model.device).requires_grad_(False)
        self._columns = torch.tensor([known[name] for name in class_names], device=student.model.device)
        # Pixels that are normalized for the student, as the teacher's processor would have normalized them.
        (mean, std), (own_mean, own_std) = (
            (torch.tensor(values, device=student.model.device).view(-1, 1, 1) for values in statistics)
            for statistics in (
                (opened.processor.image_mean, opened.processor.image_std),
                (student.processor.image_mean, student.processor.image_std),
            )
        )
        self._scale, self._shift = own_std / std, (own_mean - mean) / std
        self._is_same = bool((self._scale == 1).all() and (self._shift == 0).all())

    @torch.no_grad()
    def __call__(self, pixel_values: Tensor) -> Tensor:
        """Logits (B, classes) of clips (B, T, C, H, W) that are normalized for the student."""
        if not self._is_same:
            pixel_values = pixel_values * self._scale + self._shift
        logits: Tensor = self._model(pixel_values).logits
        return logits[:, self._columns]
