"""`index` and `search`: find similar moments, near-duplicates and labels in a collection, and look at it as a map."""

from __future__ import annotations

import hashlib
import math
import os
from os import fspath
from pathlib import Path

import numpy as np

from videomae.api._models import Model, Views, open_model, progress_bar, require_at_least
from videomae.api._public import logger, public
from videomae.api.description import checksum
from videomae.api.inference import Data, read_data
from videomae.checkpoint import Checkpoint
from videomae.core.choices import InferencePrecisionName
from videomae.core.errors import ConfigError
from videomae.datasets.entries import VideoEntry
from videomae.inference.embed import EmbedOptions, embed_videos
from videomae.retrieval.building import IndexReport, place_of, update_index
from videomae.retrieval.index import IndexSettings, Match, VideoIndex, Window
from videomae.retrieval.map import VideoMap, map_videos
from videomae.retrieval.relations import (
    NearDuplicate,
    SuggestedLabel,
    near_duplicates as find_near_duplicates,
    suggest_labels as find_labels,
)
from videomae.video import probe_video

# Beside the moment that is asked for, so that its window is whole.
_SECONDS_AROUND = 5.0
# The last frame is shown a little longer than until its own time.
_SECONDS_AFTER_END = 1.0


@public
def index(
    data: Data,
    *,
    model: Model,
    output: str | Path,
    whole: bool = False,
    overlap: float = 0.0,
    prune: bool = False,
    video_root: str | Path | None = None,
    device: str = "auto",
    precision: InferencePrecisionName = "auto",
    num_workers: int = -1,
    read_limit_seconds: float = 60.0,
    progress: bool = True,
) -> IndexReport:
    """Put the features of videos into an index for `search`, or bring it up to date.

    Only videos that are new or have changed are read. A run that is stopped keeps what it has done.

    Args:
        data: a video file, a folder of videos or any other DATA, or a sequence of these. Labels are kept.
        model: any checkpoint: a folder, a hub name, or an opened `Checkpoint`.
        output: folder of the index.
        whole: a row for each video instead of one for each window of it, as also with a model whose clips reach over
            the whole video.
        overlap: of windows: the share of a window that the next one repeats, from 0 to below 1.
        prune: remove videos whose files are gone.
        video_root: of lists: the folder that their paths are relative to.
        device: "auto" (CUDA, else MPS, else the CPU) or any device of torch.
        precision: of the matrix products; "auto" is what the hardware multiplies fast.
        num_workers: processes that decode; -1 chooses, 0 decodes in this process.
        read_limit_seconds: for opening one video and for reading its clips.
        progress: show a bar.

    Returns:
        How many videos were new, changed and unchanged, and which could not be read.

    Raises:
        InputError: if data, checkpoint or options do not fit, the index was made by another model, or another process
            is writing to it.

    Examples:
        >>> videomae.index("videos", model="pretrained", output="videos.index")
        >>> videomae.search("videos.index", "holiday.mp4", at=12.5)[0].window.path
    """
    entries = read_data(data, video_root)
    views = Views(precision=precision, num_workers=num_workers, read_limit_seconds=read_limit_seconds)
    checkpoint = open_model(model, views, device, for_features=True)
    # Clips that reach over the whole video have no windows.
    whole = whole or checkpoint.sampling.method != "dense" or checkpoint.sampling.frame_rate is not None
    options = views.embed_options(windows=not whole, overlap=0.0 if whole else overlap)
    settings = IndexSettings(
        model=_name_of(model),
        fingerprint=_fingerprint(checkpoint),
        num_features=checkpoint.model.config.hidden_size,
        windows=not whole,
        overlap=options.overlap,
    )
    opened = VideoIndex.create(output, settings)
    with progress_bar(progress) as bar:
        task = bar.add_task("indexing", total=None)

        def on_video(error: Exception | None) -> None:
            bar.advance(task)
            if error is not None:
                logger.warning("skipping unreadable video: %s", error)

        return update_index(
            opened,
            checkpoint,
            entries,
            options=options,
            prune=prune,
            on_start=lambda total: bar.update(task, total=total),
            on_video=on_video,
        )


