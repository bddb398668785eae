"""The public functions: what a program gets, how errors and notices read, and that types hold."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import CLIP, SPEED, run_python

import videomae
from videomae.recipes import fields
from videomae.training.finetune import FinetuneResult
from videomae.training.pretrain import PretrainResult

CPU: dict[str, typing.Any] = {"device": "cpu", "num_workers": 0, "progress": False}
JOBS = ("pretrain", "finetune", "evaluate", "probe", "predict", "embed", "reconstruct", "scan", "pack")


def test_each_name_is_there_and_documented() -> None:
    for name in videomae.__all__:
        value = getattr(videomae, name)
        assert inspect.getdoc(value), name
    assert set(videomae.__all__) <= set(dir(videomae))
    assert videomae.InputError in videomae.VideoError.__mro__


@pytest.mark.parametrize("name", JOBS)
def test_each_parameter_is_documented_and_typed(name: str) -> None:
    function = getattr(videomae, name)
    text = inspect.getdoc(function) or ""
    for parameter in inspect.signature(function).parameters.values():
        assert f"{parameter.name}: " in text, parameter.name
        assert parameter.annotation is not inspect.Parameter.empty
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize("kind", ["Pretrain", "Finetune"])
def test_keywords_are_the_fields_of_the_recipe(kind: str) -> None:
    recipe = getattr(videomae, f"{kind}Recipe")
    listed = typing.get_type_hints(getattr(fields, f"{kind}Fields"))
    declared = typing.get_type_hints(recipe)
    declared.pop("recipe")
    # One tracker may be given by its name alone.
    trackers = typing.get_args(declared.pop("trackers"))[0]
    assert listed.pop("trackers") == trackers | Sequence[trackers]
    if "class_weights" in declared:  # one word, or weights by name, may be given as they are
        declared.pop("class_weights")
        assert listed.pop("class_weights") == str | Sequence[str] | Mapping[str, float]
    assert listed == declared


def test_loading_nothing_heavy() -> None:
    code = "import sys, videomae; videomae.predict; print('torch' in sys.modules)"
    assert run_python("import sys, videomae; print('torch' in sys.modules)").stdout == "False\n"
    assert run_python(code).stdout == "True\n"


def test_pretrain_and_finetune(colors: Path, tmp_path: Path) -> None:
    speed = {**SPEED, "trackers": ("none",)}
    first = videomae.pretrain(
        colors,
        output=tmp_path / "pretrained",
        progress=False,
        size="tiny",
        epochs=1,
        batch_size=6,
        warmup_epochs=0,
        mask_ratio=0.75,
        **CLIP,
        **speed,
    )
    assert isinstance(first, PretrainResult)
    assert first.steps == 3
    second = videomae.finetune(
        colors, output=tmp_path / "classifier", init=first.folder, progress=False, epochs=1, batch_size=6, **speed
    )
    assert isinstance(second, FinetuneResult)
    assert second.class_names == ("blue", "green", "red")
    again = videomae.finetune(
        colors, output=tmp_path / "classifier", init=first.folder, progress=False, epochs=1, batch_size=6, **speed
    )
    assert again.was_finished


def test_predictions(finetuned: FinetuneResult, colors: Path) -> None:
    clip = colors / "val" / "red" / "red_0.mp4"
    one = videomae.predict(clip, model=finetuned.folder, **CPU)
    assert len(one) == 1
    assert one[0].label == "red"
    assert one[0].probability == one[0].predictions[0].probability
    assert "red" in repr(one)
    assert "<td>red</td>" in one._repr_html_()
    checkpoint = videomae.Checkpoint.open(finetuned.folder)
    assert "VideoMAEForVideoClassification" in repr(checkpoint)
    seen = []
    all_of_them = checkpoint.predict(colors / "val", on_result=seen.append, **CPU)
    assert [result.label for result in all_of_them] == ["blue", "blue", "green", "green", "red", "red"]
    assert len(seen) == 6
    assert checkpoint.evaluate(colors, clips=1, crops=1, **CPU).top1 == 1.0
    assert checkpoint.predict([clip, colors / "val" / "blue"], **CPU)[1:][0].label == "blue"


def test_predict_takes_a_list(finetuned: FinetuneResult, colors: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"path,label\n{colors}/val/red/red_1.mp4,red\n")
    (result,) = videomae.predict(tmp_path / "list.csv", model=finetuned.folder, **CPU)
    assert result.label == "red"


def test_unreadable_videos(
    finetuned: FinetuneResult, colors: Path, bad_files: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(videomae.VideoError, match="expected a video file"):
        videomae.predict(bad_files["text"], model=finetuned.folder, **CPU)
    results = videomae.predict([bad_files["text"], colors / "val" / "red" / "red_0.mp4"], model=finetuned.folder, **CPU)
    assert [result.label for result in results] == [None, "red"]
    assert len(results.errors) == 1
    assert [line for line in caplog.messages if line.startswith("skipping unreadable video: ")]


def test_features(pretrained: PretrainResult, colors: Path, tmp_path: Path) -> None:
    features = videomae.embed(colors / "val", model=pretrained.folder, **CPU)
    assert features.features is not None
    assert features.features.shape == (6, 128)
    assert features.labels == ("blue", "blue", "green", "green", "red", "red")
    assert np.isnan(features.start_seconds).all()
    assert repr(features) == "Features(6 rows of 128)"
    written = videomae.embed(colors / "val", model=pretrained.folder, output=tmp_path / "x.npz", **CPU)
    assert np.array_equal(np.load(tmp_path / "x.npz")["features"], features.features)
    assert written.output == tmp_path / "x.npz"


def test_reconstruction(pretrained: PretrainResult, colors: Path, tmp_path: Path) -> None:
    clip = colors / "val" / "red" / "red_0.mp4"
    rebuilt = videomae.reconstruct(clip, model=pretrained.folder, mask="random", mask_ratio=0.75, device="cpu")
    assert rebuilt.save(tmp_path / "x.gif").read_bytes().startswith(b"GIF8")
    assert rebuilt._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(videomae.ConfigError, match="mask_ratio=2"):
        videomae.reconstruct(clip, model=pretrained.folder, mask_ratio=2)


def test_scan_pack_and_probe(
    pretrained: PretrainResult, colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "cache"))  # other tests are not to hear of its findings
    report = videomae.scan(colors, num_workers=0, num_frames=4, frame_stride=1, progress=False)
    assert report.of_kind("broken") == ()
    packed = videomae.pack(colors, tmp_path / "packed", num_workers=0, progress=False)
    assert packed.num_packed == len(report.manifest)
    assert videomae.probe(tmp_path / "packed", model=pretrained.folder, method="knn", **CPU).class_names == (
        "blue",
        "green",
        "red",
    )


def test_hints_name_parameters(finetuned: FinetuneResult, colors: Path, tmp_path: Path) -> None:
    with pytest.raises(videomae.ConfigError, match=r"clips=0: expected 1 or more"):
        videomae.predict(colors, model=finetuned.folder, clips=0)
    with pytest.raises(videomae.ConfigError, match=r"epoch=3: .*did you mean epochs\?"):
        videomae.finetune(colors, output=tmp_path / "x", init="scratch", epoch=3)  # type: ignore[call-arg]
    with pytest.raises(videomae.ConfigError) as caught:
        videomae.finetune(colors, output=tmp_path / "x", init="scratch", frame_stride=2, frame_rate=5.0)
    assert "--" not in str(caught.value)
    assert not (tmp_path / "x").exists()


def test_notices_reach_stderr_unless_logging_is_set_up(colors: Path, tmp_path: Path) -> None:
    code = f"import videomae; videomae.scan({str(colors)!r}, num_workers=0, progress=False); import logging; "
    code += "from videomae.api._console import notices_shown\n"
    code += "with notices_shown(): logging.getLogger('videomae').info('a notice')"
    cache = str(tmp_path)
    assert run_python(code, VIDEOMAE_CACHE=cache).stderr == "a notice\n"
    assert run_python("import logging; logging.basicConfig(level=50); " + code, VIDEOMAE_CACHE=cache).stderr == ""


def test_recipes() -> None:
    assert "v1-finetune-ucf101-base" in videomae.list_recipes()
    assert isinstance(videomae.get_recipe("finetune"), videomae.FinetuneRecipe)
    with pytest.raises(videomae.ConfigError, match="did you mean"):
        videomae.get_recipe("finetun")


def test_a_dataset_for_a_loop_of_ones_own(colors: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings: dict[str, typing.Any] = {"num_frames": 4, "frame_stride": 1, "image_size": 32}
    dataset = videomae.VideoDataset(colors, split="train", **settings)
    assert dataset.class_names == ("blue", "green", "red")
    loader: torch.utils.data.DataLoader[typing.Any] = torch.utils.data.DataLoader(dataset, batch_size=4)
    batch = next(iter(loader))
    assert batch["pixel_values"].shape == (4, 4, 3, 32, 32)
    assert batch["pixel_values"].dtype == torch.float32
    assert batch["labels"].tolist() == [0, 0, 0, 0]
    again = videomae.VideoDataset(colors, split="train", **settings)
    assert torch.equal(dataset[5]["pixel_values"], again[5]["pixel_values"])
    again.set_epoch(1)
    assert not torch.equal(dataset[5]["pixel_values"], again[5]["pixel_values"])
    val = videomae.VideoDataset(colors, split="val", training=False, **settings)
    assert torch.equal(val[0]["pixel_values"], val[0]["pixel_values"])
    with pytest.raises(videomae.ConfigError, match="split='test'"):
        videomae.VideoDataset(colors, split="test")


def test_a_dataset_with_an_unreadable_video(
    colors: Path, bad_files: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "list.csv").write_text(
        f"path,label\n{bad_files['text']},red\n{colors}/val/blue/blue_1.mp4,blue\n", encoding="utf-8"
    )
    settings: dict[str, typing.Any] = {"num_frames": 4, "frame_stride": 1, "image_size": 32}
    with pytest.raises(videomae.VideoError):
        videomae.VideoDataset(tmp_path / "list.csv", **settings)[0]
    item = videomae.VideoDataset(tmp_path / "list.csv", on_unreadable="replace", **settings)[0]
    assert item["labels"].item() == 0
    assert "replacing unreadable video" in caplog.text


SCRIPT = """
from pathlib import Path

