"""Small data sets and runs for the tests of training and of the commands; a pytest plugin, see conftest.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import videomae
from videomae.cli.main import main
from videomae.recipes.finetune import FinetuneRecipe
from videomae.recipes.pretrain import PretrainRecipe
from videomae.training.finetune import FinetuneResult, finetune
from videomae.training.monitor import Monitor, StepReport
from videomae.training.pretrain import PretrainResult, pretrain
from videomae.video.writer import write_video

SHARED = Path(__file__).parents[2] / "shared"
CLASSES = {"blue": (40, 60, 220), "green": (40, 200, 60), "red": (220, 50, 40)}
CLIP: dict[str, Any] = {"num_frames": 4, "image_size": 32, "frame_stride": 1}
SPEED: dict[str, Any] = {"precision": "fp32", "num_workers": 0, "device": "cpu", "log_every": 1, "trackers": ("none",)}
# As words of a command line.
CLIP_WORDS = ["--num-frames", "4", "--image-size", "32", "--frame-stride", "1", "--size", "tiny"]
SPEED_WORDS = ["--precision", "fp32", "--num-workers", "0", "--device", "cpu", "--log-every", "1", "--trackers", "none"]


def tiny_pretrain_recipe(**changes: Any) -> PretrainRecipe:
    """2 epochs of 3 steps over the 18 training clips, unless changed."""
    settings: dict[str, Any] = {"size": "tiny", "epochs": 2, "batch_size": 6, "warmup_epochs": 0.5, "mask_ratio": 0.75}
    return PretrainRecipe(**{**settings, **CLIP, **SPEED, **changes})


def tiny_finetune_recipe(**changes: Any) -> FinetuneRecipe:
    """3 epochs of 3 steps over the 18 training clips, unless changed; a rate at which the colors are learnt."""
    settings: dict[str, Any] = {"size": "tiny", "epochs": 3, "batch_size": 6, "warmup_epochs": 0.5}
    settings |= {"learning_rate": 5e-2, "label_smoothing": 0.0, "layer_decay": 0.9}
    # Colors are the classes here: what changes them would take the labels with it.
    settings |= {"rand_augment": "", "erasing": 0.0, "drop_path": 0.0, "init_scale": 1.0}
    return FinetuneRecipe(**{**settings, **CLIP, **SPEED, **changes})


def write_clip(path: Path, color: tuple[int, int, int], *, phase: float = 0.0, num_frames: int = 8) -> Path:
    """A smooth pattern of one color that moves, 40×32 pixels."""
    columns = np.arange(40) / 6
    waves = [np.tile(0.75 + 0.25 * np.sin(columns + phase + 0.5 * t), (32, 1)) for t in range(num_frames)]
    frames = np.stack(waves)[..., None] * np.array(color)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, frames.astype(np.uint8), frames_per_second=10, preset="ultrafast")
    return path


def write_data_set(folder: Path, *, per_class: int, classes: Sequence[str] = tuple(CLASSES)) -> Path:
    """A folder of class folders; the class is the color."""
    for name in classes:
        for number in range(per_class):
            write_clip(folder / name / f"{name}_{number}.mp4", CLASSES[name], phase=1.3 * number)
    return folder


def read_metrics(folder: Path, split: str | None = "train") -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, of one split or (None) all."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if split in (None, line["split"])]


def losses(folder: Path, split: str = "train") -> list[float]:
    """The losses of one split in the order of the file."""
    return [line["loss"] for line in read_metrics(folder, split)]


class Recorder(Monitor):
    """Remembers what a run says; `on_step` is called after each step."""

    def __init__(self, on_step: Callable[[StepReport], None] | None = None) -> None:
        self.notes: list[str] = []
        self.reports: list[StepReport] = []
        self.finished = 0
        self._on_step = on_step

    def step(self, report: StepReport) -> None:
        self.reports.append(report)
        if self._on_step is not None:
            self._on_step(report)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def finish(self) -> None:
        self.finished += 1


def stop_after(step: int, number: signal.Signals = signal.SIGINT) -> Recorder:
    """A monitor that sends this process a signal after `step` steps, as Ctrl-C would."""
    return Recorder(lambda report: os.kill(os.getpid(), number) if report.step == step else None)


def command_environment() -> dict[str, str]:
    """The environment in which a real process runs the same package's command line, deterministic and offline."""
    source = str(Path(videomae.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def start_command(*words: object) -> subprocess.Popen[str]:
    """`videomae WORDS…` as a process of its own, and the first of a group, as a shell starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "videomae.cli.main", *map(str, words)],
        env=command_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python code in a fresh process."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**command_environment(), **environment},
        capture_output=True,
        encoding=environment.get("PYTHONIOENCODING", "utf-8"),
        check=False,
    )


class Commands:
    """Runs commands in this process and keeps what they printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *words: object) -> int:
        self._capsys.readouterr()
        status = main([str(word) for word in words])
        self.out, self.err = self._capsys.readouterr()
        return status

    def json(self, *words: object) -> Any:
        """The one document that a successful command with --json prints."""
        assert self(*words, "--json") == 0, self.err
        return json.loads(self.out)

    def refused(self, *words: object) -> str:
        """The one line of a command whose input is at fault; checks that it has the three parts of the contract.

        Notices of what was read (splits, passed-over files) may come before it.
        """
        assert self(*words) == 2
        assert self.out == ""
        assert self.err.endswith("\n")
        *notices, line = self.err.strip().split("\n")
        assert not any(notice.startswith("videomae: ") for notice in notices)
        assert line.startswith("videomae: ")
        assert ": expected " in line
        assert "; " in line
        assert "Traceback" not in line
        return line


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny matrices are multiplied fastest, and always in the same order, by one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> Iterator[None]:
    """A shell lets what it starts in the background ignore Ctrl-C; tests that send it need it heard, as users do."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor fill the user's catalog."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDEOMAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def commands(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The command line in this process, offline: a mistyped folder must not send a test to the hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return Commands(capsys)


@pytest.fixture(scope="session")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ with 6 and val/ with 2 clips of each of 3 classes."""
    folder = tmp_path_factory.mktemp("colors")
    write_data_set(folder / "train", per_class=6)
    write_data_set(folder / "val", per_class=2)
    return folder


@pytest.fixture(scope="session")
def pretrained(colors: Path, tmp_path_factory: pytest.TempPathFactory) -> PretrainResult:
    """A finished pre-training run. Tests must not change its folder."""
    return pretrain(colors, tmp_path_factory.mktemp("runs") / "pretrained", tiny_pretrain_recipe())


@pytest.fixture(scope="session")
def finetuned(colors: Path, pretrained: PretrainResult, tmp_path_factory: pytest.TempPathFactory) -> FinetuneResult:
    """A finished fine-tuning run from `pretrained`. Tests must not change its folder."""
    output = tmp_path_factory.mktemp("runs") / "classifier"
    return finetune(colors, output, tiny_finetune_recipe(), init=str(pretrained.folder))


@pytest.fixture(scope="session")
def bad_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files that are no videos, by what is wrong with them."""
    import av

    folder = tmp_path_factory.mktemp("bad")
    files = {"missing": folder / "missing.mp4", "empty": folder / "empty.mp4", "text": folder / "text.mp4"}
    files["empty"].touch()
    files["text"].write_text("This is no video.\n")
    files["audio"] = folder / "audio.mp4"
    with av.open(str(files["audio"]), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        samples = (1000 * np.sin(np.arange(4096) / 20)).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return files
