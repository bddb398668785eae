"""The numbers of metrics.jsonl for TensorBoard, Weights & Biases and Trackio, through accelerate's trackers."""

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

import torch

from videomae.core.errors import ConfigError
from videomae.core.files import write_text
from videomae.training.run_folder import RunFolder

_PROJECT = "videomae"
# In the record, but no curves of their own.
_PLACE = ("step", "epoch", "split")


class GeneralTracker(Protocol):
    """What is used of accelerate's trackers."""

    def log(self, values: dict[str, Any], step: int | None = None) -> object:
        """Values of one step."""

    def finish(self) -> object:
        """Nothing follows."""


class Trackers:
    """Trackers that have begun; each is given every line of metrics.jsonl.

    A tracker that fails (its disk is full, its server is gone) is dropped with a line: it must not end a run of days.

    Args:
        active: by the name that the user knows.
        note: tells the user a line.
    """

    def __init__(self, active: Mapping[str, GeneralTracker], note: Callable[[str], None]) -> None:
        self._active = dict(active)
        self._note = note

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are at work."""
        return tuple(self._active)

    def log(self, record: Mapping[str, Any]) -> None:
        """Pass on a line of metrics.jsonl: `loss` of the split `train` becomes `train/loss`."""
        values = {
            f"{record['split']}/{name}": value
            for name, value in record.items()
            if name not in _PLACE and isinstance(value, int | float)
        }
        values["epoch"] = record["epoch"]
        self._tell_all(lambda tracker: tracker.log(values, step=record["step"]))

    def finish(self) -> None:
        """Write what is still to be written, and close."""
        self._tell_all(lambda tracker: tracker.finish())
        self._active.clear()

    def _tell_all(self, tell: Callable[[GeneralTracker], object]) -> None:
        for name, tracker in list(self._active.items()):
            try:
                with _stdout_to_stderr():
                    tell(tracker)
            except Exception as error:  # whatever a tracker's library raises
                del self._active[name]
                self._note(f"{name} logs no further, the run goes on: {_one_line(error)}")


def check_trackers(names: Sequence[str]) -> None:
    """Make sure before the run that what is asked for by name is there.

    Raises:
        ConfigError: for a tracker that is not installed.
    """
    for name in _wanted(names):
        missing = _missing(name)
        if missing and name in names:
            packages = " ".join(missing)
            raise ConfigError(
                f"trackers={name}, for which {' and '.join(missing)} is not installed",
                expected="an installed tracker",
                hint=f"pip install {packages}, or leave --trackers out; metrics.jsonl and report.html need none",
            )


def start_trackers(
    names: Sequence[str], folder: RunFolder, *, first_step: int, note: Callable[[str], None]
) -> Trackers:
    """Begin to track a run in its folder, with the recipe as hyperparameters.

    Everything is written on this machine: W&B sends nothing unless WANDB_MODE says so, and Trackio keeps its data in
    the folder unless TRACKIO_DIR names another. Call it in the main process only.

    Args:
        names: `auto` (TensorBoard where it is installed), `none`, or trackers by name.
        folder: of the run; its description holds the recipe.
        first_step: steps done before; what a killed run logged beyond them is superseded.
        note: tells the user a line.

    Raises:
        ConfigError: for a tracker that is asked for by name and not installed.
    """
    check_trackers(names)
    active: dict[str, GeneralTracker] = {}
    for name in _wanted(names):
        if _missing(name):
            continue  # of "auto": nobody asked for it by name
        try:
            with _stdout_to_stderr():
                active[name], said = _BEGIN[name](folder, first_step)
        except Exception as error:  # whatever a tracker's library raises
            note(f"{name} does not start, the run goes on without it: {_one_line(error)}")
            continue
        note(said)
    return Trackers(active, note)


@contextlib.contextmanager
def tracked(
    names: Sequence[str], folder: RunFolder, *, first_step: int, note: Callable[[str], None]
) -> Iterator[Trackers]:
    """`start_trackers` for the time of the block, in which they get each line of the folder's metrics.jsonl."""
    trackers = start_trackers(names, folder, first_step=first_step, note=note)
    folder.listeners.append(trackers.log)
    try:
        yield trackers
    finally:
        folder.listeners.remove(trackers.log)
        trackers.finish()


