"""The published runs of VideoMAE V2 (Wang et al. 2023): dual masking, four samples of each decoded clip."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from videomae.recipes.finetune import FinetuneRecipe
from videomae.recipes.pretrain import PretrainRecipe
from videomae.recipes.published_v1 import v1_finetune, v1_pretrain
from videomae.recipes.registry import named

_SOURCE = "VideoMAE V2, CVPR 2023"
_UNLABELLED: dict[str, Any] = {"data_set": "UnlabeledHybrid", "source": _SOURCE}
_K400: dict[str, Any] = {"data_set": "Kinetics-400", "source": _SOURCE}
_K710: dict[str, Any] = {"data_set": "Kinetics-710", "source": _SOURCE}
_SSV2: dict[str, Any] = {"data_set": "Something-Something V2", "source": _SOURCE}
_UCF101: dict[str, Any] = {"data_set": "UCF101", "source": _SOURCE}
_HMDB51: dict[str, Any] = {"data_set": "HMDB51", "source": _SOURCE}


@named(source=_SOURCE)
def v2_pretrain() -> PretrainRecipe:
    """What all pre-training runs of VideoMAE V2 share."""
    return replace(
        v1_pretrain(),
        decoder_mask_ratio=0.5,
        decoder_depth=4,
        views=4,
        learning_rate=1e-3,
        warmup_epochs=30.0,
        epochs=300,
    )


@named(**_UNLABELLED)
def v2_pretrain_base() -> PretrainRecipe:
    """ViT-B, pre-trained on UnlabeledHybrid."""
    return replace(v2_pretrain(), size="base", batch_size=1024, epochs=200, warmup_epochs=20.0)


@named(**_UNLABELLED)
def v2_pretrain_large() -> PretrainRecipe:
    """ViT-L, pre-trained on UnlabeledHybrid."""
    return replace(v2_pretrain(), size="large", batch_size=1536)


@named(**_UNLABELLED)
def v2_pretrain_huge() -> PretrainRecipe:
    """ViT-H, pre-trained on UnlabeledHybrid."""
    return replace(v2_pretrain(), size="huge", batch_size=2048, decoder_width=512)


@named(**_UNLABELLED)
def v2_pretrain_giant() -> PretrainRecipe:
    """ViT-g, pre-trained on UnlabeledHybrid."""
    return replace(v2_pretrain(), size="giant", batch_size=2048, learning_rate=6e-4, clip_grad=0.02)


@named(source=_SOURCE)
def v2_finetune() -> FinetuneRecipe:
    """What all fine-tuning runs of VideoMAE V2 share."""
    return replace(v1_finetune(), views=2)


@named(**_K400)
def v2_finetune_k400_base() -> FinetuneRecipe:
    """ViT-B, fine-tuned on Kinetics-400."""
    return replace(v2_finetune(), size="base", batch_size=512, learning_rate=7e-4, epochs=90)


@named(**_K400)
def v2_finetune_k400_large() -> FinetuneRecipe:
    """ViT-L, fine-tuned on Kinetics-400."""
    return replace(v2_finetune(), size="large", batch_size=192, learning_rate=2e-3, epochs=35, drop_path=0.2)


@named(**_K400)
def v2_finetune_k400_huge() -> FinetuneRecipe:
    """ViT-H, fine-tuned on Kinetics-400."""
    return replace(
        v2_finetune(),
        size="huge",
        batch_size=128,
        learning_rate=1e-3,
        epochs=40,
        layer_decay=0.8,
        drop_path=0.2,
        head_dropout=0.5,
    )


@named(**_SSV2)
def v2_finetune_ssv2() -> FinetuneRecipe:
    """What the runs on Something-Something V2 share."""
    return replace(v2_finetune(), sampling="uniform", flip=False)


@named(**_SSV2)
def v2_finetune_ssv2_base() -> FinetuneRecipe:
    """ViT-B, fine-tuned on Something-Something V2."""
    return replace(v2_finetune_ssv2(), size="base", batch_size=256, learning_rate=2e-3, epochs=25, layer_decay=0.65)


@named(**_SSV2)
def v2_finetune_ssv2_large() -> FinetuneRecipe:
    """ViT-L, fine-tuned on Something-Something V2."""
    return replace(v2_finetune_ssv2(), size="large", batch_size=192, learning_rate=5e-4, epochs=20, drop_path=0.2)


@named(**_SSV2)
def v2_finetune_ssv2_huge() -> FinetuneRecipe:
    """ViT-H, fine-tuned on Something-Something V2."""
    return replace(
        v2_finetune_ssv2(),
        size="huge",
        batch_size=128,
        learning_rate=5e-4,
        epochs=20,
        layer_decay=0.8,
        drop_path=0.2,
        head_dropout=0.5,
    )


@named(**_K710)
def v2_finetune_k710_giant() -> FinetuneRecipe:
    """ViT-g, fine-tuned on Kinetics-710."""
    return replace(
        v2_finetune(),
        size="giant",
        batch_size=96,
        learning_rate=1e-3,
        epochs=35,
        layer_decay=0.9,
        drop_path=0.3,
        weight_decay=0.1,
        clip_grad=5.0,
    )


@named(**_K400, top1=87.2, top5=97.4)
def v2_finetune_k400_giant() -> FinetuneRecipe:
    """ViT-g, fine-tuned on Kinetics-400."""
    return replace(
        v2_finetune(),
        size="giant",
        batch_size=192,
        learning_rate=1e-3,
        epochs=30,
        layer_decay=0.9,
        drop_path=0.2,
        weight_decay=0.1,
    )


@named(**_SSV2, top1=77.0, top5=95.9)
def v2_finetune_ssv2_giant() -> FinetuneRecipe:
    """ViT-g, fine-tuned on Something-Something V2."""
    return replace(
        v2_finetune_ssv2(),
        size="giant",
        batch_size=96,
        learning_rate=3e-4,
        epochs=20,
        layer_decay=0.9,
        drop_path=0.25,
    )


@named(**_UCF101)
def v2_finetune_ucf101_giant() -> FinetuneRecipe:
    """ViT-g, fine-tuned on UCF101 after fine-tuning on Kinetics-710."""
    return replace(
        v2_finetune(),
        size="giant",
        batch_size=24,
        learning_rate=1e-3,
        epochs=50,
        layer_decay=0.9,
        drop_path=0.35,
        head_dropout=0.5,
    )


@named(**_HMDB51)
def v2_finetune_hmdb51_giant() -> FinetuneRecipe:
    """ViT-g, fine-tuned on HMDB51 after fine-tuning on Kinetics-710."""
    return replace(v2_finetune_ucf101_giant(), learning_rate=5e-4, epochs=15, frame_stride=2)
