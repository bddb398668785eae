"""Mistakes on the command line: one line with the value, what was expected and what to do."""

from __future__ import annotations

import json

import pytest
from small_runs import Commands, run_python

from videomae.cli.main import COMMANDS


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("pretrain", "pretrain without DATA and --output: expected DATA and --output to be given; see"),
        ("pretrain d", "pretrain without --output: expected --output to be given; see"),
        ("finetune d --output o", "finetune without --init: expected --init to be given; see"),
        ("evaluate d", "evaluate without --model: expected --model to be given; see"),
        ("predict v", "predict without --model: expected --model to be given; see"),
        ("predict --model m", "no video: expected one video or more; name files or folders"),
        ("reconstruct v --model m", "reconstruct without --output: expected --output to be given; see"),
        ("info", "info without CKPT: expected CKPT to be given; see"),
        ("pretrain d --output o --epochs x", "--epochs x: expected a whole number; see"),
        ("pretrain d --output o --epochs 1.5", "--epochs 1.5: expected a whole number; see"),
        ("pretrain d --output o --learning-rate fast", "--learning-rate fast: expected a number; see"),
        ("predict v --model m --frame-stride x", "--frame-stride x: expected a whole number; see"),
        ("pretrain d --output o --size mega", "--size mega: expected tiny or small or base or large or huge or giant;"),
        ("pretrain d --output o --precision fp8", "--precision fp8: expected auto or bf16 or fp32 or fp16; see"),
        ("pretrain d --output", "--output without a value: expected a value after it; see"),
        (
            "pretrain d --output o --epoch 3",
            "unknown option --epoch: expected options of videomae pretrain; did you mean --epochs? see",
        ),
        ("pretrain d e --output o", "unknown argument e: expected the arguments of videomae pretrain; see"),
        ("reconstruct v --model m --output o.png --num-workers 2", "unknown option --num-workers: expected options of"),
        # First of all, for they are often why something is missing.
        (
            "pretrain d --outptu x",
            "unknown option --outptu: expected options of videomae pretrain; did you mean --output? see",
        ),
        (
            "pretrain d --outptu=x --recipe absent",
            "unknown option --outptu: expected options of videomae pretrain; did",
        ),
        (
            "finetune d --outptu x --epochz 3",
            "unknown options --outptu and --epochz: expected options of videomae finetune; "
            "did you mean --output and --epochs? see",
        ),
        (
            "evaluate d --modle m",
            "unknown option --modle: expected options of videomae evaluate; did you mean --model? see",
        ),
        ("probe d --data x", "unknown option --data: expected"),
        ("info -j", "unknown option -j: expected options of videomae info; see"),
        ("pretrain d --output o --no-epochs", "unknown option --no-epochs: expected"),
        (
            "recipes show pretrain --jsno",
            "unknown option --jsno: expected options of videomae recipes show; did you mean --json?",
        ),
        ("info a b", "unknown argument b: expected the arguments of videomae info; see"),
    ],
)
def test_the_line(commands: Commands, words: str, line: str) -> None:
    assert commands.refused(*words.split()).startswith(f"videomae: {line}")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("pretrain d --output o --epochs 0", "epochs=0: expected at least 1; change --epochs"),
        (
            "pretrain d --output o --epochs 0 --accumulation 0 --mask-ratio 1.5",
            "epochs=0, accumulation=0, mask_ratio=1.5: expected epochs at least 1, accumulation at least 1, mask_ratio "
            "a share between 0 and 1; change --epochs, change --accumulation, change --mask-ratio",
        ),
        ("pretrain d --output o --mask-ratio 1.5", "mask_ratio=1.5: expected a share between 0 and 1;"),
        ("finetune d --output o --init i --layer-decay 2", "layer_decay=2.0: expected a share above 0, up to 1;"),
        ("predict v --model m --top-k 0", "--top-k 0: expected 1 or more;"),
        (
            "reconstruct v --model m --output o.bmp",
            "--output o.bmp: expected .png or .jpg or .jpeg or .webp or .gif or ",
        ),
        (
            "reconstruct v --model m --output o.png --mask-ratio 0",
            "--mask-ratio 0.0: expected a share between",
        ),
    ],
)
def test_values_out_of_range(commands: Commands, words: str, line: str) -> None:
    assert commands.refused(*words.split()).startswith(f"videomae: {line}")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
@pytest.mark.parametrize("width", ["40", "200"])
def test_the_terminal_changes_nothing(width: str, encoding: str) -> None:
    """tyro draws its box by the terminal's width and encoding; the line that we make of it is the same."""
    words = [["pretrain", "d", "--output", "o", "--size", "mega"], ["pretrain"], ["pretrain", "d", "--outptu", "o"]]
    code = f"""
import os
os.environ["COLUMNS"] = "{width}"
from videomae.cli.main import main
for words in {words!r}:
    assert main(words) == 2
assert main(["--help"]) == main(["pretrain", "--help"]) == 0
"""
    done = run_python(code, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "videomae: --size mega: expected tiny or small or base or large or huge or giant; see videomae pretrain --help",
        "videomae: pretrain without DATA and --output: expected DATA and --output to be given; "
        "see videomae pretrain --help",
        "videomae: unknown option --outptu: expected options of videomae pretrain; did you mean --output? "
        "see videomae pretrain --help",
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_the_nearest_option(commands: Commands, command: str) -> None:
    line = commands.refused(command, "--jsno")
    assert line.startswith("videomae: unknown option --jsno: expected options of")
    assert "did you mean --json?" in line


def test_all_ways_to_write_an_option_are_known(commands: Commands) -> None:
    words = ["--batch_size", "6", "--num-workers", "-1", "--no-flip", "--mixup=0.8", "--rand-augment", ""]
    line = commands.refused("finetune", "absent", "--init", "scratch", "--output", "o", *words)
    assert "there is no such file or folder" in line


@pytest.mark.parametrize("words", [["--batch-size", "auto"], ["--batch_size", "auto"], ["--batch-size=auto"]])
def test_an_automatic_batch_size_is_a_word(commands: Commands, words: list[str]) -> None:
    line = commands.refused("pretrain", "absent", "--output", "o", *words)
    assert "there is no such file or folder" in line


@pytest.mark.parametrize("value", ["0", "-2", "all"])
def test_other_batch_sizes_are_refused(commands: Commands, value: str) -> None:
    line = commands.refused("pretrain", "absent", "--output", "o", "--batch-size", value)
    expected = "a whole number" if value == "all" else "at least 1, or auto"
    assert f"{value}: expected {expected}" in line


def test_json(commands: Commands) -> None:
    assert commands("pretrain", "d", "--output", "o", "--epochs", "x", "--json") == 2
    assert commands.err == ""
    assert json.loads(commands.out) == {
        "error": {"value": "--epochs x", "expected": "a whole number", "hint": "see videomae pretrain --help"}
    }
