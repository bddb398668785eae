"""Files of checkpoints: read any container into a plain state dict, write atomically."""

from __future__ import annotations

import argparse
import errno
import logging
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from videomae.core import files
from videomae.core.errors import CheckpointError
from videomae.weights import listing, pickles
from videomae.weights.hub import HubOptions, resolve_file

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("videomae")

StateDict = dict[str, "torch.Tensor"]

SAFETENSORS_NAME = "model.safetensors"
# In order of preference; an index names the shards that lie beside it.
WEIGHT_NAMES = (
    SAFETENSORS_NAME,
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)

# Where trainers keep the weights in a pickled dictionary; V1 and V2, DeepSpeed, Lightning.
_CONTAINERS = ("model", "module", "state_dict")

# How often a file's numbers may be in its tensors.
_MAX_SHARING = 4
_SHARD_NAME = re.compile(r"[\w.+-]*[\w]\.(safetensors|bin)")

_LFS_POINTER = b"version https://git-lfs"


def read_weights(name_or_path: str | Path, **options: Unpack[HubOptions]) -> StateDict:
    """All tensors of a checkpoint, on the CPU, under the names that the file uses.

    Args:
        name_or_path: a folder or a hub repository holding `model.safetensors` or `pytorch_model.bin`, whole or sharded.
        options: where a hub name is looked up, see `HubOptions`.

    Raises:
        CheckpointError: if there are no weights, or a file of them is missing or damaged.
    """
    return read_named_weights(name_or_path, **options)[0]


def read_named_weights(name_or_path: str | Path, **options: Unpack[HubOptions]) -> tuple[StateDict, str]:
    """As `read_weights`, and the name of the file, or of the index, that they are in."""
    for name in WEIGHT_NAMES:
        path = resolve_file(name_or_path, name, **options)
        if path is None:
            continue
        if not name.endswith(".index.json"):
            return read_tensor_file(path), name
        return _read_shards(name_or_path, path, **options), name
    raise CheckpointError(
        f"{name_or_path} without weights",
        expected=" or ".join(WEIGHT_NAMES[::2]),
        hint="give a folder that save_pretrained or a training command wrote",
    )


def _read_shards(name_or_path: str | Path, index: Path, **options: Unpack[HubOptions]) -> StateDict:
    """All tensors of the files that an index names; each tensor that it names must be there."""
    shard_of = read_json(index).get("weight_map")
    # A shard lies beside its index; a path to elsewhere is no name that any library writes. The file itself may be a
    # link, as all files are in the hub library's cache.
    if not isinstance(shard_of, dict) or not all(
        isinstance(shard, str) and _SHARD_NAME.fullmatch(shard) for shard in shard_of.values()
    ):
        raise CheckpointError(
            f"{index} without a weight_map from tensors to files beside it",
            expected="an index as transformers and huggingface_hub write it",
            hint="copy or download the folder again",
        )
    shards = sorted(set(shard_of.values()))
    state: StateDict = {}
    for shard in shards:
        path = resolve_file(name_or_path, shard, **options)
        if path is None:
            raise CheckpointError(
                f"{name_or_path} without {shard}",
                expected=f"all {len(shards)} shards that {index.name} names",
                hint="copy or download the folder again",
            )
        tensors = read_tensor_file(path)
        if repeated := state.keys() & tensors.keys():
            raise CheckpointError(
                f"{name_or_path}: {listing.grouped(sorted(repeated))} in {shard} and in another shard",
                expected="each tensor once",
                hint="copy or download the folder again",
            )
        state.update(tensors)
    absent = [name for name in shard_of if name not in state]
    if absent:
        raise CheckpointError(
            f"{name_or_path}: {shard_of[absent[0]]} without {absent[0]}",
            expected=f"all {len(shard_of)} tensors that {index.name} names",
            hint="copy or download the folder again",
        )
    return state


def read_tensor_file(path: str | Path) -> StateDict:
    """One `.safetensors` or pickled (`.bin`, `.pt`, `.pth`) file of bare tensors; pickles cannot run code.

    Raises:
        CheckpointError: if the file is damaged or holds something else.
    """
    return read_checkpoint_file(path)[0]


