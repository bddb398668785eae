"""`best/` and `last/` of a run: checkpoints of their own, which share the files of the run's folder where they can.

The folder itself stays the checkpoint that everything else takes: the best epoch on validation, without validation the
last. Hard links take no room, and stay whole when the folder's own files are replaced.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from videomae.checkpoint import Checkpoint
from videomae.core.files import write_atomically

BEST, LAST = "best", "last"
_PATTERNS = ("config.json", "preprocessor_config.json", "model*.safetensors", "model.safetensors.index.json")


def write_weight_folders(
    folder: Path, checkpoint: Checkpoint, weights: Mapping[str, Tensor] | None, *, has_best: bool
) -> None:
    """Write `last/` and, where epochs are compared, `best/`.

    Args:
        folder: of the run, a checkpoint.
        checkpoint: the model with its processor, as users get it.
        weights: of the last epoch, by name; None where they are those of the folder.
        has_best: whether the folder holds the best epoch on validation.

    Raises:
        InputError: if they cannot be written.
    """
    if has_best:
        share_checkpoint(folder, folder / BEST)
    if weights is None:
        share_checkpoint(folder, folder / LAST)
    else:
        checkpoint.save(folder / LAST, weights)


def share_checkpoint(source: Path, target: Path) -> None:
    """Make `target` a checkpoint of the files of `source`: hard links, where these cannot be had copies.

    Raises:
        InputError: if it cannot be written.
    """
    names = _names(source)
    for name in _names(target) - names:
        (target / name).unlink()
    for name in sorted(names):
        place = target / name
        if place.exists() and os.path.samefile(source / name, place):
            continue
        write_atomically(place, lambda aside, name=name: _link(source / name, aside))  # type: ignore[misc]


def _names(folder: Path) -> set[str]:
    return {path.name for pattern in _PATTERNS for path in folder.glob(pattern)}


def _link(source: Path, aside: Path) -> None:
    aside.unlink()
    try:
        os.link(source, aside)
    except OSError:  # another kind of file system, or none that has links
        shutil.copyfile(source, aside)
