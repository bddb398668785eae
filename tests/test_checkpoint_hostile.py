"""Checkpoints that lie about themselves are refused in one line, before they take memory or time."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import videomae
from videomae.core.errors import CheckpointError

TINY: dict[str, Any] = {
    "image_size": 16,
    "patch_size": 8,
    "num_frames": 4,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "num_labels": 3,
}
# Opens each folder with little more memory than is in use, and prints what it is refused with.
OPEN_ALL = """
import json, resource, sys, time
import torch, videomae
from videomae.core.errors import InputError
videomae.Checkpoint.open(sys.argv[1])
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (600 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
found = {}
for folder in sys.argv[2:]:
    for load in (videomae.Checkpoint.open, videomae.VideoMAEForVideoClassification.from_pretrained):
        begin = time.monotonic()
        try:
            load(folder)
            text = "opened"
        except InputError as error:
            text = str(error)
        found.setdefault(folder, []).append([text, time.monotonic() - begin])
print(json.dumps(found))
"""


def saved(folder: Path) -> Path:
    torch.manual_seed(0)
    videomae.VideoMAEForVideoClassification(videomae.VideoMAEConfig(**TINY)).save_pretrained(folder)
    return folder


def configured(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def written(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def header(document: Any, data: bytes = b"\0" * 64, length: int | None = None) -> Callable[[Path], None]:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return written("model.safetensors", struct.pack("<Q", len(text) if length is None else length) + text + data)


def part(start: int, end: int, shape: list[int]) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


def indexed(shard: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
        index = {"weight_map": {"classifier.weight": shard}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return change


def replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        make(folder / "model.safetensors")

    return change


HUGE = {"hidden_size": 20480, "intermediate_size": 81920, "num_attention_heads": 128, "num_hidden_layers": 200}
CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a trillion weights": (configured(**HUGE), "20480|classifier"),
    "wide": (configured(hidden_size=100_000, num_frames=64, image_size=64), "wide|100000|instead of"),
    "deep": (configured(num_hidden_layers=10**9), "num_hidden_layers=1000000000: expected at most 256"),
    "deeper": (configured(num_hidden_layers=200), "missing|^opened"),  # from_pretrained draws new layers, and warns
    "large frames": (configured(image_size=8 * 10**9), "hidden_size=16 for"),
    "long clips": (configured(num_frames=10**12), "hidden_size=16 for"),
    "many positions": (configured(position_grid=[10**5, 10**5, 10**5]), "position"),
    "many classes": (configured(num_labels=10**9), "num_labels=1000000000"),
    "classes beyond the file": (configured(num_labels=1_000_000), "expected equal numbers"),
    "deep decoder": (configured(decoder_num_hidden_layers=10**9), "decoder_num_hidden_layers"),
    "text for a number": (configured(hidden_size="16"), "hidden_size='16': expected a whole number"),
    "nested lists": (configured(image_size=[[16], [16]]), "a size of"),
    "no number": (configured(layer_norm_eps=float("nan")), "layer_norm_eps=nan"),
    "endless": (configured(initializer_range=float("inf")), "initializer_range=inf"),
    "many digits": (configured(hidden_size=10**400), "hidden_size="),
    "a truth value": (configured(num_attention_heads=True), "num_attention_heads=True"),
    "text for a truth value": (configured(qkv_bias="false"), "qkv_bias=false: expected true or false"),
    "a method": (configured(validate=1), "validate=1: expected a key of a configuration"),
    "a class": (configured(__class__="x"), "__class__='x'"),
    "half a character": (configured(id2label={"0": "\ud800", "1": "b", "2": "c"}), "names of classes"),
    "brackets": (written("config.json", b"[" * 1_000_000), "JSON"),
    "a large file": (written("config.json", b" " * (40 << 20) + b"{}"), "of 40 MB: expected at most 32 MB of JSON"),
    "not UTF-8": (written("config.json", b'{"a": "\xff"}'), "UTF-8"),
    "nesting": (written("config.json", b'{"a":' * 100 + b"1" + b"}" * 100), "nested at most 20 deep"),
    "digits": (written("config.json", b'{"hidden_size": ' + b"9" * 10_000 + b"}"), "JSON"),
    "header beyond the file": (header({}, length=2**62), "undamaged weights file"),
    "huge header": (header(b"{" + b" " * 1000, length=2**31), "undamaged weights file"),
    "offsets beyond the file": (header({"a": part(0, 4 * 10**12, [10**12])}), "undamaged weights file"),
    "overlap": (header({"a": part(0, 64, [16]), "b": part(32, 64, [8])}), "undamaged weights file"),
    "a hole": (header({"a": part(0, 16, [4]), "b": part(32, 64, [8])}), "undamaged weights file"),
    "shape overflow": (header({"a": part(0, 64, [2**40, 2**40])}), "undamaged weights file"),
    "twice": (header(b'{"a":%s,"a":%s}' % ((json.dumps(part(0, 64, [16])).encode(),) * 2)), "VideoMAE"),
    "nested header": (header(b'{"a":' * 100_000), "undamaged weights file"),
    "outside": (indexed("../outside.safetensors"), "weight_map from tensors to files beside it"),
    "absolute": (indexed("/etc/passwd"), "weight_map"),
    "backslash": (indexed("..\\outside.safetensors"), "weight_map"),
    "parent": (indexed(".."), "weight_map"),
    "no name": (indexed(""), "weight_map"),
    "zero": (indexed("a\0.safetensors"), "weight_map"),
    "a list": (indexed(["a"]), "weight_map"),
    "a folder": (replaced(Path.mkdir), "without weights"),
    "a pipe": (replaced(os.mkfifo), "without weights"),
    "a device": (replaced(lambda path: path.symlink_to("/dev/zero")), "without weights"),
    "a dangling link": (replaced(lambda path: path.symlink_to("nowhere")), "without weights"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory by Linux's means")
def test_lies_are_refused_before_they_take_memory_or_time(tmp_path: Path) -> None:
    sound = saved(tmp_path / "sound")
    folders = {}
    for number, (name, (change, _)) in enumerate(CASES.items()):
        folders[name] = saved(tmp_path / f"case{number}" / "x")
        change(folders[name])
    command = [sys.executable, "-c", OPEN_ALL, str(sound), *map(str, folders.values())]
    environment = {**os.environ, "PYTHONPATH": str(Path(videomae.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert not done.returncode, done.stderr[-3000:]
    found = json.loads(done.stdout)
    wrong = []
    for name, folder in folders.items():
        for text, seconds in found[str(folder)]:
            is_line = "\n" not in text and len(text) < 3100 and "alloc" not in text and "memory" not in text
            if not re.search(CASES[name][1], text) or not is_line or seconds > 10:
                wrong.append((name, seconds, text[:300]))
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("subfolder", ["..", "../other", "a/../..", "/etc", "a\\..\\b"])
def test_a_subfolder_stays_inside(subfolder: str, tmp_path: Path) -> None:
    saved(tmp_path / "other")
    saved(tmp_path / "x" / "a")
    assert videomae.load_checkpoint(tmp_path / "x", subfolder="a")
    for load in (videomae.load_checkpoint, videomae.VideoMAEForVideoClassification.from_pretrained):
        with pytest.raises(CheckpointError, match="expected a folder inside it"):
            load(tmp_path / "x", subfolder=subfolder)


@pytest.mark.parametrize("name", ["a" * 300, "x/" + "é" * 200, "a\0b", "\ud800"])
def test_names_that_no_system_has(name: str) -> None:
    for load in (videomae.load_checkpoint, videomae.VideoMAEForVideoClassification.from_pretrained):
        with pytest.raises(CheckpointError, match="expected a folder on this machine, or owner/name on the hub"):
            load(name)
