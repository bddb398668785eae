"""torch.compile of the network's layers, where it can be had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from videomae.core.precision import autocast
from videomae.models.network import Layer


def compile_layers(model: Any, example: tuple[int, int], *, precision: str, note: Callable[[str], object]) -> bool:
    """Compile each layer of encoder and decoder in place; all layers of a stack share what is compiled.

    The names of `state_dict` stay. Compiling happens when a layer first runs, so one is tried at once: where there is
    no compiler, or it fails, all layers stay as they were, and `note` gets one line.

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
    except Exception as error:  # compilers fail in many ways; none of them is a reason not to train
        for layer in layers:
            layer._compiled_call_impl = None
        torch._dynamo.reset()
        reason = str(error).strip().splitlines()
        note(f"not compiled, torch.compile failed here: {type(error).__name__}: {reason[0] if reason else 'no reason'}")
        return False
    return True


def _try(layer: Layer, shape: tuple[int, int, int], device: torch.device, precision: str) -> None:
    """Forward and backward of one layer as in training; gradients go nowhere."""
    was_training = layer.training
    layer.train()
    try:
        x = torch.zeros(shape, device=device, requires_grad=True)
        with autocast(device, precision):
            output, _ = layer(
                x, None, False, None, None, None
            )  # as the stack calls it: another call would be compiled again
        torch.autograd.grad(output.float().sum(), [x, *layer.parameters()])
    finally:
        layer.train(was_training)
