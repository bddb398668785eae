"""From decoded frames to the pixels of a clip: the image processor, crops, augmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomae.core.lazy import lazy_names

if TYPE_CHECKING:
    from .batch_feature import BatchFeature as BatchFeature
    from .erasing import draw_erased_box as draw_erased_box, erase_randomly_ as erase_randomly_
    from .image_processor import (
        VideoMAEFeatureExtractor as VideoMAEFeatureExtractor,
        VideoMAEImageProcessor as VideoMAEImageProcessor,
    )
    from .rand_augment import RandAugment as RandAugment
    from .transforms import (
        CropBox as CropBox,
        center_crop_box as center_crop_box,
        crop_and_resize as crop_and_resize,
        evaluation_crop_boxes as evaluation_crop_boxes,
        multi_scale_crop as multi_scale_crop,
        normalize as normalize,
        random_flip as random_flip,
        random_resized_crop as random_resized_crop,
    )

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "rand_augment": ["RandAugment"],
        "batch_feature": ["BatchFeature"],
        "erasing": ["draw_erased_box", "erase_randomly_"],
        "image_processor": ["VideoMAEFeatureExtractor", "VideoMAEImageProcessor"],
        "transforms": [
            "CropBox",
            "center_crop_box",
            "crop_and_resize",
            "multi_scale_crop",
            "normalize",
            "random_flip",
            "random_resized_crop",
            "evaluation_crop_boxes",
        ],
    },
)
