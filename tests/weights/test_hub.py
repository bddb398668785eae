"""A folder or a hub name to a file, against a stand-in for the hub on this machine."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from hub_server import StandInHub, stand_in_hub
from small_runs import command_environment

from videomae.core.errors import CheckpointError
from videomae.weights.hub import resolve_file, resolve_named_file, split_hub_options, upload_folder

FILES = {"config.json": b'{"hidden_size": 8}', "sub/config.json": b'{"hidden_size": 16}'}
WEIGHTS = os.urandom(64 * 1024)


@pytest.fixture
def hub() -> Iterator[StandInHub]:
    with stand_in_hub() as server:
        server.add("team/tiny", {**FILES, "vit.pth": WEIGHTS})
        yield server


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The hub library's waits between its attempts, which are not waited for."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


def test_local_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "sub" / "config.json").write_text("{}")
    assert resolve_file(tmp_path, "config.json") == tmp_path / "config.json"
    assert resolve_file(str(tmp_path), "config.json", subfolder="sub") == tmp_path / "sub" / "config.json"
    assert resolve_file(tmp_path, "model.safetensors") is None
    assert resolve_file(tmp_path, "config.json", subfolder="elsewhere") is None


def test_folder_wins_over_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "team" / "tiny").mkdir(parents=True)
    assert resolve_file("team/tiny", "config.json", endpoint="http://127.0.0.1:9") is None
    with pytest.raises(CheckpointError, match=r"team/tiny/vit\.pth: expected an existing file"):
        resolve_named_file("team/tiny/vit.pth", endpoint="http://127.0.0.1:9")


def test_a_file_is_no_checkpoint_folder(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="expected a folder or a hub name"):
        resolve_file(tmp_path / "weights.bin", "config.json")


def test_a_folder_of_a_near_name_refuses_no_name_of_the_hub(
    tmp_path: Path, hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "team" / "tiny2").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve_file("team/tiny", "config.json", cache_dir=tmp_path / "cache", endpoint=hub.url) is not None
    with pytest.raises(CheckpointError, match=r"did you mean team/tiny2\?"):
        resolve_file("team/tiny3", "config.json", cache_dir=tmp_path / "cache", endpoint=hub.url)


def test_download_then_cache(tmp_path: Path, hub: StandInHub) -> None:
    commit = hub.repositories["team/tiny"].refs["main"]
    file = resolve_file("team/tiny", "config.json", cache_dir=tmp_path, endpoint=hub.url)
    assert file is not None
    assert json.loads(file.read_text()) == {"hidden_size": 8}
    nested = resolve_file("team/tiny", "config.json", cache_dir=tmp_path, endpoint=hub.url, subfolder="sub")
    assert nested is not None
    assert json.loads(nested.read_text()) == {"hidden_size": 16}
    assert resolve_file("team/tiny", "config.json", cache_dir=tmp_path, revision=commit, endpoint=hub.url) == file
    assert resolve_file("team/tiny", "config.json", cache_dir=tmp_path, local_files_only=True) == file
    assert resolve_file("team/tiny", "absent.json", cache_dir=tmp_path, endpoint=hub.url) is None
    assert resolve_file("team/tiny", "absent.json", cache_dir=tmp_path, local_files_only=True) is None
    assert len(hub.downloads(".json")) == 2
    assert resolve_file("team/tiny", "config.json", cache_dir=tmp_path, endpoint=hub.url, force_download=True) == file
    assert len(hub.downloads(".json")) == 3


def test_a_file_by_its_name(tmp_path: Path, hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"cache_dir": tmp_path / "cache", "endpoint": hub.url}
    path = resolve_named_file("team/tiny/vit.pth", **options)
    assert path is not None
    assert path.read_bytes() == WEIGHTS
    for other in ("team/tiny", "vit.pth", "runs/vit.pth", "team/tiny/config.json", "/team/tiny/vit.pth"):
        assert resolve_named_file(other, **options) is None
    (tmp_path / "team" / "tiny").mkdir(parents=True)
    (tmp_path / "team" / "tiny" / "vit.pth").touch()
    assert resolve_named_file("team/tiny/vit.pth", **options) is None
    with pytest.raises(
        CheckpointError, match=r"team/tiny/base\.pth: .* give one of its files of weights, team/tiny/vit\.pth"
    ):
        resolve_named_file("team/tiny/base.pth", **options)


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        (None, {}, "team/other: expected a folder on this machine or a repository on the hub"),
        (None, {"token": "hf_x"}, "team/other: expected a folder on this machine or a repository on the hub"),
        ({"token": "hf_y"}, {"token": "hf_x"}, "for a private repository log in or pass token="),
        ({"is_gated": True}, {}, "accept its terms"),
        ({"status": 503}, {}, "expected an answer from the hub; it failed with: .*503"),
        ({"status": 401}, {}, "team/other: expected .*; .*log in or pass token="),
        ({"status": 403}, {}, "expected a token that has the right to do this; log in or pass token=; it said: .*403"),
        ({"status": 503}, {"force_download": True}, "expected an answer from the hub; it failed with: .*503"),
        ({}, {"revision": "nightly"}, "expected an existing branch, tag or commit"),
        ({}, {"local_files_only": True}, "not in the local cache"),
        ({}, {"local_files_only": True, "force_download": True}, "expected one of the two"),
        ({}, {"endpoint": "http://127.0.0.1:9"}, "check the path and the network"),
        ({}, {"endpoint": "http://127.0.0.1:9", "force_download": True}, "expected an answer from the hub"),
    ],
)
def test_one_clear_line(
    settings: dict | None, options: dict, message: str, tmp_path: Path, hub: StandInHub, waits: list[float]
) -> None:
    if settings is not None:
        hub.add("team/other", FILES, **settings)
    with pytest.raises(CheckpointError, match=message) as caught:
        resolve_file("team/other", "config.json", **{"cache_dir": tmp_path, "endpoint": hub.url, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["runs/of/mine", "../nowhere"])
def test_names_that_the_hub_cannot_have(name: str) -> None:
    with pytest.raises(CheckpointError, match="there is no such folder"):
        resolve_file(name, "config.json", endpoint="http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("settings", "options", "reason"),
    [
        ({}, {"endpoint": "http://127.0.0.1:9"}, "Connection refused"),
        ({"status": 503}, {}, "HTTP Error 503"),
    ],
)
def test_attempts_are_one_line(
    settings: dict,
    options: dict,
    reason: str,
    tmp_path: Path,
    hub: StandInHub,
    waits: list[float],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "propagate", True)  # as caplog needs it
    hub.add("team/busy", FILES, **settings)
    with pytest.raises(CheckpointError):
        resolve_file("team/busy", "config.json", **{"cache_dir": tmp_path, "endpoint": hub.url, **options})
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert logging.getLogger("huggingface_hub.utils._http").filters == []
    if not waits:  # huggingface_hub before 1.0 does not try again
        assert lines == []
        return
    assert len(waits) >= 3
    (line,) = lines
    assert line.startswith("team/busy: no answer from the hub (")
    assert reason in line
    assert line.endswith("trying again")


@pytest.mark.skipif(huggingface_hub.__version__.startswith("0."), reason="it does not try again")
def test_a_hub_that_is_busy_for_a_while(tmp_path: Path, hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = hub.add("team/busy", FILES, status=503)
    monkeypatch.setattr(time, "sleep", lambda seconds: setattr(repository, "status", 0))
    file = resolve_file("team/busy", "config.json", cache_dir=tmp_path, endpoint=hub.url)
    assert file is not None
    assert file.read_bytes() == FILES["config.json"]


# --- what befalls a download ---------------------------------------------------------------------------------------


def test_a_broken_connection_is_resumed_where_it_broke(
    tmp_path: Path, hub: StandInHub, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1024)
    hub.failures = ["dies", "dies"]
    path = None
    for _ in range(3):  # huggingface_hub before 1.0 resumes when it is asked again
        try:
            path = resolve_file("team/tiny", "vit.pth", cache_dir=tmp_path, endpoint=hub.url)
            break
        except CheckpointError:
            assert not list(tmp_path.rglob("vit.pth"))
    assert path is not None
    assert path.read_bytes() == WEIGHTS
    first, second, third = hub.downloads(".pth")[-3:]
    assert first.range is None
    assert second.range == f"bytes={len(WEIGHTS) // 2}-"
    assert third.range == f"bytes={len(WEIGHTS) * 3 // 4}-"


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("short", "team/tiny: expected a whole download; it failed with: Consistency check failed"),
        ("other", r"team/tiny/vit\.pth with other bytes than the hub announced: expected the SHA-256 [0-9a-f]{16}…"),
        ("busy", "team/tiny: expected an answer from the hub; it failed with: .*503"),
    ],
)
def test_a_file_that_is_not_what_was_announced_is_not_kept(
    failure: str, message: str, tmp_path: Path, hub: StandInHub, waits: list[float]
) -> None:
    hub.failures = [failure] * 10
    with pytest.raises(CheckpointError, match=message) as caught:
        resolve_file("team/tiny", "vit.pth", cache_dir=tmp_path, endpoint=hub.url)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("vit.pth"))
    assert all(path.suffix == ".incomplete" for path in tmp_path.glob("*/blobs/*"))
    hub.failures = []
    path = resolve_file("team/tiny", "vit.pth", cache_dir=tmp_path, endpoint=hub.url)
    assert path is not None
    assert path.read_bytes() == WEIGHTS


def test_a_file_that_was_downloaded_before_is_not_read_again(
    tmp_path: Path, hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = resolve_file("team/tiny", "vit.pth", cache_dir=tmp_path, endpoint=hub.url)
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("hashed again"))
    assert resolve_file("team/tiny", "vit.pth", cache_dir=tmp_path, endpoint=hub.url) == first
    assert len(hub.downloads(".pth")) == 1


def test_two_processes_download_at_once(tmp_path: Path, hub: StandInHub) -> None:
    code = (
        "from videomae.weights.hub import resolve_file\n"
        f"path = resolve_file('team/tiny', 'vit.pth', cache_dir={str(tmp_path)!r})\n"
        "import hashlib; print(hashlib.sha256(path.read_bytes()).hexdigest(), path)"
    )
    environment = {**command_environment(), "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
    hub.hold.clear()
    command = [sys.executable, "-c", code]
    jobs = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    asked = threading.Event()
    for _ in range(600):
        if sum(request.method == "HEAD" and request.path.endswith("vit.pth") for request in hub.requests) == 2:
            break
        asked.wait(0.05)
    hub.hold.set()
    first, second = (job.communicate(timeout=60)[0] for job in jobs)
    assert [job.returncode for job in jobs] == [0, 0]
    assert first == second
    path = Path(first.split()[1])
    assert path.read_bytes() == WEIGHTS
    assert list(tmp_path.glob("*/blobs/*")) == [path.resolve()]


# --- uploading -----------------------------------------------------------------------------------------------------


def test_upload_refused(tmp_path: Path, hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="expected a folder to upload"):
        upload_folder(tmp_path / "absent", "team/new")
    with pytest.raises(CheckpointError, match="team/new: expected a token that has the right to do this") as caught:
        upload_folder(tmp_path, "team/new", endpoint=hub.url, token="hf_standin")
    assert "\n" not in str(caught.value)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="unset HF_HUB_OFFLINE"):
        upload_folder(tmp_path, "team/new", endpoint=hub.url, token="hf_standin")


@pytest.mark.skipif(huggingface_hub.__version__.startswith("0."), reason="it makes repositories at https:// alone")
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own
def test_a_training_folder_without_what_is_no_checkpoint(
    tmp_path: Path, hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    hub.writer = "hf_standin"
    (tmp_path / "run" / "state").mkdir(parents=True)
    (tmp_path / "run" / "state" / "step-00000002.pt").write_bytes(b"large")
    (tmp_path / "run" / "recipe.json").write_bytes(b'{"data": "/home/me/videos"}')
    (tmp_path / "run" / "report.html").write_bytes(b"frames of my videos")
    (tmp_path / "run" / "config.json").write_bytes(FILES["config.json"])
    (tmp_path / "run" / "model.safetensors").write_bytes(WEIGHTS)
    address = upload_folder(tmp_path / "run", "team/new", endpoint=hub.url, token="hf_standin")
    assert address.startswith(f"{hub.url}/team/new/commit/")
    uploaded = hub.repositories["team/new"].files
    assert sorted(uploaded) == [".gitattributes", "config.json", "model.safetensors"]
    assert uploaded["model.safetensors"] == WEIGHTS


def test_split_hub_options() -> None:
    options, others = split_hub_options({"token": "x", "num_labels": 4, "cache_dir": None})
    assert options == {"token": "x", "cache_dir": None}
    assert others == {"num_labels": 4}
