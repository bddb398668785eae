"""`videomae pretrain` and `videomae finetune` as a person and as a program sees them."""

from __future__ import annotations

import html
import json
import re
import resource
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from small_runs import (
    CLIP_WORDS,
    SHARED,
    SPEED_WORDS,
    Commands,
    losses,
    read_metrics,
    write_data_set,
)

import videomae
from videomae.training.finetune import FinetuneResult
from videomae.training.metrics_log import Meter
from videomae.training.pretrain import PretrainResult
from videomae.training.states import RunStates

RUN = [*CLIP_WORDS, *SPEED_WORDS, "--epochs", "2", "--batch-size", "6", "--warmup-epochs", "0.5"]


def test_pretrain_says_what_it_does_and_what_comes_next(commands: Commands, colors: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert commands("pretrain", colors, "--output", output, *RUN) == 0
    assert commands.out == ""
    lines = commands.err.splitlines()
    assert lines[0].startswith(
        "pre-training 1.1 M weights on 18 videos (train 18; not used: val 6); 2 epochs = 6 steps of 6 clips, "
        "on cpu in fp32"
    )
    assert lines[-5].startswith("epoch 2/2 · step 3/3 · loss ")
    assert lines[-3:] == [
        f"checkpoint: {output}",
        f"report:     {output}/report.html",
        f"next:       videomae finetune LABELLED --init {output} --output CLASSIFIER",
    ]
    assert commands("pretrain", colors, "--output", output, *RUN) == 0
    assert commands.err.splitlines()[0] == f"{output} holds this run, which is finished: nothing to do"


def test_the_next_command_can_be_pasted(commands: Commands, colors: Path, tmp_path: Path) -> None:
    pretrained, classifier = tmp_path / "my run", tmp_path / "it's mine"
    assert commands("pretrain", colors, "--output", pretrained, *RUN, "--epochs", "1") == 0
    words = shlex.split(commands.err.splitlines()[-1])
    assert words == ["next:", "videomae", "finetune", "LABELLED", "--init", str(pretrained), "--output", "CLASSIFIER"]
    assert commands("finetune", colors, "--init", pretrained, "--output", classifier, *RUN, "--epochs", "1") == 0
    words = shlex.split(commands.err.splitlines()[-1])
    assert words == ["next:", "videomae", "predict", "VIDEO", "--model", str(classifier)]
    for folder, number in ((pretrained, 2), (classifier, 2)):
        block = (folder / "report.html").read_text().rpartition("What next")[2]
        found = [shlex.split(html.unescape(line)) for line in re.findall(r"videomae [^<\n]+", block)]
        assert len(found) == number
        assert all(str(folder) in words for words in found), found


def test_pretrain_json(commands: Commands, colors: Path, tmp_path: Path) -> None:
    document = commands.json("pretrain", colors, "--output", tmp_path, *RUN)
    assert document == {
        "folder": str(tmp_path),
        "num_videos": 18,
        "num_broken": 0,
        "steps": 6,
        "loss": losses(tmp_path)[-1],
        "was_finished": False,
        "broken": {},
        "skipped_steps": 0,
    }


def test_finetune_json_and_the_best_epoch_is_what_evaluate_reports(
    commands: Commands, colors: Path, pretrained: PretrainResult, tmp_path: Path
) -> None:
    words = ["finetune", colors, "--output", tmp_path, "--init", pretrained.folder, *RUN, "--learning-rate", "0.05"]
    document = commands.json(*words)
    assert document["class_names"] == ["blue", "green", "red"]
    assert "validation top-1" in commands.err
    best = max(line["top1"] for line in read_metrics(tmp_path, "val"))
    assert document["best_top1"] == best
    judged = commands.json("evaluate", colors, "--model", tmp_path, "--clips", "1", "--crops", "1")
    assert judged["top1"] == best
    assert commands.json(*words) == {**document, "was_finished": True}


def test_finetune_from_scratch(commands: Commands, colors: Path, tmp_path: Path) -> None:
    assert commands("finetune", colors / "train", "--output", tmp_path, "--init", "scratch", *RUN, "--val", colors) == 0
    assert "fine-tuning new weights on 3 classes (blue 6, green 6, red 6); 18 training videos, 6 validation videos" in (
        commands.err
    )
    model = videomae.VideoMAEForVideoClassification.from_pretrained(tmp_path)
    assert model.config.label2id == {"blue": 0, "green": 1, "red": 2}


def test_recipe_options_reach_the_run(commands: Commands, colors: Path, tmp_path: Path) -> None:
    options = ["--mask", "random", "--decoder-mask-ratio", "0.5", "--no-norm-pix-loss", "--crop", "center"]
    assert commands("pretrain", colors, "--output", tmp_path, *RUN, *options, "--clip-grad", "1", "--seed", "4") == 0
    recipe = json.loads((tmp_path / "recipe.json").read_text())["recipe"]
    found = [recipe[name] for name in ("mask", "decoder_mask_ratio", "norm_pix_loss", "crop", "clip_grad", "seed")]
    assert found == ["random", 0.5, False, "center", 1.0, 4]


def test_an_interrupt_names_the_command_that_goes_on(
    commands: Commands, colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Meter.add

    def interrupted(meter: Meter, *arguments: Any, **keywords: Any) -> None:
        real(meter, *arguments, **keywords)
        if keywords["step"] == 2:
            signal.raise_signal(signal.SIGINT)

    output = tmp_path / "my run"
    monkeypatch.setattr(Meter, "add", interrupted)
    assert commands("pretrain", colors, "--output", output, *RUN) == 130
    monkeypatch.undo()
    assert commands.out == ""
    said, again = commands.err.splitlines()[-2:]
    assert said == f"stopped at step 2/6; its state is saved in {output}. To resume, repeat the command:"
    assert again == f"  videomae pretrain {colors} --output '{output}' {' '.join(RUN)}"
    assert commands("pretrain", colors, "--output", output, *RUN) == 0
    assert "resuming at step 2/6" in commands.err
    assert [line["step"] for line in read_metrics(output)] == [1, 2, 3, 4, 5, 6]


def test_an_interrupt_before_the_steps_says_how_to_resume_too(
    commands: Commands, colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunStates, "load", interrupted)
    assert commands("pretrain", colors, "--output", tmp_path, *RUN) == 130
    assert (
        "interrupted; what was saved before is intact. To resume, repeat the command:\n  videomae pretrain"
        in commands.err
    )


# --- refusals ----------------------------------------------------------------------------------------------------


def test_other_settings_on_the_same_folder(commands: Commands, colors: Path, tmp_path: Path) -> None:
    assert commands("pretrain", colors, "--output", tmp_path, *RUN) == 0
    line = commands.refused("pretrain", colors, "--output", tmp_path, *RUN, "--mask-ratio", "0.5")
    assert "mask_ratio=0.9, not 0.5: expected the same settings and data, to go on with that run; repeat the" in line
    assert commands("pretrain", colors, "--output", tmp_path, *RUN, "--mask-ratio", "0.5", "--resume-anyway") == 0
    assert "which is finished: nothing to do" in commands.err
    line = commands.refused("finetune", colors, "--init", "scratch", "--output", tmp_path, *RUN)
    assert "command='pretrain', not 'finetune'" in line


def test_a_classifier_is_no_start_for_pretraining(
    commands: Commands, colors: Path, finetuned: FinetuneResult, tmp_path: Path
) -> None:
    line = commands.refused("pretrain", colors, "--output", tmp_path / "run", *RUN, "--init", finetuned.folder)
    assert "a classifier has no decoder" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--num-frames", "7"], "num_frames=7 with tubelet_size=2"),
        (["--image-size", "30"], "image_size=30 with patch_size=8"),
        (["--image-size", "32x30"], "image_size=30 with patch_size=8"),
        (["--num-channels", "0"], "num_channels=0: expected at least 1"),
        (["--tubelet-size", "3"], "num_frames=4 with tubelet_size=3"),
    ],
)
def test_clips_that_no_checkpoint_is_adapted_to(
    commands: Commands, colors: Path, pretrained: PretrainResult, tmp_path: Path, words: list[str], said: str
) -> None:
    start = ["finetune", colors, "--output", tmp_path / "run", "--init", pretrained.folder]
    assert said in commands.refused(*start, *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [("missing", "there is no such file or folder"), ("empty", "without videos"), ("video.mp4", "this is one video")],
)
def test_data_that_is_none(commands: Commands, tmp_path: Path, data: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "video.mp4").touch()
    assert said in commands.refused("pretrain", tmp_path / data, "--output", tmp_path / "run", *RUN)
    assert said in commands.refused("finetune", tmp_path / data, "--init", "scratch", "--output", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_class_only(commands: Commands, tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "data", per_class=1, classes=("red",))
    assert "two classes or more" in commands.refused(
        "finetune", data, "--init", "scratch", "--output", tmp_path / "run"
    )


def test_broken_videos_beyond_the_limit(commands: Commands, tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "data", per_class=1)
    for name in ("one.mp4", "two.mp4"):
        (data / "red" / name).write_text("no video")
    words = ["pretrain", data, "--output", tmp_path / "run", *RUN]
    assert commands(*words) == 2
    *notes, line = commands.err.splitlines()
    assert "2 of 5 videos cannot be read" in line
    assert "allow more with --max-broken" in line
    assert sum(note.startswith("skipping unreadable video: ") for note in notes) == 2
    assert commands(*words, "--max-broken", "0.5") == 0
    assert "skipped unreadable videos: 2 of 5 videos; report.html lists the reasons" in commands.err


def test_no_gpu(commands: Commands, colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    line = commands.refused("pretrain", colors, "--output", tmp_path / "run", *RUN, "--device", "cuda")
    assert "--device cuda" in line


def test_an_output_that_is_a_file(commands: Commands, colors: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "can be written" in commands.refused("pretrain", colors, "--output", tmp_path / "file", *RUN)
    assert "can be written" in commands.refused("pretrain", colors, "--output", tmp_path / "file", *RUN, "--dry-run")


@contextmanager
def _files_of_at_most(num_bytes: int) -> Iterator[None]:
    """Writing beyond this fails as on a full disk: really, by the system, in every library."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# The weights of this model take 4.5 MB, its run state 13.5 MB.
@pytest.mark.parametrize(("megabytes", "name"), [(2, "model.safetensors"), (8, "step-00000003.pt")])
def test_a_full_disk(commands: Commands, colors: Path, tmp_path: Path, megabytes: int, name: str) -> None:
    with _files_of_at_most(megabytes * 10**6):
        assert commands("pretrain", colors, "--output", tmp_path, *RUN) == 2
    line = commands.err.splitlines()[-1]
    assert line.startswith(f"videomae: cannot write {tmp_path}")
    assert name in line
    assert ("room on its disk" if name == "model.safetensors" else "13 MB of room on the disk") in line
    assert "free space" in line
    assert "Traceback" not in commands.err
    assert not list(tmp_path.rglob(".*"))
    assert commands("pretrain", colors, "--output", tmp_path, *RUN) == 0
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3, 4, 5, 6]


# --- real clips --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (SHARED / "actions").is_dir(), reason="the clips of shared/actions are not here")
def test_real_clips(commands: Commands, tmp_path: Path) -> None:
    """A list of a few real clips goes the whole way."""
    rows = ["path,label,split"]
    for split, number in (("train", 4), ("val", 2)):
        for folder in sorted(path for path in (SHARED / "actions" / split).iterdir() if path.is_dir()):
            rows += [f"{path},{folder.name},{split}" for path in sorted(folder.iterdir())[:number]]
    data = tmp_path / "clips.csv"
    data.write_text("\n".join(rows) + "\n")
    assert commands("pretrain", data, "--output", tmp_path / "pre", *RUN) == 0
    assert (
        commands("finetune", data, "--init", tmp_path / "pre", "--output", tmp_path / "fine", *RUN, "--val-every", "2")
        == 0
    )
    result = commands.json("evaluate", data, "--model", tmp_path / "fine", "--clips", "2", "--crops", "3")
    assert result["num_videos"] == 4
    spaghetti = SHARED / "videos" / "eating_spaghetti.mp4"
    (video,) = commands.json("predict", spaghetti, "--model", tmp_path / "fine")["videos"]
    assert len(video["predictions"]) == 2
    assert commands("reconstruct", spaghetti, "--model", tmp_path / "pre", "--output", tmp_path / "out.png") == 0


def test_a_rate_is_carried_from_pretraining_to_the_classifier(commands: Commands, colors: Path, tmp_path: Path) -> None:
    encoder, classifier = tmp_path / "encoder", tmp_path / "classifier"
    settings = ["--num-frames", "4", "--image-size", "32", *SPEED_WORDS, "--batch-size", "6", "--epochs", "1"]
    assert commands("pretrain", colors, "--output", encoder, *settings, "--size", "tiny", "--frame-rate", "5") == 0
    assert commands("finetune", colors, "--init", encoder, "--output", classifier, *settings) == 0

    for folder in (encoder, classifier):
        sampling = json.loads((folder / "preprocessor_config.json").read_text())["sampling"]
        assert (sampling["frame_rate"], sampling["num_frames"]) == (5, 4)
    assert json.loads((classifier / "recipe.json").read_text())["recipe"]["frame_stride"] is None
    line = commands.refused(
        "finetune", colors, "--init", encoder, "--output", tmp_path / "x", *settings, "--sampling", "uniform"
    )
    assert "frame_rate=5.0 with the sampling uniform" in line


def test_broken_videos_are_listed_at_the_end(commands: Commands, tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "data", per_class=4)
    for number in range(12):
        (data / "red" / f"broken [{number}].mp4").write_text("no video")
    words = ["pretrain", data, "--output", tmp_path / "run", *RUN, "--max-broken", "0.6"]

    document = commands.json(*words)

    assert (document["num_videos"], document["num_broken"], len(document["broken"])) == (12, 12, 12)
    place = commands.err.splitlines().index("skipped unreadable videos: 12 of 24 videos; report.html lists the reasons")
    listed = commands.err.splitlines()[place + 1 : place + 12]
    assert all(line.startswith(f"  {data}/red/broken [") for line in listed[:10])
    assert listed[10] == "  and 2 more"


def test_skipped_steps_are_told_at_the_end(
    commands: Commands, colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Meter, "num_skipped", 3)
    words = ("pretrain", colors, "--output", tmp_path, *RUN, "--epochs", "1")
    assert commands(*words) == 0, commands.err
    assert commands.err.splitlines()[-5] == "3 of 3 steps skipped: loss or gradient was not finite"
    assert commands.json(*words)["skipped_steps"] == 3
