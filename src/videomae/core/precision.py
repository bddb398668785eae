"""In which precision matrix products run: the one place that decides.

Half precision is chosen only where the hardware multiplies it. On a CPU without bf16 instructions torch takes bf16
products apart in software: measured on two AMD cores with AVX2, 135 times slower than fp32.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache

import torch

from videomae.core.errors import ConfigError

logger = logging.getLogger("videomae")

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = ("auto", *_DTYPES)
# What a CPU with bf16 instructions calls them, in `torch.cpu.get_capabilities()`: x86, x86 with AMX, Arm.
_BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")
# Sets of instructions to which oneDNN can be held, and that have no bf16.
_ISA_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_WITHOUT_BF16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
# Hardware that multiplies bf16 is twice as fast with it or more, any other many times slower: noise decides nothing.
_LEAST_SPEEDUP = 1.2


@dataclass(frozen=True)
class ChosenPrecision:
    """A precision and why it was chosen.

    Args:
        name: "fp32", "bf16" or "fp16".
        reason: in a few words.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        """As a person reads it: `fp32: this CPU has no bf16 instructions`."""
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class CpuFacts:
    """What decides about bf16 on a CPU.

    Args:
        has_instructions: whether it multiplies bf16; None where torch does not know.
        has_onednn: whether torch has oneDNN, the library that uses such instructions.
        limit: what forbids oneDNN their use, such as "ONEDNN_MAX_CPU_ISA=AVX2"; "" for nothing.
        is_certain: whether these facts are enough; else a product in each precision is timed.
    """

    has_instructions: bool | None
    has_onednn: bool
    limit: str
    is_certain: bool


