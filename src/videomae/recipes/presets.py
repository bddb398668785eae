"""Recipes for people with few clips, and with one GPU or none. They are starting points of ours, not published runs.
What a docstring does not call measured is reasoned.

They lean on three things. The fewer the clips, the more passes and samples of each clip, the stronger the augmentation
and the smaller the network; a mask that hides less, as in the published run on UCF101, shows more of each clip.
Where a published checkpoint can be had (`--init`), it is worth more than any setting here.
"""

from __future__ import annotations

from dataclasses import replace

from videomae.recipes.finetune import FinetuneRecipe
from videomae.recipes.pretrain import PretrainRecipe
from videomae.recipes.registry import named


@named()
def pretrain() -> PretrainRecipe:
    """The defaults of pre-training."""
    return PretrainRecipe()


@named()
def pretrain_thousands_gpu() -> PretrainRecipe:
    """Pre-training on thousands of clips with one GPU."""
    return replace(pretrain(), size="small", batch_size=64, views=4, epochs=400, warmup_epochs=20.0, learning_rate=6e-4)


@named()
def pretrain_hundreds_gpu() -> PretrainRecipe:
    """Pre-training on hundreds of clips with one GPU."""
    return replace(pretrain_thousands_gpu(), batch_size=32, epochs=1600, warmup_epochs=80.0, mask_ratio=0.75)


@named()
def pretrain_thousands_cpu() -> PretrainRecipe:
    """Pre-training on thousands of clips without a GPU: small frames, few passes, small steps.

    Measured (docs/evidence.md, the tiny network on lips): at the same peak rate and after as many views, steps of 4
    clips had learned more than steps of 16.
    """
    return replace(
        pretrain_thousands_gpu(), image_size=112, batch_size=4, epochs=20, warmup_epochs=1.0, learning_rate=6e-3
    )


@named()
def pretrain_hundreds_cpu() -> PretrainRecipe:
    """Pre-training on hundreds of clips without a GPU: small frames."""
    return replace(pretrain_thousands_cpu(), epochs=150, warmup_epochs=8.0, mask_ratio=0.75)


@named()
def finetune() -> FinetuneRecipe:
    """The defaults of fine-tuning."""
    return FinetuneRecipe()


@named()
def finetune_thousands_gpu() -> FinetuneRecipe:
    """Fine-tuning on thousands of clips with one GPU."""
    return replace(
        finetune(),
        batch_size=32,
        views=2,
        epochs=50,
        learning_rate=2e-3,
        min_crop_area=0.2,
        mixup=0.8,
        cutmix=1.0,
        class_balance=0.5,
    )


@named()
def finetune_hundreds_gpu() -> FinetuneRecipe:
    """Fine-tuning on hundreds of clips with one GPU."""
    return replace(
        finetune_thousands_gpu(),
        batch_size=16,
        epochs=80,
        learning_rate=5e-3,
        layer_decay=0.7,
        drop_path=0.2,
        head_dropout=0.5,
        min_crop_area=0.5,
        mixup=0.0,
        cutmix=0.0,
        class_balance=1.0,
    )


@named()
def finetune_thousands_cpu() -> FinetuneRecipe:
    """Fine-tuning on thousands of clips without a GPU: a few passes."""
    return replace(
        finetune_thousands_gpu(),
        batch_size=16,
        views=1,
        epochs=5,
        warmup_epochs=0.5,
        learning_rate=5e-3,
        min_crop_area=0.5,
        mixup=0.0,
        cutmix=0.0,
    )


@named()
def finetune_hundreds_cpu() -> FinetuneRecipe:
    """Fine-tuning on hundreds of clips without a GPU: some passes."""
    return replace(finetune_hundreds_gpu(), batch_size=8, views=1, epochs=20, warmup_epochs=2.0, learning_rate=1e-2)
