"""Memory that runs out: how errors of that kind look, what is free, and the one line that people read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from videomae.core.errors import ConfigError
from videomae.core.machine import available_memory_bytes

if TYPE_CHECKING:
    import torch

# Of errors that are neither MemoryError nor `torch.OutOfMemoryError`: of torch's CPU allocator, of cuBLAS and cuDNN, of
# MPS, of C++, of oneDNN, and of libraries that do not fit into memory themselves.
_TEXTS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "ALLOC_FAILED",
    "std::bad_alloc",
    "could not create a primitive",
    "failed to map segment",
    "Cannot allocate memory",
)
# What such an error may be.
MEMORY_ERRORS = (RuntimeError, MemoryError, OSError, ImportError)
_ASKED = re.compile(r"[Tt]ried to allocate ([\d.]+ ?[KMGT]?i?B|\d+ bytes)")

# Of a network that is given a single clip.
LESS_MEMORY = "take smaller clips (--image-size, --num-frames), --precision bf16, or --device cpu"


class OutOfMemory(ConfigError):
    """What was asked for needs more memory than there is."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the processor or of a device."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, MEMORY_ERRORS) and any(text in str(error) for text in _TEXTS)


def out_of_memory(error: BaseException, what: str, *, hint: str, device: torch.device | None = None) -> OutOfMemory:
    """The error in one line.

    Args:
        error: one of which `is_out_of_memory` is true.
        what: was tried, such as "a step of 32 clips".
        hint: what needs less.
        device: where; None for the processor.
    """
    asked = _ASKED.search(str(error))
    number = asked[1] if asked else ""
    if number.endswith(" bytes"):
        number = gigabytes(int(number.removesuffix(" bytes")))
    kind = "cpu" if device is None else device.type
    facts = [f"{number} more asked for" if number else ""]
    if kind in ("cpu", "cuda"):
        facts += [f"{gigabytes(used_bytes(device))} in use", f"{gigabytes(available_bytes(device))} free"]
    where = "" if kind == "cpu" else f" on {device}"
    shown = ", ".join(filter(None, facts))
    return OutOfMemory(
        f"{what}, out of memory{where}{f' ({shown})' if shown else ''}", expected="as much as is free", hint=hint
    )


@contextmanager
def memory_errors_explained(what: str, *, hint: str, device: torch.device | None = None) -> Iterator[None]:
    """Within it, an error of memory that runs out becomes one line; arguments are those of `out_of_memory`."""
    try:
        yield
    except MEMORY_ERRORS as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(error, what, hint=hint, device=device) from error


def available_bytes(device: torch.device | None = None) -> int:
    """Memory that is free: of a CUDA device, with what torch keeps there for later; else what this process can take."""
    if device is not None and device.type == "cuda":
        import torch

        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    return available_memory_bytes()


def used_bytes(device: torch.device | None = None) -> int:
    """Memory of this process: on a CUDA device what its tensors take, else what it has in the machine's memory."""
    if device is not None and device.type == "cuda":
        import torch

        return int(torch.cuda.memory_allocated(device))
    import psutil

    return int(psutil.Process().memory_info().rss)


def gigabytes(number: int) -> str:
    """Such as "1.5 GiB"."""
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 / 10 else f"{number / 2**20:.0f} MiB"
