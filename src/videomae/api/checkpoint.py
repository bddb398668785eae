"""`videomae.Checkpoint`: a trained model with what feeds it, and the jobs that it does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch

from videomae import checkpoint
from videomae.api._public import logger, public
from videomae.api.evaluation import evaluate
from videomae.api.inference import Predictions, embed, predict
from videomae.api.reconstruction import reconstruct
from videomae.api.timeline import Timelines, timeline
from videomae.core.errors import CheckpointError, ConfigError
from videomae.evaluation.results import Evaluation
from videomae.inference.features import Features
from videomae.inference.reconstruct import Reconstruction
from videomae.training.model_card import push_checkpoint
from videomae.weights import files, names, original

LAYOUTS = ("hf", "original")


class Checkpoint(checkpoint.Checkpoint):
    """A model with the processor and the sampling that it was trained with.

    Attributes:
        model: in evaluation mode: a `VideoMAEModel`, `VideoMAEForPreTraining` or `VideoMAEForVideoClassification`.
        processor: resizes and normalizes frames for it.
        sampling: which frames of a video make a clip for it.

    Examples:
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

    def timeline(self, data: str | Path | Sequence[str | Path], **options: Any) -> Timelines:
        """As `videomae.timeline` with this model."""
        return timeline(data, model=self, **options)

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
    source: str | Path,
    destination: str | Path,
    *,
    layout: Literal["hf", "original"] = "hf",
    overwrite: bool = False,
    **options: Any,
) -> Path:
    """Write a checkpoint in another layout; no number changes.

    Args:
        source: a checkpoint folder, a hub name, or a file of weights of this or the original code.
        destination: a folder for "hf", a file that ends in .pth for "original".
        layout: "hf" is what this package and transformers read; "original" what MCG-NJU/VideoMAE and VideoMAEv2 read.
        overwrite: replace a checkpoint that is there; a training run never is.
        **options: hub options; all others override the configuration, such as `num_frames` and `image_size`, which a
            file of weights may not tell.

    Returns:
        The destination.

    Raises:
        CheckpointError: if the source is missing, damaged, or not whole.
        ConfigError: if the destination is taken or does not fit the layout, or a value is missing.

    Examples:
        >>> videomae.convert("vit_b_k400.pth", "classifier", num_frames=16, image_size=224)
    """
    suffix = Path(destination).suffix.lower()
    if layout not in LAYOUTS:
        raise ConfigError(f"--layout {layout}", expected=" or ".join(LAYOUTS), hint="choose one of them")
    if (layout == "original") != (suffix in (".pth", ".pt")):
        raise ConfigError(
            str(destination),
            expected="a file that ends in .pth" if layout == "original" else "a folder",
            hint=f"change its name, or --layout {LAYOUTS[layout == 'hf']}",
        )
    _require_free(Path(destination), overwrite=overwrite)
    if layout == "hf":
        opened = checkpoint.Checkpoint.open(source, dtype=None, **options)
        if opened.model.config.classifier_head != "linear":
            logger.warning("transformers has no attentive head, and would ignore it: open the result with videomae")
        opened.save(destination)
        return Path(destination)
    model = checkpoint.load_checkpoint(source, dtype=None, **options)
    if model.config.classifier_head != "linear":
        raise CheckpointError(
            f"{source} with an attentive head",
            expected="a linear head: the original code has no other",
            hint="--layout hf keeps the attentive one; or train a classifier with --head linear",
        )
    state = names.fit_prefix(model.state_dict(), bare=False)
    if model.config.layer_norm_eps != original.LAYER_NORM_EPS:
        logger.warning(
            "the original code computes LayerNorm with ε = %g, this model with %g: outputs differ slightly there",
            original.LAYER_NORM_EPS,
            model.config.layer_norm_eps,
        )
    if model.config.position_grid is not None:
        logger.warning(
            "the original code computes its own positions, this model interpolates them: outputs differ there"
        )
    config = {**model.config.to_diff_dict(), "architectures": [type(model).__name__]}
    files.write_original(destination, original.to_original(state), config)
    return Path(destination)


def _require_free(destination: Path, *, overwrite: bool) -> None:
    """Raise a ConfigError where a conversion would write over something; over a training run always."""
    is_run = (destination / "recipe.json").exists()
    is_taken = destination.is_file() or (destination.is_dir() and any(destination.iterdir()))
    if is_run or (is_taken and not overwrite):
        raise ConfigError(
            f"{destination}, which is {'a training run' if is_run else 'there already'}",
            expected="a new place",
            hint="choose another name" if is_run else "choose another name, or replace it with --overwrite",
        )
