"""Talking to a person or to a program: one line for errors, one JSON document, progress bars on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from videomae.core.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

EXIT_DONE = 0
EXIT_FAULT_OF_OURS = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def stderr_console() -> Console:
    """Where people's text goes: stdout belongs to results."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(document: dict[str, Any]) -> None:
    """The one JSON document on stdout."""
    print(json.dumps(document, indent=2, ensure_ascii=False), flush=True)


def describe_error(error: InputError) -> dict[str, str]:
    """The parts of an error, for `--json`."""
    return {"value": error.value, "expected": error.expected, "hint": error.hint}


def run_guarded(command: Callable[[], int], *, as_json: bool) -> int:
    """Run a command and turn every way it can end into the exit status and line of the contract."""
    try:
        return command()
    except InputError as error:
        if as_json:
            print_json({"error": describe_error(error)})
        else:
            print(f"videomae: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("videomae: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; nothing is wrong, and there is nobody to tell.
        sys.stderr.close()
        return EXIT_DONE
    except Exception as error:
        import traceback

        traceback.print_exc()
        print(
            f"videomae: this is a fault of videomae, not yours ({type(error).__name__}: {error}); "
            "please report it with the lines above",
            file=sys.stderr,
        )
        if as_json:
            print_json(
                {"error": {"value": repr(error), "expected": "no fault of videomae", "hint": "please report it"}}
            )
        return EXIT_FAULT_OF_OURS
