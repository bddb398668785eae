"""Configurations to files and back, changed in one go, and uploaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from videomae.core.errors import CheckpointError, ConfigError
from videomae.models.config import VideoMAEConfig
from videomae.weights import hub


@pytest.mark.parametrize("use_diff", [True, False])
def test_a_file_of_any_name(use_diff: bool, tmp_path: Path) -> None:
    config = VideoMAEConfig(num_frames=np.int64(8), hidden_dropout_prob=0.5, id2label={0: "a", 1: "b", 2: "c"})

    config.to_json_file(tmp_path / "mine.json", use_diff=use_diff)

    assert VideoMAEConfig.from_json_file(tmp_path / "mine.json") == config
    written = json.loads((tmp_path / "mine.json").read_text())
    assert written["num_frames"] == 8  # a number, not its text
    assert ("return_dict" in written) == (not use_diff)


def test_a_file_that_is_absent(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.json"):
        VideoMAEConfig.from_json_file(tmp_path / "none.json")


def test_update_sets_many_values() -> None:
    config = VideoMAEConfig()

    config.update({"hidden_size": 24, "num_attention_heads": 4, "id2label": {"0": "a", "1": "b", "2": "c"}, "mine": 1})

    assert (config.hidden_size, config.num_attention_heads, config.mine) == (24, 4, 1)
    assert config.id2label == {0: "a", 1: "b", 2: "c"}
    assert config.label2id == {"a": 0, "b": 1, "c": 2}
    config.update({"num_labels": 4})
    assert config.id2label[3] == "LABEL_3"


def test_update_sets_all_or_none() -> None:
    config = VideoMAEConfig()
    before = config.to_dict()

    with pytest.raises(ConfigError, match="hidden_size=25"):
        config.update({"num_frames": 8, "hidden_size": 25})

    assert config.to_dict() == before


def test_push_to_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads = []

    def upload(folder: str, repo_id: str, **options: object) -> str:
        uploads.append(([file.name for file in Path(folder).iterdir()], repo_id, options))
        return "https://hub/commit"

    monkeypatch.setattr(hub, "upload_folder", upload)
    config = VideoMAEConfig()

    assert config.push_to_hub("team/tiny", private=True) == "https://hub/commit"
    config.save_pretrained(tmp_path / "mine", push_to_hub=True, token="t")

    assert uploads == [
        (["config.json"], "team/tiny", {"private": True, "commit_message": "Upload config"}),
        (["config.json"], "mine", {"token": "t", "commit_message": "Upload config"}),
    ]
    with pytest.raises(TypeError, match="private"):
        config.save_pretrained(tmp_path, private=True)


def test_keys_of_ours_are_written_only_where_they_say_something(tmp_path: Path) -> None:
    """So that a file of a network without them is the file that transformers writes."""
    plain = json.loads(VideoMAEConfig().to_json_string())
    assert not {"drop_path_rate", "classifier_dropout"} & plain.keys()
    assert VideoMAEConfig(classifier_dropout=None).classifier_dropout == 0  # as other models' files may say

    VideoMAEConfig(drop_path_rate=0.1, classifier_dropout=0.5).save_pretrained(tmp_path)

    written = json.loads((tmp_path / "config.json").read_text())
    assert (written["drop_path_rate"], written["classifier_dropout"]) == (0.1, 0.5)
    read = VideoMAEConfig.from_pretrained(tmp_path, drop_path_rate=0.2)
    assert (read.drop_path_rate, read.classifier_dropout) == (0.2, 0.5)


@pytest.mark.parametrize("name", ["drop_path_rate", "classifier_dropout"])
@pytest.mark.parametrize("value", [-0.1, 1.5, "0.1", float("nan"), True])
def test_rates_out_of_range(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{name}=.*a number from 0 to 1"):
        VideoMAEConfig(**{name: value})
