"""A map of a collection: videos with similar features lie close together, on one HTML page with thumbnails."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from videomae.core.errors import ConfigError, DataError
from videomae.core.files import write_text
from videomae.core.machine import usable_cores
from videomae.curation.pool import WorkerFailure, run_in_workers
from videomae.retrieval.index import VideoIndex, Window
from videomae.video import FrameFolder, ReadLimits, open_video

logger = logging.getLogger("videomae")

_THUMBNAIL_HEIGHT = 96
_SECONDS_PER_THUMBNAIL = 30.0
_LIMIT_BYTES = 4 * 2**30  # of one worker


@dataclass(frozen=True)
class VideoMap:
    """Points on a plane.

    Args:
        windows: what each point shows.
        points: (N, 2) in 0–1.
        thumbnails: a JPEG file for each point; None where the video cannot be read any more.
    """

    windows: tuple[Window, ...]
    points: np.ndarray
    thumbnails: tuple[bytes | None, ...]

    def save(self, path: str | Path, *, title: str) -> Path:
        """Write the page; it loads nothing from elsewhere.

        Raises:
            InputError: if the place cannot be written.
        """
        groups = sorted({window.label for window in self.windows})
        points = [
            {
                **{"x": round(float(x), 4), "y": round(float(y), 4), "group": groups.index(window.label)},
                **{"path": window.path, "time": window.time_text},
                "picture": None if thumbnail is None else base64.b64encode(thumbnail).decode(),
            }
            for window, (x, y), thumbnail in zip(self.windows, self.points, self.thumbnails, strict=True)
        ]
        data = json.dumps({"groups": groups, "points": points}, ensure_ascii=True)
        # A path may hold anything, also what ends a script.
        data = data.replace("<", "\\u003c")
        return write_text(path, _template().render(title=title, data=data))


def map_videos(
    index: VideoIndex,
    *,
    max_points: int = 2000,
    seed: int = 0,
    num_workers: int = -1,
    on_start: Callable[[int], None] = lambda total: None,
    on_thumbnail: Callable[[], None] = lambda: None,
) -> VideoMap:
    """Lay the videos of an index out by UMAP (McInnes et al. 2018).

    Args:
        index: of 3 videos or windows at least.
        max_points: where there are more windows, each video is one point, at the mean of its features; of more videos
            a random sample.
        seed: of the layout and the sample.
        num_workers: processes that read thumbnails; -1 for one a core, 0 for this process.
        on_start: called with the number of thumbnails that will be read.
        on_thumbnail: called after each.

    Raises:
        DataError: if there is too little to lay out.
        ConfigError: if umap-learn is not installed.
    """
    rows = index.rows()
    windows, features = rows.windows, rows.features
    if len(windows) > max_points:
        windows, features = _one_for_each_video(windows, features)
    if len(windows) > max_points:
        chosen = np.sort(np.random.default_rng(seed).choice(len(windows), max_points, replace=False))
        windows, features = tuple(windows[number] for number in chosen), features[chosen]
    if len(windows) < 3:
        raise DataError(
            f"{index.folder} with {len(windows)} points", expected="3 or more", hint="index more videos first"
        )
    points = _layout(features, seed)
    on_start(len(windows))
    pictures: dict[Window, bytes] = {}
    failures: list[tuple[Window, str]] = []
    results = run_in_workers(
        _thumbnail,
        windows,
        num_workers=usable_cores() if num_workers < 0 else num_workers,
        limit_seconds=_SECONDS_PER_THUMBNAIL,
        limit_bytes=_LIMIT_BYTES,
    )
    for window, result in results:
        if isinstance(result, WorkerFailure):
            failures.append((window, result.reason))
        else:
            pictures[window] = result
        on_thumbnail()
    if failures:
        logger.warning(
            "%d of %d thumbnails are missing, such as that of %s: %s",
            *(len(failures), len(windows), failures[0][0].path, failures[0][1]),
        )
    return VideoMap(tuple(windows), points, tuple(map(pictures.get, windows)))


def _one_for_each_video(windows: Sequence[Window], features: np.ndarray) -> tuple[tuple[Window, ...], np.ndarray]:
    paths, first, number = np.unique([window.path for window in windows], return_index=True, return_inverse=True)
    total = np.zeros((len(paths), features.shape[1]))
    np.add.at(total, number, features)
    means = total / np.bincount(number)[:, None]
    return tuple(Window(windows[row].path, None, None, windows[row].label) for row in first), means.astype(np.float32)


def _layout(features: np.ndarray, seed: int) -> np.ndarray:
    """(N, 2) in 0–1."""
    import warnings

    import torch

    num_threads = torch.get_num_threads()
    num_neighbors = min(15, len(features) - 1)
    # With so few points there is no spectrum to begin with.
    init = "spectral" if len(features) > 20 else "random"
    with warnings.catch_warnings():
        # That a seed means one thread, that TensorFlow is missing, and notes of its parts on each other's versions.
        warnings.simplefilter("ignore")
        try:
            from umap import UMAP
        except ImportError as error:
            raise ConfigError(
                "a map without umap-learn installed", expected="umap-learn", hint="pip install 'videomae[search]'"
            ) from error
        layout = UMAP(n_neighbors=num_neighbors, init=init, random_state=seed, n_jobs=1)
        try:
            points: np.ndarray = layout.fit_transform(features)
        finally:
            torch.set_num_threads(num_threads)  # numba sets the threads of OpenMP, which torch's are
    points = points - points.min(0)
    return np.asarray(points / max(float(points.max()), 1e-9))


def _thumbnail(window: Window) -> bytes:
    """The frame in the middle of a window, or of the video, as a JPEG file."""
    path = Path(window.path)
    source = FrameFolder(path) if path.is_dir() else path
    with open_video(source, limits=ReadLimits(max_seconds=_SECONDS_PER_THUMBNAIL)) as video:
        times = video.frame_times
        number = len(times) // 2
        if window.start_seconds is not None:
            number = min(int(np.searchsorted(times, window.center_seconds)), len(times) - 1)
        frame = video.read([number])[0]
    picture = Image.fromarray(frame if frame.shape[-1] == 3 else frame[..., 0])
    width = max(1, round(picture.width * _THUMBNAIL_HEIGHT / picture.height))
    buffer = io.BytesIO()
    picture.resize((min(width, 4 * _THUMBNAIL_HEIGHT), _THUMBNAIL_HEIGHT)).convert("RGB").save(
        buffer, "JPEG", quality=75
    )
    return buffer.getvalue()


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(files(__package__).joinpath("map.html.jinja").read_text(encoding="utf-8"))
