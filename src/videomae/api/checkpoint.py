"""`videomae.Checkpoint`: a trained model with what feeds it, and the jobs that it does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch

from videomae import checkpoint
from videomae.api._public import public
from videomae.api.evaluation import evaluate
from videomae.api.inference import Predictions, embed, predict, reconstruct
from videomae.evaluation.results import Evaluation
from videomae.inference.features import Features
from videomae.inference.reconstruct import Reconstruction
from videomae.training.model_card import push_checkpoint


class Checkpoint(checkpoint.Checkpoint):
    """A model with the processor and the sampling that it was trained with.

    Attributes:
        model: in evaluation mode: a `VideoMAEModel`, `VideoMAEForPreTraining` or `VideoMAEForVideoClassification`.
        processor: resizes and normalizes frames for it.
        sampling: which frames of a video make a clip for it.

    Example:
        >>> checkpoint = videomae.Checkpoint.open("classifier")
        >>> checkpoint.predict("holiday.mp4")[0].label
        'surfing'
    """

    @classmethod
    def open(
        cls,
        source: str | Path,
        *,
        task: str | None = None,
        class_names: Sequence[str] | None = None,
        dtype: torch.dtype | None = torch.float32,
        **options: Any,
    ) -> Self:
        """Open a checkpoint.

        Args:
            source: a folder, a hub name, or a file of weights of this or the original code.
            task: "features", "pretraining" or "classification"; None takes the checkpoint's own.
            class_names: for "classification": the classes of a fresh head.
            dtype: type of the weights; None keeps the file's.
            **options: hub options (`revision`, `token`, …); all others override the configuration, such as `num_frames`
                and `image_size`, which a file of weights may not tell.

        Raises:
            CheckpointError: if it is missing, damaged, or lacks weights that the task needs.
            ConfigError: if there is no such task.
        """
        open_source = public(super().open)
        return open_source(source, task=task, class_names=class_names, dtype=dtype, **options)

    @public
    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        create_pr: bool = False,
        endpoint: str | None = None,
    ) -> str:
        """Upload model, processor and model card to the hub; nothing else of a training folder.

        The card is the README.md of the folder that this was opened from, its examples with the name on the hub;
        without one, a short card that knows the model alone. A README.md that a person has edited on the hub stays,
        unless the folder's was edited, too.

        Args:
            repo_id: `owner/name`, made if it does not exist; without an owner it is yours.
            private: whether a new repository is; None for the owner's default.
            token: string, True for the stored one.
            revision: branch; None for the main one.
            commit_message: None for "Upload" and what it is.
            create_pr: make a pull request in place of a commit.
            endpoint: another hub server than the default.

        Returns:
            The address of the commit, or of the pull request.

        Raises:
            CheckpointError: if the hub refuses or cannot be reached.
        """
        return push_checkpoint(
            self,
            repo_id,
            private=private,
            token=token,
            revision=revision,
            commit_message=commit_message,
            create_pr=create_pr,
            endpoint=endpoint,
        )

    def predict(self, data: str | Path | Sequence[str | Path], **options: Any) -> Predictions:
        """As `videomae.predict` with this model."""
        return predict(data, model=self, **options)

    def embed(self, data: str | Path | Sequence[str | Path], **options: Any) -> Features:
        """As `videomae.embed` with this model."""
        return embed(data, model=self, **options)

    def evaluate(self, data: str | Path, **options: Any) -> Evaluation:
        """As `videomae.evaluate` with this model."""
        return evaluate(data, model=self, **options)

    def reconstruct(self, video: str | Path, **options: Any) -> Reconstruction:
        """As `videomae.reconstruct` with this model."""
        return reconstruct(video, model=self, **options)


@public
def convert(
    source: str | Path, destination: str | Path, *, layout: Literal["hf", "original"] = "hf", **options: Any
) -> Path:
    """Write a checkpoint in another layout; no number changes.

    Args:
        source: a checkpoint folder, a hub name, or a file of weights of this or the original code.
        destination: a folder for "hf", a file that ends in .pth for "original".
        layout: "hf" is what this package and transformers read; "original" what MCG-NJU/VideoMAE and VideoMAEv2 read.
        **options: hub options; all others override the configuration, such as `num_frames` and `image_size`, which a
            file of weights may not tell.

    Returns:
        The destination.

    Raises:
        CheckpointError: if the source is missing, damaged, or not whole.
        ConfigError: if the destination does not fit the layout, or a value is missing.

    Example:
        >>> videomae.convert("vit_b_k400.pth", "classifier", num_frames=16, image_size=224)
    """
    checkpoint.convert_checkpoint(source, destination, layout=layout, **options)
    return Path(destination)
