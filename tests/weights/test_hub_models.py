"""Models, processors and checkpoints by their names on the hub, through real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from hub_server import StandInHub, stand_in_hub
from safetensors.torch import load_file, save, save_file
from small_runs import Commands

import videomae
from videomae.api.description import describe_checkpoint
from videomae.checkpoint import load_checkpoint, new_processor
from videomae.core.errors import CheckpointError, ConfigError
from videomae.video.sampling import ClipSampling
from videomae.weights import original

TINY: dict[str, Any] = {
    "image_size": 32,
    "num_frames": 4,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 48,
    "id2label": {0: "jump", 1: "run", 2: "swim"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier with its processor and sampling."""
    path = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(0)
    model = videomae.VideoMAEForVideoClassification(videomae.VideoMAEConfig(**TINY)).eval()
    sampling = ClipSampling(num_frames=4, frame_stride=2)
    videomae.Checkpoint(model, new_processor(model.config, sampling), sampling).save(path)
    return path


@pytest.fixture
def hub() -> Iterator[StandInHub]:
    with stand_in_hub() as server:
        yield server


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in is the hub, and nothing is cached."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    for module in ("constants", "file_download"):
        monkeypatch.setattr(f"huggingface_hub.{module}.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_same(found: Any, expected: Any) -> None:
    """Bit for bit."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_everything_by_name(hub: StandInHub, folder: Path) -> None:
    hub.add("team/tiny", files_of(folder))
    here = videomae.Checkpoint.open(folder)
    there = videomae.Checkpoint.open("team/tiny")
    assert_same(there.model.state_dict(), here.model.state_dict())
    assert there.processor.to_dict() == here.processor.to_dict()
    assert there.sampling == here.sampling
    model = videomae.VideoMAEForVideoClassification.from_pretrained("team/tiny")
    assert_same(model.state_dict(), here.model.state_dict())
    assert videomae.VideoMAEConfig.from_pretrained("team/tiny").to_dict() == here.model.config.to_dict()
    assert videomae.VideoMAEImageProcessor.from_pretrained("team/tiny").crop_size == here.processor.crop_size
    assert describe_checkpoint("team/tiny")["classes"] == ["jump", "run", "swim"]
    # Each file was sent once, to the first that asked.
    assert len(hub.downloads()) == len(files_of(folder))
    hub.requests.clear()
    videomae.Checkpoint.open("team/tiny")
    assert len(hub.requests) == 1  # which commit main is


def test_all_files_are_of_one_commit(hub: StandInHub, folder: Path) -> None:
    repository = hub.add("team/tiny", files_of(folder))
    state = load_file(folder / "model.safetensors")
    config = files_of(folder)["config.json"].replace(b"jump", b"leap")
    others = {"model.safetensors": save({name: tensor + 1 for name, tensor in state.items()}), "config.json": config}
    # A commit is made when the first file has been sent.
    hub.after_download = lambda: repository.commit(others)
    there = videomae.Checkpoint.open("team/tiny")
    assert there.model.config.id2label[0] == "jump"
    assert_same(there.model.state_dict(), state)
    there = videomae.Checkpoint.open("team/tiny")
    assert there.model.config.id2label[0] == "leap"
    assert there.model.state_dict().keys() == state.keys()
    assert torch.equal(there.model.state_dict()["classifier.bias"], state["classifier.bias"] + 1)


def test_downloading_anew_takes_each_file_once(hub: StandInHub, folder: Path) -> None:
    hub.add("team/tiny", files_of(folder))
    videomae.Checkpoint.open("team/tiny")
    before = len(hub.downloads(".safetensors"))
    videomae.Checkpoint.open("team/tiny", force_download=True)
    assert len(hub.downloads(".safetensors")) == before + 1


def test_offline_before_and_after_a_download(hub: StandInHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def set_offline(value: bool) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", value)
        getattr(huggingface_hub.utils, "reset_sessions", lambda: None)()  # before 1.0 a session is made for either

    hub.add("team/tiny", files_of(folder))
    set_offline(True)
    with pytest.raises(CheckpointError, match=r"team/tiny: expected a folder .* not in the local cache"):
        videomae.Checkpoint.open("team/tiny")
    set_offline(False)
    first = videomae.Checkpoint.open("team/tiny").model.state_dict()
    num_requests = len(hub.requests)
    assert_same(videomae.Checkpoint.open("team/tiny", local_files_only=True).model.state_dict(), first)
    set_offline(True)
    assert_same(videomae.Checkpoint.open("team/tiny").model.state_dict(), first)
    set_offline(False)
    assert len(hub.requests) == num_requests


def test_a_branch_a_tag_and_a_commit(hub: StandInHub, folder: Path) -> None:
    repository = hub.add("team/tiny", files_of(folder))
    first = repository.refs["v1"] = repository.refs["main"]
    config = files_of(folder)["config.json"]
    second = repository.commit({"config.json": config.replace(b"jump", b"leap")})
    repository.commit({"config.json": config.replace(b"run", b"walk")}, branch="next")

    def classes(**options: Any) -> list[str]:
        return list(videomae.Checkpoint.open("team/tiny", **options).model.config.id2label.values())

    assert classes() == ["leap", "run", "swim"]
    assert classes(revision="v1") == classes(revision=first) == ["jump", "run", "swim"]
    assert classes(revision="next") == ["jump", "walk", "swim"]
    assert classes(revision=second) == ["leap", "run", "swim"]
    assert len(hub.downloads(".safetensors")) == 1


def test_a_private_repository(hub: StandInHub, folder: Path) -> None:
    hub.add("team/tiny", files_of(folder), token="hf_mine")
    for token in (None, "hf_other"):
        with pytest.raises(CheckpointError, match="for a private repository log in or pass token="):
            videomae.Checkpoint.open("team/tiny", token=token)
    videomae.Checkpoint.open("team/tiny", token="hf_mine")
    assert all(request.token is None for request in hub.requests if request.path.startswith("/storage/"))


def test_shards(hub: StandInHub, folder: Path, tmp_path: Path) -> None:
    state = load_file(folder / "model.safetensors")
    names = sorted(state)
    shards = {"model-00001-of-00002.safetensors": names[:10], "model-00002-of-00002.safetensors": names[10:]}
    files = {name: content for name, content in files_of(folder).items() if name != "model.safetensors"}
    weight_map = {name: shard for shard, part in shards.items() for name in part}
    files["model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": weight_map}).encode()
    for shard, part in shards.items():
        save_file({name: state[name] for name in part}, tmp_path / shard, metadata={"format": "pt"})
        files[shard] = (tmp_path / shard).read_bytes()
    hub.add("team/sharded", files)
    assert_same(videomae.Checkpoint.open("team/sharded").model.state_dict(), state)
    del hub.repositories["team/sharded"].files["model-00002-of-00002.safetensors"]
    hub.repositories["team/lacking"] = hub.repositories["team/sharded"]
    with pytest.raises(CheckpointError, match=r"team/lacking without model-00002-of-00002\.safetensors"):
        videomae.Checkpoint.open("team/lacking")


def test_damaged_weights_are_not_kept(hub: StandInHub, folder: Path) -> None:
    hub.add("team/tiny", files_of(folder))
    hub.failures = ["other"]
    with pytest.raises(CheckpointError, match=r"team/tiny/model\.safetensors with other bytes than the hub announced"):
        videomae.Checkpoint.open("team/tiny")
    assert_same(
        videomae.Checkpoint.open("team/tiny").model.state_dict(), videomae.Checkpoint.open(folder).model.state_dict()
    )


def test_weights_that_were_uploaded_damaged(hub: StandInHub, folder: Path) -> None:
    files = files_of(folder)
    hub.add("team/cut", {**files, "model.safetensors": files["model.safetensors"][:-100]})
    with pytest.raises(CheckpointError, match="expected an undamaged weights file") as caught:
        videomae.Checkpoint.open("team/cut")
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_an_adapter_and_its_base(hub: StandInHub, folder: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    hub.add("team/tiny", files_of(folder))
    model = videomae.VideoMAEForVideoClassification.from_pretrained(folder)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["query", "value"]))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    adapted.peft_config["default"].base_model_name_or_path = "team/tiny"
    adapted.save_pretrained(tmp_path / "adapter")
    hub.add("me/adapter", files_of(tmp_path / "adapter"))
    opened = videomae.Checkpoint.open("me/adapter")
    merged = adapted.merge_and_unload().state_dict()
    for name, tensor in opened.model.state_dict().items():
        assert torch.allclose(tensor, merged[name], atol=1e-6), name
    assert opened.sampling == ClipSampling(num_frames=4, frame_stride=2)


# --- files of weights ----------------------------------------------------------------------------------------------


@pytest.fixture
def original_file(folder: Path, tmp_path: Path) -> bytes:
    state = load_checkpoint(folder).state_dict()
    torch.save({"model": original.to_original(state)}, tmp_path / "vit.pth")
    return (tmp_path / "vit.pth").read_bytes()


def test_a_file_of_the_original_code(
    hub: StandInHub, folder: Path, original_file: bytes, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # which `commands` turns on
    hub.add("team/weights", {"README.md": b"", "k400/vit.pth": original_file, "vit_last.pt": original_file})
    source, settings = "team/weights/k400/vit.pth", {"num_frames": 4, "image_size": 32, "num_attention_heads": 3}
    opened = videomae.Checkpoint.open(source, **settings)
    assert_same(opened.model.state_dict(), load_checkpoint(folder).state_dict())
    assert opened.model.config.layer_norm_eps == original.LAYER_NORM_EPS
    assert len(hub.downloads(".pth")) == 1
    with pytest.raises(CheckpointError, match=r"team/weights/k400/large\.pth: .* team/weights/k400/vit\.pth"):
        videomae.Checkpoint.open("team/weights/k400/large.pth")
    line = commands.refused("info", "team/weights")
    assert "give one of its files of weights, team/weights/k400/vit.pth or team/weights/vit_last.pt" in line
    with pytest.raises(
        CheckpointError, match=r"team/weights: .* team/weights/k400/vit\.pth or team/weights/vit_last\.pt"
    ):
        videomae.VideoMAEModel.from_pretrained("team/weights")


def test_offline_without_a_configuration(hub: StandInHub, original_file: bytes) -> None:
    hub.add("team/weights", {"vit.pth": original_file})
    with pytest.raises(ConfigError, match="num_frames"):
        videomae.Checkpoint.open("team/weights/vit.pth")
    with pytest.raises(CheckpointError, match="only what is cached was looked at"):
        videomae.Checkpoint.open("team/weights", local_files_only=True)