@public
def search(
    index: str | Path | VideoIndex,
    video: str | Path,
    *,
    at: float | None = None,
    top_k: int = 10,
    per_video: int = 1,
    model: Model | None = None,
    device: str = "auto",
    precision: InferencePrecisionName = "auto",
) -> list[Match]:
    """The videos of an index that are most similar to a video, or to a moment of it, each with its nearest moment.

    A video that is in the index is not read again.

    Args:
        index: its folder, or an opened `VideoIndex`.
        video: a video file, or a folder of numbered frames.
        at: the moment in seconds; by default the whole video, by the mean of its windows.
        top_k: how many moments, the most similar first.
        per_video: of one video at most so many moments; 0 for any number.
        model: that the index was made by, where it is no longer where it was; a folder, a hub name or a `Checkpoint`.
        device: "auto" (CUDA, else MPS, else the CPU) or any device of torch.
        precision: of the matrix products.

    Returns:
        Rows of other videos with their similarity: 1 for equal features, 0 for as far apart as two rows usually are.

    Raises:
        InputError: if there is no such index, or the video cannot be read, or the model is not that of the index.
    """
    require_at_least(1, "--top-k", top_k)
    require_at_least(0, "--per-video", per_video)
    if at is not None and not 0 <= at < float("inf"):
        raise ConfigError(f"--at {at:g}", expected="seconds from 0", hint="give the time of a moment in the video")
    opened = index if isinstance(index, VideoIndex) else VideoIndex(index)
    path = os.path.abspath(video)
    stored = opened.rows(path)
    if stored.windows:
        windows, features = stored.windows, stored.features
    else:
        windows, features = _embedded(opened, path, at, model, device, precision)
    if at is None or not opened.settings.windows:
        query = features.mean(axis=0)
    else:
        if stored.windows:
            _require_moment(at, path, windows[-1].end_seconds or 0.0)
        query = features[min(range(len(windows)), key=lambda row: abs(windows[row].center_seconds - at))]
    return _few_of_each(opened, query, top_k, per_video, without=path)


@public
def near_duplicates(index: str | Path | VideoIndex, *, threshold: float = 0.95) -> list[NearDuplicate]:
    """Pairs of videos of an index with nearly the same content, such as copies in another size, cut or format.

    Args:
        index: its folder, or an opened `VideoIndex`.
        threshold: similarity of two windows from which on they count as the same; see `search`.

    Raises:
        InputError: if there is no such index.
    """
    if not 0 < threshold <= 1:
        raise ConfigError(f"--threshold {threshold:g}", expected="above 0 and up to 1", hint="0.95 is the default")
    return find_near_duplicates(index if isinstance(index, VideoIndex) else VideoIndex(index), threshold=threshold)


@public
def suggest_labels(index: str | Path | VideoIndex, *, neighbors: int = 20) -> list[SuggestedLabel]:
    """Labels for the videos of an index that have none, by the nearest windows of those that have, the surest first.

    Args:
        index: its folder, or an opened `VideoIndex`.
        neighbors: windows that vote for the label of one.

    Raises:
        InputError: if there is no such index, or no video in it has a label.
    """
    require_at_least(1, "--neighbors", neighbors)
    return find_labels(index if isinstance(index, VideoIndex) else VideoIndex(index), num_neighbors=neighbors)


