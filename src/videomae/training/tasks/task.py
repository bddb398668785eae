"""The interface of a task: its data, its model, the loss of a micro-batch, validation, pictures and report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from videomae.checkpoint import Checkpoint
from videomae.core.distributed import ProcessGroup
from videomae.data.clips import TrainingClips
from videomae.datasets.manifest import Manifest
from videomae.evaluation.results import Evaluation
from videomae.recipes.recipe import TrainingRecipe
from videomae.training.ema import WeightAverage
from videomae.training.input_pictures import TitledClip
from videomae.training.micro_batch import MicroBatch
from videomae.training.monitor import Monitor
from videomae.training.report import ReportedRun
from videomae.training.validation import BestEpoch


class Task(Protocol):
    """Pre-training or classification. `read_data` and then `build` are called once, before anything else."""

    @property
    def command(self) -> str:
        """The command that runs it: "pretrain" or "finetune"."""

    @property
    def title(self) -> str:
        """What the monitor calls the run."""

    @property
    def data(self) -> str | Path:
        """The data set, as the user names it."""

    @property
    def recipe(self) -> TrainingRecipe:
        """The settings: as the user gave them, after `build` fully resolved."""

    @property
    def manifest(self) -> Manifest:
        """The training videos."""

    @property
    def validation(self) -> Manifest | None:
        """The validation videos; None for none."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The model that is trained, on its device, with its processor and sampling."""

    @property
    def dataset(self) -> TrainingClips:
        """Training clips by (epoch, index)."""

    @property
    def num_encoder_tokens(self) -> int:
        """Tokens of one clip that the encoder's layers see."""

    @property
    def description(self) -> dict[str, Any]:
        """What defines the run besides its command, training videos and recipe: equal in a run that resumes."""

    def read_data(self, output: Path, note: Callable[[str], object]) -> None:
        """Read `manifest` and `validation`; nothing is written.

        Args:
            output: the run's folder, which must not overlap with the data.
            note: receives lines for the user.

        Raises:
            InputError: if the data do not fit the task.
        """

    def build(self, recipe: Any, device: torch.device, note: Callable[[str], object]) -> None:
        """Build the model on its device, and the data set.

        Args:
            recipe: the batch size fits the data, the precision is settled.
            device: of the model.
            note: receives lines for the user.

        Raises:
            InputError: if recipe and checkpoint do not fit.
        """

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The optimizer's parameter groups, each with a `scale` of the learning rate."""

    def weights_for_users(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights of the trained model, by name, as those of the checkpoint that users get."""

    def order(self, epoch: int) -> np.ndarray:
        """Indices of the clips of an epoch (from 0), in order: a pure function of seed and epoch."""

    def loss(self, network: Callable[..., Any], micro_batch: MicroBatch) -> tuple[Tensor, Tensor | float]:
        """Forward pass: (total, weight), 0-dim tensors.

        The micro-batch's mean loss is total / weight, the whole batch's the sum of all totals / the sum of all weights.
        A weight is about 1 for each clip.
        """

    def draw_pictures(
        self,
        epoch: int,
        folder: Path,
        *,
        average: WeightAverage | None,
        note: Callable[[str], object],
        show: Callable[[str, np.ndarray], object],
        writes: bool,
    ) -> None:
        """Keep pictures of what the model does after this epoch, from 1, where some are due; called in all processes.

        Args:
            epoch: from 1.
            folder: of the run.
            average: of the weights; None for none.
            note: receives why a picture cannot be kept.
            show: receives the name and the pixels (H, W, 3) of each.
            writes: whether this process writes.
        """

    def validates_after(self, epoch: int) -> bool:
        """Whether validation is due after this epoch, from 1."""

    def stops_after(self, epoch: int, best: BestEpoch) -> bool:
        """Whether training is to end after this epoch, from 1, though it is not the last; 0 is before the first."""

    def validate(self, on_video: Callable[[], object], processes: ProcessGroup) -> Evaluation:
        """Evaluate the model, as it is, on the validation videos; unreadable ones count as wrong."""

    def show(self, micro_batch: MicroBatch) -> list[TitledClip]:
        """The clips uint8 (T, H, W, 3) as the model gets them, with titles."""

    def summary(self) -> str:
        """What is trained on what, in one line."""

    def write_interim_report(self, run: ReportedRun, *, best: BestEpoch) -> None:
        """Write the run's report.html while it goes on, from what is known already; called in the main process only."""

    def write_report(self, run: ReportedRun, *, best: BestEpoch, processes: ProcessGroup, monitor: Monitor) -> None:
        """Write the run's report.html and model card from what the folder holds; called in all processes."""
