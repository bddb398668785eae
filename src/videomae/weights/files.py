"""Files of checkpoints: read any container into a plain state dict, write atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from videomae.core.errors import CheckpointError
from videomae.core.files import write_atomically
from videomae.weights.hub import HubOptions, resolve_file

if TYPE_CHECKING:
    import torch

StateDict = dict[str, "torch.Tensor"]

SAFETENSORS_NAME = "model.safetensors"
# In order of preference; an index names the shards that lie beside it.
WEIGHT_NAMES = (
    SAFETENSORS_NAME,
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def read_weights(name_or_path: str | Path, **options: Unpack[HubOptions]) -> StateDict:
    """All tensors of a checkpoint, on the CPU, under the names that the file uses.

    Args:
        name_or_path: a folder or a hub repository holding `model.safetensors` or `pytorch_model.bin`, whole or sharded.
        options: where a hub name is looked up, see `HubOptions`.

    Raises:
        CheckpointError: if there are no weights, or a file of them is missing or damaged.
    """
    for name in WEIGHT_NAMES:
        path = resolve_file(name_or_path, name, **options)
        if path is None:
            continue
        if not name.endswith(".index.json"):
            return read_tensor_file(path)
        shards = sorted(set(read_json(path).get("weight_map", {}).values()))
        state: StateDict = {}
        for shard in shards:
            shard_path = resolve_file(name_or_path, shard, **options)
            if shard_path is None:
                raise CheckpointError(
                    f"{name_or_path} without {shard}",
                    expected=f"all {len(shards)} shards that {name} names",
                    hint="copy or download the folder again",
                )
            state.update(read_tensor_file(shard_path))
        return state
    raise CheckpointError(
        f"{name_or_path} without weights",
        expected=" or ".join(WEIGHT_NAMES[::2]),
        hint="give a folder that save_pretrained or a training command wrote",
    )


def read_tensor_file(path: str | Path) -> StateDict:
    """One `.safetensors` or pickled (`.bin`, `.pt`, `.pth`) file of bare tensors; pickles cannot run code.

    Raises:
        CheckpointError: if the file is damaged or holds something else.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        import torch

        state = torch.load(path, map_location="cpu", weights_only=True)
    # Every reader has its own kinds of errors for a damaged file; each means the same to the user.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path} ({reason[:200]})", expected="an undamaged weights file", hint="copy or download it again"
        ) from error
    if not isinstance(state, dict) or not all(hasattr(value, "shape") for value in state.values()):
        raise CheckpointError(
            str(path), expected="a file that maps names to tensors", hint="save the model's state_dict() alone"
        )
    return state


def write_safetensors(path: str | Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write tensors atomically, with the metadata that transformers 4.34.0 insists on."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in state.items()}
    write_atomically(path, lambda aside: save_file(tensors, aside, metadata={"format": "pt"}))


def read_json(path: str | Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        CheckpointError: if the file is not JSON or not an object.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CheckpointError(
            f"{path} ({error})", expected="a readable JSON file", hint="copy or download it again"
        ) from error
    if not isinstance(values, dict):
        raise CheckpointError(str(path), expected="a JSON object in braces", hint="copy or download it again")
    return values
