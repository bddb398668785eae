"""The other ways to read a clip, and V1's data sets, behind one interface each. Imported by `data_speed.py`.

Of V1 nothing is here: its code is imported from a checkout that the user names, and measured.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import random
import statistics
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Any

import av
import numpy as np

ReadClip = Callable[[Path, np.ndarray], np.ndarray]  # (path, frame numbers) to uint8 (T, H, W, 3), opening included


@dataclass(frozen=True)
class Sample:
    """Seconds that something took, by the clock and of the processors (ended child processes included)."""

    wall: float
    cpu: float


def timed(function: Callable[[], object]) -> Sample:
    cpu, wall = _cpu_seconds(), time.perf_counter()
    function()
    return Sample(time.perf_counter() - wall, _cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    return sum(usage.ru_utime + usage.ru_stime for usage in map(getrusage, (RUSAGE_SELF, RUSAGE_CHILDREN)))


def interleaved(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[Sample]]:
    """Samples of each; the order turns round by round, so that a noisy neighbor hits all alike."""
    samples: dict[str, list[Sample]] = {name: [] for name in functions}
    for number in range(rounds):
        for name in list(functions)[:: 1 if number % 2 == 0 else -1]:
            samples[name].append(timed(functions[name]))
    return samples


def medians(samples: dict[str, list[Sample]], clock: str) -> dict[str, float]:
    return {name: statistics.median(getattr(s, clock) for s in found) for name, found in samples.items()}


def spec_reader(path: Path, indices: np.ndarray) -> np.ndarray:
    """What the specification's example does: from the start, through every frame up to the last one wanted."""
    frames = []
    with av.open(str(path)) as container:
        container.seek(0)
        for number, frame in enumerate(container.decode(video=0)):
            if number > indices[-1]:
                break
            if number >= indices[0] and number in indices:
                frames.append(frame.to_ndarray(format="rgb24"))
    return np.stack(frames)


def torchcodec_reader(path: Path, indices: np.ndarray) -> np.ndarray:
    from torchcodec.decoders import VideoDecoder

    clip: np.ndarray = VideoDecoder(str(path), dimension_order="NHWC").get_frames_at(indices.tolist()).data.numpy()
    return clip


def decord_reader(path: Path, indices: np.ndarray) -> np.ndarray:
    import decord

    clip: np.ndarray = decord.VideoReader(str(path), num_threads=1).get_batch(indices.tolist()).asnumpy()
    return clip


def peer_readers() -> dict[str, ReadClip]:
    """Those that are installed; each decodes with one thread, torchcodec's default and V1's choice for decord."""
    readers: dict[str, ReadClip] = {"spec": spec_reader}
    for name, module, read in (
        ("torchcodec", "torchcodec.decoders", torchcodec_reader),
        ("decord2", "decord", decord_reader),
    ):
        try:
            importlib.import_module(module)
        except (ImportError, RuntimeError, OSError) as error:
            print(f"{name} is left out: {type(error).__name__}: {str(error)[:100]}")
        else:
            readers[name] = read
    return readers


def fault_of(read: ReadClip, path: Path, indices: np.ndarray, expected: np.ndarray) -> str | None:
    """Why a peer is no peer for this file: it fails, or returns other frames than were asked for."""
    try:
        clip = read(path, indices)
    except Exception as error:  # whatever a peer throws is a result
        return f"fails: {type(error).__name__}: {' '.join(str(error).split())[:80]}"
    wanted = np.unique(indices, return_index=True)[1] if len(clip) != len(expected) else np.arange(len(expected))
    if len(clip) != len(wanted):
        return f"{len(clip)} frames of {len(wanted)}"
    expected = expected[wanted]
    if clip.shape == expected.shape:
        difference = np.abs(clip.astype(np.int16) - expected).mean(axis=(1, 2, 3))
        # Conversions differ by some levels; frames from elsewhere differ more than their neighbors.
        if difference.max() > 12:
            return f"other frames (up to {difference.max():.0f} levels off on average)"
    return None


class V1:
    """V1's data set classes, from a checkout of it.

    Args:
        folder: the checkout.

    Raises:
        ImportError: it cannot be imported.
    """

    def __init__(self, folder: Path) -> None:
        import numpy.lib

        if not hasattr(numpy.lib, "function_base"):  # it wants a name of NumPy 1 that it does not use
            stub = types.ModuleType("numpy.lib.function_base")
            stub.disp = print  # type: ignore[attr-defined]
            sys.modules["numpy.lib.function_base"] = stub
        sys.path.insert(0, str(folder))
        self._kinetics = importlib.import_module("kinetics")
        self._datasets = importlib.import_module("datasets")

    def pretraining(self, paths: list[Path], list_file: Path) -> Any:
        """The pre-training data set: 16 frames at stride 4, multi-scale crop to 224, normalized, and a mask."""
        list_file.write_text("".join(f"{path} 0\n" for path in paths))
        options = types.SimpleNamespace(
            input_size=224,
            mask_type="tube",
            window_size=(8, 14, 14),
            mask_ratio=0.9,
            data_path=str(list_file),
            num_frames=16,
            sampling_rate=4,
        )
        with contextlib.redirect_stdout(io.StringIO()):
            return self._datasets.build_pretraining_dataset(options)

    def test_views(self, path: Path, list_file: Path) -> Any:
        """The test data set of one video: 5 × 3 views, each decoded for itself."""
        list_file.write_text(f"{path} 0\n")
        return self._kinetics.VideoClsDataset(
            str(list_file),
            "",
            mode="test",
            clip_len=16,
            frame_sample_rate=4,
            crop_size=224,
            short_side_size=224,
            test_num_segment=5,
            test_num_crop=3,
            keep_aspect_ratio=True,
        )


def load_v1(folder: Path | None) -> V1 | str:
    """V1, or why it cannot be measured."""
    if folder is None:
        return "not measured: give --v1 DIR, a checkout of MCG-NJU/VideoMAE"
    try:
        return V1(folder)
    except ImportError as error:
        return f"not measured: {folder} cannot be imported ({error})"


def seeded(seed: int) -> np.random.Generator:
    """A generator; V1 draws from NumPy's and Python's global ones, which are set too."""
    np.random.seed(seed)
    random.seed(seed)
    return np.random.default_rng(seed)
