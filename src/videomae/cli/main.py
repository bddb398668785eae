"""`videomae COMMAND …`: finds the command; nothing heavy is loaded for `--help`."""

from __future__ import annotations

import os
import sys
from importlib import import_module

from videomae import __version__
from videomae.api._public import called_by_command_line
from videomae.cli.arguments import HELP, UsageError
from videomae.cli.console import EXIT_DONE, accept_any_text, print_alert, run_guarded
from videomae.cli.launcher import refuse_wrong_launch
from videomae.core.errors import InputError
from videomae.core.machine import is_main_process

# name → (one line for the list, example)
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("the whole pipeline on generated clips, in a few minutes", "videomae demo"),
    "pretrain": ("pre-train on videos without labels", "videomae pretrain VIDEOS --output pretrained"),
    "finetune": (
        "train a classifier on labelled videos",
        "videomae finetune CLIPS --init pretrained --output classifier",
    ),
    "evaluate": ("evaluate a classifier on labelled videos", "videomae evaluate CLIPS --model classifier"),
    "probe": ("evaluate the features of a frozen encoder", "videomae probe CLIPS --model pretrained --method linear"),
    "predict": ("predict what happens in videos", "videomae predict VIDEO --model classifier"),
    "embed": ("write the features of videos", "videomae embed VIDEOS --model pretrained --output features.npz"),
    "reconstruct": (
        "picture what a pre-trained model rebuilds",
        "videomae reconstruct VIDEO --model pretrained --output x.png",
    ),
    "compare": (
        "curves and results of several runs in one page",
        "videomae compare first second --output compare.html",
    ),
    "index": ("put the features of videos into an index", "videomae index VIDEOS --model pretrained --output my.index"),
    "search": ("find similar videos and moments in an index", "videomae search my.index VIDEO --at 12.5"),
    "scan": ("find broken, copied and leaking videos of a data set", "videomae scan VIDEOS"),
    "pack": ("re-encode videos once, to read them many times faster", "videomae pack VIDEOS packed"),
    "recipes": ("all settings of published runs and of presets", "videomae recipes show v1-finetune-ucf101-base"),
    "convert": (
        "write a checkpoint in another layout, from and to the original code",
        "videomae convert vit_b_k400.pth classifier --num-frames 16 --image-size 224",
    ),
    "info": ("what a checkpoint is", "videomae info pretrained"),
    "bench-data": ("clips per second of your videos on this machine, and what to set", "videomae bench-data VIDEOS"),
    "version": ("versions and the machine: what a bug report needs", "videomae version --all"),
    "completion": (
        "options that the shell completes with the Tab key",
        "videomae completion bash >> ~/.bash_completion",
    ),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 1, 2 or 130."""
    arguments = sys.argv[1:] if arguments is None else arguments
    accept_any_text()
    # Threads that wait spin by default. Where loader workers or neighbors share the cores, spinning threads keep them
    # from those who have work: measured, a step of a small network took 0.8 s instead of 0.13 s. Read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # What an Apple GPU lacks is computed on the CPU, with one line of torch's for each operation. Read likewise.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    return run_guarded(lambda: _run(*(arguments or ["--help"])), as_json="--json" in arguments)


def _run(name: str, *arguments: str) -> int:
    if name == "help" and arguments:
        return _run(arguments[0], "--help")
    if name in ("-h", "--help", "help"):
        print(_help())
        return EXIT_DONE
    if name in ("-V", "--version"):
        print(f"videomae {__version__}")
        return EXIT_DONE
    if name.startswith("-"):
        raise UsageError(
            f"{name} before a command",
            expected="a command first, then its options",
            hint=f"write videomae {next((word for word in arguments if word in COMMANDS), 'COMMAND')} … {name}",
        )
    if name not in COMMANDS:
        import difflib

        close = difflib.get_close_matches(name, COMMANDS, n=1)
        raise UsageError(
            f"unknown command {name!r}",
            expected=" or ".join(COMMANDS),
            hint=f"did you mean {close[0]}?" if close else "see videomae --help",
        )
    if not HELP & set(arguments):
        _warn_of_untested_versions()
    refuse_wrong_launch(name, arguments)
    try:
        with called_by_command_line():
            status: int = import_module(f"videomae.cli.{name.replace('-', '_')}").run(list(arguments))
    except InputError as error:
        from videomae.cli.arguments import in_words_of

        raise in_words_of(name, error) from error
    return status


def _warn_of_untested_versions() -> None:
    from videomae.core.versions import warning_line

    if is_main_process() and (line := warning_line()):
        print_alert(f"videomae: {line}", style="yellow")


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {line}\n  {'':<{width}}    {example}" for name, (line, example) in COMMANDS.items()]
    return (
        f"videomae {__version__}: a folder of videos in, a pre-trained model, a classifier and pictures out\n\n"
        "usage: videomae COMMAND …        (videomae help COMMAND explains its options)\n\n" + "\n".join(lines) + "\n\n"
        "DATA is a folder of class folders, a folder of videos, train/ val/ test/ folders of either, a CSV or TSV\n"
        "or JSON with path,label[,split], a text file of paths, a published list, or packed data.\n"
        "A model is a checkpoint folder or a name on the hub.\n"
        "--json prints one JSON document on stdout; exit status: 0 done, 2 your input, 1 internal error, 130 stopped."
    )


if __name__ == "__main__":
    sys.exit(main())
