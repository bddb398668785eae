"""README.md of trained models: the hub's metadata, and examples that run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from hub_server import StandInHub, stand_in_hub
from huggingface_hub import ModelCard
from small_runs import Commands, tiny_finetune_recipe, tiny_pretrain_recipe, write_data_set

import videomae
from videomae.checkpoint import new_processor
from videomae.recipes.finetune import FinetuneRecipe
from videomae.training.finetune import FinetuneResult, finetune
from videomae.training.model_card import TrainingFacts, is_edited, model_card, renamed, write_model_card
from videomae.training.pretrain import PretrainResult, pretrain
from videomae.video.sampling import ClipSampling

TINY: dict[str, Any] = {
    "image_size": 32,
    "num_frames": 4,
    "hidden_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "intermediate_size": 48,
}


def tiny_checkpoint(sampling: ClipSampling | None = None, **config: Any) -> videomae.Checkpoint:
    torch.manual_seed(0)
    model = videomae.VideoMAEForVideoClassification(videomae.VideoMAEConfig(**{**TINY, **config})).eval()
    sampling = sampling or ClipSampling(num_frames=4, frame_stride=1)
    return videomae.Checkpoint(model, new_processor(model.config, sampling), sampling)


def facts(**changes: Any) -> TrainingFacts:
    known: dict[str, Any] = {
        "command": "finetune",
        "data_set": "clips",
        "num_videos": 7,
        "num_validation_videos": 0,
        "num_unreadable": 0,
        "init": "scratch",
        "recipe": FinetuneRecipe(),
    }
    return TrainingFacts(**{**known, **changes})


def blocks(card: str, language: str) -> list[str]:
    """The code of a card."""
    return re.findall(rf"```{language}\n(.*?)```", card, re.DOTALL)


def test_metadata_of_a_classifier(finetuned: FinetuneResult) -> None:
    data = ModelCard.load(finetuned.folder / "README.md").data
    assert (data.library_name, data.pipeline_tag, data.license) == ("transformers", "video-classification", "unknown")
    assert data.tags == ["videomae", "video"]
    assert data.metrics == ["accuracy"]
    assert data.base_model is None  # a folder of this machine is no model of the hub
    assert data.model_name == "classifier"
    results = {result.metric_name: result for result in data.eval_results}
    assert results.keys() == {"Top-1 accuracy", "Mean class accuracy"}  # all of 3 classes are among the top 5
    assert results["Top-1 accuracy"].metric_value == finetuned.best_top1
    assert results["Top-1 accuracy"].task_type == "video-classification"
    assert results["Top-1 accuracy"].dataset_split == "validation"


def test_metadata_of_a_pretrained_model(pretrained: PretrainResult) -> None:
    data = ModelCard.load(pretrained.folder / "README.md").data
    assert (data.library_name, data.pipeline_tag, data.license) == ("transformers", None, "unknown")
    assert data.eval_results is None


def test_what_a_card_says(finetuned: FinetuneResult, pretrained: PretrainResult, colors: Path) -> None:
    card = (finetuned.folder / "README.md").read_text()
    for part in (
        f"On the 6 validation videos of `{colors.name}`",
        f"The weights are those of epoch {finetuned.best_epoch}",
        "| top-1 | 100.0% | 95 % interval 61.0–100.0% |",
        "18 training videos, 6 validation videos",
        "`blue`, `green`, `red`",
        "from the checkpoint `pretrained`",
        "| `layer_decay` | 0.9 | 0.75 |",
        "| `seed` | 0 | 0 |",
        "| frames | 4, in a row |",
        "| size | 32 × 32 pixels, 3 channels",
        "| mean | 0.485, 0.456, 0.406 |",
        f"videomae {videomae.__version__}",
        "`license: unknown`",
    ):
        assert part in card, part
    before = (pretrained.folder / "README.md").read_text()
    assert f"| last training loss | {pretrained.loss:.3f} |" in before
    assert "| `mask_ratio` | 0.75 | 0.9 |" in before
    for text in (card, before):
        assert str(colors.parent) not in text
        assert str(finetuned.folder.parent) not in text
        assert not is_edited(text)


@pytest.mark.parametrize("kind", ["finetuned", "pretrained"])
def test_the_examples_run(
    kind: str,
    request: pytest.FixtureRequest,
    colors: Path,
    tmp_path: Path,
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = request.getfixturevalue(kind).folder
    shutil.copy(next((colors / "val" / "red").iterdir()), tmp_path / "video.mp4")
    shutil.copytree(folder, tmp_path / folder.name)
    monkeypatch.chdir(tmp_path)
    card = (folder / "README.md").read_text()
    (shell,) = blocks(card, "sh")
    lines = shell.splitlines()
    assert len(lines) == (1 if kind == "finetuned" else 2)
    for line in lines:
        words = line.split()
        assert words[0] == "videomae"
        assert commands(*words[1:], "--device", "cpu", "--precision", "fp32") == 0, commands.err
    ours, theirs = blocks(card, "python")
    exec(ours, {})
    found = capsys.readouterr().out.strip()
    pytest.importorskip("transformers")
    exec(theirs, {})
    other = capsys.readouterr().out.strip()
    if kind == "finetuned":
        assert found == "red"
        label, probability = other.split()
        assert label == "red"
        expected = videomae.predict("video.mp4", model=folder, device="cpu", precision="fp32")[0].probability
        assert float(probability) == pytest.approx(expected, abs=2e-3)
    else:
        width = videomae.VideoMAEConfig.from_pretrained(folder).hidden_size
        assert found == f"(1, {width})"
        assert other.startswith("tensor([[")


@pytest.mark.parametrize("num_video_frames", [1, 5, 16, 37, 64, 301])
@pytest.mark.parametrize(
    "sampling",
    [
        ClipSampling(num_frames=16, frame_stride=4),
        ClipSampling(num_frames=8, frame_stride=1),
        ClipSampling(num_frames=1, frame_stride=4),
        ClipSampling(method="uniform", num_frames=16),
        ClipSampling(method="linspace", num_frames=16, frame_stride=4),
        ClipSampling(num_frames=8, frame_rate=7.5),
    ],
    ids=lambda sampling: f"{sampling.method}-{sampling.num_frames}-{sampling.frame_rate}",
)
def test_the_example_takes_the_frames_that_we_take(sampling: ClipSampling, num_video_frames: int) -> None:
    checkpoint = tiny_checkpoint(sampling, num_frames=max(2, sampling.num_frames))
    _, theirs = blocks(model_card(checkpoint, "x"), "python")
    lines = [line for line in theirs.splitlines() if line.startswith(("step =", "start =", "clip ="))]
    names: dict[str, Any] = {"frames": list(range(num_video_frames)), "frames_per_second": 30.0}
    exec("\n".join(lines), names)
    times = torch.arange(num_video_frames).numpy() / 30
    expected = sampling.test_indices(num_video_frames, num_clips=1, frame_times=times)[0]
    # Of a video shorter than the clip, linspace spreads the frames that there are.
    if sampling.method == "linspace" and num_video_frames < 64:
        assert len(names["clip"]) == len(expected)
    else:
        assert names["clip"] == expected.tolist()


# --- whose card it is ----------------------------------------------------------------------------------------------


def test_a_card_that_somebody_edited_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint, path = tiny_checkpoint(), tmp_path / "README.md"
    write_model_card(tmp_path, checkpoint, facts())
    first = path.read_text()
    write_model_card(tmp_path, checkpoint, facts(num_videos=8))
    assert "8 training videos" in path.read_text()
    assert not caplog.records
    for text in (first.replace("license: unknown", "license: mit"), first + "Mine.\n", "# Mine\n", ""):
        path.write_text(text)
        write_model_card(tmp_path, checkpoint, facts())
        assert path.read_text() == text
        assert "README.md was edited: left as it is" in caplog.text
        caplog.clear()
    path.write_bytes(first.replace("\n", "\r\n").encode())  # as Git on Windows checks it out
    write_model_card(tmp_path, checkpoint, facts())
    assert path.read_text() == first


def test_a_longer_run_has_a_new_card(colors: Path, tmp_path: Path) -> None:
    folder, recipe = tmp_path / "run", tiny_pretrain_recipe(epochs=1)
    pretrain(colors, folder, recipe)
    first = (folder / "README.md").read_text()
    assert "| `epochs` | 1 |" in first
    pretrain(colors, folder, replace(recipe, epochs=2), resume_anyway=True)
    assert "| `epochs` | 2 |" in (folder / "README.md").read_text()


@pytest.mark.parametrize("name", ["classifier", "my model", 'a"b\\c', "ü"])
def test_other_names_in_the_examples(name: str) -> None:
    card = model_card(tiny_checkpoint(), name, facts())
    there = renamed(card, "team/tiny")
    assert name not in "".join([*blocks(there, "python"), *blocks(there, "sh")])
    assert there.count('"team/tiny"') == 3
    assert "--model team/tiny\n" in there
    assert not is_edited(there)
    assert renamed(there, name) == card
    edited = renamed(card + f"{name} is good\n", "team/tiny")
    assert f"\n{name} is good\n" in edited
    assert is_edited(edited)
    assert renamed("# Mine\n", "team/tiny") == "# Mine\n"


# --- what may stand in it ------------------------------------------------------------------------------------------


def test_names_that_look_like_markup(tmp_path: Path) -> None:
    name = 'a`b| "c": [x] <i>\n---\ny'
    checkpoint = tiny_checkpoint(id2label={0: name, 1: "b\t|`", 2: "---"})
    folder = tmp_path / "we`ird: - #1"
    folder.mkdir()
    write_model_card(folder, checkpoint, facts(data_set=tmp_path / "da|ta: `x`", init=str(tmp_path / "st`art")))
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "transformers"
    assert "\n# we\\`ird: - \\#1\n" in str(card)
    assert "`a'b\\| \"c\": [x] <i> --- y`, `b \\|'`, `---`" in str(card)
    assert "`da\\|ta: 'x'`" in str(card)
    for code in blocks(str(card), "python"):
        compile(code, "card", "exec")


@pytest.mark.parametrize(
    ("init", "base"),
    [
        ("MCG-NJU/videomae-base", "MCG-NJU/videomae-base"),
        ("OpenGVLab/VideoMAE2/mae-g/vit.pth", "OpenGVLab/VideoMAE2"),
        ("/somewhere/else", None),
        ("scratch", None),
    ],
)
def test_the_model_that_training_started_from(init: str, base: str | None) -> None:
    card = ModelCard(model_card(tiny_checkpoint(), "x", facts(init=init)))
    assert card.data.base_model == base
    assert (f"The terms of [{base}](https://huggingface.co/{base})" in str(card)) == (base is not None)
    assert "/somewhere" not in str(card)


def test_the_model_that_a_folder_was_trained_from(tmp_path: Path) -> None:
    write_model_card(tmp_path, tiny_checkpoint(), facts(init="MCG-NJU/videomae-base"))
    card = ModelCard(model_card(tiny_checkpoint(), "x", facts(init=str(tmp_path))))
    assert card.data.base_model == "MCG-NJU/videomae-base"
    assert f"from the checkpoint `{tmp_path.name}`" in str(card)
    (tmp_path / "README.md").write_text("# Mine\n---\nbase_model: a/b\n---\n")
    assert ModelCard(model_card(tiny_checkpoint(), "x", facts(init=str(tmp_path)))).data.base_model is None


@pytest.mark.parametrize(
    ("data_set", "name"),
    [
        ("/data/ucf101", "ucf101"),
        ("/data/ucf101/train", "ucf101/train"),
        ("/data/list.csv", "list.csv"),
        ("https://user:secret@host/shards/actions/?token=secret", "actions"),
    ],
)
def test_the_name_of_the_data(data_set: str, name: str) -> None:
    card = model_card(tiny_checkpoint(), "x", facts(data_set=data_set))
    assert f"\n`{name}`: 7 training videos.\n" in card
    assert "secret" not in card


def test_several_labels_per_video(tmp_path: Path) -> None:
    folder = write_data_set(tmp_path / "clips", per_class=2)
    rows = [f"{path},{path.parent.name};all" for path in sorted(folder.rglob("*.mp4"))]
    (tmp_path / "list.csv").write_text("path,labels\n" + "\n".join(rows) + "\n")
    recipe = tiny_finetune_recipe(epochs=1, mixup=0.0, cutmix=0.0)
    finetune(tmp_path / "list.csv", tmp_path / "run", recipe, init="scratch", val=tmp_path / "list.csv")
    card = ModelCard.load(tmp_path / "run" / "README.md")
    assert [result.metric_type for result in card.data.eval_results] == ["mean_average_precision"]
    assert "a score for each of 4 classes" in str(card)
    assert "logits[0].sigmoid()" in str(card)


def test_channels_that_no_video_has() -> None:
    card = model_card(tiny_checkpoint(num_channels=1), "x")
    assert "transformers import" not in card
    assert "1 channels" in card


# --- the hub -------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    """A hub to which `hf_me` may write."""
    if huggingface_hub.__version__.startswith("0."):
        pytest.skip("huggingface_hub before 1.0 makes repositories at https:// alone")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with stand_in_hub() as server:
        server.writer = "hf_me"
        yield server


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own
def test_there_and_back(hub: StandInHub, finetuned: FinetuneResult) -> None:
    here = videomae.Checkpoint.open(finetuned.folder)
    address = here.push_to_hub("team/colors", token="hf_me", endpoint=hub.url)
    repository = hub.repositories["team/colors"]
    assert address == f"{hub.url}/team/colors/commit/{repository.refs['main']}"
    assert sorted(repository.files) == [
        ".gitattributes",
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    (card,) = set(hub.validated)
    assert "| top-1 | 100.0% |" in card
    assert 'Checkpoint.open("team/colors")' in card
    assert not is_edited(repository.files["README.md"].decode())
    there = videomae.Checkpoint.open("team/colors", endpoint=hub.url)
    expected = here.model.state_dict()
    assert there.model.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in there.model.state_dict().items())
    assert (there.sampling, there.processor.to_dict()) == (here.sampling, here.processor.to_dict())
    assert there.folder is None


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own
def test_a_card_that_was_edited_on_the_hub_stays(
    hub: StandInHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = tiny_checkpoint()
    options = {"token": "hf_me", "endpoint": hub.url}
    checkpoint.push_to_hub("team/tiny", **options)
    repository = hub.repositories["team/tiny"]
    assert "## Training data" not in repository.files["README.md"].decode()
    theirs = repository.files["README.md"].replace(b"license: unknown", b"license: mit")
    repository.commit({"README.md": theirs})
    checkpoint.push_to_hub("team/tiny", **options)
    assert repository.files["README.md"] == theirs
    assert "the README.md of team/tiny was edited on the hub: left as it is" in caplog.text
    checkpoint.save(tmp_path / "mine")
    (tmp_path / "mine" / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Mine\n")
    videomae.Checkpoint.open(tmp_path / "mine").push_to_hub("team/tiny", **options)
    assert repository.files["README.md"] == b"---\nlicense: apache-2.0\n---\n# Mine\n"


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own
def test_a_pull_request(hub: StandInHub) -> None:
    hub.add("team/tiny", {"config.json": b"{}"})
    options = {"token": "hf_me", "endpoint": hub.url}
    address = tiny_checkpoint().push_to_hub("team/tiny", create_pr=True, **options)
    assert address == f"{hub.url}/team/tiny/discussions/1"
    assert hub.repositories["team/tiny"].files == {"config.json": b"{}"}
    opened = videomae.Checkpoint.open("team/tiny", revision="refs/pr/1", endpoint=hub.url)
    assert opened.sampling == tiny_checkpoint().sampling


def test_no_right_to_write(hub: StandInHub) -> None:
    with pytest.raises(videomae.InputError, match=r"team/tiny: expected a token .*403") as caught:
        tiny_checkpoint().push_to_hub("team/tiny", token="hf_other", endpoint=hub.url)
    assert "\n" not in str(caught.value)
