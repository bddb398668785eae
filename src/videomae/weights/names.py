"""Names of tensors in the layouts seen in the wild: pure maps from dict to dict.

Ours are those of transformers 4.34.0. To support another layout, add a map here and call it in `to_current`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")

BASE_PREFIX = "videomae."
# What a bare encoder's names begin with: they distinguish a checkpoint of `VideoMAEModel` from one with a head.
_ENCODER_PARTS = ("embeddings.", "encoder.layer.", "layernorm.")
_QV_BIAS = re.compile(r"(attention\.attention)\.(query|value)\.bias$")
# transformers 5.17 gives keys one, too. It adds the same to all scores of a query, so softmax undoes it.
_KEY_BIAS = re.compile(r"attention\.attention\.key\.bias$")
# DDP, torch.compile, activation checkpointing and FSDP put these into the names of what they wrap, in any order and
# depth. No tensor of a VideoMAE has a part of such a name.
_WRAPPERS = frozenset(("module", "_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"))


def to_current(state: Mapping[str, Value]) -> dict[str, Value]:
    """Rename to the names of transformers 4.34.0 what transformers 5.x and wrappers (DDP, torch.compile) renamed.

    Biases of keys, which change nothing, are dropped.
    """
    return {_current_name(name): value for name, value in state.items() if not _KEY_BIAS.search(name)}


def fit_prefix(state: Mapping[str, Value], *, bare: bool) -> dict[str, Value]:
    """Move between a bare encoder (`VideoMAEModel`, no prefix) and an encoder inside a model with a head (`videomae.`).

    Args:
        state: names of either kind.
        bare: True for the names of a bare encoder; what belongs to a head then keeps its name and shows as unexpected.
    """
    if bare:
        return {name.removeprefix(BASE_PREFIX): value for name, value in state.items()}
    return {BASE_PREFIX + name if name.startswith(_ENCODER_PARTS) else name: value for name, value in state.items()}


def _current_name(name: str) -> str:
    name = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
    return _QV_BIAS.sub(lambda match: f"{match[1]}.{match[2][0]}_bias", name)
