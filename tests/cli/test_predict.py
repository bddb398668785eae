"""`videomae predict`."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_runs import Commands, run_python

import videomae
from videomae.training.finetune import FinetuneResult
from videomae.training.pretrain import PretrainResult

CPU = ["--num-workers", "0", "--device", "cpu"]


@pytest.fixture
def clip(colors: Path) -> Path:
    return colors / "val" / "red" / "red_0.mp4"


def test_one_video(commands: Commands, finetuned: FinetuneResult, clip: Path) -> None:
    assert commands("predict", clip, "--model", finetuned.folder, *CPU) == 0
    path, *rows = commands.out.splitlines()
    assert path == str(clip)
    assert len(rows) == 3
    names, shares = zip(*(row.split()[:2] for row in rows), strict=True)
    assert names[0] == "red"
    assert set(names) == {"red", "green", "blue"}
    values = [float(share.removesuffix("%")) for share in shares]
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(100, abs=0.2)


def test_several_videos_make_a_table(commands: Commands, finetuned: FinetuneResult, colors: Path) -> None:
    assert commands("predict", colors / "val" / "blue", colors / "val" / "red", "--model", finetuned.folder, *CPU) == 0
    header, *rows = commands.out.splitlines()
    assert header.split() == ["video", "label", "probability", "others"]
    assert [Path(row.split()[0]).name for row in rows] == ["blue_0.mp4", "blue_1.mp4", "red_0.mp4", "red_1.mp4"]
    assert [row.split()[1] for row in rows] == ["blue", "blue", "red", "red"]
    assert all(row.split()[2].endswith("%") for row in rows)
    assert all(row == row.rstrip() for row in (header, *rows))
    assert len({row.index("%") for row in rows}) == 1


def test_a_narrow_terminal_shortens_no_path(
    commands: Commands, finetuned: FinetuneResult, colors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shortened, the videos of one folder would look alike."""
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes any stream for a terminal
    assert commands("predict", colors / "val", "--model", finetuned.folder, *CPU) == 0
    for path in (colors / "val").rglob("*.mp4"):
        assert f"{path}  " in commands.out


@pytest.mark.parametrize(("views", "number"), [([], 1), (["--clips", "2", "--crops", "3"], 6)])
def test_json(commands: Commands, finetuned: FinetuneResult, colors: Path, views: list[str], number: int) -> None:
    paths = [colors / "val" / "red" / "red_0.mp4", colors / "val" / "blue" / "blue_1.mp4"]
    document = commands.json("predict", *paths, "--model", finetuned.folder, *CPU, *views)
    assert commands.err == ""
    assert set(document) == {"videos"}
    assert [set(video) for video in document["videos"]] == [{"path", "num_views", "predictions"}] * 2
    assert [video["path"] for video in document["videos"]] == [str(path) for path in paths]
    names = {0: "blue", 1: "green", 2: "red"}
    for video in document["videos"]:
        assert video["num_views"] == number
        assert [set(prediction) for prediction in video["predictions"]] == [{"label", "index", "probability"}] * 3
        assert all(names[prediction["index"]] == prediction["label"] for prediction in video["predictions"])
        shares = [prediction["probability"] for prediction in video["predictions"]]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert min(shares) >= 0


@pytest.mark.parametrize(("top_k", "number"), [(1, 1), (2, 2), (50, 3)])
def test_top_k(commands: Commands, finetuned: FinetuneResult, clip: Path, top_k: int, number: int) -> None:
    (video,) = commands.json("predict", clip, "--model", finetuned.folder, *CPU, "--top-k", top_k)["videos"]
    assert video["predictions"][0]["label"] == "red"
    assert len(video["predictions"]) == number


def test_workers_change_nothing(commands: Commands, finetuned: FinetuneResult, colors: Path) -> None:
    words = ["predict", colors / "val", "--model", finetuned.folder, "--device", "cpu"]
    alone = commands.json(*words, "--num-workers", "0")
    assert len(alone["videos"]) == 6
    assert commands.json(*words, "--num-workers", "2") == alone


