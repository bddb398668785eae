"""Loaders: worker processes that decode, batches of uint8 clips that come back."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from videomae.core.errors import ConfigError, VideoError
from videomae.core.machine import usable_cores
from videomae.core.text import readable
from videomae.data.clips import Sample
from videomae.data.order import BatchOrder, require_rank, share_of
from videomae.data.workers import Broken, Failure, Watch, WatchedItems, watched_batches
from videomae.processing.rand_augment import DrawnOperations

logger = logging.getLogger("videomae")

MAX_AUTOMATIC_WORKERS = 8
_MAX_DAMAGE_REPORTED = 20
# Two batches of each worker wait to be used, which evens out files of unequal cost; one where that is more than this.
_MAX_WAITING_BYTES = 4 * 2**30


@dataclass(frozen=True)
class ClipBatch:
    """What a loader yields.

    Args:
        clips: (B, V, T, C, H, W) uint8.
        labels: (B,) int64 class indices, -1 for none.
        indices: (B,) int64 places in the data set.
        places: (B,) int64 places in what was asked for, where broken videos have a place too.
        broken: the videos of this batch that could not be read; they are not among the B.
        damaged: (index, what is wrong) of videos that are damaged, and were read as far as FFmpeg shows them.
        operations: for each video those of RandAugment for its views, which the training device is to apply; empty
            where it is not.
    """

    clips: Tensor
    labels: Tensor
    indices: Tensor
    places: Tensor
    broken: tuple[Broken, ...] = ()
    damaged: tuple[tuple[int, str], ...] = ()
    operations: tuple[tuple[DrawnOperations, ...], ...] = ()

    def pin_memory(self) -> ClipBatch:
        """The batch in page-locked memory, from where a GPU can fetch it while it computes."""
        return replace(self, clips=self.clips.pin_memory())


def training_loader(
    dataset: Dataset[Sample | Broken],
    order: BatchOrder | Sequence[list[tuple[int, int]]],
    *,
    num_workers: int,
    pin_memory: bool,
    limit_seconds: float | None = None,
    excluded: dict[int, VideoError] | None = None,
    note: Callable[[str], object] | None = None,
) -> Generator[ClipBatch, None, None]:
    """Batches in the given order; the same whatever the number of workers. Closing the iterator ends the workers.

    Args:
        dataset: gives samples by (epoch, index).
        order: which samples make which batch.
        num_workers: processes that decode; -1 for `automatic_workers`, 0 decodes in this one, where a file that
            crashes or hangs takes the process with it.
        pin_memory: put batches where a GPU can fetch them while it computes.
        limit_seconds: a worker that is longer at one file is ended, and the file is broken; None never.
        excluded: index → why, of videos that are not opened at all but broken in their batch; the files that ended a
            worker are added.
        note: called with a line for each worker that dies or hangs.

    Raises:
        ConfigError: workers end repeatedly and no file is the cause, or shared memory is too small.
    """
    return _batches(dataset, order, num_workers, pin_memory, limit_seconds, excluded, note)


def view_loader(
    dataset: Dataset[Sample | Broken],
    *,
    batch_size: int,
    num_workers: int,
    pin_memory: bool,
    limit_seconds: float | None = None,
    excluded: dict[int, VideoError] | None = None,
    note: Callable[[str], object] | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> Generator[ClipBatch, None, None]:
    """The whole data set once, in its own order; several processes have a part each, and together all of it.

    Arguments as for `training_loader`, and `rank`, `world_size` as for `BatchOrder`; parts differ by at most one video.
    """
    require_rank(rank, world_size)
    mine = share_of(len(dataset), rank=rank, world_size=world_size)  # type: ignore[arg-type]
    order = [list(mine[start : start + batch_size]) for start in range(0, len(mine), batch_size)]
    return _batches(dataset, order, num_workers, pin_memory, limit_seconds, excluded, note)


def hard_limit_seconds(read_limit_seconds: float) -> float:
    """When to end a worker whose file does not heed the reader's own limit, which holds for opening and for reading."""
    return 2 * read_limit_seconds + 10


def automatic_workers() -> int:
    """One worker for each core that this process may use, at most 8; processes of one launcher share the cores."""
    num_processes = os.environ.get("LOCAL_WORLD_SIZE", "1")
    cores = usable_cores() // int(num_processes) if num_processes.isdecimal() and int(num_processes) else usable_cores()
    return max(1, min(cores, MAX_AUTOMATIC_WORKERS))


