"""Mean and deviation of the channels of a data set, for frames that are not RGB."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from videomae.core.errors import VideoError
from videomae.data.clips import ViewClips
from videomae.datasets.manifest import VideoEntry
from videomae.models.config import VideoMAEConfig
from videomae.video.reader import ReadLimits
from videomae.video.sampling import ClipSampling

_NUM_VIDEOS = 64
# A channel that never changes would be divided by 0.
_LEAST_STD = 1 / 255


def set_measured_statistics(
    config: VideoMAEConfig,
    entries: Sequence[VideoEntry],
    sampling: ClipSampling,
    limits: ReadLimits,
    note: Callable[[str], object],
) -> None:
    """Set `image_mean` and `image_std` to those of the center clips of up to 64 evenly spaced videos.

    Raises:
        VideoError: if none of them can be read.
    """
    _, num_channels, height, width = config.grid.clip_shape
    chosen = entries[:: max(1, len(entries) // _NUM_VIDEOS)][:_NUM_VIDEOS]
    clips = ViewClips(chosen, sampling=sampling, image_size=(height, width), num_channels=num_channels, limits=limits)
    sums, squares = torch.zeros(2, num_channels, dtype=torch.float64)
    count = num_read = 0
    failed: VideoError | None = None
    for index in range(len(chosen)):
        try:
            pixels = clips.read(index)[0].double() / 255  # (1, T, C, H, W)
        except VideoError as error:  # training reports it
            failed = error
            continue
        num_read += 1
        sums += pixels.sum(dim=(0, 1, 3, 4))
        squares += pixels.square().sum(dim=(0, 1, 3, 4))
        count += pixels[:, :, 0].numel()
    if not count:
        assert failed is not None
        raise failed
    mean = sums / count
    std = (squares / count - mean.square()).clamp(min=_LEAST_STD**2).sqrt()
    config.image_mean, config.image_std = (
        tuple(round(number, 4) for number in values.tolist()) for values in (mean, std)
    )
    values = ", ".join(f"{m:g} ± {s:g}" for m, s in zip(config.image_mean, config.image_std, strict=True))
    channels = "1 channel" if num_channels == 1 else f"{num_channels} channels"
    note(f"{channels}, mean and deviation measured on {num_read} videos: {values}")
