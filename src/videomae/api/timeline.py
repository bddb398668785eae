"""`timeline`: what happens when in long videos and streams."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

from rich.progress import Progress, TaskID

from videomae.api._models import Model, Views, model_identity, open_model, progress_bar, require_at_least
from videomae.api._public import logger, public
from videomae.api.inference import Data, read_data
from videomae.checkpoint import Checkpoint
from videomae.core.choices import ImageSize, InferencePrecisionName
from videomae.core.errors import ConfigError, VideoError
from videomae.core.files import require_writable
from videomae.core.row_file import RowFile, RowFiles
from videomae.core.text import clock, readable
from videomae.datasets.temporal import read_temporal
from videomae.evaluation.temporal import THUMOS_OVERLAPS, TemporalMetrics, evaluate_segments
from videomae.inference.annotate import annotate_video, require_mp4
from videomae.inference.segments import SegmentOptions
from videomae.inference.timeline import Timeline
from videomae.inference.timeline_files import (
    PICTURE_SUFFIXES,
    ROW_SUFFIXES,
    check_output,
    row_columns,
    window_of_row,
    window_row,
)
from videomae.inference.timeline_run import TimelineRun
from videomae.inference.window_clips import TimelineSource
from videomae.inference.window_layout import WindowOptions, WindowScores, clip_note
from videomae.video.live import is_stream
from videomae.video.remote import without_password

Output = str | Path | Sequence[str | Path]


class Timelines(Sequence[Timeline]):
    """The timelines of `timeline`, one for each video that can be read, in the order of DATA.

    Args:
        results: the timelines.
        errors: why other videos could not be read.
    """

    def __init__(self, results: Sequence[Timeline], errors: Sequence[VideoError] = ()) -> None:
        self._results = tuple(results)
        self.errors = tuple(errors)

    @overload
    def __getitem__(self, index: int) -> Timeline: ...
    @overload
    def __getitem__(self, index: slice) -> Timelines: ...
    def __getitem__(self, index: int | slice) -> Timeline | Timelines:
        return Timelines(self._results[index]) if isinstance(index, slice) else self._results[index]

    def __len__(self) -> int:
        return len(self._results)

    def __repr__(self) -> str:
        return f"Timelines([{', '.join(map(repr, self._results))}])"


@public
def timeline(
    data: Data,
    *,
    model: Model,
    window: float | None = None,
    hop: float | None = None,
    output: Output | None = None,
    annotate: str | Path | None = None,
    threshold: float = 0.5,
    smooth: float = 0.0,
    min_seconds: float = 0.0,
    max_gap: float = 0.0,
    max_seconds: float | None = None,
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
    read_limit_seconds: float = 60.0,
    progress: bool = True,
    on_window: Callable[[str, WindowScores], object] | None = None,
) -> Timelines:
    """Find out what happens when in long videos and streams, in constant memory and with one decode.

    A video is cut into windows; of each, clips are taken as the model samples them, and scored. Where windows overlap,
    their scores are averaged; the parts in which a label's score stays above the threshold are its segments.

    Args:
        data: a video, or several, as for `predict`; or a stream: a URL (http, https, rtsp, rtmp, udp, …), a camera such
            as /dev/video0, a named pipe.
        model: classifier: a checkpoint folder, a hub name, or an opened `Checkpoint`.
        window: length of a window in seconds; by default that of a clip.
        hop: seconds from one window to the next; by default the window's length.
        output: files to write, by their endings: .json; .csv or .jsonl (a row for each window as soon as it is scored;
            a call that was stopped continues there); .srt or .vtt (subtitles); .png or .svg (a chart). Several videos
            fit into .csv and .jsonl alone.
        annotate: an .mp4 to write: the video with its labels drawn in.
        threshold: least score of a label throughout a segment, above 0 up to 1.
        smooth: seconds over which scores are averaged, 0 for none.
        min_seconds: shorter segments are left out.
        max_gap: segments of a label that are no further apart, in seconds, become one.
        max_seconds: of the video or stream that are looked at; None for all.
        top_k: labels of each window in a .json.
        clips: clips of each window, whose scores are averaged.
        crops: crops of each clip along the longer side, averaged too.
        frame_stride: distance between the frames of a clip; by default the checkpoint's.
        frame_rate: frames of a clip per second, in place of a stride.
        num_frames: frames in a clip; by default the checkpoint's, which is adapted to others.
        image_size: height and width of a clip in pixels, a number or a pair; by default the checkpoint's.
        video_root: of lists: the folder that their paths are relative to; by default the list's own.
        device: "auto" (CUDA, else MPS, else the CPU) or any device of torch.
        precision: as for `predict`.
        merge_tokens: as for `predict`.
        read_limit_seconds: a stream without a new frame for so long has ended.
        progress: show a bar.
        on_window: called with the path and each window's scores as soon as they are there.

    Returns:
        A timeline for each video. Of a stream that stalls or breaks off it has what came before, and `ended` says why.
        A video that cannot be read at all has none; `errors` has the reasons.

    Raises:
        InputError: if data, checkpoint or options do not fit.
        VideoError: if no video can be read.

    Examples:
        >>> videomae.timeline("holiday.mp4", model="classifier", window=4, hop=2)[0].segments[0].label
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
        read_limit_seconds=read_limit_seconds,
    )
    windows = WindowOptions(
        window_seconds=window,
        hop_seconds=hop,
        max_seconds=max_seconds,
        num_clips=clips,
        num_crops=crops,
        stall_seconds=read_limit_seconds,
    )
    segments = SegmentOptions(
        threshold=threshold, smooth_seconds=smooth, min_seconds=min_seconds, max_gap_seconds=max_gap
    )
    outputs = [Path(path) for path in ([output] if isinstance(output, str | os.PathLike) else output or ())]
    sources = _sources(data, video_root)
    _check_outputs(outputs, annotate, sources)
    checkpoint = open_model(model, views, device)
    identity = {
        **model_identity(model),
        "windows": windows,
        "views": views,
        "videos": [without_password(str(source)) for source in sources],
    }
    with _RowFiles(outputs, checkpoint, identity) as rows, progress_bar(progress) as bar:
        job = _Job(checkpoint, windows, segments, views, outputs, annotate, top_k, rows, bar, on_window)
        return job.run(sources)


