"""Containers of weights, whole, in shards, damaged, and set as a trap."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from videomae.core.errors import CheckpointError
from videomae.weights.files import read_checkpoint_file, read_json, read_tensor_file, read_weights, write_safetensors

STATE = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "a.bias": torch.tensor([1.5, -2.0]).to(torch.bfloat16),
    "b": torch.zeros(0, 4),
    "c": torch.tensor(3.0),
}


def assert_same(found: dict[str, Any], expected: dict[str, torch.Tensor] = STATE) -> None:
    assert sorted(found) == sorted(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def write_shards(folder: Path, suffix: str) -> None:
    stem, save = ("model", save_file) if suffix == "safetensors" else ("pytorch_model", torch.save)
    weight_map = {}
    for number, names in enumerate((["a.weight", "b"], ["a.bias", "c"]), start=1):
        shard = f"{stem}-0000{number}-of-00002.{suffix}"
        save({name: STATE[name] for name in names}, folder / shard)
        weight_map.update(dict.fromkeys(names, shard))
    index = {"metadata": {"total_size": 36}, "weight_map": weight_map}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))


def refused(source: Path, message: str) -> str:
    with pytest.raises(CheckpointError, match=message) as caught:
        read_weights(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_written_weights_come_back(tmp_path: Path) -> None:
    transposed = torch.arange(6.0).reshape(3, 2).T
    write_safetensors(tmp_path / "new" / "model.safetensors", {**STATE, "t": transposed.requires_grad_()})

    assert_same(read_weights(tmp_path / "new"), {**STATE, "t": transposed})
    with safe_open(tmp_path / "new" / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}  # transformers 4.34.0 refuses a file without it
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_weights(tmp_path: Path, zipped: bool) -> None:
    torch.save(STATE, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)

    assert_same(read_weights(tmp_path))


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards(tmp_path: Path, suffix: str) -> None:
    write_shards(tmp_path, suffix)

    assert_same(read_weights(str(tmp_path)))


def test_shards_in_a_subfolder(tmp_path: Path) -> None:
    (tmp_path / "epoch-3").mkdir()
    write_shards(tmp_path / "epoch-3", "safetensors")

    assert_same(read_weights(tmp_path, subfolder="epoch-3"))
    refused(tmp_path, "without weights")


def test_safetensors_win_over_pickles(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "model.safetensors")
    torch.save({"a.weight": torch.ones(1)}, tmp_path / "pytorch_model.bin")

    assert_same(read_weights(tmp_path))


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_missing_shard_is_named(tmp_path: Path, suffix: str) -> None:
    write_shards(tmp_path, suffix)
    missing = next(tmp_path.glob(f"*-00002-of-00002.{suffix}"))
    missing.unlink()

    refused(tmp_path, f"without {missing.name}: expected all 2 shards that .* names; copy or download")


def test_a_shard_that_lacks_a_tensor_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path, "safetensors")
    save_file({"a.bias": STATE["a.bias"]}, tmp_path / "model-00002-of-00002.safetensors")

    refused(tmp_path, "model-00002-of-00002.safetensors without c: expected all 4 tensors")


@pytest.mark.parametrize(
    "index",
    ['{"metadata": {}}', '{"weight_map": ["a"]}', '{"weight_map": {"a": 1}}', '{"weight_map": {"a": "../x.bin"}}'],
)
def test_an_index_that_is_none(tmp_path: Path, index: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)

    refused(tmp_path, "without a weight_map from tensors to files beside it")


@pytest.mark.parametrize("index", ["", "{", "[]", '"weights"', "\xff"])
def test_an_index_that_is_no_json(tmp_path: Path, index: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_bytes(index.encode("latin-1"))

    refused(tmp_path, "expected (JSON; the file may be cut off|UTF-8 text|a JSON object in braces)")


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")

    message = refused(tmp_path, r"without weights: expected model\.safetensors or pytorch_model\.bin")
    assert message.startswith(str(tmp_path))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_file_that_was_cut_off(tmp_path: Path, name: str, share: float) -> None:
    state = {"weight": torch.rand(4000)}
    (save_file if name.endswith("safetensors") else torch.save)(state, tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * share)])

    message = refused(tmp_path, rf"{name} \(.+\): expected an undamaged weights file; copy or download it again")
    assert ("empty file" in message) == (share == 0)
    assert len(message) < 500


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_text_in_the_place_of_weights(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("Entry not found")

    refused(tmp_path, "expected an undamaged weights file")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_pointer_of_git_lfs(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")

    refused(tmp_path, "expected weights, not Git LFS's pointer to them; run `git lfs pull`")


class Trap:
    """Pickled, it makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path, zipped: bool) -> None:
    sprung = tmp_path / "sprung"
    state = {"a": torch.zeros(1), "b": Trap(sprung)}
    torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)

    message = refused(tmp_path, r"with Python objects \(.*mkdir\): expected a file of tensors alone")

    assert "weights_only" not in message  # no advice to switch the safety off
    assert not sprung.exists()


def test_a_pickle_with_the_arguments_of_a_training_script(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.zeros(1)}, "args": Namespace(lr=1)}, tmp_path / "x.pth")

    state, about = read_checkpoint_file(tmp_path / "x.pth")
    assert state == {"a": torch.zeros(1)}
    assert about == {"args": {"lr": 1}}


@pytest.mark.parametrize("content", [[torch.zeros(1)], torch.zeros(1), {"epoch": 3}, {"model": {"epoch": 3}}])
def test_pickles_that_are_no_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "pytorch_model.bin")

    refused(tmp_path, "expected a file that maps names to tensors; save the model's state_dict")


def test_a_single_file_by_its_suffix(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "weights.pth")
    save_file(STATE, tmp_path / "weights.safetensors")

    assert_same(read_tensor_file(tmp_path / "weights.pth"))
    assert_same(read_tensor_file(str(tmp_path / "weights.safetensors")))


def test_json_objects_alone(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text('{"é": [1]}', encoding="utf-8")

    assert read_json(tmp_path / "good.json") == {"é": [1]}
    with pytest.raises(CheckpointError, match="readable JSON"):
        read_json(tmp_path / "absent.json")
    (tmp_path / "weights.pth").write_bytes(b"\x80\x02")
    with pytest.raises(CheckpointError, match="a file that is not JSON: expected a checkpoint folder"):
        read_json(tmp_path / "weights.pth")


def test_a_failed_write_keeps_the_old_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_safetensors(tmp_path / "model.safetensors", STATE)

    def disk_full(source: object, destination: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", disk_full)
    with pytest.raises(ValueError, match="No space left"):
        write_safetensors(tmp_path / "model.safetensors", {"a": torch.ones(1)})

    monkeypatch.undo()
    assert_same(read_weights(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