def choose_precision(asked: str, device: torch.device, *, sharded: bool = False) -> ChosenPrecision:
    """The precision of a job.

    Args:
        asked: "auto", or the precision itself; one that is slow here is logged as a warning, once for the process.
        device: where it computes.
        sharded: whether the model's weights are spread over several devices, where fp16 cannot train: each process
            would decide by itself whether the scale of the loss is too large.

    Raises:
        ConfigError: if there is no such precision, or the device lacks it.
    """
    if asked not in PRECISIONS:
        raise ConfigError(f"--precision {asked}", expected=" or ".join(PRECISIONS), hint="auto chooses what is fast")
    if asked == "auto":
        found = automatic_precision(device)
        if sharded and found.name == "fp16":
            return ChosenPrecision("fp32", "fp16 cannot be trained with --sharding full")
        return found
    if asked != "fp32":
        _require_autocast(asked, device)
        _warn_if_slow(asked, device)
    return ChosenPrecision(asked, "as asked")


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Run matrix products in `precision`, as for `choose_precision`; weights keep their type."""
    name = choose_precision(precision, device).name
    return nullcontext() if name == "fp32" else torch.autocast(device.type, dtype=_DTYPES[name])


@cache
def automatic_precision(device: torch.device) -> ChosenPrecision:
    """The fastest precision that a device multiplies in hardware; always the same on the same machine."""
    if device.type == "cpu":
        return of_cpu(cpu_facts(), bf16_speedup)
    if device.type == "cuda":
        if torch.version.hip is not None:
            return ChosenPrecision("bf16", "this GPU multiplies it")
        return of_cuda(torch.cuda.get_device_capability(device))
    if device.type == "xpu" and torch.xpu.is_bf16_supported():
        return ChosenPrecision("bf16", "this GPU multiplies it")
    return ChosenPrecision("fp32", f"what every {device.type} device computes")


def of_cuda(capability: tuple[int, int]) -> ChosenPrecision:
    """The precision for an NVIDIA GPU of this compute capability: bf16 from Ampere on, fp16 with tensor cores alone."""
    number = ".".join(map(str, capability))
    if capability >= (8, 0):
        return ChosenPrecision("bf16", "this GPU multiplies it")
    if capability >= (7, 0):
        return ChosenPrecision("fp16", f"this GPU (compute capability {number}) multiplies it, but not bf16")
    return ChosenPrecision("fp32", f"this GPU (compute capability {number}) has no tensor cores")


def of_cpu(facts: CpuFacts, speedup: Callable[[], float]) -> ChosenPrecision:
    """The precision for a CPU.

    Args:
        facts: about it.
        speedup: measures how many times faster a product in bf16 is; asked only where the facts leave it open.
    """
    if not facts.has_onednn:
        return ChosenPrecision("fp32", "this torch has no oneDNN to multiply bf16")
    if facts.has_instructions is False:
        return ChosenPrecision("fp32", "this CPU has no bf16 instructions")
    if facts.limit:
        return ChosenPrecision("fp32", f"{facts.limit} forbids bf16 instructions")
    if facts.is_certain:
        return ChosenPrecision("bf16", "this CPU has bf16 instructions")
    found = speedup()
    return ChosenPrecision("bf16" if found >= _LEAST_SPEEDUP else "fp32", f"a product in bf16 is {_times(found)} here")


def cpu_facts() -> CpuFacts:
    """Those of this machine."""
    flags = torch.cpu.get_capabilities()
    known = [bool(flags[name]) for name in _BF16_FLAGS if name in flags]
    limits = [(name, os.environ.get(name, "")) for name in _ISA_VARIABLES]
    mkldnn = torch.backends.mkldnn
    return CpuFacts(
        has_instructions=any(known) if known else None,
        has_onednn=mkldnn.is_available() and bool(mkldnn.enabled),
        limit=next((f"{name}={value}" for name, value in limits if value.upper() in _WITHOUT_BF16), ""),
        # On Arm it depends on how oneDNN was built. ATEN_CPU_CAPABILITY holds torch's own products to older
        # instructions than the CPU has.
        is_certain=torch.backends.cpu.get_cpu_capability() == "AVX512",
    )


def bf16_speedup(dtype: torch.dtype = torch.bfloat16) -> float:
    """How many times faster a product is in bf16 than in fp32, on this CPU; takes a few milliseconds.

    A small product comes first, so that hardware without bf16, where it takes forever, costs no more. One thread
    computes: several would also wait for each other, and for whoever else is on the cores.
    """
    num_threads, found = torch.get_num_threads(), 0.0
    torch.set_num_threads(1)
    try:
        for size in (128, 512):
            found = _product_seconds(size, torch.float32) / _product_seconds(size, dtype)
            if found < 0.5:
                break
    finally:
        torch.set_num_threads(num_threads)
    return found


def _product_seconds(size: int, dtype: torch.dtype) -> float:
    """The shortest time of a product of two (size, size) matrices."""
    left, right = torch.ones(2, size, size, dtype=dtype)
    seconds = []
    for _ in range(4):  # the first one also sets up what the others use again
        begin = time.perf_counter()
        torch.mm(left, right)
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:])


def _require_autocast(name: str, device: torch.device) -> None:
    """Raise a ConfigError where torch has no such precision for the device: it would warn, and continue in fp32."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            torch.autocast(device.type, dtype=_DTYPES[name])
        except (RuntimeError, UserWarning) as error:
            raise ConfigError(
                f"--precision {name} on {device.type}",
                expected="a precision that torch has there",
                hint=f"use --precision auto or fp32 ({(str(error).splitlines() or ['?'])[0][:120]})",
            ) from error


@cache
def _warn_if_slow(name: str, device: torch.device) -> None:
    automatic = automatic_precision(device)
    if device.type == "cpu" and name != automatic.name:
        found = bf16_speedup(_DTYPES[name])
        if found < 1:
            logger.warning(
                "--precision %s on this CPU: a product in it is %s; auto takes %s", name, _times(found), automatic.name
            )
    elif device.type == "cuda" and name == "bf16" and automatic.name != "bf16":
        logger.warning("--precision bf16: slow, for %s; auto takes %s", automatic.reason, automatic.name)


def _times(speedup: float) -> str:
    return f"{speedup:.3g} times as fast as in fp32" if speedup >= 1 else f"{1 / speedup:.3g} times slower than in fp32"
