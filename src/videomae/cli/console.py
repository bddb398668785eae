"""Talking to a person or to a program: one line for errors, one JSON document, progress bars on stderr."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import time
from collections.abc import Callable, Container, Sequence
from typing import Any, TextIO

from videomae.core.errors import InputError
from videomae.core.machine import is_main_process
from videomae.core.text import one_line

EXIT_DONE = 0
EXIT_FAULT_OF_OURS = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
_SECONDS_AFTER_MAIN = 5.0
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def print_json(document: dict[str, Any]) -> None:
    """The one JSON document on stdout; of several processes the main one prints it."""
    if not is_main_process():
        return
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(document, indent=2, ensure_ascii=not is_utf8), flush=True)


def print_bold(text: str) -> None:
    """A result on stdout, bold in a terminal."""
    is_bold = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    print(f"\x1b[1m{text}\x1b[0m" if is_bold else text)


def print_columns(rows: Sequence[Sequence[str]], *, right: Container[int] = ()) -> None:
    """Rows as aligned columns, whole however narrow the terminal is: shortened names and paths would look alike.

    Args:
        rows: cells, the header first.
        right: columns whose cells stand at the right.
    """
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = []
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            gap = " " * (width - cell_len(cell))
            cells.append(gap + cell if column in right else cell + gap)
        print("  ".join(cells).rstrip())


def print_alert(text: str, *, style: str) -> None:
    """A line on stderr, in a terminal colored and wrapped at words."""
    if not sys.stderr.isatty():  # the libraries for terminals need not be loaded
        print(text, file=sys.stderr)
        return
    from videomae.api._console import stderr_console

    stderr_console().print(text, markup=False, style=style)


def describe_error(error: InputError) -> dict[str, str]:
    """The parts of an error, for `--json`."""
    return {"value": error.value, "expected": error.expected, "hint": error.hint}


def accept_any_text() -> None:
    """Let no character end a command: what the output's encoding lacks, odd file names too, is written as `\\u…`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run_guarded(command: Callable[[], int], *, as_json: bool) -> int:
    """Run a command and turn every way it can end into the exit status and line of the contract."""
    try:
        try:
            return _run_and_flush(command)
        except InputError as error:
            return _report_bad_input(error, as_json=as_json)
        except PermissionError as error:
            denied = InputError(
                f"{error.filename} ({error.strerror})",
                expected="a file or folder that you may read and write",
                hint="change its permissions, or choose another",
            )
            return _report_bad_input(denied, as_json=as_json)
        except KeyboardInterrupt:
            print("videomae: interrupted", file=sys.stderr)
            return EXIT_INTERRUPTED
        except BrokenPipeError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                return _report_no_room(error, as_json=as_json)
            return _report_fault_of_ours(error, as_json=as_json)
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; this is no error, and nobody is left to report to.
        _silence_output(sys.stdout, sys.stderr)
        return EXIT_DONE


def _run_and_flush(command: Callable[[], int]) -> int:
    try:
        status = command()
    except SystemExit as leaving:  # tyro's way out after --help
        status = leaving.code if isinstance(leaving.code, int) else EXIT_DONE
    sys.stdout.flush()  # a broken pipe shows here, and not when Python ends
    return status


def _report_bad_input(error: InputError, *, as_json: bool) -> int:
    if not is_main_process():
        # Mostly the main process has the same to say; the launcher, seeing it end, ends this one meanwhile.
        time.sleep(_SECONDS_AFTER_MAIN)
        print(f"videomae: process {os.environ.get('RANK')}: {one_line(str(error))}", file=sys.stderr)
    elif as_json:
        print_json({"error": describe_error(error)})
    else:
        print_alert(f"videomae: {one_line(str(error))}", style="red")
    return EXIT_BAD_INPUT


def _report_no_room(error: OSError, *, as_json: bool) -> int:
    full = InputError(
        f"{error.filename or 'a file or the output'} ({error.strerror})",
        expected="room on the disk for what is written",
        hint="free space, or write elsewhere",
    )
    try:
        return _report_bad_input(full, as_json=as_json)
    except OSError:  # the full disk is the one that stdout goes to
        return _report_bad_input(full, as_json=False)
    finally:
        _silence_output(sys.stdout)


def _report_fault_of_ours(error: Exception, *, as_json: bool) -> int:
    import traceback

    traceback.print_exc()
    print(
        f"videomae: this is a bug in videomae ({type(error).__name__}: {error}); please report it with the lines above",
        file=sys.stderr,
    )
    if as_json:
        print_json({"error": {"value": repr(error), "expected": "no fault of videomae", "hint": "please report it"}})
    return EXIT_FAULT_OF_OURS


def _silence_output(*streams: TextIO) -> None:
    """Send what is still buffered nowhere, so that Python's last flush cannot fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream.fileno())
