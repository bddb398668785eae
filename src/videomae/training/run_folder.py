"""The output folder of a training run: recipe, metrics, run state. It is a checkpoint too."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from videomae.core.errors import CheckpointError, ConfigError, InputError
from videomae.core.files import append_text, write_atomically, write_text

RECIPE_NAME = "recipe.json"
METRICS_NAME = "metrics.jsonl"
REPORT_NAME = "report.html"
STATE_NAME = "state/run_state.pt"
# These change how fast a run goes, not what it computes: a run may go on with other values.
_FREE_FIELDS = {"device", "num_workers", "log_every", "max_broken", "read_limit_seconds", "decoder", "trackers"}


class RunFolder:
    """One run's output folder.

    Args:
        path: the folder, made if absent.
        description: what defines the run (command, data, recipe); it must be equal for the run to go on.

    Attributes:
        listeners: are given each line of metrics.jsonl when it is written.

    Raises:
        InputError: if the folder cannot be written, or holds something that is not this run.
    """

    def __init__(self, path: str | Path, description: dict[str, Any]) -> None:
        self.path = Path(path)
        self.description = description
        self.listeners: list[Callable[[dict[str, Any]], None]] = []
        recipe_path = self.path / RECIPE_NAME
        if recipe_path.exists() and self._holds_progress():
            self._require_same(recipe_path)
        elif self._holds_progress():
            raise InputError(
                self.path,
                expected="a new folder or this run's own",
                hint="it holds another model; choose another --output",
            )
        write_text(recipe_path, json.dumps(description, indent=2) + "\n")

    def _holds_progress(self) -> bool:
        """Whether there is anything to lose; a run that ended before its first save may begin anew, differently."""
        return any((self.path / name).exists() for name in (STATE_NAME, "config.json"))

    def _require_same(self, recipe_path: Path) -> None:
        try:
            stored = json.loads(recipe_path.read_text(encoding="utf-8"))
        except ValueError:
            stored = None
        if not isinstance(stored, dict):
            raise InputError(recipe_path, expected="a JSON object", hint="delete the folder to start anew")
        for key in self.description:
            before, now = stored.get(key), self.description.get(key)
            if isinstance(before, dict) and isinstance(now, dict):
                changed = [k for k in {**before, **now} if before.get(k) != now.get(k) and k not in _FREE_FIELDS]
                if changed:
                    key, before, now = changed[0], before.get(changed[0]), now.get(changed[0])
                    break
            elif before != now:
                break
        else:
            return
        raise ConfigError(
            f"{self.path} holds a run with {key}={before!r}, not {now!r}",
            expected="the same settings, to go on with that run",
            hint="repeat the first command, or choose another --output",
        )

    @property
    def report_path(self) -> Path:
        """Where the run's report is, or will be."""
        return self.path / REPORT_NAME

    # --- run state -----------------------------------------------------------------------------------------------

    def load_state(self) -> dict[str, Any] | None:
        """The run state saved last; None for a new run.

        Raises:
            CheckpointError: if it is damaged.
        """
        path = self.path / STATE_NAME
        for left_over in path.parent.glob(f".{path.stem}.*"):  # of a run that was killed while it saved
            left_over.unlink(missing_ok=True)
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a damaged file; all mean the same here
            raise CheckpointError(
                path, expected="an undamaged run state", hint="delete the folder's state/ to start anew"
            ) from error
        return state

    def save_state(self, state: dict[str, Any]) -> None:
        """Write the run state in one step; the older one stays until the new one is whole."""
        write_atomically(self.path / STATE_NAME, lambda aside: _save(state, aside))

    # --- metrics -------------------------------------------------------------------------------------------------

    def log(self, record: dict[str, Any]) -> None:
        """Append one line to `metrics.jsonl`."""
        append_text(self.path / METRICS_NAME, json.dumps(record) + "\n")
        for listener in self.listeners:
            listener(record)

    def read_metrics(self) -> list[dict[str, Any]]:
        """All lines of `metrics.jsonl`; a last line cut off by a kill is left out."""
        path = self.path / METRICS_NAME
        if not path.exists():
            return []
        records = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        return records

    def drop_metrics_after(self, step: int) -> None:
        """Forget lines of steps that will be taken again, so that each step stands there once."""
        kept = [record for record in self.read_metrics() if record["step"] <= step]
        write_text(self.path / METRICS_NAME, "".join(json.dumps(record) + "\n" for record in kept))


def _save(state: dict[str, Any], path: Path) -> None:
    try:
        torch.save(state, path)
    except RuntimeError as error:  # torch's own writer says so when the disk is full
        raise OSError(errno.EIO, f"writing failed, is the disk full? {error}") from error
