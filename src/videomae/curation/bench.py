"""Clips per second of a data set on this machine, over workers and views, and recommended settings."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from videomae.core.errors import VideoError
from videomae.core.machine import usable_cores
from videomae.curation.decode_cost import ClipCost, clip_cost
from videomae.curation.pool import WorkerFailure, run_in_workers
from videomae.data import BatchOrder, ClipBatch, Crop, IndexStore, TrainingClips, hard_limit_seconds, training_loader
from videomae.datasets import VideoEntry
from videomae.video import ClipSampling, ReadLimits

MANY_VIEWS = 4
_SURVEY_SHARE = 0.3  # of the time
_MIN_BATCHES = 3
_BATCH_SIZE = 2  # small, so that a short time holds many
_ENOUGH_OF_BEST = 0.95  # fewer workers that reach this share of the best rate are better: they leave cores and memory
_MANY_PACKETS = 4.0  # decoded for each frame of a clip; a packed file needs about 1.5
_LARGE_SHORT_SIDE = 400  # pixels; packed files have 256 by default
_MIN_GAIN = 1.15  # a recommendation must make clips this many times as fast


@dataclass(frozen=True)
class LoaderSpeed:
    """Throughput of a loader with the pre-training transform.

    Args:
        num_workers: processes that decode; 0 is the training process itself.
        num_views: crops of each decoded clip.
        num_clips: views loaded, after the first batch.
        seconds: time that these took.
    """

    num_workers: int
    num_views: int
    num_clips: int
    seconds: float

    @property
    def clips_per_second(self) -> float:
        """Views a second."""
        return self.num_clips / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class BrokenVideo:
    """A video that could not be read, and why, in one line."""

    entry: VideoEntry
    reason: str


@dataclass(frozen=True)
class BenchReport:
    """All that was measured.

    Args:
        num_videos: of the data set.
        num_cores: that this process may use.
        num_indexed: of the videos in `costs`, those whose packet index a scan or a packed folder holds.
        num_packed: of the videos in `costs`, those that lie in a packed folder.
        costs: of single clips, one for each video tried.
        speeds: of loaders.
        broken: unreadable videos, each once.
    """

    num_videos: int
    num_cores: int
    num_indexed: int
    num_packed: int
    costs: tuple[ClipCost, ...]
    speeds: tuple[LoaderSpeed, ...]
    broken: tuple[BrokenVideo, ...]

    @property
    def packets_per_frame(self) -> float | None:
        """Packets decoded for each frame of a clip, on average over the videos tried."""
        known = [cost.packets_per_frame for cost in self.costs if cost.packets_per_frame is not None]
        return statistics.fmean(known) if known else None

    @property
    def best(self) -> LoaderSpeed | None:
        """With one view: the fewest workers that reach 95 % of the highest rate."""
        single = [speed for speed in self.speeds if speed.num_views == 1 and speed.num_clips]
        enough = _ENOUGH_OF_BEST * max((speed.clips_per_second for speed in single), default=0.0)
        return min(
            (speed for speed in single if speed.clips_per_second >= enough), key=lambda s: s.num_workers, default=None
        )

    @property
    def many_views(self) -> LoaderSpeed | None:
        """Several views of each decode, with the best number of workers."""
        return next((speed for speed in self.speeds if speed.num_views > 1 and speed.num_clips), None)

    @property
    def should_pack(self) -> bool:
        """Whether `videomae pack` would make clips much faster: videos of large frames or with rare key frames."""
        if not self.costs or self.num_packed == len(self.costs):
            return False
        short_side = statistics.median(min(cost.height, cost.width) for cost in self.costs)
        return short_side >= _LARGE_SHORT_SIDE or (self.packets_per_frame or 0.0) >= _MANY_PACKETS

    @property
    def scan_gain(self) -> float:
        """How many times as fast clips would be after `videomae scan`; 1 where all packet indices are known already."""
        pairs = [(cost.seconds, cost.seconds_with_index) for cost in self.costs if cost.seconds_with_index]
        if not pairs or self.num_indexed == len(self.costs):
            return 1.0
        plain, indexed = zip(*pairs, strict=True)
        return statistics.median(plain) / statistics.median(indexed)


def bench_data(
    entries: Sequence[VideoEntry],
    *,
    sampling: ClipSampling,
    image_size: int | tuple[int, int],
    seconds: float,
    seed: int = 0,
    advance: Callable[[str, float], object] = lambda title, share: None,
) -> BenchReport:
    """Measure how many clips per second videos give on this machine.

    First, one clip each of single videos is read in one process; then loaders with 0, 1, 2, 4, … workers, up to the
    number of cores, run with the pre-training transform, and the best of them with several views of each decode.

    Args:
        entries: the videos.
        sampling: which frames make a clip.
        image_size: of a clip, in pixels.
        seconds: approximate time for everything; the start of workers and a few batches at least come on top.
        seed: of the choice of videos and clips.
        advance: called with what is being measured and the fraction of the time that has passed, for a progress bar.
    """
    begin = time.monotonic()

    def show(title: str) -> None:
        advance(title, min((time.monotonic() - begin) / seconds, 1.0))

    shuffled = [entries[number] for number in np.random.default_rng(seed).permutation(len(entries))]
    store = IndexStore()
    costs, broken = _survey(shuffled, sampling, seconds * _SURVEY_SHARE, seed=seed, show=show)
    tried = list(costs)
    num_indexed = sum(store.find(entry.path) is not None for entry in tried)
    num_packed = sum(store.is_packed(entry.path) for entry in tried)
    cores = usable_cores()
    counts = [0, *(2**power for power in range(cores.bit_length()) if 2**power < cores), cores]
    share = seconds * (1 - _SURVEY_SHARE) / (len(counts) + 1)
    reasons = {video.entry: video.reason for video in broken}

    def measure(num_workers: int, num_views: int) -> LoaderSpeed:
        # A file that kills its decoder would kill this process: only videos that were read before.
        videos = tried if num_workers == 0 else shuffled
        clips = TrainingClips(
            videos,
            (),
            sampling=sampling,
            crop=Crop("multi-scale"),
            image_size=image_size,
            seed=seed,
            num_views=num_views,
            limits=_limits(share),
        )
        title = (
            f"{num_workers} worker{'' if num_workers == 1 else 's'}, {num_views} view{'' if num_views == 1 else 's'}"
        )
        return _loader_speed(
            clips, num_workers, share, excluded=reasons if num_workers else {}, show=lambda: show(title)
        )

    speeds = [measure(num_workers, 1) for num_workers in counts if tried]
    report = BenchReport(len(entries), cores, num_indexed, num_packed, tuple(costs.values()), tuple(speeds), ())
    if report.best is not None:
        speeds.append(measure(report.best.num_workers, MANY_VIEWS))
    all_broken = tuple(BrokenVideo(entry, reason) for entry, reason in reasons.items())
    return replace(report, speeds=tuple(speeds), broken=all_broken)


def recommend(report: BenchReport) -> list[str]:
    """Recommended settings and commands, one in a line, the most useful one first."""
    best = report.best
    if best is None:
        return ["no readable video: `videomae scan DATA` lists the reasons"]
    lines = [f"--num-workers {best.num_workers}: {best.clips_per_second:.1f} clips/s"]
    many = report.many_views
    if many is not None and many.clips_per_second >= _MIN_GAIN * best.clips_per_second:
        gain = many.clips_per_second / best.clips_per_second
        lines[0] += f"; with --views {many.num_views}, {many.clips_per_second:.1f} clips/s ({gain:.1f} times as many)"
    if report.should_pack:
        packets = report.packets_per_frame or 0.0
        why = (
            f"{packets:.1f} frames are decoded for each frame of a clip"
            if packets >= _MANY_PACKETS
            else "large frames are slow to decode, and are resized for training anyway"
        )
        lines.append(f"videomae pack DATA OUT, then train on OUT: {why}")
    if report.scan_gain >= _MIN_GAIN:
        gain = report.scan_gain
        lines.append(f"videomae scan DATA, once: clips are read {gain:.1f} times as fast with known packet indices")
    return lines


def _limits(seconds: float) -> ReadLimits:
    """No single video may use up the time, but at least 10 s are allowed for slow disks."""
    return ReadLimits(max_seconds=max(10.0, seconds))


def _survey(
    entries: Sequence[VideoEntry], sampling: ClipSampling, seconds: float, *, seed: int, show: Callable[[str], None]
) -> tuple[dict[VideoEntry, ClipCost], list[BrokenVideo]]:
    """Costs of single clips, one video after the other, in a separate process that a bad file may kill."""
    limits = _limits(seconds)
    job = partial(clip_cost, sampling=sampling, limits=limits)
    items = [(entry, seed + number) for number, entry in enumerate(entries)]
    results = run_in_workers(job, items, num_workers=1, limit_seconds=hard_limit_seconds(limits.max_seconds or 0.0))
    costs: dict[VideoEntry, ClipCost] = {}
    broken = []
    end: float | None = None
    show("single videos")
    with closing(results):
        for (entry, _), result in results:
            if isinstance(result, ClipCost):
                costs[entry] = result
            else:
                broken.append(BrokenVideo(entry, result.reason if isinstance(result, WorkerFailure) else result))
            show("single videos")
            end = time.monotonic() + seconds if end is None else end  # the first one includes loading libraries
            if time.monotonic() > end and costs:
                break
    return costs, broken


def _loader_speed(
    clips: TrainingClips,
    num_workers: int,
    seconds: float,
    *,
    excluded: dict[VideoEntry, str],
    show: Callable[[], None],
) -> LoaderSpeed:
    """Count a loader's clips after its first batch until the time is over; adds unreadable videos to `excluded`."""
    batch_size = min(_BATCH_SIZE, len(clips))
    order = BatchOrder(len(clips), batch_size=batch_size, epochs=1_000_000, seed=clips.seed)
    known = {
        number: VideoError(str(entry.path), expected="a readable video", hint=excluded[entry])
        for number, entry in enumerate(clips.entries)
        if entry in excluded
    }
    show()
    begin = time.monotonic()
    batches = training_loader(
        clips,
        order,
        num_workers=num_workers,
        pin_memory=False,
        limit_seconds=hard_limit_seconds(clips.limits.max_seconds or 0.0),
        excluded=known,
    )
    num_clips, first = 0, begin
    try:
        for number, batch in enumerate(_until_all_known_broken(batches, len(clips))):
            for failed in batch.broken:
                excluded.setdefault(clips.entries[failed.index], str(failed.error))
            now = time.monotonic()
            if number == 0:
                first = now
                continue
            num_clips += len(batch.clips) * clips.num_views
            show()
            if now - begin >= seconds and number >= _MIN_BATCHES:
                break
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()
    return LoaderSpeed(num_workers, clips.num_views, num_clips, time.monotonic() - first)


def _until_all_known_broken(batches: Iterator[ClipBatch], num_videos: int) -> Iterator[ClipBatch]:
    """The batches, until a whole epoch gave no clip."""
    num_without = 0
    for batch in batches:
        num_without = 0 if len(batch.clips) else num_without + max(len(batch.broken), 1)
        yield batch
        if num_without > num_videos:
            return
