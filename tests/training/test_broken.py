"""Videos that a run leaves out: known before, found on the way, remembered, bounded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from small_runs import CLASSES, Recorder, losses, stop_after, tiny_pretrain_recipe, write_clip

from videomae.core.errors import VideoError
from videomae.data import workers
from videomae.data.clips import TrainingClips
from videomae.data.workers import Broken
from videomae.datasets.catalog import Catalog, VideoRecord
from videomae.training.pretrain import pretrain
from videomae.training.states import RunStates
from videomae.training.trainer import TrainingStopped
from videomae.training.unreadable import UnreadableVideos


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_POLL_SECONDS", 0.1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six clips; 3.mp4 is the one to which something happens."""
    for number in range(6):
        write_clip(tmp_path / "data" / f"{number}.mp4", CLASSES["red"], phase=number)
    return tmp_path / "data"


def kill_at_three(monkeypatch: pytest.MonkeyPatch) -> None:
    original = TrainingClips.__getitem__

    def lethal(dataset: TrainingClips, key: tuple[int, int]) -> Any:
        if Path(str(dataset.paths[key[1]])).name == "3.mp4":
            os._exit(9)
        return original(dataset, key)

    monkeypatch.setattr(TrainingClips, "__getitem__", lethal)


def test_a_file_that_ends_its_worker_is_left_out_of_a_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_pretrain_recipe(batch_size=2)
    with monkeypatch.context() as patch:
        kill_at_three(patch)
        monitor = Recorder()
        result = pretrain(data, tmp_path / "run", tiny_pretrain_recipe(batch_size=2, num_workers=2), monitor=monitor)
    (data / "3.mp4").write_text("an ordinary broken video")
    pretrain(data, tmp_path / "plain", recipe)

    assert (result.num_videos, result.num_broken, list(result.broken)) == (5, 1, [str(data / "3.mp4")])
    assert "ended a worker process 2 times: ended with status 9" in result.broken[str(data / "3.mp4")]
    assert sum(note.startswith("skipping unreadable video: ") for note in monitor.notes) == 1
    assert losses(tmp_path / "run") == losses(tmp_path / "plain")
    assert "3.mp4" in (tmp_path / "run" / "report.html").read_text()


def test_a_file_that_ends_its_worker_is_not_tried_again_after_an_interruption(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_pretrain_recipe(batch_size=2, num_workers=1)
    kill_at_three(monkeypatch)
    with pytest.raises(TrainingStopped):
        pretrain(data, tmp_path / "run", recipe, monitor=stop_after(3))
    state = RunStates(tmp_path / "run" / "state").load()
    assert state is not None
    assert list(state["unreadable"]["lethal"]) == [str(data / "3.mp4")]

    monitor = Recorder()
    result = pretrain(data, tmp_path / "run", recipe, monitor=monitor)

    assert result.num_broken == 1
    assert not any("3.mp4" in note for note in monitor.notes)


def test_what_a_scan_found_broken_is_said_first_and_not_opened(data: Path, tmp_path: Path) -> None:
    (data / "3.mp4").write_text("no video")
    Catalog().put(data / "3.mp4", VideoRecord(problem="moov atom not found"))
    monitor = Recorder()

    result = pretrain(data, tmp_path / "run", tiny_pretrain_recipe(batch_size=2, epochs=1), monitor=monitor)

    place = next(number for number, note in enumerate(monitor.notes) if note.startswith("skipping"))
    assert "3.mp4: expected a video that can be read; a scan found: moov atom not found" in monitor.notes[place]
    assert len(monitor.reports) == 3
    assert result.num_broken == 1
    with pytest.raises(VideoError, match="1 of 6 videos cannot be read"):
        pretrain(data, tmp_path / "strict", tiny_pretrain_recipe(max_broken=0.0))


def error(path: Path) -> VideoError:
    return VideoError(path, expected="a video", hint="leave it out")


def test_what_was_once_lethal_is_tried_again_when_it_has_changed(data: Path) -> None:
    paths = sorted(data.iterdir())
    before = UnreadableVideos(paths, 0.5, Recorder().note)
    for index in (1, 3):
        before.excluded[index] = error(paths[index])
        before.add([Broken(index, before.excluded[index])])
    state = before.state_dict()
    os.utime(paths[3], ns=(1, 1))

    after = UnreadableVideos(paths, 0.5, Recorder().note)
    after.load_state_dict(state)

    assert list(after.excluded) == [1]
    assert str(after.excluded[1]) == str(error(paths[1]))
    assert after.reasons == before.reasons


def test_a_problem_that_another_try_may_not_meet_does_not_exclude(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "cache"))
    paths = sorted(data.iterdir())
    catalog = Catalog()
    catalog.put(paths[0], VideoRecord(problem="took longer than 60 seconds", is_problem_certain=False))
    catalog.put(paths[1], VideoRecord(num_frames=8))
    unreadable = UnreadableVideos(paths, 0.5, Recorder().note)

    unreadable.add_scanned()

    assert unreadable.excluded == {}
    assert unreadable.reasons == {}
