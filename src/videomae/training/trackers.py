"""The metrics of metrics.jsonl for TensorBoard, Weights & Biases and Trackio."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from videomae.core.errors import ConfigError
from videomae.core.files import write_text
from videomae.training.run_folder import RunFolder

_PROJECT = "videomae"
# In the record, but no curves of their own.
_NOT_METRICS = ("step", "epoch", "split")


class Tracker(Protocol):
    """What the libraries' runs have in common."""

    def log(self, values: dict[str, Any], step: int | None = None) -> object:
        """Values of one step."""

    def finish(self) -> object:
        """Nothing follows."""


class Trackers:
    """Trackers that have begun; each is given every line of metrics.jsonl.

    A tracker that fails (its disk is full, its server is gone) is dropped with a line: it must not end a run of days.

    Args:
        active: by the name that the user knows.
        note: receives lines for the user.
    """

    def __init__(self, active: Mapping[str, Tracker], note: Callable[[str], None]) -> None:
        self._active = dict(active)
        self._note = note

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are at work."""
        return tuple(self._active)

    def log(self, record: Mapping[str, Any]) -> None:
        """Log a line of metrics.jsonl: `loss` of the split `train` becomes `train/loss`."""
        values = {
            f"{record['split']}/{name}": value
            for name, value in record.items()
            if name not in _NOT_METRICS and isinstance(value, int | float)
        }
        values["epoch"] = record["epoch"]
        self._for_all(lambda tracker: tracker.log(values, step=record["step"]))

    def show(self, name: str, picture: np.ndarray, step: int) -> None:
        """A picture, uint8 (H, W, 3), for those that show pictures."""
        self._for_all(lambda tracker: tracker.show(name, picture, step) if isinstance(tracker, _TensorBoard) else None)

    def finish(self) -> None:
        """Write what is still to be written, and close."""
        self._for_all(lambda tracker: tracker.finish())
        self._active.clear()

    def _for_all(self, call: Callable[[Tracker], object]) -> None:
        for name, tracker in list(self._active.items()):
            try:
                with _stdout_to_stderr():
                    call(tracker)
            except Exception as error:  # whatever a tracker's library raises
                del self._active[name]
                self._note(f"{name} stops logging, the run continues: {_one_line(error)}")


def check_trackers(names: Sequence[str]) -> None:
    """Make sure before the run that what is asked for by name is there.

    Raises:
        ConfigError: for a tracker that is not installed.
    """
    for name in _wanted(names):
        if name in names and not _is_installed(name):
            raise ConfigError(
                f"trackers={name}, which is not installed",
                expected="an installed tracker",
                hint=f"pip install {name}, or leave --trackers out; metrics.jsonl and report.html need none",
            )


def start_trackers(
    names: Sequence[str], folder: RunFolder, *, first_step: int, note: Callable[[str], None]
) -> Trackers:
    """Begin to track a run in its folder, with the recipe as hyperparameters.

    Everything is written on this machine: W&B sends nothing unless WANDB_MODE is set to online, and Trackio keeps
    its data in the folder unless TRACKIO_DIR names another. Call it in the main process only.

    Args:
        names: `auto` (TensorBoard where it is installed), `none`, or trackers by name.
        folder: of the run; its description holds the recipe.
        first_step: steps done before; what a killed run logged beyond them is superseded.
        note: receives lines for the user.

    Raises:
        ConfigError: for a tracker that is asked for by name and not installed.
    """
    check_trackers(names)
    active: dict[str, Tracker] = {}
    for name in _wanted(names):
        if not _is_installed(name):
            continue  # of "auto": nobody asked for it by name
        try:
            with _stdout_to_stderr():
                active[name], text = _BEGIN[name](folder, first_step)
        except Exception as error:  # whatever a tracker's library raises
            note(f"{name} does not start, the run continues without it: {_one_line(error)}")
            continue
        note(text)
    return Trackers(active, note)


@contextlib.contextmanager
def tracked(
    names: Sequence[str], folder: RunFolder, *, first_step: int, note: Callable[[str], None]
) -> Iterator[Trackers]:
    """`start_trackers` for the time of the block, in which they get each line of the folder's metrics.jsonl."""
    trackers = start_trackers(names, folder, first_step=first_step, note=note)
    folder.listeners.append(trackers.log)
    folder.picture_listeners.append(trackers.show)
    try:
        yield trackers
    finally:
        folder.listeners.remove(trackers.log)
        folder.picture_listeners.remove(trackers.show)
        trackers.finish()