import torch
import videomae

config = videomae.VideoMAEConfig(num_frames=8)
model = videomae.VideoMAEForVideoClassification.from_pretrained("classifier")
logits: torch.Tensor | None = model(torch.zeros(1, 8, 3, 224, 224)).logits
pretrained = videomae.pretrain("videos", output="pretrained", size="base", epochs=800)
folder: Path = pretrained.folder
classifier = videomae.finetune("clips", output=Path("classifier"), init=folder, recipe="finetune", mixup=0.8)
names: tuple[str, ...] = classifier.class_names
label: str | None = videomae.predict("holiday.mp4", model="classifier")[0].label
features = videomae.embed(["a", Path("b")], model="pretrained")
paths: tuple[str, ...] = features.paths
rebuilt: Path = videomae.reconstruct("holiday.mp4", model="pretrained").save("rebuilt.gif")
checkpoint: videomae.Checkpoint = videomae.Checkpoint.open("classifier", task="classification")
label = checkpoint.predict("holiday.mp4")[0].label
num_frames: int = videomae.probe_video("holiday.mp4").num_frames
with videomae.open_video("holiday.mp4") as reader:
    frames = reader.read([0, 1])
dataset = videomae.VideoDataset("clips", num_frames=8)
pixel_values: torch.Tensor = dataset[0]["pixel_values"]
report = videomae.scan("videos")
print(report.findings, videomae.pack("videos", "packed").shards, videomae.probe("clips", model=checkpoint).top1)
try:
    videomae.evaluate("clips", model="classifier")