def hyperparameters(description: Mapping[str, Any]) -> dict[str, Any]:
    """What defines a run as plain values under flat names: the fields of its recipe, data, init and so on."""
    flat = {**{name: value for name, value in description.items() if name != "recipe"}, **description["recipe"]}
    plain = (bool, int, float, str)
    given = {name: value for name, value in flat.items() if value is not None}
    return {name: value if isinstance(value, plain) else str(value) for name, value in given.items()}


def _begin_tensorboard(folder: RunFolder, first_step: int) -> tuple[GeneralTracker, str]:
    tracker = _accelerate().TensorBoardTracker("tensorboard", folder.path, purge_step=first_step + 1)
    tracker.start()
    if first_step == 0:  # a second set of the same hyperparameters would show as a second run
        tracker.store_init_configuration(hyperparameters(folder.description))
    return tracker, f"curves: tensorboard --logdir {shlex.quote(str(folder.path / 'tensorboard'))}"


def _begin_wandb(folder: RunFolder, first_step: int) -> tuple[GeneralTracker, str]:
    identity = folder.path / "wandb" / "run_id.txt"  # so that a run that goes on stays one run
    if not identity.exists() or first_step == 0:
        write_text(identity, uuid.uuid4().hex[:16])
    tracker = _accelerate().WandBTracker(
        os.environ.get("WANDB_PROJECT", _PROJECT),
        name=folder.path.resolve().name,
        id=identity.read_text(encoding="utf-8").strip(),
        resume="allow",
        dir=str(folder.path),
        mode=os.environ.get("WANDB_MODE", "offline"),
    )
    tracker.start()
    tracker.store_init_configuration(hyperparameters(folder.description))
    place = shlex.quote(str(folder.path / "wandb"))
    return tracker, f"W&B: wandb sync {place}/offline-run-* sends it; WANDB_MODE=online sends at once"


def _begin_trackio(folder: RunFolder, first_step: int) -> tuple[GeneralTracker, str]:
    place = os.environ.setdefault("TRACKIO_DIR", str((folder.path / "trackio").resolve()))
    tracker = _accelerate().TrackioTracker(
        _PROJECT, name=folder.path.resolve().name, resume="allow" if first_step else "never"
    )
    tracker.start()
    tracker.store_init_configuration(hyperparameters(folder.description))
    return _Trackio(tracker), f"Trackio: TRACKIO_DIR={shlex.quote(place)} trackio show"


class _Trackio:
    """accelerate's tracker, which ends its run but leaves Trackio to end it once more, on stdout, at exit."""

    def __init__(self, tracker: GeneralTracker) -> None:
        self._tracker = tracker

    def log(self, values: dict[str, Any], step: int | None = None) -> object:
        return self._tracker.log(values, step=step)

    def finish(self) -> object:
        return import_module("trackio").finish()


_BEGIN: dict[str, Callable[[RunFolder, int], tuple[GeneralTracker, str]]] = {
    "tensorboard": _begin_tensorboard,
    "wandb": _begin_wandb,
    "trackio": _begin_trackio,
}


def _accelerate() -> Any:
    """accelerate's trackers, ready for use."""
    num_threads = torch.get_num_threads()
    # Without it their own logging raises; under a launcher it finds the group of processes that is there already.
    import_module("accelerate").PartialState()
    torch.set_num_threads(num_threads)  # with several processes on the CPU it would choose another number
    return import_module("accelerate.tracking")


def _wanted(names: Sequence[str]) -> list[str]:
    """The trackers themselves, each once."""
    return [name for name in _BEGIN if name in names or (name == "tensorboard" and "auto" in names)]


def _missing(name: str) -> list[str]:
    """The packages that a tracker lacks."""
    return [package for package in ("accelerate", name) if find_spec(package) is None]


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _stdout_to_stderr() -> contextlib.AbstractContextManager[object]:
    """Trackers talk on stdout, which belongs to the result of a command."""
    return contextlib.redirect_stdout(sys.stderr)