@public
def evaluate_timelines(
    timelines: Timeline | Sequence[Timeline],
    annotations: str | Path,
    *,
    overlaps: Sequence[float] = THUMOS_OVERLAPS,
) -> TemporalMetrics:
    """Compare timelines with true segments: mAP at several overlaps, and the share of frames with the right label.

    Args:
        timelines: of `timeline`.
        annotations: a CSV with the columns start, end (seconds) and label, and path where there are several videos.
        overlaps: least intersection over union at which a segment counts as found; THUMOS14's by default.

    Raises:
        DataError: the annotations cannot be read, or do not fit the videos or the model's classes.
    """
    found = [timelines] if isinstance(timelines, Timeline) else list(timelines)
    return evaluate_segments(found, read_temporal(annotations), overlaps_at=overlaps)


@dataclass
class _Job:
    """One call of `timeline`."""

    checkpoint: Checkpoint
    windows: WindowOptions
    segments: SegmentOptions
    views: Views
    outputs: list[Path]
    annotate: str | Path | None
    top_k: int
    rows: _RowFiles
    bar: Progress
    on_window: Callable[[str, WindowScores], object] | None
    noted: set[str] = field(default_factory=set)

    def run(self, sources: Sequence[TimelineSource]) -> Timelines:
        """The timelines of all; a broken video costs the others nothing."""
        results, errors = [], []
        for source in sources:
            try:
                results.append(self.run_one(source))
            except VideoError as error:
                if len(sources) == 1:
                    raise
                logger.warning("skipping unreadable video: %s", error)
                errors.append(error)
        if not results:
            raise errors[0]
        return Timelines(results, errors)

    def run_one(self, source: TimelineSource) -> Timeline:
        """Score a video; also where the user stops it, what is there is written."""
        path = without_password(str(getattr(source, "path", source)))
        known = self.rows.known(path)
        run = TimelineRun(
            self.checkpoint,
            source,
            windows=replace(self.windows, num_done=len(known)),
            segments=self.segments,
            precision=self.views.options().precision,
            device=self.checkpoint.device,
            needs_pictures=any(output.suffix.lower() in PICTURE_SUFFIXES for output in self.outputs),
            known=known,
        )
        task = self.bar.add_task(Path(path).name or path, total=None)
        started = time.monotonic()
        try:
            for window in run:
                self.rows.add(path, window)
                if self.on_window is not None:
                    self.on_window(path, window)
                self._show(run, window, task, time.monotonic() - started)
        finally:
            self.bar.remove_task(task)
            found = run.timeline()
            if found.num_windows:
                for output in self.outputs:
                    if output.suffix.lower() not in ROW_SUFFIXES:
                        found.save(output, top_k=self.top_k)
        if found.ended is not None:
            logger.warning("%s; %d windows were scored", found.ended, found.num_windows)
        if run.windows.num_dropped:
            logger.warning(
                "%d windows were left out: the model is slower than the stream; try a longer --hop",
                run.windows.num_dropped,
            )
        if self.annotate is not None:
            self._annotate(found, source)
        return found

    def _annotate(self, found: Timeline, source: TimelineSource) -> None:
        task = self.bar.add_task("drawing labels", total=found.duration_seconds)
        annotate_video(
            found, source, Path(str(self.annotate)), on_frame=lambda now: self.bar.update(task, completed=now)
        )
        self.bar.remove_task(task)

    def _show(self, run: TimelineRun, window: WindowScores, task: TaskID, seconds: float) -> None:
        layout = run.windows.layout
        assert layout is not None
        note = clip_note(layout, self.windows.num_clips)
        if note and note not in self.noted:
            logger.info("%s", note)
        self.noted.add(note)
        first = run.found[run.windows.options.num_done]
        speed = (window.end_seconds - first.start_seconds) / max(seconds, 1e-3)
        place = (
            f"{clock(window.end_seconds)} of {clock(layout.duration_seconds)}"
            if layout.num_windows
            else clock(window.end_seconds)
        )
        self.bar.update(
            task,
            total=layout.num_windows,
            completed=window.number + 1,
            description=f"{Path(run.windows.name).name}  {place}  {speed:.2g} × real time",
        )


