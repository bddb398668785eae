"""A folder or a hub name to a file, against a stand-in for the hub on this machine."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from videomae.core.errors import CheckpointError
from videomae.weights.hub import resolve_file, split_hub_options, upload_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json": b'{"hidden_size": 8}', "sub/config.json": b'{"hidden_size": 16}'}


class StandInHub(BaseHTTPRequestHandler):
    """The few addresses of the hub that downloading a file asks for."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._refuse(403, None, b'{"error": "read-only stand-in"}')

    def _answer(self, *, with_body: bool) -> None:
        owner, _, rest = self.path.lstrip("/").partition("/resolve/")
        if owner == "team/busy":
            return self._refuse(503, None)
        if owner == "team/gated":
            return self._refuse(403, "GatedRepo")
        if owner != "team/tiny":
            return self._refuse(404, "RepoNotFound")
        revision, _, name = rest.partition("/")
        if revision not in ("main", COMMIT):
            return self._refuse(404, "RevisionNotFound")
        if name not in FILES:
            return self._refuse(404, "EntryNotFound", commit=COMMIT)
        body = FILES[name]
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _refuse(self, status: int, code: str | None, body: bytes = b"", commit: str | None = None) -> None:
        self.send_response(status)
        if code is not None:
            self.send_header("X-Error-Code", code)
        if commit is not None:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandInHub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


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


def test_a_file_is_no_checkpoint_folder(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="expected a folder or a hub name"):
        resolve_file(tmp_path / "weights.bin", "config.json")


def test_a_folder_of_a_near_name_refuses_no_name_of_the_hub(
    tmp_path: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "team" / "tiny2").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve_file("team/tiny", "config.json", cache_dir=tmp_path / "cache", endpoint=endpoint) is not None
    with pytest.raises(CheckpointError, match=r"did you mean team/tiny2\?"):
        resolve_file("team/tiny3", "config.json", cache_dir=tmp_path / "cache", endpoint=endpoint)


def test_download_then_cache(tmp_path: Path, endpoint: str) -> None:
    file = resolve_file("team/tiny", "config.json", cache_dir=tmp_path, endpoint=endpoint)
    assert file is not None
    assert json.loads(file.read_text()) == {"hidden_size": 8}
    nested = resolve_file("team/tiny", "config.json", cache_dir=tmp_path, endpoint=endpoint, subfolder="sub")
    assert nested is not None
    assert json.loads(nested.read_text()) == {"hidden_size": 16}
    assert resolve_file("team/tiny", "config.json", cache_dir=tmp_path, revision=COMMIT, endpoint=endpoint) == file
    assert resolve_file("team/tiny", "config.json", cache_dir=tmp_path, local_files_only=True) == file
    assert resolve_file("team/tiny", "absent.json", cache_dir=tmp_path, endpoint=endpoint) is None
    assert resolve_file("team/tiny", "absent.json", cache_dir=tmp_path, local_files_only=True) is None


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("team/missing", {}, "team/missing: expected a folder on this machine or a repository on the hub"),
        ("team/gated", {}, "accept its terms"),
        ("team/tiny", {"revision": "nightly"}, "expected an existing branch, tag or commit"),
        ("runs/of/mine", {}, "there is no such folder, and the hub has no such names"),
        ("../nowhere", {}, "there is no such folder"),
        ("team/tiny", {"local_files_only": True}, "not in the local cache"),
        ("team/tiny", {"endpoint": "http://127.0.0.1:9"}, "check the path and the network"),
    ],
)
def test_one_clear_line(
    name: str, options: dict, message: str, tmp_path: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the hub library's waits between its attempts
    with pytest.raises(CheckpointError, match=message) as caught:
        resolve_file(name, "config.json", **{"cache_dir": tmp_path, "endpoint": endpoint, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("team/tiny", {"endpoint": "http://127.0.0.1:9"}, "Connection refused"),
        ("team/busy", {}, "HTTP Error 503"),
    ],
)
def test_attempts_are_one_line(
    name: str,
    options: dict,
    reason: str,
    tmp_path: Path,
    endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "propagate", True)  # as caplog needs it
    with pytest.raises(CheckpointError):
        resolve_file(name, "config.json", **{"cache_dir": tmp_path, "endpoint": endpoint, **options})
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert logging.getLogger("huggingface_hub.utils._http").filters == []
    if not waits:  # huggingface_hub before 1.0 does not try again
        assert lines == []
        return
    assert len(waits) >= 3
    (line,) = lines
    assert line.startswith(f"{name}: no answer from the hub (")
    assert reason in line
    assert line.endswith("trying again")


def test_upload_refused(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(CheckpointError, match="expected a folder to upload"):
        upload_folder(tmp_path / "absent", "team/new")
    with pytest.raises(CheckpointError, match="team/new: expected an answer from the hub") as caught:
        upload_folder(tmp_path, "team/new", endpoint=endpoint, token="hf_standin")
    assert "\n" not in str(caught.value)


def test_split_hub_options() -> None:
    options, others = split_hub_options({"token": "x", "num_labels": 4, "cache_dir": None})
    assert options == {"token": "x", "cache_dir": None}
    assert others == {"num_labels": 4}
