"""Damage small checkpoints of each container and open them: run as a process of its own, which may crash or hang.

    python fuzz_files.py FOLDER FIRST_SEED COUNT [KIND …]

Opens COUNT damaged copies of each kind. Prints one line of JSON: how many were opened and refused of each kind, and by
how many MB the memory grew at most. Ends with a traceback at the first error that is no InputError; FOLDER/now names
the case. A case of more than 20 s ends with the stacks of all threads.
"""

from __future__ import annotations

import argparse
import copy
import faulthandler
import io
import json
import logging
import random
import resource
import shutil
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import videomae
from videomae.api.description import describe_checkpoint
from videomae.core.errors import InputError
from videomae.weights import original
from videomae.weights.files import write_safetensors

SMALL: dict[str, Any] = {
    "image_size": 16,
    "patch_size": 8,
    "num_frames": 4,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "id2label": {0: "run", 1: "jump", 2: "sit"},
}
TOLD = {"num_frames": 4, "image_size": 16, "num_attention_heads": 2}
SECONDS = 20
MAX_LENGTH = 3100
NASTY: list[Any] = [
    *(None, True, False, -1, 0, 1, 3, 2**31, 2**63, 10**9, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "x", "16", "\ud800", "a\nb", "\0", "../x", "/etc/passwd", "a" * 5000, [], {}, [[]], [0], [0, 0], [16, 16]),
    *([1e9, 1e9], {"a": {"b": []}}, {"0": "x", "5": "y"}, json.loads("[" * 15 + "]" * 15), [None], ["x"] * 100),
]


def damaged_bytes(content: bytes, chance: random.Random, head: int = 3000) -> bytes:
    """Some bytes flipped, lost, repeated, set or added, half of the time near the start, where the structure is."""
    found = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5))):
        place = chance.randrange(min(len(found), head) if chance.random() < 0.5 else len(found)) if found else 0
        length = chance.choice((1, 1, 2, 8, 64, 500))
        match chance.randrange(7):
            case 0 if found:
                found[place] ^= 1 << chance.randrange(8)
            case 1:
                del found[place:]
            case 2:
                del found[place : place + length]
            case 3:
                found[place:place] = found[place : place + length]
            case 4:
                found[place : place + length] = bytes([chance.choice((0, 255, 46, 40, 125))]) * length
            case 5:
                found[place:place] = chance.randbytes(length)
            case 6:
                found[place : place + length] = chance.randbytes(length)
    return bytes(found)


