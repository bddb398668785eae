"""torch.compile of the network, where it can be had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from videomae.core.device import random_state_kept
from videomae.core.precision import autocast
from videomae.data.loader import ClipBatch
from videomae.models.network import Layer
from videomae.training.trainer import Trainer

Note = Callable[[str], object]


def compiles_whole(device: torch.device, world_size: int) -> bool:
    """Whether a run compiles the whole network, not its layers.

    It does on one GPU. Among several processes the gradients of one layer travel while the next one is computed, and a
    CPU has no launches to wait for.
    """
    return device.type == "cuda" and world_size == 1


def compile_steps(trainer: Trainer, note: Note) -> bool:
    """Compile the network of a run as a whole, for micro-batches of the run's size, and replay it as CUDA graphs.

    A step without consequences is tried at once: where there is no compiler, or it fails, all stays as it was, and
    `note` gets one line. Validation and the names of `state_dict` are not touched.

    Args:
        trainer: the run, with no step taken.
        note: called with the reason if nothing was compiled.

    Returns:
        Whether steps are compiled.
    """
    recipe, model = trainer.recipe, trainer.model
    num_clips = recipe.batch_size // recipe.accumulation
    model.train()
    # Gradients that are added up would have to outlive the replay that made them.
    trainer.network = whole_network(model, num_clips * recipe.views, cuda_graphs=recipe.accumulation == 1)
    try:
        with random_state_kept(trainer.device):
            trainer.forward_backward(_blank_batch(trainer, num_clips), 0)
    except Exception as error:  # compilers fail in many ways; none of them is a reason not to train
        trainer.network = model
        _note_failure(error, note)
        return False
    finally:
        trainer.optimizer.zero_grad(set_to_none=True)
    return True


def whole_network(model: Any, num_clips: int, *, cuda_graphs: bool) -> Callable[..., Any]:
    """The whole network compiled for batches of one size; a smaller one, an epoch's last, runs as it is.

    Args:
        model: in training mode or not, on its device.
        num_clips: of the batches.
        cuda_graphs: replay the kernels of forward and of backward with one launch each.
    """
    if hasattr(model, "_token_indices"):
        # Masks are counted on the CPU, before all that is compiled.
        model._token_indices = torch.compiler.disable(model._token_indices)
    compiled = torch.compile(model, dynamic=False, mode="reduce-overhead" if cuda_graphs else None)

    def run(clips: torch.Tensor, *args: Any, **options: Any) -> Any:
        network = compiled if len(clips) == num_clips else model
        return network(clips, *args, **options)

    return run


def compile_layers(model: Any, example: tuple[int, int], *, precision: str, note: Note) -> bool:
    """Compile each layer of encoder and decoder in place; all layers of a stack share what is compiled.

    The names of `state_dict` stay. One layer is tried at once, as in `compile_steps`.

    Args:
        model: on its device, in any mode.
        example: clips and tokens of the encoder's inputs.
        precision: of the run.
        note: called with the reason if nothing was compiled.

    Returns:
        Whether the layers are compiled.
    """
    layers = [module for module in model.modules() if isinstance(module, Layer)]
    for layer in layers:
        layer.compile()
    encoder = model.videomae.encoder.layer[0]
    try:
        _try(encoder, (*example, model.config.hidden_size), model.device, precision)
    except Exception as error:  # as above
        for layer in layers:
            layer._compiled_call_impl = None
        torch._dynamo.reset()
        _note_failure(error, note)
        return False
    return True


def _try(layer: Layer, shape: tuple[int, int, int], device: torch.device, precision: str) -> None:
    """Forward and backward of one layer as in training; gradients go nowhere."""
    was_training = layer.training
    layer.train()
    try:
        x = torch.zeros(shape, device=device, requires_grad=True)
        with autocast(device, precision):
            # As the stack calls it: another call would be compiled again.
            output, _ = layer(x, None, False, None, None, None)
        torch.autograd.grad(output.float().sum(), [x, *(p for p in layer.parameters() if p.requires_grad)])
    finally:
        layer.train(was_training)


def _blank_batch(trainer: Trainer, num_clips: int) -> ClipBatch:
    """Black clips of the first class, as many as the run's micro-batches have."""
    shape = (num_clips, trainer.recipe.views, *trainer.model.config.grid.clip_shape)
    places = torch.arange(num_clips)
    return ClipBatch(torch.zeros(shape, dtype=torch.uint8), torch.zeros_like(places), places, places)


def _note_failure(error: Exception, note: Note) -> None:
    reason = str(error).strip().splitlines()
    note(f"not compiled, torch.compile failed here: {type(error).__name__}: {reason[0] if reason else 'no reason'}")
