"""What started this process: a launcher (`torchrun`, `accelerate launch`) starts the same command several times."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from videomae.cli.arguments import UsageError
from videomae.core.machine import command_line_of

# These share their work among all processes.
SHARING = ("pretrain", "finetune", "evaluate")


def num_launched(environment: Mapping[str, str] | None = None) -> int:
    """How many processes the launcher started, on all machines; what is no number is refused later, with more words."""
    environment = os.environ if environment is None else environment
    given = environment.get("WORLD_SIZE", "1")
    return int(given) if given.isdecimal() else 1


def refuse_wrong_launch(command: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """See to it that nothing is done several times that is to be done once, nor alone what several were to do.

    Raises:
        UsageError: for a command that cannot share its work among the processes that there are; for the one process
            that `accelerate launch --cpu` starts, whatever its --num_processes.
    """
    environment = os.environ if environment is None else environment
    number = num_launched(environment)
    again = f"videomae {command} …"
    # accelerate names a meeting place only where it was asked for several processes.
    if "WORLD_SIZE" not in environment and {"ACCELERATE_MIXED_PRECISION", "MASTER_PORT"} <= environment.keys():
        raise UsageError(
            "accelerate launch that started one process of several",
            expected="all of them; without GPUs and without MPI it starts one, unless given --multi_gpu",
            hint="write accelerate launch --multi_gpu --num_processes N (without --cpu), "
            f"or torchrun --standalone --nproc-per-node N --no-python {again}; then --device cpu",
        )
    if number == 1 or (command in SHARING and "--dry-run" not in arguments):
        return
    named = f"{command} --dry-run" if command in SHARING else command
    raise UsageError(
        f"{named} in {number} processes",
        expected=f"one process; {', '.join(SHARING[:-1])} and {SHARING[-1]} share their work among several",
        hint=f"run it without a launcher: videomae {named} …",
    )


def how_to_resume(words: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """What to type for the run of `videomae WORDS…` to go on, with the launcher that this process was started by."""
    environment = os.environ if environment is None else environment
    alone = shlex.join(["videomae", *words])
    number = num_launched(environment)
    if number == 1:
        return f"To resume, repeat the command:\n  {alone}"
    num_machines = environment.get("GROUP_WORLD_SIZE", "1")
    where = "" if num_machines == "1" else f", on each of the {num_machines} machines,"
    started = command_line_of(os.getppid())
    if started[-len(words) :] == list(words):
        return f"To resume, repeat the command{where}:\n  {shlex.join(as_typed(started))}"
    if environment.get("LOCAL_WORLD_SIZE") == str(number):
        alone = f"torchrun --standalone --nproc-per-node {number} --no-python {alone}"
        return f"To resume, repeat the command:\n  {alone}"
    return f"To resume, start the command again in {number} processes, or in any other number:\n  {alone}"


def as_typed(words: Sequence[str]) -> list[str]:
    """The words of a running command as a person types them: a script by its name, without its interpreter."""
    if len(words) < 2 or not Path(words[0]).name.startswith("python") or not os.access(words[1], os.X_OK):
        return list(words)
    script = Path(words[1])
    known = shutil.which(script.name)
    is_known = known is not None and Path(known).exists() and script.samefile(known)
    return [script.name if is_known else words[1], *words[2:]]