def test_the_stride_changes_the_answer(commands: Commands, finetuned: FinetuneResult, clip: Path) -> None:
    words = ["predict", clip, "--model", finetuned.folder, *CPU]
    assert commands.json(*words) != commands.json(*words, "--frame-stride", "2")
    assert "--frame-stride 0: expected 1 or more" in commands.refused(*words, "--frame-stride", "0")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "expected an existing file or folder; check the path"),
        ("empty", "(empty, 0 bytes): expected a video file"),
        ("text", "expected a video file; the file is damaged or no video"),
        ("audio", "expected"),
    ],
)
def test_one_file_that_is_no_video(
    commands: Commands, finetuned: FinetuneResult, bad_files: dict[str, Path], kind: str, said: str
) -> None:
    words = ["predict", bad_files[kind], "--model", finetuned.folder, *CPU]
    line = commands.refused(*words)
    assert line.startswith(f"videomae: {bad_files[kind]}")
    assert said in line
    assert commands(*words, "--json") == 2
    error = json.loads(commands.out)
    assert set(error) == {"error"}
    assert (
        f"videomae: {error['error']['value']}: expected {error['error']['expected']}; {error['error']['hint']}" == line
    )
    assert commands.err == ""


def test_a_bad_file_does_not_keep_the_others_from_their_answer(
    commands: Commands, finetuned: FinetuneResult, bad_files: dict[str, Path], clip: Path
) -> None:
    words = ["predict", bad_files["text"], clip, bad_files["empty"], "--model", finetuned.folder, *CPU]
    assert commands(*words) == 2
    assert [str(clip) in line for line in commands.out.splitlines()] == [False, True]
    *notices, last = commands.err.splitlines()
    assert [line.removeprefix("skipping unreadable video: ").split()[0].rstrip(":") for line in notices] == [
        str(bad_files["text"]),
        str(bad_files["empty"]),
    ]
    assert last == "videomae: 2 of 3 videos cannot be read"
    assert commands(*words, "--json") == 2
    document = json.loads(commands.out)
    assert [video["path"] for video in document["videos"]] == [str(clip)]
    assert set(document["error"]) == {"value", "expected", "hint"}
    assert [broken["path"] for broken in document["broken"]] == [str(bad_files["text"]), str(bad_files["empty"])]


def test_files_that_are_all_bad(commands: Commands, finetuned: FinetuneResult, bad_files: dict[str, Path]) -> None:
    assert commands("predict", bad_files["text"], bad_files["empty"], "--model", finetuned.folder, *CPU) == 2
    assert commands.out == ""
    assert commands.err.splitlines()[-1] == "videomae: 2 of 2 videos cannot be read"


def test_a_folder_without_videos(commands: Commands, finetuned: FinetuneResult, tmp_path: Path) -> None:
    assert "without videos" in commands.refused("predict", tmp_path, "--model", finetuned.folder)


def _classifier_without_weights(folder: Path, finetuned: FinetuneResult) -> Path:
    shutil.copytree(finetuned.folder, folder, ignore=shutil.ignore_patterns("*.safetensors", "state"))
    return folder


def test_models_that_cannot_predict(
    commands: Commands, finetuned: FinetuneResult, pretrained: PretrainResult, clip: Path, tmp_path: Path
) -> None:
    def line(model: Path) -> str:
        return commands.refused("predict", clip, "--model", model, *CPU)

    assert "a pre-trained encoder has no classifier yet" in line(pretrained.folder)
    assert "without weights" in line(_classifier_without_weights(tmp_path / "no weights", finetuned))
    (tmp_path / "empty").mkdir()
    assert "expected a checkpoint folder with config.json" in line(tmp_path / "empty")
    assert "expected a folder on this machine or a repository on the hub" in line(tmp_path / "missing")
    damaged = tmp_path / "damaged"
    shutil.copytree(finetuned.folder, damaged)
    (damaged / "model.safetensors").write_bytes((damaged / "model.safetensors").read_bytes()[:1000])
    assert "undamaged weights" in line(damaged)
    (damaged / "config.json").write_text("{")
    assert "config.json" in line(damaged)