def hyperparameters(description: Mapping[str, Any]) -> dict[str, Any]:
    """What defines a run as plain values under flat names: the fields of its recipe, data, init and so on."""
    flat = {**{name: value for name, value in description.items() if name != "recipe"}, **description["recipe"]}
    plain = (bool, int, float, str)
    given = {name: value for name, value in flat.items() if value is not None}
    return {name: value if isinstance(value, plain) else str(value) for name, value in given.items()}


def _begin_tensorboard(folder: RunFolder, first_step: int) -> tuple[Tracker, str]:
    # What a killed run logged beyond `first_step` is not shown.
    writer = import_module("torch.utils.tensorboard").SummaryWriter(
        str(folder.path / "tensorboard"), purge_step=first_step + 1
    )
    if first_step == 0:  # a second set of the same hyperparameters would show as a second run
        # `SummaryWriter.add_hparams` would put them into a run of their own, which is empty but for them.
        summaries = import_module("torch.utils.tensorboard.summary").hparams(hyperparameters(folder.description), {})
        for summary in summaries:
            writer.file_writer.add_summary(summary)
    return _TensorBoard(writer), f"curves: tensorboard --logdir {shlex.quote(str(folder.path / 'tensorboard'))}"


class _TensorBoard:
    """A `SummaryWriter` as a `Tracker`."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def log(self, values: dict[str, Any], step: int | None = None) -> object:
        for name, value in values.items():
            self._writer.add_scalar(name, value, global_step=step)
        return self._writer.flush()

    def show(self, name: str, picture: np.ndarray, step: int) -> None:
        self._writer.add_image(name, picture, global_step=step, dataformats="HWC")

    def finish(self) -> object:
        return self._writer.close()


def _begin_wandb(folder: RunFolder, first_step: int) -> tuple[Tracker, str]:
    identity = folder.path / "wandb" / "run_id.txt"  # so that a resumed run stays one run
    if not identity.exists() or first_step == 0:
        write_text(identity, uuid.uuid4().hex[:16])
    run = import_module("wandb").init(
        project=os.environ.get("WANDB_PROJECT", _PROJECT),
        name=folder.path.resolve().name,
        id=identity.read_text(encoding="utf-8").strip(),
        resume="allow",
        dir=str(folder.path),
        mode=os.environ.get("WANDB_MODE", "offline"),
    )
    run.config.update(hyperparameters(folder.description), allow_val_change=True)
    place = shlex.quote(str(folder.path / "wandb"))
    return run, f"W&B: wandb sync {place}/offline-run-* uploads it; WANDB_MODE=online uploads at once"


def _begin_trackio(folder: RunFolder, first_step: int) -> tuple[Tracker, str]:
    place = os.environ.setdefault("TRACKIO_DIR", str((folder.path / "trackio").resolve()))
    trackio = import_module("trackio")
    trackio.init(
        project=_PROJECT,
        name=folder.path.resolve().name,
        resume="allow" if first_step else "never",
        config=hyperparameters(folder.description),
    )
    # The module is the tracker: a run that is finished by itself would be finished again, on stdout, at exit.
    tracker: Tracker = trackio
    return tracker, f"Trackio: TRACKIO_DIR={shlex.quote(place)} trackio show"


_BEGIN: dict[str, Callable[[RunFolder, int], tuple[Tracker, str]]] = {
    "tensorboard": _begin_tensorboard,
    "wandb": _begin_wandb,
    "trackio": _begin_trackio,
}


def _wanted(names: Sequence[str]) -> list[str]:
    """The trackers themselves, each once."""
    return [name for name in _BEGIN if name in names or (name == "tensorboard" and "auto" in names)]


def _is_installed(name: str) -> bool:
    return find_spec(name) is not None


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _stdout_to_stderr() -> contextlib.AbstractContextManager[object]:
    """Trackers print on stdout, which belongs to the result of a command."""
    return contextlib.redirect_stdout(sys.stderr)
