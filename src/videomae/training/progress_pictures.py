"""Reconstructions of the same clips under the same masks at several points of a pre-training run."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from videomae.checkpoint import Checkpoint
from videomae.core.errors import InputError, VideoError
from videomae.core.files import write_bytes
from videomae.core.random_keys import generator_for
from videomae.datasets.manifest import VideoEntry
from videomae.inference.reconstruct import Reconstruction, reconstruct_video
from videomae.recipes.pretrain import PretrainRecipe
from videomae.report.pictures import ROW_NAMES, Pixels, as_rgb, contact_sheet, spaced_indices
from videomae.training.ema import WeightAverage, averaged
from videomae.video.source import VideoSource

FOLDER = "pictures"
_NUM_CLIPS, _NUM_FRAMES, _MAX_SIDE = 3, 6, 112
# Of the run, besides its first epoch: the pictures change most at the beginning.
_SHARES = (1 / 32, 1 / 8, 1 / 4, 1 / 2, 1)


def due_epochs(num_epochs: int) -> tuple[int, ...]:
    """After which epochs, from 1, the pictures are taken: the first, the last, and some between."""
    return tuple(sorted({1, *(max(1, round(num_epochs * share)) for share in _SHARES)}))


@dataclass
class ProgressPictures:
    """Draws the pictures, and keeps them small in the run's folder `pictures/`, one file for each point.

    Args:
        checkpoint: the network that is trained.
        entries: the videos; the first that can be read are shown.
        recipe: of the run.
        folder: of the run.
        note: receives why a picture cannot be kept.
        average: of the weights, where the run keeps one: it is what the folder holds, so it draws the pictures.
        show: receives the name and the pixels (H, W, 3) of each clip: original, masked and rebuilt.
    """

    checkpoint: Checkpoint
    entries: Sequence[VideoEntry]
    recipe: PretrainRecipe
    folder: Path
    note: Callable[[str], object]
    average: WeightAverage | None = None
    show: Callable[[str, Pixels], object] = lambda name, picture: None

    def end_epoch(self, epoch: int, *, writes: bool = True) -> None:
        """Draw the pictures where they are due.

        Every process of the run must call it: a sharded network computes only in all of them together.

        Args:
            epoch: from 1.
            writes: whether this process writes; one of them does.
        """
        if epoch not in due_epochs(self.recipe.epochs):
            return
        device = self.checkpoint.model.device
        with averaged(self.checkpoint.model, self.average):
            taken = [rebuilt for _, rebuilt in reconstruct_first(self.checkpoint, self.entries, self.recipe, device)]
        if not (taken and writes):
            return
        for number, clip in enumerate(taken, start=1):
            rows = [clip.original, clip.masked, clip.rebuilt]
            self.show(f"reconstructions/{number}", contact_sheet(rows, ROW_NAMES, max_columns=_NUM_FRAMES))
        place = self.folder / FOLDER
        try:
            for path, found in _taken_epochs(place):
                if found > epoch:  # of a run that went further and was started again
                    path.unlink()
            if epoch == 1 or not (place / "masked.png").exists():
                _save(place / "original.png", [rebuilt.original for rebuilt in taken])
                _save(place / "masked.png", [rebuilt.masked for rebuilt in taken])
            _save(place / f"epoch_{epoch:05d}.png", [rebuilt.rebuilt for rebuilt in taken])
        except (InputError, OSError) as error:  # no reason to end a run of days
            self.note(f"no pictures of epoch {epoch}: {error}")


def reconstruct_first(
    checkpoint: Checkpoint, entries: Sequence[VideoEntry], recipe: PretrainRecipe, device: torch.device
) -> list[tuple[VideoSource, Reconstruction]]:
    """The first videos that can be read, rebuilt by the network as it is now, always under the same masks.

    Args:
        checkpoint: a pre-training model; it is moved to `device`.
        entries: the videos.
        recipe: names the masks and the precision.
        device: where to compute.
    """
    model = checkpoint.model
    was_training = model.training
    model.eval()
    pictures: list[tuple[VideoSource, Reconstruction]] = []
    try:
        for number, entry in enumerate(entries):
            if len(pictures) == _NUM_CLIPS:
                break
            try:
                rebuilt = reconstruct_video(
                    checkpoint,
                    entry,
                    mask=recipe.mask,
                    mask_ratio=recipe.mask_ratio,
                    generator=generator_for(recipe.seed, number),
                    device=device,
                    precision=recipe.precision,
                )
            except VideoError:
                continue  # training reports it
            pictures.append((entry.path, rebuilt))
    finally:
        model.train(was_training)
    return pictures


def read_progress(folder: Path) -> list[tuple[list[str], list[Pixels]]]:
    """What a run kept: for each clip the names of the points and its frames at each, (T, H, W, 3).

    Points whose file is damaged are skipped; the list is empty without the original and at least one point.
    """
    place = folder / FOLDER
    points = [("original", place / "original.png"), ("masked", place / "masked.png")]
    points += [(f"epoch {epoch}", path) for path, epoch in _taken_epochs(place)]
    rows: list[tuple[str, list[Pixels]]] = []
    for name, path in points:
        clips = _load(path)
        if clips and (not rows or len(clips) == len(rows[0][1])):
            rows.append((name, clips))
    if len(rows) < 3 or rows[0][0] != "original":
        return []
    return [([name for name, _ in rows], [clips[index] for _, clips in rows]) for index in range(len(rows[0][1]))]


def _taken_epochs(place: Path) -> list[tuple[Path, int]]:
    found = [(path, path.stem.removeprefix("epoch_")) for path in place.glob("epoch_*.png")]
    return sorted(((path, int(number)) for path, number in found if number.isdecimal()), key=lambda item: item[1])


def _save(path: Path, clips: Sequence[Pixels]) -> None:
    """Clips as the rows of one small picture, with the sizes needed to cut it again."""
    rows = [[_small(as_rgb(clip[index])) for index in spaced_indices(len(clip), _NUM_FRAMES)] for clip in clips]
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    info = PngInfo()
    info.add_text("rows", str(len(rows)))
    info.add_text("columns", str(len(rows[0])))
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="PNG", pnginfo=info)
    write_bytes(path, buffer.getvalue())


def _load(path: Path) -> list[Pixels]:
    """The clips of a picture; none where it is missing or damaged."""
    try:
        with Image.open(path) as image:
            num_rows, num_columns = int(image.info["rows"]), int(image.info["columns"])
            sheet = np.asarray(image.convert("RGB"))
    except (OSError, KeyError, ValueError):
        return []
    return [np.stack(np.split(row, num_columns, axis=1)) for row in np.split(sheet, num_rows)]


def _small(frame: Pixels) -> Pixels:
    longest = max(frame.shape[:2])
    if longest <= _MAX_SIDE:
        return frame
    height, width = (max(1, round(side * _MAX_SIDE / longest)) for side in frame.shape[:2])
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS))