def collate(samples: Sequence[Sample | Broken]) -> ClipBatch | Failure:
    """Stack what could be read, and pass on what could not; in a worker, straight into shared memory."""
    whole = [sample for sample in samples if isinstance(sample, Sample)]
    try:
        clips = _stack([sample.clips for sample in whole]) if whole else torch.empty(0, dtype=torch.uint8)
    except RuntimeError as error:
        if get_worker_info() is None or "shared memory" not in str(error):
            raise
        return Failure(
            ConfigError(
                "shared memory with no room for a batch",
                expected="room for a few batches of each worker",
                hint="enlarge /dev/shm (docker: --shm-size 8g), or lower --num-workers or --batch-size",
            )
        )
    return ClipBatch(
        clips=clips,
        labels=torch.tensor([sample.label for sample in whole], dtype=torch.int64),
        indices=torch.tensor([sample.index for sample in whole], dtype=torch.int64),
        places=torch.tensor([n for n, sample in enumerate(samples) if isinstance(sample, Sample)], dtype=torch.int64),
        broken=tuple(sample for sample in samples if isinstance(sample, Broken)),
        damaged=tuple((sample.index, sample.damage) for sample in whole if sample.damage is not None),
        operations=tuple(sample.operations for sample in whole if sample.operations),
    )


def _stack(clips: Sequence[Tensor]) -> Tensor:
    if get_worker_info() is None:
        return torch.stack(list(clips))
    # As torch's own collate does: a tensor that is not in shared memory yet would be copied there afterwards.
    shape = (len(clips), *clips[0].shape)
    storage = torch.UntypedStorage._new_shared(math.prod(shape) * clips[0].element_size())
    return torch.stack(list(clips), out=torch.empty(0, dtype=clips[0].dtype).set_(storage, 0, shape))  # type: ignore[call-overload]


def _batches(
    dataset: Dataset[Sample | Broken],
    order: Any,
    num_workers: int,
    pin_memory: bool,
    limit_seconds: float | None,
    excluded: dict[int, VideoError] | None,
    note: Callable[[str], object] | None,
) -> Generator[ClipBatch, None, None]:
    workers = automatic_workers() if num_workers < 0 else num_workers
    excluded = {} if excluded is None else excluded
    options: dict[str, Any] = {"collate_fn": collate, "pin_memory": pin_memory}
    if not workers:
        batches: Iterable[ClipBatch] = DataLoader(WatchedItems(dataset, excluded), batch_sampler=order, **options)
        return _reporting(batches, dataset, note or logger.warning)
    paths = getattr(dataset, "paths", None)
    watch = Watch(
        name_of=lambda index: paths[index] if paths is not None else f"video {index}",
        limit_seconds=limit_seconds,
        excluded=excluded,
        note=note or (lambda text: None),
    )
    batch_size = order.batch_size if isinstance(order, BatchOrder) else max(map(len, order), default=0)
    waiting = 2 * workers * batch_size * getattr(dataset, "sample_num_bytes", 0)
    options["prefetch_factor"] = 2 if waiting <= _MAX_WAITING_BYTES else 1
    batches = watched_batches(dataset, order, num_workers=workers, watch=watch, options=options)
    return _reporting(batches, dataset, note or logger.warning)


def _reporting(
    batches: Iterable[ClipBatch], dataset: Any, note: Callable[[str], object]
) -> Generator[ClipBatch, None, None]:
    """Report each damaged video once for each data set, up to a number."""
    with contextlib.closing(iter(batches)) if isinstance(batches, Generator) else contextlib.nullcontext(batches) as it:
        for batch in it:
            for index, damage in batch.damaged:
                path = str(dataset.paths[index])
                if path in dataset.damage:
                    continue
                dataset.damage[path] = damage
                if len(dataset.damage) <= _MAX_DAMAGE_REPORTED:
                    note(f"damaged video, read as far as possible: {readable(path)} ({damage})")
                elif len(dataset.damage) == _MAX_DAMAGE_REPORTED + 1:
                    note("further damaged videos are not listed here: videomae scan lists all")
            yield batch
