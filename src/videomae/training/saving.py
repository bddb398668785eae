"""What a run keeps, when it keeps it, and how it takes it up again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from videomae.core.errors import CheckpointError
from videomae.training.background import BackgroundWriter, HostCopy
from videomae.training.processes import load_average, load_model, load_optimizer

if TYPE_CHECKING:
    from videomae.training.loop import Training

# Each epoch is saved. Only saves that take longer than this (a large network) are spaced out where epochs are short,
# so that saving takes no more than this share of the time.
_QUICK_SAVE_SECONDS = 1.0
_MAX_SAVE_SHARE = 0.1
# A validation is not worth a save of its own where less than this would be done again.
_MIN_SECONDS_BEFORE_JUDGING = 30.0


class Saver:
    """Saves a run while it goes on: training waits for the copy of its tensors, not for the disk.

    Args:
        training: the run.
    """

    def __init__(self, training: Training) -> None:
        self._training = training
        self._copy = HostCopy()
        self._writer = BackgroundWriter()
        self._last_save = time.perf_counter()

    def is_due(self, *, ends_epoch: bool = False) -> bool:
        """Whether it is time to save; raises what went wrong with the save before."""
        self._writer.check()
        seconds = time.perf_counter() - self._last_save
        if not ends_epoch:
            return seconds >= 60 * self._training.recipe.save_minutes
        return self._writer.seconds < _QUICK_SAVE_SECONDS or seconds > self._writer.seconds / _MAX_SAVE_SHARE

    def is_worth_it_before_judging(self) -> bool:
        """Whether so much was done since the last save that a kill while the epoch is judged should not undo it."""
        self._writer.check()
        return time.perf_counter() - self._last_save >= _MIN_SECONDS_BEFORE_JUDGING

    def save(self) -> None:
        """Save the run state, and the weights as the folder's checkpoint unless it keeps the best ones.

        Raises:
            InputError: if the save before this one failed; it was begun anew.
        """
        training = self._training
        self._last_save = time.perf_counter()
        state = training.team.gathered(run_state(training))
        if not training.team.is_main:
            return
        self._writer.wait()
        state = self._copy.take(state)
        weights = None if "best_epoch" in training.extra else _weights(state)

        def write() -> None:
            if weights is not None:
                training.save_weights(weights)
            training.folder.sync_metrics()
            training.folder.states.save(state, keep=training.recipe.keep_states)

        self._writer.submit(write)

    def keep_weights(self) -> None:
        """Make the folder a checkpoint of the model as it is, or of its average."""
        training = self._training
        average = None if training.average is None else training.average.state_dict()
        state = training.team.gathered({"model": training.model.state_dict(), "average": average})
        if not training.team.is_main:
            return
        self._writer.wait()
        weights = _weights(self._copy.take(state))
        self._writer.submit(lambda: training.save_weights(weights))

    def wait(self) -> None:
        """Until all is on the disk; raises what went wrong."""
        self._writer.wait()

    def join(self) -> None:
        """Until writing ends, whatever becomes of it."""
        self._writer.join()


def run_state(training: Training) -> dict[str, Any]:
    """Everything that `take_up` needs, not copied; all processes must call it."""
    lethal: dict[str, list[Any]] = {}
    for found in training.team.processes.gather(training.left_out.lethal()):
        lethal |= found
    return {
        "model": training.model.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "scaler": training.scaler.state_dict(),
        "average": None if training.average is None else training.average.state_dict(),
        "meter": training.meter.state_dict(),
        "step": training.step,
        "num_judged": training.num_judged,
        "extra": training.extra,
        "broken": training.broken,
        "lethal": lethal,
    }


def take_up(training: Training) -> bool:
    """Go on from the newest run state; False for a new run.

    Raises:
        CheckpointError: if no state is whole, or it is of another model.
    """
    folder = training.folder
    processes = training.team.processes
    state = processes.from_main(processes.on_main(lambda: folder.states.load(training.monitor.note)))
    if state is None:
        folder.drop_metrics_after(0)
        return False
    try:
        load_model(training.model, state["model"])
        load_optimizer(training.optimizer, state["optimizer"])
        training.scaler.load_state_dict(state["scaler"])
        if training.average is not None:
            load_average(training.average, state["average"])
        training.meter.load_state_dict(state["meter"])
        training.step, training.extra, training.num_judged = state["step"], state["extra"], state["num_judged"]
        training.left_out.load_state({"reasons": state["broken"], "lethal": state["lethal"]})
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder.states.path(state['step'])}, the state of another run ({str(error).splitlines()[0][:200]})",
            expected="a state of this model, optimiser and recipe",
            hint="repeat the run's own command, or choose another --output",
        ) from error
    for difference in folder.differences:
        training.monitor.note(f"this run had {difference}; going on all the same")
    folder.drop_metrics_after(training.step, is_judged=not training.is_judging_due)
    return True


def _weights(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights that users get: the average where there is one."""
    average = state["average"]
    return {**state["model"], **({} if average is None else average["shadow"])}
