"""Integer arrays as a few bytes each: differences in the smallest type that holds them, compressed."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import numpy as np

_VERSION = 2
_HEADER = struct.Struct(
    "<4sBII"
)  # mark, version, length of the description, checksum of that length and all that follows
_MARK = b"VMPI"
_TYPES = ("<i1", "<i2", "<i4", "<i8")


def pack_arrays(arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> bytes:
    """Return one-dimensional integer arrays and a few facts (JSON types) as bytes."""
    kinds, parts = {}, []
    for name, array in arrays.items():
        differences = np.diff(array.astype(np.int64), prepend=np.int64(0))
        low, high = (int(differences.min()), int(differences.max())) if len(differences) else (0, 0)
        kind = next(kind for kind in _TYPES if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
        kinds[name] = [kind, len(array)]
        parts.append(differences.astype(kind).tobytes())
    description = json.dumps({"arrays": kinds, "facts": facts}).encode()
    packed = zlib.compress(description + b"".join(parts), 1)
    return _HEADER.pack(_MARK, _VERSION, len(description), zlib.crc32(packed, len(description))) + packed


def unpack_arrays(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return what `pack_arrays` was given, arrays as int64.

    Raises:
        ValueError: another version wrote it, or the data is damaged.
    """
    if len(data) < _HEADER.size or data[:4] != _MARK:
        raise ValueError("not a packet index")
    _, version, description_size, checksum = _HEADER.unpack_from(data)
    if version != _VERSION:
        raise ValueError(f"a packet index of version {version}; this one reads version {_VERSION}")
    packed = memoryview(data)[_HEADER.size :]
    if zlib.crc32(packed, description_size) != checksum:
        raise ValueError("a packet index that is damaged: its checksum does not match")
    try:
        content = zlib.decompress(packed)
        described = json.loads(content[:description_size])
        arrays, position = {}, description_size
        for name, (kind, length) in described["arrays"].items():
            differences = np.frombuffer(content, dtype=kind, count=length, offset=position)
            position += differences.nbytes
            arrays[name] = np.cumsum(differences, dtype=np.int64)
        return arrays, described["facts"]
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"a packet index that is damaged: {error}") from error
