"""Features of videos from a frozen encoder, nothing masked."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videomae.checkpoint import Checkpoint
from videomae.core.errors import ConfigError, VideoError
from videomae.core.precision import autocast
from videomae.data.clips import ViewClips
from videomae.data.listed_clips import FrameTimes, ListedClips
from videomae.data.loader import ClipBatch, collate, hard_limit_seconds, view_loader
from videomae.data.workers import Broken
from videomae.datasets.manifest import VideoEntry
from videomae.datasets.video_parts import whole_video
from videomae.inference.forwards import run_batches, videos_per_batch, views_per_forward
from videomae.inference.scores import ViewOptions
from videomae.processing.transforms import normalize
from videomae.video.reader import ReadLimits
from videomae.video.sampling import ClipSampling
from videomae.video.windows import window_starts

# Windows of one video that a worker decodes in one go.
_WINDOWS_AT_ONCE = 8
# Videos whose windows are planned before the first of them is embedded.
_VIDEOS_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class EmbedOptions(ViewOptions):
    """Which clips of a video are embedded, and how; the features of several clips and crops are averaged.

    Args:
        windows: instead, consecutive clips that cover the whole video, each a row of its own.
        overlap: of windows: the share of a window that the next one repeats.
        dense: every token's features, not their mean; of one clip and crop, or of windows.

    Raises:
        ConfigError: for values out of range or that exclude each other.
    """

    windows: bool = False
    overlap: float = 0.0
    dense: bool = False
    num_workers: int = -1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.overlap and not self.windows:
            raise ConfigError(
                f"overlap={self.overlap} without windows", expected="windows, which overlap", hint="add --windows"
            )
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"overlap={self.overlap}", expected="a share from 0 to below 1", hint="change --overlap")
        if (self.dense or self.windows) and self.num_clips * self.num_crops > 1:
            raise ConfigError(
                f"{self.num_clips} clips × {self.num_crops} crops with {'dense' if self.dense else 'windows'}",
                expected="1 clip and 1 crop: only pooled features of views can be averaged",
                hint="leave --clips and --crops out",
            )


@dataclass(frozen=True)
class Embedding:
    """Features of a video, or of one window of it.

    Args:
        index: place in the list of videos.
        values: float32 on the CPU, (D,), or with `dense` (T', H', W', D) in tokens; None where the video is broken.
        start_seconds: of a window: when its first frame is shown; None for a whole video.
        end_seconds: of a window: when its last frame is shown; None for a whole video.
        error: why the video could not be read.
    """

    index: int
    values: Tensor | None
    start_seconds: float | None = None
    end_seconds: float | None = None
    error: VideoError | None = None


@dataclass(frozen=True)
class _Window:
    """A part of a video: its place in the list, its frames, and when the first and the last are shown."""

    index: int
    frames: np.ndarray
    start_seconds: float
    end_seconds: float


def embed_videos(
    checkpoint: Checkpoint,
    entries: Sequence[VideoEntry],
    *,
    options: EmbedOptions,
    device: torch.device,
) -> Iterator[Embedding]:
    """Features of each video in order, or with `windows` of each window; a broken video comes once, with its error.

    The pooled features of a classifier are what its head reads; those of any other checkpoint the mean of the encoder's
    tokens. The model must be on `device` and in evaluation mode.

    Raises:
        ConfigError: for windows of a model that samples segments of a whole video.
    """
    _, num_channels, height, width = checkpoint.model.config.grid.clip_shape
    limits = ReadLimits(max_seconds=options.read_limit_seconds)
    settings: dict[str, Any] = {
        "sampling": checkpoint.sampling,
        "image_size": (height, width),
        "num_channels": num_channels,
        "limits": limits,
    }
    # Of each item of the batches, until its rows are there.
    windows: dict[int, list[_Window]] = {}
    if options.windows:
        _require_windows(checkpoint.sampling)
        batches = _window_batches(entries, windows, options, device, settings)
    else:
        windows.update((index, [_whole(index)]) for index in range(len(entries)))
        views = ViewClips(entries, num_clips=options.num_clips, num_crops=options.num_crops, **settings)
        batches = _loader(views, videos_per_batch(options.num_clips * options.num_crops), options, device)
    embedded = run_batches(
        batches,
        lambda clips: embed_clips(checkpoint, clips, dense=options.dense, precision=options.precision),
        device=device,
        num_views=views_per_forward(checkpoint.model.config, device),
        finite="features",
    )
    named: set[int] = set()
    with closing(batches):
        for item, rows in embedded:
            found = windows.pop(item)
            index = found[0].index
            if not isinstance(rows, VideoError):
                averaged = rows if options.windows else rows.mean(dim=0, keepdim=True)
                for window, row in zip(found, averaged, strict=True):
                    yield Embedding(index, row, *_seconds(window))
            elif index not in named:  # one line for a video, however many of its windows cannot be read
                named.add(index)
                yield Embedding(index, None, error=rows)


def _window_batches(
    entries: Sequence[VideoEntry],
    windows: dict[int, list[_Window]],
    options: EmbedOptions,
    device: torch.device,
    settings: dict[str, Any],
) -> Generator[ClipBatch, None, None]:
    """The windows of all videos, some at a time; what an item of the batches is, is noted in `windows`."""
    num_items = 0
    for first in range(0, len(entries), _VIDEOS_AT_ONCE):
        group = entries[first : first + _VIDEOS_AT_ONCE]
        parts: list[tuple[VideoEntry, list[_Window]]] = []
        broken: list[Broken] = []
        for planned in _plan(group, settings["sampling"], options, settings["limits"]):
            index = first + planned.index
            if planned.error is not None:
                windows[num_items + len(broken)] = [_whole(index)]
                broken.append(Broken(num_items + len(broken), planned.error))
            for start in range(0, len(planned.windows), _WINDOWS_AT_ONCE):
                some = planned.windows[start : start + _WINDOWS_AT_ONCE]
                parts.append((entries[index], [replace(window, index=index) for window in some]))
        if broken:
            unreadable = collate(broken)
            assert isinstance(unreadable, ClipBatch)
            yield unreadable
            num_items += len(broken)
        if not parts:
            continue
        windows.update((num_items + number, some) for number, (_, some) in enumerate(parts))
        clips = ListedClips(
            [whole_video(entry) for entry, _ in parts],
            [np.stack([window.frames for window in some]) for _, some in parts],
            **settings,
        )
        with closing(_loader(clips, 1, options, device)) as loader:
            for batch in loader:
                unread = tuple(replace(item, index=num_items + item.index) for item in batch.broken)
                yield replace(batch, indices=batch.indices + num_items, broken=unread)
        num_items += len(parts)


def _loader(
    clips: ViewClips | ListedClips | FrameTimes, batch_size: int, options: EmbedOptions, device: torch.device
) -> Generator[ClipBatch, None, None]:
    return view_loader(
        clips,
        batch_size=batch_size,
        num_workers=0 if len(clips) == 1 else options.num_workers,
        pin_memory=device.type == "cuda",
        limit_seconds=hard_limit_seconds(options.read_limit_seconds),
    )


@dataclass(frozen=True)
class _Planned:
    """The windows of the video `index` of a group, or why it cannot be read."""

    index: int
    windows: list[_Window]
    error: VideoError | None = None


def _plan(
    entries: Sequence[VideoEntry], sampling: ClipSampling, options: EmbedOptions, limits: ReadLimits
) -> list[_Planned]:
    """The windows of each video. Workers open the videos: one that kills or hangs its reader costs itself alone."""
    times = FrameTimes(entries, limits=limits)
    loader = view_loader(
        times,
        batch_size=1,
        num_workers=0 if len(entries) == 1 else options.num_workers,
        pin_memory=False,
        limit_seconds=hard_limit_seconds(options.read_limit_seconds),
    )
    found: dict[int, _Planned] = {}
    for batch in loader:
        for index, row in zip(batch.indices.tolist(), batch.clips, strict=True):
            found[index] = _Planned(index, _windows(row.numpy(), sampling, options.overlap))
        for broken in batch.broken:
            found[broken.index] = _Planned(broken.index, [], broken.error)
    return [found[index] for index in sorted(found)]


def embed_clips(checkpoint: Checkpoint, clips: Tensor, *, dense: bool, precision: str) -> Tensor:
    """Features of clips.

    Args:
        checkpoint: any, in evaluation mode on the clips' device.
        clips: uint8 (N, T, C, H, W).
        dense: every token's features.
        precision: of the matrix products.

    Returns:
        float32 (N, D), or with `dense` (N, T', H', W', D).
    """
    model, processor = checkpoint.model, checkpoint.processor
    pixel_values = normalize(clips, processor.image_mean, processor.image_std)
    with autocast(clips.device, precision):
        tokens = getattr(model, "videomae", model)(pixel_values).last_hidden_state  # (N, tokens, D)
        if dense:
            return tokens.float().unflatten(1, model.config.grid.shape)
        if hasattr(model, "pool"):
            return model.pool(tokens).float()
        return tokens.float().mean(dim=1)


def _whole(index: int) -> _Window:
    return _Window(index, np.zeros(0, dtype=np.int64), float("nan"), float("nan"))


def _seconds(window: _Window) -> tuple[float | None, float | None]:
    return (window.start_seconds, window.end_seconds) if len(window.frames) else (None, None)


def _require_windows(sampling: ClipSampling) -> None:
    if sampling.method != "dense" or sampling.frame_rate is not None:
        raise ConfigError(
            f"windows of a model with sampling {sampling.to_dict()}",
            expected="dense sampling by stride",
            hint="leave --windows out: its clips reach over the whole video",
        )


def _windows(times: np.ndarray, sampling: ClipSampling, overlap: float) -> list[_Window]:
    """The consecutive clips of a video; the last one ends with it; a shorter video repeats its last frame.

    Args:
        times: of `FrameTimes`: the number of the first frame, then when each frame is shown.
    """
    first, times = int(times[0]), times[1:]
    span = (sampling.num_frames - 1) * sampling.frame_stride + 1
    hop = max(1, round(sampling.num_frames * sampling.frame_stride * (1 - overlap)))
    offsets = np.arange(sampling.num_frames, dtype=np.int64) * sampling.frame_stride
    windows = []
    for start in window_starts(len(times), span, hop).tolist():
        frames = np.minimum(start + offsets, len(times) - 1)
        windows.append(_Window(0, first + frames, float(times[frames[0]]), float(times[frames[-1]])))
    return windows
