"""Hints at the command line name only what the command line has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from small_runs import Commands

import videomae
from videomae.api.error_wording import in_command_words, in_python_words
from videomae.cli.arguments import in_words_of, options_of
from videomae.cli.main import COMMANDS
from videomae.core.errors import CheckpointError

SOURCE = Path(videomae.__file__).parent
# Errors of one file: they stand in notes, reports and JSON, which no command rewrites.
OF_FILES = (
    "video/_limits",
    "video/_decoder_session",
    "video/_picture",
    "video/frame_folder",
    "video/opening",
    "video/remote",
)
# Python code and parameters: `name=`, `name(…)`, `snake_case`; not keys of files or variables of the environment.
PYTHON = re.compile(r"\b[a-z]\w*=|\b[A-Za-z_]+\(|\b[a-z]+(_[a-z0-9]+)+\b")
IN_FILES = {"id2label", "start_frame", "end_frame", "recipe_json", "num_processes", "multi_gpu", "merge_and_unload"}
OTHERS = re.compile(r"videomae |torchrun|accelerate|docker")


def _texts(node: ast.expr) -> Iterator[str]:
    """What is written in a string; what is filled in is `…`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from (*_texts(node.body), *_texts(node.orelse))


def _hints() -> list[tuple[str, str]]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            keywords = node.keywords if isinstance(node, ast.Call) else []
            values = [keyword.value for keyword in keywords if keyword.arg == "hint"]
            if isinstance(node, ast.Assign) and any(getattr(name, "id", "") == "hint" for name in node.targets):
                values.append(node.value)
            found += [(str(path.relative_to(SOURCE)), text) for value in values for text in _texts(value) if text]
    return found


HINTS = _hints()


def _options(text: str) -> set[str]:
    """The options of videomae that a text names; those of other programs stand in clauses that name the program."""
    own = [clause for clause in re.split(r"[;,] ", text) if not OTHERS.search(clause)]
    return set(re.findall(r"--[a-z][\w-]*", " ".join(own)))


def test_the_source_is_read() -> None:
    assert len(HINTS) > 250
    assert ("training/metrics_log.py", next(text for _, text in HINTS if "--precision bf16 or fp32" in text)) in HINTS


def test_each_option_in_a_hint_exists() -> None:
    known = set().union(*map(options_of, COMMANDS))
    assert {"--output", "--num-workers", "--no-flip", "--per-class", "--video-root"} <= known
    assert {(file, option) for file, text in HINTS for option in _options(text) - known} == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_no_hint_names_what_a_command_lacks(command: str) -> None:
    options = options_of(command)
    for _, text in HINTS:
        shown = in_command_words(text, command, options)
        assert shown
        assert _options(shown) <= options, (text, shown)
        left = {found[0] for found in PYTHON.finditer(shown)} - IN_FILES
        assert not left, (text, shown, left)


def test_errors_of_files_name_no_parameters() -> None:
    texts = [text for file, text in HINTS if file.removesuffix(".py") in OF_FILES]
    assert len(texts) > 20
    assert [text for text in texts if PYTHON.search(text)] == []


@pytest.mark.parametrize(
    ("command", "python", "shown"),
    [
        ("pretrain", "accept its terms on the hub, then pass token=", "run `hf auth login`, or set HF_TOKEN"),
        ("info", "check revision=", "see videomae info --help"),
        (
            "info",
            "check it, or pass local_files_only=True to use only what is cached",
            "or set HF_HUB_OFFLINE=1 to use",
        ),
        ("predict", "give a larger num_clips", "give a larger --clips"),
        ("finetune", "give a larger image_size", "give a larger --image-size"),
        ("predict", "give --sampling dense, or leave --frame-rate out", "leave --frame-rate out"),
        ("info", "leave it out, or lower --num-workers", "leave it out"),
        ("predict", "the first one: clips/num_clips.mp4", "the first one: clips/num_clips.mp4"),
        ("predict", "clips/num_clips is damaged", "clips/num_clips is damaged"),
        ("predict", "load the model with num_labels=4", "see videomae predict --help"),
        (
            "scan",
            "write accelerate launch --multi_gpu, or torchrun --standalone",
            "write accelerate launch --multi_gpu, or",
        ),
        ("pretrain", "correct the line", "correct the line"),
    ],
)
def test_in_command_words(command: str, python: str, shown: str) -> None:
    assert shown in in_command_words(python, command, options_of(command))


def test_the_whole_error_is_kept() -> None:
    error = in_words_of("info", CheckpointError("x/y", expected="a branch", hint="check revision="))
    assert (type(error), error.value, error.expected) == (CheckpointError, "x/y", "a branch")


def test_a_command_shows_the_words_of_the_command_line(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(arguments: list[str]) -> int:
        raise CheckpointError(
            "x/y", expected="z", hint="check the path, or pass local_files_only=True to use only what is cached"
        )

    monkeypatch.setattr(import_module("videomae.cli.info"), "run", refuse)
    assert commands.refused("info", "x/y").endswith("or set HF_HUB_OFFLINE=1 to use only what is cached")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("lower --num-workers or --batch-size", "lower num_workers or batch_size"),
        ("give --val DATA, or put the videos into train/", "give val=DATA, or put the videos into train/"),
        ("--val-share 0.2 with --val", "val_share=0.2 with val"),
        ("use --precision bf16 or fp32", 'use precision="bf16" or fp32'),
        ("turn --no-flip on", "turn flip=False on"),
        ("see videomae finetune --help", "see help(videomae.finetune)"),
        ("`videomae scan DATA --full` lists them; lower --crf", "`videomae scan DATA --full` lists them; lower crf"),
        ("enlarge /dev/shm (docker: --shm-size 8g)", "enlarge /dev/shm (docker: --shm-size 8g)"),
        ("data/--odd-name.mp4 is damaged", "data/--odd-name.mp4 is damaged"),
    ],
)
def test_in_python_words(text: str, shown: str) -> None:
    error = in_python_words(CheckpointError(text, expected=text, hint=text))
    assert (type(error), error.value, error.expected, error.hint) == (CheckpointError, shown, shown, shown)
