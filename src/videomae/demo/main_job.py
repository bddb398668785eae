"""The main job on generated clips: unlabelled videos → pre-trained model → classifier, beside the same from scratch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from videomae.checkpoint import Checkpoint
from videomae.core.device import choose_device
from videomae.core.errors import InputError
from videomae.core.files import write_text
from videomae.datasets.manifest import read_manifest
from videomae.demo.clips import ClipFolders, write_clips
from videomae.demo.estimate import estimate_seconds
from videomae.demo.settings import (
    FINETUNE,
    FROM_SCRATCH,
    NUM_TRAIN_PER_CLASS,
    NUM_UNLABELLED,
    NUM_VAL_PER_CLASS,
    PRETRAIN,
)
from videomae.evaluation.single_label import SingleLabelEvaluation
from videomae.evaluation.validate import evaluate_classifier
from videomae.inference.scores import ViewOptions
from videomae.recipes.recipe import TrainingRecipe
from videomae.training.finetune import SCRATCH, finetune
from videomae.training.monitor import Monitor
from videomae.training.pretrain import pretrain

Result = TypeVar("Result")
Recipe = TypeVar("Recipe", bound=TrainingRecipe)
_CLIPS_DONE = "clips/seed.txt"


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration found.

    Args:
        folder: everything is below it.
        seconds: by stage: "clips", "pre-training", "fine-tuning", "from scratch", "evaluation".
        pretrain_loss: last training loss of pre-training.
        pretrained: evaluation on held-out clips of the pre-trained classifier.
        scratch: the same of the network without pre-training, after as many fine-tuning steps.
        num_unlabelled: clips for pre-training.
        num_labelled: clips for fine-tuning.
    """

    folder: Path
    seconds: dict[str, float]
    pretrain_loss: float | None
    pretrained: SingleLabelEvaluation
    scratch: SingleLabelEvaluation
    num_unlabelled: int
    num_labelled: int

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""
        return 1 / len(self.pretrained.class_names)


def run_main_job(
    output: str | Path, *, seed: int = 0, monitor: Monitor | None = None, device: str = "auto"
) -> DemoResult:
    """Write clips, pre-train, fine-tune, evaluate; stages that `output` holds finished are not done again.

    Args:
        output: folder of the demonstration.
        seed: of clips and training.
        monitor: receives progress and notices.
        device: as for `choose_device`.

    Raises:
        InputError: if the folder cannot be written or holds the demonstration of another seed.
        TrainingStopped: if the user stopped it; repeat the call to resume.
    """
    folder = Path(output)
    monitor = monitor or Monitor()
    seconds: dict[str, float] = {}
    if not (folder / _CLIPS_DONE).exists():
        minutes = max(1, round(estimate_seconds(device) / 60))
        monitor.note(f"about {minutes} {'minute' if minutes == 1 else 'minutes'} in all on this machine")

    def timed(name: str, stage: Callable[[], Result]) -> Result:
        begin = time.perf_counter()
        result = stage()
        seconds[name] = time.perf_counter() - begin
        return result

    def at_seed(recipe: Recipe) -> Recipe:
        return replace(recipe, seed=seed, device=device)

    clips = timed("clips", lambda: _clips(folder, seed, monitor))
    pretrained = timed(
        "pre-training", lambda: pretrain(clips.pretrain, folder / "pretrained", at_seed(PRETRAIN), monitor=monitor)
    )
    labelled = clips.finetune / "train"
    timed(
        "fine-tuning",
        lambda: finetune(
            labelled, folder / "classifier", at_seed(FINETUNE), init=str(folder / "pretrained"), monitor=monitor
        ),
    )
    timed(
        "from scratch",
        lambda: finetune(labelled, folder / "scratch", at_seed(FROM_SCRATCH), init=SCRATCH, monitor=monitor),
    )
    evaluations = timed(
        "evaluation", lambda: [evaluate_demo_model(folder, name, device) for name in ("classifier", "scratch")]
    )
    return DemoResult(
        folder=folder,
        seconds=seconds,
        pretrain_loss=pretrained.loss,
        pretrained=evaluations[0],
        scratch=evaluations[1],
        num_unlabelled=len(read_manifest(clips.pretrain)),
        num_labelled=len(read_manifest(labelled)),
    )


def evaluate_demo_model(folder: Path, name: str, device: str = "auto") -> SingleLabelEvaluation:
    """Evaluate the classifier `name` of a demonstration's folder on the held-out clips, three clips of each."""
    evaluation = evaluate_classifier(
        Checkpoint.open(folder / name, task="classification"),
        read_manifest(folder / "clips/finetune/val"),
        options=ViewOptions(num_clips=3),
        device=choose_device(device),
    )
    assert isinstance(evaluation, SingleLabelEvaluation)
    return evaluation


def _clips(folder: Path, seed: int, monitor: Monitor) -> ClipFolders:
    done = folder / _CLIPS_DONE
    if done.exists():
        if done.read_text(encoding="utf-8") != f"{seed}\n":
            raise InputError(
                f"{folder} holds the demonstration of seed {done.read_text(encoding='utf-8').strip()}",
                expected=f"seed {seed} or a new folder",
                hint="choose another --output",
            )
        return ClipFolders(pretrain=folder / "clips/pretrain", finetune=folder / "clips/finetune")
    monitor.note("writing clips of textured shapes whose class is their motion")
    clips = write_clips(
        folder / "clips",
        seed=seed,
        num_unlabelled=NUM_UNLABELLED,
        num_train_per_class=NUM_TRAIN_PER_CLASS,
        num_val_per_class=NUM_VAL_PER_CLASS,
    )
    # Written last: clips without it are not complete, and are written again.
    write_text(done, f"{seed}\n")
    return clips
