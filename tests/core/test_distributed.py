"""Processes that talk: what each of them says reaches all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from several_processes import run_in_processes

from videomae.core.distributed import ProcessGroup, joined_process_group, launched_process_group
from videomae.core.errors import ConfigError, InputError, VideoError
from videomae.core.files import write_text

LAUNCHED = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}


def _talk() -> dict[str, Any]:
    with joined_process_group("cpu") as processes:
        rank = processes.rank
        state = {"weights": [torch.full((2,), 5.0), {"step": torch.tensor(7)}], "name": "main"}
        return {
            "rank": rank,
            "world_size": processes.world_size,
            "is_main": processes.is_main,
            "gather": processes.gather({"from": rank}),
            "numbers": processes.gather_numbers(rank, 10 * rank),
            "any": (processes.any(rank == 1), processes.any(False)),
            "sum": processes.sum(torch.tensor([1.0, rank])).tolist(),
            "from_main": processes.from_main(state if processes.is_main else None),
            "device": str(processes.device("cpu")),
        }


def test_what_each_says_reaches_all() -> None:
    for rank, said in enumerate(run_in_processes(_talk, num_processes=3)):
        assert said["rank"] == rank
        assert said["world_size"] == 3
        assert said["is_main"] == (rank == 0)
        assert said["gather"] == [{"from": 0}, {"from": 1}, {"from": 2}]
        assert said["numbers"] == [[0, 0], [1, 10], [2, 20]]
        assert said["any"] == (True, False)
        assert said["sum"] == [3.0, 3.0]
        weights, step = said["from_main"]["weights"]
        assert torch.equal(weights, torch.full((2,), 5.0))
        assert step == {"step": torch.tensor(7)}
        assert said["from_main"]["name"] == "main"


def _let_main_write(folder: Path) -> str:
    with joined_process_group("cpu") as processes:
        answer = processes.on_main(lambda: str(write_text(folder / "file", "text")))
        assert (folder / "file").exists()  # the others have waited
        try:
            processes.on_main(lambda: write_text(folder, "text"))
        except InputError as error:
            return f"{answer}, {error.expected}"
        return "no error"


def test_what_main_alone_does_the_others_wait_for_and_fail_with(tmp_path: Path) -> None:
    main, other = run_in_processes(_let_main_write, tmp_path)
    assert main == f"{tmp_path / 'file'}, the name of a file"
    assert other == "None, the name of a file"


def test_one_process_alone_hears_itself() -> None:
    with joined_process_group("cpu", {}) as alone:
        assert alone == ProcessGroup()
        assert not torch.distributed.is_initialized()
        assert alone.is_main
        assert alone.gather("a") == ["a"]
        assert alone.gather_numbers(1, 2) == [[1, 2]]
        assert alone.any(True)
        assert not alone.any(False)
        values = torch.ones(2)
        assert alone.sum(values) is values
        assert alone.from_main(values) is values
        alone.barrier()


def test_the_launcher_says_who_this_is() -> None:
    assert launched_process_group(LAUNCHED) == ProcessGroup(rank=1, world_size=4, local_rank=1)
    assert launched_process_group({"WORLD_SIZE": "1", "RANK": "0"}) == ProcessGroup()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"RANK": ""}, "RANK='' in the environment"),
        ({"LOCAL_RANK": "first"}, "LOCAL_RANK='first' in the environment"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE='-2' in the environment"),
        ({"RANK": "4"}, "RANK=4 of WORLD_SIZE=4"),
    ],
)
def test_an_environment_that_is_wrong_is_refused(changes: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        launched_process_group({**LAUNCHED, **changes})


def test_a_launcher_that_gives_no_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert "MASTER_ADDR" not in os.environ
    with pytest.raises(ConfigError, match="process 1 of 4 that finds no others"), joined_process_group("cpu", LAUNCHED):
        pass


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="process 3 on a machine with 2 GPUs"):
        ProcessGroup(rank=2, world_size=4, local_rank=2).device("auto")


def _go_on_alone() -> str:
    with joined_process_group("cpu") as processes:
        processes.barrier()
        if processes.is_main:
            processes.barrier()
    return "left"


def test_a_process_that_leaves_is_missed_in_one_line() -> None:
    missed, left = run_in_processes(_go_on_alone)
    assert left == "left"
    assert "process 0 of 2 lost its connection to the others" in str(missed)
    assert "repeat the command to resume" in missed.hint


def _fail_in_one(problem: Exception) -> str:
    try:
        with joined_process_group("cpu") as processes:
            if processes.rank == 1:
                raise problem
            processes.barrier()
    except (InputError, OSError) as error:
        return str(error)
    return "no error"


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (VideoError("clip.mp4", expected="a video", hint="repair it"), "clip.mp4: expected a video; repair it"),
        (
            OSError("no disk\nat all"),
            "OSError: no disk: expected no such failure; see the earlier output of this process",
        ),
    ],
)
def test_what_ends_one_process_the_others_say(problem: Exception, said: str) -> None:
    main, other = run_in_processes(_fail_in_one, problem)
    assert main == f"process 1 of 2: {said}"
    assert other == str(problem)
