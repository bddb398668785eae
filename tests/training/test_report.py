"""report.html of both kinds of run."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from small_runs import Recorder, stop_after, tiny_finetune_recipe, tiny_pretrain_recipe

from videomae.core.errors import InputError
from videomae.report.curves import curve_pairs
from videomae.training import regular_reports
from videomae.training.finetune import FinetuneResult, finetune
from videomae.training.pretrain import PretrainResult, pretrain
from videomae.training.regular_reports import RegularReports
from videomae.training.trainer import TrainingStopped


def _self_contained(page: str) -> None:
    """Nothing is fetched: every source and every reference is in the file itself."""
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    for found in re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", markup):
        assert found.startswith(("data:", "#")), found[:80]
    assert not re.search(r"url\((?!['\"]?data:)", page)
    assert "<script src" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "@import" not in page


def test_the_report_of_pretraining(pretrained: PretrainResult) -> None:
    page = (pretrained.folder / "report.html").read_text()
    _self_contained(page)
    for part in (
        "Pre-training",
        "18 videos",
        "tube 75%",
        "Reconstructions",
        "norm_pix_loss",
        "pasted in",
        "mask_ratio",
        "finished after 6 steps",
        "cpu in fp32",
        "torch",
    ):
        assert part in page, part
    assert page.count("<img") == 3  # the same clips at all points, and not once more
    assert page.count("<svg") == 5  # loss, learning rate, speed, wait, memory
    assert len(page) < 1_000_000


def test_the_report_of_finetuning(finetuned: FinetuneResult, colors: Path) -> None:
    page = (finetuned.folder / "report.html").read_text()
    _self_contained(page)
    for part in ("validation top-1", "100.0%", "6 videos", "Confusion matrix", "green", "layer_decay", "Calibration"):
        assert part in page, part
    assert f"the weights of epoch {finetuned.best_epoch}, the best on validation" in page
    assert "majority class 33.3%" in page
    assert "95 % interval of top-1 with 6 videos" in page
    assert "6 videos as points, by class" in page
    assert "What differs from the recipe finetune" in page
    changed = page[page.index("What differs") : page.index("settings</summary>")]
    assert ">batch_size<" in changed
    assert ">beta1<" not in changed
    data = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', page)[0])
    assert len(data["rows"]) == 6
    for row in data["rows"]:
        assert (finetuned.folder / unquote(row["source"])).resolve() == Path(row["path"]).resolve()
        assert Path(row["path"]).is_relative_to(colors / "val")


def test_the_result_in_one_line(finetuned: FinetuneResult, pretrained: PretrainResult) -> None:
    assert finetuned.summary == f"best top-1 100.0% (61–100), epoch {finetuned.best_epoch}, majority class 33.3%"
    assert pretrained.summary == f"loss {pretrained.loss:.3f} after 6 steps"
    without = dataclasses.replace(finetuned, best_top1=None, best_epoch=None, majority_share=None)
    assert without.summary == "9 steps, no validation videos"


def test_a_run_that_is_stopped_has_a_report(colors: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped):
        finetune(colors, tmp_path / "run", tiny_finetune_recipe(), init="scratch", monitor=stop_after(5))
    page = (tmp_path / "run" / "report.html").read_text()
    assert "step 5 of 9: running or interrupted" in page
    assert "Confusion matrix" in page  # of the first epoch
    with pytest.raises(TrainingStopped):
        pretrain(colors, tmp_path / "other", tiny_pretrain_recipe(), monitor=stop_after(1))
    page = (tmp_path / "other" / "report.html").read_text()
    assert "step 1 of 6: running or interrupted" in page
    assert "none yet" in page


def test_each_epoch_has_a_report(colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[str] = []
    recorder = Recorder(
        lambda report: states.extend(re.findall(r"step \d of 9", path.read_text()) if path.exists() else ["none"])
    )
    path = tmp_path / "run" / "report.html"
    monkeypatch.setattr(regular_reports, "MAX_SHARE", 1e9)  # however slow this machine is
    finetune(colors, tmp_path / "run", tiny_finetune_recipe(), init="scratch", monitor=recorder)
    assert states == ["none"] * 3 + ["step 3 of 9"] * 3 + ["step 6 of 9"] * 3


def test_reports_take_little_of_the_time() -> None:
    now, written, warnings = [0.0], list[float](), list[str]()

    def write() -> None:
        written.append(now[0])
        now[0] += 3.0
        if len(written) == 2:
            raise InputError("report.html", expected="room", hint="free some")

    reports = RegularReports(write, warnings.append, clock=lambda: now[0])
    for _ in range(100):
        now[0] += 10.0
        reports.update()
    assert written[:2] == [10.0, 163.0]  # 3 s of writing in at least 150 s
    assert len(written) == 7
    assert len(warnings) == 1
    reports.update(is_last=True)
    assert len(written) == 8


@pytest.mark.parametrize("split", ["train", "val"])
def test_curves_leave_out_steps_without_a_loss(split: str) -> None:
    records = [{"step": step, "split": split, "loss": loss} for step, loss in ((1, 2.0), (2, None), (3, 1.0))]
    assert curve_pairs([*records, {"step": 3, "split": "other", "loss": 9.0}], split, "loss") == [(1, 2.0), (3, 1.0)]


def test_speed_and_memory_have_curves(pretrained: PretrainResult, finetuned: FinetuneResult) -> None:
    for folder in (pretrained.folder, finetuned.folder):
        page = (folder / "report.html").read_text()
        assert "Learning rate, speed and memory" in page
        for title in ("learning rate", "clips per second", "data wait (% of the time)", "peak memory (GiB)"):
            assert f"<h3>{title}</h3>" in page
        assert "steps skipped so far" not in page  # none was


def test_the_same_clips_over_time(pretrained: PretrainResult) -> None:
    page = (pretrained.folder / "report.html").read_text()
    assert page.count("frames of a clip, original, masked, and rebuilt after epoch 1, epoch 2") == 3
