"""One optimiser step: forward and backward for each part of its batch, then one update.

A step whose loss or gradient is not finite is skipped. Nothing in here waits for a GPU: that is decided and done there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from videomae.core.device import send
from videomae.core.precision import autocast
from videomae.core.random_keys import generator_for
from videomae.data.loader import ClipBatch
from videomae.data.order import BatchOrder
from videomae.training.optimizer import set_learning_rate
from videomae.training.processes import stand_in

if TYPE_CHECKING:
    from videomae.training.loop import Training

# A stream of randomness of its own: crops and masks are keyed by other numbers in this place.
_DROPOUT_STREAM = 2**32 - 3


@dataclass(frozen=True)
class Part:
    """What goes through the network at once: a share of the batch of one step.

    What is random in a step is drawn for its whole batch, or keyed by places in it; then neither accumulation nor the
    number of processes nor broken videos change what a clip meets.

    Args:
        rows: (B·V,) int64, on the CPU: places of these clips in the whole batch, the V views of a clip side by side.
        num_rows: clips of the whole batch, times V: over all parts and processes, those of broken videos included.
        number: which part this is, over all processes.
    """

    rows: Tensor
    num_rows: int
    number: int = 0


# (clips (B·V, T, C, H, W) uint8 on the device, the batch they come from, the step, which part of it) to
# (total, weight): the part's mean loss is total / weight, the whole batch's the sum of all totals / the sum of all
# weights. A weight is about 1 for each clip; a number, or a tensor without dimensions on the device.
Loss = Callable[[Tensor, ClipBatch, int, Part], tuple[Tensor, Tensor | float]]


class Stepper:
    """Takes the steps of a run.

    Args:
        training: the run.
        order: which clips make which part of which batch.
    """

    def __init__(self, training: Training, order: BatchOrder) -> None:
        self._training = training
        self._order = order
        self._team = training.team
        self._parameters = [p for group in training.optimizer.param_groups for p in group["params"]]
        self._is_whole = training.recipe.accumulation == 1 and self._team.world_size == 1

    def take(self, batches: Sequence[ClipBatch], rate: float) -> Tensor | None:
        """Take step `training.step` at the learning rate `rate`.

        Args:
            batches: this process' parts of the batch, `recipe.accumulation` of them.

        Returns:
            (2,) float32 on the device: the mean loss, and 1 where the step was skipped, else 0. None where this process
            is alone and no video of the batch could be read: no step is taken then.
        """
        training = self._training
        set_learning_rate(training.optimizer, rate)
        totals: list[Tensor] = []
        weights: list[Tensor | float] = []
        for number, batch in enumerate(batches):
            if not len(batch.indices) and self._team.world_size == 1:
                continue
            is_last = number == training.recipe.accumulation - 1
            with self._team.backward_of(is_last_part=is_last):
                total, weight = self._forward_and_backward(batch, number)
            totals.append(total)
            weights.append(weight)
        if not totals:
            return None
        return self._update(totals, weights)

    def _forward_and_backward(self, batch: ClipBatch, number: int) -> tuple[Tensor, Tensor | float]:
        training = self._training
        recipe, step = training.recipe, training.step
        is_empty = not len(batch.indices)
        if is_empty:  # the other processes wait for this one's part in the exchange of gradients
            model: Any = training.model
            batch = stand_in(batch, (recipe.views, *model.config.grid.clip_shape))
        part = self._part(batch, number)
        # Dropout and drop path draw from torch's global generators, on whatever device.
        torch.manual_seed(generator_for(recipe.seed, _DROPOUT_STREAM, step, part.number).initial_seed())
        clips = send(batch.clips.flatten(0, 1), training.device)
        with autocast(training.device, recipe.precision):
            total, weight = training.loss(clips, batch, step, part)
        if is_empty:
            total, weight = total * 0, 0.0
        # The weight of the whole batch is not known yet; the rest of the division follows with the update.
        scaled = total / (weight if self._is_whole else part.num_rows)
        training.scaler.scale(scaled).backward()
        return total.detach(), weight

    def _part(self, batch: ClipBatch, number: int) -> Part:
        recipe, order = self._training.recipe, self._order
        num_clips = order.num_clips_of(self._training.step)
        # A stand-in for no clips has the place of another one.
        first = min(order.places(num_clips, number).start, num_clips - 1)
        rows = (batch.places + first)[:, None] * recipe.views + torch.arange(recipe.views)
        return Part(
            rows=rows.flatten(),
            num_rows=num_clips * recipe.views,
            number=self._team.rank * recipe.accumulation + number,
        )

    def _update(self, totals: Sequence[Tensor], weights: Sequence[Tensor | float]) -> Tensor:
        training, optimizer, scaler = self._training, self._training.optimizer, self._training.scaler
        num_rows = self._order.num_clips_of(training.step) * training.recipe.views
        sums = torch.stack([sum(totals[1:], totals[0]), totals[0].new_zeros(()) + sum(weights)])
        total, weight = self._team.processes.sum(sums).unbind()
        if scaler.is_enabled():
            scaler.unscale_(optimizer)
        # Processes average their gradients, where the batch needs the sum.
        divisor = None if self._is_whole else weight * (1 / (num_rows * self._team.world_size))
        norm = gradient_norm(self._parameters)
        if divisor is not None:
            norm = norm / divisor
        skipped = (~(norm.isfinite() & total.isfinite())).float()
        if training.recipe.clip_grad:
            surplus = (norm / training.recipe.clip_grad).clamp(min=1.0)
            divisor = surplus if divisor is None else divisor * surplus
        apply_gradients(optimizer, divisor=divisor, skipped=skipped)
        if scaler.is_enabled():
            scaler.update()
        optimizer.zero_grad(set_to_none=True)
        training.after_step(skipped)
        return torch.stack([total / weight, skipped])


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The norm of all gradients together, without dimensions, on the device; not finite where any of them is not."""
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if all(type(grad) is Tensor and grad.device.type == "cpu" for grad in grads):
        # The dot products of a BLAS take half the time of torch's norms there.
        return torch.stack([torch.dot(grad.flatten(), grad.flatten()) for grad in grads]).sum().sqrt()
    norm: Any = nn.utils.get_total_norm(grads)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # of sharded weights, over all processes


def apply_gradients(optimizer: torch.optim.Optimizer, *, divisor: Tensor | None, skipped: Tensor) -> None:
    """Let the optimiser take a step with the gradients divided by `divisor`, or leave everything as it is.

    Args:
        optimizer: a fused one decides on the device; any other one makes the processor wait for it.
        divisor: without dimensions, on the device; None for 1.
        skipped: float32 without dimensions, on the device: 1 takes no step.
    """
    if not all(group.get("fused") for group in optimizer.param_groups):
        if bool(skipped):
            return
        if divisor is not None:
            grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            torch._foreach_div_(grads, divisor)
        optimizer.step()
        return
    # This is how torch's gradient scaler speaks to a fused optimiser.
    optimizer.found_inf = skipped  # type: ignore[attr-defined]
    optimizer.grad_scale = divisor  # type: ignore[attr-defined]
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf, optimizer.grad_scale  # type: ignore[attr-defined]
