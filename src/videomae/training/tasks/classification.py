"""Fine-tuning: a pre-trained encoder, or none, becomes a classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videomae.checkpoint import Checkpoint, new_processor, read_config, stored_task
from videomae.core.distributed import ProcessGroup
from videomae.core.errors import ConfigError, DataError, VideoError
from videomae.data.augmentation import Augmentation
from videomae.data.clips import Crop, TrainingClips, multi_hot
from videomae.data.order import balanced_order
from videomae.datasets.layout import split_folder
from videomae.datasets.manifest import Manifest
from videomae.datasets.output_check import require_apart
from videomae.datasets.splitting import read_train_and_val
from videomae.evaluation.head_inputs import head_inputs_kept, stacked
from videomae.evaluation.results import Evaluation
from videomae.evaluation.validate import MULTI_LABEL, REGRESSION
from videomae.models.config import VideoMAEConfig
from videomae.models.initialization import init_classifier, init_for_finetuning
from videomae.models.modeling import VideoMAEForVideoClassification
from videomae.processing.rand_augment import RandAugment, can_augment_on
from videomae.recipes.finetune import FinetuneRecipe
from videomae.training.channel_statistics import set_measured_statistics
from videomae.training.class_weights import class_weights, read_class_weights
from videomae.training.classifier_inputs import ClassifierInputs
from videomae.training.ema import WeightAverage
from videomae.training.input_pictures import TitledClip, as_pixels, labelled_clips
from videomae.training.lora import add_lora, merged
from videomae.training.losses import classification_loss, distillation_loss, regression_loss
from videomae.training.micro_batch import MicroBatch
from videomae.training.model_card import TrainingFacts, write_model_card
from videomae.training.monitor import Monitor
from videomae.training.optimizer import freeze_layers, parameter_groups
from videomae.training.report import ReportedRun, write_finetune_report
from videomae.training.run_folder import entries_hash
from videomae.training.score_scale import SCORE, ScoreScale, as_ordered, ordinal_targets
from videomae.training.setup import clip_sampling, fit_to_checkpoint, new_config, require_finite_start
from videomae.training.teacher import Teacher
from videomae.training.validation import BestEpoch, validate
from videomae.video.reader import ReadLimits

SCRATCH = "scratch"
# Of a video, by problem type.
_TARGETS = {None: "one label", MULTI_LABEL: "several labels", REGRESSION: "a score"}


class ClassificationTask:
    """Predict the classes of labelled videos. A `tasks.task.Task`.

    Args:
        data: any form of DATA with classes; of one that names splits, `train` and `val` are used.
        recipe: all settings.
        init: a checkpoint to start from, or "scratch" for new weights.
        val: the validation set, where `data` names no split `val`.
        val_share: share of the videos of `data` that are held out for validation instead, chosen by the recipe's seed.
        group: what stays on one side of that split, as for `read_manifest`.
        video_root: where the videos of lists are, as for `read_manifest`.
        fold: (number from 1, of how many) of a cross-validation: its videos are held out for validation instead.
    """

    command = "finetune"
    title = "fine-tuning"
    manifest: Manifest
    validation: Manifest | None
    checkpoint: Checkpoint
    dataset: TrainingClips

    def __init__(
        self,
        data: str | Path,
        recipe: FinetuneRecipe,
        *,
        init: str,
        val: str | Path | None = None,
        val_share: float | None = None,
        group: str | None = None,
        video_root: str | Path | None = None,
        fold: tuple[int, int] | None = None,
    ) -> None:
        self.recipe = recipe
        self.data = data
        self._init = init
        self._val = val
        self._val_share = val_share
        self._group = group
        self._video_root = video_root
        self._fold = fold
        self._unreadable_validation: dict[int, VideoError] = {}
        self._class_weights: Tensor | None = None
        self._scale: ScoreScale | None = None

    # --- data and model ------------------------------------------------------------------------------------------

    def read_data(self, output: Path, note: Callable[[str], object]) -> None:
        """See `Task.read_data`."""
        recipe = self.recipe
        if recipe.rand_augment:
            RandAugment.parse(recipe.rand_augment)  # raises before anything is read
        words = read_class_weights(recipe.class_weights)
        self.manifest, self.validation = read_train_and_val(
            self.data,
            val=self._val,
            val_share=self._val_share,
            group=self._group,
            root=self._video_root,
            seed=recipe.seed,
            fold=self._fold,
        )
        for manifest in filter(None, (self.manifest, self.validation)):
            require_apart(output, manifest, option="--output")
        if self.validation is None:
            _require_no_empty_val(self.data)
        else:
            _note_untrained_classes(self.manifest, self.validation, note)
        self.recipe = replace(recipe, class_weights=words)
        if recipe.ordinal:
            self.manifest, self.validation = as_ordered(self.manifest, self.validation)
        if self.manifest.is_scored:
            self._scale = ScoreScale(self.manifest)
            _require_no_classes(self.recipe)
        if words:
            self._weigh_classes(words, note)
        if self.manifest.is_multi_label and recipe.class_balance:
            raise ConfigError(
                f"class_balance={recipe.class_balance} for videos with several labels",
                expected="0",
                hint="set it to 0, and --class-weights balanced; such videos cannot be balanced by sampling",
            )
        if recipe.early_stopping and self.validation is None:
            raise ConfigError(
                f"early_stopping={recipe.early_stopping} without validation videos",
                expected="videos that show when training no longer helps",
                hint="give --val or --val-share, or leave --early-stopping out",
            )

    def _weigh_classes(self, words: tuple[str, ...], note: Callable[[str], object]) -> None:
        counts = self.manifest.class_counts()
        self._class_weights = class_weights(
            words,
            counts,
            num_videos=len(self.manifest),
            class_balance=self.recipe.class_balance,
            is_multi_label=self.manifest.is_multi_label,
        )
        shown = [f"{name} {weight:.3g}" for name, weight in zip(counts, self._class_weights.tolist(), strict=True)]
        more = f" and {len(shown) - 10} more" if len(shown) > 10 else ""
        note(f"class weights in the loss: {', '.join(shown[:10])}{more}")

    @property
    def description(self) -> dict[str, Any]:
        """See `Task.description`."""
        return {
            "val": None if self._val is None else str(self._val),
            "val_share": self._val_share,
            "group": self._group,
            "fold": None if self._fold is None else list(self._fold),
            "init": self._init,
            "val_videos": None if self.validation is None else entries_hash(self.validation),
        }

    def build(self, recipe: FinetuneRecipe, device: torch.device, note: Callable[[str], object]) -> None:
        """See `Task.build`."""
        manifest, names = self.manifest, self.class_names
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            model, recipe, processor, measures = self._build_model(recipe, note)
        if self._problem_type is not None or model.config.problem_type in (MULTI_LABEL, REGRESSION):
            model.config.problem_type = self._problem_type
        model.config.drop_path_rate = recipe.drop_path
        model.config.classifier_dropout = recipe.head_dropout
        if recipe.freeze:
            freeze_layers(model, recipe.freeze)
        if recipe.lora:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(recipe.seed)
                add_lora(model, recipe.lora, first_layer=recipe.freeze)
        sampling = clip_sampling(recipe)
        limits = ReadLimits(max_seconds=recipe.read_limit_seconds)
        if measures:
            set_measured_statistics(model.config, manifest.entries, sampling, limits, note)
        fresh = new_processor(model.config, sampling)
        if processor is not None and not measures:  # frames must look to the encoder as they did in pre-training
            fresh.image_mean, fresh.image_std = processor.image_mean, processor.image_std
        self.recipe = recipe
        self.checkpoint = Checkpoint(model.to(device), fresh, sampling)
        self._teacher = Teacher(recipe.teacher, self.checkpoint, names) if recipe.teacher else None
        if self._class_weights is not None:
            self._class_weights = self._class_weights.to(device)
        self.num_encoder_tokens = model.config.grid.num_tokens
        kind = "center" if recipe.min_crop_area == 1 else "resized"
        self.dataset = TrainingClips(
            manifest.entries,
            names,
            sampling=sampling,
            crop=Crop(kind, min_area=recipe.min_crop_area, max_ratio=recipe.max_crop_ratio, flip=recipe.flip),
            image_size=model.config.image_size,
            num_channels=model.config.num_channels,
            seed=recipe.seed,
            num_views=recipe.views,
            augmentation=_augmentation(recipe, device, note),
            limits=limits,
        )
        # A score has no classes over which a share of it could be spread.
        inputs = recipe if self._scale is None else replace(recipe, label_smoothing=0.0)
        self._inputs = ClassifierInputs(inputs, fresh, len(names), self._targets_of())

    def _build_model(
        self, recipe: FinetuneRecipe, note: Callable[[str], object]
    ) -> tuple[Any, FinetuneRecipe, Any | None, bool]:
        """The model with its new head, the fully resolved recipe, the checkpoint's processor if any, and whether the
        statistics of its channels are to be measured.
        """
        names = self.class_names
        if self._init == SCRATCH:
            recipe = recipe.for_new_network()
            config = new_config(recipe, id2label=dict(enumerate(names)), classifier_head=recipe.head or "linear")
            model = VideoMAEForVideoClassification(config)
            init_for_finetuning(model, init_scale=recipe.init_scale)
            return model, recipe, None, model.config.pixel_statistics is None
        changes = recipe.clip_changes
        head: dict[str, Any] = {} if recipe.head is None else {"classifier_head": recipe.head}
        opened = Checkpoint.open(self._init, task="classification", class_names=names, **changes, **head)
        require_finite_start(opened.model, self._init)
        recipe = fit_to_checkpoint(recipe, opened.model.config, opened.sampling)
        stored = read_config(self._init, **changes)
        is_same_kind = recipe.head in (None, stored.classifier_head)
        keeps = _keeps_head(self._init, stored, names, note, self._problem_type)
        if keeps and not is_same_kind:
            note(f"{self._init} has a head of another kind: using its encoder with a new {recipe.head} head")
        if not (keeps and is_same_kind):
            init_classifier(opened.model, init_scale=recipe.init_scale)
        elif self._scale is not None:
            self._scale.standardize_(opened.model)
        return opened.model, recipe, opened.processor, stored.num_channels != recipe.num_channels

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the model's outputs."""
        return (SCORE,) if self._scale is not None else self.manifest.class_names

    @property
    def _problem_type(self) -> str | None:
        return MULTI_LABEL if self.manifest.is_multi_label else REGRESSION if self._scale is not None else None

    def _targets_of(self) -> Callable[[Tensor], Tensor] | None:
        """What gives the targets (B, outputs) of the videos at some places (B,); None where each has one class."""
        manifest = self.manifest
        if self._scale is not None:
            return self._scale.targets
        if manifest.is_multi_label:  # 1 for each class
            return lambda indices: multi_hot([manifest.entries[i] for i in indices.tolist()], manifest.class_names)
        if self.recipe.ordinal:
            targets, labels = ordinal_targets(manifest.class_names), torch.tensor(self.dataset.labels)
            return lambda indices: targets[labels[indices]]
        return None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """See `Task.parameter_groups`."""
        model = self.checkpoint.model
        return parameter_groups(
            model.named_parameters(),
            weight_decay=self.recipe.weight_decay,
            layer_decay=self.recipe.layer_decay,
            num_layers=model.config.num_hidden_layers,
        )

    def weights_for_users(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See `Task.weights_for_users`: without adapters, and with a head that gives scores in their own unit."""
        weights = merged(weights) if self.recipe.lora else weights
        return weights if self._scale is None else self._scale.in_units(weights)

    def order(self, epoch: int) -> np.ndarray:
        """See `Task.order`."""
        recipe = self.recipe
        return balanced_order(self.dataset.labels, seed=recipe.seed, epoch=epoch, power=recipe.class_balance)

    # --- loss and validation -------------------------------------------------------------------------------------

    def loss(self, network: Callable[..., Any], micro_batch: MicroBatch) -> tuple[Tensor, float]:
        """Cross entropy with soft targets; of several labels the binary ones' mean over classes; see `Task.loss`.

        Of scores the squared error, or Huber's. With a teacher, the divergence from its scores takes the place of that,
        or a share of it.
        """
        pixel_values, targets = self._inputs(micro_batch)
        logits = network(pixel_values).logits
        if self._scale is not None:
            return regression_loss(logits, targets, kind=self.recipe.score_loss), len(targets)
        total = classification_loss(
            logits, targets, is_multi_label=self.manifest.is_multi_label, class_weights=self._class_weights
        )
        if self._teacher is not None:
            taught = distillation_loss(
                logits,
                self._teacher(pixel_values),
                is_multi_label=self.manifest.is_multi_label,
                temperature=self.recipe.distill_temperature,
            )
            total = torch.lerp(total, taught, self.recipe.distill_share)
        return total, len(targets)

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
        """Draws nothing."""

    def validates_after(self, epoch: int) -> bool:
        """See `Task.validates_after`."""
        is_due = epoch % self.recipe.val_every == 0 or epoch == self.recipe.epochs
        return self.validation is not None and is_due

    def stops_after(self, epoch: int, best: BestEpoch) -> bool:
        """See `Task.stops_after`."""
        patience = self.recipe.early_stopping
        return bool(patience) and best.epoch is not None and epoch - best.epoch >= patience

    def validate(self, on_video: Callable[[], object], processes: ProcessGroup) -> Evaluation:
        """See `Task.validate`; what ended a worker process once is not opened again."""
        assert self.validation is not None
        excluded = self._unreadable_validation
        with nullcontext() if self._scale is None else self._scale.applied(self.checkpoint.model):
            return validate(
                self.checkpoint, self.validation, self.recipe, on_video=on_video, excluded=excluded, processes=processes
            )

    # --- what is shown -------------------------------------------------------------------------------------------

    def show(self, micro_batch: MicroBatch) -> list[TitledClip]:
        """See `Task.show`."""
        pixel_values, targets = self._inputs(micro_batch)
        processor = self.checkpoint.processor
        pixels = as_pixels(pixel_values, processor.image_mean, processor.image_std)
        if self._scale is not None:
            scores = (targets[:, 0] * self._scale.deviation + self._scale.mean).tolist()
            return [(f"score {score:.3g}", clip) for score, clip in zip(scores, pixels, strict=True)]
        return labelled_clips(self.manifest.class_names, pixels, targets, self.recipe.label_smoothing)

    def summary(self) -> str:
        """See `Task.summary`."""
        manifest, validation = self.manifest, self.validation
        counts = ", ".join(f"{name} {count}" for name, count in list(manifest.class_counts().items())[:10])
        start = "new weights" if self._init == SCRATCH else f"the encoder of {self._init}"
        videos = f"{len(manifest)} training, {0 if validation is None else len(validation)} validation videos"
        what = f"{len(manifest.class_names)} classes ({counts})"
        if self._scale is not None:
            what = f"scores from {self._scale.lowest:g} to {self._scale.highest:g} (mean {self._scale.mean:.4g})"
        return f"fine-tuning {start} on {what}; {manifest.used or videos}"

    def write_interim_report(self, run: ReportedRun, *, best: BestEpoch) -> None:
        """See `Task.write_interim_report`; of a resumed run there is no evaluation until an epoch is better."""
        write_finetune_report(run, best_epoch=best.epoch, evaluation=best.evaluation, init=self._init)

    def write_report(self, run: ReportedRun, *, best: BestEpoch, processes: ProcessGroup, monitor: Monitor) -> None:
        """See `Task.write_report`; the saved weights are evaluated once more, as any user of the folder will."""
        evaluation, embedding, folder = None, None, run.folder.path
        if self.validation is not None:
            saved = processes.from_main(processes.on_main(lambda: Checkpoint.open(folder, task="classification")))
            saved.model.to(self.checkpoint.model.device)
            monitor.start_part("evaluating the saved weights", total=len(self.validation))
            with head_inputs_kept(saved.model) as rows:
                evaluation = validate(
                    saved, self.validation, self.recipe, on_video=monitor.advance_part, processes=processes
                )
            embedding = stacked(rows) if processes.world_size == 1 else None

        def write() -> None:
            num_unreadable = len(run.broken.keys() - best.unreadable.keys())
            facts = TrainingFacts(
                command=self.command,
                data_set=self.data,
                num_videos=len(self.manifest) - num_unreadable,
                num_validation_videos=len(self.validation or ()),
                num_unreadable=num_unreadable,
                init=self._init,
                recipe=self.recipe,
                best_epoch=best.epoch,
                evaluation=evaluation,
            )
            write_model_card(folder, self.checkpoint, facts)
            write_finetune_report(
                run, best_epoch=best.epoch, evaluation=evaluation, init=self._init, embedding=embedding
            )

        processes.on_main(write)


def _augmentation(recipe: FinetuneRecipe, device: torch.device, note: Callable[[str], object]) -> Augmentation | None:
    """The recipe's RandAugment, on the device where it is to run there; notes where that lacks operations."""
    if not recipe.rand_augment:
        return None
    on_device = recipe.augment_on == "device" or (
        recipe.augment_on == "auto" and device.type == "cuda" and not recipe.augment_before_crop
    )
    if on_device and not can_augment_on(device):
        note(f"{device} lacks operations of RandAugment: augmenting in the workers")
        on_device = False
    operations = RandAugment.parse(recipe.rand_augment)
    return Augmentation(operations, before_crop=recipe.augment_before_crop, on_device=on_device)


def _require_no_classes(recipe: FinetuneRecipe) -> None:
    """Raise a ConfigError for what scores have no use for."""
    for name in ("class_balance", "class_weights", "teacher"):
        if getattr(recipe, name):
            raise ConfigError(
                f"{name}={getattr(recipe, name)!r} for videos with scores",
                expected="nothing: scores have no classes",
                hint=f"leave --{name.replace('_', '-')} out" + (", or set it to 0" if name == "class_balance" else ""),
            )


def _require_no_empty_val(data: str | Path) -> None:
    """Raise a DataError for a folder whose val/ has no videos: its user expects validation."""
    for folder in Path(data).iterdir() if Path(data).is_dir() else ():
        is_val = folder.is_dir() and split_folder(folder.name) == "val"
        if is_val and not any(path.is_file() for path in folder.rglob("*")):
            raise DataError(
                f"{folder} without videos",
                expected="validation videos",
                hint="fill the folder, or remove it to train without validation or with --val-share",
            )


def _note_untrained_classes(manifest: Manifest, validation: Manifest, note: Callable[[str], object]) -> None:
    """Note the classes of the validation set that have no training videos."""
    counts = validation.class_counts()
    lacking = [name for name, count in manifest.class_counts().items() if not count and counts.get(name)]
    if lacking:
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        note(
            f"no training videos of {', '.join(lacking[:5])}{more}; "
            f"the validation set has {sum(counts[name] for name in lacking)} of these classes"
        )


def _keeps_head(
    init: str,
    config: VideoMAEConfig,
    class_names: tuple[str, ...],
    note: Callable[[str], object],
    problem_type: str | None,
) -> bool:
    """Whether the checkpoint is a classifier of these very classes, or scores; notes where it is one of others."""
    if stored_task(config) != "classification":
        return False
    known = tuple(config.id2label[index] for index in range(config.num_labels))
    had = config.problem_type if config.problem_type in (MULTI_LABEL, REGRESSION) else None
    if had != problem_type:
        before, now = _TARGETS[had], _TARGETS[problem_type]
        note(f"{init} predicts {before} per video, the data have {now}: using its encoder with a new head")
        return False
    if known == class_names:
        return True
    note(
        f"{init} predicts {len(known)} other classes ({', '.join(known[:3])} …): "
        f"using its encoder with a new head for the {len(class_names)} classes of the data"
    )
    return False