except videomae.InputError as error:
    print(error.hint)
"""


def test_a_users_script_passes_strict_mypy(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    bad = 'import videomae\nvideomae.pretrain("x", output="x", epoch=3)\nx: int = videomae.list_recipes()\n'
    (tmp_path / "good.py").write_text(SCRIPT)
    (tmp_path / "bad.py").write_text(bad)
    # Checking torch itself takes a minute.
    settings = "[mypy]\nstrict = True\nfollow_imports = silent\n[mypy-torch.*]\nfollow_imports = skip\n"
    (tmp_path / "mypy.ini").write_text(settings)
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "good.py", "bad.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(Path(videomae.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in found.stdout.splitlines() if ": error: " in line]
    assert [line.partition(":")[0] for line in lines] == ["bad.py", "bad.py"], found.stdout
    assert 'Unexpected keyword argument "epoch"' in lines[0]
    assert "Incompatible types in assignment" in lines[1]


def test_a_dataset_without_labels_and_its_processor(colors: Path, tmp_path: Path) -> None:
    settings: dict[str, typing.Any] = {"num_frames": 4, "frame_stride": 1, "image_size": 32}
    clips = [colors / "val" / name / f"{name}_0.mp4" for name in ("red", "blue")]
    (tmp_path / "paths.txt").write_text("".join(f"{path}\n" for path in clips))
    dataset = videomae.VideoDataset(tmp_path / "paths.txt", **settings)
    assert dataset[0].keys() == {"pixel_values"}
    assert repr(dataset).startswith("VideoDataset(2 videos, {'method': 'dense'")
    (tmp_path / "some.csv").write_text(f"path,label\n{clips[0]},red\n{clips[1]},\n")
    some = videomae.VideoDataset(tmp_path / "some.csv", **settings)
    assert [int(some[index]["labels"]) for index in range(2)] == [0, -100]
    dataset.processor.save_pretrained(tmp_path)
    again = videomae.VideoMAEImageProcessor.from_pretrained(tmp_path)
    assert again == dataset.processor
    center = videomae.VideoDataset(tmp_path / "paths.txt", training=False, **settings)
    indices = videomae.sample_frame_indices(8, **again.sampling)
    made = again(list(videomae.read_video(clips[0], indices)), return_tensors="pt").pixel_values[0]
    assert (made - center[0]["pixel_values"]).abs().max() < 0.02


def test_results_are_checkpoints(pretrained: PretrainResult, finetuned: FinetuneResult, colors: Path) -> None:
    clip = colors / "val" / "red" / "red_0.mp4"
    assert videomae.predict(clip, model=finetuned, **CPU)[0].label == "red"
    assert len(videomae.embed(clip, model=pretrained, **CPU)) == 1
    assert videomae.reconstruct(clip, model=pretrained, device="cpu").original.shape[0] == 4
    assert type(videomae.load_checkpoint(pretrained)) is videomae.VideoMAEForPreTraining


def test_values_of_a_wrong_kind(finetuned: FinetuneResult, colors: Path, tmp_path: Path) -> None:
    model: typing.Any = videomae.load_checkpoint(finetuned.folder)
    clip: typing.Any = colors / "val" / "red" / "red_0.mp4"
    calls: list[tuple[typing.Any, str]] = [
        (
            lambda: videomae.predict(clip, model=finetuned, crops="three"),
            "crops.*three.*: expected a whole number",
        ),
        (lambda: videomae.predict(clip, model=finetuned, top_k=2.5), "top_k=2.5: expected a whole number"),
        (lambda: videomae.predict(clip, model=model), "model=a VideoMAEForVideoClassification: expected a checkpoint"),
        (lambda: videomae.predict(clip, model=None), "model=None: expected a checkpoint folder"),
        (lambda: videomae.predict(3, model=finetuned), "data=3: expected a path"),
        (lambda: videomae.predict(np.zeros((4, 8, 8, 3)), model=finetuned), r"data=ndarray of shape \(4, 8, 8, 3\)"),
        (lambda: videomae.pretrain([clip], output=tmp_path / "x"), "data=.*: expected a path"),
        (lambda: videomae.pretrain(colors, output=tmp_path / "x", epochs="3"), "epochs='3': expected a whole number"),
        (lambda: videomae.pretrain(colors, output=tmp_path / "x", trackers="foo"), "trackers=.*: expected one or more"),
        (lambda: videomae.pretrain(colors, output=tmp_path / "x", lr=1e-3, imgsz=64), "learning_rate and image_size"),
        (lambda: videomae.embed(clip, model=finetuned, overlap=0.5), "overlap=0.5 without windows"),
    ]
    for call, message in calls:
        with pytest.raises(videomae.InputError, match=message):
            call()
    assert not (tmp_path / "x").exists()
    assert videomae.PretrainRecipe(trackers="none").trackers == ("none",)  # type: ignore[arg-type]


def test_an_error_is_shown_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    ran = run_python(f"import videomae; videomae.predict({str(tmp_path / 'none.mp4')!r}, model='x', clips=0)")
    assert ran.stderr.count("clips=0: expected 1 or more") == 1
    assert "--clips" not in ran.stderr.splitlines()[-1]
    with pytest.raises(videomae.CheckpointError, match="did you mean"):
        videomae.load_checkpoint("tests/core".replace("core", "corre"))


def test_results_read_well(
    pretrained: PretrainResult, finetuned: FinetuneResult, colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "cache"))
    report = videomae.scan(colors, num_workers=0, num_frames=4, frame_stride=1, progress=False)
    assert repr(report) == "ScanReport(24 videos, 6 leak)"
    packed = videomae.pack(colors, tmp_path / "packed", num_workers=0, progress=False)
    assert repr(packed).startswith(f"PackReport(24 videos in {tmp_path}/packed, ")
    probed = videomae.probe(colors, model=pretrained, method="knn", **CPU)
    assert repr(probed).startswith("ProbeResult(top-1 ")
    evaluation: typing.Any = videomae.evaluate(colors, model=finetuned, clips=1, crops=1, **CPU)
    assert evaluation.top1_interval[0] < evaluation.top1 <= evaluation.top1_interval[1]
    assert evaluation.loss == evaluation.metrics.loss
    assert "<td>top-1</td><td>100.0%</td>" in evaluation._repr_html_()
    videomae.evaluate(colors, model=finetuned, clips=1, crops=1, report=tmp_path / "report.html", **CPU)
    assert str(finetuned.folder) in (tmp_path / "report.html").read_text()
    with pytest.raises(videomae.ConfigError, match="expected a path"):
        videomae.evaluate([colors], model=finetuned, **CPU)  # type: ignore[arg-type]
    with videomae.open_video(colors / "val" / "red" / "red_0.mp4") as reader:
        assert "8 frames" in repr(reader)
    (tmp_path / "text.mp4").write_text("no video")
    failed = videomae.predict([tmp_path / "text.mp4", colors / "val"], model=finetuned, **CPU)
    assert "<td colspan=2>" in failed._repr_html_()
    assert "expected a video file" in failed._repr_html_()


def test_help_explains_each_field() -> None:
    for recipe in (videomae.PretrainRecipe, videomae.FinetuneRecipe):
        for name in typing.get_type_hints(recipe):
            assert f"\n    {name}: " in (recipe.__doc__ or ""), name
    assert not {"Any", "import_module", "annotations"} & set(dir(videomae))


def test_a_rate_needs_the_rate_of_the_video() -> None:
    sampling = {"method": "dense", "num_frames": 4, "frame_stride": 4, "frame_rate": 5.0}
    assert videomae.sample_frame_indices(100, video_frame_rate=25.0, **sampling).tolist() == [42, 47, 52, 57]
    with pytest.raises(videomae.ConfigError, match="video_frame_rate"):
        videomae.sample_frame_indices(100, **sampling)
    grid = videomae.VideoMAEConfig().grid
    masks = [videomae.tube_mask(2, g, 0.9, generator=torch.Generator().manual_seed(0)) for g in (grid, grid.shape)]
    assert torch.equal(*masks)


def test_a_dry_run(colors: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    settings: dict[str, typing.Any] = {
        "size": "tiny",
        "epochs": 2,
        "batch_size": 6,
        "mask_ratio": 0.75,
        **CLIP,
        **SPEED,
    }
    found = videomae.dry_run_pretrain(colors, output=tmp_path / "dry", progress=steps.append, **settings)
    assert isinstance(found, videomae.DryRun)
    assert (found.num_videos, found.total_steps) == (18, 6)
    assert [path.name for path in (tmp_path / "dry").iterdir()] == ["inputs.png"]
    assert steps[0] == "reading the list of videos"
