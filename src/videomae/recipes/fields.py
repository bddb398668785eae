"""The fields of the recipes as keyword arguments, so that editors complete them and mypy checks them.

What each means stands with the field of the same name in `TrainingRecipe`, `PretrainRecipe` and `FinetuneRecipe`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

from videomae.core.choices import ImageSize, MaskName, PrecisionName, TrackerName


class TrainingFields(TypedDict, total=False):
    """Of `TrainingRecipe`."""

    epochs: int
    time_budget: str
    batch_size: int
    views: int
    learning_rate: float
    min_learning_rate: float
    start_learning_rate: float
    warmup_epochs: float
    beta1: float
    beta2: float
    weight_decay: float
    clip_grad: float
    ema_decay: float
    sharding: Literal["none", "full"]
    accumulation: int
    gradient_checkpointing: bool
    compile: bool
    seed: int
    precision: PrecisionName
    device: str
    num_workers: int
    size: Literal["tiny", "small", "base", "large", "huge", "giant"] | None
    sampling: Literal["dense", "uniform", "linspace"] | None
    frame_stride: int | None
    frame_rate: float | None
    num_frames: int | None
    image_size: ImageSize | None
    tubelet_size: int | None
    num_channels: int | None
    read_limit_seconds: float
    max_broken: float
    max_skipped_in_a_row: int
    save_minutes: float
    keep_states: int
    log_every: int
    trackers: TrackerName | Sequence[TrackerName]


class PretrainFields(TrainingFields, total=False):
    """Of `PretrainRecipe`."""

    decoder_depth: int | None
    decoder_width: int | None
    mask: MaskName
    mask_ratio: float
    decoder_mask_ratio: float
    norm_pix_loss: bool
    crop: Literal["multi-scale", "center"]


class FinetuneFields(TrainingFields, total=False):
    """Of `FinetuneRecipe`."""

    layer_decay: float
    freeze: int
    lora: int
    drop_path: float
    head_dropout: float
    head: Literal["linear", "attentive"] | None
    init_scale: float
    label_smoothing: float
    mixup: float
    cutmix: float
    cutmix_probability: float
    rand_augment: str
    augment_before_crop: bool
    augment_on: Literal["auto", "workers", "device"]
    erasing: float
    flip: bool
    min_crop_area: float
    max_crop_ratio: float
    ordinal: bool
    score_loss: Literal["mse", "huber"]
    class_balance: float
    class_weights: str | Sequence[str] | Mapping[str, float]
    teacher: str
    distill_share: float
    distill_temperature: float
    early_stopping: int
    val_every: int
