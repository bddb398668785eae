"""The whole main job and its report, in miniature."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_demo import NUM_TRAIN_PER_CLASS, NUM_UNLABELLED, NUM_VAL_PER_CLASS, shrink_demo
from small_runs import Recorder

import videomae
from videomae.core.errors import InputError
from videomae.demo.clips import MOTIONS
from videomae.demo.main_job import DemoResult, run_main_job
from videomae.demo.report import write_demo_report

STAGES = ["clips", "pre-training", "fine-tuning", "from scratch", "evaluation"]
NUM_STEPS = NUM_UNLABELLED // 8 + 2 * (NUM_TRAIN_PER_CLASS * len(MOTIONS) // 8)  # one epoch each in batches of 8


@pytest.fixture(scope="module")
def shrunk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink_demo(monkeypatch)
        yield


@pytest.fixture(scope="module")
def done(shrunk: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoResult, Recorder]:
    recorder = Recorder()
    return run_main_job(tmp_path_factory.mktemp("demo") / "my run", monitor=recorder, device="cpu"), recorder


def files_of(folder: Path) -> dict[Path, bytes]:
    """Each file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_result(done: tuple[DemoResult, Recorder]) -> None:
    result, recorder = done
    assert (result.num_unlabelled, result.num_labelled) == (NUM_UNLABELLED, NUM_TRAIN_PER_CLASS * len(MOTIONS))
    assert result.chance == 1 / len(MOTIONS)
    assert list(result.seconds) == STAGES
    assert all(seconds > 0 for seconds in result.seconds.values())
    for judged in (result.pretrained, result.scratch):
        assert judged.class_names == MOTIONS
        assert judged.metrics.num_videos == NUM_VAL_PER_CLASS * len(MOTIONS)
        assert 0 <= judged.metrics.top1 <= judged.metrics.top5 <= 1
    lines = (result.folder / "pretrained/metrics.jsonl").read_text().splitlines()
    assert result.pretrain_loss == json.loads(lines[-1])["loss"]
    assert len(recorder.reports) == NUM_STEPS


def test_the_time_is_told_before_anything_else(done: tuple[DemoResult, Recorder]) -> None:
    assert done[1].notes[0] == "about 3 minutes in all on this machine"


def test_each_stage_leaves_its_checkpoint(done: tuple[DemoResult, Recorder]) -> None:
    folder = done[0].folder
    videomae.VideoMAEForPreTraining.from_pretrained(folder / "pretrained")
    starts = {}
    for name in ("classifier", "scratch"):
        model = videomae.VideoMAEForVideoClassification.from_pretrained(folder / name)
        assert list(model.config.label2id) == list(MOTIONS)
        starts[name] = json.loads((folder / name / "recipe.json").read_text())["init"]
    assert starts == {"classifier": str(folder / "pretrained"), "scratch": "scratch"}


def test_the_report_needs_no_network(done: tuple[DemoResult, Recorder]) -> None:
    result, _ = done
    path = write_demo_report(result)
    assert path == result.folder / "report.html"
    page = path.read_text(encoding="utf-8")
    # Whatever the page loads lies in it; names of XML vocabularies are no addresses that anything is loaded from.
    loaded = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)|url\(([^)]*)\)|@import""", page)
    assert all((first or second).strip("'\"").startswith(("data:", "#")) for first, second in loaded)
    assert "<script src" not in page
    assert page.count('src="data:image/') >= 4  # the clips, three reconstructions
    assert page.count("<svg") >= 4  # the comparison, two losses, the confusion matrix
    for shown in (f"{result.pretrained.metrics.top1:.1%}", f"{result.scratch.metrics.top1:.1%}", *MOTIONS, *STAGES):
        assert shown in page, shown
    assert "my run/classifier&#39;" in page  # quoted for a shell


def test_the_same_call_does_nothing_again(done: tuple[DemoResult, Recorder]) -> None:
    result, _ = done
    before = files_of(result.folder)
    recorder = Recorder()
    again = run_main_job(result.folder, monitor=recorder, device="cpu")
    after = files_of(result.folder)
    assert [path for path in {*before, *after} if before.get(path) != after.get(path)] == []
    assert recorder.reports == []
    assert again.pretrain_loss == result.pretrain_loss
    assert again.pretrained.metrics.top1 == result.pretrained.metrics.top1
    assert again.scratch.metrics.top1 == result.scratch.metrics.top1


def test_clips_that_were_not_all_written_are_written_again(
    done: tuple[DemoResult, Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("videomae.demo.main_job.write_text", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_main_job(tmp_path, device="cpu")
    clip = tmp_path / "clips/pretrain/clip_00003.mp4"
    clip.write_bytes(b"half a clip")
    with monkeypatch.context() as patch:
        patch.setattr("videomae.demo.main_job.pretrain", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_main_job(tmp_path, device="cpu")
    assert clip.read_bytes() == (done[0].folder / "clips/pretrain/clip_00003.mp4").read_bytes()


def test_another_seed_in_the_same_folder_is_refused(done: tuple[DemoResult, Recorder]) -> None:
    folder = done[0].folder
    before = files_of(folder)
    with pytest.raises(InputError, match=r"holds the demonstration of seed 0: expected seed 1 or a new folder; choose"):
        run_main_job(folder, seed=1, device="cpu")
    assert files_of(folder) == before
