"""What a report or a bug report says of the machine and the installed versions."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from videomae.core.machine import cpu_flags, total_memory_bytes, usable_cores

# What decides results and speed; all of them are in the first lines of a bug report.
_MAIN = ("videomae", "torch", "av")
_OTHERS = (
    "numpy",
    "pillow",
    "safetensors",
    "huggingface_hub",
    "transformers",
    "tyro",
    "rich",
    "matplotlib",
    "jinja2",
    "psutil",
    "fsspec",
    "tensorboard",
    "wandb",
    "trackio",
)
_FAST_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16")


def versions(*, with_all: bool = False) -> dict[str, str]:
    """Package → installed version, Python and FFmpeg's libraries among them; packages that are absent are left out.

    Args:
        with_all: also those that seldom matter.
    """
    found = {"Python": platform.python_version()}
    for name in (*_MAIN, *(_OTHERS if with_all else ())):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # an extra, or run from its source
            continue
    import av

    found["FFmpeg"] = getattr(av, "ffmpeg_version_info", "") or "unknown"
    return found


def processor() -> str:
    """The processor's name, the cores that this process may use, and the memory: `AMD EPYC, 2 of 8 cores, 31 GiB`."""
    cores, of_all = usable_cores(), os.cpu_count() or 1
    number = f"{cores} cores" if cores == of_all else f"{cores} of {of_all} cores"
    return f"{_processor_name()}, {number}, {total_memory_bytes() / 2**30:.0f} GiB"


def instructions() -> str:
    """The fast instructions that the processor has, such as `avx2 avx512f`; "" where the system does not list them."""
    flags = cpu_flags()
    return " ".join(name for name in _FAST_INSTRUCTIONS if name in flags)


def accelerators() -> list[str]:
    """Names and memory of the GPUs that torch can use."""
    import torch

    if torch.cuda.is_available():
        number = torch.cuda.device_count()
        found = [torch.cuda.get_device_properties(index) for index in range(number)]
        return [f"{device.name}, {device.total_memory / 2**30:.0f} GiB" for device in found]
    return ["Apple GPU (mps)"] if torch.backends.mps.is_available() else []


def machine_facts(device: str = "") -> list[tuple[str, str]]:
    """(name, value) for the head of a report.

    Args:
        device: where and how it was computed, such as "cpu in fp32".
    """
    packages = ", ".join(f"{name} {number}" for name, number in versions().items())
    place = ", ".join([processor(), *accelerators(), platform.system()])
    return [("machine", place), *([("device", device)] if device else []), ("versions", packages)]


def command_line(words: Sequence[str] | None = None) -> str:
    """What started this process, as it was typed: `videomae finetune CLIPS …`, or a program of one's own."""
    import shlex

    program, *arguments = sys.argv if words is None else words
    path = Path(program)
    is_ours = path.stem == "videomae" or (path.parent.name in ("videomae", "cli") and path.stem in ("__main__", "main"))
    return shlex.join(["videomae" if is_ours else path.name or "python", *arguments])


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    name = next((line.partition(":")[2] for line in lines if line.startswith(("model name", "Model"))), "")
    return " ".join(name.split()) or platform.processor() or platform.machine()
