"""report.html of both kinds of run."""

from __future__ import annotations

import re

import pytest

from videomae.training.finetune import FinetuneResult
from videomae.training.pretrain import PretrainResult
from videomae.training.report import training_curve


def _self_contained(page: str) -> None:
    """Nothing is fetched: every source and every reference is in the file itself."""
    for found in re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", page):
        assert found.startswith(("data:", "#")), found[:80]
    assert not re.search(r"url\((?!['\"]?data:)", page)
    assert "<script src" not in page
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
    ):
        assert part in page, part
    assert page.count("<img") + page.count("<svg") >= 4  # the curve and three reconstructions


def test_the_report_of_finetuning(finetuned: FinetuneResult) -> None:
    page = (finetuned.folder / "report.html").read_text()
    _self_contained(page)
    for part in ("validation top-1", "100.0%", "6 videos", "Which classes are taken for which", "green", "layer_decay"):
        assert part in page, part
    assert "validation accuracy over steps" in page
    assert f"the weights of epoch {finetuned.best_epoch}, the best on validation" in page


@pytest.mark.parametrize("split", ["train", "val"])
def test_curves_leave_out_steps_without_a_loss(split: str) -> None:
    records = [{"step": step, "split": split, "loss": loss} for step, loss in ((1, 2.0), (2, None), (3, 1.0))]
    assert training_curve([*records, {"step": 3, "split": "other", "loss": 9.0}], split) == [(1, 2.0), (3, 1.0)]


def test_speed_and_memory_have_curves(pretrained: PretrainResult, finetuned: FinetuneResult) -> None:
    for folder in (pretrained.folder, finetuned.folder):
        page = (folder / "report.html").read_text()
        assert "Learning rate, speed and memory" in page
        assert "learning rate, clips per second, data wait (% of the time), peak memory (GiB) over steps" in page
        assert "steps skipped so far" not in page  # none was


def test_the_same_clips_over_time(pretrained: PretrainResult) -> None:
    page = (pretrained.folder / "report.html").read_text()
    assert page.count("frames of a clip, original, masked, and rebuilt after epoch 1, epoch 2") == 3
    assert "Of the last rows: " in page