def read_checkpoint_file(path: str | Path) -> tuple[StateDict, dict[str, Any]]:
    """The tensors of a file, and what else it holds: `args`, those of the original code's training, or our `config`.

    Of a pickled dictionary the tensors may also be under `model`, `module` or `state_dict`.

    Raises:
        CheckpointError: if the file is damaged or holds something else.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path), {}
        import torch

        pickles.check_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):  # plain values, as the original code saves
            # Files from before torch 1.6 are no ZIP archives, and cannot be mapped.
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=pickles.is_zip(path))
    except CheckpointError:
        raise
    # Every reader has its own kinds of errors for a damaged file; each means the same to the user.
    except Exception as error:
        raise _unreadable(path, error) from error
    state = found
    if isinstance(found, dict):
        state = next((found[key] for key in _CONTAINERS if isinstance(found.get(key), dict)), found)
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise CheckpointError(
            str(path), expected="a file that maps names to tensors", hint="save the model's state_dict() alone"
        )
    _check_tensors(path, state)
    if state is found:
        return state, {}
    copies = [key for key in found if isinstance(key, str) and "ema" in key and isinstance(found[key], dict)]
    if copies:
        used = next(key for key in _CONTAINERS if found.get(key) is state)
        logger.warning("%s: its weights under %r are used, those under %s are not", path, used, ", ".join(copies))
    about = {key: found[key] for key in ("args", "config") if key in found}
    return state, {key: vars(value) if isinstance(value, argparse.Namespace) else value for key, value in about.items()}


def _check_tensors(path: Path, state: StateDict) -> None:
    """A pickle's tensors must be plain ones whose numbers are in the file, not a few repeated billions of times.

    Tensors that share numbers (tied weights) are counted each, hence the factor.
    """
    import torch

    size = 0
    for name, tensor in state.items():
        plain = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
        if not plain or tensor.device.type != "cpu" or tensor.is_quantized:
            kind = f"{type(tensor).__name__} {tensor.layout} on {tensor.device}"
            raise pickles.refusal(path, f"{listing.grouped([name])}: {kind}", "plain tensors")
        size += tensor.numel() * tensor.element_size()
    if size > _MAX_SHARING * path.stat().st_size + (1 << 20):
        raise pickles.refusal(path, f"tensors of {size:,} bytes in a smaller file", "tensors with all their numbers")


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    """Why a file of weights could not be read, in one line; torch's own words advise to switch its safety off."""
    foreign = re.search(r"GLOBAL (\S+)", str(error))
    if foreign is not None:
        return pickles.foreign_type(path, foreign[1])
    with path.open("rb") as file:
        start = file.read(len(_LFS_POINTER))
    if start == _LFS_POINTER:
        return CheckpointError(path, expected="weights, not Git LFS's pointer to them", hint="run `git lfs pull`")
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    if not start:
        reason = "an empty file"
    elif isinstance(error, pickle.UnpicklingError | LookupError) or type(error) in (ValueError, TypeError):
        reason = "not a file of torch.save"
    reason, _, _ = (reason if reason.isprintable() else ascii(reason)).partition("  (Could this error message")
    return CheckpointError(f"{path} ({reason})", expected="an undamaged weights file", hint="copy or download it again")


def write_original(path: str | Path, state: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> None:
    """Write a `.pth` file as the original code reads it: the tensors under `model`; `config` is for our own reader."""
    import torch

    document = {"model": {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, "config": config}
    files.write_atomically(path, lambda aside: torch.save(document, aside))


def write_safetensors(path: str | Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write tensors atomically, with the metadata that transformers 4.34.0 insists on."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    def write(aside: Path) -> None:
        try:
            save_file(tensors, aside, metadata={"format": "pt"})
        except SafetensorError as error:  # what a full disk is called there
            raise OSError(errno.EIO, str(error)) from error

    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in state.items()}
    files.write_atomically(path, write)


def read_json(path: str | Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        CheckpointError: if the file is not JSON or not an object.
    """
    try:
        return files.read_json_object(path, error_type=CheckpointError)
    except CheckpointError as error:
        if isinstance(error.__cause__, ValueError) and Path(path).suffix != ".json":
            raise CheckpointError(
                f"{path}, a file that is not JSON",
                expected="a checkpoint folder, or its configuration as JSON",
                hint="give a folder that save_pretrained or a training command wrote; weights alone do not describe "
                "their network",
            ) from error
        raise
