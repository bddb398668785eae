"""The published runs of VideoMAE (Tong et al. 2022, tables 8 and 9, and the scripts of its release).

Batches count decoded clips over all devices, learning rates are for 256 of them. The original fine-tuning spreads the
frames of a clip evenly over its span, so that some steps are 5 frames; these recipes take exact steps of 4, and
`--sampling linspace` gives the original's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from videomae.recipes.finetune import FinetuneRecipe
from videomae.recipes.pretrain import PretrainRecipe
from videomae.recipes.registry import named

_SOURCE = "VideoMAE, NeurIPS 2022"
_K400: dict[str, Any] = {"data_set": "Kinetics-400", "source": _SOURCE}
_SSV2: dict[str, Any] = {"data_set": "Something-Something V2", "source": _SOURCE}
_UCF101: dict[str, Any] = {"data_set": "UCF101", "source": _SOURCE}
_CLIP: dict[str, Any] = {"num_frames": 16, "image_size": 224}


@named(source=_SOURCE)
def v1_pretrain() -> PretrainRecipe:
    """What all pre-training runs of VideoMAE share."""
    return replace(
        PretrainRecipe(),
        **_CLIP,
        learning_rate=1.5e-4,
        min_learning_rate=1e-5,
        start_learning_rate=1e-6,
        warmup_epochs=40.0,
        beta1=0.9,
        beta2=0.95,
        weight_decay=0.05,
        clip_grad=0.0,
        mask="tube",
        mask_ratio=0.9,
        decoder_mask_ratio=0.0,
        norm_pix_loss=True,
        crop="multi-scale",
        sampling="dense",
        frame_stride=4,
        decoder_depth=4,
        views=1,
    )


@named(**_K400, top1=79.0, top5=93.8)
def v1_pretrain_k400_small() -> PretrainRecipe:
    """ViT-S, pre-trained on Kinetics-400."""
    return replace(v1_pretrain(), size="small", batch_size=1024, epochs=1600)


@named(**_K400)
def v1_pretrain_k400_base_800() -> PretrainRecipe:
    """ViT-B, pre-trained on Kinetics-400 for 800 epochs."""
    return replace(v1_pretrain(), size="base", batch_size=2048, epochs=800)


@named(**_K400, top1=81.5, top5=95.1)
def v1_pretrain_k400_base_1600() -> PretrainRecipe:
    """ViT-B, pre-trained on Kinetics-400 for 1600 epochs."""
    return replace(v1_pretrain_k400_base_800(), epochs=1600)


@named(**_K400, top1=85.2, top5=96.8)
def v1_pretrain_k400_large() -> PretrainRecipe:
    """ViT-L, pre-trained on Kinetics-400."""
    return replace(v1_pretrain(), size="large", batch_size=512, epochs=1600, decoder_depth=12)


@named(**_K400, top1=86.6, top5=97.1)
def v1_pretrain_k400_huge() -> PretrainRecipe:
    """ViT-H, pre-trained on Kinetics-400."""
    return replace(v1_pretrain_k400_large(), size="huge", batch_size=1024)


@named(**_SSV2, top1=66.8, top5=90.3)
def v1_pretrain_ssv2_small() -> PretrainRecipe:
    """ViT-S, pre-trained on Something-Something V2."""
    return replace(v1_pretrain(), size="small", batch_size=2048, epochs=2400, frame_stride=2)


@named(**_SSV2)
def v1_pretrain_ssv2_base_800() -> PretrainRecipe:
    """ViT-B, pre-trained on Something-Something V2 for 800 epochs."""
    return replace(v1_pretrain_ssv2_small(), size="base", epochs=800)


@named(**_SSV2, top1=70.8, top5=92.4)
def v1_pretrain_ssv2_base_2400() -> PretrainRecipe:
    """ViT-B, pre-trained on Something-Something V2 for 2400 epochs."""
    return replace(v1_pretrain_ssv2_base_800(), epochs=2400)


@named(**_UCF101, top1=91.3, top5=98.5)
def v1_pretrain_ucf101_base() -> PretrainRecipe:
    """ViT-B, pre-trained on UCF101."""
    return replace(v1_pretrain(), size="base", batch_size=192, epochs=3200, mask_ratio=0.75, learning_rate=3e-4)


@named(source=_SOURCE)
def v1_finetune() -> FinetuneRecipe:
    """What all fine-tuning runs of VideoMAE share."""
    return replace(
        FinetuneRecipe(),
        min_learning_rate=1e-6,
        start_learning_rate=1e-6,
        warmup_epochs=5.0,
        beta1=0.9,
        beta2=0.999,
        weight_decay=0.05,
        clip_grad=0.0,
        layer_decay=0.75,
        drop_path=0.1,
        head_dropout=0.0,
        init_scale=0.001,
        label_smoothing=0.1,
        mixup=0.8,
        cutmix=1.0,
        cutmix_probability=0.5,
        rand_augment="rand-m7-n4-mstd0.5-inc1",
        augment_before_crop=True,
        erasing=0.25,
        flip=True,
        min_crop_area=0.08,
        max_crop_ratio=4 / 3,
        sampling="dense",
        frame_stride=4,
        views=2,
    )


@named(**_K400, top1=79.0, top5=93.8)
def v1_finetune_k400_small() -> FinetuneRecipe:
    """ViT-S, fine-tuned on Kinetics-400."""
    return replace(v1_finetune(), size="small", batch_size=384, learning_rate=5e-4, epochs=150)


@named(**_K400)
def v1_finetune_k400_base_800() -> FinetuneRecipe:
    """ViT-B, fine-tuned on Kinetics-400, after 800 epochs of pre-training."""
    return replace(v1_finetune(), size="base", batch_size=512, learning_rate=1e-3, epochs=100, views=1)


@named(**_K400, top1=81.5, top5=95.1)
def v1_finetune_k400_base_1600() -> FinetuneRecipe:
    """ViT-B, fine-tuned on Kinetics-400, after 1600 epochs of pre-training."""
    return replace(v1_finetune(), size="base", batch_size=384, learning_rate=5e-4, epochs=75)


@named(**_K400, top1=85.2, top5=96.8)
def v1_finetune_k400_large() -> FinetuneRecipe:
    """ViT-L, fine-tuned on Kinetics-400."""
    return replace(v1_finetune(), size="large", batch_size=128, learning_rate=2e-3, epochs=35)


@named(**_K400, top1=86.6, top5=97.1)
def v1_finetune_k400_huge() -> FinetuneRecipe:
    """ViT-H, fine-tuned on Kinetics-400."""
    return replace(
        v1_finetune(),
        size="huge",
        batch_size=512,
        learning_rate=1e-3,
        epochs=50,
        drop_path=0.2,
        head_dropout=0.5,
        min_learning_rate=1e-5,
        start_learning_rate=1e-8,
    )


@named(**_SSV2)
def v1_finetune_ssv2() -> FinetuneRecipe:
    """What the runs on Something-Something V2 share."""
    return replace(v1_finetune(), sampling="uniform", flip=False)


@named(**_SSV2, top1=66.8, top5=90.3)
def v1_finetune_ssv2_small() -> FinetuneRecipe:
    """ViT-S, fine-tuned on Something-Something V2."""
    return replace(v1_finetune_ssv2(), size="small", batch_size=384, learning_rate=1e-3, epochs=40, layer_decay=0.7)


@named(**_SSV2)
def v1_finetune_ssv2_base_800() -> FinetuneRecipe:
    """ViT-B, fine-tuned on Something-Something V2, after 800 epochs of pre-training."""
    return replace(v1_finetune_ssv2(), size="base", batch_size=512, learning_rate=5e-4, epochs=50, views=1)


@named(**_SSV2, top1=70.8, top5=92.4)
def v1_finetune_ssv2_base_2400() -> FinetuneRecipe:
    """ViT-B, fine-tuned on Something-Something V2, after 2400 epochs of pre-training."""
    return replace(v1_finetune_ssv2(), size="base", batch_size=384, learning_rate=5e-4, epochs=30)


@named(**_UCF101, top1=91.3, top5=98.5)
def v1_finetune_ucf101_base() -> FinetuneRecipe:
    """ViT-B, fine-tuned on UCF101."""
    return replace(
        v1_finetune(),
        size="base",
        batch_size=128,
        learning_rate=5e-4,
        epochs=100,
        layer_decay=0.7,
        drop_path=0.2,
        head_dropout=0.5,
        min_learning_rate=1e-5,
        start_learning_rate=1e-8,
    )
