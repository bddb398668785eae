"""Views of many videos through a network: forwards of one size, whatever the number of views of a video.

On a GPU nothing is waited for between two forwards: while one computes, the results of the one before travel to the CPU
and the clips of the next one are gathered.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from videomae.core.device import send
from videomae.core.errors import CheckpointError, VideoError
from videomae.core.memory import LESS_MEMORY, MEMORY_ERRORS, available_bytes, is_out_of_memory, out_of_memory
from videomae.data.loader import ClipBatch
from videomae.models.config import VideoMAEConfig

logger = logging.getLogger("videomae")

# Views that a loader delivers at once: of more, the first batch would be long in coming.
_VIEWS_PER_BATCH = 8
# Forwards that a GPU has been given when the oldest one's results are waited for.
_MAX_RUNNING = 2
_MAX_VIEWS = 64
_MAX_VIEWS_ELSEWHERE = 8
# On a CPU larger forwards only take more memory, once there are so many tokens to multiply.
_CPU_TOKENS = 3136


def views_per_forward(config: VideoMAEConfig, device: torch.device) -> int:
    """How many views go through a network at once: a power of two.

    Args:
        config: of the network.
        device: where it computes; of a GPU half of the free memory is used at most.
    """
    tokens = config.grid.num_tokens
    if device.type == "cpu":
        return _power_of_two(max(1, min(_MAX_VIEWS_ELSEWHERE, _CPU_TOKENS // tokens)))
    if device.type != "cuda":
        return _MAX_VIEWS_ELSEWHERE
    # Of a layer in fp32: its input and output, queries, keys, values, attention, both sides of the activation.
    numbers = tokens * (6 * config.hidden_size + 2 * config.intermediate_size)
    pixels = 3 * tokens * config.grid.values_per_tubelet
    return _power_of_two(max(1, min(_MAX_VIEWS, available_bytes(device) // 2 // (4 * (numbers + pixels)))))


def videos_per_batch(num_views: int) -> int:
    """How many videos a loader delivers at once, where each has `num_views` views."""
    return max(1, _VIEWS_PER_BATCH // num_views)


def run_batches(
    batches: Iterable[ClipBatch],
    network: Callable[[Tensor], Tensor],
    *,
    device: torch.device,
    num_views: int,
    finite: str = "",
) -> Iterator[tuple[int, Tensor | VideoError]]:
    """The network's rows for each item of the batches, in the items' order, each once.

    Args:
        batches: of a loader; items may have unequal numbers of views from batch to batch.
        network: views uint8 (N, T, C, H, W) on the device to rows (N, …) there; run in inference mode.
        device: where it computes.
        num_views: of one forward; the last one of all is smaller. Where they do not fit into memory, half as many.
        finite: what the rows are called, where NaN or infinity among them is an error; "" where it is none.

    Yields:
        (index, rows) with rows (V, …) on the CPU, or (index, why the video could not be read).

    Raises:
        CheckpointError: for rows that are not finite.
        OutOfMemory: if a single view does not fit.
    """
    forwards = _Forwards(network, device, num_views, finite)
    # A CPU computes nothing while it waits for itself.
    max_running = _MAX_RUNNING if device.type == "cuda" else 1
    for batch in batches:
        forwards.add(batch)
        yield from forwards.finished(max_running - 1)
    forwards.flush()
    yield from forwards.finished(0)


class _Forwards:
    """Views that wait for a forward, forwards that run, and rows that wait for the rest of their item's."""

    def __init__(self, network: Callable[[Tensor], Tensor], device: torch.device, num_views: int, finite: str) -> None:
        self._network = network
        self._device = device
        self._num_views = num_views
        self._finite = finite
        self._items: deque[tuple[int, int | VideoError]] = deque()  # index and number of views, in order
        self._views: list[Tensor] = []  # (N, T, C, H, W) on the device
        self._running: deque[_Results] = deque()
        self._rows: deque[Tensor] = deque()

    def add(self, batch: ClipBatch) -> None:
        """Take a batch, and start all forwards for which there are views enough."""
        found = dict(zip(batch.places.tolist(), batch.indices.tolist(), strict=True))
        broken = iter(batch.broken)
        for place in range(len(found) + len(batch.broken)):
            if place in found:
                self._items.append((found[place], batch.clips.shape[1]))
            else:
                unread = next(broken)
                self._items.append((unread.index, unread.error))
        if found:
            self._views.append(send(batch.clips.flatten(0, 1), self._device))
            while sum(map(len, self._views)) >= self._num_views:
                self._start()

    def flush(self) -> None:
        """Start forwards of all views that are left."""
        while self._views:
            self._start()

    def finished(self, num_running: int) -> Iterator[tuple[int, Tensor | VideoError]]:
        """The next items whose rows are there; all forwards but the last `num_running` are waited for."""
        while len(self._running) > num_running:
            self._rows.extend(self._running.popleft().wait())
        while self._items:
            index, known = self._items[0]
            if isinstance(known, VideoError):
                found: Tensor | VideoError = known
            elif known <= len(self._rows):
                found = torch.stack([self._rows.popleft() for _ in range(known)])  # (V, …)
            else:
                return
            self._items.popleft()
            yield index, found

    def _start(self) -> None:
        views = torch.cat(self._views) if len(self._views) > 1 else self._views[0]
        number = self._num_views
        self._views = [views[number:]] if len(views) > number else []
        self._running.append(_Results(self._forward(views[:number]), self._finite))

    def _forward(self, views: Tensor) -> Tensor:
        """Rows of the views; at once, or where they do not fit into memory, in parts from now on."""
        while True:
            try:
                with torch.inference_mode():
                    return torch.cat([self._network(part) for part in views.split(self._num_views)])
            except MEMORY_ERRORS as error:
                if not is_out_of_memory(error):
                    raise
                number, clip = min(self._num_views, len(views)), " × ".join(map(str, views.shape[1:]))
                problem = out_of_memory(
                    error,
                    f"{'1 clip' if number == 1 else f'{number} clips'} of {clip} at once",
                    hint=LESS_MEMORY,
                    device=self._device,
                )
            # Out of the `except`, whose error holds what the forward has allocated.
            if number == 1:
                raise problem
            self._num_views = number // 2
            logger.info("%s; continuing with %d", problem.value, self._num_views)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()


class _Results:
    """Rows on their way to the CPU."""

    def __init__(self, rows: Tensor, finite: str) -> None:
        self._name = finite
        with torch.inference_mode():
            is_finite = rows.isfinite().all()
        # From CUDA into page-locked memory, while the GPU computes; elsewhere this waits for the copy.
        is_cuda = rows.device.type == "cuda"
        self._rows, self._is_finite = (tensor.to("cpu", non_blocking=is_cuda) for tensor in (rows, is_finite))
        self._done = torch.cuda.current_stream(rows.device).record_event() if is_cuda else None

    def wait(self) -> Iterator[Tensor]:
        """Each row, when all are there."""
        if self._done is not None:
            self._done.synchronize()
        if self._name and not self._is_finite:
            raise CheckpointError(
                f"{self._name} that are NaN or infinite",
                expected="numbers",
                hint="the checkpoint holds NaN (videomae info lists it); or try --precision fp32",
            )
        return iter(self._rows.unbind())


def _power_of_two(number: int) -> int:
    return 1 << (number.bit_length() - 1)