class _RowFiles(RowFiles):
    """The outputs that are written window by window, and what they hold of an earlier call."""

    def __init__(self, outputs: Sequence[Path], checkpoint: Checkpoint, settings: dict[str, Any]) -> None:
        classes = checkpoint.model.config.id2label
        self._labels = [classes[index] for index in range(len(classes))]
        super().__init__(
            [
                RowFile(path, columns=row_columns(self._labels), settings=settings)
                for path in outputs
                if path.suffix.lower() in ROW_SUFFIXES
            ]
        )
        self._num_known: dict[tuple[int, str], int] = {}

    def known(self, path: str) -> tuple[WindowScores, ...]:
        """The windows of a video that a file holds already."""
        best: list[WindowScores] = []
        for place, file in enumerate(self._files):
            rows = [row for row in file.rows if row.get("path") == readable(path)]
            self._num_known[place, path] = len(rows)
            if len(rows) > len(best):
                best = [window_of_row(row, self._labels, number) for number, row in enumerate(rows)]
        if best:
            logger.info("%s: continuing after %d windows", path, len(best))
        for window in best:
            self.add(path, window)
        return tuple(best)

    def add(self, path: str, window: WindowScores) -> None:
        """Append a window to the files that do not have it."""
        for place, file in enumerate(self._files):
            if window.number >= self._num_known[place, path]:
                file.add(window_row(path, self._labels, window, is_csv=file.path.suffix.lower() == ".csv"))


def _sources(data: Data, video_root: str | Path | None) -> list[TimelineSource]:
    """Streams as they are, videos as entries."""
    sources: list[TimelineSource] = []
    for one in [data] if isinstance(data, str | os.PathLike) or hasattr(data, "shape") else data:
        sources += [one] if is_stream(one) else read_data(one, video_root)
    if not sources:
        raise ConfigError("no video", expected="one video or more", hint="name files or folders")
    return sources


def _check_outputs(outputs: Sequence[Path], annotate: str | Path | None, sources: Sequence[TimelineSource]) -> None:
    """Raise before long work what would keep its results from being written."""
    for output in outputs:
        check_output(output)
        if len(sources) > 1 and output.suffix.lower() not in ROW_SUFFIXES:
            raise ConfigError(
                f"--output {output} for {len(sources)} videos",
                expected=f"{' or '.join(ROW_SUFFIXES)}, or a single video",
                hint="run the command once for each video",
            )
    targets = [*outputs]
    if annotate is not None:
        require_mp4(annotate)
        targets.append(Path(annotate))
        if len(sources) > 1 or is_stream(sources[0]):
            raise ConfigError(
                f"--annotate {annotate} for {'a stream' if len(sources) == 1 else f'{len(sources)} videos'}",
                expected="one video file: it is read a second time, to draw in what was found",
                hint="leave --annotate out, or save the stream to a file first",
            )
    for target in targets:
        for source in sources:
            if os.path.realpath(target) == os.path.realpath(str(getattr(source, "path", source))):
                raise ConfigError(f"--output {target}, which is VIDEO", expected="another file", hint="rename it")
        require_writable(target)
