"""Judging the epochs of fine-tuning, and keeping the weights of the best one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from videomae.checkpoint import LoadedCheckpoint, open_checkpoint
from videomae.core.distributed import Processes
from videomae.core.errors import VideoError
from videomae.datasets.manifest import Manifest
from videomae.evaluation.multi_label import MultiLabelEvaluation, evaluate_multi_label, is_multi_label
from videomae.evaluation.validate import Evaluation, evaluate_classifier
from videomae.inference.scores import ViewOptions
from videomae.recipes.finetune import FinetuneRecipe
from videomae.training.ema import averaged
from videomae.training.loop import Training
from videomae.training.monitor import Monitor
from videomae.training.processes import unsharded
from videomae.training.run_folder import RunFolder


@dataclass(frozen=True)
class Validation:
    """Judges epochs, and keeps the weights of the best one."""

    checkpoint: LoadedCheckpoint
    manifest: Manifest
    recipe: FinetuneRecipe
    folder: RunFolder
    monitor: Monitor
    excluded: dict[int, VideoError] = field(default_factory=dict)

    def end_epoch(self, training: Training, epoch: int) -> None:
        """Judge the epoch if it is due, log, and save the weights if none was better."""
        if (epoch + 1) % self.recipe.val_every and epoch + 1 != self.recipe.epochs:
            return
        with averaged(training.model, training.average):
            self._judge_and_keep(training, epoch)

    def _judge_and_keep(self, training: Training, epoch: int) -> None:
        self.monitor.start_part("validating", total=len(self.manifest))
        with unsharded(self.checkpoint.model):
            result = judge(
                self.checkpoint,
                self.manifest,
                self.recipe,
                training.advance_part,
                excluded=self.excluded,
                processes=training.team.processes,
            )
        metrics, best = result.metrics, training.extra
        named = best.setdefault("broken_validation", {})
        for path, error in result.broken:
            if str(path) not in named:
                named[str(path)] = str(error)
                self.monitor.note(f"counts as wrong, cannot be read: {error}")
        unmeasured = dict.fromkeys(("learning_rate", "clips_per_second", "data_wait_share"))
        self.folder.log({"step": training.step, "epoch": epoch + 1, "split": "val", **metrics.logged(), **unmeasured})
        score, best_score = getattr(metrics, metrics.main), f"best_{metrics.main}"
        # Of two epochs that judge alike, the lower loss decides.
        if "best_epoch" not in best or (score, -metrics.loss) > (best[best_score], -best["best_loss"]):
            training.keep_weights()
            best.update({"best_epoch": epoch + 1, best_score: score, "best_loss": metrics.loss})
        self.monitor.note(
            f"epoch {epoch + 1}: validation {metrics.main_title} {score:.1%}, loss {metrics.loss:.3f} "
            f"(best {best[best_score]:.1%}, epoch {best['best_epoch']})"
        )


def judge(
    checkpoint: LoadedCheckpoint,
    validation: Manifest,
    recipe: FinetuneRecipe,
    on_video: Callable[[], None] | None = None,
    excluded: dict[int, VideoError] | None = None,
    processes: Processes | None = None,
) -> Evaluation | MultiLabelEvaluation:
    """What the model scores, one view of each video; broken ones count as wrong."""
    evaluate: Callable[..., Evaluation | MultiLabelEvaluation]
    evaluate = evaluate_multi_label if is_multi_label(checkpoint) else evaluate_classifier
    return evaluate(
        checkpoint,
        validation,
        options=ViewOptions(
            precision=recipe.precision,
            num_workers=recipe.num_workers,
            read_limit_seconds=recipe.read_limit_seconds,
        ),
        device=checkpoint.model.device,
        # A broken file must not end a run of hours; it counts as wrong, and is named.
        count_broken_as_wrong=True,
        on_video=on_video,
        excluded=excluded,
        processes=processes,
    )


def judge_best(
    folder: Path, validation: Manifest, recipe: FinetuneRecipe, device: torch.device, *, processes: Processes
) -> Evaluation | MultiLabelEvaluation:
    """What the saved weights score: read back from the folder, as any user of it will; all processes judge."""
    checkpoint = processes.from_main(processes.on_main(lambda: open_checkpoint(folder, task="classification")))
    checkpoint.model.to(device)
    return judge(checkpoint, validation, recipe, processes=processes)
