"""The output folder of a training run: recipe, metrics, run state. It is a checkpoint too."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from videomae.core.errors import ConfigError, InputError
from videomae.core.files import append_text, write_text
from videomae.core.lock import FolderLock
from videomae.datasets.manifest import Manifest
from videomae.recipes.registry import KINDS
from videomae.recipes.stored import drop_removed_fields
from videomae.training.states import RunStates

RECIPE_NAME = "recipe.json"
METRICS_NAME = "metrics.jsonl"
REPORT_NAME = "report.html"
STATE_FOLDER = "state"
# These change how fast a run goes, not what it computes: a run may go on with other values.
FREE_FIELDS = {
    "accumulation",
    "augment_on",
    "device",
    "gradient_checkpointing",
    "keep_states",
    "log_every",
    "max_broken",
    "max_skipped_in_a_row",
    "num_workers",
    "precision",  # what was asked for; what it became has a place of its own
    "read_limit_seconds",
    "save_minutes",
    "sharding",
    "trackers",
}
# The same videos may lie elsewhere, or be given in another form; `videos` and `val_videos` identify them.
_PLACES = {"data", "val"}
_HASHES = {"videos": "videos", "val_videos": "validation videos"}


class RunFolder:
    """One run's output folder.

    Args:
        path: the folder, made if absent.
        description: what defines the run (command, data, recipe); it must be equal for the run to go on, but for
            where the videos are and for what changes no result.
        resume_anyway: go on though the description differs.
        is_main: whether this process writes here; of several with one run, the main one does.

    Attributes:
        states: the run states.
        differences: what differs from the run that the folder holds; empty unless `resume_anyway`.
        listeners: are given each line of metrics.jsonl when it is written.
        picture_listeners: are given the name, the pixels (H, W, 3) and the step of each picture of the run.

    Raises:
        InputError: if the folder holds something that is not this run.
    """

    def __init__(
        self, path: str | Path, description: dict[str, Any], *, resume_anyway: bool = False, is_main: bool = True
    ) -> None:
        self.path = Path(path)
        self.description = description
        self.is_main = is_main
        self.states = RunStates(self.path / STATE_FOLDER)
        self.differences: list[str] = []
        self.listeners: list[Callable[[dict[str, Any]], None]] = []
        self.picture_listeners: list[Callable[[str, np.ndarray, int], None]] = []
        if not (self.path / RECIPE_NAME).exists():
            self._refuse_what_is_not_ours()
        elif self._holds_progress():
            self.differences = self._differences()
            if self.differences and not resume_anyway:
                raise self._another_run()

    def _refuse_what_is_not_ours(self) -> None:
        """A folder without a recipe must hold nothing that a run would write over."""
        states = self.states.paths()[:1]
        ours = (self.path / name for name in ("config.json", "model.safetensors", METRICS_NAME, REPORT_NAME))
        found = next((path for path in (*ours, *states) if path.exists()), None)
        if found is not None:
            raise InputError(
                f"{self.path}, which holds {found.relative_to(self.path)} of another model or program",
                expected="a new folder or this run's own",
                hint="choose another --output",
            )

    def _another_run(self) -> ConfigError:
        hint = "repeat the first command, choose another --output, or add --resume-anyway"
        if all(difference.startswith("epochs=") for difference in self.differences):
            epochs = self.description["recipe"]["epochs"]
            hint = (
                f"add --resume-anyway to take that run to {epochs} epochs (its learning rate then follows the new "
                "length from where it is), or choose another --output"
            )
        return ConfigError(
            f"{self.path} holds a run with {self.differences[0]}",
            expected="the same settings and data, to go on with that run",
            hint=hint,
        )

    def _holds_progress(self) -> bool:
        """Whether there is anything to lose; a run that ended before its first save may begin anew, differently."""
        return _holds_progress(self.path)

    def _differences(self) -> list[str]:
        """`name=before, not now` of all that defines the run."""
        try:
            stored = json.loads((self.path / RECIPE_NAME).read_text(encoding="utf-8"))
        except ValueError:
            stored = None
        if not isinstance(stored, dict):
            return [f"a damaged {RECIPE_NAME}, not a JSON object"]
        drop_removed_fields(stored.get("recipe"), self.path / RECIPE_NAME)
        # What fields had in a run that is older than they are.
        defaults = KINDS[self.description["command"]]().to_dict()
        found = []
        for key in [name for name in self.description if name not in _PLACES]:
            before = _precision_of(stored) if key == "precision" else stored.get(key)
            now = self.description[key]
            if isinstance(before, dict) and isinstance(now, dict):
                names = [name for name in {**before, **now} if name not in FREE_FIELDS]
                found += [_differs(name, before.get(name, defaults.get(name)), now.get(name)) for name in names]
            else:
                found.append(_differs(key, before, now))
        return [difference for difference in found if difference]

    @property
    def report_path(self) -> Path:
        """Where the run's report is, or will be."""
        return self.path / REPORT_NAME

    def opened(self) -> FolderLock:
        """Within it, this process alone works here. Writes the description.

        Raises:
            InputError: if another process is at work here, or the folder cannot be written.
        """
        return _OpenedFolder(self)

    # --- metrics -------------------------------------------------------------------------------------------------

    def log(self, record: dict[str, Any]) -> None:
        """Append one line to `metrics.jsonl`."""
        if not self.is_main:
            return
        append_text(self.path / METRICS_NAME, json.dumps(record) + "\n")
        for listener in self.listeners:
            listener(record)

    def show(self, name: str, picture: np.ndarray, step: int) -> None:
        """Give a picture, uint8 (H, W, 3), to whoever listens."""
        for listener in self.picture_listeners:
            listener(name, picture, step)

    def sync_metrics(self) -> None:
        """Make sure that the lines are on the disk, as a run state that counts on them will be."""
        path = self.path / METRICS_NAME
        if path.exists():
            with path.open("rb+") as file:
                os.fsync(file.fileno())

    def read_metrics(self) -> list[dict[str, Any]]:
        """All lines of `metrics.jsonl`; see `read_metrics`."""
        return read_metrics(self.path)

    def drop_metrics_after(self, step: int, *, with_validation: bool = True) -> None:
        """Forget lines of what will be done again, so that each step stands there once, and mend a half-written line.

        Args:
            step: the last step that counts.
            with_validation: whether the validation after it counts too.
        """
        if not self.is_main:
            return
        path = self.path / METRICS_NAME
        kept = [
            record
            for record in self.read_metrics()
            if record["step"] < step or (record["step"] == step and (with_validation or record.get("split") == "train"))
        ]
        text = "".join(json.dumps(record) + "\n" for record in kept)
        if not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text:
            write_text(path, text)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All lines of a run's `metrics.jsonl`, epochs from 1; what a kill or a full disk left half-written is skipped."""
    path = folder / METRICS_NAME
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
    if any(record.get("epoch") == 0 for record in records):  # written when epochs counted from 0
        records = [{**record, "epoch": record["epoch"] + 1} for record in records]
    return records


