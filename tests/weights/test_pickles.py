"""Pickles and archives that are built to take memory, time or the process."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from videomae.core.errors import CheckpointError
from videomae.weights.files import read_checkpoint_file

PROTO, STOP, EMPTY_DICT = b"\x80\x02", b".", b"}"


def zipped(path: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
    return path


def legacy(path: Path, pickled: bytes) -> Path:
    torch.save({}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(pickle.dumps({}, protocol=2), pickled))
    return path


def called(name: str, arguments: bytes) -> bytes:
    return PROTO + f"c{name.replace(' ', chr(10))}\n".encode() + arguments + b"R" + STOP


BIG = b"\x8a\x06" + (10**12).to_bytes(6, "little")
SHARED = b"(K\x01K\x02t" + b"q\x00h\x00h\x00\x86" * 60  # each tuple holds the one before twice
DEEP = b")" + b"\x85" * 1_000_000
BOMBS = {
    "bytearray": (called("builtins bytearray", BIG + b"\x85"), "builtins.bytearray"),
    "tensor": (called("torch Tensor", BIG + b"\x85"), "torch.Tensor"),
    "storage": (called("torch.storage UntypedStorage", BIG + b"\x85"), "torch.storage.UntypedStorage"),
    "meta": (called("torch._utils _rebuild_meta_tensor_no_storage", b")"), "_rebuild_meta_tensor_no_storage"),
    "eval": (called("builtins eval", b"X\x01\x00\x00\x001\x85"), r"Python objects \(builtins.eval\)"),
    "shared parts": (PROTO + EMPTY_DICT + SHARED + b"Ns" + STOP, "deeply nested tuples"),
    "deep": (PROTO + EMPTY_DICT + DEEP + b"Ns" + STOP, "deeply nested tuples"),
    "new opcode": (b"\x80\x04\x8c\x01a.", "SHORT_BINUNICODE"),
    "endless": (PROTO + b"N" * 2_100_000 + STOP, "NONE at step 2000001"),
    "long text": (PROTO + b"X\xff\xff\xff\x7fabc" + STOP, "not a file of torch.save"),
    "no memo": (PROTO + b"h\x05" + STOP, "not a file of torch.save"),
    "empty stack": (PROTO + b"s" + STOP, "not a file of torch.save"),
}


@pytest.mark.parametrize("write", [zipped, legacy])
@pytest.mark.parametrize("name", BOMBS)
def test_pickle_bombs(name: str, write: Callable[[Path, bytes], Path], tmp_path: Path) -> None:
    pickled, message = BOMBS[name]
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint_file(write(tmp_path / "x.pth", pickled))
    assert "\n" not in str(caught.value)


def test_compressed_members_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "x.pth", b"\0" * 50_000_000, zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 100_000
    with pytest.raises(CheckpointError, match="compressed members"):
        read_checkpoint_file(bomb)


def test_an_archive_without_a_pickle(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(CheckpointError, match=r"not one data\.pkl"):
        read_checkpoint_file(tmp_path / "x.pth")


def tied() -> dict[str, torch.Tensor]:
    table = torch.zeros(1000, 1000)
    return {f"t{number}": table for number in range(5)}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": torch.zeros(1).expand(1000, 1000, 1000)}, "tensors of 4,000,000,000 bytes in a smaller file"),
        (tied(), "tensors of 20,000,000 bytes in a smaller file"),
        ({"a": torch.zeros(2, 2).to_sparse()}, "with Python objects"),
        ({"a": torch.zeros(2, 2, device="meta")}, "with Python objects"),
        ({1: torch.zeros(2)}, "a file that maps names to tensors"),
        ({"a": 3}, "a file that maps names to tensors"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_tensors_that_are_not_what_they_claim(state: dict[Any, Any], message: str, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint_file(tmp_path / "x.pth")


@pytest.mark.parametrize("is_zip", [True, False])
def test_what_trainers_save_comes_in(is_zip: bool, tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).half()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 2, dtype=torch.half)).sum().backward()
    optimizer.step()
    document = {
        "model": model.state_dict(),
        "model_ema": OrderedDict(model.state_dict()),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "scaler": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 0},
        "args": argparse.Namespace(lr=1e-3, betas=[0.9, 0.95], shape=(2, torch.Size([3])), device=torch.device("cpu")),
        "dtype": torch.bfloat16,
        "best": {1, 2},
        "parameter": torch.nn.Parameter(torch.zeros(2)),
    }
    torch.save(document, tmp_path / "x.pth", _use_new_zipfile_serialization=is_zip)
    state, about = read_checkpoint_file(tmp_path / "x.pth")
    assert {name: tensor.shape for name, tensor in state.items()} == {
        name: tensor.shape for name, tensor in model.state_dict().items()
    }
    assert about["args"]["betas"] == [0.9, 0.95]


def test_copies_of_the_weights_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save({"model": {"a": torch.zeros(1)}, "model_ema": {"a": torch.ones(1)}}, tmp_path / "x.pth")
    assert read_checkpoint_file(tmp_path / "x.pth")[0]["a"] == 0
    assert "weights under 'model' are used, those under model_ema are not" in caplog.text
