"""The demonstration's settings: how many clips, and recipes for a few minutes on two cores."""

from __future__ import annotations

from dataclasses import replace

from videomae.recipes.finetune import FinetuneRecipe
from videomae.recipes.pretrain import PretrainRecipe

NUM_UNLABELLED = 1200
NUM_TRAIN_PER_CLASS = 12
NUM_VAL_PER_CLASS = 40

# Un-normalized targets: per-patch normalization would ask for the noise of flat patches. Random masks: at 4 × 4 patches
# a tube leaves too little to rebuild from.
PRETRAIN = PretrainRecipe(
    size="tiny",
    num_frames=8,
    image_size=32,
    decoder_width=64,
    frame_stride=2,
    epochs=12,
    batch_size=8,
    views=4,
    learning_rate=6.4e-2,
    min_learning_rate=6.4e-4,
    warmup_epochs=1,
    norm_pix_loss=False,
    mask="random",
    mask_ratio=0.75,
    num_workers=1,
    log_every=25,
)
FINETUNE = FinetuneRecipe(
    frame_stride=2,
    epochs=40,
    batch_size=32,
    learning_rate=1.6e-2,
    min_learning_rate=1.6e-4,
    warmup_epochs=4,
    layer_decay=1.0,
    flip=False,
    min_crop_area=0.6,
    rand_augment="",
    erasing=0.0,
    drop_path=0.0,
    init_scale=1.0,
    num_workers=1,
)
# The same network, clips and steps; only the start differs.
FROM_SCRATCH = replace(FINETUNE, size=PRETRAIN.size, num_frames=PRETRAIN.num_frames, image_size=PRETRAIN.image_size)
