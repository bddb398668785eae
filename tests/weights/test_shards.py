"""Weights in one file or many: sizes, names, what is left of an earlier save, and what a failed save leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from videomae.core.errors import CheckpointError, ConfigError, InputError
from videomae.weights import files, shards


def state_of(*sizes: int) -> dict[str, torch.Tensor]:
    """Tensors of so many bytes; no two hold the same numbers."""
    return {f"t{i}": torch.arange(size // 4, dtype=torch.float32) + i for i, size in enumerate(sizes)}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1, 1),
        (5_000_000_000, 5_000_000_000),
        ("200KB", 200_000),
        ("5GB", 5 * 10**9),
        ("10 MB", 10**7),
        ("1.5GiB", 3 * 2**29),
        ("2KiB", 2048),
        ("1TB", 10**12),
    ],
)
def test_sizes(size: int | str, expected: int) -> None:
    assert shards.as_bytes(size) == expected


@pytest.mark.parametrize("size", [0, -1, "0GB", "5", "five GB", "5gb", "GB", "", None, 2.5, "0.0001KB", "1e3KB"])
def test_sizes_that_are_none(size: Any) -> None:
    with pytest.raises(ConfigError, match=r"max_shard_size=.*expected bytes, or a number and KB, MB") as caught:
        shards.as_bytes(size)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sizes", "most", "expected"),
    [
        ([40, 40, 40], 120, [["t0", "t1", "t2"]]),
        ([40, 40, 40], 119, [["t0", "t1"], ["t2"]]),
        ([40, 40, 40], 40, [["t0"], ["t1"], ["t2"]]),
        ([40, 40, 40], 39, [["t0"], ["t1"], ["t2"]]),
        ([60, 60, 20, 60, 20, 20], 100, [["t0"], ["t1", "t2"], ["t3", "t4", "t5"]]),
        ([4, 400, 4], 10, [["t0"], ["t1"], ["t2"]]),
        ([400], 10, [["t0"]]),
    ],
)
@pytest.mark.parametrize("is_safe", [True, False])
def test_shards_are_filled_in_order(
    sizes: list[int], most: int, expected: list[list[str]], is_safe: bool, tmp_path: Path
) -> None:
    state = state_of(*sizes)
    stem, suffix = ("model", "safetensors") if is_safe else ("pytorch_model", "bin")

    shards.write_weights(tmp_path / "new", state, max_bytes=most, is_safe=is_safe)

    assert_same(files.read_weights(tmp_path / "new"), state)
    if len(expected) == 1:
        assert names_in(tmp_path / "new") == [f"{stem}.{suffix}"]
        return
    names = [f"{stem}-{i:05d}-of-{len(expected):05d}.{suffix}" for i in range(1, len(expected) + 1)]
    index = f"{stem}.{suffix}.index.json"
    assert names_in(tmp_path / "new") == sorted([*names, index])
    document = json.loads((tmp_path / "new" / index).read_text())
    assert document["metadata"] == {"total_size": sum(sizes)}
    assert document["weight_map"] == {t: name for name, shard in zip(names, expected, strict=True) for t in shard}
    for name, shard in zip(names, expected, strict=True):
        assert set(files.read_tensor_file(tmp_path / "new" / name)) == set(shard)
        if is_safe:
            with safe_open(tmp_path / "new" / name, "pt") as file:
                assert file.metadata() == {"format": "pt"}


SAVES = [(most, is_safe) for most in (10**9, 80, 40) for is_safe in (True, False)]


@pytest.mark.parametrize(("most_before", "was_safe"), SAVES)
@pytest.mark.parametrize(("most", "is_safe"), SAVES)
def test_an_earlier_save_is_never_read_again(
    most_before: int, was_safe: bool, most: int, is_safe: bool, tmp_path: Path
) -> None:
    (tmp_path / "notes-00001-of-00002.safetensors").write_text("of somebody else")
    shards.write_weights(tmp_path, state_of(40, 40, 40), max_bytes=most_before, is_safe=was_safe)
    new = {name: tensor + 7 for name, tensor in state_of(40, 40, 40).items()}

    shards.write_weights(tmp_path, new, max_bytes=most, is_safe=is_safe)

    assert_same(files.read_weights(tmp_path), new)
    shards.write_weights(tmp_path / "fresh", new, max_bytes=most, is_safe=is_safe)
    suffix = ".bin" if is_safe else "?"  # pickles of an earlier save lie beside safetensors, which all readers prefer
    left = {name for name in names_in(tmp_path) if suffix not in name} - {"fresh", "notes-00001-of-00002.safetensors"}
    assert left == set(names_in(tmp_path / "fresh"))
    assert (tmp_path / "notes-00001-of-00002.safetensors").exists()


def test_a_save_that_fails_half_way_leaves_no_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards.write_weights(tmp_path, state_of(40, 40, 40), max_bytes=40)
    write = shards.write_safetensors

    def write_until_full(path: Path, state: Any) -> None:
        if "00002" in path.name:
            raise InputError(path, expected="room on the disk", hint="free some")
        write(path, state)

    monkeypatch.setattr(shards, "write_safetensors", write_until_full)
    with pytest.raises(InputError, match="room on the disk"):
        shards.write_weights(tmp_path, {name: t + 7 for name, t in state_of(40, 40, 40).items()}, max_bytes=40)

    with pytest.raises(CheckpointError, match="without weights"):
        files.read_weights(tmp_path)


def test_a_failed_save_of_shards_leaves_the_old_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = state_of(40, 40)
    shards.write_weights(tmp_path, old, max_bytes=10**9)

    def full(path: Path, state: Any) -> None:
        raise InputError(path, expected="room on the disk", hint="free some")

    monkeypatch.setattr(shards, "write_safetensors", full)
    with pytest.raises(InputError, match="room on the disk"):
        shards.write_weights(tmp_path, state_of(40, 44), max_bytes=40)

    assert_same(files.read_weights(tmp_path), old)


def test_a_pickle_holds_no_more_than_its_tensors(tmp_path: Path) -> None:
    whole = torch.arange(100_000, dtype=torch.float32)

    shards.write_weights(tmp_path, {"first": whole[:10], "last": whole[-10:]}, max_bytes=10**9, is_safe=False)

    path = tmp_path / "pytorch_model.bin"
    assert path.stat().st_size < 5000
    found = torch.load(path, weights_only=True)
    assert type(found) is dict
    assert_same(found, {"first": whole[:10], "last": whole[-10:]})
