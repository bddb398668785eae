"""Fine-tuning as one function."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from videomae.evaluation.metrics import wilson_interval
from videomae.recipes.finetune import FinetuneRecipe
from videomae.training.monitor import Monitor
from videomae.training.run import run
from videomae.training.tasks.classification import SCRATCH as SCRATCH, ClassificationTask


@dataclass(frozen=True)
class FinetuneResult:
    """How a fine-tuning run ended.

    Args:
        folder: the checkpoint: the best epoch on validation, without validation the last.
        class_names: that it predicts.
        num_videos: videos trained on.
        num_broken: videos skipped because they could not be read.
        steps: optimizer steps taken in all.
        best_epoch: the epoch (from 1) whose weights were kept; None without validation.
        best_top1: its top-1 accuracy on validation; None without, and where videos may have several labels.
        num_broken_validation: validation videos that could not be read; they count as wrong.
        was_finished: True where the folder held the finished run already and nothing was done.
        broken: path → reason, of the skipped videos.
        broken_validation: path → reason, of the validation videos that count as wrong.
        best_mean_average_precision: where videos may have several labels, its mAP on validation.
        best_mae: where videos have scores, its mean absolute error on validation.
        skipped_steps: of `steps`, those that changed nothing because loss or gradient were not finite.
        num_validation: videos of the validation set, those that could not be read included.
        majority_share: share of them that is of their most frequent class; None without, and where videos may have
            several labels.
    """

    folder: Path
    class_names: tuple[str, ...]
    num_videos: int
    num_broken: int
    steps: int
    best_epoch: int | None
    best_top1: float | None
    num_broken_validation: int
    was_finished: bool
    broken: dict[str, str] = field(default_factory=dict)
    broken_validation: dict[str, str] = field(default_factory=dict)
    best_mean_average_precision: float | None = None
    best_mae: float | None = None
    skipped_steps: int = 0
    num_validation: int = 0
    majority_share: float | None = None

    @property
    def summary(self) -> str:
        """What came out, in one line: `best top-1 56.2% (33–77), epoch 3, majority class 55.8%`."""
        if self.best_mean_average_precision is not None:
            return f"best mAP {self.best_mean_average_precision:.1%}, epoch {self.best_epoch}"
        if self.best_mae is not None:
            return f"best MAE {self.best_mae:.4g}, epoch {self.best_epoch}"
        if self.best_top1 is None:
            return f"{self.steps} steps, no validation videos"
        low, high = wilson_interval(round(self.best_top1 * self.num_validation), self.num_validation)
        majority = "" if self.majority_share is None else f", majority class {self.majority_share:.1%}"
        return f"best top-1 {self.best_top1:.1%} ({100 * low:.0f}–{100 * high:.0f}), epoch {self.best_epoch}{majority}"

    def __fspath__(self) -> str:
        """The folder: the result can be given wherever a checkpoint can."""
        return str(self.folder)


def finetune(
    data: str | Path,
    output: str | Path,
    recipe: FinetuneRecipe,
    *,
    init: str,
    val: str | Path | None = None,
    val_share: float | None = None,
    group: str | None = None,
    video_root: str | Path | None = None,
    fold: tuple[int, int] | None = None,
    resume_anyway: bool = False,
    monitor: Monitor | None = None,
) -> FinetuneResult:
    """Train a classifier on labeled videos. Resumes an interrupted run in `output`.

    Where videos may have several labels (the column `labels`), each class has a score of its own: the loss is the mean
    of their binary cross entropies, and the best epoch is that of the highest mAP. Where they have a `score`, it is
    predicted as a number, and the best epoch is that of the lowest mean absolute error.

    Args:
        data: any form of DATA with classes; of one that names splits, `train` and `val` are used.
        output: the run's folder, afterwards a checkpoint.
        recipe: all settings.
        init: a checkpoint to start from, or "scratch" for new weights.
        val: the validation set, where `data` names no split `val`.
        val_share: share of the videos of `data` that are held out for validation instead, chosen by the recipe's seed.
        group: what stays on one side of that split, as for `read_manifest`.
        video_root: where the videos of lists are, as for `read_manifest`.
        fold: (number from 1, of how many) of a cross-validation: its videos are held out for validation instead.
        resume_anyway: resume the run in `output` though its recipe or data differ.
        monitor: receives the events of the run.

    Raises:
        InputError: if data, checkpoint, recipe or folder do not fit.
        TrainingStopped: if the user stopped the run; its state is saved.
    """
    task = ClassificationTask(
        data, recipe, init=init, val=val, val_share=val_share, group=group, video_root=video_root, fold=fold
    )
    outcome = run(task, output, resume_anyway=resume_anyway, monitor=monitor)
    best, validation = outcome.best, task.validation
    counts = [] if validation is None or validation.is_multi_label else list(validation.class_counts().values())
    return FinetuneResult(
        folder=outcome.folder,
        class_names=outcome.class_names,
        num_videos=outcome.num_videos,
        num_broken=len(outcome.unreadable),
        steps=outcome.steps,
        best_epoch=best.epoch,
        best_top1=best.score("top1"),
        num_broken_validation=len(best.unreadable),
        was_finished=outcome.was_finished,
        broken=outcome.unreadable,
        broken_validation=best.unreadable,
        best_mae=best.score("mae"),
        best_mean_average_precision=best.score("mean_average_precision"),
        skipped_steps=outcome.skipped_steps,
        num_validation=0 if validation is None else len(validation),
        majority_share=max(counts) / sum(counts) if counts else None,
    )
