"""`videomae compare` and `videomae.compare`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from small_runs import Commands

import videomae
from videomae.training.finetune import FinetuneResult
from videomae.training.pretrain import PretrainResult


def copied(run: Path, target: Path, **settings: object) -> Path:
    shutil.copytree(run, target)
    stored = json.loads((target / "recipe.json").read_text())
    stored["recipe"].update(settings)
    (target / "recipe.json").write_text(json.dumps(stored))
    return target


def test_runs_in_one_page(commands: Commands, finetuned: FinetuneResult, tmp_path: Path) -> None:
    other = copied(finetuned.folder, tmp_path / "other <b>", learning_rate=0.123)
    page = tmp_path / "new" / "page.html"
    assert commands("compare", finetuned.folder, other, "--output", page) == 0
    assert "learning_rate  0.05        0.123" in commands.out
    assert "100.0%" in commands.out
    text = page.read_text(encoding="utf-8")
    for part in ("Training loss", "Top-1 on validation", "Settings that differ", "0.123", "other &lt;b&gt;", "<svg"):
        assert part in text, part
    assert "other <b>" not in text
    assert "beta1" not in text  # alike in both


def test_numbers_for_programs(commands: Commands, finetuned: FinetuneResult, pretrained: PretrainResult) -> None:
    found = commands.json("compare", finetuned.folder, pretrained.folder)
    first, second = found["runs"]
    assert (first["best"], first["best_epoch"]) == (finetuned.best_top1, finetuned.best_epoch)
    assert (second["best"], second["last_loss"]) == (None, pretrained.loss)
    assert first["num_steps"] == 9
    assert "mask_ratio" in found["settings"]


@pytest.fixture(autouse=True)
def _in_a_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # compare.html is written into the current one


def test_a_run_has_one_color_in_all_charts(
    finetuned: FinetuneResult, pretrained: PretrainResult, tmp_path: Path
) -> None:
    """The first run has no validation; the second one keeps the second color where it stands alone."""
    page = videomae.compare([pretrained, finetuned], output=tmp_path / "x.html").report
    assert page is not None
    figures = page.read_text(encoding="utf-8").split("<figure")
    [accuracy] = [figure for figure in figures if "Top-1 on validation (%)</h3>" in figure][-1:]
    assert "--c1" in accuracy
    assert "--c0" not in accuracy


def test_in_python(finetuned: FinetuneResult, pretrained: PretrainResult, tmp_path: Path) -> None:
    found = videomae.compare([finetuned, pretrained.folder])
    assert found.report is None
    assert not list(tmp_path.iterdir())
    assert [run.name for run in found.runs] == [finetuned.folder.name, "pretrained"]
    assert found.runs[0].best == (1.0, finetuned.best_epoch)
    assert "classifier" in found._repr_html_()


def test_of_errors_the_smallest_is_the_best(commands: Commands, finetuned: FinetuneResult, tmp_path: Path) -> None:
    run = copied(finetuned.folder, tmp_path / "scores")
    lines = [
        {"step": step, "epoch": step, "split": "val", "loss": 1.0, "mae": error}
        for step, error in ((1, 0.5), (2, 0.25), (3, 0.75))
    ]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert videomae.compare([run]).runs[0].best == (0.25, 2)
    assert commands("compare", run, finetuned.folder) == 0
    assert "MAE 0.25" in commands.out
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "Mean absolute error on validation" in page


def test_names_tell_runs_apart(finetuned: FinetuneResult, tmp_path: Path) -> None:
    folders = [copied(finetuned.folder, tmp_path / name / "run") for name in ("first", "second")]
    found = videomae.compare([*folders, folders[0]], output=tmp_path / "x.html")
    assert len({run.name for run in found.runs}) == 3
    found = videomae.compare(folders)
    assert [run.name for run in found.runs] == ["first/run", "second/run"]


def test_what_is_no_run(commands: Commands, colors: Path, finetuned: FinetuneResult, tmp_path: Path) -> None:
    assert "with recipe.json" in commands.refused("compare", finetuned.folder, colors)
    assert "one or more" in commands.refused("compare")
    broken = copied(finetuned.folder, tmp_path / "broken")
    (broken / "recipe.json").write_text("{")
    assert "recipe.json" in commands.refused("compare", broken)
    empty = copied(finetuned.folder, tmp_path / "empty")
    (empty / "metrics.jsonl").write_text("")
    assert commands("compare", empty) == 0  # killed before its first line
    assert "–" in commands.out
