"""Where and in which precision a model runs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from videomae.core.errors import ConfigError

_AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is a GPU where there is one.

    Raises:
        ConfigError: if it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda", expected="a GPU that torch can use", hint="use --device cpu or auto")
    return torch.device(name)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Run matrix products in `precision` ("fp32", "bf16", "fp16"); weights keep their type."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=_AUTOCAST_TYPES[precision])
