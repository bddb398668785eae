"""Self-supervised pre-training as one function."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from videomae.recipes.pretrain import PretrainRecipe
from videomae.training.monitor import Monitor
from videomae.training.run import run
from videomae.training.tasks.pretraining import PretrainingTask


@dataclass(frozen=True)
class PretrainResult:
    """How a pre-training run ended.

    Args:
        folder: the checkpoint.
        num_videos: videos trained on.
        num_broken: videos skipped because they could not be read.
        steps: optimizer steps taken in all.
        loss: mean training loss over the last logged steps; None where no video of theirs could be read.
        was_finished: True where the folder held the finished run already and nothing was done.
        broken: path → reason, of the skipped videos.
        skipped_steps: of `steps`, those that changed nothing because loss or gradient were not finite.
    """

    folder: Path
    num_videos: int
    num_broken: int
    steps: int
    loss: float | None
    was_finished: bool
    broken: dict[str, str] = field(default_factory=dict)
    skipped_steps: int = 0

    @property
    def summary(self) -> str:
        """What came out, in one line: `loss 0.612 after 160 steps`."""
        return f"{self.steps} steps" if self.loss is None else f"loss {self.loss:.3f} after {self.steps} steps"

    def __fspath__(self) -> str:
        """The folder: the result can be given wherever a checkpoint can."""
        return str(self.folder)


def pretrain(
    data: str | Path,
    output: str | Path,
    recipe: PretrainRecipe,
    *,
    init: str | None = None,
    video_root: str | Path | None = None,
    resume_anyway: bool = False,
    monitor: Monitor | None = None,
) -> PretrainResult:
    """Pre-train on the videos of `data`; labels are not used. Resumes an interrupted run in `output`.

    Args:
        data: any form of DATA; of one that names splits, `train` and what is in no split are used.
        output: the run's folder, afterwards a checkpoint.
        recipe: all settings.
        init: a pre-training checkpoint to start from, adapted to the recipe's frames and pixels.
        video_root: where the videos of lists are, as for `read_manifest`.
        resume_anyway: resume the run in `output` though its recipe or data differ.
        monitor: receives the events of the run.

    Raises:
        InputError: if data, recipe or folder do not fit.
        TrainingStopped: if the user stopped the run; its state is saved.
    """
    task = PretrainingTask(data, recipe, init=init, video_root=video_root)
    outcome = run(task, output, resume_anyway=resume_anyway, monitor=monitor)
    return PretrainResult(
        folder=outcome.folder,
        num_videos=outcome.num_videos,
        num_broken=len(outcome.unreadable),
        steps=outcome.steps,
        loss=outcome.loss,
        was_finished=outcome.was_finished,
        broken=outcome.unreadable,
        skipped_steps=outcome.skipped_steps,
    )
