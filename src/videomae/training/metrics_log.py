"""Measures training: speed, data wait, losses, skipped steps and memory, for the lines of metrics.jsonl."""

from __future__ import annotations

import shlex
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from videomae.core.distributed import ProcessGroup
from videomae.core.errors import ConfigError
from videomae.core.machine import peak_memory_bytes, usable_cores
from videomae.data.loader import ClipBatch, automatic_workers
from videomae.datasets.shards import is_packed
from videomae.recipes.recipe import TrainingRecipe
from videomae.training.monitor import Monitor, StepReport
from videomae.video.remote import is_url
from videomae.video.source import VideoSource

_MAX_LISTED = 8
# A data wait is reported above this share of the time, over at least so many of the last steps and seconds.
MAX_WAIT_SHARE = 0.2
_MIN_STEPS = 20
_MIN_SECONDS = 10.0


@dataclass(frozen=True)
class Speed:
    """Of some training steps; validation, pictures and the save at an epoch's end are not counted.

    Args:
        clips: that went through the network, over all processes; views of one decode are not counted.
        seconds: wall time of these steps, data loading included.
        waited_seconds: of them, those in which the main process had no clips and its device nothing to do.
    """

    clips: int = 0
    seconds: float = 0.0
    waited_seconds: float = 0.0

    def __add__(self, other: Speed) -> Speed:
        """Of both together."""
        return Speed(self.clips + other.clips, self.seconds + other.seconds, self.waited_seconds + other.waited_seconds)

    @property
    def clips_per_second(self) -> float:
        """Clips over wall time."""
        return self.clips / max(self.seconds, 1e-9)

    @property
    def data_wait_share(self) -> float:
        """Share of the wall time spent waiting for data, 0–1."""
        return min(1.0, self.waited_seconds / max(self.seconds, 1e-9))

    def logged(self) -> dict[str, float]:
        """As metrics.jsonl has it, of the steps since the line before."""
        return {
            "clips_per_second": self.clips_per_second,
            "data_wait_share": self.data_wait_share,
            "seconds": self.seconds,
        }


def speed_of_run(records: Sequence[Mapping[str, Any]]) -> Speed:
    """All training lines of metrics.jsonl together; in files without `seconds` steps are taken to be alike."""
    total, before = Speed(), 0
    for line in records:
        if line["split"] != "train":
            continue
        rate = line["clips_per_second"]
        # Files from before `seconds`: a clip for each step gives the same mean.
        seconds = line.get("seconds") or (line["step"] - before) / max(rate, 1e-9)
        total += Speed(round(rate * seconds), seconds, line["data_wait_share"] * seconds)
        before = line["step"]
    return total


