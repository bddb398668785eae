"""A run from its data to its report, the same for all tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from videomae.core.distributed import ProcessGroup, joined_process_group
from videomae.core.errors import ConfigError
from videomae.core.text import seconds_of
from videomae.recipes.recipe import AUTOMATIC, TrainingRecipe
from videomae.training.compiling import compile_layers, compile_steps, compiles_whole
from videomae.training.memory import automatic_batch_size, step_memory_explained
from videomae.training.monitor import Monitor
from videomae.training.parallel import DataParallel
from videomae.training.run_folder import RunFolder, batch_size_begun, entries_hash, epochs_begun
from videomae.training.run_log import RunLog
from videomae.training.setup import fit_batch_size, settle_precision
from videomae.training.tasks.task import Task
from videomae.training.time_budget import measured_epoch
from videomae.training.trackers import check_trackers, tracked
from videomae.training.trainer import Trainer
from videomae.training.validation import BestEpoch


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended.

    Args:
        folder: the checkpoint.
        class_names: of the data; empty without classes.
        num_videos: videos trained on.
        steps: optimizer steps taken in all.
        skipped_steps: of `steps`, those that changed nothing because loss or gradient were not finite.
        loss: mean training loss over the last logged steps; None where no video of theirs could be read.
        unreadable: path → reason, of the skipped videos.
        best: the best epoch on validation.
        was_finished: whether the folder held the finished run already and nothing was done.
    """

    folder: Path
    class_names: tuple[str, ...]
    num_videos: int
    steps: int
    skipped_steps: int
    loss: float | None
    unreadable: dict[str, str]
    best: BestEpoch
    was_finished: bool


def run(task: Task, output: str | Path, *, resume_anyway: bool = False, monitor: Monitor | None = None) -> RunOutcome:
    """Train the model of a task; resumes an interrupted run in `output`. Every process of a launcher calls it.

    Args:
        task: what is trained.
        output: the run's folder, afterwards a checkpoint.
        resume_anyway: resume the run in `output` though its recipe or data differ.
        monitor: receives the events of the run.

    Raises:
        InputError: if data, checkpoint, recipe or folder do not fit.
        TrainingStopped: if the user stopped the run; its state is saved.
    """
    with joined_process_group(task.recipe.device) as processes, ExitStack() as stack:
        log = RunLog(monitor if monitor is not None and processes.is_main else Monitor())
        stack.callback(log.finish)  # whatever it shows when an error ends the run
        trainer = prepare(
            task,
            output,
            resume_anyway=resume_anyway,
            monitor=log,
            parallel=DataParallel(processes, task.recipe.sharding),
        )
        with step_memory_explained(trainer):
            was_finished = run_to_end(trainer, log)
        lines = [record for record in trainer.folder.read_metrics() if record["split"] == "train"]
        unreadable = trainer.unreadable.reasons
        outcome: RunOutcome = processes.from_main(
            RunOutcome(
                folder=trainer.folder.path,
                class_names=task.manifest.class_names,
                num_videos=len(task.manifest) - len(unreadable),
                steps=trainer.step,
                skipped_steps=trainer.meter.num_skipped,
                loss=lines[-1]["loss"] if lines else None,
                unreadable=unreadable,
                best=trainer.best,
                was_finished=was_finished,
            )
        )
    return outcome


def prepare(
    task: Task,
    output: str | Path,
    *,
    resume_anyway: bool = False,
    monitor: Monitor | None = None,
    parallel: DataParallel | None = None,
) -> Trainer:
    """All that a run does before its first step: data, recipe, device and precision, model, trainer.

    Nothing is written. Arguments and errors are those of `run`; every process of `parallel` must call it.
    """
    monitor, parallel = monitor or Monitor(), parallel or DataParallel()
    task.recipe.validate()
    check_trackers(task.recipe.trackers)
    monitor.stage("reading the list of videos")
    task.read_data(Path(output), monitor.note)
    for notice in task.manifest.notices:
        monitor.note(notice)
    device = parallel.processes.device(task.recipe.device)
    settled, precision = settle_precision(task.recipe, output, device, parallel.processes)
    asked = task.recipe.precision
    if settled.batch_size == AUTOMATIC:
        monitor.stage("trying batch sizes")
        settled = _settle_batch_size(task, settled, output, device, parallel.processes, monitor.note)
    settled = fit_batch_size(settled, len(task.manifest), monitor.note)
    if settled.time_budget:
        monitor.stage("timing some steps")
        settled = _settle_epochs(task, settled, output, device, parallel.processes, monitor.note)
    monitor.stage("building the model")
    task.build(settled, device, monitor.note)
    recipe, model = task.recipe, task.checkpoint.model
    description = {
        "command": task.command,
        "data": str(task.data),
        "num_videos": len(task.manifest),
        "videos": entries_hash(task.manifest),
        **task.description,
        "precision": recipe.precision,
        "recipe": {**recipe.to_dict(), "precision": asked},
    }
    folder = RunFolder(output, description, resume_anyway=resume_anyway, is_main=parallel.is_main)
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    compiles_steps = recipe.compile and compiles_whole(device, parallel.world_size)
    begin = time.perf_counter()
    if recipe.compile:
        monitor.stage("compiling the network, which can take minutes")
    if recipe.compile and not compiles_steps:
        num_clips = recipe.batch_size // recipe.accumulation * recipe.views
        example = (num_clips, task.num_encoder_tokens)
        is_compiled = compile_layers(model, example, precision=recipe.precision, note=monitor.warn)
    trainer = Trainer(task, folder, monitor, parallel, precision)
    if compiles_steps:
        is_compiled = compile_steps(trainer, monitor.warn)
    if recipe.compile and is_compiled:
        what = "the whole network" if compiles_steps else "each layer"
        monitor.note(f"compiled {what} in {time.perf_counter() - begin:.0f} s")
    return trainer


