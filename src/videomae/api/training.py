"""`pretrain` and `finetune`."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, Unpack

from videomae.api._console import stderr_console
from videomae.api._models import path_of
from videomae.api._public import public
from videomae.api.progress import LogMonitor, ProgressMonitor
from videomae.core.errors import ConfigError
from videomae.recipes.fields import FinetuneFields, PretrainFields
from videomae.recipes.finetune import FinetuneRecipe
from videomae.recipes.pretrain import PretrainRecipe
from videomae.recipes.recipe import TrainingRecipe
from videomae.recipes.stored import find_recipe
from videomae.training.cross_validation import CrossValidation, cross_validate as run_cross_validation
from videomae.training.dry_run import DryRun, dry_run
from videomae.training.finetune import FinetuneResult, finetune as run_finetuning
from videomae.training.monitor import Monitor
from videomae.training.pretrain import PretrainResult, pretrain as run_pretraining
from videomae.training.tasks.classification import ClassificationTask
from videomae.training.tasks.pretraining import PretrainingTask

# What other libraries call our settings.
_COMMON_NAMES = {
    "lr": "learning_rate",
    "wd": "weight_decay",
    "batch": "batch_size",
    "workers": "num_workers",
    "frames": "num_frames",
    "imgsz": "image_size",
    "img_size": "image_size",
    "input_size": "image_size",
    "amp": "precision",
    "dtype": "precision",
    "grad_clip": "clip_grad",
    "gradient_accumulation_steps": "accumulation",
    "model_size": "size",
    "logger": "trackers",
}

Recipe = TypeVar("Recipe", bound=TrainingRecipe)


@public
def pretrain(
    data: str | Path,
    *,
    output: str | Path,
    recipe: str | PretrainRecipe = "pretrain",
    init: str | PathLike[str] | None = None,
    video_root: str | Path | None = None,
    resume_anyway: bool = False,
    progress: bool = True,
    **fields: Unpack[PretrainFields],
) -> PretrainResult:
    """Pre-train a VideoMAE on videos; labels are not used. Repeat the call to resume an interrupted run.

    Args:
        data: a folder of videos or any other DATA; of one with splits, `train` and what is in no split are used.
        output: folder of the run, afterwards a checkpoint with `report.html`.
        recipe: the settings that `fields` change: a name that `list_recipes` gives, a run's folder or recipe.json, or
            a recipe object.
        init: a pre-training checkpoint to start from, or the result of `pretrain`; its network replaces size, frames
            and pixels of the recipe.
        video_root: of lists: the folder that their paths are relative to; by default the list's own.
        resume_anyway: resume the run in `output` though its settings or its data were others.
        progress: show a bar in a terminal or a notebook.
        **fields: settings by name, such as `size="base"`, `epochs=800`, `batch_size=64`;
            `help(videomae.PretrainRecipe)` lists them.

    Returns:
        Where the checkpoint is, the last loss, and which videos could not be read.

    Raises:
        InputError: if data, settings or folder do not fit.
        TrainingStopped: if the user stopped the run; its state is saved.

    Examples:
        >>> videomae.pretrain("videos", output="pretrained", size="base", epochs=800)
    """
    return run_pretraining(
        path_of(data, "data"),
        output,
        _recipe(PretrainRecipe, recipe, dict(fields), kind="pretrain"),
        init=None if init is None else path_of(init, "init"),
        video_root=video_root,
        resume_anyway=resume_anyway,
        monitor=_monitor(progress),
    )


@public
def finetune(
    data: str | Path,
    *,
    output: str | Path,
    init: str | PathLike[str],
    recipe: str | FinetuneRecipe = "finetune",
    val: str | Path | None = None,
    val_share: float | None = None,
    group: str | None = None,
    video_root: str | Path | None = None,
    resume_anyway: bool = False,
    progress: bool = True,
    **fields: Unpack[FinetuneFields],
) -> FinetuneResult:
    """Train a classifier on labelled videos. Repeat the call to resume an interrupted run.

    Args:
        data: labelled videos: a folder of class folders, train/ and val/ of such folders, or a list.
        output: folder of the run, afterwards a checkpoint with `report.html`: the best epoch on validation where there
            is one, else the last.
        init: checkpoint to start from (folder, hub name, or the result of `pretrain`), or "scratch" for new weights.
        recipe: the settings that `fields` change, as for `pretrain`.
        val: labelled videos for validation, where `data` has no split `val`.
        val_share: share of the videos to hold out for validation, such as 0.2, where there is no split `val`.
        group: what stays on one side of that split: a column of the list, "parent" (folder), or a bracket in the path
            such as "(s\\d+)_".
        video_root: of lists: the folder that their paths are relative to; by default the list's own.
        resume_anyway: resume the run in `output` though its settings or its data were others.
        progress: show a bar in a terminal or a notebook.
        **fields: settings by name, such as `epochs=50`, `mixup=0.8`; `help(videomae.FinetuneRecipe)` lists them.

    Returns:
        Where the checkpoint is, its best epoch and accuracy, and which videos could not be read.

    Raises:
        InputError: if data, checkpoint, settings or folder do not fit.
        TrainingStopped: if the user stopped the run; its state is saved.

    Examples:
        >>> videomae.finetune("clips", output="classifier", init="pretrained", epochs=50)
    """
    return run_finetuning(
        path_of(data, "data"),
        output,
        _recipe(FinetuneRecipe, recipe, dict(fields), kind="finetune"),
        init=path_of(init, "init"),
        val=None if val is None else path_of(val, "val"),
        val_share=val_share,
        group=group,
        video_root=video_root,
        resume_anyway=resume_anyway,
        monitor=_monitor(progress),
    )


@public
def cross_validate(
    data: str | Path,
    *,
    output: str | Path,
    init: str | PathLike[str],
    folds: int = 5,
    recipe: str | FinetuneRecipe = "finetune",
    group: str | None = None,
    video_root: str | Path | None = None,
    resume_anyway: bool = False,
    progress: bool = True,
    **fields: Unpack[FinetuneFields],
) -> CrossValidation:
    """Fine-tune a classifier for each fold of the data, validated on the fold's videos. Repeat the call to resume.

    Args:
        data: labelled videos, as for `finetune`; the videos of a split test are left alone.
        output: a folder that gets a checkpoint for each fold, `report.html` and `folds.json`.
        init: as for `finetune`.
        folds: how many, 2 or more.
        recipe: as for `finetune`; a time budget is that of all folds together.
        group: what stays in one fold: a column of the list, "parent" (folder), or a bracket in the path such as
            "(s\\d+)_".
        video_root: of lists: the folder that their paths are relative to; by default the list's own.
        resume_anyway: resume the runs in `output` though their settings or their data were others.
        progress: show a bar in a terminal or a notebook.
        **fields: as for `finetune`.

    Returns:
        The result of each fold, and mean and deviation of each metric.

    Raises:
        InputError: if data, checkpoint, settings or folder do not fit.
        TrainingStopped: if the user stopped a run; its state is saved.

    Examples:
        >>> videomae.cross_validate("clips", output="folds", init="pretrained", folds=5, epochs=20).mean("top1")
    """
    return run_cross_validation(
        path_of(data, "data"),
        output,
        _recipe(FinetuneRecipe, recipe, dict(fields), kind="finetune"),
        init=path_of(init, "init"),
        folds=folds,
        group=group,
        video_root=video_root,
        resume_anyway=resume_anyway,
        monitor=_monitor(progress),
    )


@public
def dry_run_pretrain(
    data: str | Path,
    *,
    output: str | Path | None = None,
    recipe: str | PretrainRecipe = "pretrain",
    init: str | PathLike[str] | None = None,
    video_root: str | Path | None = None,
    progress: Callable[[str], object] | None = None,
    **fields: Unpack[PretrainFields],
) -> DryRun:
    """What `pretrain` with these arguments would be: steps, time and memory, measured in a few real steps.

    Args:
        data: as for `pretrain`.
        output: where `inputs.png` is drawn, the model's inputs; None draws it in the current folder.
        recipe: as for `pretrain`.
        init: as for `pretrain`.
        video_root: as for `pretrain`.
        progress: called with a few words on what is being measured.
        **fields: as for `pretrain`.

    Raises:
        InputError: if data or settings do not fit.
    """
    task = PretrainingTask(
        path_of(data, "data"),
        _recipe(PretrainRecipe, recipe, dict(fields), kind="pretrain"),
        init=None if init is None else path_of(init, "init"),
        video_root=video_root,
    )
    return dry_run(task, output, monitor=LogMonitor(progress or (lambda text: None)))


@public
def dry_run_finetune(
    data: str | Path,
    *,
    init: str | PathLike[str],
    output: str | Path | None = None,
    recipe: str | FinetuneRecipe = "finetune",
    val: str | Path | None = None,
    val_share: float | None = None,
    group: str | None = None,
    video_root: str | Path | None = None,
    progress: Callable[[str], object] | None = None,
    **fields: Unpack[FinetuneFields],
) -> DryRun:
    """What `finetune` with these arguments would be: steps, time and memory, measured in a few real steps.

    Args:
        data: as for `finetune`.
        init: as for `finetune`.
        output: where `inputs.png` is drawn, the model's inputs; None draws it in the current folder.
        recipe: as for `finetune`.
        val: as for `finetune`.
        val_share: as for `finetune`.
        group: as for `finetune`.
        video_root: as for `finetune`.
        progress: called with a few words on what is being measured.
        **fields: as for `finetune`.

    Raises:
        InputError: if data, checkpoint or settings do not fit.
    """
    task = ClassificationTask(
        path_of(data, "data"),
        _recipe(FinetuneRecipe, recipe, dict(fields), kind="finetune"),
        init=path_of(init, "init"),
        val=val,
        val_share=val_share,
        group=group,
        video_root=video_root,
    )
    return dry_run(task, output, monitor=LogMonitor(progress or (lambda text: None)))


def _recipe(kind_of: type[Recipe], recipe: str | Recipe, fields: dict[str, Any], *, kind: str) -> Recipe:
    """The recipe with the fields that are given; a stride replaces its rate, and a rate its stride."""
    if isinstance(recipe, str):
        found = find_recipe(recipe, kind=kind)
        assert isinstance(found, kind_of)
    else:
        found = recipe
    known = {field.name for field in dataclasses.fields(kind_of)}
    unknown = [name for name in fields if name not in known]
    if unknown:
        meant = [_COMMON_NAMES.get(name) or "".join(difflib.get_close_matches(name, known, n=1)) for name in unknown]
        close = " and ".join(dict.fromkeys(name for name in meant if name))
        raise ConfigError(
            ", ".join(f"{name}={fields[name]!r}" for name in unknown),
            expected=f"fields of {kind_of.__name__}",
            hint=f"did you mean {close}?" if close else f"help(videomae.{kind_of.__name__}) lists them",
        )
    if fields.get("frame_rate") is not None and "frame_stride" not in fields:
        fields["frame_stride"] = None
    elif fields.get("frame_stride") is not None and "frame_rate" not in fields:
        fields["frame_rate"] = None
    changed = dataclasses.replace(found, **fields)
    changed.validate()
    return changed


def _monitor(progress: bool) -> Monitor:
    return ProgressMonitor(stderr_console()) if progress else LogMonitor()