def peak_memory_gib(device: torch.device) -> float | None:
    """The most memory so far, in GiB; asking costs microseconds and makes no device wait.

    Args:
        device: of the network. Of a GPU: what torch had allocated on it; else: what this process had in memory,
            without its workers; None where the system does not report it.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    peak = peak_memory_bytes()
    return None if peak is None else peak / 2**30


class Meter:
    """Measures steps, and logs a line every `log_every` of them and at the end of each epoch.

    Args:
        recipe: of the run.
        device: of the model.
        steps_per_epoch: of the run.
        paths: the videos of the data set.
        data: the data set, as the user names it.
        processes: of the run.
        monitor: receives each step, and notes.
        log: writes a line of metrics.jsonl.
    """

    def __init__(
        self,
        recipe: TrainingRecipe,
        *,
        device: torch.device,
        steps_per_epoch: int,
        paths: Sequence[VideoSource],
        data: str,
        processes: ProcessGroup,
        monitor: Monitor,
        log: Callable[[dict[str, Any]], object],
    ) -> None:
        self._recipe = recipe
        self._device = device
        self._steps_per_epoch = steps_per_epoch
        self._paths = paths
        self._data = data
        self._processes = processes
        self._monitor = monitor
        self._log = log
        self._run = Speed()  # of the lines that are written
        self.restart()
        self._outcomes = Outcomes(device, recipe.log_every)
        self._watch = DataWaitWatch()
        self._num_noted = 0  # skipped steps when the last one was reported
        self._step_wait = 0.0
        self._step_begin = time.perf_counter()
        self._computing: torch.cuda.Event | None = None

    def restart(self) -> None:
        """Begin a new line: what happened in between (validation, saving) is not training."""
        self._begin = self._step_begin = time.perf_counter()
        self._waited = 0.0
        self._clips = 0

    def timed(self, batches: Iterator[ClipBatch]) -> Iterator[ClipBatch]:
        """The batches; the time spent waiting for them is data wait."""
        while True:
            with self.waiting():
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The time spent within it is data wait: for clips, or for other processes that wait for theirs."""
        begin = time.perf_counter()
        yield
        # While a GPU is still computing the step before, waiting costs nothing.
        is_free = self._computing is not None and not self._computing.query()
        waited = 0.0 if is_free else time.perf_counter() - begin
        self._step_wait += waited
        self._waited += waited

    def add(
        self, outcome: Tensor | None, batches: Sequence[ClipBatch], learning_rate: float, *, step: int, num_clips: int
    ) -> None:
        """A step was taken.

        Args:
            outcome: of `Trainer.take_step`.
            batches: its micro-batches in this process.
            learning_rate: of the step.
            step: steps done, from 1.
            num_clips: of the step, over all processes.

        Raises:
            ConfigError: where too many steps in a row had to be skipped.
        """
        self._clips += num_clips
        if outcome is not None:
            self._outcomes.add(outcome, step, [batch.indices for batch in batches], num_clips=num_clips)
        is_due = step % self._recipe.log_every == 0 or step % self._steps_per_epoch == 0
        # Reading waits for a GPU, so it is done when a line is due; on the CPU it costs nothing.
        if is_due or self._device.type == "cpu":
            self._read()
        line = Speed(self._clips, time.perf_counter() - self._begin, self._waited)
        run = self._run + line
        report = StepReport(
            step=step,
            epoch=(step - 1) // self._steps_per_epoch + 1,
            loss=self._outcomes.mean_loss,
            learning_rate=learning_rate,
            clips_per_second=run.clips_per_second,
            data_wait_share=run.data_wait_share,
            skipped_steps=self._outcomes.num_skipped,
            memory_gib=peak_memory_gib(self._device),
        )
        self._monitor.step(report)
        self._check_data_wait()
        if is_due:
            self._log({"split": "train", **vars(report), **line.logged()})
            self._run = run
            self._outcomes.begin_line()
            self.restart()

    def state_dict(self) -> dict[str, Any]:
        """For the run state: what the next line needs of steps taken already; waits for a GPU.

        All processes must call it.
        """
        self._read()
        return {**self._outcomes.state_dict(), "speed": asdict(self._run)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a run state; with those written before there was a speed of the run it begins here."""
        self._outcomes.load_state_dict(state)
        self._run = Speed(**state.get("speed", {}))

    @property
    def num_skipped(self) -> int:
        """Steps of the run that were skipped, as far as they were read."""
        return self._outcomes.num_skipped

    def _read(self) -> None:
        """Read losses and skipped steps from the device, and report the last skipped one."""
        outcomes = self._outcomes
        skipped = outcomes.read()
        if not skipped:
            return
        step, indices = skipped[-1]
        # All processes skip the same steps, and read them at the same one.
        paths = [str(self._paths[index]) for share in self._processes.gather(indices) for index in share]
        more = f" and {len(paths) - _MAX_LISTED} more" if len(paths) > _MAX_LISTED else ""
        listed = f"{', '.join(paths[:_MAX_LISTED])}{more}"
        limit = self._recipe.max_skipped_in_a_row
        if outcomes.num_in_a_row >= limit:
            raise ConfigError(
                f"{outcomes.num_in_a_row} steps in a row up to step {step} with a loss or gradient that is not finite, "
                f"the last of {listed}",
                expected=f"fewer than max_skipped_in_a_row={limit}",
                hint="lower --learning-rate, use --precision bf16 or fp32, or check these clips; the skipped steps "
                "changed no weights, and the last saved state is intact",
            )
        if _MAX_LISTED < outcomes.num_skipped < 2 * self._num_noted:
            return  # a run of days that skips a step now and then
        self._num_noted = outcomes.num_skipped
        self._monitor.warn(
            f"skipped step {step}: its loss or gradient is not finite ({outcomes.num_skipped} skipped so far), "
            f"clips of {listed}"
        )

    def _check_data_wait(self) -> None:
        now = time.perf_counter()
        share = self._watch.add(waited_seconds=self._step_wait, step_seconds=now - self._step_begin)
        self._step_begin, self._step_wait = now, 0.0
        if share is not None:
            remedies = list_remedies(
                data=self._data,
                num_workers=self._recipe.num_workers,
                num_cores=usable_cores(),
                num_views=self._recipe.views,
                is_packed=is_url(self._data) or is_packed(self._data),
            )
            measure = f"`videomae bench-data {shlex.quote(self._data)}` measures it"
            self._monitor.warn(f"data wait {share:.0%} over the last steps; try: {', or '.join(remedies)}; {measure}")
        if self._device.type == "cuda":
            self._computing = torch.cuda.Event()
            self._computing.record()


class Outcomes:
    """Losses and skipped steps, kept on the device until they are read together.

    Args:
        device: of the outcomes.
        capacity: the most that are kept unread.

    Attributes:
        num_skipped: steps skipped in the run.
        num_in_a_row: of them, those up to the last step read.
    """

    def __init__(self, device: torch.device, capacity: int) -> None:
        self._unread = torch.zeros(capacity, 2, device=device)
        self._steps: list[tuple[int, list[Tensor], int]] = []
        self._sum = 0.0
        self._count = 0
        self.num_skipped = 0
        self.num_in_a_row = 0

    @property
    def mean_loss(self) -> float | None:
        """Of the clips read since the last line, without skipped steps; None where there is none or some are unread."""
        return self._sum / self._count if self._count and not self._steps else None

    def add(self, outcome: Tensor, step: int, indices: list[Tensor], *, num_clips: int) -> None:
        """Keep the (2,) outcome of step `step`, whose clips have these places in the data set.

        Args:
            num_clips: of the step, over all processes: an epoch's last, smaller batch counts for less.
        """
        self._unread[len(self._steps)] = outcome
        self._steps.append((step, indices, num_clips))

    def read(self) -> list[tuple[int, list[int]]]:
        """Count what was kept; returns the skipped steps among it with the places of their clips."""
        found = []
        for (step, indices, num_clips), (loss, skipped) in zip(
            self._steps, self._unread[: len(self._steps)].tolist(), strict=True
        ):
            if skipped:
                self.num_skipped += 1
                self.num_in_a_row += 1
                found.append((step, torch.cat(indices).tolist()))
            else:
                self.num_in_a_row = 0
                self._sum += loss * num_clips
                self._count += num_clips
        self._steps.clear()
        return found

    def begin_line(self) -> None:
        """Start the mean of the next line."""
        self._sum, self._count = 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        """As plain numbers."""
        return {"sum": self._sum, "count": self._count, "skipped": self.num_skipped, "in_a_row": self.num_in_a_row}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from these numbers."""
        self._sum, self._count = state["sum"], state["count"]
        self.num_skipped, self.num_in_a_row = state["skipped"], state["in_a_row"]


class DataWaitWatch:
    """Reports, once, that data wait takes too large a share of the last steps' time."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, float]] = deque()
        self._waited = 0.0
        self._seconds = 0.0
        self._is_first = True
        self._has_reported = False

    def add(self, *, waited_seconds: float, step_seconds: float) -> float | None:
        """A step took `step_seconds`, of which it waited; returns the share of waiting if it is to be reported now."""
        if self._is_first:  # workers have to start, whatever the data
            self._is_first = False
            return None
        self._steps.append((waited_seconds, step_seconds))
        self._waited += waited_seconds
        self._seconds += step_seconds
        while len(self._steps) > _MIN_STEPS and self._seconds - self._steps[0][1] >= _MIN_SECONDS:
            waited, seconds = self._steps.popleft()
            self._waited -= waited
            self._seconds -= seconds
        is_enough = len(self._steps) >= _MIN_STEPS and self._seconds >= _MIN_SECONDS
        if self._has_reported or not is_enough or self._waited <= MAX_WAIT_SHARE * self._seconds:
            return None
        self._has_reported = True
        return self._waited / self._seconds


def list_remedies(*, data: str, num_workers: int, num_cores: int, num_views: int, is_packed: bool) -> list[str]:
    """What makes data loading faster in this case, the cheapest first.

    Args:
        data: the data set, as the user names it.
        num_workers: of the run; -1 for automatic.
        num_cores: that this process may use.
        num_views: crops of each decoded clip.
        is_packed: the data set was written by `videomae pack`.
    """
    workers = automatic_workers() if num_workers < 0 else num_workers
    remedies = []
    if workers < num_cores:
        remedies.append(f"--num-workers {num_cores}")
    if not is_packed:
        remedies.append(f"`videomae pack {shlex.quote(data)} OUT` (decoding several times cheaper)")
    remedies.append(f"--views {2 * num_views} (more crops of each decode)")
    return remedies
