"""A run that does not take place: what it would do, how long it would take, and what the model would see."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from videomae.core.errors import DataError
from videomae.core.precision import autocast
from videomae.data.clips import Sample
from videomae.data.loader import ClipBatch, automatic_workers, collate
from videomae.datasets.output_check import is_within, require_apart
from videomae.report.pictures import contact_sheet, save_png
from videomae.training.memory import step_memory_explained
from videomae.training.micro_batch import MicroBatch
from videomae.training.monitor import Monitor
from videomae.training.run import prepare
from videomae.training.step_cost import measured_steps, measured_worker_bytes
from videomae.training.tasks.task import Task
from videomae.training.trainer import Trainer

PICTURE_NAME = "inputs.png"
# Stages of a dry run: the list, the model, first clips, workers, activations, and up to four steps.
NUM_STAGES = 9
_NUM_CLIPS = 4
_MAX_TRIED = 32
_MAX_SHOWN = 12
# A forward pass is about a third of a training step.
_FORWARD_SHARE = 1 / 3


@dataclass(frozen=True)
class DryRun:
    """What a run would be.

    Args:
        num_videos: that are trained on.
        num_validation: of the validation set.
        class_counts: videos of each class; empty without classes.
        epochs: of the run.
        steps_per_epoch: optimizer steps of one.
        total_steps: of the run.
        batch_size: clips of a step.
        micro_batch_size: clips that go through the network at once.
        learning_rate: the highest one, for this batch.
        device: where it would run.
        num_measured: clips of the largest step that was taken for the estimates.
        step_seconds: estimate of one step without data wait.
        decode_seconds: mean time for reading one clip, measured in one process.
        total_seconds: estimate of the whole run, validation included.
        process_bytes: peak memory of the training process: this one's after real steps, with what saving adds; where
            `num_measured` is less than a micro-batch, extrapolated. None where the system does not report it.
        device_bytes: peak memory that torch reserves on a GPU, measured like this; None on a CPU.
        num_workers: processes that decode, beside the training process.
        worker_bytes: peak memory of each that it does not share with others, measured; None without workers, or where
            the system does not report it.
        weight_bytes: of the weights.
        gradient_bytes: of their gradients.
        optimizer_bytes: of the optimizer's state and of the average, where there is one.
        activation_bytes: of what is kept for the backward pass of a micro-batch, from those of one and two clips.
        picture: clips and masks as the model would see them.
    """

    num_videos: int
    num_validation: int
    class_counts: dict[str, int]
    epochs: int
    steps_per_epoch: int
    total_steps: int
    batch_size: int
    micro_batch_size: int
    learning_rate: float
    device: str
    num_measured: int
    step_seconds: float
    decode_seconds: float
    total_seconds: float
    process_bytes: int | None
    device_bytes: int | None
    num_workers: int
    worker_bytes: int | None
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: int
    picture: Path

    @property
    def total_bytes(self) -> int:
        """The processor's memory of the run: its process and its workers, as far as they are known."""
        return (self.process_bytes or 0) + self.num_workers * (self.worker_bytes or 0)


def dry_run(
    task: Task,
    output: str | Path | None,
    *,
    monitor: Monitor | None = None,
) -> DryRun:
    """Measure a run, and write `inputs.png` into `output`; nothing else is left behind.

    Args:
        task: what would be trained.
        output: the folder for the picture, made if absent; None for the current one, or a new temporary one where the
            current folder lies in the data.
        monitor: receives the notes of the run, and as stages what is being done; large networks take minutes.

    Raises:
        InputError: as the run itself would.
    """
    monitor = monitor or Monitor()
    progress = monitor.stage
    with tempfile.TemporaryDirectory() as aside:
        trainer = prepare(task, aside, monitor=monitor)
        folder = _picture_folder(task, output)
        progress("reading the first clips")
        batch, decode_seconds = _first_clips(trainer)
        picture = _draw(trainer, batch, folder)
        with step_memory_explained(trainer):
            return _measure(trainer, batch, decode_seconds, picture, progress)


def _picture_folder(task: Task, output: str | Path | None) -> Path:
    """Where the picture goes, which is never into the data."""
    manifests = [read for read in (task.manifest, task.validation) if read is not None]
    if output is not None:
        for manifest in manifests:
            require_apart(Path(output), manifest, option="--output")
        return Path(output)
    here = os.path.realpath(Path())
    if any(is_within(here, os.path.realpath(manifest.source)) for manifest in manifests):
        return Path(tempfile.mkdtemp(prefix="videomae-dry-run-"))
    return Path()


