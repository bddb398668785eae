"""Devices by name: which there are, how tensors get there, and what differs between them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from videomae.core.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """The device of that name.

    Args:
        name: "auto" takes CUDA where there is one, else MPS, else the CPU; else any name that torch knows, with or
            without a number: "cpu", "cuda", "cuda:1", "mps", "xpu".

    Raises:
        ConfigError: if torch does not know it, or it is not there.
    """
    if name == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        with warnings.catch_warnings(action="ignore"):  # of names that torch has given up
            device = torch.device(name)
    except (RuntimeError, TypeError):
        raise _not_there(name, "which torch does not know") from None
    count = _num_devices(device.type)
    if (device.index or 0) >= count:
        raise _not_there(name, f"of which there are {count}" if count > 1 else "which is not here")
    return device


def available_devices() -> list[str]:
    """The names of the devices that are there: "cpu" and those of the accelerator for which torch was built."""
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None:
        return ["cpu"]
    count = _num_devices(accelerator.type)
    return ["cpu", *([accelerator.type] if count == 1 else [f"{accelerator.type}:{i}" for i in range(count)])]


def _num_devices(kind: str) -> int:
    try:
        module: Any = torch.get_device_module(kind)
    except RuntimeError:  # torch knows the name, but no such device was built in or registered
        return 0
    return int(module.device_count()) if module.is_available() else 0


def _not_there(name: str, why: str) -> ConfigError:
    return ConfigError(
        f"--device {name}, {why}", expected=" or ".join(["auto", *available_devices()]), hint="choose one of these"
    )


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`; CUDA need not be waited for.

    Elsewhere the copy is waited for: MPS would read the memory of a tensor that has been freed meanwhile, in silence
    (pytorch/pytorch#189690).
    """
    return tensor.to(device, non_blocking=device.type == "cuda")


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


@contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Within it torch's global generators of the CPU and of `device` may be seeded; afterwards they are as before."""
    if device.type in ("cpu", "mps"):
        before = (
            torch.mps.get_rng_state() if device.type == "mps" else None
        )  # takes no device, as `fork_rng` would give
        try:
            with torch.random.fork_rng(devices=[]):
                yield
        finally:
            if before is not None:
                torch.mps.set_rng_state(before)
    else:
        with torch.random.fork_rng(devices=[device], device_type=device.type):
            yield
