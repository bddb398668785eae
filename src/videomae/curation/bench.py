"""How many clips a second a data set gives on this machine, over workers, views and decoders, and what follows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, cast

import numpy as np

from videomae.core.errors import VideoError
from videomae.core.machine import usable_cores
from videomae.curation.decode_cost import PLAIN, WITH_INDEX, ClipCost, Reading, clip_cost
from videomae.curation.pool import WorkerFailure, run_in_workers
from videomae.data.clips import Crop, TrainingClips
from videomae.data.index_store import IndexStore
from videomae.data.loader import hard_limit_seconds, training_loader
from videomae.data.order import BatchOrder
from videomae.datasets.entries import VideoEntry
from videomae.video.reader import ReadLimits
from videomae.video.sampling import ClipSampling

MANY_VIEWS = 4
_SURVEY_SHARE = 0.3  # of the time
_MIN_BATCHES = 3
_BATCH_SIZE = 2  # small, so that a short time holds many
_ENOUGH_OF_BEST = 0.95  # fewer workers that reach this share of the best rate are better: they leave cores and memory
_DEAR_PACKETS = 4.0  # decoded for each frame wanted; a packed file needs about 1.5
_LARGE_SHORT_SIDE = 400  # pixels; packed files have 256
_WORTH_IT = 1.15


@dataclass(frozen=True)
class LoaderSpeed:
    """What a loader gave with the pre-training transform.

    Args:
        num_workers: processes that decode; 0 is the training process itself.
        num_views: crops of each decoded clip.
        num_clips: views counted.
        seconds: in which they came, after the first batch.
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
        num_indexed: videos tried whose packet index a scan or the packed folder has kept.
        costs: of the videos that were tried one by one.
        speeds: of loaders.
        broken: the videos that could not be read, each once.
    """

    num_videos: int
    num_cores: int
    num_indexed: int
    costs: tuple[ClipCost, ...]
    speeds: tuple[LoaderSpeed, ...]
    broken: tuple[BrokenVideo, ...]

    def median_seconds(self, reading: Reading) -> float | None:
        """Time for a random clip, over the videos that every reading measured could read."""
        readings = {reading for cost in self.costs for reading in cost.seconds}
        complete = [cost.seconds for cost in self.costs if set(cost.seconds) == readings]
        return statistics.median(seconds[reading] for seconds in complete) if complete and reading in readings else None

    @property
    def packets_per_frame(self) -> float | None:
        """Packets decoded for each wanted frame, on average over the videos tried."""
        known = [cost.packets_per_frame for cost in self.costs if cost.packets_per_frame is not None]
        return statistics.fmean(known) if known else None

    @property
    def best(self) -> LoaderSpeed | None:
        """One view: the fewest workers that are nearly as fast as any number of them."""
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
    def index_gain(self) -> float | None:
        """How much faster a clip is read whose packet index is known."""
        plain, known = self.median_seconds(PLAIN), self.median_seconds(WITH_INDEX)
        return plain / known if plain and known else None

    @property
    def is_dear_to_decode(self) -> bool:
        """Whether `videomae pack` would make clips much cheaper."""
        sides = [min(cost.height, cost.width) for cost in self.costs]
        is_large = bool(sides) and statistics.median(sides) >= _LARGE_SHORT_SIDE
        return is_large or (self.packets_per_frame or 0.0) >= _DEAR_PACKETS


def bench_data(
    entries: Sequence[VideoEntry],
    *,
    sampling: ClipSampling,
    image_size: int | tuple[int, int],
    seconds: float,
    seed: int = 0,
    advance: Callable[[str, float], object] = lambda title, share: None,
) -> BenchReport:
    """Measure how fast clips come from videos on this machine.

    First, single videos are read in one process in several ways; then loaders of 0, 1, 2, 4, … workers up to the number
    of cores run with the pre-training transform, and the best of them with several views of each decode.

    Args:
        entries: the videos.
        sampling: which frames make a clip.
        image_size: of a clip, in pixels.
        seconds: for everything together, about; workers that start slowly and a few clips at least come on top.
        seed: of which videos and clips are read.
        advance: is told what is being done, and which share of it all is behind.
    """
    begin = time.monotonic()

    def tell(title: str) -> None:
        advance(title, min((time.monotonic() - begin) / seconds, 1.0))

    shuffled = [entries[number] for number in np.random.default_rng(seed).permutation(len(entries))]
    store = IndexStore()
    costs, broken = _survey(shuffled, sampling, seconds * _SURVEY_SHARE, seed=seed, tell=tell)
    tried = list(costs)
    num_indexed = sum(store.find(entry.path) is not None for entry in tried)
    cores = usable_cores()
    counts = [0, *(2**power for power in range(cores.bit_length()) if 2**power < cores), cores]
    share = seconds * (1 - _SURVEY_SHARE) / (len(counts) + 1)
    reasons = {video.entry: video.reason for video in broken}

    def measure(num_workers: int, num_views: int) -> LoaderSpeed:
        # In this process a bad file would end the measurement, and not only a worker: only what was read before.
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
            clips, num_workers, share, excluded=reasons if num_workers else {}, tell=lambda: tell(title)
        )

    speeds = [measure(num_workers, 1) for num_workers in counts if tried]
    report = BenchReport(len(entries), cores, num_indexed, tuple(costs.values()), tuple(speeds), ())
    if report.best is not None:
        speeds.append(measure(report.best.num_workers, MANY_VIEWS))
    all_broken = tuple(BrokenVideo(entry, reason) for entry, reason in reasons.items())
    return BenchReport(len(entries), cores, num_indexed, tuple(costs.values()), tuple(speeds), all_broken)


def recommend(report: BenchReport) -> list[str]:
    """What to do with the figures, in a few lines, the most useful one first."""
    best = report.best
    if best is None:
        return ["no video could be read: videomae scan DATA says why"]
    lines = [f"--num-workers {best.num_workers}: {best.clips_per_second:.1f} clips/s"]
    many = report.many_views
    if many is not None and many.clips_per_second >= _WORTH_IT * best.clips_per_second:
        gain = many.clips_per_second / best.clips_per_second
        lines[0] += f"; with --views {many.num_views}, {many.clips_per_second:.1f} clips/s ({gain:.1f} times as many)"
    if report.is_dear_to_decode:
        packets = report.packets_per_frame or 0.0
        why = (
            f"{packets:.1f} frames are decoded for each one wanted"
            if packets >= _DEAR_PACKETS
            else "frames so large are dear to decode, and shrunk for training anyway"
        )
        lines.append(f"videomae pack DATA OUT, then train on OUT: {why}")
    gain = report.index_gain or 1.0
    if gain >= _WORTH_IT and report.num_indexed < len(report.costs):
        lines.append(f"videomae scan DATA, once: a clip of a video that is known is read {gain:.1f} times as fast")
    return lines


def available_backends() -> tuple[str, ...]:
    """The decoders beside PyAV that are installed."""
    return ("torchcodec",) if find_spec("torchcodec") is not None else ()


def _limits(seconds: float) -> ReadLimits:
    """No video may take up the whole time; but slow disks are no fault."""
    return ReadLimits(max_seconds=max(10.0, seconds))


def _survey(
    entries: Sequence[VideoEntry], sampling: ClipSampling, seconds: float, *, seed: int, tell: Callable[[str], None]
) -> tuple[dict[VideoEntry, ClipCost], list[BrokenVideo]]:
    """Costs of single clips, one video after the other, in a process that a bad file may end."""
    limits = _limits(seconds)
    job = partial(clip_cost, sampling=sampling, backends=available_backends(), limits=limits)
    items = [(entry, seed + number) for number, entry in enumerate(entries)]
    results = run_in_workers(job, items, num_workers=1, limit_seconds=hard_limit_seconds(limits.max_seconds or 0.0))
    costs: dict[VideoEntry, ClipCost] = {}
    broken = []
    end: float | None = None
    tell("single videos")
    with closing(cast(Any, results)):
        for (entry, _), result in results:
            if isinstance(result, ClipCost):
                costs[entry] = result
            else:
                broken.append(BrokenVideo(entry, result.reason if isinstance(result, WorkerFailure) else result))
            tell("single videos")
            end = time.monotonic() + seconds if end is None else end  # the first video waits for libraries to load
            if time.monotonic() > end and costs:
                break
    return costs, broken


def _loader_speed(
    clips: TrainingClips,
    num_workers: int,
    seconds: float,
    *,
    excluded: dict[VideoEntry, str],
    tell: Callable[[], None],
) -> LoaderSpeed:
    """Clips of a loader from its first batch on, until the time is over; adds videos that cannot be read."""
    batch_size = min(_BATCH_SIZE, len(clips))
    order = BatchOrder(len(clips), batch_size=batch_size, epochs=1_000_000, seed=clips.seed)
    known = {
        number: VideoError(str(entry.path), expected="a readable video", hint=excluded[entry])
        for number, entry in enumerate(clips.entries)
        if entry in excluded
    }
    tell()
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
            tell()
            if now - begin >= seconds and number >= _MIN_BATCHES:
                break
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()
    return LoaderSpeed(num_workers, clips.num_views, num_clips, time.monotonic() - first)


def _until_all_known_broken(batches: Iterator[Any], num_videos: int) -> Iterator[Any]:
    """The batches, until a whole epoch gave no clip."""
    num_without = 0
    for batch in batches:
        num_without = 0 if len(batch.clips) else num_without + max(len(batch.broken), 1)
        yield batch
        if num_without > num_videos:
            return