class _OpenedFolder(FolderLock):
    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder.path / STATE_FOLDER / "lock", self._refused)
        self._run = folder

    def _refused(self, owner: str) -> InputError:
        return InputError(
            f"{self._run.path}, where another process is at work ({owner})",
            expected="a folder of which this process is the only one",
            hint="wait for it, end it, or choose another --output",
        )

    def __enter__(self) -> _OpenedFolder:
        if not self._run.is_main:
            return self
        super().__enter__()
        try:
            path = self._run.path / RECIPE_NAME
            text = json.dumps(self._run.description, indent=2) + "\n"
            if not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text:
                write_text(path, text)
        except BaseException:
            self.__exit__()
            raise
        return self


def _holds_progress(folder: Path) -> bool:
    return (folder / "config.json").exists() or bool(RunStates(folder / STATE_FOLDER).paths())


def _precision_of(stored: dict[str, Any]) -> str | None:
    """The precision that the steps of a run are computed in, from what its recipe.json holds."""
    recipe = stored.get("recipe")
    asked = recipe.get("precision") if isinstance(recipe, dict) else None  # older runs kept nothing else
    found = stored.get("precision", asked)
    return found if isinstance(found, str) else None


def precision_begun(path: str | Path) -> str | None:
    """The precision in which the run in this folder began; None where there is none that could be resumed."""
    stored = _stored(path)
    return None if stored is None else _precision_of(stored)


def batch_size_begun(path: str | Path) -> int | None:
    """The batch size of the run in this folder; None where there is none that could be resumed."""
    stored = _stored(path)
    recipe = None if stored is None else stored.get("recipe")
    found = recipe.get("batch_size") if isinstance(recipe, dict) else None
    return found if isinstance(found, int) and found >= 1 else None


def epochs_begun(path: str | Path, time_budget: str) -> int | None:
    """The epochs that the run in this folder chose for this budget; None where there is none that could be resumed."""
    stored = _stored(path)
    recipe = None if stored is None else stored.get("recipe")
    if not isinstance(recipe, dict) or recipe.get("time_budget") != time_budget:
        return None
    found = recipe.get("epochs")
    return found if isinstance(found, int) and found >= 1 else None


def _stored(path: str | Path) -> dict[str, Any] | None:
    """What recipe.json of a run that could be resumed holds."""
    folder = Path(path)
    try:
        stored = json.loads((folder / RECIPE_NAME).read_text(encoding="utf-8")) if _holds_progress(folder) else None
    except (OSError, ValueError):  # `RunFolder` refuses what it cannot read
        return None
    return stored if isinstance(stored, dict) else None


def _differs(name: str, before: object, now: object) -> str:
    if before == now:
        return ""
    if name in _HASHES:
        return f"other {_HASHES[name]}: their names, classes or order have changed"
    return f"{name}={before!r}, not {now!r}"


def entries_hash(manifest: Manifest) -> str:
    """What identifies the videos of a data set: their paths in it, classes and parts, in order."""
    digest = hashlib.sha256()
    folder = Path(manifest.source)
    source = f"{(folder.parent if folder.is_file() else folder).as_posix()}/"  # of a list, the folder that it is in
    for entry in manifest.entries:
        label = entry.label if entry.labels is None else entry.labels
        path = str(entry.path).replace(os.sep, "/").removeprefix(source)
        parts = (path, label, *entry.part, *(() if entry.score is None else (entry.score,)))
        digest.update(repr(parts).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]
