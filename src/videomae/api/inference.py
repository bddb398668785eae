"""`predict` and `embed`: inference with a trained model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from os import PathLike
from pathlib import Path
from typing import overload

from videomae.api._console import can_show_bars, stderr_console
from videomae.api._models import (
    Model,
    Views,
    model_identity,
    open_model,
    progress_bar,
    require_at_least,
)
from videomae.api._public import logger, public
from videomae.api.file_progress import FileProgress
from videomae.core.choices import ImageSize, InferencePrecisionName
from videomae.core.errors import ConfigError, VideoError
from videomae.datasets.entries import VideoEntry, has_video_suffix
from videomae.datasets.manifest import read_videos
from videomae.inference.embed import embed_videos
from videomae.inference.features import FeatureFile, Features
from videomae.inference.predict import VideoPrediction, predict_videos
from videomae.inference.prediction_files import PredictionFiles
from videomae.video.live import is_real_time, is_stream
from videomae.video.remote import is_url

Data = str | Path | Sequence[str | Path]
# Of a table in a notebook.
_MAX_ROWS = 200
# From so many videos on, progress is shown in lines where no bar can be.
_MIN_LINES = 50


class Predictions(Sequence[VideoPrediction]):
    """The predictions of `predict`, one for each video in the order of DATA; a notebook shows a table."""

    def __init__(self, results: Sequence[VideoPrediction]) -> None:
        self._results = tuple(results)

    @overload
    def __getitem__(self, index: int) -> VideoPrediction: ...
    @overload
    def __getitem__(self, index: slice) -> Predictions: ...
    def __getitem__(self, index: int | slice) -> VideoPrediction | Predictions:
        return Predictions(self._results[index]) if isinstance(index, slice) else self._results[index]

    def __len__(self) -> int:
        return len(self._results)

    def __iter__(self) -> Iterator[VideoPrediction]:
        return iter(self._results)

    @property
    def errors(self) -> tuple[VideoError, ...]:
        """Why videos could not be read, in the order of DATA."""
        return tuple(result.error for result in self._results if result.error is not None)

    def __repr__(self) -> str:
        lines = "".join(f"  {result!r},\n" for result in self._results[:20])
        more = f"  … {len(self) - 20} more\n" if len(self) > 20 else ""
        return f"Predictions([\n{lines}{more}])"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(str(result.path))}</td>{_cells(result)}</tr>" for result in self._results[:_MAX_ROWS]
        )
        if len(self) > _MAX_ROWS:
            rows += f"<tr><td colspan=3>… {len(self) - _MAX_ROWS} more</td></tr>"
        return f"<table><thead><tr><th>video</th><th>label</th><th>probability</th></tr></thead>{rows}</table>"


def file_progress(number: int, *, progress: bool, is_kept: bool) -> FileProgress:
    """Progress over videos: a bar in a terminal, lines elsewhere where there are many."""
    console = stderr_console()
    shown = progress and number > 1 and (can_show_bars(console) or number >= _MIN_LINES)
    done = "predicted" if is_kept else ""
    return FileProgress(console, verb="predicting", total=max(1, number), done=done, shown=shown)


def _cells(result: VideoPrediction) -> str:
    if result.error is not None:
        return f"<td colspan=2>{escape(str(result.error))}</td>"
    return f"<td>{escape(result.label or '')}</td><td>{result.probability or 0:.1%}</td>"


@public
def predict(
    data: Data,
    *,
    model: Model,
    top_k: int = 5,
    clips: int = 1,
    crops: int = 1,
    frame_stride: int | None = None,
    frame_rate: float | None = None,
    num_frames: int | None = None,
    image_size: ImageSize | None = None,
    video_root: str | Path | None = None,
    device: str = "auto",
    precision: InferencePrecisionName = "auto",
    merge_tokens: int = 0,
    num_workers: int = -1,
    read_limit_seconds: float = 60.0,
    output: str | Path | Sequence[str | Path] | None = None,
    progress: bool = True,
    on_result: Callable[[VideoPrediction], object] | None = None,
) -> Predictions:
    """Classify videos.

    Args:
        data: a video file, a folder of videos or any other DATA (a CSV, a text file of paths, a packed folder), or a
            sequence of these.
        model: classifier: a checkpoint folder, a hub name, or an opened `Checkpoint`.
        top_k: labels for each video, the most probable first; all where there are fewer.
        clips: clips in time, whose probabilities are averaged.
        crops: crops of each clip along the longer side, averaged too.
        frame_stride: distance between the frames of a clip; by default the checkpoint's.
        frame_rate: frames of a clip per second, in place of a stride.
        num_frames: frames in a clip; by default the checkpoint's, which is adapted to others.
        image_size: height and width of a clip in pixels, a number or a pair; by default the checkpoint's.
        video_root: of lists: the folder that their paths are relative to; by default the list's own.
        device: "auto" (CUDA, else MPS, else the CPU) or any device of torch.
        precision: of the matrix products; "auto" is what the hardware multiplies fast. "int8" (on a CPU) computes those
            of the encoder's Linear layers in 8-bit integers: faster, and nearly the same.
        merge_tokens: how many similar tokens each layer merges (ToMe), 0 for none: faster, and nearly the same.
        num_workers: processes that decode; -1 chooses, 0 decodes in this process.
        read_limit_seconds: for opening one video and for reading its clips; one that takes longer is unreadable.
        output: .csv or .jsonl files with a row for each video, written as soon as it is known; a call that was stopped
            continues there.
        progress: show a bar.
        on_result: called with each result as soon as it is there, in whatever order.

    Returns:
        A result for each video in the order of `data`. An unreadable video has an `error` and no predictions.

    Raises:
        InputError: if data, checkpoint or options do not fit.
        VideoError: if there is only one video, and it cannot be read.

    Examples:
        >>> videomae.predict("holiday.mp4", model="classifier")[0].label
        'surfing'
    """
    require_at_least(1, "--top-k", top_k)
    views = Views(
        clips=clips,
        crops=crops,
        frame_stride=frame_stride,
        frame_rate=frame_rate,
        num_frames=num_frames,
        image_size=image_size,
        precision=precision,
        merge_tokens=merge_tokens,
        num_workers=num_workers,
        read_limit_seconds=read_limit_seconds,
    )
    entries = read_data(data, video_root)
    paths = [output] if isinstance(output, str | PathLike) else list(output or ())
    settings = {**model_identity(model), "views": views, "videos": [(str(e.path), e.part) for e in entries]}
    files = PredictionFiles(paths, top_k=top_k, settings=settings)
    checkpoint = open_model(model, views, device)
    with files, file_progress(len(entries), progress=progress, is_kept=bool(paths)) as bar:
        known = files.known(entries, checkpoint.model.config.id2label)
        for _ in known:
            bar.advance(was_known=True, is_broken=False)

        def on_video(result: VideoPrediction) -> None:
            files.add(result)
            bar.advance(was_known=False, is_broken=result.error is not None)
            if result.error is not None and len(entries) > 1:
                logger.warning("skipping unreadable video: %s", result.error)
            if on_result is not None:
                on_result(result)

        results = known + predict_videos(
            checkpoint,
            entries[len(known) :],
            top_k=top_k,
            options=views.options(),
            device=checkpoint.device,
            on_video=on_video,
        )
    if len(results) == 1 and results[0].error is not None:
        raise results[0].error
    return Predictions(results)


@public
def embed(
    data: Data,
    *,
    model: Model,
    output: str | Path | None = None,
    windows: bool = False,
    overlap: float = 0.0,
    dense: bool = False,
    clips: int = 1,
    crops: int = 1,
    frame_stride: int | None = None,
    frame_rate: float | None = None,
    num_frames: int | None = None,
    image_size: ImageSize | None = None,
    video_root: str | Path | None = None,
    device: str = "auto",
    precision: InferencePrecisionName = "auto",
    merge_tokens: int = 0,
    num_workers: int = -1,
    read_limit_seconds: float = 60.0,
    progress: bool = True,
) -> Features:
    """Features of videos from a frozen encoder, nothing masked: one row for each video, or for each window of it.

    Args:
        data: a video file, a folder of videos or any other DATA (a CSV, a text file of paths, a packed folder), or a
            sequence of these.
        model: any checkpoint: a folder, a hub name, or an opened `Checkpoint`.
        output: write the rows to this .npz or .parquet file as well; of a .parquet file rows are written as they come
            and not kept in memory.
        windows: consecutive clips over the whole of each video, each a row with its start and end.
        overlap: of windows: the share of a window that the next one repeats, from 0 to below 1.
        dense: the features of every token (time, height, width, D) instead of their mean (D,).
        clips: clips in time, whose features are averaged.
        crops: crops of each clip along the longer side, averaged too.
        frame_stride: distance between the frames of a clip; by default the checkpoint's.
        frame_rate: frames of a clip per second, in place of a stride.
        num_frames: frames in a clip; by default the checkpoint's, which is adapted to others.
        image_size: height and width of a clip in pixels, a number or a pair; by default the checkpoint's.
        video_root: of lists: the folder that their paths are relative to.
        device: "auto" (CUDA, else MPS, else the CPU) or any device of torch.
        precision: of the matrix products; "auto" is what the hardware multiplies fast. "int8" (on a CPU) computes those
            of the encoder's Linear layers in 8-bit integers: faster, and nearly the same.
        merge_tokens: how many similar tokens each layer merges (ToMe), 0 for none: faster, and nearly the same.
        num_workers: processes that decode; -1 chooses, 0 decodes in this process.
        read_limit_seconds: for opening one video and for reading its clips; one that takes longer is unreadable.
        progress: show a bar.

    Returns:
        The features with their paths, labels and times. Unreadable videos have no rows; `errors` has the reasons.

    Raises:
        InputError: if data, checkpoint or options do not fit.
        VideoError: if no video could be read.
    """
    views = Views(
        clips=clips,
        crops=crops,
        frame_stride=frame_stride,
        frame_rate=frame_rate,
        num_frames=num_frames,
        image_size=image_size,
        precision=precision,
        merge_tokens=merge_tokens,
        num_workers=num_workers,
        read_limit_seconds=read_limit_seconds,
    )
    entries = read_data(data, video_root)
    options = views.embed_options(windows=windows, overlap=overlap, dense=dense)
    file = FeatureFile(output)
    checkpoint = open_model(model, views, device, for_features=True)
    seen: set[int] = set()
    with file, progress_bar(progress) as bar:
        task = bar.add_task("embedding", total=len(entries))
        for row in embed_videos(checkpoint, entries, options=options, device=checkpoint.device):
            entry = entries[row.index]
            if row.error is not None:
                file.errors.append(row.error)
                if len(entries) > 1:  # a single one ends the call with this line
                    logger.warning("skipping unreadable video: %s", row.error)
            if row.values is not None:
                start, end = row.start_seconds, row.end_seconds
                file.add(str(entry.path), entry.label_text, row.values.numpy(), start_seconds=start, end_seconds=end)
            if row.index not in seen:
                seen.add(row.index)
                file.num_videos += row.error is None
                bar.advance(task)
    if not file.num_rows:
        raise file.errors[0]
    return file.result()


def read_data(data: Data, video_root: str | Path | None) -> list[VideoEntry]:
    """The videos of DATA, or of several; notices of what was passed over are logged."""
    if hasattr(data, "shape"):
        raise ConfigError(
            f"data={type(data).__name__} of shape {tuple(data.shape)}",
            expected="paths of videos",
            hint="give frames to the model itself: model(**processor(list(frames), return_tensors='pt'))",
        )
    if not isinstance(data, str | PathLike | Iterable):
        raise ConfigError(f"data={data!r}", expected="a path, or several", hint="name files or folders")
    sources = [data] if isinstance(data, str | PathLike) else list(data)
    for source in sources:
        if is_stream(source) and (is_real_time(source) or not is_url(str(source)) or has_video_suffix(str(source))):
            raise ConfigError(source, expected="videos on this machine", hint="give --window to score a stream")
    if not sources:
        raise ConfigError("no video", expected="one video or more", hint="name files or folders")
    entries, notices = read_videos(sources, root=video_root)
    for notice in notices:
        logger.info("%s", notice)
    return entries
