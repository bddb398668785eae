"""Saving and loading the run state, and the folder's checkpoint, beside training."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

from videomae.checkpoint import Checkpoint
from videomae.core.errors import CheckpointError
from videomae.recipes.recipe import TrainingRecipe
from videomae.training.background import BackgroundWriter, HostCopy
from videomae.training.parallel import DataParallel
from videomae.training.run_folder import RunFolder
from videomae.training.weight_folders import write_weight_folders

# Each epoch is saved. Only saves that take longer than this (a large network) are spaced out where epochs are short,
# so that saving takes no more than this share of the time.
_QUICK_SAVE_SECONDS = 1.0
_MAX_SAVE_SHARE = 0.1
# A save before a validation is worth it where at least so much work would be lost.
_MIN_SECONDS_BEFORE_VALIDATION = 30.0


class Stateful(Protocol):
    """A part of a run that is saved."""

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors, which need not be copied."""

    def load_state_dict(self, state: Any) -> object:
        """Resume from what `state_dict` gave."""


class Checkpointing:
    """Saves a run without stopping it: training waits for the copy of its tensors, not for the disk.

    Args:
        parts: what a run state is made of, by name. The weights of `average`, where there is one, else of `model` are
            the checkpoint's. All processes call their `state_dict`.
        folder: of the run.
        checkpoint: the model with its processor, as users get it.
        parallel: the processes of the run.
        recipe: when to save, and how many states to keep.
        weights_for_users: makes the checkpoint's weights of the model's.
    """

    def __init__(
        self,
        parts: Mapping[str, Stateful],
        *,
        folder: RunFolder,
        checkpoint: Checkpoint,
        parallel: DataParallel,
        recipe: TrainingRecipe,
        weights_for_users: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = lambda weights: weights,
    ) -> None:
        self._parts = dict(parts)
        self._folder = folder
        self._checkpoint = checkpoint
        self._parallel = parallel
        self._recipe = recipe
        self._weights_for_users = weights_for_users
        self._copy = HostCopy()
        self._writer = BackgroundWriter()
        self._last_save = time.perf_counter()

    # --- when ----------------------------------------------------------------------------------------------------

    def is_due(self, *, ends_epoch: bool = False) -> bool:
        """Whether it is time to save.

        Raises:
            InputError: if the save before failed.
        """
        self._writer.check()
        seconds = time.perf_counter() - self._last_save
        if not ends_epoch:
            return seconds >= 60 * self._recipe.save_minutes
        return self._writer.seconds < _QUICK_SAVE_SECONDS or seconds > self._writer.seconds / _MAX_SAVE_SHARE

    def is_due_before_validation(self) -> bool:
        """Whether a kill during the validation would lose much work."""
        self._writer.check()
        return time.perf_counter() - self._last_save >= _MIN_SECONDS_BEFORE_VALIDATION

    # --- saving --------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The states of all parts, by name, not copied; all processes must call it."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def save(self, *, step: int, with_weights: bool) -> None:
        """Save the run state; all processes must call it.

        Args:
            step: steps done.
            with_weights: also make the folder a checkpoint of these weights.

        Raises:
            InputError: if the save before this one failed.
        """
        self._last_save = time.perf_counter()
        state = self._parallel.gathered(self.state_dict())
        if not self._parallel.is_main:
            return
        self._writer.wait()
        state = self._copy.take(state)

        def write() -> None:
            if with_weights:
                self._checkpoint.save(self._folder.path, self._users_weights(state))
            self._folder.sync_metrics()
            self._folder.states.save({"step": step, **state}, keep=self._recipe.keep_states)

        self._writer.submit(write)

    def save_weights(self) -> None:
        """Make the folder a checkpoint of the weights as they are; all processes must call it."""
        names = [name for name in ("model", "average") if name in self._parts]
        state = self._parallel.gathered({name: self._parts[name].state_dict() for name in names})
        if not self._parallel.is_main:
            return
        self._writer.wait()
        weights = self._users_weights(self._copy.take(state))
        self._writer.submit(lambda: self._checkpoint.save(self._folder.path, weights))

    def save_weight_folders(self, *, has_best: bool, is_last_best: bool) -> None:
        """Write `best/` and `last/` beside the folder's own weights; all processes must call it.

        Args:
            has_best: epochs are compared, and the folder holds the best one.
            is_last_best: the weights are as they are in the folder.
        """
        names = [name for name in ("model", "average") if name in self._parts]
        state = (
            {} if is_last_best else self._parallel.gathered({name: self._parts[name].state_dict() for name in names})
        )
        if not self._parallel.is_main:
            return
        self._writer.wait()
        weights = None if is_last_best else self._users_weights(self._copy.take(state))
        self._writer.submit(
            lambda: write_weight_folders(self._folder.path, self._checkpoint, weights, has_best=has_best)
        )

    def _users_weights(self, state: Mapping[str, Any]) -> Mapping[str, Tensor]:
        """The average of the weights where there is one."""
        average = state["average"]["shadow"] if "average" in state else {}
        return self._weights_for_users({**state["model"], **average})

    def wait(self) -> None:
        """Until all is on the disk.

        Raises:
            InputError: if writing failed.
        """
        self._writer.wait()

    def join(self) -> None:
        """Until writing ends, also if it failed."""
        self._writer.join()

    # --- loading -------------------------------------------------------------------------------------------------

    def load(self, state: Mapping[str, Any]) -> None:
        """Resume all parts from a run state.

        Raises:
            CheckpointError: if it is of another model, optimizer or recipe.
        """
        try:
            known = _with_states_by_part(state)
            for name, part in self._parts.items():
                part.load_state_dict(known[name])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{self._folder.states.path(state['step'])}, the state of another run "
                f"({str(error).splitlines()[0][:200]})",
                expected="a state of this model, optimizer and recipe",
                hint="repeat the run's own command, or choose another --output",
            ) from error


def _with_states_by_part(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """A state by part; those of older versions had the values of some parts side by side."""
    if "num_judged" not in state:
        return state
    return {
        **state,
        "progress": {"step": state["step"], "num_ended_epochs": state["num_judged"]},
        "best": state["extra"],
        "unreadable": {"reasons": state["broken"], "lethal": state["lethal"]},
    }