def _first_clips(trainer: Trainer) -> tuple[ClipBatch, float]:
    """The first readable clips of the first epoch as one batch, and the mean seconds for reading one."""
    recipe, dataset = trainer.recipe, trainer.dataset
    wanted = min(_NUM_CLIPS, recipe.batch_size // recipe.accumulation)
    found: list[Sample] = []
    begin = time.perf_counter()
    tried = trainer.task.order(0)[:_MAX_TRIED].tolist()
    for index in tried:
        sample = dataset[(0, index)]
        if isinstance(sample, Sample):
            found.append(sample)
        if len(found) == wanted:
            break
    if not found:
        raise DataError(
            f"{trainer.task.manifest.source}, of whose first {len(tried)} videos none can be read",
            expected="videos that can be read",
            hint="videomae scan shows what is wrong with them",
        )
    batch = collate(found)
    assert isinstance(batch, ClipBatch)
    return batch, (time.perf_counter() - begin) / len(found)


def _draw(trainer: Trainer, batch: ClipBatch, output: Path) -> Path:
    shown = trainer.task.show(_micro_batch(trainer, batch))[:_MAX_SHOWN]
    sheet = contact_sheet(
        [clip for _, clip in shown],
        [title for title, _ in shown],
        caption="The first clips of the run as the model gets them: cut, augmented, mixed; hidden tubelets are gray.",
    )
    return save_png(output / PICTURE_NAME, sheet)


def _micro_batch(trainer: Trainer, batch: ClipBatch) -> MicroBatch:
    """The clips of a batch as the first ones of the run."""
    views = trainer.recipe.views
    return MicroBatch(
        clips=batch.clips.flatten(0, 1).to(trainer.device),
        batch=batch,
        step=0,
        rows=torch.arange(len(batch.indices) * views),
        num_rows=trainer.recipe.batch_size * views,
    )


def _measure(
    trainer: Trainer, batch: ClipBatch, decode_seconds: float, picture: Path, progress: Callable[[str], object]
) -> DryRun:
    recipe = trainer.recipe
    workers = automatic_workers() if recipe.num_workers < 0 else recipe.num_workers
    progress(f"starting {workers} decode workers")
    worker_bytes = measured_worker_bytes(trainer, workers)
    trainer.model.train()
    progress("measuring activations")
    activation_bytes = _activation_bytes(trainer, batch)
    steps = measured_steps(trainer, batch, activation_bytes, progress)
    kept = [value for state in trainer.optimizer.state.values() for value in state.values()]
    average = trainer.average.state_dict()["shadow"].values() if trainer.average is not None else []
    manifest, validation = trainer.task.manifest, trainer.task.validation
    has_classes = all(label >= 0 for label in trainer.dataset.labels)
    weight_bytes = _bytes(trainer.model.parameters())
    total = DryRun(
        num_videos=len(manifest),
        num_validation=0 if validation is None else len(validation),
        class_counts=manifest.class_counts() if has_classes else {},
        epochs=recipe.epochs,
        steps_per_epoch=trainer.steps_per_epoch,
        total_steps=trainer.total_steps,
        batch_size=recipe.batch_size,
        micro_batch_size=recipe.batch_size // recipe.accumulation,
        learning_rate=trainer.schedule.peak,
        device=trainer.device.type,
        num_measured=steps.num_clips,
        step_seconds=steps.fixed_seconds + steps.clip_seconds * recipe.batch_size,
        decode_seconds=decode_seconds,
        total_seconds=0.0,
        process_bytes=steps.process_bytes,
        device_bytes=steps.device_bytes,
        num_workers=workers,
        worker_bytes=worker_bytes,
        weight_bytes=weight_bytes,
        gradient_bytes=_bytes(p for p in trainer.model.parameters() if p.requires_grad),
        optimizer_bytes=_bytes([*kept, *average]),
        activation_bytes=activation_bytes,
        picture=picture,
    )
    return replace(total, total_seconds=_total_seconds(total, trainer, steps.clip_seconds))


def _total_seconds(run: DryRun, trainer: Trainer, clip_seconds: float) -> float:
    """Steps and validation; a GPU computes while clips are read, where there is none the same cores do both."""
    recipe = trainer.recipe
    read_seconds = run.decode_seconds / max(1, run.num_workers)

    def together(compute: float, num_clips: int) -> float:
        reading = num_clips * read_seconds
        return max(compute, reading) if run.num_workers and run.device != "cpu" else compute + reading

    training_seconds = run.total_steps * together(run.step_seconds, recipe.batch_size)
    validated = -(-recipe.epochs // getattr(recipe, "val_every", 1)) * run.num_validation
    return training_seconds + together(validated * clip_seconds / recipe.views * _FORWARD_SHARE, validated)


def _loss(trainer: Trainer, batch: ClipBatch) -> Tensor:
    with autocast(trainer.device, trainer.recipe.precision):
        total, weight = trainer.task.loss(trainer.network, _micro_batch(trainer, batch))
    return total / weight


def _activation_bytes(trainer: Trainer, batch: ClipBatch) -> int:
    """What one micro-batch keeps for its backward pass: of one clip, and what the second adds for each further one.

    The first pass has what does not grow with the clips, such as weights in half precision.
    """
    num_clips = trainer.recipe.batch_size // trainer.recipe.accumulation
    one = _kept_bytes(trainer, _first(batch, 1))
    if len(batch.indices) == 1:
        return one * num_clips
    return one + (_kept_bytes(trainer, _first(batch, 2)) - one) * (num_clips - 1)


def _kept_bytes(trainer: Trainer, batch: ClipBatch) -> int:
    own = {parameter.untyped_storage().data_ptr() for parameter in trainer.model.parameters()}
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = _loss(trainer, batch)
    del loss
    return sum(storages.values())


def _first(batch: ClipBatch, number: int) -> ClipBatch:
    return replace(
        batch,
        clips=batch.clips[:number],
        labels=batch.labels[:number],
        indices=batch.indices[:number],
        places=batch.places[:number],
        operations=batch.operations[:number],
    )


def _bytes(tensors: Iterable[object]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if isinstance(tensor, Tensor))