@public
def map_index(
    index: str | Path | VideoIndex,
    *,
    output: str | Path | None = None,
    max_points: int = 2000,
    seed: int = 0,
    num_workers: int = -1,
    progress: bool = True,
) -> VideoMap:
    """Lay the videos of an index out on a plane, similar ones close together (UMAP), as one page with thumbnails.

    Args:
        index: its folder, or an opened `VideoIndex`.
        output: write the page to this .html file as well.
        max_points: of more windows than this, each video is one point; of more videos a sample is drawn.
        seed: of the layout and the sample.
        num_workers: processes that read thumbnails; -1 for one a core, 0 for this process.
        progress: show a bar.

    Raises:
        InputError: if there is no such index, or too little in it.
    """
    require_at_least(3, "--max-points", max_points)
    opened = index if isinstance(index, VideoIndex) else VideoIndex(index)
    with progress_bar(progress) as bar:
        task = bar.add_task("laying out", total=None)
        found = map_videos(
            opened,
            max_points=max_points,
            seed=seed,
            num_workers=num_workers,
            on_start=lambda total: bar.update(task, description="reading thumbnails", total=total),
            on_thumbnail=lambda: bar.advance(task),
        )
    if output is not None:
        found.save(output, title=f"Map of {opened.folder.name}")
    return found


def _embedded(
    opened: VideoIndex, path: str, at: float | None, model: Model | None, device: str, precision: InferencePrecisionName
) -> tuple[tuple[Window, ...], np.ndarray]:
    """Windows and features of a video that the index does not have; of one around a moment only what is near it."""
    settings = opened.settings
    views = Views(precision=precision, num_workers=0)
    checkpoint = open_model(settings.model if model is None else model, views, device, for_features=True)
    opened.require(
        IndexSettings(
            model=_name_of(settings.model if model is None else model),
            fingerprint=_fingerprint(checkpoint),
            num_features=settings.num_features,
            windows=settings.windows,
            overlap=settings.overlap,
        )
    )
    entry = read_data(path, None)[0]
    if at is not None and settings.windows:
        _require_moment(at, path, probe_video(entry.path).duration_seconds or math.inf)
        entry = VideoEntry(entry.path, start_seconds=max(0.0, at - _SECONDS_AROUND), end_seconds=at + _SECONDS_AROUND)
    options: EmbedOptions = views.embed_options(windows=settings.windows, overlap=settings.overlap)
    rows = list(embed_videos(checkpoint, [entry], options=options, device=checkpoint.device))
    for row in rows:
        if row.error is not None:
            raise row.error
    windows = tuple(Window(place_of(entry)[0], row.start_seconds, row.end_seconds) for row in rows)
    return windows, np.stack([row.values.numpy() for row in rows if row.values is not None])


def _require_moment(at: float, path: str, end: float) -> None:
    if at > end + _SECONDS_AFTER_END:
        raise ConfigError(
            f"--at {at:g} of {path}", expected=f"at most {end:.1f}, where it ends", hint="give an earlier moment"
        )


def _fingerprint(checkpoint: Checkpoint) -> str:
    """What features depend on: weights of the encoder, clips, normalization."""
    model, processor = checkpoint.model, checkpoint.processor
    parts = {"encoder": getattr(model, "videomae", model), "norm": getattr(model, "fc_norm", None)}
    weights = {
        f"{name}.{key}": value.cpu()
        for name, part in parts.items()
        if part is not None
        for key, value in part.state_dict().items()
    }
    about = (checkpoint.sampling.to_dict(), model.config.grid.clip_shape, processor.image_mean, processor.image_std)
    return hashlib.sha256(f"{checksum(weights)} {about}".encode()).hexdigest()[:32]


def _few_of_each(opened: VideoIndex, query: np.ndarray, top_k: int, per_video: int, *, without: str) -> list[Match]:
    """The nearest rows, of one video at most `per_video`."""
    wanted = top_k
    while True:
        found = opened.nearest(query, wanted, without=[without])
        kept, counts = [], dict.fromkeys((match.window.path for match in found), 0)
        for match in found:
            counts[match.window.path] += 1
            if not per_video or counts[match.window.path] <= per_video:
                kept.append(match)
        if len(kept) >= top_k or len(found) < wanted or wanted >= len(opened):
            return kept[:top_k]
        wanted *= 4


def _name_of(model: Model) -> str:
    """A folder by its absolute path, so that the index finds it from anywhere."""
    if isinstance(model, Checkpoint):
        return "an opened Checkpoint"
    text = fspath(model)
    return os.path.abspath(text) if os.path.exists(text) else text
