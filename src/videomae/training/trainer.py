"""Trains a model: one loop for every task, which can stop and resume at any step.

A step whose loss or gradient is not finite is skipped. That is decided on the device: nothing in a step
waits for a GPU.

Longer than 400 lines: the loop and all that happens between its steps are to be read in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from videomae.core.allocator import freed_memory_kept
from videomae.core.device import random_state_kept, send
from videomae.core.precision import ChosenPrecision, autocast
from videomae.core.random_keys import Stream, generator_for
from videomae.data.loader import ClipBatch, hard_limit_seconds, training_loader
from videomae.data.order import BatchOrder, num_steps_per_epoch
from videomae.training.checkpointing import Checkpointing, Stateful
from videomae.training.ema import WeightAverage, averaged
from videomae.training.metrics_log import Meter
from videomae.training.micro_batch import MicroBatch
from videomae.training.monitor import Monitor
from videomae.training.optimizer import apply_gradients, gradient_norm, make_optimizer, set_learning_rate
from videomae.training.parallel import DataParallel, ModelState, OptimizerState, stand_in, unsharded
from videomae.training.regular_reports import RegularReports
from videomae.training.report import ReportedRun
from videomae.training.run_folder import RunFolder
from videomae.training.schedule import Schedule
from videomae.training.setup import require_even_micro_batches
from videomae.training.stop_signal import StopSignal
from videomae.training.tasks.task import Task
from videomae.training.unreadable import MAX_NOTED, UnreadableVideos
from videomae.training.validation import BestEpoch

_MAX_NOTED_EPOCHS = 200


class TrainingStopped(Exception):
    """The user stopped the run; its state is saved.

    Args:
        step: steps done.
        total_steps: steps of the whole run.
        folder: the run's folder.
    """

    def __init__(self, step: int, total_steps: int, folder: Path) -> None:
        super().__init__(f"stopped at step {step}/{total_steps}")
        self.step = step
        self.total_steps = total_steps
        self.folder = folder


class _ValidationStopped(Exception):
    """The user stopped the run during a validation, which the resumed run repeats."""


@dataclass
class Progress:
    """How far a run is.

    Args:
        step: steps done.
        num_ended_epochs: epochs whose validation and pictures are done too.
    """

    step: int = 0
    num_ended_epochs: int = 0

    def state_dict(self) -> dict[str, int]:
        """As plain numbers."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Resume from these numbers."""
        self.step, self.num_ended_epochs = state["step"], state["num_ended_epochs"]