def test_a_folder_whose_parts_disagree(
    commands: Commands, finetuned: FinetuneResult, clip: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(finetuned.folder, folder)
    path = folder / "preprocessor_config.json"
    settings: dict[str, Any] = json.loads(path.read_text())
    settings["sampling"]["num_frames"] = 8
    path.write_text(json.dumps(settings))
    line = commands.refused("predict", clip, "--model", folder, *CPU)
    assert "preprocessor_config.json with 8 frames in a clip: expected 4, as config.json says" in line


def test_a_folder_of_another_trainer_is_enough(
    commands: Commands, finetuned: FinetuneResult, clip: Path, tmp_path: Path
) -> None:
    """config.json and weights alone: what any trainer's save_pretrained leaves."""
    videomae.VideoMAEForVideoClassification.from_pretrained(finetuned.folder).save_pretrained(tmp_path)
    (video,) = commands.json("predict", clip, "--model", tmp_path, *CPU)["videos"]
    assert len(video["predictions"]) == 3


def test_odd_file_names(commands: Commands, finetuned: FinetuneResult, clip: Path, tmp_path: Path) -> None:
    """Markup, spaces, colons, letters of other scripts, and bytes that are no UTF-8."""
    names = ["[bold]x.mp4", "a b:c.mp4", "видео 你好.mp4", "\udcff.mp4"]
    paths = [shutil.copy(clip, tmp_path / name) for name in names]
    assert commands("predict", *paths, "--model", finetuned.folder, *CPU) == 0
    for name in names[:3]:
        assert name in commands.out
    assert commands("predict", paths[-1], "--model", finetuned.folder, *CPU) == 0
    assert "\\udcff.mp4" in commands.out
    document = commands.json("predict", *paths, "--model", finetuned.folder, *CPU)
    assert [video["path"] for video in document["videos"]] == [str(path) for path in paths]


def test_predict_loads_only_what_it_needs(finetuned: FinetuneResult, clip: Path) -> None:
    words = ["predict", str(clip), "--model", str(finetuned.folder), *CPU, "--json"]
    done = run_python(
        "import sys\n"
        "from videomae.cli.main import main\n"
        f"assert main({words!r}) == 0\n"
        "print([name for name in ('accelerate', 'torchvision', 'matplotlib', 'transformers') if name in sys.modules],"
        " file=sys.stderr)\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "[]\n"
    assert json.loads(done.stdout)["videos"][0]["num_views"] == 1


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_rows_in_a_file(
    commands: Commands, finetuned: FinetuneResult, colors: Path, bad_files: dict[str, Path], tmp_path: Path, suffix: str
) -> None:
    output = tmp_path / f"x.{suffix}"
    videos = [colors / "val" / "red", bad_files["text"], colors / "val" / "blue"]
    words = ["predict", *videos, "--model", finetuned.folder, *CPU, "--output", output, "--top-k", "2"]
    assert commands(*words) == 2
    assert commands.out == f"{output}\n"
    rows = _rows(output)
    assert [Path(row["path"]).name for row in rows][:2] == ["red_0.mp4", "red_1.mp4"]
    assert len(rows) == 5
    assert [bool(row["error"]) for row in rows] == [False, False, True, False, False]
    if suffix == "csv":
        assert [row["label"] for row in rows] == ["red", "red", "", "blue", "blue"]
        assert float(rows[0]["probability"]) > float(rows[0]["probability_2"]) > 0
        assert "expected a video file" in rows[2]["error"]
    else:
        assert rows[0]["predictions"][0]["label"] == "red"
        assert rows[2]["error"]["expected"] == "a video file"
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_stopped_prediction_continues_and_predicts_no_video_twice(
    finetuned: FinetuneResult, colors: Path, bad_files: dict[str, Path], tmp_path: Path, suffix: str
) -> None:
    output = tmp_path / f"x.{suffix}"
    videos = [colors / "val", bad_files["text"], colors / "train"]
    options: dict[str, Any] = {"model": finetuned.folder, "device": "cpu", "num_workers": 0, "progress": False}
    seen: list[Path] = []

    def stop(result: videomae.VideoPrediction) -> None:
        seen.append(Path(str(result.path)))
        if len(seen) == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        videomae.predict(videos, output=output, on_result=stop, **options)
    assert len(_rows(output)) == 9
    again = videomae.predict(
        videos, output=output, on_result=lambda result: seen.append(Path(str(result.path))), **options
    )
    assert len(seen) == len(set(seen)) == len(again) == 25
    straight = videomae.predict(videos, **options)
    for one, other in zip(again, straight, strict=True):
        assert one.path == other.path
        assert str(one.error) == str(other.error)
        assert [p.label for p in one.predictions] == [p.label for p in other.predictions]
        assert [p.probability for p in one.predictions] == pytest.approx(
            [p.probability for p in other.predictions], abs=1e-5
        )
    # Another model or another setting begins anew.
    seen.clear()
    with pytest.raises(KeyboardInterrupt):
        videomae.predict(videos, output=output, on_result=stop, **options)
    seen.clear()
    videomae.predict(videos, output=output, clips=2, on_result=lambda result: seen.append(result.path), **options)
    assert len(seen) == 25


def test_an_output_of_another_kind(commands: Commands, finetuned: FinetuneResult, clip: Path) -> None:
    words = ["predict", clip, "--model", finetuned.folder, *CPU]
    assert "x.txt: expected a file name ending in .csv or .jsonl" in commands.refused(*words, "--output", "x.txt")
