"""Look at the pickle of a `torch.save` file before torch runs it: only tensors and harmless values may come in.

`torch.load(weights_only=True)` runs no foreign code, yet a small pickle can still make it allocate terabytes
(`bytearray(10**12)`, `torch.Tensor(10**6, 10**6)`), hash for years (a key of nested tuples that share their parts), or
overflow the stack of C. What passes here does none of it, and its types are those that trainers save.
"""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from pathlib import Path

from videomae.core.errors import CheckpointError

_ALLOWED = re.compile(
    r"collections (OrderedDict|Counter)|builtins set|__builtin__ set|argparse Namespace"
    r"|torch (\w+Storage|Size|device|(b?float|int|uint|complex)\d+|bool)"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|tensor_v3|parameter|parameter_with_state)"
)
# What torch's own unpickler knows.
_OPCODES = re.compile(
    "PROTO|STOP|GLOBAL|REDUCE|NEWOBJ|BUILD|APPENDS?|SETITEMS?|MARK|TUPLE[123]?|NONE|NEWFALSE|NEWTRUE"
    "|EMPTY_(TUPLE|LIST|DICT|SET)|BININT[12]?|LONG1|BINFLOAT|BINUNICODE|SHORT_BINSTRING|BINPERSID|(LONG_)?BIN(GET|PUT)"
)
# A trainer's file of the largest model, optimizer included, has 0.1 million steps and 4 MB.
_MAX_STEPS = 2_000_000
_MAX_BYTES = 64 << 20
_MAX_TUPLE_DEPTH = 50
_MAX_TUPLE_SIZE = 100_000
# Magic number, protocol and machine; then the values, then the keys of the tensors that follow.
_PICKLES_BEFORE_1_6 = 5
_ZIP = b"PK\x03\x04"


def is_zip(path: Path) -> bool:
    """Whether torch reads the file as a ZIP archive (torch 1.6 and newer write these)."""
    with path.open("rb") as file:
        return file.read(len(_ZIP)) == _ZIP


def check_file(path: Path) -> None:
    """Raise a CheckpointError unless torch may read the file: types, steps, nesting, and no compressed members."""
    if not is_zip(path):
        with path.open("rb") as file:
            stream = io.BytesIO(file.read(_MAX_BYTES))
        for _ in range(_PICKLES_BEFORE_1_6):
            _check_pickle(stream, path)
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        pickles = [member for member in members if member.filename.endswith("/data.pkl")]
        packed = [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]
        # torch.save compresses nothing; what is stored as it is cannot be larger than the file.
        if packed or sum(member.file_size for member in members) > path.stat().st_size:
            raise refusal(path, "compressed members", "a file as torch.save writes it, without compression")
        if len(pickles) != 1 or pickles[0].file_size > _MAX_BYTES:
            raise refusal(path, "not one data.pkl of a usual size", "a file as torch.save writes it")
        _check_pickle(io.BytesIO(archive.read(pickles[0])), path)


def refusal(path: Path, found: str, expected: str) -> CheckpointError:
    """The error for a file that is not what any trainer writes."""
    return CheckpointError(f"{path} ({found})", expected=expected, hint="copy or download it again, or do not trust it")


def _check_pickle(stream: io.BytesIO, path: Path) -> None:
    """Follow one pickle up to its end without making its values; only the nesting of tuples is kept."""
    Tuple = tuple[int, int]  # depth, and number of parts, each counted as often as it is reached
    leaf: Tuple = (0, 1)
    mark: Tuple = (-1, 0)
    stack: list[Tuple] = []
    memo: dict[object, Tuple] = {}
    for step, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        name = opcode.name
        if not _OPCODES.fullmatch(name) or step > _MAX_STEPS:
            raise refusal(path, f"pickle with {name} at step {step}", "a file as torch.save writes it")
        if name == "GLOBAL" and not _ALLOWED.fullmatch(str(argument)):
            raise foreign_type(path, str(argument).replace(" ", "."))
        if name.endswith("BINPUT"):
            memo[argument] = stack[-1]
        elif name.endswith("BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            stack.append(mark)
        else:
            parts = _pop(stack, opcode, mark)
            for _ in opcode.stack_after:
                is_tuple = name.startswith("TUPLE")
                depth = 1 + max((part[0] for part in parts), default=0) if is_tuple else 0
                size = 1 + sum(part[1] for part in parts) if is_tuple else 1
                if depth > _MAX_TUPLE_DEPTH or size > _MAX_TUPLE_SIZE:
                    raise refusal(path, "pickle of deeply nested tuples", "a file as torch.save writes it")
                stack.append((depth, size) if is_tuple else leaf)


def _pop(stack: list[tuple[int, int]], opcode: pickletools.OpcodeInfo, mark: tuple[int, int]) -> list[tuple[int, int]]:
    """Take what an opcode consumes from the stack."""
    needed = opcode.stack_before
    if pickletools.markobject not in needed:
        return [stack.pop() for _ in needed]
    parts: list[tuple[int, int]] = []
    while (part := stack.pop()) != mark:
        parts.append(part)
    for _ in range(needed.index(pickletools.markobject)):  # the list or dictionary below, which takes the parts
        stack.pop()
    return parts


def foreign_type(path: Path, name: str) -> CheckpointError:
    """The error for a type that may not come in, by name."""
    shown = (name if name.isprintable() else ascii(name))[:100]
    return CheckpointError(
        f"{path} with Python objects ({shown})",
        expected="a file of tensors alone, because unpickling objects can run any code",
        hint="where you trust the file, load it with torch and save the model's tensors alone",
    )