def _settle_batch_size(
    task: Task,
    recipe: TrainingRecipe,
    output: str | Path,
    device: torch.device,
    processes: ProcessGroup,
    note: Callable[[str], object],
) -> TrainingRecipe:
    """The recipe with the largest batch that fits; a run that is resumed keeps the one with which it began."""
    begun = processes.from_main(processes.on_main(lambda: batch_size_begun(output)))
    if begun is not None:
        return replace(recipe, batch_size=begun)
    found = processes.gather(automatic_batch_size(task, recipe, device, processes.world_size))
    number, why = min(found)
    note(f"batch size auto: {number} clips ({why})")
    return replace(recipe, batch_size=number)


def _settle_epochs(
    task: Task,
    recipe: TrainingRecipe,
    output: str | Path,
    device: torch.device,
    processes: ProcessGroup,
    note: Callable[[str], object],
) -> TrainingRecipe:
    """The recipe with as many epochs as fit into its time budget; a run that is resumed keeps its number.

    The warm-up keeps its share of the run.
    """
    begin = time.perf_counter()
    budget = seconds_of(recipe.time_budget)
    assert budget is not None
    epochs = processes.from_main(processes.on_main(lambda: epochs_begun(output, recipe.time_budget)))
    if epochs is None:
        note(f"time budget {recipe.time_budget}: timing some steps")
        found = processes.gather(measured_epoch(task, recipe, device, processes.world_size, budget))
        slowest = max(found, key=lambda epoch: epoch.seconds)
        left = budget - (time.perf_counter() - begin)
        epochs = processes.from_main(slowest.epochs_within(left))
        exceeds = ", more than there is" if slowest.seconds > left else ""
        note(f"time budget {recipe.time_budget}: {epochs} epoch{'s' * (epochs > 1)} ({slowest}{exceeds})")
    return replace(recipe, epochs=epochs, warmup_epochs=recipe.warmup_epochs * epochs / recipe.epochs)


def run_to_end(trainer: Trainer, log: RunLog | None = None) -> bool:
    """Resume from what was saved, take the steps that are left, write the report.

    A run that was killed between its last step and its report gets its report.

    Args:
        trainer: of the run.
        log: the trainer's monitor, where it is to write into the folder.

    Returns:
        Whether the run was finished before.

    Raises:
        TrainingStopped, VideoError, ConfigError: as `Trainer.train`.
        CheckpointError: if no run state is whole, or it is of another model.
    """
    folder, recipe, note = trainer.folder, trainer.recipe, trainer.monitor.note
    done = folder.states.last_step
    if folder.differences and done > trainer.total_steps:
        raise ConfigError(
            f"a run of {trainer.total_steps} steps, where {folder.path} has done {done}",
            expected="as many steps or more",
            hint="raise --epochs, or choose another --output",
        )
    if trainer.warmup_epochs != recipe.warmup_epochs:
        folder.description["used"] = {"warmup_epochs": trainer.warmup_epochs}
    processes = trainer.parallel.processes
    with folder.opened():
        resumed = _resume(trainer)
        was_finished = trainer.is_finished
        if was_finished:
            note(f"{folder.path} holds this run, which is finished: nothing to do")
        else:
            if log is not None and trainer.parallel.is_main:
                log.open(folder.path)
            if resumed:
                note(f"resuming at step {trainer.step}/{trainer.total_steps}")
            note(summary(trainer))
            names = recipe.trackers if trainer.parallel.is_main else ()
            with tracked(names, folder, first_step=trainer.step, note=note), _end_logged(log):
                trainer.train()
        if processes.any(not was_finished or not folder.report_path.exists()):
            trainer.monitor.stage("writing the report")
            trainer.task.write_report(
                trainer.reported(is_running=False), best=trainer.best, processes=processes, monitor=trainer.monitor
            )
    return was_finished


@contextmanager
def _end_logged(log: RunLog | None) -> Iterator[None]:
    """Write into the log why a run ended before its last step."""
    try:
        yield
    except BaseException as error:
        if log is not None:
            log.write(f"ended by {type(error).__name__}: {error}")
        raise


def _resume(trainer: Trainer) -> bool:
    """Load the newest run state; False for a new run."""
    folder, processes, note = trainer.folder, trainer.parallel.processes, trainer.monitor.warn
    state = processes.from_main(processes.on_main(lambda: folder.states.load(note)))
    if state is None:
        folder.drop_metrics_after(0)
        return False
    trainer.checkpointing.load(state)
    for difference in folder.differences:
        note(f"resuming although this run had {difference}")
    folder.drop_metrics_after(trainer.step, with_validation=not trainer.is_epoch_end_due)
    return True


def summary(trainer: Trainer) -> str:
    """What is trained on what, and the length, device and learning rate of the run, in one line."""
    recipe = trainer.recipe
    epochs = "1 epoch" if recipe.epochs == 1 else f"{recipe.epochs} epochs"
    steps = "1 step" if trainer.total_steps == 1 else f"{trainer.total_steps} steps"
    wanted, used = recipe.warmup_epochs, trainer.warmup_epochs
    cut = "" if used == wanted else f"; warm-up cut from {wanted:g} to {used:.3g} epochs, half of the run"
    return (
        f"{trainer.task.summary()}; {epochs} = {steps} of {recipe.batch_size} clips, "
        f"on {trainer.device.type} in {trainer.precision or recipe.precision}; "
        f"learning rate {recipe.learning_rate:g} × {recipe.batch_size} / 256 = {trainer.schedule.peak:.3g}{cut}"
    )
