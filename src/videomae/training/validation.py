"""Validation of a classifier after an epoch, and which epoch was best."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from videomae.checkpoint import Checkpoint
from videomae.core.distributed import ProcessGroup
from videomae.core.errors import VideoError
from videomae.datasets.manifest import Manifest
from videomae.evaluation.results import Evaluation
from videomae.evaluation.validate import evaluate_classifier
from videomae.inference.scores import ViewOptions
from videomae.recipes.finetune import FinetuneRecipe


class BestEpoch:
    """The epoch that was best on validation, and the validation videos that could not be read.

    Attributes:
        unreadable: path → reason, of all validations.
        evaluation: of the best epoch; None before the first one of this process.
    """

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self.unreadable: dict[str, str] = {}
        self.evaluation: Evaluation | None = None

    @property
    def epoch(self) -> int | None:
        """From 1; None before the first validation."""
        return self._values.get("best_epoch")

    def score(self, name: str) -> float | None:
        """A metric of the best epoch, such as "top1"; None where epochs are not compared by it."""
        return self._values.get(f"best_{name}")

    def update(self, epoch: int, evaluation: Evaluation) -> bool:
        """Compare this epoch, from 1, with the best one so far; of two with equal scores the lower loss wins.

        Returns:
            Whether it is the best now.
        """
        metrics, best = evaluation.metrics, self._values
        score, name = getattr(metrics, metrics.main), f"best_{metrics.main}"
        sign = -1 if metrics.lower_is_better else 1
        if "best_epoch" in best and (sign * score, -metrics.loss) <= (sign * best[name], -best["best_loss"]):
            return False
        self.evaluation = evaluation
        best.update({"best_epoch": epoch, name: score, "best_loss": metrics.loss})
        return True

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**self._values, "broken_validation": dict(self.unreadable)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from what `state_dict` gave."""
        self._values = {name: value for name, value in state.items() if name != "broken_validation"}
        self.unreadable = dict(state.get("broken_validation", {}))


def validate(
    checkpoint: Checkpoint,
    manifest: Manifest,
    recipe: FinetuneRecipe,
    *,
    on_video: Callable[[], object] | None = None,
    excluded: dict[int, VideoError] | None = None,
    processes: ProcessGroup | None = None,
) -> Evaluation:
    """Evaluate a classifier on one view of each video; unreadable videos count as wrong, and end no run of hours."""
    return evaluate_classifier(
        checkpoint,
        manifest,
        options=ViewOptions(
            precision=recipe.precision,
            num_workers=recipe.num_workers,
            read_limit_seconds=recipe.read_limit_seconds,
            allow_nan=True,
        ),
        device=checkpoint.model.device,
        count_broken_as_wrong=True,
        on_video=on_video,
        excluded=excluded,
        processes=processes,
    )