def damaged_json(document: Any, chance: random.Random) -> Any:
    """The document with some values replaced, removed or under another name."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        node = document
        while isinstance(node, dict | list) and node:
            key = chance.choice(list(node)) if isinstance(node, dict) else chance.randrange(len(node))
            if isinstance(node[key], dict | list) and node[key] and chance.random() < 0.7:
                node = node[key]
                continue
            match chance.randrange(4):
                case 0:
                    del node[key]
                case 1 if isinstance(node, dict):
                    node[chance.choice(["x", "__class__", "validate", "..", str(key) + "x"])] = node.pop(key)
                case _:
                    node[key] = copy.deepcopy(chance.choice(NASTY))
            break
    return document


def json_file(name: str) -> Callable[[Path, random.Random], None]:
    def damage(folder: Path, chance: random.Random) -> None:
        content = (folder / name).read_bytes()
        if chance.random() < 0.8:
            content = json.dumps(damaged_json(json.loads(content), chance)).encode()
        if chance.random() < 0.3:
            content = damaged_bytes(content, chance)
        (folder / name).write_bytes(content)

    return damage


def safetensors_file(name: str) -> Callable[[Path, random.Random], None]:
    def damage(folder: Path, chance: random.Random) -> None:
        content = (folder / name).read_bytes()
        if chance.random() < 0.6:
            length = int.from_bytes(content[:8], "little")
            header = json.dumps(damaged_json(json.loads(content[8 : 8 + length]), chance)).encode()
            content = len(header).to_bytes(8, "little") + header + content[8 + length :]
        else:
            content = damaged_bytes(content, chance)
        (folder / name).write_bytes(content)

    return damage


def pickle_file(name: str) -> Callable[[Path, random.Random], None]:
    """Damages the archive, or the pickle inside an archive that is sound, checksums included."""

    def damage(folder: Path, chance: random.Random) -> None:
        path = folder / name
        if not zipfile.is_zipfile(path) or chance.random() < 0.4:
            path.write_bytes(damaged_bytes(path.read_bytes(), chance, 8000))
            return
        whole = io.BytesIO(path.read_bytes())
        with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(path, "w") as copy:
            for member in archive.infolist():
                content = archive.read(member)
                if member.filename.endswith("data.pkl"):
                    content = damaged_bytes(content, chance, len(content))
                copy.writestr(member.filename, content)

    return damage


def make_sources(root: Path) -> dict[str, tuple[str, Callable[[Path, random.Random], None]]]:
    """A folder for each kind; returns what in it to open, and what damages it."""
    torch.manual_seed(0)
    model = videomae.VideoMAEForVideoClassification(videomae.VideoMAEConfig(**SMALL))
    processor = videomae.VideoMAEImageProcessor(size=16, crop_size=16, sampling={"num_frames": 4})
    state = model.state_dict()
    kinds: dict[str, tuple[str, Callable[[Path, random.Random], None]]] = {}
    for kind in ("safetensors", "config", "processor", "bin", "index", "shard", "binindex"):
        model.save_pretrained(root / kind)
        processor.save_pretrained(root / kind)
    kinds["safetensors"] = ".", safetensors_file("model.safetensors")
    kinds["config"] = ".", json_file("config.json")
    kinds["processor"] = ".", json_file("preprocessor_config.json")
    (root / "bin" / "model.safetensors").unlink()
    torch.save(state, root / "bin" / "pytorch_model.bin")
    kinds["bin"] = ".", pickle_file("pytorch_model.bin")
    for kind, stem, suffix, save in (
        ("index", "model", "safetensors", lambda tensors, path: write_safetensors(path, tensors)),
        ("shard", "model", "safetensors", lambda tensors, path: write_safetensors(path, tensors)),
        ("binindex", "pytorch_model", "bin", torch.save),
    ):
        (root / kind / "model.safetensors").unlink()
        shard_of = {name: f"{stem}-0000{1 + index % 2}-of-00002.{suffix}" for index, name in enumerate(state)}
        for shard in sorted(set(shard_of.values())):
            save({name: state[name] for name in state if shard_of[name] == shard}, root / kind / shard)
        index = f"{stem}.{suffix}.index.json"
        (root / kind / index).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": shard_of}))
        kinds[kind] = ".", json_file(index)
    kinds["shard"] = ".", safetensors_file("model-00001-of-00002.safetensors")
    document = {"model": original.to_original(state), "args": argparse.Namespace(num_frames=4, input_size=16, lr=0.1)}
    for kind, is_zip in (("pth", True), ("legacy", False)):
        (root / kind).mkdir()
        torch.save(document, root / kind / "x.pth", _use_new_zipfile_serialization=is_zip)
        kinds[kind] = "x.pth", pickle_file("x.pth")
    for kind in ("adapter", "adapterconfig"):
        (root / kind).mkdir()
        layer = "base_model.model.videomae.encoder.layer.0.attention.attention"
        matrices = {f"{layer}.{part}.lora_A.weight": torch.ones(4, 16) for part in ("query", "value")}
        matrices |= {f"{layer}.{part}.lora_B.weight": torch.ones(16, 4) for part in ("query", "value")}
        matrices |= {f"base_model.model.{name}": state[name] for name in state if name.startswith("classifier.")}
        write_safetensors(root / kind / "adapter_model.safetensors", matrices)
        settings = {
            **{"peft_type": "LORA", "base_model_name_or_path": str(root / "base"), "revision": None, "r": 4},
            **{"lora_alpha": 8, "target_modules": ["query", "value"], "modules_to_save": ["classifier"]},
            **{"bias": "none", "rank_pattern": {}, "alpha_pattern": {"query": 2}, "use_rslora": False},
            **{"use_dora": False, "auto_mapping": {"base_model_class": "VideoMAEForVideoClassification"}},
        }
        (root / kind / "adapter_config.json").write_text(json.dumps(settings))
    model.save_pretrained(root / "base")
    kinds["adapter"] = ".", safetensors_file("adapter_model.safetensors")
    kinds["adapterconfig"] = ".", json_file("adapter_config.json")
    return kinds


def open_all(source: Path, chance: random.Random) -> None:
    """Open what may be damaged, in one of the ways that there are."""
    told = TOLD if source.is_file() else {}
    match chance.randrange(4):
        case 0:
            describe_checkpoint(source, **told)
        case 1 if source.is_dir() and not (source / "adapter_config.json").exists():
            videomae.VideoMAEForVideoClassification.from_pretrained(source)
        case 2:
            videomae.Checkpoint.open(source, task="features", **told)
        case _:
            repr(videomae.Checkpoint.open(source, **told))


def main(root: Path, first: int, count: int, only: list[str]) -> None:
    faulthandler.enable()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    kinds = make_sources(root / "sound")
    for kind, (name, _) in kinds.items():
        open_all(root / "sound" / kind / name, random.Random(1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report: dict[str, Any] = {}
    for kind in only or kinds:
        name, damage = kinds[kind]
        opened = refused = 0
        for seed in range(first, first + count):
            chance = random.Random(f"{kind} {seed}")
            folder = root / "damaged"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(root / "sound" / kind, folder)
            damage(folder, chance)
            (root / "now").write_text(f"{kind} {seed}")
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            try:
                open_all(folder / name, chance)
                opened += 1
            except InputError as error:
                refused += 1
                if "\n" in str(error) or len(str(error)) > MAX_LENGTH:
                    raise AssertionError(str(error)) from error
            faulthandler.cancel_dump_traceback_later()
        report[kind] = {"opened": opened, "refused": refused}
    report["grown_mb"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
