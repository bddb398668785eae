"""A device or a precision that is not there is one line of every command, before anything is loaded or written."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import Commands

import videomae

# Words after DATA; the checkpoint is not there either, which is not what is said.
MORE = {
    "predict": ["--model", "absent"],
    "embed": ["--model", "absent", "--output", "f.npz"],
    "evaluate": ["--model", "absent"],
    "probe": ["--model", "absent"],
    "reconstruct": ["--model", "absent", "--output", "f.png"],
    "pretrain": ["--output", "run"],
    "finetune": ["--output", "run", "--init", "scratch"],
}


def words_of(command: str, colors: Path) -> list[str]:
    video = colors / "val" / "red" / "red_0.mp4"
    return [command, str(video if command in ("predict", "reconstruct") else colors), *MORE[command]]


@pytest.mark.parametrize("device", ["xyz", "cuda:31", "meta"])
@pytest.mark.parametrize("command", MORE)
def test_a_device_that_is_not_there(
    commands: Commands, colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, device: str
) -> None:
    monkeypatch.chdir(tmp_path)
    line = commands.refused(*words_of(command, colors), "--device", device)
    assert line.startswith(f"videomae: --device {device}, which ")
    assert "expected auto or cpu" in line
    assert list(tmp_path.iterdir()) == []


def test_the_demo_too(commands: Commands, tmp_path: Path) -> None:
    line = commands.refused("demo", "--output", tmp_path / "run", "--device", "cuda:31")
    assert line.startswith("videomae: --device cuda:31, which ")


@pytest.mark.parametrize("command", MORE)
def test_a_precision_that_does_not_exist(commands: Commands, colors: Path, command: str) -> None:
    line = commands.refused(*words_of(command, colors), "--precision", "fp8")
    assert line.startswith("videomae: --precision fp8: expected ")


@pytest.mark.parametrize("function", [videomae.predict, videomae.embed, videomae.evaluate, videomae.reconstruct])
def test_in_python(colors: Path, function: object) -> None:
    data = colors / "val" / "red" / "red_0.mp4" if function is videomae.reconstruct else colors
    names = (
        "auto or fp32 or bf16 or fp16" if function is videomae.reconstruct else "auto or bf16 or fp32 or fp16 or int8"
    )
    with pytest.raises(videomae.InputError, match=rf"precision fp8.*expected {names};"):
        function(data, model="absent", precision="fp8", device="cpu")  # type: ignore[operator]
    with pytest.raises(videomae.InputError, match=r"cuda:31, which .*expected auto or cpu"):
        function(data, model="absent", device="cuda:31")  # type: ignore[operator]