class Trainer:
    """Trains the model of a task.

    Args:
        task: built; its recipe is fully resolved.
        folder: where the run is kept.
        monitor: receives steps and notes.
        parallel: the processes that share each step.
        precision: what the recipe's precision is, and why; None where it needs no reason.
    """

    def __init__(
        self,
        task: Task,
        folder: RunFolder,
        monitor: Monitor,
        parallel: DataParallel | None = None,
        precision: ChosenPrecision | None = None,
    ) -> None:
        # Longer than 60 lines: each part of the run is made here, once, in the order in which they need each other.
        recipe = task.recipe
        self.task, self.recipe, self.folder, self.monitor = task, recipe, folder, monitor
        self.parallel = parallel or DataParallel()
        self.precision = precision
        self.dataset = task.dataset
        self.model = task.checkpoint.model
        self.device: torch.device = self.model.device
        self.network: Callable[..., Any] = self.parallel.wrap(self.model)
        betas = (recipe.beta1, recipe.beta2)
        self.optimizer = make_optimizer(task.parameter_groups(), betas=betas, device=self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.precision == "fp16")
        self.average = WeightAverage(self.model, decay=recipe.ema_decay) if recipe.ema_decay else None

        processes = self.parallel.processes
        self.order = BatchOrder(
            len(self.dataset),
            batch_size=recipe.batch_size,
            epochs=recipe.epochs,
            seed=recipe.seed,
            rank=processes.rank,
            world_size=processes.world_size,
            num_parts=recipe.accumulation,
            order_of=task.order,
        )
        self.steps_per_epoch = num_steps_per_epoch(len(self.dataset), recipe.batch_size)
        self.total_steps = recipe.epochs * self.steps_per_epoch
        wanted_warmup_steps = round(recipe.warmup_epochs * self.steps_per_epoch)
        warmup_steps = min(wanted_warmup_steps, self.total_steps // 2)
        is_cut = warmup_steps < wanted_warmup_steps
        self.warmup_epochs = warmup_steps / self.steps_per_epoch if is_cut else recipe.warmup_epochs
        peak = recipe.scaled(recipe.learning_rate)
        self.schedule = Schedule(
            total_steps=self.total_steps,
            warmup_steps=warmup_steps,
            peak=peak,
            minimum=min(peak, recipe.scaled(recipe.min_learning_rate)),
            start=min(peak, recipe.scaled(recipe.start_learning_rate)),
        )
        self.progress = Progress()
        self.best = BestEpoch()
        self.unreadable = UnreadableVideos(self.dataset.paths, recipe.max_broken, monitor.warn, processes)
        self.meter = Meter(
            recipe,
            device=self.device,
            steps_per_epoch=self.steps_per_epoch,
            paths=self.dataset.paths,
            data=str(task.manifest.source),
            processes=processes,
            monitor=monitor,
            log=folder.log,
        )
        self.stop_signal = StopSignal()
        parts: dict[str, Stateful] = {
            "model": ModelState(self.model),
            "optimizer": OptimizerState(self.optimizer),
            "scaler": self.scaler,
            **({} if self.average is None else {"average": self.average}),
            "meter": self.meter,
            "progress": self.progress,
            "best": self.best,
            "unreadable": self.unreadable,
        }
        self.checkpointing = Checkpointing(
            parts,
            folder=folder,
            checkpoint=task.checkpoint,
            parallel=self.parallel,
            recipe=recipe,
            weights_for_users=task.weights_for_users,
        )
        self.reports = RegularReports(
            lambda: task.write_interim_report(self.reported(is_running=True), best=self.best), monitor.warn
        )
        self._parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self._is_whole = recipe.accumulation == 1 and processes.world_size == 1

    # --- steps ------------------------------------------------------------------------------------------------

    def train(self) -> None:
        """Take all steps that are left.

        Raises:
            TrainingStopped: on Ctrl-C or SIGTERM, after the state was saved.
            VideoError: if more videos are unreadable than the recipe allows.
            ConfigError: if too many steps in a row have a loss or gradient that is not finite.
        """
        require_even_micro_batches(self.recipe, len(self.dataset), self.parallel.world_size)
        self.unreadable.add_scanned()
        self.monitor.stage("starting decode workers and reading the first batch")
        batches = training_loader(
            self.dataset,
            self.order.after(self.step * self.recipe.accumulation),
            num_workers=self.recipe.num_workers,
            pin_memory=self.device.type == "cuda",
            limit_seconds=hard_limit_seconds(self.recipe.read_limit_seconds),
            excluded=self.unreadable.excluded,
            note=self.monitor.warn,
        )
        self.monitor.start(
            self.task.title,
            total_steps=self.total_steps,
            first_step=self.step,
            steps_per_epoch=self.steps_per_epoch,
        )
        # Each step seeds torch's global generators; the caller gets them back as they were.
        memory = freed_memory_kept() if self.device.type == "cpu" else nullcontext()
        with memory, closing(batches), random_state_kept(self.device), self.stop_signal:
            try:
                self._take_steps(batches)
                self._save_weight_folders()
                self.checkpointing.wait()
            except Exception:
                self.checkpointing.join()
                raise
            finally:
                self.monitor.finish()

    def _take_steps(self, batches: Iterator[ClipBatch]) -> None:
        self.meter.restart()
        timed = self.meter.timed(batches)
        if self.is_epoch_end_due:
            self._end_epoch()
        self.model.train()
        while not self.stops_early and (micro_batches := list(islice(timed, self.recipe.accumulation))):
            with self.meter.waiting():  # for the clips of the other processes
                num_clips, unreadable = self.parallel.exchange(micro_batches)
            self.unreadable.add(unreadable)

            learning_rate = self.schedule.at(self.step)
            outcome = self.take_step(micro_batches, learning_rate) if num_clips else None
            self.progress.step += 1
            self.meter.add(outcome, micro_batches, learning_rate, step=self.step, num_clips=num_clips)

            stop, save = self.parallel.processes.any_of(self.stop_signal.requested, self.checkpointing.is_due())
            if stop and self.step < self.total_steps:
                self._stop()
            if self.is_epoch_end_due:
                self._end_epoch()
                self.model.train()
            elif save:
                self._save()

    def take_step(self, micro_batches: Sequence[ClipBatch], learning_rate: float) -> Tensor | None:
        """Forward and backward for each micro-batch, then one update of the weights.

        Args:
            micro_batches: those of this process, `recipe.accumulation` in number.
            learning_rate: of the step.

        Returns:
            (2,) float32 on the device: the mean loss, and 1 where the step was skipped, else 0. None where this process
            is alone and no video of the batch could be read: no step is taken then.
        """
        totals: list[Tensor] = []
        weights: list[Tensor | float] = []
        for number, batch in enumerate(micro_batches):
            if not len(batch.indices) and self.parallel.world_size == 1:
                continue
            with self.parallel.gradient_sync(is_last=number == self.recipe.accumulation - 1):
                total, weight = self.forward_backward(batch, number)
            totals.append(total)
            weights.append(weight)
        return self.update(totals, weights, learning_rate) if totals else None

    def forward_backward(self, batch: ClipBatch, number: int) -> tuple[Tensor, Tensor | float]:
        """Add the gradients of a micro-batch; its total loss and its weight, see `Task.loss`.

        Args:
            batch: its clips.
            number: of the micro-batch in this process, from 0.
        """
        recipe, views = self.recipe, self.recipe.views
        is_empty = not len(batch.indices)
        if is_empty:  # the other processes wait for this one's gradients
            batch = stand_in(batch, (views, *self.model.config.grid.clip_shape))
        num_clips = self.order.num_clips_of(self.step)
        # A stand-in for no clips has the place of another one.
        first = min(self.order.places(num_clips, number).start, num_clips - 1)
        rows = ((batch.places + first)[:, None] * views + torch.arange(views)).flatten()  # (B·V,)
        number += self.parallel.rank * recipe.accumulation
        # Dropout and drop path draw from torch's global generators, on whatever device.
        torch.manual_seed(generator_for(recipe.seed, Stream.DROPOUT, self.step, number).initial_seed())
        clips = send(batch.clips.flatten(0, 1), self.device)  # (B·V, T, C, H, W)
        micro_batch = MicroBatch(clips, batch, self.step, rows, num_clips * views, number)
        with autocast(self.device, recipe.precision):
            total, weight = self.task.loss(self.network, micro_batch)
        if is_empty:
            total, weight = total * 0, 0.0
        # The weight of the whole batch is not known yet; the rest of the division follows with the update.
        loss = total / (weight if self._is_whole else micro_batch.num_rows)
        self.scaler.scale(loss).backward()
        return total.detach(), weight

    def update(self, totals: Sequence[Tensor], weights: Sequence[Tensor | float], learning_rate: float) -> Tensor:
        """Update weights and their average with the gradients of all micro-batches and processes; see `take_step`."""
        recipe, optimizer, scaler = self.recipe, self.optimizer, self.scaler
        set_learning_rate(optimizer, learning_rate)
        sums = torch.stack([sum(totals[1:], totals[0]), totals[0].new_zeros(()) + sum(weights)])
        total, weight = self.parallel.processes.sum(sums).unbind()
        if scaler.is_enabled():
            scaler.unscale_(optimizer)
        # Processes average their gradients, where the batch needs the sum.
        num_rows = self.order.num_clips_of(self.step) * recipe.views
        divisor = None if self._is_whole else weight * (1 / (num_rows * self.parallel.world_size))
        norm = gradient_norm(self._parameters)
        if divisor is not None:
            norm = norm / divisor
        skipped = (~(norm.isfinite() & total.isfinite())).float()
        if recipe.clip_grad:
            surplus = (norm / recipe.clip_grad).clamp(min=1.0)
            divisor = surplus if divisor is None else divisor * surplus
        apply_gradients(optimizer, divisor=divisor, skipped=skipped)
        if scaler.is_enabled():
            scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.model, skipped=skipped)
        return torch.stack([total / weight, skipped])

    # --- between steps -------------------------------------------------------------------------------------------

    @property
    def step(self) -> int:
        """Steps done."""
        return self.progress.step

    @property
    def is_epoch_end_due(self) -> bool:
        """Whether the steps of an epoch are done, but not its validation and pictures."""
        return self.step // self.steps_per_epoch > self.progress.num_ended_epochs

    @property
    def stops_early(self) -> bool:
        """Whether the epochs that are left are not trained."""
        num_ended = self.progress.num_ended_epochs
        return num_ended < self.recipe.epochs and self.task.stops_after(num_ended, self.best)

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do but the report."""
        return (self.step >= self.total_steps or self.stops_early) and not self.is_epoch_end_due

    def _end_epoch(self) -> None:
        """Pictures, validation and a save; an interrupted run repeats it."""
        processes, epoch = self.parallel.processes, self.step // self.steps_per_epoch
        if processes.any(self.checkpointing.is_due_before_validation()):
            self._save()
        self.task.draw_pictures(
            epoch,
            self.folder.path,
            average=self.average,
            note=self.monitor.warn,
            show=lambda name, picture: self.folder.show(name, picture, self.step),
            writes=self.parallel.is_main,
        )
        if self.task.validates_after(epoch):
            try:
                self._validate(epoch)
            except _ValidationStopped:
                self._stop()
        self.progress.num_ended_epochs = epoch
        if processes.any(self.checkpointing.is_due(ends_epoch=True)) or self.is_finished:
            self._save()
        if self.stops_early:
            self.monitor.note(
                f"stopping early after epoch {epoch} of {self.recipe.epochs}: none was better than epoch "
                f"{self.best.epoch}"
            )
        if not self.is_finished and self.parallel.is_main:  # the last report follows the last step
            self.reports.update()
        self.meter.restart()

    def _validate(self, epoch: int) -> None:
        """Validate, log, and save the weights if no epoch was better."""
        assert self.task.validation is not None
        self.monitor.start_part("validating", total=len(self.task.validation))
        with averaged(self.model, self.average), unsharded(self.model):
            evaluation = self.task.validate(self._on_validated_video, self.parallel.processes)
        metrics = evaluation.metrics
        for path, error in evaluation.broken:
            if str(path) not in self.best.unreadable:
                self.best.unreadable[str(path)] = str(error)
                if len(self.best.unreadable) <= MAX_NOTED:
                    self.monitor.warn(f"unreadable validation video counts as wrong: {error}")
        unmeasured = dict.fromkeys(("learning_rate", "clips_per_second", "data_wait_share"))
        self.folder.log({"step": self.step, "epoch": epoch, "split": "val", **metrics.logged(), **unmeasured})
        is_best = self.best.update(epoch, evaluation)
        if is_best:
            self.checkpointing.save_weights()
        score, best_score = getattr(metrics, metrics.main), self.best.score(metrics.main)
        assert best_score is not None
        # Of thousands of epochs a log gets those that were best so far, and some of the others.
        if is_best or self.recipe.epochs <= _MAX_NOTED_EPOCHS or epoch % (self.recipe.epochs // _MAX_NOTED_EPOCHS) == 0:
            self.monitor.note(
                f"epoch {epoch}: validation {metrics.main_title} {metrics.main_text(score)}, loss {metrics.loss:.3f} "
                f"(best {metrics.main_text(best_score)}, epoch {self.best.epoch})"
            )

    def _on_validated_video(self) -> None:
        self.monitor.advance_part()
        # Several processes receive the signal at different videos; they stop together after the next step.
        if self.stop_signal.requested and self.parallel.world_size == 1:
            raise _ValidationStopped

    def _save(self) -> None:
        # With validation the folder holds the weights of the best epoch.
        self.checkpointing.save(step=self.step, with_weights=self.best.epoch is None)

    def _save_weight_folders(self) -> None:
        best, (num_ended, rest) = self.best.epoch, divmod(self.step, self.steps_per_epoch)
        self.checkpointing.save_weight_folders(
            has_best=best is not None, is_last_best=best is None or (best == num_ended and not rest)
        )

    def _stop(self) -> NoReturn:
        self._save()
        if self.step:
            self._save_weight_folders()
        if self.parallel.is_main:
            self.reports.update(is_last=True)
        self.checkpointing.wait()
        raise TrainingStopped(self.step, self.total_steps, self.folder.path)

    def reported(self, *, is_running: bool) -> ReportedRun:
        """What a report is about."""
        return ReportedRun(
            folder=self.folder,
            recipe=self.recipe,
            manifest=self.task.manifest,
            broken={**self.unreadable.reasons, **self.best.unreadable},
            device=str(self.device),
            num_steps=(self.step, self.total_steps),
            is_running=is_running,
        )
