"""Writing the weights of a checkpoint folder: whole or in shards, safetensors or pickled."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from videomae.core.errors import ConfigError
from videomae.core.files import write_atomically, write_text
from videomae.weights.files import SAFETENSORS_NAME, write_safetensors

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("videomae")

PICKLE_NAME = "pytorch_model.bin"
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SHARD = "-{:05d}-of-{:05d}"


def as_bytes(size: int | str) -> int:
    """A size as a number of bytes, of that number or text such as "200KB" or "1.5GiB".

    Raises:
        ConfigError: for anything else, or no byte at all.
    """
    number: float = 0
    if isinstance(size, int):
        number = size
    elif isinstance(size, str) and (parts := re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]i?B)", size.strip())):
        number = float(parts[1]) * _UNITS[parts[2]]
    if number < 1:
        raise ConfigError(
            f"max_shard_size={size!r}", expected=f"bytes, or a number and {', '.join(_UNITS)}", hint='write "5GB"'
        )
    return int(number)


def write_weights(folder: Path, state: Mapping[str, torch.Tensor], *, max_bytes: int, is_safe: bool = True) -> None:
    """Write tensors into a folder as transformers names the files, each atomically; made if absent.

    What an earlier save left there and a reader would take instead of these files, or beside them, is removed.

    Args:
        folder: of the checkpoint.
        state: tensors by name, in the order in which they fill the shards.
        max_bytes: what a file may hold; a tensor of more is alone in its own.
        is_safe: safetensors, else pickled tensors (`weights_only=True` reads them).
    """
    name, write = (SAFETENSORS_NAME, write_safetensors) if is_safe else (PICKLE_NAME, _write_pickle)
    shards = _split(state, max_bytes)
    stem, suffix = Path(name).stem, Path(name).suffix
    index = folder / f"{name}.index.json"
    if len(shards) == 1:
        files = {name: shards[0]}
    else:
        files = {f"{stem}{_SHARD.format(i, len(shards))}{suffix}": shard for i, shard in enumerate(shards, 1)}
        if any((folder / file).exists() for file in files):
            # Half replaced, the shards of an index would be a mix of two models that nothing tells from one.
            index.unlink(missing_ok=True)
    for file, shard in files.items():
        write(folder / file, shard)
    if len(files) > 1:
        document = {
            "metadata": {"total_size": sum(map(_num_bytes, state.values()))},
            "weight_map": {tensor: file for file, shard in files.items() for tensor in shard},
        }
        write_text(index, json.dumps(document, indent=2, sort_keys=True) + "\n")
    _remove_stale(folder, {*files, index.name} if len(files) > 1 else set(files), is_safe=is_safe)


def _split(state: Mapping[str, torch.Tensor], max_bytes: int) -> list[dict[str, torch.Tensor]]:
    shards: list[dict[str, torch.Tensor]] = [{}]
    filled = 0
    for name, tensor in state.items():
        size = _num_bytes(tensor)
        if filled + size > max_bytes and shards[-1]:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += size
    return shards


def _num_bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _remove_stale(folder: Path, written: set[str], *, is_safe: bool) -> None:
    """Remove other weights of the same kind, and safetensors beside pickles, since every reader prefers those."""
    for name in (SAFETENSORS_NAME,) if is_safe else (SAFETENSORS_NAME, PICKLE_NAME):
        shard = re.compile(rf"{Path(name).stem}-\d{{5}}-of-\d{{5}}\{Path(name).suffix}")
        for path in folder.iterdir():
            is_weights = path.name in (name, f"{name}.index.json") or shard.fullmatch(path.name)
            if is_weights and path.name not in written and path.is_file():
                logger.info("removed %s of an earlier save", path)
                path.unlink()


def _write_pickle(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    import torch

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    # A slice would be saved with the whole storage that it is of.
    tensors = {n: t.clone() if t.untyped_storage().nbytes() > _num_bytes(t) else t for n, t in tensors.items()}
    write_atomically(path, lambda aside: torch.save(tensors, aside))
